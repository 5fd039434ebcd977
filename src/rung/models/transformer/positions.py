"""How a transformer is told where a token stands. Without any of these, attention sees a set, not a sequence.

At the door, added to what a token is (B, T, C):
    learned     a row of a table; GPT-2's, in `transformer.Embedding`
    sinusoidal  waves of growing length, nothing to learn: Vaswani et al. 2017 (arXiv:1706.03762), section 3.5
Inside every attention, where a query meets a key:
    rotary      both are turned by an angle that grows with their place, so that their product knows only how
                far apart they stand: Su et al. 2021 (arXiv:2104.09864), eq. 34, with the pairs (i, i + D/2)
    alibi       scores fall off with distance, in each head at its own pace: Press et al. 2021 (arXiv:2108.12409)

Nothing here is stored: a few thousand sines cost less than their upkeep in checkpoints would.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TokenEmbedding(nn.Module):
    """What a token is, and nothing about where it stands."""

    def __init__(self, vocab_size: int, n_embd: int, dropout: float) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(vocab_size, n_embd))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, past: int = 0) -> Tensor:
        return self.dropout(F.embedding(tokens, self.tokens))  # (B, T, C)


class SineEmbedding(nn.Module):
    """What a token is, times sqrt(C) as in section 3.4 (else the waves drown it), plus the waves of its place."""

    def __init__(self, vocab_size: int, n_embd: int, dropout: float) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(vocab_size, n_embd))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, past: int = 0) -> Tensor:
        x = F.embedding(tokens, self.tokens) * math.sqrt(self.tokens.shape[1])
        return self.dropout(x + sines(past, tokens.shape[1], x))  # (B, T, C) + (T, C)


def sines(past: int, length: int, like: Tensor) -> Tensor:
    """Waves (T, C) of the places past, past + 1, ...: sin and cos of place / 10000^(2i/C) side by side."""
    width = like.shape[-1]
    angles = _angles(past, length, torch.arange(0, width, 2, device=like.device) / width, 10_000.0)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width].to(like.dtype)


class Rotary(nn.Module):
    """Turns queries and keys (B, H, T, D), D even."""

    def __init__(self, base: float) -> None:
        super().__init__()
        self.base = base

    def forward(self, q: Tensor, k: Tensor, past: int = 0) -> tuple[Tensor, Tensor]:
        cos, sin = self.turns(past, q.shape[2], q.shape[3], q)
        return turned(q, cos, sin), turned(k, cos, sin)

    def turns(self, past: int, length: int, size: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines (T, D/2) for the places past, past + 1, ..."""
        exponents = torch.arange(0, size, 2, device=like.device) / size
        angles = _angles(past, length, exponents, self.base)
        return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`x` (..., T, D), each place turned by its own angles (T, D/2)."""
    return _Turn.apply(x, cos, sin)


class _Turn(torch.autograd.Function):
    """With the gradient written out: what was turned one way is turned back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turn(grads[0], cos, sin, -1), None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor, way: int) -> Tensor:
    out = torch.empty_like(x)
    (first, second), (left, right) = x.chunk(2, dim=-1), out.chunk(2, dim=-1)  # two coordinates of D/2 planes
    torch.mul(first, cos, out=left).addcmul_(second, sin, value=-way)
    torch.mul(second, cos, out=right).addcmul_(first, sin, value=way)
    return out


def _angles(past: int, length: int, exponents: Tensor, base: float) -> Tensor:
    """place / base^exponent, (T, len(exponents)), in float32 whatever the network computes in."""
    places = torch.arange(past, past + length, device=exponents.device, dtype=torch.float32)
    return torch.outer(places, 1.0 / base ** exponents.float())


def alibi_slopes(n_head: int) -> list[float]:
    """How steeply scores fall with distance, head by head: 2^(-8/H), 2^(-16/H), ... 2^(-8).

    For a number of heads that is no power of two: those of the next lower power, then every other one of the
    next higher's, as the paper's own code has it.
    """
    lower = 1 << n_head.bit_length() - 1
    slopes = [2 ** (-8 * i / lower) for i in range(1, lower + 1)]
    between = [2 ** (-4 * i / lower) for i in range(1, 2 * lower + 1, 2)]
    return slopes + between[: n_head - lower]
