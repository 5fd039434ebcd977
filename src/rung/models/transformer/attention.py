"""Self-attention: softmax(q k / sqrt(D)) v over a position and those before it, or over a whole text.

Vaswani et al. 2017 (arXiv:1706.03762), eq. 1, masked; as GPT-2 has it, with one matrix for queries, keys and values.
What came after is a part that may be left out:

    q, k, v = x W             H heads of queries; Hkv heads of keys and values, each read by H / Hkv queries
                              (Ainslie et al. 2023, arXiv:2305.13245; with Hkv = 1, Shazeer 2019)
    q, k = norm(q), norm(k)   head by head, so that no score can grow without bound (Henry et al. 2020; here RMSNorm)
    q, k = rotate(q, k)       rotary positions
    scores - slope * distance ALiBi
    only the last few keys    a local window (Child et al. 2019; as Mistral has it, a position's own key counts)
    and every stride-th       by the second half of the heads, the first has the window (`sparse_attention`)
    features for softmax      a sum in place of scores (`linear_attention`)
    all keys of the text      both sides, as an encoder has it (Devlin et al. 2018, arXiv:1810.04805)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rung.models.transformer.linear_attention import linear_attention, linear_products
from rung.models.transformer.positions import Rotary
from rung.models.transformer.sparse_attention import (
    block_size,
    is_cut_in_blocks,
    local_attention,
    strided_attention,
)


class Attention(nn.Module):
    """Each position asks (query), offers (key), tells (value); it attends to itself and those before it.

    Args:
        n_embd: C, H heads of D = C / H each.
        n_head: H.
        n_kv_head: Hkv, a divisor of H.
        dropout: share of what attention passes, and of what comes of it, that is dropped in training.
        bias: whether the linear layers add one.
        norms: for queries and for keys, over D; None = none.
        rotary: rotates queries and keys; None = they stay.
        slopes: ALiBi's, one a head; None = scores don't fall with distance.
        local: how many keys a position attends to, its own included; None = all before it.
        stride: in the second half of the heads a position attends to itself and every stride-th before it; None = all
            heads are alike.
        linear: a feature map is in place of softmax, and nothing of what attention passes is dropped.
        causal: whether what comes after a position is hidden from it.
    """

    def __init__(
        self,
        n_embd: int,
        n_head: int,
        n_kv_head: int,
        dropout: float,
        bias: bool,
        *,
        norms: tuple[nn.Module, nn.Module] | None = None,
        rotary: Rotary | None = None,
        slopes: list[float] | None = None,
        local: int | None = None,
        stride: int | None = None,
        linear: bool = False,
        causal: bool = True,
    ) -> None:
        super().__init__()
        self.causal, self.linear = causal, linear
        self.n_head, self.n_kv_head, self.head_size = n_head, n_kv_head, n_embd // n_head
        self.slopes, self.local, self.stride = slopes, local, stride
        self.qkv = nn.Linear(n_embd, (n_head + 2 * n_kv_head) * self.head_size, bias=bias)
        self.project = nn.Linear(n_embd, n_embd, bias=bias)
        self.dropout = nn.Dropout(dropout)
        self.query_norm, self.key_norm = norms if norms is not None else (None, None)
        self.rotary = rotary

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        """(B, T, C) -> (B, T, C). Of both sides, `there` (B, 1, 1, T) says which keys are the text's; None = all."""
        rows, length, width = x.shape
        heads = self.qkv(x).view(rows, length, -1, self.head_size)  # (B, T, H + 2 Hkv, D)
        q, k, v = heads.split([self.n_head, self.n_kv_head, self.n_kv_head], dim=2)
        if self.query_norm is not None and self.key_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))  # (B, H or Hkv, T, D)
        if self.linear:
            turns = None if self.rotary is None else self.rotary.cos_sin(0, length, self.head_size, q)
            y = linear_attention(q, k, v, turns)
            return self.dropout(self.project(y.transpose(1, 2).reshape(rows, length, width)))
        if self.rotary is not None:
            q, k = self.rotary(q, k)
        if self.n_kv_head < self.n_head:
            group_size = self.n_head // self.n_kv_head
            k, v = k.repeat_interleave(group_size, dim=1), v.repeat_interleave(group_size, dim=1)
        drop = self.dropout.p if self.training else 0.0
        if self.causal:
            y = attend(q, k, v, self.slopes, self.local, self.stride, drop)  # (B, H, T, D)
        else:
            y = F.scaled_dot_product_attention(q, k, v, there, drop)
        return self.dropout(self.project(y.transpose(1, 2).reshape(rows, length, width)))

    def products_per_input(self, length: int) -> float:
        """Products of two numbers that an input costs in a text of so many, those with weights left out."""
        if self.linear:
            return linear_products(length, self.n_head, self.n_kv_head, self.head_size)
        n_far = 0 if self.stride is None else self.n_head // 2
        keys = (self.n_head - n_far) * float(length)
        if self.local is not None and is_cut_in_blocks(self.local, length):
            block = block_size(self.local)
            n_blocks = -(-length // block)
            keys = (self.n_head - n_far) * (block + self.local - 1) * n_blocks * block / length
        if self.stride is not None:
            keys += n_far * self.stride * (-(-length // self.stride)) ** 2 / length
        return 2 * self.head_size * keys


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    slopes: list[float] | None,
    local: int | None,
    stride: int | None,
    dropout: float = 0.0,
) -> Tensor:
    """Softmax attention (B, H, T, D) of the T last of n inputs, q (B, H, T, D), to all n, k and v (B, H, n, D), as far
    as they see them."""
    if stride is None:
        return _attend_near(q, k, v, slopes, local, dropout)
    near = q.shape[1] - q.shape[1] // 2
    of_near, of_far = (None, None) if slopes is None else (slopes[:near], slopes[near:])
    return torch.cat(
        [
            _attend_near(q[:, :near], k[:, :near], v[:, :near], of_near, local, dropout),
            strided_attention(q[:, near:], k[:, near:], v[:, near:], stride, of_far, dropout),
        ],
        dim=1,
    )


def _attend_near(
    q: Tensor, k: Tensor, v: Tensor, slopes: list[float] | None, local: int | None, dropout: float
) -> Tensor:
    length = q.shape[2]
    if local is not None and (length == 1 or is_cut_in_blocks(local, length)):
        return local_attention(q, k, v, local, slopes, dropout)
    mask = causal_mask(k.shape[2] - length, length, slopes, local, q)
    return F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=mask is None and length > 1)


def causal_mask(
    past: int, length: int, slopes: list[float] | None, local: int | None, like: Tensor
) -> Tensor | None:
    """What is added to the scores (H, T, past + T) of T inputs behind others, or who attends to whom (T, past + T).

    None = the plain triangle, or for a single input, no limit. `like` says which kind of number and where.
    """
    near = local is None or local >= past + length
    if slopes is None and near and (past == 0 or length == 1):
        return None
    positions = torch.arange(past + length, device=like.device)
    distance = positions[past:, None] - positions  # (T, past + T), below 0 in the future
    visible = (distance >= 0) if local is None else (distance >= 0) & (distance < local)
    if slopes is None:
        return visible
    steepness = torch.tensor(slopes, device=like.device)[:, None, None]
    return (-steepness * distance).masked_fill(~visible, -torch.inf).to(like.dtype)
