"""Changes of shape: sums and means over axes, reshaping, transposing, stacking. Sums and products of two: `tape`.

In each derivative g = dJ/d output, of the output's shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rung.scratch.tape import Module, Value

Axis = int | tuple[int, ...] | None


class Reshape(Module):
    """The same numbers in another shape;  dJ/da = g, in the shape of a."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape

    def forward(self, a: np.ndarray) -> tuple[np.ndarray, Any]:
        return a.reshape(self.shape), a.shape

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        return (grad.reshape(saved),)


class Transpose(Module):
    """Axes in another order;  dJ/da = g, in the old order."""

    def __init__(self, *axes: int) -> None:
        self.axes = axes

    def forward(self, a: np.ndarray) -> tuple[np.ndarray, Any]:
        return a.transpose(self.axes), None

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        return (grad.transpose(np.argsort(self.axes)),)


class Sum(Module):
    """The sum over some axes, all of them by default;  dJ/da = g at every place that was summed."""

    def __init__(self, axis: Axis = None) -> None:
        self.axis = axis

    def forward(self, a: np.ndarray) -> tuple[np.ndarray, Any]:
        return a.sum(self.axis), a.shape

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        if self.axis is not None:
            grad = np.expand_dims(grad, self.axis)
        return (np.broadcast_to(grad, saved),)


class Mean(Sum):
    """The mean over n numbers;  dJ/da = g / n at each."""

    def forward(self, a: np.ndarray) -> tuple[np.ndarray, Any]:
        return a.mean(self.axis), a.shape

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        (spread,) = super().backward(saved, grad)
        return (spread * (grad.size / math.prod(saved)),)


class Stack(Module):
    """Values of one shape side by side along a new axis 1, T times (B, ...) -> (B, T, ...);  dJ/d value t = g[:, t]."""

    def forward(self, *values: np.ndarray) -> tuple[np.ndarray, Any]:
        return np.stack(values, axis=1), None

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        return [grad[:, t] for t in range(grad.shape[1])]


class Unstack(Module):
    """A value (B, T, ...) as T values (B, ...);  dJ/da[:, t] = g of part t."""

    def forward(self, a: np.ndarray) -> tuple[tuple[np.ndarray, ...], Any]:
        return tuple(a[:, t] for t in range(a.shape[1])), None

    def backward(self, saved: Any, *grads: np.ndarray) -> Sequence[np.ndarray]:
        return (np.stack(grads, axis=1),)


def reshape(a: Any, *shape: int) -> Value:
    return Reshape(*shape)(a)


def transpose(a: Any, *axes: int) -> Value:
    return Transpose(*axes)(a)


def sum_of(a: Any, axis: Axis = None) -> Value:
    return Sum(axis)(a)


def mean(a: Any, axis: Axis = None) -> Value:
    return Mean(axis)(a)


stack, unstack = Stack(), Unstack()
"""Ready to be applied, as they have neither weights nor settings."""
