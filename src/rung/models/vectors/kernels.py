"""Compiled: skip-gram and CBOW with negative sampling, one word after another, and what held-out words cost.

    loss(h, w, noise) = -log s(u_w . h) - sum over noise n of log s(-u_n . h)          s(x) = 1 / (1 + e^-x)

    skip-gram   h = v_c, for each neighbour c of w by itself
    CBOW        h = the mean of v_c over the neighbours

Mikolov et al. 2013 (arXiv:1301.3781, arXiv:1310.4546). Words that occur all the time are left out by chance and the
window is drawn anew, from 1 to its width, for every word, as in word2vec. What a neighbour learns in CBOW is the mean's
gradient, so divided by how many there are (İrsoy et al. 2021, arXiv:2012.15332), which word2vec's code forgets.

One thread, one stream of chance (SplitMix64), so the same data and seed give the same vectors. Shapes: N ids of all
documents, D documents, V words, E numbers a word, K noise words.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from rung.models.counting.compiled import compiled

fast = partial(compiled, fastmath={"reassoc", "contract", "nsz"})

MOST_DRAWS = 1000
LEAST = 1e-12
"""Probabilities below it are told as this: their logarithm has to be a number."""


@fast
def step(
    hidden: np.ndarray, outputs: np.ndarray, ids: np.ndarray, n: int, rate: np.float32, slope: np.ndarray
) -> float:
    """Move `outputs` (V, E) down the gradient at ids[0], the right word, and ids[1:n], noise.

    Adds to `slope` (E,) what `hidden` (E,) is to be moved by. Returns the loss, nats.
    """
    width = len(hidden)
    likelihood = 1.0
    for i in range(n):
        row = outputs[ids[i]]
        score = np.float32(0)
        for j in range(width):
            score += row[j] * hidden[j]
        right = 1.0 / (1.0 + np.exp(-float(score)))
        if i == 0:
            likelihood *= max(right, LEAST)
            change = rate * np.float32(1.0 - right)
        else:
            likelihood *= max(1.0 - right, LEAST)
            change = rate * np.float32(-right)
        for j in range(width):
            slope[j] += change * row[j]
            row[j] += change * hidden[j]
    return -np.log(max(likelihood, 1e-300))


@compiled
def chance(state: np.uint64) -> tuple[np.uint64, np.uint64]:
    """The next state of SplitMix64 (Steele et al. 2014), and 64 bits."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    bits = state
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state, bits ^ (bits >> np.uint64(31))


@compiled
def draw(bits: np.uint64, stay: np.ndarray, other: np.ndarray) -> np.int64:
    """A word by the alias method (`noise.Alias`): the upper half of the bits says which column, the lower the rest."""
    column = np.int64(((bits >> np.uint64(32)) * np.uint64(len(stay))) >> np.uint64(32))
    share = np.float64(np.int64(bits & np.uint64(0xFFFFFFFF))) / 4294967296.0
    return column if share < stay[column] else other[column]


@compiled
def _pick(
    ids: np.ndarray, right: int, negative: int, state: np.uint64, stay: np.ndarray, other: np.ndarray
) -> tuple[int, np.uint64]:
    """ids[0] the right word, behind it noise; what is the right word again is left out. How many, and the state."""
    ids[0] = right
    n = 1
    for _ in range(negative):
        state, bits = chance(state)
        word = draw(bits, stay, other)
        if word != right:
            ids[n] = word
            n += 1
    return n, state


@compiled
def _pick_others(
    ids: np.ndarray, right: int, negative: int, state: np.uint64, stay: np.ndarray, other: np.ndarray
) -> tuple[int, np.uint64]:
    """As `_pick`, but what is the right word again is drawn anew, unless hardly anything else is ever drawn."""
    ids[0] = right
    n = 1
    for _ in range(negative):
        for _ in range(MOST_DRAWS):
            state, bits = chance(state)
            ids[n] = draw(bits, stay, other)
            if ids[n] != right:
                n += 1
                break
    return n, state


@compiled
def _keep(
    ids: np.ndarray, begin: int, end: int, kept: np.ndarray, out: np.ndarray, state: np.uint64
) -> tuple[int, np.uint64]:
    """The words of a document that are not left out, in `out`; how many, and the state."""
    n = 0
    for place in range(begin, end):
        word = ids[place]
        if kept[word] < 1.0:
            state, bits = chance(state)
            if np.float64(np.int64(bits >> np.uint64(11))) / 9007199254740992.0 >= kept[word]:
                continue
        out[n] = word
        n += 1
    return n, state


