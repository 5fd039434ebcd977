"""The layers every network has. Weights lie as in torch, so they move by name: a Linear's weight is (outputs, inputs)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from rung.scratch.tape import Module, Value, apply


class Linear(Module):
    """y = x W^T + b, (..., I) -> (..., O);  dJ/dx = g W,  dJ/dW = g^T x and dJ/db = sum g over all rows.

    Args:
        n_in: I.
        n_out: O.
        rng: draws W and b uniform within 1 / sqrt(I), as torch does.
        bias: whether there is a b.
        dtype: float32 or float64.
    """

    def __init__(
        self, n_in: int, n_out: int, rng: np.random.Generator, *, bias: bool = True, dtype: Any = np.float64
    ) -> None:
        bound = 1 / math.sqrt(n_in)
        self.weight = Value(rng.uniform(-bound, bound, (n_out, n_in)).astype(dtype), "weight")
        self.bias = Value(rng.uniform(-bound, bound, n_out).astype(dtype), "bias") if bias else None

    def __call__(self, x: Any) -> Value:
        return apply(self, x, self.weight) if self.bias is None else apply(self, x, self.weight, self.bias)

    def forward(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None
    ) -> tuple[np.ndarray, Any]:
        y = x.reshape(-1, x.shape[-1]) @ weight.T
        if bias is not None:
            y += bias
        return y.reshape(*x.shape[:-1], len(weight)), (x, weight, bias is not None)

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        x, weight, has_bias = saved
        rows = grad.reshape(-1, len(weight))
        grads = [(rows @ weight).reshape(x.shape), rows.T @ x.reshape(-1, x.shape[-1])]
        if has_bias:
            grads.append(rows.sum(0))
        return grads

    def __repr__(self) -> str:
        return f"Linear({self.weight.shape[1]} -> {self.weight.shape[0]})"


class Embedding(Module):
    """Row i of a table for each id i, (...) -> (..., E);  dJ/d row i = the sum of g where i stood."""

    weights: ClassVar = ("weight",)
    integer_inputs = (0,)

    def __init__(self, n_rows: int, width: int, rng: np.random.Generator, *, dtype: Any = np.float64) -> None:
        self.weight = Value(rng.standard_normal((n_rows, width)).astype(dtype), "weight")

    def forward(self, ids: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, Any]:
        if ids.size and ids.min() < 0:
            raise ValueError("ids must be 0 or more")
        return weight[ids], (ids, weight.shape, weight.dtype)

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray | None]:
        ids, shape, dtype = saved
        out = np.zeros(shape, dtype)
        np.add.at(out, ids, grad)
        return None, out


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
