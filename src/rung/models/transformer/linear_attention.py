"""Attention by a feature map in place of softmax: a sum over all before, which a state of fixed size holds.

    y_t = sum over s <= t of (f(q_t) . f(k_s)) v_s  /  sum over s <= t of f(q_t) . f(k_s),   f(x) = elu(x) + 1
        = f(q_t) S_t / f(q_t) . z_t,    S_t = S_(t-1) + f(k_t) v_t^T,   z_t = z_(t-1) + f(k_t)

Katharopoulos et al. 2020, "Transformers are RNNs" (arXiv:2006.16236), eq. 7 to 20. With rotary positions the features
above the line are turned and those below it are not, so that it stays above 0 (Su et al. 2021, arXiv:2104.09864,
eq. 19).

Training reads in chunks: within one by the first line, from one to the next by the second. So time and memory grow with
the length, and with the length alone.

Shapes: B rows, H heads of queries, Hkv of keys and values, D their size, T inputs.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from rung.models.transformer.positions import apply_rotary

CHUNK = 32
"""Inputs in a chunk: about a head's size, where both lines cost the same."""

EPS = 1e-6
"""Added below the line, as the authors do: features of numbers far below 0 are 0."""


def feature_map(x: Tensor) -> Tensor:
    """elu(x) + 1, in float32."""
    return F.elu(x.float()) + 1


def linear_attention(
    q: Tensor, k: Tensor, v: Tensor, cos_sin: tuple[Tensor, Tensor] | None, sums: Tensor | None = None
) -> Tensor:
    """(B, H, T, D) of queries q (B, H, T, D), keys and values k, v (B, Hkv, T, D).

    Args:
        q, k, v: as above, not turned yet.
        cos_sin: rotary positions' cosines and sines (T, D/2); None = nothing is turned.
        sums: what the inputs before came to, as from `add_to_sums`; None = there are none.
    """
    rows, n_head, length, size = q.shape
    n_kv_head = k.shape[1]
    q, k = feature_map(q).unflatten(1, (n_kv_head, -1)), feature_map(k)  # (B, Hkv, H / Hkv, T, D)
    totals = k.cumsum(2)
    if sums is not None:
        totals = totals + sums[..., -1].unsqueeze(2)
    below = (q * totals.unsqueeze(2)).sum(-1, keepdim=True)
    if cos_sin is not None:
        q, k = apply_rotary(q, *cos_sin), apply_rotary(k, *cos_sin)
    chunk = min(CHUNK, length)
    n_chunks = -(-length // chunk)
    beyond = n_chunks * chunk - length
    q, k, v = (F.pad(part, (0, 0, 0, beyond)).unflatten(-2, (n_chunks, chunk)) for part in (q, k, v))
    q = q.transpose(2, 3).flatten(3, 4)  # (B, Hkv, chunks, H / Hkv * chunk, D)
    products = (q @ k.transpose(-1, -2)).unflatten(3, (-1, chunk)).tril().flatten(3, 4)
    above = products.to(v.dtype) @ v
    if n_chunks > 1 or sums is not None:
        above = above + q @ _sums_before(k, v, sums)
    above = above.unflatten(3, (-1, chunk)).transpose(2, 3).flatten(3, 4)[..., :length, :]
    return (above / (below + EPS)).to(v.dtype).reshape(rows, n_head, length, size)


def add_to_sums(sums: Tensor, k: Tensor, v: Tensor, cos_sin: tuple[Tensor, Tensor] | None) -> None:
    """Add to S and z, side by side (B, Hkv, D, D + 1), in place, those of T more inputs."""
    k = feature_map(k)
    sums[..., -1] += k.sum(2)
    if cos_sin is not None:
        k = apply_rotary(k, *cos_sin)
    sums[..., :-1] += k.transpose(-1, -2) @ v.float()


def linear_step(
    q: Tensor, k: Tensor, v: Tensor, cos_sin: tuple[Tensor, Tensor] | None, sums: Tensor
) -> Tensor:
    """(B, H, 1, D) of one input, which is added to `sums` in place: both of the above, in fewer operations."""
    add_to_sums(sums, k, v, cos_sin)
    q = feature_map(q)
    turned = q if cos_sin is None else apply_rotary(q, *cos_sin)
    groups = k.shape[1], -1
    below = q[:, :, 0].unflatten(1, groups) @ sums[..., -1:]  # (B, Hkv, H / Hkv, 1)
    above = turned[:, :, 0].unflatten(1, groups) @ sums[..., :-1]
    return (above / (below + EPS)).to(v.dtype).flatten(1, 2).unsqueeze(2)


def linear_products(length: int, n_head: int, n_kv_head: int, size: int) -> float:
    """Products of two numbers that an input costs."""
    chunk = min(CHUNK, length)
    n_chunks = -(-length // chunk)
    own = 2 * n_head * chunk * size
    between = (n_head + n_kv_head) * size * size if n_chunks > 1 else 0
    return (own + between) * n_chunks * chunk / length


def _sums_before(k: Tensor, v: Tensor, sums: Tensor | None) -> Tensor:
    """S before each chunk (B, Hkv, chunks, D, D)."""
    own = (k.transpose(-1, -2) @ v).float()
    before = own.cumsum(2) - own
    return before if sums is None else before + sums[..., :-1].unsqueeze(2)