@fast
def skipgram_epoch(
    ids: np.ndarray,
    starts: np.ndarray,
    kept: np.ndarray,
    stay: np.ndarray,
    other: np.ndarray,
    vectors: np.ndarray,
    outputs: np.ndarray,
    window: int,
    negative: int,
    first_rate: float,
    last_rate: float,
    seed: int,
) -> tuple[float, int]:
    """Once through the documents, in place; the rate falls linearly. The loss of all pairs, nats, and how many."""
    state = np.uint64(seed)
    width = vectors.shape[1]
    slope, noise = np.empty(width, np.float32), np.empty(negative + 1, np.int64)
    words = np.empty(_longest(starts), np.int64)
    total, pairs = 0.0, 0
    for document in range(len(starts) - 1):
        begin, end = starts[document], starts[document + 1] - 1
        n, state = _keep(ids, begin, end, kept, words, state)
        for t in range(n):
            passed = (begin + (end - begin) * t / n) / len(ids)
            rate = np.float32(first_rate + (last_rate - first_rate) * passed)
            state, bits = chance(state)
            span = 1 + np.int64(bits % np.uint64(window))
            for s in range(max(0, t - span), min(n, t + span + 1)):
                if s == t:
                    continue
                m, state = _pick(noise, words[t], negative, state, stay, other)
                hidden = vectors[words[s]]
                slope[:] = 0
                total += step(hidden, outputs, noise, m, rate, slope)
                for j in range(width):
                    hidden[j] += slope[j]
                pairs += 1
    return total, pairs


@fast
def cbow_epoch(
    ids: np.ndarray,
    starts: np.ndarray,
    kept: np.ndarray,
    stay: np.ndarray,
    other: np.ndarray,
    vectors: np.ndarray,
    outputs: np.ndarray,
    window: int,
    negative: int,
    first_rate: float,
    last_rate: float,
    seed: int,
) -> tuple[float, int]:
    """As `skipgram_epoch`; a pair is a word and the mean of its neighbours."""
    state = np.uint64(seed)
    width = vectors.shape[1]
    slope, noise = np.empty(width, np.float32), np.empty(negative + 1, np.int64)
    hidden = np.empty(width, np.float32)
    words = np.empty(_longest(starts), np.int64)
    total, pairs = 0.0, 0
    for document in range(len(starts) - 1):
        begin, end = starts[document], starts[document + 1] - 1
        n, state = _keep(ids, begin, end, kept, words, state)
        for t in range(n):
            passed = (begin + (end - begin) * t / n) / len(ids)
            rate = np.float32(first_rate + (last_rate - first_rate) * passed)
            state, bits = chance(state)
            span = 1 + np.int64(bits % np.uint64(window))
            first, last = max(0, t - span), min(n, t + span + 1)
            if last - first < 2:
                continue
            share = np.float32(1.0 / (last - first - 1))
            hidden[:] = 0
            for s in range(first, last):
                if s != t:
                    row = vectors[words[s]]
                    for j in range(width):
                        hidden[j] += row[j]
            for j in range(width):
                hidden[j] *= share
            m, state = _pick(noise, words[t], negative, state, stay, other)
            slope[:] = 0
            total += step(hidden, outputs, noise, m, rate, slope)
            for j in range(width):
                slope[j] *= share
            for s in range(first, last):
                if s != t:
                    row = vectors[words[s]]
                    for j in range(width):
                        row[j] += slope[j]
            pairs += 1
    return total, pairs


@compiled
def _longest(starts: np.ndarray) -> int:
    longest = 1
    for document in range(len(starts) - 1):
        longest = max(longest, starts[document + 1] - starts[document])
    return longest


@fast
def word_costs(
    ids: np.ndarray,
    starts: np.ndarray,
    seeds: np.ndarray,
    stay: np.ndarray,
    other: np.ndarray,
    vectors: np.ndarray,
    outputs: np.ndarray,
    window: int,
    negative: int,
    out: np.ndarray,
) -> None:
    """What it costs to tell each word from noise, given all words within the window, none left out.

    `seeds` (D,) uint64 are the documents', so that a document costs the same wherever it stands. `out` (M, 3), M words
    that have a neighbour, in order: the loss, nats, averaged over neighbours one by one; the loss given their mean; and
    1 where the word scores above all noise given their mean, else 0.
    """
    width = vectors.shape[1]
    noise = np.empty(negative + 1, np.int64)
    hidden = np.empty(width, np.float32)
    place = 0
    for document in range(len(starts) - 1):
        begin, end = starts[document], starts[document + 1] - 1
        state = seeds[document]
        if end - begin < 2:
            continue
        for t in range(begin, end):
            m, state = _pick_others(noise, ids[t], negative, state, stay, other)
            first, last = max(begin, t - window), min(end, t + window + 1)
            hidden[:] = 0
            alone = 0.0
            for s in range(first, last):
                if s == t:
                    continue
                row = vectors[ids[s]]
                for j in range(width):
                    hidden[j] += row[j]
                for i in range(m):
                    score = np.float32(0)
                    output = outputs[noise[i]]
                    for j in range(width):
                        score += output[j] * row[j]
                    alone += _softplus(-float(score) if i == 0 else float(score))
            together, told = 0.0, 1.0
            right = 0.0
            for i in range(m):
                score = np.float32(0)
                output = outputs[noise[i]]
                for j in range(width):
                    score += output[j] * hidden[j]
                mean = float(score) / (last - first - 1)
                together += _softplus(-mean if i == 0 else mean)
                if i == 0:
                    right = mean
                elif mean >= right:
                    told = 0.0
            out[place, 0] = alone / (last - first - 1)
            out[place, 1] = together
            out[place, 2] = told
            place += 1


@compiled
def _softplus(x: float) -> float:
    """log(1 + e^x)"""
    return max(x, 0.0) + np.log1p(np.exp(-abs(x)))
