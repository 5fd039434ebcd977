"""Causal attention: each position asks (query q), offers (key k), tells (value v), and hears itself and those before.

For each head, with D numbers a head and c = 1 / sqrt(D),

    s = c q k^T, the future set to -infinity       dJ/dq = c ds k,   dJ/dk = c ds^T q
    p = softmax(s), row by row                     ds = p * (dp - sum over the row of dp * p)
    y = p v                                        dp = g v^T,       dJ/dv = p^T g

Vaswani et al. 2017 (arXiv:1706.03762), eq. 1. Shapes: B rows, T positions, C = H heads x D.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rung.errors import UserError
from rung.scratch.layers import Linear
from rung.scratch.tape import Module, Value


class CausalAttention(Module):
    """The formulas above, all heads at once: (B, T, 3C), q, k and v side by side -> (B, T, C)."""

    def __init__(self, n_head: int) -> None:
        self.n_head = n_head

    def forward(self, qkv: np.ndarray) -> tuple[np.ndarray, Any]:
        rows, length, width = qkv.shape
        q, k, v = self._heads(qkv)  # each (B, H, T, D)
        scale = 1 / math.sqrt(q.shape[-1])
        p = q @ k.swapaxes(-1, -2)  # (B, H, T, T)
        p *= scale
        p += np.triu(np.full((length, length), -np.inf, p.dtype), 1)
        p -= p.max(-1, keepdims=True)
        np.exp(p, out=p)
        p /= p.sum(-1, keepdims=True)
        y = np.empty((rows, length, self.n_head, width // (3 * self.n_head)), qkv.dtype)
        np.matmul(p, v, out=y.swapaxes(1, 2))
        return y.reshape(rows, length, -1), (qkv, p, scale)

    def backward(self, saved: Any, grad: np.ndarray) -> Sequence[np.ndarray]:
        qkv, p, scale = saved
        q, k, v = self._heads(qkv)
        out = np.empty_like(qkv)
        d_q, d_k, d_v = self._heads(out)
        g = grad.reshape(*grad.shape[:2], self.n_head, -1).swapaxes(1, 2)  # (B, H, T, D)
        np.matmul(p.swapaxes(-1, -2), g, out=d_v)
        d_s = g @ v.swapaxes(-1, -2)
        d_s -= np.einsum("bhij,bhij->bhi", d_s, p)[..., None]
        d_s *= p
        d_s *= scale
        np.matmul(d_s, k, out=d_q)
        np.matmul(d_s.swapaxes(-1, -2), q, out=d_k)
        return (out,)

    def _heads(self, qkv: np.ndarray) -> np.ndarray:
        """(B, T, 3C) -> (3, B, H, T, D), a view."""
        return qkv.reshape(*qkv.shape[:2], 3, self.n_head, -1).transpose(2, 0, 3, 1, 4)


class CausalSelfAttention(Module):
    """x (B, T, C) -> (B, T, C): one matrix makes q, k and v, another reads what the heads heard."""

    def __init__(
        self, n_embd: int, n_head: int, rng: np.random.Generator, *, dtype: Any = np.float64
    ) -> None:
        if n_embd % n_head:
            raise UserError(f"{n_head} heads cannot share a width of {n_embd}; give a divisor of it")
        self.qkv = Linear(n_embd, 3 * n_embd, rng, dtype=dtype)
        self.attend = CausalAttention(n_head)
        self.project = Linear(n_embd, n_embd, rng, dtype=dtype)

    def __call__(self, x: Any) -> Value:
        return self.project(self.attend(self.qkv(x)))
