"""How a transformer is told where a token stands. Without any of these, attention sees a set, not a sequence.

Added to what a token is, before the first block: learned or sinusoidal (`embeddings`).
Inside every attention, where a query meets a key:
    rotary      both are turned by an angle that grows with their position, so that their product knows only how
                far apart they stand: Su et al. 2021 (arXiv:2104.09864), eq. 34, with the pairs (i, i + D/2)
    alibi       scores fall off with distance, in each head at its own pace: Press et al. 2021 (arXiv:2108.12409)

Nothing here is stored: a few thousand sines cost less than their upkeep in checkpoints would.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def sinusoids(past: int, length: int, like: Tensor) -> Tensor:
    """Waves (T, C) of the positions past, past + 1, ...: sin and cos of position / 10000^(2i/C) side by side."""
    width = like.shape[-1]
    angles = _angles(past, length, torch.arange(0, width, 2, device=like.device) / width, 10_000.0)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width].to(like.dtype)


class Rotary(nn.Module):
    """Rotates queries and keys (B, H, T, D), D even."""

    def __init__(self, base: float) -> None:
        super().__init__()
        self.base = base

    def forward(self, q: Tensor, k: Tensor, past: int = 0) -> tuple[Tensor, Tensor]:
        cos, sin = self.cos_sin(past, q.shape[2], q.shape[3], q)
        return apply_rotary(q, cos, sin), apply_rotary(k, cos, sin)

    def cos_sin(self, past: int, length: int, head_size: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines (T, D/2) for the positions past, past + 1, ..."""
        exponents = torch.arange(0, head_size, 2, device=like.device) / head_size
        angles = _angles(past, length, exponents, self.base)
        return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`x` (..., T, D), each position rotated by its own angles (T, D/2)."""
    return _ApplyRotary.apply(x, cos, sin)


class _ApplyRotary(torch.autograd.Function):
    """With the gradient written out: what was rotated one way is rotated back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotate(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotate(grads[0], cos, sin, -1), None, None


def _rotate(x: Tensor, cos: Tensor, sin: Tensor, direction: int) -> Tensor:
    out = torch.empty_like(x)
    (first, second), (left, right) = x.chunk(2, dim=-1), out.chunk(2, dim=-1)  # two coordinates of D/2 planes
    torch.mul(first, cos, out=left).addcmul_(second, sin, value=-direction)
    torch.mul(second, cos, out=right).addcmul_(first, sin, value=direction)
    return out


def _angles(past: int, length: int, exponents: Tensor, base: float) -> Tensor:
    """position / base^exponent, (T, len(exponents)), in float32 whatever the network computes in."""
    positions = torch.arange(past, past + length, device=exponents.device, dtype=torch.float32)
    return torch.outer(positions, 1.0 / base ** exponents.float())


def alibi_slopes(n_head: int) -> list[float]:
    """How steeply scores fall with distance, head by head: 2^(-8/H), 2^(-16/H), ... 2^(-8).

    For a number of heads that is no power of two: those of the next lower power, then every other one of the
    next higher's, as the paper's own code has it.
    """
    lower = 1 << n_head.bit_length() - 1
    slopes = [2 ** (-8 * i / lower) for i in range(1, lower + 1)]
    between = [2 ** (-4 * i / lower) for i in range(1, 2 * lower + 1, 2)]
    return slopes + between[: n_head - lower]
