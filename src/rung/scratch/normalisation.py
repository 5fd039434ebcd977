"""Norms: mean 0, variance 1, then a scale w and a shift b that are learned.

    y = w * n + b,   n = (x - mean) / s,   s = sqrt(variance + eps)

With g = dJ/dy and h = g * w, and with both means taken over the M numbers that were normed together,

    dJ/dw = sum g n,   dJ/db = sum g,   dJ/dx = (h - mean(h) - n * mean(h n)) / s

The last two terms are there because each x also moves the mean and the variance. LayerNorm (Ba et al. 2016,
arXiv:1607.06450) norms each row over its last axis, BatchNorm1d (Ioffe & Szegedy 2015, arXiv:1502.03167) each column
over the batch. Variances divide by M.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from rung.scratch.tape import Module, Value


class LayerNorm(Module):
    """(..., C) -> (..., C), each row of C numbers normed by itself; formulas above with M = C."""

    weights: ClassVar = ("weight", "bias")

    def __init__(self, width: int, *, eps: float = 1e-5, dtype: Any = np.float64) -> None:
        self.weight = Value(np.ones(width, dtype), "weight")
        self.bias = Value(np.zeros(width, dtype), "bias")
        self.eps = eps

    def forward(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, Any]:
        if x.shape[-1:] != weight.shape:
            raise ValueError(f"rows must be {len(weight)} wide")
        normed = x - _row_means(x)
        std = _row_means(normed * normed)
        std += self.eps
        np.sqrt(std, out=std)
        normed /= std
        y = normed * weight
        y += bias
        return y, (normed, std, weight)

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        normed, std, weight = saved
        rows = grad.reshape(-1, len(weight))
        grad_weight = np.einsum("ij,ij->j", rows, normed.reshape(rows.shape))
        out = grad * weight
        correction = normed * _row_means(out * normed)
        correction += _row_means(out)
        out -= correction
        out /= std
        return out, grad_weight, rows.sum(0)


class BatchNorm1d(Module):
    """(N, C) -> (N, C), each column normed over the batch; formulas above with M = N.

    While training, running averages of mean and variance are kept (momentum 0.1; the variance that is kept divides by
    N - 1, as in torch). Afterwards they are used in place of the batch's, and then dJ/dx is just h / s.
    """

    weights: ClassVar = ("weight", "bias")

    def __init__(
        self, width: int, *, eps: float = 1e-5, momentum: float = 0.1, dtype: Any = np.float64
    ) -> None:
        self.weight = Value(np.ones(width, dtype), "weight")
        self.bias = Value(np.zeros(width, dtype), "bias")
        self.running_mean = np.zeros(width, dtype)
        self.running_var = np.ones(width, dtype)
        self.eps = eps
        self.momentum = momentum

    def forward(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, Any]:
        if x.ndim != 2 or x.shape[1:] != weight.shape:
            raise ValueError(f"the input must be (N, {len(weight)})")
        if self.training and len(x) < 2:
            raise ValueError("one row alone has no variance; give two or more, or call .train(False)")
        mean, variance = self.running_mean, self.running_var
        if self.training:
            mean, variance = x.mean(0), x.var(0)
            self.running_mean += self.momentum * (mean - self.running_mean)
            self.running_var += self.momentum * (variance * (len(x) / (len(x) - 1)) - self.running_var)
        std = np.sqrt(variance + self.eps)
        normed = (x - mean) / std
        return weight * normed + bias, (normed, std, weight, self.training)

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        normed, std, weight, batch_statistics = saved
        out = grad * weight
        if batch_statistics:
            out = out - out.mean(0) - normed * (out * normed).mean(0)
        return out / std, (grad * normed).sum(0), grad.sum(0)


def _row_means(x: np.ndarray) -> np.ndarray:
    """Means over the last axis, kept as an axis of 1; a product with ones is BLAS's, and faster than `mean`."""
    width = x.shape[-1]
    return x @ np.full((width, 1), 1 / width, x.dtype)
