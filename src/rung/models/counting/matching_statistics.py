"""Matching statistics, compiled: after each token of a text, the longest end of it that occurs in an indexed one.

The walk keeps an interval of the suffix array: the prefixes that end with the last L tokens, L as great as the indexed
text allows. A token w that was seen after them makes the interval that of L + 1 tokens. Otherwise some tokens are
forgotten, no more than needed: the nearest prefixes, before and after the interval, that w did follow are the first in
its bucket that came from outside, and the least `lcp` on the way there says how many tokens they have in common with
the history. No step looks at more than some hundred numbers, however often a string occurs. (Chang and Lawler 1994, on
a suffix tree; here on the array.)
"""

from __future__ import annotations

import numpy as np

from rung.models.counting.compiled import compiled
from rung.models.counting.suffix_array import BLOCK, MAX_LCP, SuffixArray

Integer = int | np.integer

_SUPERBLOCK = BLOCK * BLOCK
NO_MARK = -1


@compiled
def interval_begin(index: SuffixArray, at: Integer, length: Integer) -> Integer:
    """Where the interval of the prefixes begins that share their last `length` >= 1 tokens with the one at `at`."""
    while index.lcp[at] >= length:
        if at % BLOCK:
            at -= 1
            continue
        block = at // BLOCK - 1
        while index.lcp_blocks[block] >= length:
            if block % BLOCK:
                block -= 1
                continue
            superblock = block // BLOCK - 1
            while index.lcp_superblocks[superblock] >= length:
                superblock -= 1
            block = superblock * BLOCK + BLOCK - 1
        at = block * BLOCK + BLOCK - 1
    return at


@compiled
def interval_end(index: SuffixArray, at: Integer, length: Integer) -> Integer:
    """Where the interval of the prefixes ends that share their last `length` >= 1 tokens with the one at `at` - 1."""
    while index.lcp[at] >= length:
        at += 1
        if at % BLOCK:
            continue
        block = at // BLOCK
        while index.lcp_blocks[block] >= length:
            block += 1
            if block % BLOCK:
                continue
            superblock = block // BLOCK
            while index.lcp_superblocks[superblock] >= length:
                superblock += 1
            block = superblock * BLOCK
        at = block * BLOCK
    return at


@compiled
def lcp_range_min(index: SuffixArray, begin: Integer, end: Integer) -> Integer:
    """The least `lcp` from `begin` to `end`."""
    least = np.int64(MAX_LCP)
    while begin < end:
        if begin % BLOCK or begin + BLOCK > end:
            least = min(least, np.int64(index.lcp[begin]))
            begin += 1
        elif begin % _SUPERBLOCK or begin + _SUPERBLOCK > end:
            least = min(least, np.int64(index.lcp_blocks[begin // BLOCK]))
            begin += BLOCK
        else:
            least = min(least, np.int64(index.lcp_superblocks[begin // _SUPERBLOCK]))
            begin += _SUPERBLOCK
    return least


@compiled
def rank(index: SuffixArray, begin: Integer, end: Integer, at: Integer) -> Integer:
    """The first of `begin` to `end`, a token's bucket, that came from `at` or after it."""
    while begin < end:
        middle = (begin + end) >> 1
        if index.psi[middle] < at:
            begin = middle + 1
        else:
            end = middle
    return begin


@compiled
def extend_match(
    index: SuffixArray, low: Integer, high: Integer, length: Integer, token: Integer, mark: Integer
) -> tuple[Integer, Integer, Integer]:
    """The interval and the length of the longest known end of a history, after one more token.

    `mark` begins a document, so that nothing before it is part of the history; NO_MARK = no token does.
    """
    begin = index.bucket_starts[token]
    end = index.bucket_starts[token + 1]
    if begin == end:
        return np.int64(0), np.int64(len(index.psi)), np.int64(0)
    if token == mark:
        return begin, end, np.int64(1)
    new_low = rank(index, begin, end, low)
    new_high = rank(index, begin, end, high)
    if new_low < new_high:
        return new_low, new_high, length + 1
    before = np.int64(-1)
    after = np.int64(-1)
    if new_low > begin:
        before = lcp_range_min(index, np.int64(index.psi[new_low - 1]) + 1, low + 1)
    if new_low < end:
        after = lcp_range_min(index, high, np.int64(index.psi[new_low]) + 1)
    # Longer than that, intervals are not told apart.
    length = min(max(before, after), MAX_LCP - 1) + 1
    at = new_low - 1 if before >= after else new_low
    return interval_begin(index, at, length), interval_end(index, at + 1, length), length


@compiled
def matching_statistics(
    index: SuffixArray,
    tokens: np.ndarray,
    mark: Integer,
    state: np.ndarray,
    intervals: np.ndarray,
    lengths: np.ndarray,
) -> None:
    """Take `tokens` (T,) in, one by one.

    Args:
        index: the suffix array.
        tokens: int64.
        mark: as in `extend_match`.
        state: (3,) int64, changed: the interval, and the length of what it ends with; (0, N, 0) at first.
        intervals, lengths: (T, 2) and (T,) int64, written to: the state after each token.
    """
    low, high, length = state[0], state[1], state[2]
    for i in range(len(tokens)):
        low, high, length = extend_match(index, low, high, length, tokens[i], mark)
        intervals[i, 0] = low
        intervals[i, 1] = high
        lengths[i] = length
    state[0] = low
    state[1] = high
    state[2] = length
