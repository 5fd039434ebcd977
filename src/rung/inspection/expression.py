"""An expression as a computation graph: a small language, read by Python's parser and applied to the scratch engine.

    print(as_text(expression_graph("a = 2; b = -3; c = a*b + 10; tanh(c)")))

It is a small part of Python: names, numbers, lists of numbers, + - * / ** @, a few functions, `;` between statements.
It is parsed by Python and then walked; nothing is ever executed. Errors name the place.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rung.errors import UserError, nearest
from rung.inspection.graph import MODELS, SYMBOLS, Kind, Node, format_numbers, value_row
from rung.scratch import activations, losses, shapes, tape
from rung.scratch.tape import Module, Record, Tape, Value, apply, unbroadcast

MAX_LENGTH = 2000  # characters of an expression


def expression_graph(text: str) -> list[Node]:
    """The nodes of an expression, inputs before what is made of them. Raises UserError with the place at fault."""
    interpreter = _Interpreter(text)
    with np.errstate(all="ignore"), Tape() as recorded:  # what is not finite is told in words
        result = interpreter.run()
        records = list(recorded.records)
        if not any(result is output for record in records for output in record[2]):
            raise UserError(
                f"{text!r} computes nothing; end with an expression of the names, such as tanh(a * b)"
            )
        if result.data.size != 1:
            raise UserError(
                f"the last value has the shape {result.shape}, and only one number has a gradient; "
                "end with sum(...) or mean(...)"
            )
        recorded.backward(result)
    return _nodes(records, result, interpreter.names, interpreter.formulas)


def _nodes(
    records: Sequence[Record], result: Value, names: dict[int, str], formulas: dict[int, str]
) -> list[Node]:
    """The records of an expression."""
    nodes: list[Node] = []
    index: dict[int, int] = {}  # of the node of each value, by the value's identity
    for module, inputs, (output,), _ in records:
        sources = []
        for value in inputs:
            if id(value) not in index:
                kind: Kind = "input" if isinstance(value, Value) else "constant"
                # A plain number is a node of its own wherever it stands.
                name = names.get(id(value), "")
                formula = kind if name else ""
                nodes.append(Node(name, formula, "", kind, (), value_row(value, format_numbers)))
                index[id(value)] = len(nodes) - 1
            sources.append(index[id(value)])
        index[id(output)] = len(nodes)
        symbol, name = SYMBOLS.get(type(module).__name__, str(module)), names.get(id(output), "")
        row, kind = value_row(output, format_numbers), "result" if output is result else "made"
        nodes.append(Node(name, formulas[id(output)], symbol, kind, tuple(sources), row))
    return nodes


class _Interpreter:
    """Walks a parsed expression and applies the engine's modules; `names` and `formulas` go by a value's identity."""

    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n").replace("\r", "\n")  # lines as the parser counts them
        self._variables: dict[str, Value] = {}
        self._alive: list[Any] = []  # an identity in `names` must not be used anew
        self.names: dict[int, str] = {}
        self.formulas: dict[int, str] = {}

    def run(self) -> Value:
        """The value of the last statement."""
        if len(self._text) > MAX_LENGTH:
            raise UserError(f"the expression has {len(self._text):,} characters; {MAX_LENGTH:,} are accepted")
        if not self._text.strip():
            raise UserError("the expression is empty; 'a = 2; b = -3; tanh(a * b)' is one")
        try:
            statements = ast.parse(self._text).body
            values = [self._execute(statement) for statement in statements]
        except SyntaxError as error:
            raise self._error_at(error.msg, error.lineno or 1, (error.offset or 1) - 1) from None
        except ValueError as error:  # a null character
            raise UserError(f"the expression can't be read: {error}") from None
        except (RecursionError, MemoryError):
            raise UserError(
                "the expression is nested too deeply; name its parts: 'c = a*b; d = c + 1'"
            ) from None
        if not values:
            raise UserError("the expression is empty; 'a = 2; b = -3; tanh(a * b)' is one")
        return values[-1]

    def _execute(self, node: ast.stmt) -> Value:
        match node:
            case ast.Expr(value=expression):
                return self._as_value(expression)
            case ast.Assign(targets=[ast.Name(id=name)], value=expression):
                if name in FUNCTIONS:
                    raise self._error(node, f"{name} is a function; choose another name")
                value = self._as_value(expression)
                if not isinstance(expression, ast.Name):  # b = a gives no new name to the value of a
                    self.names[id(value)] = name
                self._variables[name] = value
                return value
            case _:
                raise self._error(node, "a statement is NAME = EXPRESSION or an expression")

    def _as_value(self, node: ast.expr) -> Value:
        """A node as a value with a gradient."""
        value = self._evaluate(node)
        if not isinstance(value, Value):
            value = self._keep_alive(Value(value))
            self.names[id(value)] = ast.unparse(node)
        return value

    def _evaluate(self, node: ast.expr) -> Value | np.ndarray:
        """A Value, or an array without a gradient."""
        match node:
            case ast.Name(id=name):
                if name not in self._variables:
                    near = nearest(name, [*self._variables, *MODELS])
                    raise self._error(node, f"{name} has no value yet; give it one: '{name} = 2; ...'{near}")
                return self._variables[name]
            case ast.Constant(value=number):
                if isinstance(number, bool) or not isinstance(number, int | float):
                    raise self._error(node, f"{number!r} is no number")
                try:
                    return self._check_finite(node, np.array(float(number)))
                except OverflowError:
                    raise self._error(node, "the number is too large") from None
            case ast.List():
                return self._list(node)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self._evaluate(operand)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                a = self._evaluate(operand)
                return self._apply(node, NEGATE, a) if isinstance(a, Value) else -a
            case ast.BinOp():
                return self._binary(node)
            case ast.Call():
                return self._call(node)
            case _:
                raise self._error(node, "only names, numbers, lists, + - * / ** @ and functions are accepted")

    def _binary(self, node: ast.BinOp) -> Value | np.ndarray:
        if isinstance(node.op, ast.Pow):
            a, n = self._evaluate(node.left), self._evaluate(node.right)
            if isinstance(n, Value) or n.ndim > 0:
                raise self._error(
                    node.right, "an exponent is a plain number; exp(b * log(a)) has a gradient in b, too"
                )
            if not isinstance(a, Value):
                return self._check_finite(node, a ** float(n))
            return self._apply(node, Power(float(n)), a)
        if type(node.op) not in OPERATORS:
            what = "^ is written **" if isinstance(node.op, ast.BitXor) else "accepted are + - * / ** @"
            raise self._error(node, f"unknown operator; {what}")
        module = OPERATORS[type(node.op)]()
        a, b = self._evaluate(node.left), self._evaluate(node.right)
        if not isinstance(a, Value) and not isinstance(b, Value):
            return self._check_finite(node, self._with_location(node, lambda: module.forward(a, b)[0]))
        return self._apply(node, module, a, b)

    def _call(self, node: ast.Call) -> Value:
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
            name = ast.unparse(node.func)
            near = nearest(name, FUNCTIONS)
            raise self._error(node, f"no function {name!r}; there are {', '.join(FUNCTIONS)}{near}")
        if len(node.args) != 1 or node.keywords or isinstance(node.args[0], ast.Starred):
            raise self._error(node, f"{node.func.id} takes one value")
        return self._apply(node, FUNCTIONS[node.func.id](), self._as_value(node.args[0]))

    def _list(self, node: ast.List) -> np.ndarray:
        parts = [self._evaluate(part) for part in node.elts]
        if not parts or any(isinstance(part, Value) for part in parts):
            raise self._error(node, "a list holds numbers, such as [0.1, 0.3] or [[1, 2], [3, 4]]")
        if len({part.shape for part in parts}) > 1:
            raise self._error(node, "the rows of a list must be of one length")
        return np.array(parts)

    def _apply(self, node: ast.expr, module: Module, *inputs: Any) -> Value:
        made = self._keep_alive(self._with_location(node, lambda: apply(module, *inputs)))
        self._keep_alive(inputs)
        self._check_finite(node, made.data)
        self.formulas[id(made)] = ast.unparse(node)
        return made

    def _with_location(self, node: ast.expr, call: Callable[[], Any]) -> Any:
        """Shapes that don't go together are told with the place."""
        try:
            return call()
        except (UserError, ValueError) as error:
            raise self._error(node, str(error)) from error

    def _check_finite(self, node: ast.expr, array: Any) -> np.ndarray:
        if not np.isfinite(array).all():
            raise self._error(node, f"{ast.unparse(node)} is not finite ({format_numbers(array)})")
        return array

    def _keep_alive(self, value: Any) -> Any:
        self._alive.append(value)
        return value

    def _error(self, node: ast.stmt | ast.expr, why: str) -> UserError:
        # The parser counts bytes of UTF-8.
        line = self._text.split("\n")[node.lineno - 1].encode()
        return self._error_at(why, node.lineno, len(line[: node.col_offset].decode()))

    def _error_at(self, why: str, line: int, column: int) -> UserError:
        lines = self._text.split("\n")
        here = lines[line - 1][column : column + 20] if line <= len(lines) else ""
        place = f"character {column + 1}" if len(lines) < 2 else f"line {line}, character {column + 1}"
        return UserError(f"{place} of the expression{f', at {here!r}' if here else ''}: {why}")


