"""When and with what a small transformer is compiled: its weights, gathered for `kernels`.

At 4 layers of 128 even a bare row of torch operations spends most of its time on being called. As machine code a step
takes about as long as reading the weights does. Post-norm blocks, gated feed-forwards, more rows than one, long
prompts and larger networks (where two threads and a tuned product are worth more) go the way of `lean`. A quantised
network is compiled whatever its size: a step is bound by reading weights, and of int8 there is a quarter to read.

Loading numba takes half a second, and compiling some seconds once an installation, so `lean` asks for this only when
many steps have been made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from rung.models.quantisation import Codes
from rung.models.transformer.attention import Attention
from rung.models.transformer.blocks import Block, PostNormBlock
from rung.models.transformer.embeddings import (
    LearnedPositionEmbedding,
    SinusoidalPositionEmbedding,
    TokenEmbedding,
)
from rung.models.transformer.feed_forward import SwiGLU, gelu
from rung.models.transformer.hashed_ngrams import NgramEmbedding
from rung.models.transformer.inference.kv_cache import KeyValueCache
from rung.models.transformer.inference.linear_state import LinearCache
from rung.models.transformer.linear_attention import EPS
from rung.models.transformer.network import Transformer
from rung.models.transformer.positions import sinusoids

MAX_WEIGHTS = 1 << 22
"""Numbers in all weights that a step reads: 16 MiB. Tables of n-grams don't count, as only a few rows of them are."""


def compile_gpt(network: Transformer, codes: Mapping[str, Codes]) -> CompiledGPT | None:
    """This network as machine code; None if it is too large, elsewhere than on the CPU, not in float32 or has other
    parts, or if numba isn't there. `codes`: its matrices in whole numbers, if it is quantised."""
    weights = dict(network.named_parameters())
    numbers = sum(weight.numel() for name, weight in weights.items() if not name.endswith("ngrams.table"))
    fits = all(weight.dtype == torch.float32 and weight.device.type == "cpu" for weight in weights.values())
    block = cast(Block, network.blocks[0])  # all are alike
    if (numbers > MAX_WEIGHTS and not codes) or not fits:
        return None
    if isinstance(block, PostNormBlock) or isinstance(block.feed_forward, SwiGLU):
        return None
    try:
        return CompiledGPT(network, codes)
    except ImportError:
        return None


class CompiledGPT:
    """A network's weights as they are now, each kind in one array, layer upon layer."""

    def __init__(self, network: Transformer, codes: Mapping[str, Codes]) -> None:
        from rung.models.transformer.inference.kernels import KernelConfig, Weights, forward

        self._forward = forward
        blocks = [cast(Block, block) for block in network.blocks]
        block, attention, embedding = blocks[0], blocks[0].attention, network.embedding
        ngrams = embedding.ngrams if isinstance(embedding, NgramEmbedding) else None
        self._config = KernelConfig(
            n_head=attention.n_head,
            n_kv_head=attention.n_kv_head,
            local=network.context if attention.local is None else attention.local,
            stride=1 if attention.stride is None else attention.stride,
            n_far=0 if attention.stride is None else attention.n_head // 2,
            linear=attention.linear,
            sums_eps=EPS,
            max_n=1 if ngrams is None else ngrams.max_n,
            ngram_rows=1 if ngrams is None else ngrams.rows,
            eps=cast(float, block.norm_1.eps),
            embedding_eps=torch.finfo(torch.float32).eps,  # torch's, where nothing is said
            subtract_mean=isinstance(block.norm_1, nn.LayerNorm),
            gelu=not isinstance(block.feed_forward, SwiGLU) and block.feed_forward.activation is gelu,
        )
        tokens, positions = _embedding_tables(embedding, network.context)
        # What a step is given of the kind of memory that the network doesn't have.
        self._other = np.empty((1, 2, 1, 1, 1, 1) if attention.linear else (1, 1, 1, 1, 1), np.float32)
        cos, sin = _rotary_tables(network, attention)
        slopes = [0.0] * attention.n_head if attention.slopes is None else attention.slopes
        no_norm = _array(torch.empty(len(blocks), 0))
        normed = attention.query_norm is not None
        self._weights = Weights(
            _array(tokens),
            _array(positions),
            _array(tokens[:0] if ngrams is None else ngrams.table),
            _array(cos),
            _array(sin),
            _array(torch.tensor(slopes)),
            *_stacked(blocks, "norm_1"),
            *_matrices(blocks, "attention.qkv", codes),
            _stacked(blocks, "attention.query_norm")[0] if normed else no_norm,
            _stacked(blocks, "attention.key_norm")[0] if normed else no_norm,
            *_matrices(blocks, "attention.project", codes),
            *_stacked(blocks, "norm_2"),
            *_matrices(blocks, "feed_forward.expand", codes),
            *_matrices(blocks, "feed_forward.project", codes),
            *_stacked([network], "norm"),
            *_head(network, codes),
        )

    def __call__(self, cache: KeyValueCache | LinearCache, tokens: np.ndarray, past: int) -> np.ndarray:
        """Log-probabilities (T, V) after each of `tokens` (T,), which stand in the cache behind the first `past`;
        their keys and values are written there, or added to its sums."""
        inputs = cache.inputs[0, : past + len(tokens)]
        begin = 0 if isinstance(cache, LinearCache) else cache.begin
        stacked, other = cache.stacked.numpy(), self._other
        keys_values, sums = (other, stacked) if isinstance(cache, LinearCache) else (stacked, other)
        return self._forward(inputs, past, begin, keys_values, sums, self._weights, self._config)


