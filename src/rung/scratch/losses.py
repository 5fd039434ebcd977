"""From logits to probabilities to a loss. Logits z are (..., V), classes y integers (...), N how many of them.

    Softmax              p = e^z / sum e^z                     dp_i/dz_j = p_i ([i = j] - p_j)
    LogSoftmax           l = z - log sum e^z                   dl_i/dz_j = [i = j] - p_j
    NegativeLogOf        J = -sum_n log p[n, y_n] / N          dJ/dp[n, i] = -[i = y_n] / (N p[n, i])
    CrossEntropy         the first and the third in one        dJ/dz[n, i] = (p[n, i] - [i = y_n]) / N
    SquaredError         J = c sum (a - b)^2                   dJ/da = 2 c (a - b)

The maximum of z is taken off before the exponential: it changes nothing and nothing overflows. Logarithms are natural.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rung.scratch.tape import Module


class Softmax(Module):
    """p = e^z / sum e^z on the last axis.

    The derivative is a whole matrix, d p_i / d z_j = p_i ([i = j] - p_j): J = diag(p) - p p^T. Times the gradient from
    the left that is g J = p * (g - g.p), which needs no matrix.
    """

    def forward(self, z: np.ndarray) -> tuple[np.ndarray, Any]:
        p = softmax(z)
        return p, p

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        p = saved
        return (p * (grad - (grad * p).sum(-1, keepdims=True)),)


class LogSoftmax(Module):
    """l = z - log sum e^z on the last axis;  d l_i / d z_j = [i = j] - p_j, so dJ/dz = g - p sum(g)."""

    def forward(self, z: np.ndarray) -> tuple[np.ndarray, Any]:
        shifted = z - z.max(-1, keepdims=True)
        out = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
        return out, out

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        return (grad - np.exp(saved) * grad.sum(-1, keepdims=True),)


class NegativeLogOf(Module):
    """J = -sum_n log p[n, y_n] / N: cross-entropy from probabilities;  dJ/dp[n, i] = -[i = y_n] / (N p[n, i])."""

    integer_inputs = (1,)

    def forward(self, p: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, Any]:
        index = _class_index(p, classes, lowest=0)
        picked = p.reshape(-1, p.shape[-1])[index]
        return -np.log(picked).mean(), (p.shape, p.dtype, index, picked)

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray | None]:
        shape, dtype, index, picked = saved
        out = np.zeros((np.prod(shape[:-1], dtype=int), shape[-1]), dtype)
        out[index] = -grad / (len(picked) * picked)
        return out.reshape(shape), None


class CrossEntropy(Module):
    """J = sum_n (log sum_i e^z[n, i] - z[n, y_n]) / N, from logits;  dJ/dz = (p - one-hot(y)) / N.

    Softmax and logarithm cancel: no division by a small p, and no array but p. Class -1 is ignored: it counts nowhere.
    """

    integer_inputs = (1,)

    def forward(self, z: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, Any]:
        index = _class_index(z, classes, lowest=-1)
        p = z.reshape(-1, z.shape[-1])
        p = p - p.max(-1, keepdims=True)
        picked = p[index]
        np.exp(p, out=p)
        total = p.sum(-1, keepdims=True)
        p /= total
        losses = np.log(total[:, 0])
        losses -= picked
        ignored = index[1] < 0
        n = len(ignored) - int(np.count_nonzero(ignored))
        if n < len(ignored):
            losses[ignored] = 0
        return losses.sum() / max(n, 1), (z.shape, index, p, n, ignored)

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray | None]:
        shape, index, p, n, ignored = saved
        p[index] -= 1
        if n < len(ignored):
            p[ignored] = 0
        p *= grad / max(n, 1)
        return p.reshape(shape), None


class SquaredError(Module):
    """J = c sum (a - b)^2;  dJ/da = 2 c (a - b) = -dJ/db. By default c = 1 / size, the mean; c is `factor`."""

    def __init__(self, factor: float | None = None) -> None:
        self.factor = factor

    def forward(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
        if np.shape(a) != np.shape(b):
            raise ValueError("what is compared must have one shape")
        difference = a - b
        factor = 1 / difference.size if self.factor is None else self.factor
        return np.asarray(factor * (difference * difference).sum(), difference.dtype), (difference, factor)

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        difference, factor = saved
        out = (2 * factor * grad) * difference
        return out, -out


def softmax(z: np.ndarray) -> np.ndarray:
    """e^z / sum e^z on the last axis of an array."""
    p = z - z.max(-1, keepdims=True)
    np.exp(p, out=p)
    p /= p.sum(-1, keepdims=True)
    return p


def _class_index(scores: np.ndarray, classes: np.ndarray, *, lowest: int) -> tuple[np.ndarray, np.ndarray]:
    """The index of each row's class in the logits laid out as (N, V)."""
    if scores.shape[:-1] != classes.shape:
        raise ValueError("there must be one class for each row of scores")
    if classes.size and (classes.max() >= scores.shape[-1] or classes.min() < lowest):
        raise ValueError(f"classes must be from {lowest} to {scores.shape[-1] - 1}")
    return np.arange(classes.size), classes.reshape(-1)
