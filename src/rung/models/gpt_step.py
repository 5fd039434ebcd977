"""A few tokens of one history through a small GPT-2, compiled: the arithmetic of `lean_gpt`, all in one call.

At 4 layers of 128 even a bare row of torch operations spends most of its time on being called. As machine code a step
takes about as long as reading the weights does, and several tokens (a draft to be judged) little more than one, as
each row of a matrix is read once for all. Norms, biases and GELU are GPT-2's; other shapes, more rows, long prompts
and larger networks (where two threads and a tuned product are worth more) go the way of `lean_gpt`.

Loading numba takes half a second, and compiling some seconds once an installation, so `lean_gpt` turns to this file
only when many steps have been made.

Shapes: T tokens, L layers, C = n_embd, H heads of D = C / H, F inside the feed-forward, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch
from torch import Tensor, nn

from rung.models.kv_cache import KeyValueCache

if TYPE_CHECKING:
    from rung.models.transformer import Transformer

LARGEST = 1 << 22  # numbers in all weights: 16 MiB
PARTS = (
    "norm_1",
    "attention.qkv",
    "attention.project",
    "norm_2",
    "feed_forward.expand",
    "feed_forward.project",
)

# Sums may be taken in any order, so that they are taken several at a time.
_compiled = numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp"})


def fits(network: Transformer) -> bool:
    """Whether a network of GPT-2's parts is small, in float32, and where the CPU can read it."""
    weights = list(network.parameters())
    small = sum(weight.numel() for weight in weights) <= LARGEST
    return small and weights[0].dtype == torch.float32 and weights[0].device.type == "cpu"


class CompiledSteps:
    """A network's weights as they are now, each kind in one array, layer upon layer."""

    def __init__(self, network: Transformer) -> None:
        blocks: list[Any] = list(network.blocks)
        self._n_head = blocks[0].attention.n_head
        layers = [[block.get_submodule(part) for block in blocks] for part in PARTS]
        self._arrays = [array for parts in [*layers, [network.norm]] for array in _stacked(parts)]
        embedding: Any = network.embedding
        self._tokens, self._places, self._head = map(
            _array, (embedding.tokens, embedding.positions, network.head)
        )
        self._eps = blocks[0].norm_1.eps

    def __call__(self, cache: KeyValueCache, tokens: np.ndarray, past: int) -> np.ndarray:
        """Log-probabilities (T, V) after each of `tokens` (T,); keys and values are written to the cache."""
        out = np.empty((len(tokens), len(self._head)), np.float32)
        x = self._tokens[tokens] + self._places[past : past + len(tokens)]
        keys_values = cache.stacked.numpy()
        _steps(x, past, self._n_head, self._eps, self._head, keys_values, out, *self._arrays)
        return out


def _array(weight: Tensor) -> np.ndarray:
    """Read-only, so that code is compiled for one kind of array."""
    array = weight.detach().numpy().copy()
    array.flags.writeable = False
    return array


def _stacked(layers: list[nn.Module]) -> tuple[np.ndarray, np.ndarray]:
    """Weights (L, ...) and biases (L, O) of the same part of all layers; zeros for biases that aren't there."""
    weights, biases = [], []
    for layer in layers:
        weight = layer.get_parameter("weight")
        weights.append(weight)
        biases.append(weight.new_zeros(len(weight)) if layer.bias is None else layer.get_parameter("bias"))
    return _array(torch.stack(weights)), _array(torch.stack(biases))


