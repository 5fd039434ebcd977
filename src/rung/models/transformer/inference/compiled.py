"""When and with what a small transformer's steps are compiled: its weights, gathered for `kernels`.

At 4 layers of 128 even a bare row of torch operations spends most of its time on being called. As machine code a step
takes about as long as reading the weights does. Post-norm blocks, gated feed-forwards, more rows than one, long
prompts and larger networks (where two threads and a tuned product are worth more) go the way of `rung.models.transformer.inference.lean`.

Loading numba takes half a second, and compiling some seconds once an installation, so `rung.models.transformer.inference.lean` asks for this only
when many steps have been made.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from rung.models.transformer.attention import Attention
from rung.models.transformer.feed_forward import SquaredReLU, SwiGLU
from rung.models.transformer.hashed_ngrams import NgramEmbedding
from rung.models.transformer.inference.kv_cache import KeyValueCache
from rung.models.transformer.norms import PostNormBlock
from rung.models.transformer.positions import Rotary, SineEmbedding, TokenEmbedding, sines

if TYPE_CHECKING:
    from rung.models.transformer.decoder import Transformer

LARGEST = 1 << 22
"""Numbers in all weights that a step reads: 16 MiB. Tables of n-grams don't count, as only a few rows of them are."""


def compiled_steps(network: Transformer) -> CompiledSteps | None:
    """Steps of this network as machine code; None if it is too large, elsewhere than on the CPU, not in float32 or
    has other parts, or if numba isn't there."""
    weights = dict(network.named_parameters())
    numbers = sum(weight.numel() for name, weight in weights.items() if not name.endswith("ngrams.table"))
    fits = all(weight.dtype == torch.float32 and weight.device.type == "cpu" for weight in weights.values())
    block: Any = network.blocks[0]  # all are alike
    if numbers > LARGEST or not fits:
        return None
    if isinstance(block, PostNormBlock) or isinstance(block.feed_forward, SwiGLU):
        return None
    try:
        return CompiledSteps(network)
    except ImportError:
        return None


class CompiledSteps:
    """A network's weights as they are now, each kind in one array, layer upon layer."""

    def __init__(self, network: Transformer) -> None:
        from rung.models.transformer.inference.kernels import Sizes, Weights, read_on

        self._read_on = read_on
        blocks: list[Any] = list(network.blocks)
        block, attention, door = blocks[0], blocks[0].attention, network.embedding
        general = attention if isinstance(attention, Attention) else None
        normed = general is not None and general.query_norm is not None
        size = attention.project.in_features // attention.n_head
        ngrams = door.ngrams if isinstance(door, NgramEmbedding) else None
        self._sizes = Sizes(
            n_head=attention.n_head,
            n_kv_head=attention.n_head if general is None else general.n_kv_head,
            local=network.context if general is None or general.local is None else general.local,
            longest=1 if ngrams is None else ngrams.longest,
            rows=1 if ngrams is None else ngrams.rows,
            eps=block.norm_1.eps,
            door_eps=torch.finfo(torch.float32).eps,  # torch's, where nothing is said
            centred=isinstance(block.norm_1, nn.LayerNorm),
            gelu=not isinstance(block.feed_forward, SquaredReLU),
        )
        tokens, places = _door(network)
        cos, sin = _turns(network, size, None if general is None else general.rotary)
        slopes = [0.0] * attention.n_head if general is None or general.slopes is None else general.slopes
        none = torch.empty(len(blocks), 0)
        self._weights = Weights(
            _array(tokens),
            _array(places),
            _array(tokens[:0] if ngrams is None else ngrams.table),
            _array(cos),
            _array(sin),
            _array(torch.tensor(slopes)),
            *_stacked(blocks, "norm_1"),
            *_stacked(blocks, "attention.qkv"),
            _stacked(blocks, "attention.query_norm")[0] if normed else _array(none),
            _stacked(blocks, "attention.key_norm")[0] if normed else _array(none),
            *_stacked(blocks, "attention.project"),
            *_stacked(blocks, "norm_2"),
            *_stacked(blocks, "feed_forward.expand"),
            *_stacked(blocks, "feed_forward.project"),
            *_stacked([network], "norm"),
            _array(network.head),
        )

    def __call__(self, cache: KeyValueCache, tokens: np.ndarray, past: int) -> np.ndarray:
        """Log-probabilities (T, V) after each of `tokens` (T,), which stand in the cache behind the first `past`;
        their keys and values are written there."""
        inputs = cache.inputs[0, : past + len(tokens)]
        return self._read_on(inputs, past, cache.stacked.numpy(), self._weights, self._sizes)


def _door(network: Transformer) -> tuple[Tensor, Tensor]:
    """What is added up for a token (V, C) and for its place (context, C); zeros where attention tells places."""
    door = network.embedding
    tokens = door.tokens.detach()
    if isinstance(door, SineEmbedding):
        return tokens * math.sqrt(tokens.shape[1]), sines(0, network.context, tokens)
    if isinstance(door, TokenEmbedding | NgramEmbedding):
        return tokens, tokens.new_zeros(network.context, tokens.shape[1])
    return tokens, door.positions


def _turns(network: Transformer, size: int, rotary: Rotary | None) -> tuple[Tensor, Tensor]:
    """Cosines and sines (context, D/2) of all places; (context, 0) where nothing is turned."""
    if rotary is None:
        nothing = torch.empty(network.context, 0)
        return nothing, nothing
    return rotary.turns(0, network.context, size, network.head)


def _stacked(layers: list[Any], part: str) -> tuple[np.ndarray, np.ndarray]:
    """Weights (L, ...) and biases (L, O) of the same part of all layers; zeros for biases that aren't there."""
    weights, biases = [], []
    for layer in layers:
        module = layer.get_submodule(part)
        weights.append(module.weight)
        bias = None if isinstance(module, nn.RMSNorm) else module.bias
        biases.append(module.weight.new_zeros(len(module.weight)) if bias is None else bias)
    return _array(torch.stack(weights)), _array(torch.stack(biases))


def _array(weight: Tensor) -> np.ndarray:
    """Contiguous and read-only, so that code is compiled for one kind of array; not a copy of what is so already."""
    array = np.ascontiguousarray(weight.detach().numpy()).view()
    array.flags.writeable = False
    return array