def _embedding_tables(embedding: TokenEmbedding, context: int) -> tuple[Tensor, Tensor]:
    """What is added up for a token (V, C) and for its position (context, C); zeros where attention tells positions."""
    tokens = embedding.tokens.detach()
    if isinstance(embedding, SinusoidalPositionEmbedding):
        return tokens * math.sqrt(tokens.shape[1]), sinusoids(0, context, tokens)
    if isinstance(embedding, LearnedPositionEmbedding):
        return tokens, embedding.positions
    return tokens, tokens.new_zeros(context, tokens.shape[1])


def _rotary_tables(network: Transformer, attention: Attention) -> tuple[Tensor, Tensor]:
    """Cosines and sines (context, D/2) of all positions; (context, 0) where nothing is rotated."""
    if attention.rotary is None:
        nothing = torch.empty(network.context, 0)
        return nothing, nothing
    return attention.rotary.cos_sin(0, network.context, attention.head_size, network.head)


def _stacked(layers: Sequence[nn.Module], part: str) -> tuple[np.ndarray, np.ndarray]:
    """Weights (L, ...) and biases (L, O) of the same part of all layers; zeros for biases that aren't there."""
    weights, biases = [], []
    for layer in layers:
        parameters = dict(layer.get_submodule(part).named_parameters())
        weight = parameters["weight"]
        weights.append(weight)
        biases.append(parameters.get("bias", weight.new_zeros(len(weight))))
    return _array(torch.stack(weights)), _array(torch.stack(biases))


def _matrices(
    blocks: Sequence[nn.Module], part: str, codes: Mapping[str, Codes]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (L, O, I), scales (L, O) and biases (L, O) of the same linear layer of all blocks."""
    weights, biases = _stacked(blocks, part)
    if not codes:
        return weights, _array(torch.empty(len(blocks), 0)), biases
    found = [codes[f"blocks.{i}.{part}.weight"] for i in range(len(blocks))]
    numbers = _read_only(np.stack([one.numbers for one in found]))
    return numbers, _read_only(np.stack([one.scale for one in found])), biases


def _head(network: Transformer, codes: Mapping[str, Codes]) -> tuple[np.ndarray, np.ndarray]:
    """The head's weights (V, C) and scales (V,); of float32 there are none."""
    if not codes:
        return _array(network.head), _array(torch.empty(0))
    found = codes["embedding.tokens" if network.free_head is None else "free_head"]
    return _read_only(np.array(found.numbers)), _read_only(np.array(found.scale))


def _array(weight: Tensor) -> np.ndarray:
    """Contiguous and read-only, so that code is compiled for one kind of array; not a copy of what is so already."""
    return _read_only(weight.detach().numpy())


def _read_only(array: np.ndarray) -> np.ndarray:
    array = np.ascontiguousarray(array).view()
    array.flags.writeable = False
    return array
