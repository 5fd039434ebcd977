"""A computation graph: what was made of what, each value and its gradient. Here, small models'; see also `expression`.

    print(as_text(model_graph("gpt")))

The scratch engine's own tape computes it: one forward pass records, one backward pass fills in the gradients of the
last value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rung.scratch import language, losses
from rung.scratch.tape import Module, Tape, Value, apply

Kind = Literal["input", "constant", "made", "result"]
MAX_NUMBERS = 4  # of an array that are written out
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


def model_graph(name: str) -> list[Node]:
    """The nodes of a language model of tiny shape, from tokens to the loss of predicting each next one.

    Weights stand with the module that uses them.
    """
    model, given, classes = MODELS[name](np.random.default_rng(SEED))
    with Tape() as tape:
        made = model(*given)
        logits = made[0] if isinstance(made, tuple) else made
        loss = apply(losses.CrossEntropy(), logits, classes)
        records = list(tape.records)
        tape.backward(loss)
    names = {id(classes): "next tokens"} | {id(x): "first state" for x in given[1:]}
    weight_names = {id(value): name for name, value in model.parameters().items()}
    nodes: list[Node] = []
    index: dict[int, int] = {}  # of the node of each value, by the value's identity
    shown: set[tuple[int, ...]] = set()
    for module, inputs, outputs, _ in records:
        sources = []
        for value in inputs:
            if id(value) in weight_names:
                continue
            if id(value) not in index:
                ids = "positions" if np.array_equal(value, np.arange(np.size(value))) else "tokens"
                constant = value_row(value, format_norm)
                nodes.append(Node(names.get(id(value), ids), "", "", "constant", (), constant))
                index[id(value)] = len(nodes) - 1
            sources.append(index[id(value)])
        weights = [value for value in inputs if id(value) in weight_names]
        rows = tuple(value_row(w, format_norm, weight_names[id(w)].rpartition(".")[2]) for w in weights)
        path = weight_names[id(weights[0])].rpartition(".")[0] if weights else ""
        if weights and tuple(map(id, weights)) in shown:  # one cell, applied at every position
            rows = (Row(f"{rows[0].name if len(rows) == 1 else 'weights'}, as before", "", "", ""),)
        shown.add(tuple(map(id, weights)))
        symbol = SYMBOLS.get(type(module).__name__, type(module).__name__)
        for k, output in enumerate(outputs):
            index[id(output)] = len(nodes)
            title = f"{symbol} {k + 1} of {len(outputs)}" if len(outputs) > 1 else symbol
            kind: Kind = "result" if output is loss else "made"
            row = value_row(output, format_norm, "output")
            nodes.append(Node(path, title, title, kind, tuple(sources), row, rows if k == 0 else ()))
    return nodes


def as_text(nodes: Sequence[Node]) -> str:
    """A line a node: what it is, how it was made, its value, its gradient; and below it its weights."""
    rows = [("", "", "shape", "value", "gradient")]
    for node in nodes:
        for row in (node.output, *node.weights):
            first = row is node.output
            formula = _truncate(node.formula, 44) if first else f"  {row.name}"
            rows.append((node.name if first else "", formula, row.shape, row.value, row.gradient))
    used = [column for column in range(5) if any(row[column] for row in rows[1:])]
    widths = {column: max(len(row[column]) for row in rows) for column in used}
    return "\n".join("  ".join(row[column].ljust(widths[column]) for column in used).rstrip() for row in rows)


def value_row(value: Any, format_array: Callable[[np.ndarray], str], name: str = "") -> Row:
    """A value and its gradient, each written by `format_array`; of integers, only the shape."""
    array = value.data if isinstance(value, Value) else np.asarray(value)
    shape = "×".join(map(str, array.shape)) if format_array is format_norm or array.size > MAX_NUMBERS else ""
    if array.dtype.kind in "iu":
        return Row(name, shape, "integers", "")
    gradient = ""
    if isinstance(value, Value):
        gradient = "0" if value.grad is None else format_array(value.grad)
    return Row(name, shape, format_array(array), gradient)


def format_numbers(array: np.ndarray) -> str:
    """An array's numbers, or its norm when there are many."""
    array = np.asarray(array)
    if array.size > MAX_NUMBERS:
        return format_norm(array)
    if array.ndim == 0:
        return f"{array.item() + 0.0:.4g}"
    return "[" + ", ".join(format_numbers(part) for part in array) + "]"


def format_norm(array: np.ndarray) -> str:
    """The length of all numbers as one vector; of one number, the number."""
    return f"|{float(np.linalg.norm(array)):.3g}|" if array.ndim else f"{array.item() + 0.0:.4g}"


def _truncate(text: str, max_length: int) -> str:
    return text if len(text) <= max_length else f"{text[: max_length - 2]} …"


SYMBOLS = {
    "Sum": "sum",
    "Mean": "mean",
    "Add": "+",
    "Multiply": "×",
    "MatMul": "@",
    "Subtract": "−",
    "Divide": "÷",
}
"""How an operation is drawn, by the name of its module."""

Rng = np.random.Generator
Built = tuple[Module, tuple[Any, ...], np.ndarray]
"""A model, what it is applied to, and the tokens that come next."""

B, T, V = 2, 3, 5  # rows, positions, vocabulary: as small as shapes stay apart


def _tokens(rng: Rng, *shape: int) -> np.ndarray:
    return rng.integers(0, V, shape)


def _bigram(rng: Rng) -> Built:
    model = language.Bigram(V, rng, np.float64)
    model.weight.data[...] = rng.standard_normal((V, V))  # it starts at zeros, which show little
    return model, (_tokens(rng, B, 1),), _tokens(rng, B)


def _mlp(rng: Rng) -> Built:
    model = language.MLP(V, T, 4, 8, 1, rng, np.float64)
    return model, (_tokens(rng, B, T),), _tokens(rng, B)


def _rnn(rng: Rng) -> Built:
    model = language.RNN(V, 4, 8, rng, np.float64)
    return model, (_tokens(rng, B, T), np.zeros((B, 8))), _tokens(rng, B, T)


def _gpt(rng: Rng) -> Built:
    model = language.Transformer(V, T, 1, 2, 8, rng, np.float64)
    return model, (_tokens(rng, B, T),), _tokens(rng, B, T)


MODELS: dict[str, Callable[[Rng], Built]] = {"bigram": _bigram, "mlp": _mlp, "rnn": _rnn, "gpt": _gpt}
"""The models that can be drawn, by the names of their rungs."""