@_compiled
def _steps(
    x: np.ndarray,
    past: int,
    n_head: int,
    eps: float,
    head: np.ndarray,
    keys_values: np.ndarray,
    out: np.ndarray,
    norm_1: np.ndarray,
    norm_1_bias: np.ndarray,
    qkv: np.ndarray,
    qkv_bias: np.ndarray,
    project: np.ndarray,
    project_bias: np.ndarray,
    norm_2: np.ndarray,
    norm_2_bias: np.ndarray,
    expand: np.ndarray,
    expand_bias: np.ndarray,
    narrow: np.ndarray,
    narrow_bias: np.ndarray,
    norm: np.ndarray,
    norm_bias: np.ndarray,
) -> None:
    """Everything between the embeddings x (T, C), which are used up, and the log-probabilities `out` (T, V).

    keys_values: (L, 2, 1, H, context, D), written from `past` on; the other arrays as in `CompiledSteps`.
    """
    length, width = x.shape
    size = width // n_head
    normed, added = np.empty_like(x), np.empty_like(x)
    heads, wide = np.empty((length, 3 * width), np.float32), np.empty((length, expand.shape[1]), np.float32)
    scores = np.empty(past + length, np.float32)
    scale = np.float32(1 / np.sqrt(size))
    for layer in range(len(qkv)):
        _norm(x, norm_1[layer], norm_1_bias[layer], eps, normed)
        _product(qkv[layer], normed, qkv_bias[layer], heads)
        for h in range(n_head):
            keys, values = keys_values[layer, 0, 0, h], keys_values[layer, 1, 0, h]
            for t in range(length):
                query = heads[t, h * size : (h + 1) * size]
                keys[past + t] = heads[t, width + h * size : width + (h + 1) * size]
                values[past + t] = heads[t, 2 * width + h * size : 2 * width + (h + 1) * size]
                _listen(
                    query, keys, values, scale, scores[: past + t + 1], normed[t, h * size : (h + 1) * size]
                )
        _product(project[layer], normed, project_bias[layer], added)
        x += added
        _norm(x, norm_2[layer], norm_2_bias[layer], eps, normed)
        _product(expand[layer], normed, expand_bias[layer], wide)
        for t in range(length):
            for i in range(wide.shape[1]):
                u = wide[t, i]
                # GELU's 0.5 (1 + tanh z) is 1 / (1 + exp(-2 z)).
                z = np.float32(0.7978845608) * (u + np.float32(0.044715) * u * u * u)
                wide[t, i] = u / (np.float32(1) + np.exp(np.float32(-2) * z))
        _product(narrow[layer], wide, narrow_bias[layer], added)
        x += added
    _norm(x, norm[0], norm_bias[0], eps, normed)
    _product(head, normed, np.zeros(len(head), np.float32), out)
    for t in range(length):
        highest = out[t].max()
        total = np.float32(0)
        for v in range(out.shape[1]):
            total += np.exp(out[t, v] - highest)
        out[t] -= highest + np.log(total)


@_compiled
def _listen(
    query: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    scale: np.float32,
    scores: np.ndarray,
    out: np.ndarray,
) -> None:
    """out (D,) = softmax(keys query) values, over the first len(scores) of the keys and values (context, D)."""
    highest = np.float32(-np.inf)
    for t in range(len(scores)):
        score = np.float32(0)
        for d in range(len(query)):
            score += query[d] * keys[t, d]
        scores[t] = score * scale
        highest = max(highest, scores[t])
    total = np.float32(0)
    for t in range(len(scores)):
        scores[t] = np.exp(scores[t] - highest)
        total += scores[t]
    out[:] = 0
    for t in range(len(scores)):
        share = scores[t] / total
        for d in range(len(out)):
            out[d] += share * values[t, d]


@_compiled
def _product(matrix: np.ndarray, x: np.ndarray, bias: np.ndarray, out: np.ndarray) -> None:
    """out = x matrix + bias, the matrix transposed; (O, I), (T, I) -> (T, O)."""
    length, width = x.shape
    fours = length - length % 4
    for o in range(len(matrix)):
        for t in range(0, fours, 4):  # four sums side by side wait less for one another
            first, second, third, fourth = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for i in range(width):
                weight = matrix[o, i]
                first += weight * x[t, i]
                second += weight * x[t + 1, i]
                third += weight * x[t + 2, i]
                fourth += weight * x[t + 3, i]
            out[t, o] = first + bias[o]
            out[t + 1, o] = second + bias[o]
            out[t + 2, o] = third + bias[o]
            out[t + 3, o] = fourth + bias[o]
        for t in range(fours, length):
            total = np.float32(0)
            for i in range(width):
                total += matrix[o, i] * x[t, i]
            out[t, o] = total + bias[o]


@_compiled
def _norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float, out: np.ndarray) -> None:
    """LayerNorm of each row."""
    width = x.shape[1]
    for t in range(len(x)):
        mean = np.float32(0)
        for i in range(width):
            mean += x[t, i]
        mean /= np.float32(width)
        variance = np.float32(0)
        for i in range(width):
            variance += (x[t, i] - mean) ** 2
        scale = np.float32(1 / np.sqrt(variance / width + eps))
        for i in range(width):
            out[t, i] = (x[t, i] - mean) * scale * weight[i] + bias[i]
