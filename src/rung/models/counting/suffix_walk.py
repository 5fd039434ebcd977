"""Walking a text through an index of places, compiled: after each token, the longest end seen in training.

The walk keeps a range of places: those that follow the last L tokens, L as great as the training text allows.
A token w that was seen after them makes the range that of L + 1 tokens. Otherwise some tokens are forgotten,
no more than needed: the nearest places, before and after the range, that w did follow are the first in its
slice that came from outside, and the least of `shared` on the way there says how many tokens they have in
common with the history. No step looks at more than some hundred numbers, however often a string occurs.
(Matching statistics; Chang and Lawler 1994, here on the sorted places instead of a tree.)
"""

from __future__ import annotations

import numba
import numpy as np

from rung.models.counting.suffix_array import BLOCK, LONGEST_SHARED, PlaceIndex

Integer = int | np.integer

_compiled = numba.njit(cache=True, nogil=True)
_SUPERBLOCK = BLOCK * BLOCK
NO_MARK = -1


@_compiled
def left_edge(index: PlaceIndex, at: Integer, length: Integer) -> Integer:
    """Where the range of the places begins that share their last `length` >= 1 tokens with place `at`."""
    while index.shared[at] >= length:
        if at % BLOCK:
            at -= 1
            continue
        block = at // BLOCK - 1
        while index.shared_blocks[block] >= length:
            if block % BLOCK:
                block -= 1
                continue
            superblock = block // BLOCK - 1
            while index.shared_superblocks[superblock] >= length:
                superblock -= 1
            block = superblock * BLOCK + BLOCK - 1
        at = block * BLOCK + BLOCK - 1
    return at


@_compiled
def right_edge(index: PlaceIndex, at: Integer, length: Integer) -> Integer:
    """Where the range ends of the places that share their last `length` >= 1 tokens with place `at` - 1."""
    while index.shared[at] >= length:
        at += 1
        if at % BLOCK:
            continue
        block = at // BLOCK
        while index.shared_blocks[block] >= length:
            block += 1
            if block % BLOCK:
                continue
            superblock = block // BLOCK
            while index.shared_superblocks[superblock] >= length:
                superblock += 1
            block = superblock * BLOCK
        at = block * BLOCK
    return at


@_compiled
def least_shared(index: PlaceIndex, begin: Integer, end: Integer) -> Integer:
    """The least of `shared` from `begin` to `end`."""
    least = np.int64(LONGEST_SHARED)
    while begin < end:
        if begin % BLOCK or begin + BLOCK > end:
            least = min(least, np.int64(index.shared[begin]))
            begin += 1
        elif begin % _SUPERBLOCK or begin + _SUPERBLOCK > end:
            least = min(least, np.int64(index.shared_blocks[begin // BLOCK]))
            begin += BLOCK
        else:
            least = min(least, np.int64(index.shared_superblocks[begin // _SUPERBLOCK]))
            begin += _SUPERBLOCK
    return least


@_compiled
def rank(index: PlaceIndex, begin: Integer, end: Integer, place: Integer) -> Integer:
    """The first of the places `begin` to `end`, a token's slice, that came from `place` or after it."""
    while begin < end:
        middle = (begin + end) >> 1
        if index.came_from[middle] < place:
            begin = middle + 1
        else:
            end = middle
    return begin


@_compiled
def step(
    index: PlaceIndex, low: Integer, high: Integer, length: Integer, token: Integer, mark: Integer
) -> tuple[Integer, Integer, Integer]:
    """The range and length of the longest known end of a history, after one more token.

    `mark` begins a document, so that nothing before it is part of the history; NO_MARK = no token does.
    """
    begin = index.first[token]
    end = index.first[token + 1]
    if begin == end:
        return np.int64(0), np.int64(len(index.came_from)), np.int64(0)
    if token == mark:
        return begin, end, np.int64(1)
    new_low = rank(index, begin, end, low)
    new_high = rank(index, begin, end, high)
    if new_low < new_high:
        return new_low, new_high, length + 1
    before = np.int64(-1)
    after = np.int64(-1)
    if new_low > begin:
        before = least_shared(index, np.int64(index.came_from[new_low - 1]) + 1, low + 1)
    if new_low < end:
        after = least_shared(index, high, np.int64(index.came_from[new_low]) + 1)
    # Longer than that, ranges are not told apart.
    length = min(max(before, after), LONGEST_SHARED - 1) + 1
    at = new_low - 1 if before >= after else new_low
    return left_edge(index, at, length), right_edge(index, at + 1, length), length


@_compiled
def walk(
    index: PlaceIndex,
    tokens: np.ndarray,
    mark: Integer,
    state: np.ndarray,
    ranges: np.ndarray,
    lengths: np.ndarray,
) -> None:
    """Take `tokens` (T,) in, one by one.

    Args:
        index: the sorted places.
        tokens: int64.
        mark: as in `step`.
        state: (3,) int64, changed: the range, and the length of what it follows; (0, N, 0) at first.
        ranges, lengths: (T, 2) and (T,) int64, written to: the state after each token.
    """
    low, high, length = state[0], state[1], state[2]
    for i in range(len(tokens)):
        low, high, length = step(index, low, high, length, tokens[i], mark)
        ranges[i, 0] = low
        ranges[i, 1] = high
        lengths[i] = length
    state[0] = low
    state[1] = high
    state[2] = length
