"""`--keep "bits_per_byte < 2.5"`: which records to keep, as a small expression over their scores.

Numbers, the names below, + - * /, comparisons, `and`, `or`, `not` and parentheses; nothing else is ever evaluated.
An empty text has no bits per byte, and nothing divided by zero has a value. A comparison with such a thing is
neither true nor false, nor is its opposite; only records for which the whole is true are kept. (Kleene 1938)
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rung.errors import UserError, nearest

NAMES = ("log_prob", "tokens", "bytes", "bits_per_byte")
MAX_CHARACTERS = 1000
ALLOWED = f"{', '.join(NAMES)}, numbers, + - * /, < <= > >= == !=, and, or, not, parentheses"

Columns = Mapping[str, np.ndarray]
Number = Callable[[Columns], Any]
"""(n,) float64, NaN where there is no value; or one number for all."""


@dataclass(frozen=True)
class Truth:
    """For each record: known to hold, known not to hold, (n,) each; neither when a value is missing."""

    holds: np.ndarray
    fails: np.ndarray


Condition = Callable[[Columns], Truth]


class Keep:
    """A parsed expression. Raises UserError, when made, for whatever isn't one."""

    def __init__(self, expression: str) -> None:
        self._source = expression
        if len(expression) > MAX_CHARACTERS:
            raise UserError(f"--keep is too long: {len(expression)} characters; {MAX_CHARACTERS} are allowed")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python would have its say about its own style
                tree = ast.parse(expression.strip(), mode="eval").body
            self._truth = self._condition(tree)
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
            return np.broadcast_to(self._truth(columns).holds, n)

    def _condition(self, node: ast.expr) -> Condition:
        match node:
            case ast.BoolOp(op=operator, values=values):
                parts = [self._condition(value) for value in values]
                return _all(parts) if isinstance(operator, ast.And) else _any(parts)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return _not(self._condition(operand))
            case ast.Compare(left=left, ops=ops, comparators=rights):
                if not all(type(operator) in _COMPARISONS for operator in ops):
                    raise self._mistake(node, "that comparison is not allowed")
                sides = [self._number(side) for side in (left, *rights)]
                pairs = zip(sides, ops, sides[1:], strict=False)
                return _all([_comparison(a, _COMPARISONS[type(operator)], b) for a, operator, b in pairs])
        raise self._mistake(node, "it is no comparison; write one such as bits_per_byte < 2.5")

    def _number(self, node: ast.expr) -> Number:
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return _constant(self._float(node, value))
            case ast.Name(id=name):
                if name not in NAMES:
                    raise self._mistake(node, f"unknown name {name!r}{nearest(name, NAMES)}")
                return _column(name)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
                return _signed(self._number(operand), -1.0 if isinstance(sign, ast.USub) else 1.0)
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _ARITHMETIC:
                return _computed(_ARITHMETIC[type(operator)], self._number(left), self._number(right))
        raise self._mistake(node, "it is no number")

    def _float(self, node: ast.expr, value: int | float) -> float:
        try:
            return float(value)
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


def _constant(value: float) -> Number:
    return lambda columns: np.float64(value)


def _column(name: str) -> Number:
    return lambda columns: np.asarray(columns[name], np.float64)


def _signed(number: Number, sign: float) -> Number:
    return lambda columns: sign * number(columns)


def _computed(operation: Callable[[Any, Any], Any], left: Number, right: Number) -> Number:
    return lambda columns: operation(left(columns), right(columns))


def _comparison(left: Number, compare: Callable[[Any, Any], Any], right: Number) -> Condition:
    def truth(columns: Columns) -> Truth:
        a, b = left(columns), right(columns)
        known = ~(np.isnan(a) | np.isnan(b))
        found = compare(a, b)
        return Truth(known & found, known & ~found)

    return truth


def _not(part: Condition) -> Condition:
    def truth(columns: Columns) -> Truth:
        inner = part(columns)
        return Truth(inner.fails, inner.holds)

    return truth


def _all(parts: list[Condition]) -> Condition:
    def truth(columns: Columns) -> Truth:
        found = [part(columns) for part in parts]
        holds, fails = found[0].holds, found[0].fails
        for other in found[1:]:
            holds, fails = holds & other.holds, fails | other.fails
        return Truth(holds, fails)

    return truth


def _any(parts: list[Condition]) -> Condition:
    return _not(_all([_not(part) for part in parts]))
