"""Activation functions, element by element, each with its derivative. y is the output, g = dJ/dy, dJ/dx = g y'.

    Sigmoid      y = 1 / (1 + e^-x)                        y' = y (1 - y)
    Tanh         y = tanh x                                y' = 1 - y^2
    ReLU         y = max(x, 0)                             y' = [x > 0]
    LeakyReLU    y = x if x > 0 else a x                   y' = 1 or a
    ELU          y = x if x > 0 else a (e^x - 1)           y' = 1 or y + a                  Clevert et al. 2016
    SELU         y = s ELU(x) with the s, a below          y' = s or y + s a                Klambauer et al. 2017
    GELU         y = x P(x), P the normal distribution     y' = P(x) + x e^(-x^2/2) / sqrt(2 pi)
    GELUTanh     y = x (1 + tanh u) / 2,                   y' = (1 + t) / 2 + x (1 - t^2) u' / 2,  t = tanh u,
                 u = sqrt(2/pi) (x + 0.044715 x^3)         u' = sqrt(2/pi) (1 + 3 * 0.044715 x^2)
GELU is Hendrycks & Gimpel 2016 (arXiv:1606.08415), GELUTanh its second formula, the one of GPT-2. At the kink of ReLU,
LeakyReLU and ELU the derivative from the left is taken, as in torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rung.scratch.tape import Module

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


class Sigmoid(Module):
    """y = 1 / (1 + e^-x);  y' = y (1 - y). Of e^-|x| alone it cannot overflow, and is no 0 far below 0."""

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        y = sigmoid(x)
        return y, y

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        y = saved
        return (grad * y * (1 - y),)


class Tanh(Module):
    """y = tanh x;  y' = 1 - y^2."""

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        y = np.tanh(x)
        return y, y

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        slope = np.asarray(saved * saved)  # of a single number NumPy would make no array
        np.subtract(1, slope, out=slope)
        slope *= grad
        return (slope,)


class LeakyReLU(Module):
    """y = x where x > 0, elsewhere slope * x;  y' = 1 or slope."""

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = slope

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        positive = x > 0
        return np.where(positive, x, self.slope * x), positive

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        return (np.where(saved, grad, self.slope * grad),)


class ReLU(LeakyReLU):
    """y = max(x, 0);  y' = 1 or 0: the leaky one, without a leak."""

    def __init__(self) -> None:
        super().__init__(0.0)


class ELU(Module):
    """y = scale * (x where x > 0, elsewhere alpha (e^x - 1));  y' = scale, or scale * alpha * e^x."""

    def __init__(self, alpha: float = 1.0, scale: float = 1.0) -> None:
        self.alpha = alpha
        self.scale = scale

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        return self.scale * np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0))), x

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        x = saved
        slope = np.where(x > 0, 1, self.alpha * np.exp(np.minimum(x, 0)))
        return (grad * self.scale * slope,)


class SELU(ELU):
    """ELU with the scale and alpha that keep mean 0 and variance 1 through deep networks."""

    def __init__(self) -> None:
        super().__init__(SELU_ALPHA, SELU_SCALE)


class GELU(Module):
    """y = x P(x) with P(x) = (1 + erf(x / sqrt 2)) / 2;  y' = P(x) + x e^(-x^2 / 2) / sqrt(2 pi).

    NumPy has no erf, so Python's is called for each number: exact, and slow.
    """

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        erf = np.asarray(_erf(x * math.sqrt(0.5)), x.dtype)
        cdf = 0.5 * (1 + erf)
        return x * cdf, (x, cdf)

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        x, cdf = saved
        return (grad * (cdf + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)),)


class GELUTanh(Module):
    """y = x (1 + t) / 2, t = tanh u, u = c (x + k x^3);  y' = (1 + t) / 2 + x (1 - t^2) c (1 + 3 k x^2) / 2.

    The widest array of a transformer passes here, so every step but the first writes into an array already made.
    """

    C, K = math.sqrt(2 / math.pi), 0.044715

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        t = np.asarray(x * x)
        t *= self.C * self.K
        t += self.C
        t *= x
        np.tanh(t, out=t)
        y = t + 1
        y *= x
        y *= 0.5
        return y, (x, t)

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        x, t = saved
        slope = x * x
        slope *= 3 * self.C * self.K
        slope += self.C
        slope *= x  # x u'
        square = np.asarray(t * t)
        np.subtract(1, square, out=square)
        slope *= square  # x u' (1 - t^2)
        slope += t
        slope += 1
        slope *= grad
        slope *= 0.5
        return (slope,)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x) of an array, without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


_erf = np.frompyfunc(math.erf, 1, 1)
