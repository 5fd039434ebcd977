"""The layers every network has. Weights lie as in torch, so that they move by name: Linear's is (outputs, inputs)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from rung.scratch.tape import Module, Value


class Affine(Module):
    """y = x W^T + b, (..., I), (O, I) and (O,) -> (..., O);  dJ/dx = g W,  dJ/dW = g^T x,  dJ/db = sum g.

    There may be no b. The product and the sum run over all rows, whatever axes they are laid out in.
    """

    def forward(self, x: np.ndarray, weight: np.ndarray, *bias: np.ndarray) -> tuple[np.ndarray, Any]:
        y = x.reshape(-1, x.shape[-1]) @ weight.T
        for b in bias:
            y += b
        return y.reshape(*x.shape[:-1], len(weight)), (x, weight, bias)

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        x, weight, bias = saved
        rows = grad.reshape(-1, len(weight))
        grads = (rows @ weight).reshape(x.shape), rows.T @ x.reshape(-1, x.shape[-1])
        return (*grads, rows.sum(0)) if bias else grads


class Linear(Affine):
    """`Affine` with weights of its own, I -> O, drawn uniform within 1 / sqrt(I), as torch does."""

    weights: ClassVar = ("weight", "bias")

    def __init__(self, n_in: int, n_out: int, rng: np.random.Generator, *, dtype: Any = np.float64) -> None:
        bound = 1 / math.sqrt(n_in)
        self.weight = Value(rng.uniform(-bound, bound, (n_out, n_in)).astype(dtype), "weight")
        self.bias = Value(rng.uniform(-bound, bound, n_out).astype(dtype), "bias")

    def __repr__(self) -> str:
        return f"Linear({self.weight.shape[1]} -> {self.weight.shape[0]})"


class Lookup(Module):
    """Row i of a table for each id i, (...) and (R, E) -> (..., E);  dJ/d row i = the sum of g where i stood."""

    integer_inputs = (0,)

    def forward(self, ids: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, Any]:
        if ids.size and ids.min() < 0:
            raise IndexError(f"id {ids.min()} is below 0")
        return table[ids], (ids, table)

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray | None]:
        ids, table = saved
        out = np.zeros_like(table)
        np.add.at(out, ids, grad)
        return None, out


class Embedding(Lookup):
    """`Lookup` with a table of its own, drawn from N(0, 1)."""

    weights: ClassVar = ("weight",)

    def __init__(self, n_rows: int, width: int, rng: np.random.Generator, *, dtype: Any = np.float64) -> None:
        self.weight = Value(rng.standard_normal((n_rows, width)).astype(dtype), "weight")


class Dropout(Module):
    """y = x * m / (1 - p), m 0 with chance p and otherwise 1;  dJ/dx = g * m / (1 - p). Without training, y = x."""

    def __init__(self, p: float, rng: np.random.Generator) -> None:
        self.p = p
        self.rng = rng

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        if not self.training or self.p == 0:
            return x, None
        mask = (self.rng.random(x.shape, np.float32) >= self.p).astype(x.dtype)
        mask /= 1 - self.p
        return x * mask, mask

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        return (grad if saved is None else grad * saved,)


class Flatten(Module):
    """(B, ...) -> (B, the product of the rest);  dJ/dx = g in the shape of x."""

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        return x.reshape(len(x), -1), x.shape

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        return (grad.reshape(saved),)


class Sequential(Module):
    """One part after the other: f_n(... f_1(x)). The tape records the parts; the chain rule is the tape."""

    def __init__(self, *parts: Callable[[Any], Any]) -> None:
        self.parts = list(parts)

    def __call__(self, x: Any) -> Any:
        for part in self.parts:
            x = part(x)
        return x