class Elementwise(Module):
    """y = f(x), element by element;  dJ/dx = g * f'(x), with f' written in x and y."""

    def __init__(self, name: str, f: Callable[[Any], Any], derivative: Callable[[Any, Any], Any]) -> None:
        self.name, self.f, self.derivative = name, f, derivative

    def forward(self, x: Any) -> tuple[Any, Any]:
        y = self.f(x)
        return y, (x, y)

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        return (grad * self.derivative(*saved),)

    def __repr__(self) -> str:
        return self.name


class Activation(Module):
    """An activation of the engine, which works on arrays, for a single number, too."""

    def __init__(self, name: str, inner: Module) -> None:
        self.name, self.inner = name, inner

    def forward(self, x: Any) -> tuple[Any, Any]:
        y, saved = self.inner.forward(np.atleast_1d(x))
        return y.reshape(np.shape(x)), (saved, np.shape(x))

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        inner, shape = saved
        (grad_x,) = self.inner.backward(inner, np.atleast_1d(grad))
        assert grad_x is not None
        return (grad_x.reshape(shape),)

    def __repr__(self) -> str:
        return self.name


class Subtract(Module):
    """a - b;  dJ/da = g,  dJ/db = -g."""

    def forward(self, a: Any, b: Any) -> tuple[Any, Any]:
        return a - b, (np.shape(a), np.shape(b))

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        return unbroadcast(grad, saved[0]), unbroadcast(-grad, saved[1])


