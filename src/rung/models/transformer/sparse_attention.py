"""Attention in which a position sees only some of those before it, in time and memory that grow with what it sees.

    local      the last few positions, its own among them (Child et al. 2019; as Mistral has it)
    strided    its own position and every stride-th before it

Child et al. 2019, "Generating long sequences with sparse transformers" (arXiv:1904.10509), section 4.3: with a window
and a stride of about sqrt(T), two layers of both reach everything in T sqrt(T) steps in place of T^2.

Both equal softmax attention under their mask. Positions are read in blocks, each with the keys that it can see at all;
or by what they leave when divided by the stride, and then each sees all before it among its own.

Shapes: B rows, H heads of D, the T last of n inputs ask: q (B, H, T, D), k and v (B, H, n, D).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_BLOCK = 16
BLOCK_COSTS = 128
"""What cutting a text into blocks costs, in keys more that each query could see instead."""


def block_size(local: int) -> int:
    """Queries in a block, about half a window: more of them see more keys in vain, fewer are copied more often."""
    return max(SMALLEST_BLOCK, (local + 1) // 2)


def is_cut_in_blocks(local: int | None, length: int) -> bool:
    """Whether blocks are less work for so many queries than masking all keys that are too far off."""
    return local is not None and 2 * (block_size(local) + local) + BLOCK_COSTS <= length


def local_attention(
    q: Tensor, k: Tensor, v: Tensor, local: int, slopes: list[float] | None = None, dropout: float = 0.0
) -> Tensor:
    """Each position attends to the last `local`, its own included, (B, H, T, D).

    Args:
        q, k, v: as above.
        local: the window.
        slopes: ALiBi's, one a head; None = none.
        dropout: the share of weights dropped.
    """
    length, known = q.shape[2], k.shape[2] - q.shape[2]
    if length == 1:
        return _attend_to_all(q, k[:, :, -local:], v[:, :, -local:], 1, slopes, dropout)
    block = block_size(local)
    reach = block + local - 1  # keys that a block can see
    n_blocks = -(-length // block)
    beyond = n_blocks * block - length
    front = local - 1 - known  # keys missing before the first block; below 0: so many too many
    q = F.pad(q, (0, 0, 0, beyond)).unflatten(2, (n_blocks, block))  # (B, H, blocks, block, D)
    k, v = (
        F.pad(part, (0, 0, front, beyond)).unfold(2, reach, block).transpose(3, 4) for part in (k, v)
    )  # (B, H, blocks, reach, D)
    at = torch.arange(reach, device=q.device)
    distance = torch.arange(block, device=q.device)[:, None] + local - 1 - at  # (block, reach)
    there = at >= front - block * torch.arange(n_blocks, device=q.device)[:, None]  # (blocks, reach)
    visible = ((distance >= 0) & (distance < local)) & there[:, None]
    return _attend_in_parts(q, k, v, visible, distance, slopes, dropout).flatten(2, 3)[:, :, :length]


def strided_attention(
    q: Tensor, k: Tensor, v: Tensor, stride: int, slopes: list[float] | None = None, dropout: float = 0.0
) -> Tensor:
    """Each position attends to itself and those `stride`, 2 `stride`, ... before it; as `local_attention`."""
    length, known = q.shape[2], k.shape[2] - q.shape[2]
    if length == 1:
        first = known % stride
        return _attend_to_all(q, k[:, :, first::stride], v[:, :, first::stride], stride, slopes, dropout)
    front, beyond = -known % stride, -length % stride
    q = (
        F.pad(q, (0, 0, 0, beyond)).unflatten(2, (-1, stride)).transpose(2, 3)
    )  # (B, H, stride, T / stride, D)
    k, v = (F.pad(part, (0, 0, front, beyond)).unflatten(2, (-1, stride)).transpose(2, 3) for part in (k, v))
    if known == 0 and slopes is None:
        y = F.scaled_dot_product_attention(
            q.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2), None, dropout, is_causal=True
        ).view_as(q)
    else:
        n_queries, n_keys = q.shape[3], k.shape[3]
        at = torch.arange(n_keys, device=q.device)
        steps = torch.arange(n_keys - n_queries, n_keys, device=q.device)[:, None] - at
        # What was put before the first key is no key; it stands first among its own.
        there = (at > 0) | (torch.arange(stride, device=q.device)[:, None] >= front)  # (stride, keys)
        y = _attend_in_parts(q, k, v, (steps >= 0) & there[:, None], steps * stride, slopes, dropout)
    return y.transpose(2, 3).flatten(2, 3)[:, :, :length]


def _attend_in_parts(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    visible: Tensor,
    distance: Tensor,
    slopes: list[float] | None,
    dropout: float,
) -> Tensor:
    """Of q (B, H, parts, Q, D) and k, v (B, H, parts, K, D), `visible` (parts, Q, K), `distance` (Q, K): as q."""
    if slopes is None:
        y = F.scaled_dot_product_attention(
            q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), visible[None], dropout
        )
    else:
        falling = -_column(slopes, q) * distance  # (H, Q, K)
        bias = falling[:, None].masked_fill(~visible, -torch.inf)  # (H, parts, Q, K)
        y = F.scaled_dot_product_attention(
            q.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2), bias.flatten(0, 1)[None].to(q.dtype), dropout
        )
    return y.view_as(q)


def _attend_to_all(
    q: Tensor, k: Tensor, v: Tensor, step: int, slopes: list[float] | None, dropout: float
) -> Tensor:
    """Of one query, q (B, H, 1, D), and keys that stand `step` apart, the last of them its own."""
    if slopes is None:
        return F.scaled_dot_product_attention(q, k, v, None, dropout)
    distance = torch.arange(k.shape[2] - 1, -1, -1, device=q.device) * step
    return F.scaled_dot_product_attention(q, k, v, (-_column(slopes, q) * distance).to(q.dtype), dropout)


def _column(slopes: list[float], like: Tensor) -> Tensor:
    return torch.tensor(slopes, device=like.device)[:, None, None]
