"""The feed-forward part of a block: each position by itself, (B, T, C) -> (B, T, C)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FeedForward(nn.Module):
    """activation(x E) P: several times as wide, a nonlinearity, and back. GPT-2's has GELU, four times as wide."""

    def __init__(
        self,
        n_embd: int,
        n_hidden: int,
        dropout: float,
        bias: bool,
        activation: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.expand = nn.Linear(n_embd, n_hidden, bias=bias)
        self.project = nn.Linear(n_hidden, n_embd, bias=bias)
        self.dropout = nn.Dropout(dropout)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.project(self.activation(self.expand(x))))


class SwiGLU(nn.Module):
    """(silu(x G) * x E) P: one half decides how much of the other passes. Shazeer 2020 (arXiv:2002.05202), eq. 6."""

    def __init__(self, n_embd: int, n_hidden: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.gate = nn.Linear(n_embd, n_hidden, bias=bias)
        self.expand = nn.Linear(n_embd, n_hidden, bias=bias)
        self.project = nn.Linear(n_hidden, n_embd, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.project(F.silu(self.gate(x)) * self.expand(x)))


def gelu(x: Tensor) -> Tensor:
    """x Phi(x) by its tanh formula, as in GPT-2: Hendrycks and Gimpel 2016 (arXiv:1606.08415)."""
    return F.gelu(x, approximate="tanh")


def squared_relu(x: Tensor) -> Tensor:
    """max(x, 0)^2: So et al. 2021, "Primer" (arXiv:2109.08668)."""
    return _SquaredReLU.apply(x)


class _SquaredReLU(torch.autograd.Function):
    """With the gradient written out, 2 max(x, 0): torch's own way, a power and a threshold, takes 3 times as long."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        positive = F.relu(x)
        ctx.save_for_backward(positive)
        return positive * positive

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        return (grads[0] * positive).mul_(2)
