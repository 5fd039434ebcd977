"""A few tokens of one history through a small transformer, compiled: embedding, blocks, head, all in one call.

The arithmetic is that of the modules in `blocks`, `attention`, `feed_forward`, `norms`, `embeddings`, `positions` and
`hashed_ngrams`. A part that a network lacks is one that changes nothing here: biases and slopes of zero, a table of no
rows, no pairs to rotate. So the only choices are a norm's mean, the activation, and whether queries are normed.

Each row of a matrix is read once for all tokens, so a draft of a few costs little more than one token. The matrices of
blocks and head may be int8 with a scale a row (`rung.models.quantisation`): a quarter of the bytes to read. All
compiled functions stand in this one file, as numba's cache of a function doesn't notice a change to another file.
Shapes: T tokens, L layers, C = n_embd, H heads of queries, Hkv of keys and values, D = C / H, F inside the feed-
forward, V vocabulary; n-grams of orders 2 to N, R rows of the table each.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from rung.models.transformer.hashed_ngrams import MULTIPLIER

# Sums may be taken in any order, so that they are taken several at a time.
_compiled = numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp"})


class KernelConfig(NamedTuple):
    """What the arrays don't tell.

    Attributes:
        n_head, n_kv_head: H, Hkv.
        local: how many keys a query attends to, its own included, but in the heads that have a stride.
        stride: how far apart the keys of those are, which are the last `n_far`.
        linear, sums_eps: a feature map is in place of softmax; what it adds below the line.
        max_n: N.
        ngram_rows: R.
        eps, embedding_eps: what norms add to a variance, in the blocks and behind the n-grams.
        subtract_mean: norms take the mean off first, as LayerNorm does and RMSNorm doesn't.
        gelu: the activation is GELU, by its tanh formula; else max(u, 0)^2.
    """

    n_head: int
    n_kv_head: int
    local: int
    stride: int
    n_far: int
    linear: bool
    sums_eps: float
    max_n: int
    ngram_rows: int
    eps: float
    embedding_eps: float
    subtract_mean: bool
    gelu: bool


class Weights(NamedTuple):
    """Read-only arrays; those of blocks begin with L. What has a scale may be int8; float32 has none, (L, 0)."""

    tokens: np.ndarray  # (V, C)
    positions: np.ndarray  # (context, C)
    ngrams: np.ndarray  # ((N - 1) R, C), or no rows
    cos: np.ndarray  # (context, pairs), none where nothing is rotated
    sin: np.ndarray
    slopes: np.ndarray  # (H,), ALiBi's
    norm_1: np.ndarray  # (L, C)
    norm_1_bias: np.ndarray
    qkv: np.ndarray  # (L, (H + 2 Hkv) D, C)
    qkv_scale: np.ndarray  # (L, (H + 2 Hkv) D)
    qkv_bias: np.ndarray  # (L, (H + 2 Hkv) D)
    query_norm: np.ndarray  # (L, D), or (L, 0): neither queries nor keys are normed
    key_norm: np.ndarray
    attention_project: np.ndarray  # (L, C, C)
    attention_project_scale: np.ndarray
    attention_project_bias: np.ndarray
    norm_2: np.ndarray
    norm_2_bias: np.ndarray
    expand: np.ndarray  # (L, F, C)
    expand_scale: np.ndarray
    expand_bias: np.ndarray
    project: np.ndarray  # (L, C, F)
    project_scale: np.ndarray
    project_bias: np.ndarray
    norm: np.ndarray  # (1, C)
    norm_bias: np.ndarray
    head: np.ndarray  # (V, C)
    head_scale: np.ndarray  # (V,)


@_compiled
def forward(
    inputs: np.ndarray,
    past: int,
    begin: int,
    keys_values: np.ndarray,
    sums: np.ndarray,
    w: Weights,
    config: KernelConfig,
) -> np.ndarray:
    """Log-probabilities (T, V) after each input behind the first `past`.

    Args:
        inputs: (past + T,) int64, all of the window so far.
        begin: the input that the first keys are of.
        keys_values: (L, 2, 1, Hkv, room, D), written from `past` on; of softmax attention.
        sums: (L, 1, Hkv, D, D + 1), added to; of linear attention.
    """
    length = len(inputs) - past
    x = _embed(inputs, past, w, config)  # (T, C)
    n_head, n_kv_head = config.n_head, config.n_kv_head
    size = x.shape[1] // n_head
    normed, added = np.empty_like(x), np.empty_like(x)
    heads = np.empty((length, n_head + 2 * n_kv_head, size), np.float32)
    qkv = heads.reshape(length, -1)
    hidden = np.empty((length, w.expand.shape[1]), np.float32)
    scores, no_bias = np.empty(len(inputs), np.float32), np.zeros(size, np.float32)
    for layer in range(len(w.qkv)):
        _normalize(x, w.norm_1[layer], w.norm_1_bias[layer], config.eps, config.subtract_mean, normed)
        _linear(w.qkv[layer], w.qkv_scale[layer], normed, w.qkv_bias[layer], qkv)
        memory = 0 if config.linear else layer
        keys, values = keys_values[memory, 0, 0], keys_values[memory, 1, 0]  # (Hkv, room, D)
        for t in range(length):
            position = past + t
            queries, new_keys = heads[t, :n_head], heads[t, n_head : n_head + n_kv_head]
            if w.query_norm.shape[1]:
                _normalize(queries, w.query_norm[layer], no_bias, config.eps, False, queries)
                _normalize(new_keys, w.key_norm[layer], no_bias, config.eps, False, new_keys)
            if config.linear:
                new_values = heads[t, n_head + n_kv_head :]
                turns = w.cos[position], w.sin[position]
                _add_and_read(
                    queries, new_keys, new_values, turns, sums[layer, 0], config.sums_eps, normed[t]
                )
                continue
            _apply_rotary(queries, w.cos[position], w.sin[position])
            _apply_rotary(new_keys, w.cos[position], w.sin[position])
            for h in range(n_kv_head):
                keys[h, position - begin] = new_keys[h]
                values[h, position - begin] = heads[t, n_head + n_kv_head + h]
            last = position - begin
            for h in range(n_head):
                kv_head = h * n_kv_head // n_head
                first, step = max(0, last + 1 - config.local), 1
                if h >= n_head - config.n_far:
                    first, step = last % config.stride, config.stride
                _attend(
                    queries[h],
                    keys[kv_head, first : last + 1],
                    values[kv_head, first : last + 1],
                    step,
                    w.slopes[h],
                    scores,
                    normed[t, h * size : (h + 1) * size],
                )
        _linear(
            w.attention_project[layer],
            w.attention_project_scale[layer],
            normed,
            w.attention_project_bias[layer],
            added,
        )
        x += added
        _normalize(x, w.norm_2[layer], w.norm_2_bias[layer], config.eps, config.subtract_mean, normed)
        _linear(w.expand[layer], w.expand_scale[layer], normed, w.expand_bias[layer], hidden)
        _activate(hidden, config.gelu)
        _linear(w.project[layer], w.project_scale[layer], hidden, w.project_bias[layer], added)
        x += added
    _normalize(x, w.norm[0], w.norm_bias[0], config.eps, config.subtract_mean, normed)
    out = np.empty((length, len(w.head)), np.float32)
    _linear(w.head, w.head_scale, normed, np.zeros(len(w.head), np.float32), out)
    _log_softmax(out)
    return out


@_compiled
def ngram_row_ids(inputs: np.ndarray, position: int, max_n: int, rows: int, out: np.ndarray) -> None:
    """`HashedNgrams.row_ids` of the input at `position`: the rows (N - 1,) of the n-grams that end there."""
    bits = 0
    while 1 << bits < rows:
        bits += 1
    hashed = inputs[position] + 1
    for n in range(2, max_n + 1):
        first = position + 1 - n
        before = inputs[first] + 1 if first >= 0 else 0  # 0 stands for what is before the window
        hashed = hashed * MULTIPLIER + before  # modulo 2^64
        mixed = (hashed ^ (hashed >> 29)) * MULTIPLIER
        out[n - 2] = ((mixed >> (63 - bits)) & (rows - 1)) + (n - 2) * rows


@_compiled
def _embed(inputs: np.ndarray, past: int, w: Weights, config: KernelConfig) -> np.ndarray:
    """(T, C): what each token is, and where it stands or what it is together with those before it."""
    width = w.tokens.shape[1]
    x = np.empty((len(inputs) - past, width), np.float32)
    for t in range(len(x)):
        x[t] = w.tokens[inputs[past + t]] + w.positions[past + t]
    if len(w.ngrams):
        row_ids = np.empty(config.max_n - 1, np.int64)
        for t in range(len(x)):
            ngram_row_ids(inputs, past + t, config.max_n, config.ngram_rows, row_ids)
            for row in row_ids:
                x[t] += w.ngrams[row]
        _normalize(x, np.ones(width, np.float32), np.zeros(width, np.float32), config.embedding_eps, False, x)
    return x


@_compiled
def _normalize(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float, subtract_mean: bool, out: np.ndarray
) -> None:
    """Each row over its standard deviation, or the root of its mean square; `out` may be x itself."""
    width = x.shape[1]
    for t in range(len(x)):
        mean = np.float32(0)
        if subtract_mean:
            for i in range(width):
                mean += x[t, i]
            mean /= np.float32(width)
        variance = np.float32(0)
        for i in range(width):
            variance += (x[t, i] - mean) ** 2
        scale = np.float32(1 / np.sqrt(variance / width + eps))
        for i in range(width):
            out[t, i] = (x[t, i] - mean) * scale * weight[i] + bias[i]


@_compiled
def _linear(matrix: np.ndarray, scale: np.ndarray, x: np.ndarray, bias: np.ndarray, out: np.ndarray) -> None:
    """out = x matrix + bias, the matrix transposed, its rows times their scale; (O, I), (T, I) -> (T, O)."""
    length, width = x.shape
    one = np.float32(1)
    fours = length - length % 4
    for o in range(len(matrix)):
        times = scale[o] if len(scale) else one
        for t in range(0, fours, 4):  # four sums side by side wait less for one another
            first, second, third, fourth = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for i in range(width):
                weight = np.float32(matrix[o, i])
                first += weight * x[t, i]
                second += weight * x[t + 1, i]
                third += weight * x[t + 2, i]
                fourth += weight * x[t + 3, i]
            out[t, o] = first * times + bias[o]
            out[t + 1, o] = second * times + bias[o]
            out[t + 2, o] = third * times + bias[o]
            out[t + 3, o] = fourth * times + bias[o]
        for t in range(fours, length):
            total = np.float32(0)
            for i in range(width):
                total += np.float32(matrix[o, i]) * x[t, i]
            out[t, o] = total * times + bias[o]


@_compiled
def _apply_rotary(heads: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> None:
    """Rotary: each head (n, D) in place, its pairs (i, i + D/2) by the angles (D/2,)."""
    half = len(cos)
    for h in range(len(heads)):
        for i in range(half):
            first, second = heads[h, i], heads[h, i + half]
            heads[h, i] = first * cos[i] - second * sin[i]
            heads[h, i + half] = second * cos[i] + first * sin[i]


@_compiled
def _attend(
    query: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    step: int,
    slope: np.float32,
    scores: np.ndarray,
    out: np.ndarray,
) -> None:
    """out (D,) = softmax(keys query / sqrt(D) - slope distance) values, over each `step`-th of keys, values (N, D)."""
    size = keys.shape[1]
    n = (len(keys) - 1) // step + 1
    slope = slope * np.float32(step)
    scale = np.float32(1 / np.sqrt(size))
    fours = n - n % 4  # as in `_linear`, four keys side by side
    highest = np.float32(-np.inf)
    for t in range(0, fours, 4):
        first, second, third, fourth = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for d in range(size):
            first += query[d] * keys[t * step, d]
            second += query[d] * keys[(t + 1) * step, d]
            third += query[d] * keys[(t + 2) * step, d]
            fourth += query[d] * keys[(t + 3) * step, d]
        scores[t] = first * scale - slope * np.float32(n - 1 - t)
        scores[t + 1] = second * scale - slope * np.float32(n - 2 - t)
        scores[t + 2] = third * scale - slope * np.float32(n - 3 - t)
        scores[t + 3] = fourth * scale - slope * np.float32(n - 4 - t)
        highest = max(highest, max(max(scores[t], scores[t + 1]), max(scores[t + 2], scores[t + 3])))
    for t in range(fours, n):
        score = np.float32(0)
        for d in range(size):
            score += query[d] * keys[t * step, d]
        scores[t] = score * scale - slope * np.float32(n - 1 - t)
        highest = max(highest, scores[t])
    total = np.float32(0)
    for t in range(n):
        share = _exp(scores[t] - highest)
        scores[t] = share
        total += share
    for d in range(size):
        out[d] = 0
    for t in range(0, fours, 4):
        first, second, third, fourth = scores[t], scores[t + 1], scores[t + 2], scores[t + 3]
        for d in range(size):
            out[d] += (
                first * values[t * step, d]
                + second * values[(t + 1) * step, d]
                + third * values[(t + 2) * step, d]
                + fourth * values[(t + 3) * step, d]
            )
    for t in range(fours, n):
        for d in range(size):
            out[d] += scores[t] * values[t * step, d]
    for d in range(size):
        out[d] /= total


@_compiled
def _add_and_read(
    queries: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    turns: tuple[np.ndarray, np.ndarray],
    sums: np.ndarray,
    eps: float,
    out: np.ndarray,
) -> None:
    """`linear_attention.linear_step`: queries (H, D), keys and values (Hkv, D), sums (Hkv, D, D + 1), out (H D,)."""
    (n_head, size), n_kv_head = queries.shape, len(keys)
    _features(queries)
    _features(keys)
    below = np.empty(n_head, np.float32)
    for h in range(n_kv_head):
        for i in range(size):
            sums[h, i, size] += keys[h, i]
    for h in range(n_head):
        below[h] = eps
        for i in range(size):
            below[h] += queries[h, i] * sums[h * n_kv_head // n_head, i, size]
    _apply_rotary(queries, *turns)
    _apply_rotary(keys, *turns)
    for h in range(n_kv_head):
        for i in range(size):
            for d in range(size):
                sums[h, i, d] += keys[h, i] * values[h, d]
    for h in range(n_head):
        above = out[h * size : (h + 1) * size]
        above[:] = 0
        for i in range(size):
            for d in range(size):
                above[d] += queries[h, i] * sums[h * n_kv_head // n_head, i, d]
        for d in range(size):
            above[d] /= below[h]


@_compiled
def _features(heads: np.ndarray) -> None:
    """elu(x) + 1, in place."""
    for h in range(len(heads)):
        for i in range(heads.shape[1]):
            x = heads[h, i]
            heads[h, i] = x + np.float32(1) if x > 0 else _exp(x)


@_compiled
def _activate(hidden: np.ndarray, gelu: bool) -> None:
    """In place."""
    for t in range(len(hidden)):
        row = hidden[t]
        if gelu:
            for i in range(len(row)):
                u = row[i]
                # 0.5 (1 + tanh z) is 1 / (1 + exp(-2 z)).
                z = np.float32(0.7978845608) * (u + np.float32(0.044715) * u * u * u)
                row[i] = u / (np.float32(1) + _exp(np.float32(-2) * z))
        else:
            for i in range(len(row)):
                row[i] = max(row[i], np.float32(0)) ** 2


@_compiled
def _log_softmax(out: np.ndarray) -> None:
    """Each row, in place."""
    for t in range(len(out)):
        highest = out[t].max()
        total = np.float32(0)
        for v in range(out.shape[1]):
            total += _exp(out[t, v] - highest)
        out[t] -= highest + np.log(total)


@_compiled
def _exp(x: np.float32) -> np.float32:
    """np.exp to a few of its last bits, and unlike it, taken several at a time.

    2^n e^r with |r| <= ln 2 / 2, and e^r by the polynomial of Cephes (Moshier); 0 and infinity are left out.
    """
    x = min(max(x, np.float32(-87)), np.float32(88))
    n = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    r = x - n * np.float32(0.69314718)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)  # 2^n, bit by bit
    return (p * r * r + r + np.float32(1)) * power
