"""Feed-forward parts other than GPT-2's: each position by itself, (B, T, C) -> (B, T, C)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


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


class SquaredReLU(nn.Module):
    """max(x E, 0)^2 P: So et al. 2021, "Primer" (arXiv:2109.08668)."""

    def __init__(self, n_embd: int, n_hidden: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.expand = nn.Linear(n_embd, n_hidden, bias=bias)
        self.project = nn.Linear(n_hidden, n_embd, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.project(F.relu(self.expand(x)).square()))
