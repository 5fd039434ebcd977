"""A transformer's forward pass for inference: the arithmetic of `transformer`, and nothing around it.

A small GPT's step is a hundred tiny operations, and calling modules, dropouts and submodules costs as much as they do.
So here the weights are taken out of their modules once, and a step is a plain row of operations on (M, C) arrays. The
numbers are those of the modules up to rounding; what GPT-2 has no part for (gated feed-forwards) the modules do still.

Shapes: B rows, T inputs each, M = B * T, C = n_embd, H heads of queries, Hkv of keys and values, D = C / H,
n = past + T inputs in the window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rung.models.transformer.attention import Attention, mask
from rung.models.transformer.feed_forward import SquaredReLU, SwiGLU
from rung.models.transformer.hashed_ngrams import NgramEmbedding
from rung.models.transformer.inference.compiled import CompiledSteps, compiled_steps
from rung.models.transformer.inference.kv_cache import KeyValueCache
from rung.models.transformer.norms import PostNormBlock
from rung.models.transformer.positions import SineEmbedding, TokenEmbedding, turned

if TYPE_CHECKING:
    from rung.models.transformer.decoder import Block, CausalSelfAttention, FeedForward, Transformer

COMPILE_AFTER = 1000
"""Steps of one history. Loading numba takes longer than so many steps."""

COMPILED_AT_ONCE = 12
"""Tokens; above, a tuned product of matrices is quicker."""

TURNED_BELOW = 1 << 20
"""Matrices of fewer numbers are kept a second time, transposed: for one row, the product is then twice as fast as
long as they come from a cache. Larger ones come from memory, which is what takes the time either way."""


class LeanGPT:
    """The weights of a network as they are now, ready to read on behind a cache."""

    def __init__(self, network: Transformer) -> None:
        parts = [cast("Block | PostNormBlock", block) for block in network.blocks]
        self.context = network.context
        self._network, self._n_steps = network, 0
        self._compiled: CompiledSteps | None = None
        self.embedding = _embedding(network)
        self.norm = _norm(network.norm)
        self.head = _matrix(network.head)  # (C, V)
        self.blocks = [
            LeanBlock(
                _norm(block.norm_1),
                LeanAttention(_attention(block)),
                _norm(block.norm_2),
                _feed_forward(block.feed_forward),
            )
            for block in parts
        ]
        self.norm_first = not isinstance(parts[0], PostNormBlock)
        part = _attention(parts[0])  # all blocks are alike
        general = isinstance(part, Attention)
        self.slopes, self.local, self.rotary = (
            (part.slopes, part.local, part.rotary) if general else (None,) * 3
        )

    def cache(self, batch: int) -> KeyValueCache:
        attention = self.blocks[0].attention
        heads = len(self.blocks), attention.n_kv_head, attention.size
        return KeyValueCache(batch, self.context, heads, self.head)

    def compiled_steps(self, length: int) -> CompiledSteps | None:
        """What reads a few tokens of one history, once that was done often and if it knows this kind of network."""
        if length > COMPILED_AT_ONCE:
            return None
        self._n_steps += 1
        if self._n_steps == COMPILE_AFTER:
            self._compiled = compiled_steps(self._network)
        return self._compiled

    def hidden(self, tokens: Tensor, cache: KeyValueCache, past: int) -> Tensor:
        """What `tokens` (B, T) come to behind the first `past` inputs of a cache, which gets theirs: (B, T, C)."""
        rows, length = tokens.shape
        x = self.embedding(tokens, past, cache)  # (M, C)
        around = Around(
            rows,
            past,
            None if length == 1 and self.slopes is None else mask(past, length, self.slopes, self.local, x),
            None
            if self.rotary is None
            else self.rotary.turns(past, length, self.blocks[0].attention.size, x),
        )
        if length == 1 and self.slopes is None and self.local is not None and self.local <= past:
            around.first = past + 1 - self.local
        for block, keys_values in zip(self.blocks, cache.keys_values, strict=True):
            if self.norm_first:
                x = block.attention(block.norm_1(x), keys_values, around).add_(x)
                x = block.feed_forward(block.norm_2(x)).add_(x)
            else:
                x = block.norm_1(block.attention(x, keys_values, around).add_(x))
                x = block.norm_2(block.feed_forward(x).add_(x))
        return self.norm(x).view(rows, length, -1)

    def logits(self, hidden: Tensor) -> Tensor:
        return torch.matmul(hidden, self.head)  # (..., C) -> (..., V)


@dataclass
class Around:
    """What all blocks share in one pass.

    Attributes:
        rows: B.
        past: inputs before these.
        mask: as from `attention.mask`; None = a single input hears all from `first` on, several the plain triangle.
        turns: cosines and sines of rotary positions.
        first: the first input that is heard at all.
    """

    rows: int
    past: int
    mask: Tensor | None
    turns: tuple[Tensor, Tensor] | None
    first: int = 0


@dataclass
class LeanBlock:
    """Functions of (M, C)."""

    norm_1: Callable[[Tensor], Tensor]
    attention: LeanAttention
    norm_2: Callable[[Tensor], Tensor]
    feed_forward: Callable[[Tensor], Tensor]


class LeanAttention:
    """Self-attention over a cache, to which it adds."""

    def __init__(self, part: CausalSelfAttention | Attention) -> None:
        general = isinstance(part, Attention)
        self.n_head, self.n_kv_head = part.n_head, part.n_kv_head if general else part.n_head
        self.size = part.project.in_features // part.n_head
        self.qkv, self.project = _linear(part.qkv), _linear(part.project)
        self.query_norm, self.key_norm = (part.query_norm, part.key_norm) if general else (None, None)

    def __call__(self, x: Tensor, keys_values: Tensor, around: Around) -> Tensor:
        heads = self.qkv(x).view(around.rows, -1, self.n_head + 2 * self.n_kv_head, self.size)
        length = heads.shape[1]
        heads = heads.transpose(1, 2)  # (B, H + 2 Hkv, T, D)
        first, last = self.n_head, self.n_head + self.n_kv_head
        q, k, v = heads[:, :first], heads[:, first:last], heads[:, last:]
        if self.query_norm is not None and self.key_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        if around.turns is not None:
            q, k = turned(q, *around.turns), turned(k, *around.turns)
        place = keys_values.narrow(3, around.past, length)
        place[0] = k
        place[1] = v
        k, v = keys_values[:, :, :, around.first : around.past + length].unbind()  # each (B, Hkv, n, D)
        if self.n_kv_head < self.n_head:
            if length == 1 and around.mask is None:  # the readers of one key ask it side by side
                q = q.reshape(around.rows, self.n_kv_head, -1, self.size)
            else:
                readers = self.n_head // self.n_kv_head
                k, v = k.repeat_interleave(readers, dim=1), v.repeat_interleave(readers, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, around.mask, is_causal=around.mask is None and length > 1)
        if length == 1:
            return self.project(y.reshape(len(x), -1))
        return self.project(y.transpose(1, 2).reshape(len(x), -1))


def _matrix(weight: Tensor) -> Tensor:
    """(O, I) -> (I, O), what a row is multiplied with."""
    weight = weight.detach().t()
    return weight.contiguous() if weight.numel() < TURNED_BELOW else weight


def _linear(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    matrix = _matrix(layer.weight)
    if layer.bias is None:
        return lambda x: torch.mm(x, matrix)
    bias = layer.bias.detach()
    return lambda x: torch.addmm(bias, x, matrix)


def _embedding(network: Transformer) -> Callable[[Tensor, int, KeyValueCache], Tensor]:
    """(B, T) inputs behind the first `past` of a cache, which has theirs too -> (M, C)."""
    if isinstance(network.embedding, NgramEmbedding):
        whole = network.embedding

        def looked_up(tokens: Tensor, past: int, cache: KeyValueCache) -> Tensor:
            begin = max(
                0, past + 1 - whole.ngrams.longest
            )  # no n-gram that ends in these inputs begins before
            inputs = torch.from_numpy(cache.inputs[:, begin : past + tokens.shape[1]].copy()).to(
                tokens.device
            )
            return whole(inputs, past - begin).flatten(0, 1)

        return looked_up
    if isinstance(network.embedding, SineEmbedding | TokenEmbedding):
        part = network.embedding
        return lambda tokens, past, _: part(tokens, past).flatten(0, 1)
    rows, places = network.embedding.tokens.detach(), network.embedding.positions.detach()

    def embedded(tokens: Tensor, past: int, _: KeyValueCache) -> Tensor:
        x = F.embedding(tokens, rows)
        return x.add_(places[past : past + tokens.shape[1]]).flatten(0, 1)

    return embedded


def _norm(norm: nn.Module) -> Callable[[Tensor], Tensor]:
    if not isinstance(norm, nn.LayerNorm):
        return norm
    shape, eps, weight, bias = norm.normalized_shape, norm.eps, norm.weight.detach(), norm.bias
    return lambda x: torch.layer_norm(x, shape, weight, bias, eps)


def _attention(block: Block | PostNormBlock) -> CausalSelfAttention | Attention:
    return cast("CausalSelfAttention | Attention", block.attention)


def _feed_forward(part: nn.Module) -> Callable[[Tensor], Tensor]:
    if isinstance(part, SwiGLU | SquaredReLU):
        return part
    part = cast("FeedForward", part)
    expand, project = _linear(part.expand), _linear(part.project)
    return lambda x: project(F.gelu(expand(x), approximate="tanh"))
