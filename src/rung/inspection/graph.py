"""The computation graph of an expression or a small model: what was made of what, each value and its gradient.

    graph = of_expression("a = 2; b = -3; c = a*b + 10; tanh(c)")
    graph = of_model("gpt")
    print(as_text(graph))

The scratch engine's own tape computes it: one forward pass records, one backward pass fills in the gradients of the
last value. An expression is a small part of Python (names, numbers, lists of numbers, + - * / ** @, a few functions,
`;` between statements). It is read by Python's parser and then walked; nothing is ever executed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import numpy as np

from rung.errors import UserError, nearest
from rung.scratch import activations, language, losses, shapes, tape
from rung.scratch.tape import Module, Record, Tape, Value, apply, unbroadcast

Kind = Literal["input", "constant", "made", "result"]
LONGEST = 2000  # characters of an expression
SHOWN = 4  # numbers of an array that are written out
SEED = 0


@dataclass(frozen=True)
class Row:
    """A value and its gradient, as text: numbers, or norms between bars. The gradient is empty where there is none."""

    name: str
    shape: str
    value: str
    gradient: str


@dataclass(frozen=True)
class Node:
    """One value of the graph.

    Attributes:
        name: what it is called; may be empty.
        formula: how it was made, for a reader.
        operation: the sign or name of what made it; empty for an input or a constant.
        kind: input (has a gradient and was given), constant (has none), made, or result (made, and the last).
        inputs: the nodes it was made of.
        output: the value itself.
        weights: those of its module, where it is used first.
    """

    name: str
    formula: str
    operation: str
    kind: Kind
    inputs: tuple[int, ...]
    output: Row
    weights: tuple[Row, ...] = ()


def of_expression(text: str) -> list[Node]:
    """The nodes of an expression, inputs before what is made of them. Raises UserError with the place at fault."""
    reader = _Reader(text)
    with np.errstate(all="ignore"), Tape() as recorded:  # what is not finite is told in words
        result = reader.run()
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
    return _nodes(records, result, reader.names, reader.formulas)


def of_model(name: str) -> list[Node]:
    """The nodes of a language model of tiny shape, from tokens to the loss of predicting each next one."""
    rng = np.random.default_rng(SEED)
    model, inputs, classes = MODELS[name](rng)
    with Tape() as recorded:
        made = model(*inputs)
        logits = made[0] if isinstance(made, tuple) else made
        result = apply(losses.CrossEntropy(), logits, classes)
        records = list(recorded.records)
        recorded.backward(result)
    names = {id(classes): "next tokens"} | {id(x): "first state" for x in inputs[1:]}
    return _model_nodes(records, result, model, names)


def as_text(nodes: Sequence[Node]) -> str:
    """A line a node: what it is, how it was made, its value, its gradient; and below it its weights."""
    rows = [("", "", "shape", "value", "gradient")]
    for node in nodes:
        for row in (node.output, *node.weights):
            first = row is node.output
            formula = _cut(node.formula, 44) if first else f"  {row.name}"
            rows.append((node.name if first else "", formula, row.shape, row.value, row.gradient))
    used = [column for column in range(5) if any(row[column] for row in rows[1:])]
    widths = {column: max(len(row[column]) for row in rows) for column in used}
    return "\n".join("  ".join(row[column].ljust(widths[column]) for column in used).rstrip() for row in rows)


def _nodes(
    records: Sequence[Record], result: Value, names: dict[int, str], formulas: dict[int, str]
) -> list[Node]:
    """The records of an expression."""
    nodes: list[Node] = []
    found: dict[int, int] = {}
    for module, inputs, (output,), _ in records:
        places = []
        for value in inputs:
            if id(value) not in found:
                kind: Kind = "input" if isinstance(value, Value) else "constant"
                # A plain number is a node of its own wherever it stands.
                name = names.get(id(value), "")
                formula = kind if name else ""
                nodes.append(Node(name, formula, "", kind, (), _row(value, _numbers)))
                found[id(value)] = len(nodes) - 1
            places.append(found[id(value)])
        found[id(output)] = len(nodes)
        sign, name = SIGNS.get(type(module).__name__, str(module)), names.get(id(output), "")
        row, kind = _row(output, _numbers), "result" if output is result else "made"
        nodes.append(Node(name, formulas[id(output)], sign, kind, tuple(places), row))
    return nodes


def _model_nodes(
    records: Sequence[Record], result: Value, model: Module, names: dict[int, str]
) -> list[Node]:
    """The records of a model: weights stand with the module that uses them."""
    weights = {id(value): name for name, value in model.parameters().items()}
    nodes: list[Node] = []
    found: dict[int, int] = {}
    shown: set[tuple[int, ...]] = set()
    for module, inputs, outputs, _ in records:
        places = []
        for value in inputs:
            if id(value) in weights:
                continue
            if id(value) not in found:
                counted = "positions" if np.array_equal(value, np.arange(np.size(value))) else "tokens"
                name = names.get(id(value), counted)
                nodes.append(Node(name, "", "", "constant", (), _row(value, _norm)))
                found[id(value)] = len(nodes) - 1
            places.append(found[id(value)])
        own = [value for value in inputs if id(value) in weights]
        rows = tuple(_row(value, _norm, weights[id(value)].rpartition(".")[2]) for value in own)
        path = weights[id(own[0])].rpartition(".")[0] if own else ""
        if own and tuple(map(id, own)) in shown:  # one cell, applied at every place
            rows = (Row(f"{rows[0].name if len(rows) == 1 else 'weights'}, as before", "", "", ""),)
        shown.add(tuple(map(id, own)))
        sign = SIGNS.get(type(module).__name__, type(module).__name__)
        for k, output in enumerate(outputs):
            found[id(output)] = len(nodes)
            title = f"{sign} {k + 1} of {len(outputs)}" if len(outputs) > 1 else sign
            kind: Kind = "result" if output is result else "made"
            row = _row(output, _norm, "output")
            nodes.append(Node(path, title, title, kind, tuple(places), row, rows if k == 0 else ()))
    return nodes


def _row(value: Any, written: Callable[[np.ndarray], str], name: str = "") -> Row:
    array = value.data if isinstance(value, Value) else np.asarray(value)
    shape = "×".join(map(str, array.shape)) if written is _norm or array.size > SHOWN else ""
    if array.dtype.kind in "iu":
        return Row(name, shape, "integers", "")
    gradient = ""
    if isinstance(value, Value):
        gradient = "0" if value.grad is None else written(value.grad)
    return Row(name, shape, written(array), gradient)


def _numbers(array: np.ndarray) -> str:
    """An array's numbers, or its norm when there are many."""
    array = np.asarray(array)
    if array.size > SHOWN:
        return _norm(array)
    if array.ndim == 0:
        return f"{array.item() + 0.0:.4g}"
    return "[" + ", ".join(_numbers(part) for part in array) + "]"