class Divide(Module):
    """a / b;  dJ/da = g / b,  dJ/db = -g / b * a / b, whose b^2 might be out of range."""

    def forward(self, a: Any, b: Any) -> tuple[Any, Any]:
        return a / b, (a, b)

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        a, b = saved
        grad_a = grad / b
        return unbroadcast(grad_a, np.shape(a)), unbroadcast(-grad_a * (a / b), np.shape(b))


class Power(Module):
    """a^n for a fixed number n;  dJ/da = g n a^(n - 1)."""

    def __init__(self, n: float) -> None:
        self.n = n

    def forward(self, a: Any) -> tuple[Any, Any]:
        return a**self.n, a

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        if self.n == 0:  # a^0 is 1 wherever a is, at 0 too, where a^-1 is not
            return (np.zeros_like(saved),)
        return (grad * self.n * saved ** (self.n - 1),)

    def __repr__(self) -> str:
        return f"^{self.n:g}"


NEGATE = Elementwise("−", lambda x: -x, lambda x, y: -1.0)

OPERATORS: dict[type[ast.operator], Callable[[], Module]] = {
    ast.Add: tape.Add,
    ast.Sub: Subtract,
    ast.Mult: tape.Multiply,
    ast.Div: Divide,
    ast.MatMult: tape.MatMul,
}

FUNCTIONS: dict[str, Callable[[], Module]] = {
    "tanh": lambda: Activation("tanh", activations.Tanh()),
    "sigmoid": lambda: Activation("sigmoid", activations.Sigmoid()),
    "relu": lambda: Activation("relu", activations.ReLU()),
    "leaky_relu": lambda: Activation("leaky_relu", activations.LeakyReLU()),
    "elu": lambda: Activation("elu", activations.ELU()),
    "selu": lambda: Activation("selu", activations.SELU()),
    "gelu": lambda: Activation("gelu", activations.GELU()),
    "softmax": lambda: Activation("softmax", losses.Softmax()),
    "exp": lambda: Elementwise("exp", np.exp, lambda x, y: y),
    "log": lambda: Elementwise("log", np.log, lambda x, y: 1 / x),
    "sqrt": lambda: Elementwise("sqrt", np.sqrt, lambda x, y: 0.5 / y),
    "sum": shapes.Sum,
    "mean": shapes.Mean,
}
