"""A transformer's forward pass for inference: the arithmetic of `network` and `blocks`, and nothing around it.

A small GPT's step is a hundred tiny operations, and calling modules, dropouts and submodules costs as much as they do.
So here the weights are taken out of their modules once, and a step is a plain row of operations on (M, C) arrays. The
numbers are those of the modules up to rounding; what GPT-2 has no part for (other activations) the modules do still.

Shapes: B rows, T inputs each, M = B * T, C = n_embd, H heads of queries, Hkv of keys and values, D = C / H,
n = past + T inputs in the window, or as many of them as the cache holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rung.models.quantisation import Codes
from rung.models.transformer.attention import Attention, attend, causal_mask
from rung.models.transformer.blocks import Block, PreNormBlock
from rung.models.transformer.embeddings import LearnedPositionEmbedding, TokenEmbedding
from rung.models.transformer.feed_forward import FeedForward, SwiGLU, gelu
from rung.models.transformer.hashed_ngrams import NgramEmbedding
from rung.models.transformer.inference.compiled import CompiledGPT, compile_gpt
from rung.models.transformer.inference.kv_cache import KeyValueCache, Window
from rung.models.transformer.inference.linear_state import LinearCache, LinearState
from rung.models.transformer.linear_attention import add_to_sums, linear_attention, linear_step
from rung.models.transformer.network import Transformer
from rung.models.transformer.positions import apply_rotary
from rung.models.transformer.sparse_attention import is_cut_in_blocks

COMPILE_AFTER = 1000
"""Steps of one history. Loading numba takes longer than so many steps."""

COMPILE_CODES_AFTER = 16
"""The same of a quantised network, whose steps are what it was made for."""

MAX_COMPILED_TOKENS = 12
"""At once; above, a tuned product of matrices is quicker."""

TRANSPOSE_BELOW = 1 << 20
"""Matrices of fewer numbers are kept a second time, transposed: for one row, the product is then twice as fast as
long as they come from a cache. Larger ones come from memory, which is what takes the time either way."""


class LeanGPT:
    """The weights of a network as they are now, ready to read on behind a cache.

    codes: its matrices in whole numbers, if it is quantised.
    """

    def __init__(self, network: Transformer, codes: Mapping[str, Codes]) -> None:
        blocks = [cast(Block, block) for block in network.blocks]
        self.context = network.context
        self._network, self._codes, self._n_steps = network, codes, 0
        self._compiled: CompiledGPT | None = None
        self.embedding = _embedding(network.embedding)
        self.norm = _norm(network.norm)
        self.head = _matrix(network.head)  # (C, V)
        self.blocks = [
            LeanBlock(
                _norm(block.norm_1),
                LeanLinearAttention(block.attention)
                if block.attention.linear
                else LeanAttention(block.attention),
                _norm(block.norm_2),
                _feed_forward(block.feed_forward),
            )
            for block in blocks
        ]
        self.norm_first = isinstance(blocks[0], PreNormBlock)
        self.attention = blocks[0].attention  # all blocks are alike

    def start(self, batch: int) -> Window | LinearState:
        """The state of so many histories of nothing."""
        part = self.attention
        if part.linear:
            with torch.inference_mode():
                shape = len(self.blocks), batch, part.n_kv_head, part.head_size, part.head_size + 1
                sums = self.head.new_zeros(shape, dtype=torch.float32)
            return LinearState(np.empty((batch, 0), np.int64), sums, 0, self.context)
        shape = len(self.blocks), part.n_kv_head, part.head_size
        local = part.local if part.stride is None else None  # a stride comes back to every key
        return KeyValueCache(batch, self.context, shape, self.head, local).window(0)

    def compiled(self, length: int) -> CompiledGPT | None:
        """What reads a few tokens of one history, once that was done often and if it knows this kind of network."""
        if length > MAX_COMPILED_TOKENS:
            return None
        self._n_steps += 1
        if self._n_steps == (COMPILE_CODES_AFTER if self._codes else COMPILE_AFTER):
            self._compiled = compile_gpt(self._network, self._codes)
        return self._compiled

    def hidden(self, tokens: Tensor, cache: KeyValueCache | LinearCache, past: int) -> Tensor:
        """What `tokens` (B, T) come to behind the first `past` inputs of a cache, which gets theirs: (B, T, C)."""
        rows, length = tokens.shape
        x = self.embedding(tokens, past, cache)  # (M, C)
        rotary = self.attention.rotary
        turns = None if rotary is None else rotary.cos_sin(past, length, self.attention.head_size, x)
        args = self._args(rows, length, past, cache, turns)
        for block, keys_values in zip(self.blocks, cache.keys_values, strict=True):
            if self.norm_first:
                x = block.attention(block.norm_1(x), keys_values, args).add_(x)
                x = block.feed_forward(block.norm_2(x)).add_(x)
            else:
                x = block.norm_1(block.attention(x, keys_values, args).add_(x))
                x = block.norm_2(block.feed_forward(x).add_(x))
        return self.norm(x).view(rows, length, -1)

    def logits(self, hidden: Tensor) -> Tensor:
        return torch.matmul(hidden, self.head)  # (..., C) -> (..., V)

    def _args(
        self,
        rows: int,
        length: int,
        past: int,
        cache: KeyValueCache | LinearCache,
        turns: tuple[Tensor, Tensor] | None,
    ) -> AttentionArgs:
        slopes, local, stride = self.attention.slopes, self.attention.local, self.attention.stride
        if isinstance(cache, LinearCache):
            return AttentionArgs(rows, past, None, turns, 0, False)
        known = past - cache.begin
        apart = stride is not None or is_cut_in_blocks(local, length)
        cuts_keys = length == 1 and slopes is None  # in place of masking them
        mask = None if cuts_keys or apart else causal_mask(known, length, slopes, local, self.head)
        first = max(0, known + 1 - local) if cuts_keys and local is not None and not apart else 0
        return AttentionArgs(rows, known, mask, turns, first, apart)


@dataclass
class AttentionArgs:
    """What the attention of all blocks takes beside its input, in one pass.

    Attributes:
        rows: B.
        past: inputs before these that the cache holds keys of.
        mask: as from `causal_mask`; None = a single input attends to all from `first_key` on, several to the plain
            triangle.
        cos_sin: rotary positions' cosines and sines (T, D/2); None = nothing is rotated.
        first_key: the first input that is attended to at all.
        apart: keys are cut before they are looked at (`sparse_attention`); there is no mask.
    """

    rows: int
    past: int
    mask: Tensor | None
    cos_sin: tuple[Tensor, Tensor] | None
    first_key: int
    apart: bool


@dataclass
class LeanBlock:
    """Functions of (M, C)."""

    norm_1: Callable[[Tensor], Tensor]
    attention: LeanAttention
    norm_2: Callable[[Tensor], Tensor]
    feed_forward: Callable[[Tensor], Tensor]


class LeanAttention:
    """Self-attention over a cache, to which it adds."""

    def __init__(self, part: Attention) -> None:
        self.n_head, self.n_kv_head, self.head_size = part.n_head, part.n_kv_head, part.head_size
        self.qkv, self.project = _linear(part.qkv), _linear(part.project)
        self.query_norm, self.key_norm = part.query_norm, part.key_norm
        self.pattern = part.slopes, part.local, part.stride

    def __call__(self, x: Tensor, keys_values: Tensor, args: AttentionArgs) -> Tensor:
        q, k, v = self._heads(x, args.rows)
        length = q.shape[2]
        if args.cos_sin is not None:
            q, k = apply_rotary(q, *args.cos_sin), apply_rotary(k, *args.cos_sin)
        new = keys_values.narrow(3, args.past, length)
        new[0] = k
        new[1] = v
        k, v = keys_values[:, :, :, args.first_key : args.past + length].unbind()  # each (B, Hkv, n, D)
        if self.n_kv_head < self.n_head:
            if (
                length == 1 and args.mask is None and not args.apart
            ):  # the queries of one key ask it side by side
                q = q.reshape(args.rows, self.n_kv_head, -1, self.head_size)
            else:
                group_size = self.n_head // self.n_kv_head
                k, v = k.repeat_interleave(group_size, dim=1), v.repeat_interleave(group_size, dim=1)
        if args.apart:
            y = attend(q, k, v, *self.pattern)
        else:
            y = F.scaled_dot_product_attention(q, k, v, args.mask, is_causal=args.mask is None and length > 1)
        return self._joined(y, args.rows, length)

    def _heads(self, x: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        """q (B, H, T, D), k and v (B, Hkv, T, D), normed."""
        heads = self.qkv(x).view(rows, -1, self.n_head + 2 * self.n_kv_head, self.head_size)
        heads = heads.transpose(1, 2)  # (B, H + 2 Hkv, T, D)
        first, last = self.n_head, self.n_head + self.n_kv_head
        q, k, v = heads[:, :first], heads[:, first:last], heads[:, last:]
        if self.query_norm is not None and self.key_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        return q, k, v

    def _joined(self, y: Tensor, rows: int, length: int) -> Tensor:
        """Of all heads side by side (M, C); with one input, heads may stand in groups."""
        if length > 1:
            y = y.transpose(1, 2)
        return self.project(y.reshape(rows * length, -1))


class LeanLinearAttention(LeanAttention):
    """The same by sums (B, Hkv, D, D + 1), to which it adds."""

    def __call__(self, x: Tensor, keys_values: Tensor, args: AttentionArgs) -> Tensor:
        q, k, v = self._heads(x, args.rows)
        if q.shape[2] == 1:
            y = linear_step(q, k, v, args.cos_sin, keys_values)
        else:
            y = linear_attention(q, k, v, args.cos_sin, keys_values)
            add_to_sums(keys_values, k, v, args.cos_sin)
        return self._joined(y, args.rows, q.shape[2])


def _matrix(weight: Tensor) -> Tensor:
    """(O, I) -> (I, O), what a row is multiplied with."""
    weight = weight.detach().t()
    return weight.contiguous() if weight.numel() < TRANSPOSE_BELOW else weight


def _linear(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    matrix = _matrix(layer.weight)
    if layer.bias is None:
        return lambda x: torch.mm(x, matrix)
    bias = layer.bias.detach()
    return lambda x: torch.addmm(bias, x, matrix)


def _embedding(embedding: TokenEmbedding) -> Callable[[Tensor, int, KeyValueCache | LinearCache], Tensor]:
    """(B, T) inputs behind the first `past` of a cache, which has theirs too -> (M, C)."""
    if isinstance(embedding, NgramEmbedding):

        def with_ngrams(tokens: Tensor, past: int, cache: KeyValueCache | LinearCache) -> Tensor:
            begin = max(
                0, past + 1 - embedding.ngrams.max_n
            )  # no n-gram that ends in these inputs begins before
            inputs = torch.from_numpy(cache.inputs[:, begin : past + tokens.shape[1]].copy())
            return embedding(inputs.to(tokens.device), past - begin).flatten(0, 1)

        return with_ngrams
    if not isinstance(embedding, LearnedPositionEmbedding):
        return lambda tokens, past, _: embedding(tokens, past).flatten(0, 1)
    rows, positions = embedding.tokens.detach(), embedding.positions.detach()

    def with_positions(tokens: Tensor, past: int, _: KeyValueCache | LinearCache) -> Tensor:
        x = F.embedding(tokens, rows)
        return x.add_(positions[past : past + tokens.shape[1]]).flatten(0, 1)

    return with_positions


def _norm(norm: nn.Module) -> Callable[[Tensor], Tensor]:
    if not isinstance(norm, nn.LayerNorm):
        return norm
    shape, eps, weight, bias = norm.normalized_shape, norm.eps, norm.weight.detach(), norm.bias
    return lambda x: torch.layer_norm(x, shape, weight, bias, eps)


def _feed_forward(part: FeedForward | SwiGLU) -> Callable[[Tensor], Tensor]:
    if isinstance(part, SwiGLU) or part.activation is not gelu:
        return part
    expand, project = _linear(part.expand), _linear(part.project)
    return lambda x: project(gelu(expand(x)))
