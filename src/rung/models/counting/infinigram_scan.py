"""What an infinigram looks at, compiled: what followed the ends of a history, and how far that is to be trusted.

Ends of several lengths are looked at: fixed ones, and the longest that occurs. An end that occurs just as often
as a longer one says the same; only the longer one is used. How far to trust the relative frequencies after
an end is a weight, learned for each kind of evidence, a *cell*:

    row        which of the fixed lengths; or for the longest end, between which of `depths` its length lies
    times      how often it occurs: 1, 2, 3, 4, 5, 6-7, 8-15, 16-31, ... 4,096 and more
    variety    how many different tokens followed: 1, 2, 3, 4-7, 8-15, ... 256 and more; above 64 occurrences,
               how many stretches of equal tokens there are among the sorted places, which is no less
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from rung.models.counting.suffix_array import BLOCK, PlaceIndex
from rung.models.counting.suffix_walk import Integer, left_edge, rank, right_edge, step

TIMES = 16
VARIETIES = 10
FEW = 64
RANKS_PAY = 4  # a token counted by binary search costs as much as looking at so many places
UNUSED = -1

_compiled = numba.njit(cache=True, nogil=True)


class KnownText(NamedTuple):
    """What is known of a training text: its sorted places and what followed them. N known.

    index: the sorted known.
    following: (N,) the token after each.
    stretches: (N / 64 + 1,) how many of the first 0, 64, 128, ... of these differ from the one before.
    lengths: (K,) int64, rising, at least 1: the fixed lengths of ends to look at.
    depths: (D,) int64, rising, the first of them lengths[0]: what parts the longest ends into rows.
    """

    places: PlaceIndex
    following: np.ndarray
    stretches: np.ndarray
    lengths: np.ndarray
    depths: np.ndarray


def n_cells(lengths: np.ndarray, depths: np.ndarray) -> int:
    """How many kinds of evidence there are."""
    return (len(lengths) + len(depths)) * TIMES * VARIETIES


def stretches_before(following: np.ndarray) -> np.ndarray:
    """How many of the first 0, 64, 128, ... tokens differ from the one before them, (N / 64 + 1,)."""
    changes = np.zeros(-(-max(len(following), 1) // BLOCK) * BLOCK, bool)
    changes[1 : len(following)] = following[1:] != following[:-1]
    totals = np.cumsum(changes.reshape(-1, BLOCK).sum(axis=1))
    return np.concatenate([[0], totals]).astype(np.int32 if len(following) < 1 << 31 else np.int64)


@_compiled
def observe(
    known: KnownText,
    tokens: np.ndarray,
    mark: Integer,
    state: np.ndarray,
    shares: np.ndarray,
    cells: np.ndarray,
) -> None:
    """Take `tokens` (T,) in; before each, look at the ends of its history.

    Args:
        known: the training text.
        tokens: int64.
        mark: the document mark.
        state: as in `walk`; changed.
        shares: (T, K + 1) float32, written to: the relative frequency of the token after each end, longest last.
        cells: (T, K + 1) int32, written to: what kind of evidence that is, or UNUSED.
    """
    low, high, length = state[0], state[1], state[2]
    n_ends = len(known.lengths) + 1
    ranges = np.empty((n_ends, 2), np.int64)
    for i in range(len(tokens)):
        token = tokens[i]
        ends_of(known, low, high, length, ranges, cells[i])
        for k in range(n_ends):
            shares[i, k] = 0
            if cells[i, k] != UNUSED:
                begin, end = ranges[k]
                shares[i, k] = _count(known, begin, end, token) / (end - begin)
        low, high, length = step(known.places, low, high, length, token, mark)
    state[0] = low
    state[1] = high
    state[2] = length


@_compiled
def advance_and_mix(
    known: KnownText,
    weights: np.ndarray,
    tokens: np.ndarray,
    mark: Integer,
    states: np.ndarray,
    probs: np.ndarray,
) -> None:
    """Take in the tokens of each history, and turn the probabilities of the model below into the mixed ones.

    Args:
        known: the training text.
        weights: lambda for each cell.
        tokens: (B, T) int64.
        mark: the document mark.
        states: (B, 3), a state as in `walk` a row; changed.
        probs: (B, V) float64, changed.
    """
    n_ends = len(known.lengths) + 1
    vocab_size = probs.shape[1]
    ranges = np.empty((n_ends, 2), np.int64)
    cells = np.empty(n_ends, np.int32)
    counts = np.empty(vocab_size, np.int64)
    for row in range(len(tokens)):
        low, high, length = states[row, 0], states[row, 1], states[row, 2]
        for t in range(tokens.shape[1]):
            low, high, length = step(known.places, low, high, length, tokens[row, t], mark)
        states[row, 0] = low
        states[row, 1] = high
        states[row, 2] = length
        ends_of(known, low, high, length, ranges, cells)
        for k in range(n_ends):
            if cells[k] == UNUSED:
                continue
            weight = np.float64(weights[cells[k]])
            begin, end = ranges[k]
            share = weight / (end - begin)
            for token in range(vocab_size):
                probs[row, token] *= 1 - weight
            if end - begin > RANKS_PAY * vocab_size:
                count_all(known.places, begin, end, counts)
                for token in range(vocab_size):
                    probs[row, token] += share * counts[token]
            else:
                for place in range(begin, end):
                    probs[row, known.following[place]] += share


@_compiled
def ends_of(
    known: KnownText,
    low: Integer,
    high: Integer,
    length: Integer,
    ranges: np.ndarray,
    cells: np.ndarray,
) -> None:
    """Write the range (K + 1, 2) and the cell (K + 1,) of every end that is looked at, longest last."""
    index, lengths = known.places, known.lengths
    n_lengths = len(lengths)
    cells[:] = UNUSED
    if length < lengths[0]:
        return
    row = n_lengths - 1
    for depth in known.depths:
        row += length >= depth
    begin, end = low, high
    for k in range(n_lengths, -1, -1):
        if k < n_lengths:
            if lengths[k] >= length:
                continue
            wider_begin = left_edge(index, begin, lengths[k])
            wider_end = right_edge(index, end, lengths[k])
            if wider_begin == begin and wider_end == end:
                continue
            begin, end = wider_begin, wider_end
            row = k
        ranges[k, 0] = begin
        ranges[k, 1] = end
        times = end - begin
        times_class = min(times, 6) if times < 8 else min(_bits(times) + 3, TIMES)
        variety = _variety(known, begin, end)
        variety_class = variety if variety < 4 else min(_bits(variety) + 1, VARIETIES)
        cells[k] = (row * TIMES + times_class - 1) * VARIETIES + variety_class - 1


@_compiled
def count_all(index: PlaceIndex, begin: Integer, end: Integer, counts: np.ndarray) -> None:
    """Write how often each token follows the places `begin` to `end`, (V,), in a time that doesn't grow with them."""
    for token in range(len(counts)):
        first, last = index.first[token], index.first[token + 1]
        counts[token] = rank(index, first, last, end) - rank(index, first, last, begin)


@_compiled
def _count(known: KnownText, begin: Integer, end: Integer, token: Integer) -> Integer:
    index, following = known.places, known.following
    if end - begin > FEW:
        first, last = index.first[token], index.first[token + 1]
        return rank(index, first, last, end) - rank(index, first, last, begin)
    n = 0
    for place in range(begin, end):
        n += following[place] == token
    return n


@_compiled
def _variety(known: KnownText, begin: Integer, end: Integer) -> Integer:
    if end - begin > FEW:
        return 1 + _changes(known, end) - _changes(known, begin + 1)
    following = known.following
    n = 0
    for place in range(begin, end):
        seen = False
        for earlier in range(begin, place):
            if following[earlier] == following[place]:
                seen = True
                break
        n += not seen
    return n


@_compiled
def _changes(known: KnownText, before: Integer) -> Integer:
    """How many of the first `before` >= 1 tokens differ from the one before them."""
    following = known.following
    block = before // BLOCK
    n = np.int64(known.stretches[block])
    for place in range(max(block * BLOCK, 1), before):
        n += following[place] != following[place - 1]
    return n


@_compiled
def _bits(n: Integer) -> Integer:
    bits = 0
    while n > 0:
        n >>= 1
        bits += 1
    return bits
