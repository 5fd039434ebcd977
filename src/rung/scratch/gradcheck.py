"""Is a derivative right? Move each number a little and see what the loss does.

    df/dx = (8 (f(x + h) - f(x - h)) - (f(x + 2h) - f(x - 2h))) / 12h + O(h^4)

the central difference of five points; any module's `backward` must say the same. What is differentiated is
J = sum r * y with random r, so that every output counts. The error is relative to the larger of the two, or to 0.001.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rung.errors import UserError
from rung.scratch import activations, attention, layers, losses, normalisation, recurrent, shapes, tape
from rung.scratch.tape import Module, Tape, Value, no_grad

H = 2e-4
MIN_SCALE = 1e-3


class WrongGradient(UserError):
    """A `backward` that does not say what finite differences say."""


def gradcheck(
    module: Callable[..., Any], inputs: Sequence[Any], *, tolerance: float = 1e-6, seed: int = 0
) -> float:
    """Check the gradient of every input that holds floats, and of every weight of `module`.

    Args:
        module: a `Module` with weights in float64, or any function that applies some.
        inputs: arrays; those of floats are checked. Keep away from kinks, which have no derivative.
        tolerance: the largest relative error allowed.
        seed: of r.

    Returns the largest relative error. Raises WrongGradient, naming the input, the index and both numbers.
    """
    rng = np.random.default_rng(seed)
    values = [Value(np.array(x, np.float64)) if np.asarray(x).dtype.kind == "f" else x for x in inputs]

    def outputs(fresh: Callable[..., Any]) -> tuple[Value, ...]:
        made = fresh(*values)
        return made if isinstance(made, tuple) else (made,)

    # A copy for each run: what one run drew (Dropout) or counted (BatchNorm1d) is not there in the next.
    ours = copy.deepcopy(module)
    with Tape() as recorded:
        made = outputs(ours)
        rs = [rng.standard_normal(y.shape) for y in made]
        loss = shapes.sum_of(made[0] * rs[0])
        for y, r in zip(made[1:], rs[1:], strict=True):
            loss = loss + shapes.sum_of(y * r)
    recorded.backward(loss)

    def f() -> float:
        with no_grad():
            made = outputs(copy.deepcopy(module))
            return sum(float((y.data * r).sum()) for y, r in zip(made, rs, strict=True))

    checked = {f"input {i}": (v, v.grad) for i, v in enumerate(values) if isinstance(v, Value)}
    if isinstance(module, Module) and isinstance(ours, Module):
        moved = module.parameters()
        checked |= {name: (moved[name], value.grad) for name, value in ours.parameters().items()}
    worst = 0.0
    for name, (value, grad) in checked.items():
        if value.data.dtype != np.float64:
            raise UserError(f"gradcheck of {module}: {name} is {value.data.dtype}; differences need float64")
        grad = np.zeros(value.shape) if grad is None else grad
        if grad.shape != value.shape:
            raise WrongGradient(f"{module}: {name} is of shape {value.shape}, its gradient of {grad.shape}")
        for index in np.ndindex(value.shape):
            numeric = _five_point_derivative(f, value.data, index)
            scale = max(abs(grad[index]), abs(numeric), MIN_SCALE)
            error = abs(grad[index] - numeric) / scale
            worst = max(worst, float(error))
            if not error <= tolerance:  # NaN is no small error
                place = f"[{', '.join(map(str, index))}]" if index else ""
                raise WrongGradient(
                    f"{module}: the gradient of {name}{place} is {grad[index]:.10g} by backward and"
                    f" {numeric:.10g} by finite differences (relative error {error:.2g})"
                )
    return worst


def modules_to_check(rng: np.random.Generator) -> dict[str, tuple[Callable[..., Any], list[Any]]]:
    """Every module of the engine with inputs of random numbers and, within what it takes, random shapes."""
    b, t, n, m = (int(size) for size in rng.integers(2, 5, 4))
    width = int(rng.integers(3, 7))  # two numbers normed together are always -1 and 1, with slopes near zero
    heads = int(rng.integers(1, 3))

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape)

    def away_from_zero(*shape: int) -> np.ndarray:
        """Not within 0.01 of 0, where some activations have a kink."""
        x = normal(*shape)
        return x + 0.01 * np.sign(x)

    def classes(high: int, *shape: int) -> np.ndarray:
        return rng.integers(0, high, shape)

    norm = normalisation.BatchNorm1d(n)
    norm.train(False)
    elementwise = ["Sigmoid", "Tanh", "ReLU", "LeakyReLU", "ELU", "SELU", "GELU", "GELUTanh"]
    return {
        **{name: (getattr(activations, name)(), [away_from_zero(b, n)]) for name in elementwise},
        "Add": (tape.Add(), [normal(b, 1, n), normal(t, 1)]),
        "Multiply": (tape.Multiply(), [normal(b, t, n), normal(n)]),
        "MatMul": (tape.MatMul(), [normal(b, 1, t, n), normal(m, n, 2)]),
        "Reshape": (shapes.Reshape(-1, n), [normal(b, t, n)]),
        "Transpose": (shapes.Transpose(1, 2, 0), [normal(b, t, n)]),
        "Sum": (shapes.Sum(1), [normal(b, t, n)]),
        "Mean": (shapes.Mean((0, 2)), [normal(b, t, n)]),
        "Stack": (shapes.Stack(), [normal(b, n), normal(b, n), normal(b, n)]),
        "Unstack": (shapes.Unstack(), [normal(b, t, n)]),
        "Softmax": (losses.Softmax(), [normal(b, n)]),
        "LogSoftmax": (losses.LogSoftmax(), [normal(b, n)]),
        "NegativeLogOf": (losses.NegativeLogOf(), [0.1 + rng.random((b, n)), classes(n, b)]),
        "CrossEntropy": (losses.CrossEntropy(), [normal(b, t, n), classes(n, b, t)]),
        "CrossEntropy, some without a class": (
            losses.CrossEntropy(),
            [normal(b, n), np.where(np.arange(b) == 0, -1, classes(n, b))],
        ),
        "SquaredError": (losses.SquaredError(), [normal(b, n), normal(b, n)]),
        "Linear": (layers.Linear(n, m, rng), [normal(b, t, n)]),
        "Embedding": (layers.Embedding(n, m, rng), [classes(n, b, t)]),
        "Dropout": (layers.Dropout(0.4, rng), [normal(b, n)]),
        "Flatten": (layers.Flatten(), [normal(b, t, n)]),
        "LayerNorm": (normalisation.LayerNorm(width), [normal(b, t, width)]),
        "BatchNorm1d": (normalisation.BatchNorm1d(n), [normal(width, n)]),
        "BatchNorm1d, after training": (norm, [normal(b, n)]),
        "ElmanCell": (recurrent.ElmanCell(n, m, rng), [normal(b, n), normal(b, m)]),
        "LSTMCell": (recurrent.LSTMCell(n, m, rng), [normal(b, n), normal(b, m), normal(b, m)]),
        "GRUCell": (recurrent.GRUCell(n, m, rng), [normal(b, n), normal(b, m)]),
        "CausalSelfAttention": (
            attention.CausalSelfAttention(heads * n, heads, rng),
            [normal(b, t, heads * n)],
        ),
        "Sequential": (
            layers.Sequential(layers.Linear(n, m, rng), activations.Tanh(), layers.Linear(m, n, rng)),
            [normal(b, n)],
        ),
    }


def _five_point_derivative(f: Callable[[], float], data: np.ndarray, index: tuple[int, ...]) -> float:
    """df / d data[index] by the formula above; data is as before afterwards."""
    x = data[index]
    values = []
    for step in (H, -H, 2 * H, -2 * H):
        data[index] = x + step
        values.append(f())
    data[index] = x
    return (8 * (values[0] - values[1]) - (values[2] - values[3])) / (12 * H)
