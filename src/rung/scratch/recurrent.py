"""Cells: one step of a recurrent network, (input x, state) -> new state. Applied T times, the same weights get T
gradients, which add up: that is backpropagation through time, and the tape does it without being told.

Shapes: x (B, E), states (B, H), weight_ih (G H, E), weight_hh (G H, H), biases (G H,), with G = 1, 4, 3 gates in the
order of torch's cells, whose formulas these are. In the derivatives g = dJ/dh', * is element by element, and d_a is
dJ/d(what stands inside tanh or sigmoid), for all gates side by side (B, G H). From it, in every cell,

    dJ/dx = d_a W_ih,   dJ/dh = d_a W_hh (+ more),   dJ/dW_ih = d_a^T x,   dJ/dW_hh = d_a^T h,   dJ/db = sum d_a
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from rung.scratch.activations import sigmoid
from rung.scratch.tape import Module, Value


class Cell(Module):
    """The weights that the three cells have in common, uniform within 1 / sqrt(H)."""

    weights: ClassVar = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    gates: ClassVar[int]
    weight_ih: Value
    weight_hh: Value
    bias_ih: Value
    bias_hh: Value

    def __init__(
        self, n_in: int, n_hidden: int, rng: np.random.Generator, *, dtype: Any = np.float64
    ) -> None:
        shapes = [(n_in,), (n_hidden,), (), ()]
        for name, rest in zip(self.weights, shapes, strict=True):
            shape = (self.gates * n_hidden, *rest)
            bound = 1 / math.sqrt(n_hidden)
            setattr(self, name, Value(rng.uniform(-bound, bound, shape).astype(dtype), name))


class ElmanCell(Cell):
    """h' = tanh(a), a = x W_ih^T + b_ih + h W_hh^T + b_hh;  d_a = g * (1 - h'^2). Elman 1990."""

    gates = 1

    def forward(self, x: np.ndarray, h: np.ndarray, *weights: np.ndarray) -> tuple[np.ndarray, Any]:
        w_ih, w_hh, b_ih, b_hh = weights
        a = x @ w_ih.T
        a += h @ w_hh.T
        a += b_ih + b_hh
        out = np.tanh(a, out=a)
        return out, (x, h, w_ih, w_hh, out)

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        x, h, w_ih, w_hh, out = saved
        d_a = 1 - out * out
        d_a *= grad
        bias = d_a.sum(0)
        return d_a @ w_ih, d_a @ w_hh, d_a.T @ x, d_a.T @ h, bias, bias


class LSTMCell(Cell):
    """Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000. Gates i, f, n, o.

    i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o),  n = tanh(a_n),  a = x W_ih^T + b_ih + h W_hh^T + b_hh
    c' = f c + i n                      u = dJ/dc' + g * o * (1 - tanh(c')^2): through c' and through h'
    h' = o tanh(c')                     dJ/dc = u f
    d_a:  i: u n i (1 - i)   f: u c f (1 - f)   n: u i (1 - n^2)   o: g tanh(c') o (1 - o)
    """

    gates = 4

    def forward(
        self, x: np.ndarray, h: np.ndarray, c: np.ndarray, *weights: np.ndarray
    ) -> tuple[tuple[np.ndarray, np.ndarray], Any]:
        w_ih, w_hh, b_ih, b_hh = weights
        a = x @ w_ih.T + h @ w_hh.T + (b_ih + b_hh)
        a_i, a_f, a_n, a_o = np.split(a, 4, axis=1)
        i, f, n, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_n), sigmoid(a_o)
        c_next = f * c + i * n
        tanh_c = np.tanh(c_next)
        return (o * tanh_c, c_next), (x, h, c, w_ih, w_hh, i, f, n, o, tanh_c)

    def backward(self, saved: Any, grad_h: np.ndarray, grad_c: np.ndarray) -> Sequence[np.ndarray]:
        x, h, c, w_ih, w_hh, i, f, n, o, tanh_c = saved
        u = grad_c + grad_h * o * (1 - tanh_c * tanh_c)
        d_a = np.concatenate(
            [u * n * i * (1 - i), u * c * f * (1 - f), u * i * (1 - n * n), grad_h * tanh_c * o * (1 - o)],
            axis=1,
        )
        bias = d_a.sum(0)
        return d_a @ w_ih, d_a @ w_hh, u * f, d_a.T @ x, d_a.T @ h, bias, bias


class GRUCell(Cell):
    """Cho et al. 2014 (arXiv:1406.1078), in torch's form. Gates r, z, n; X = x W_ih^T + b_ih, U = h W_hh^T + b_hh.

    r, z = sigmoid(X_r + U_r), sigmoid(X_z + U_z)     d_r = d_n U_n r (1 - r),   d_z = g (h - n) z (1 - z)
    n = tanh(X_n + r U_n)                             d_n = g (1 - z) (1 - n^2)
    h' = (1 - z) n + z h                              dJ/dh = [d_r, d_z, d_n r] W_hh + g z

    The h side sees r d_n where the x side sees d_n, because r stands between U_n and the tanh.
    """

    gates = 3

    def forward(self, x: np.ndarray, h: np.ndarray, *weights: np.ndarray) -> tuple[np.ndarray, Any]:
        w_ih, w_hh, b_ih, b_hh = weights
        x_r, x_z, x_n = np.split(x @ w_ih.T + b_ih, 3, axis=1)
        u_r, u_z, u_n = np.split(h @ w_hh.T + b_hh, 3, axis=1)
        r, z = sigmoid(x_r + u_r), sigmoid(x_z + u_z)
        n = np.tanh(x_n + r * u_n)
        return (1 - z) * n + z * h, (x, h, w_ih, w_hh, u_n, r, z, n)

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        x, h, w_ih, w_hh, u_n, r, z, n = saved
        d_n = grad * (1 - z) * (1 - n * n)
        d_r = d_n * u_n * r * (1 - r)
        d_z = grad * (h - n) * z * (1 - z)
        d_x = np.concatenate([d_r, d_z, d_n], axis=1)
        d_h = np.concatenate([d_r, d_z, d_n * r], axis=1)
        return d_x @ w_ih, d_h @ w_hh + grad * z, d_x.T @ x, d_h.T @ h, d_x.sum(0), d_h.sum(0)