def _norm(array: np.ndarray) -> str:
    """The length of all numbers as one vector; of one number, the number."""
    return f"|{float(np.linalg.norm(array)):.3g}|" if array.ndim else f"{array.item() + 0.0:.4g}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 2]} …"


class Elementwise(Module):
    """y = f(x), element by element;  dJ/dx = g * f'(x), with f' written in x and y."""

    def __init__(self, name: str, f: Callable[[Any], Any], slope: Callable[[Any, Any], Any]) -> None:
        self.name, self.f, self.slope = name, f, slope

    def forward(self, x: Any) -> tuple[Any, Any]:
        y = self.f(x)
        return y, (x, y)

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        return (grad * self.slope(*saved),)

    def __repr__(self) -> str:
        return self.name


class Bend(Module):
    """An activation of the engine, which works on arrays, for a single number, too."""

    def __init__(self, name: str, inner: Module) -> None:
        self.name, self.inner = name, inner

    def forward(self, x: Any) -> tuple[Any, Any]:
        y, saved = self.inner.forward(np.atleast_1d(x))
        return y.reshape(np.shape(x)), (saved, np.shape(x))

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        inner, shape = saved
        (slope,) = self.inner.backward(inner, np.atleast_1d(grad))
        assert slope is not None
        return (slope.reshape(shape),)

    def __repr__(self) -> str:
        return self.name


class Subtract(Module):
    """a - b;  dJ/da = g,  dJ/db = -g."""

    def forward(self, a: Any, b: Any) -> tuple[Any, Any]:
        return a - b, (np.shape(a), np.shape(b))

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        return unbroadcast(grad, saved[0]), unbroadcast(-grad, saved[1])


class Divide(Module):
    """a / b;  dJ/da = g / b,  dJ/db = -g a / b^2."""

    def forward(self, a: Any, b: Any) -> tuple[Any, Any]:
        return a / b, (a, b)

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        a, b = saved
        return unbroadcast(grad / b, np.shape(a)), unbroadcast(-grad * a / b**2, np.shape(b))


class Power(Module):
    """a^n for a fixed number n;  dJ/da = g n a^(n - 1)."""

    def __init__(self, n: float) -> None:
        self.n = n

    def forward(self, a: Any) -> tuple[Any, Any]:
        return a**self.n, a

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        return (grad * self.n * saved ** (self.n - 1),)

    def __repr__(self) -> str:
        return f"^{self.n:g}"


SIGNS = {
    "Sum": "sum",
    "Mean": "mean",
    "Add": "+",
    "Multiply": "×",
    "MatMul": "@",
    "Subtract": "−",
    "Divide": "÷",
}
"""How an operation is drawn."""

