"""Attention from one text to another: softmax(q k / sqrt(D)) v, queries of the one, keys and values of the other.

Vaswani et al. 2017 (arXiv:1706.03762), section 3.2.3. Keys and values are made once a source, whatever is asked of them
later. And self-attention that goes on from what it has read: the same numbers as all at once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rung.models.transformer.attention import Attention
from rung.models.transformer.positions import apply_rotary

Memory = tuple[Tensor, Tensor]
"""Keys and values, (B, H, S, D) each."""


class CrossAttention(nn.Module):
    """Each position of a text asks, those of its source offer and tell.

    Args:
        n_embd: C, H heads of D = C / H each.
        n_head: H.
        dropout: share of what attention passes, and of what comes of it, that is dropped in training.
        bias: whether the linear layers add one.
    """

    def __init__(self, n_embd: int, n_head: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.n_head, self.head_size = n_head, n_embd // n_head
        self.query = nn.Linear(n_embd, n_embd, bias=bias)
        self.key_value = nn.Linear(n_embd, 2 * n_embd, bias=bias)
        self.project = nn.Linear(n_embd, n_embd, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def memory(self, source: Tensor) -> Memory:
        """States of a source (B, S, C) -> its keys and values."""
        rows, length, _ = source.shape
        heads = self.key_value(source).view(rows, length, 2 * self.n_head, self.head_size).transpose(1, 2)
        keys, values = heads.split(self.n_head, dim=1)
        return keys, values

    def forward(self, x: Tensor, memory: Memory, there: Tensor | None) -> Tensor:
        """(B, T, C) -> (B, T, C). `there` (B, 1, 1, S) says which positions are the source's; None = all."""
        rows, length, width = x.shape
        q = self.query(x).view(rows, length, self.n_head, self.head_size).transpose(1, 2)
        drop = self.dropout.p if self.training else 0.0
        y = F.scaled_dot_product_attention(q, *memory, there, drop)
        return self.dropout(self.project(y.transpose(1, 2).reshape(rows, length, width)))

    def weights(self, x: Tensor, memory: Memory, there: Tensor | None) -> Tensor:
        """How much each position of x (B, T, C) looks at each of its source, head by head: (B, H, T, S)."""
        rows, length, _ = x.shape
        q = self.query(x).view(rows, length, self.n_head, self.head_size).transpose(1, 2)
        scores = q @ memory[0].transpose(2, 3) / self.head_size**0.5
        if there is not None:
            scores = scores.masked_fill(~there, -torch.inf)
        return scores.softmax(dim=-1)


def attend_further(attention: Attention, x: Tensor, past: Memory | None) -> tuple[Tensor, Memory]:
    """Self-attention of T more inputs x (B, T, C) behind those whose keys and values `past` has: what comes of it, and
    the keys and values of all."""
    rows, length, width = x.shape
    heads = attention.qkv(x).view(rows, length, -1, attention.head_size)
    q, k, v = heads.split([attention.n_head, attention.n_kv_head, attention.n_kv_head], dim=2)
    if attention.query_norm is not None and attention.key_norm is not None:
        q, k = attention.query_norm(q), attention.key_norm(k)
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    before = 0 if past is None else past[0].shape[2]
    if attention.rotary is not None:
        cos, sin = attention.rotary.cos_sin(before, length, attention.head_size, q)
        q, k = apply_rotary(q, cos, sin), apply_rotary(k, cos, sin)
    if past is not None:
        k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
    kept = k, v
    if attention.n_kv_head < attention.n_head:
        group_size = attention.n_head // attention.n_kv_head
        k, v = k.repeat_interleave(group_size, dim=1), v.repeat_interleave(group_size, dim=1)
    distance = (before + torch.arange(length, device=x.device))[:, None] - torch.arange(
        before + length, device=x.device
    )
    mask = None if length == 1 else distance >= 0
    y = F.scaled_dot_product_attention(q, k, v, mask)
    return attention.project(y.transpose(1, 2).reshape(rows, length, width)), kept
