"""`--keep "bits_per_byte < 2.5"`: which records to keep, as a small expression over their scores.

Numbers, the names below, + - * /, comparisons, `and`, `or`, `not` and parentheses; nothing else is ever evaluated.
An empty text has no bits per byte, and nothing divided by zero has a value. A comparison with such a thing is
neither true nor false, nor is its opposite; only records for which the whole is true are kept. (Kleene 1938)
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from rung.errors import UserError, nearest

NAMES = ("log_prob", "tokens", "bytes", "bits_per_byte")
MAX_CHARACTERS = 1000
ALLOWED = f"{', '.join(NAMES)}, numbers, + - * /, < <= > >= == !=, and, or, not, parentheses"

Columns = Mapping[str, np.ndarray]


class Truth(NamedTuple):
    """For each record: known to hold, known not to hold, (n,) each; neither when a value is missing."""

    holds: np.ndarray
    fails: np.ndarray


class Keep:
    """A parsed expression. Raises UserError, when made, for whatever isn't one."""

    def __init__(self, expression: str) -> None:
        self._source = expression
        if len(expression) > MAX_CHARACTERS:
            raise UserError(f"--keep is too long: {len(expression)} characters; {MAX_CHARACTERS} are allowed")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python would have its say about its own style
                self._tree = ast.parse(expression.strip(), mode="eval").body
            self(dict.fromkeys(NAMES, np.empty(0)))  # looks at every part of it, whatever the numbers
        except SyntaxError as error:
            rest = expression.strip()[error.offset - 1 :] if error.offset else ""
            where = f" at {rest!r}" if rest else " at its end"
            raise UserError(
                f"--keep {expression!r} can't be read{where}: {error.msg} (allowed: {ALLOWED})"
            ) from None
        except (ValueError, RecursionError, MemoryError) as error:  # a zero byte; nested too deeply
            reason = str(error) or "it is nested too deeply"
            raise UserError(f"--keep {expression!r} can't be read: {reason}") from None

    def __call__(self, columns: Columns) -> np.ndarray:
        """Which records to keep, (n,) bool.

        Args:
            columns: for each of NAMES (n,) numbers; NaN where there is no value.
        """
        n = len(columns["log_prob"])
        with np.errstate(all="ignore"):
            return np.broadcast_to(self._condition(self._tree, columns).holds, n)

    def _condition(self, node: ast.expr, columns: Columns) -> Truth:
        match node:
            case ast.BoolOp(op=ast.And(), values=values):
                return _all([self._condition(value, columns) for value in values])
            case ast.BoolOp(op=ast.Or(), values=values):
                return _not(_all([_not(self._condition(value, columns)) for value in values]))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return _not(self._condition(operand, columns))
            case ast.Compare(left=left, ops=operators, comparators=rights):
                if not all(type(operator) in _COMPARISONS for operator in operators):
                    raise self._mistake(node, "that comparison is not allowed")
                sides = [self._number(side, columns) for side in (left, *rights)]
                triples = zip(sides, operators, sides[1:], strict=False)
                return _all([_compare(a, _COMPARISONS[type(operator)], b) for a, operator, b in triples])
        raise self._mistake(node, "it is no comparison; write one such as bits_per_byte < 2.5")

    def _number(self, node: ast.expr, columns: Columns) -> Any:
        """(n,) float64, NaN where there is no value; or one number for all."""
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return self._float(node, value)
            case ast.Name(id=name):
                if name not in NAMES:
                    raise self._mistake(node, f"unknown name {name!r}{nearest(name, NAMES)}")
                return np.asarray(columns[name], np.float64)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._number(operand, columns)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self._number(operand, columns)
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _ARITHMETIC:
                sides = self._number(left, columns), self._number(right, columns)
                return _ARITHMETIC[type(operator)](*sides)
        raise self._mistake(node, "it is no number")

    def _float(self, node: ast.expr, value: int | float) -> np.float64:
        try:
            return np.float64(value)
        except OverflowError:
            raise self._mistake(node, "that number is too large") from None

    def _mistake(self, node: ast.expr, what: str) -> UserError:
        part = ast.get_source_segment(self._source.strip(), node)
        return UserError(f"--keep {self._source!r}: in {part!r}: {what} (allowed: {ALLOWED})")


def _divide(a: Any, b: Any) -> Any:
    return np.divide(a, np.where(np.equal(b, 0), np.nan, b))


_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: _divide,
}


def _compare(a: Any, compare: Callable[[Any, Any], Any], b: Any) -> Truth:
    known = ~(np.isnan(a) | np.isnan(b))
    found = compare(a, b)
    return Truth(known & found, known & ~found)


def _not(part: Truth) -> Truth:
    return Truth(part.fails, part.holds)


def _all(parts: Iterable[Truth]) -> Truth:
    holds, fails = zip(*parts, strict=True)
    return Truth(reduce(np.logical_and, holds), reduce(np.logical_or, fails))