OPERATORS: dict[type[ast.operator], Callable[[], Module]] = {
    ast.Add: tape.Add,
    ast.Sub: Subtract,
    ast.Mult: tape.Multiply,
    ast.Div: Divide,
    ast.MatMult: tape.MatMul,
}

FUNCTIONS: dict[str, Callable[[], Module]] = {
    "tanh": lambda: Bend("tanh", activations.Tanh()),
    "sigmoid": lambda: Bend("sigmoid", activations.Sigmoid()),
    "relu": lambda: Bend("relu", activations.ReLU()),
    "leaky_relu": lambda: Bend("leaky_relu", activations.LeakyReLU()),
    "elu": lambda: Bend("elu", activations.ELU()),
    "selu": lambda: Bend("selu", activations.SELU()),
    "gelu": lambda: Bend("gelu", activations.GELU()),
    "softmax": lambda: Bend("softmax", losses.Softmax()),
    "exp": lambda: Elementwise("exp", np.exp, lambda x, y: y),
    "log": lambda: Elementwise("log", np.log, lambda x, y: 1 / x),
    "sqrt": lambda: Elementwise("sqrt", np.sqrt, lambda x, y: 0.5 / y),
    "sum": shapes.Sum,
    "mean": shapes.Mean,
}


class _Reader:
    """Walks a parsed expression and applies the engine's modules; `names` and `formulas` go by a value's identity."""

    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n").replace("\r", "\n")  # lines as the parser counts them
        self._bound: dict[str, Value] = {}
        self._kept: list[Any] = []  # an identity in `names` must not be used anew
        self.names: dict[int, str] = {}
        self.formulas: dict[int, str] = {}

    def run(self) -> Value:
        """The value of the last statement."""
        if len(self._text) > LONGEST:
            raise UserError(f"the expression has {len(self._text):,} characters; {LONGEST:,} are accepted")
        if not self._text.strip():
            raise UserError("the expression is empty; 'a = 2; b = -3; tanh(a * b)' is one")
        try:
            statements = ast.parse(self._text).body
            values = [self._statement(statement) for statement in statements]
        except SyntaxError as error:
            self._refuse(error.msg, (error.lineno or 1), (error.offset or 1) - 1)
        except ValueError as error:  # a null character
            raise UserError(f"the expression can't be read: {error}") from None
        except (RecursionError, MemoryError):
            raise UserError(
                "the expression is nested too deeply; name its parts: 'c = a*b; d = c + 1'"
            ) from None
        if not values:
            raise UserError("the expression is empty; 'a = 2; b = -3; tanh(a * b)' is one")
        return values[-1]

    def _statement(self, node: ast.stmt) -> Value:
        if isinstance(node, ast.Expr):
            return self._value(node.value)
        if (
            not isinstance(node, ast.Assign)
            or len(node.targets) > 1
            or not isinstance(node.targets[0], ast.Name)
        ):
            self._fault(node, "a statement is NAME = EXPRESSION or an expression")
        name = node.targets[0].id
        if name in FUNCTIONS:
            self._fault(node, f"{name} is a function; choose another name")
        value = self._value(node.value)
        if not isinstance(node.value, ast.Name):  # b = a gives no new name to the value of a
            self.names[id(value)] = name
        self._bound[name] = value
        return value

    def _value(self, node: ast.expr) -> Value:
        """A node as a value with a gradient."""
        found = self._walk(node)
        if not isinstance(found, Value):
            found = self._keep(Value(found))
            self.names[id(found)] = ast.unparse(node)
        return found

    def _walk(self, node: ast.expr) -> Value | np.ndarray:
        """A Value, or an array without a gradient."""
        if isinstance(node, ast.Name):
            if node.id not in self._bound:
                near = nearest(node.id, [*self._bound, *MODELS])
                self._fault(node, f"{node.id} has no value yet; give it one: '{node.id} = 2; ...'{near}")
            return self._bound[node.id]
        if isinstance(node, ast.Constant):
            if isinstance(node.value, bool) or not isinstance(node.value, int | float):
                self._fault(node, f"{node.value!r} is no number")
            try:
                return self._finite(node, np.array(float(node.value)))
            except OverflowError:
                self._fault(node, "the number is too large")
        if isinstance(node, ast.List):
            return self._list(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            inner = self._walk(node.operand)
            if isinstance(node.op, ast.UAdd):
                return inner
            return -inner if not isinstance(inner, Value) else self._apply(node, _NEGATE, inner)
        if isinstance(node, ast.BinOp):
            return self._binary(node)
        if not isinstance(node, ast.Call):
            self._fault(node, "only names, numbers, lists, + - * / ** @ and functions are accepted")
        return self._call(node)

    def _binary(self, node: ast.BinOp) -> Value | np.ndarray:
        if isinstance(node.op, ast.Pow):
            a, n = self._walk(node.left), self._walk(node.right)
            if isinstance(n, Value) or n.ndim > 0:
                self._fault(
                    node.right, "an exponent is a plain number; exp(b * log(a)) has a gradient in b, too"
                )
            if not isinstance(a, Value):
                return self._finite(node, a ** float(n))
            return self._apply(node, Power(float(n)), a)
        if type(node.op) not in OPERATORS:
            what = "^ is written **" if isinstance(node.op, ast.BitXor) else "accepted are + - * / ** @"
            self._fault(node, f"unknown operator; {what}")
        module = OPERATORS[type(node.op)]()
        a, b = self._walk(node.left), self._walk(node.right)
        if not isinstance(a, Value) and not isinstance(b, Value):
            return self._finite(node, self._guarded(node, lambda: module.forward(a, b)[0]))
        return self._apply(node, module, a, b)

    def _call(self, node: ast.Call) -> Value:
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
            name = ast.unparse(node.func)
            near = nearest(name, FUNCTIONS)
            self._fault(node, f"no function {name!r}; there are {', '.join(FUNCTIONS)}{near}")
        if len(node.args) != 1 or node.keywords or isinstance(node.args[0], ast.Starred):
            self._fault(node, f"{node.func.id} takes one value")
        return self._apply(node, FUNCTIONS[node.func.id](), self._value(node.args[0]))

    def _list(self, node: ast.List) -> np.ndarray:
        parts = [self._walk(part) for part in node.elts]
        if not parts or any(isinstance(part, Value) for part in parts):
            self._fault(node, "a list holds numbers, such as [0.1, 0.3] or [[1, 2], [3, 4]]")
        if len({part.shape for part in parts}) > 1:
            self._fault(node, "the rows of a list must be of one length")
        return np.array(parts)

    def _apply(self, node: ast.expr, module: Module, *inputs: Any) -> Value:
        made = self._keep(self._guarded(node, lambda: apply(module, *inputs)))
        self._keep(inputs)
        self._finite(node, made.data)
        self.formulas[id(made)] = ast.unparse(node)
        return made

    def _guarded(self, node: ast.expr, call: Callable[[], Any]) -> Any:
        """Shapes that don't go together are told with the place."""
        try:
            return call()
        except (UserError, ValueError) as error:
            self._fault(node, str(error))

    def _finite(self, node: ast.expr, array: Any) -> np.ndarray:
        if not np.isfinite(array).all():
            self._fault(node, f"{ast.unparse(node)} is not finite ({_numbers(array)})")
        return array

    def _keep(self, value: Any) -> Any:
        self._kept.append(value)
        return value

    def _fault(self, node: ast.stmt | ast.expr, why: str) -> NoReturn:
        # The parser counts bytes of UTF-8.
        line = self._text.split("\n")[node.lineno - 1].encode()
        self._refuse(why, node.lineno, len(line[: node.col_offset].decode()))

    def _refuse(self, why: str, line: int, column: int) -> NoReturn:
        lines = self._text.split("\n")
        here = lines[line - 1][column : column + 20] if line <= len(lines) else ""
        place = f"character {column + 1}" if len(lines) < 2 else f"line {line}, character {column + 1}"
        raise UserError(f"{place} of the expression{f', at {here!r}' if here else ''}: {why}")


_NEGATE = Elementwise("−", lambda x: -x, lambda x, y: -1.0)

Rng = np.random.Generator
Built = tuple[Module, tuple[Any, ...], np.ndarray]
"""A model, what it is applied to, and the tokens that come next."""

B, T, V = 2, 3, 5  # rows, positions, vocabulary: as small as shapes stay apart


def _tokens(rng: Rng, *shape: int) -> np.ndarray:
    return rng.integers(0, V, shape)


def _bigram(rng: Rng) -> Built:
    model = language.Table(V, rng, np.float64)
    model.weight.data[...] = rng.standard_normal((V, V))  # it starts at zeros, which show little
    return model, (_tokens(rng, B, 1),), _tokens(rng, B)


def _mlp(rng: Rng) -> Built:
    model = language.Perceptron(V, T, 4, 8, 1, rng, np.float64)
    return model, (_tokens(rng, B, T),), _tokens(rng, B)


def _rnn(rng: Rng) -> Built:
    model = language.RNN(V, 4, 8, rng, np.float64)
    return model, (_tokens(rng, B, T), np.zeros((B, 8))), _tokens(rng, B, T)


def _gpt(rng: Rng) -> Built:
    model = language.Transformer(V, T, 1, 2, 8, rng, np.float64)
    return model, (_tokens(rng, B, T),), _tokens(rng, B, T)


MODELS: dict[str, Callable[[Rng], Built]] = {"bigram": _bigram, "mlp": _mlp, "rnn": _rnn, "gpt": _gpt}
"""The models that can be drawn, by the names of their rungs."""
