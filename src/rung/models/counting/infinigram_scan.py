"""What an infinigram looks at, compiled: what followed the suffixes of a history, and how far to trust that.

Suffixes of several lengths are looked at: fixed ones, and the longest that occurs. One that occurs just as often
as a longer one says the same; only the longer one is used. How far to trust the relative frequencies after
a suffix is a weight, learned for each kind of evidence, a *bucket* (Jelinek and Mercer 1980):

    row        which of the fixed lengths; or for the longest suffix, between which of `length_bins` its length lies
    count      how often it occurs: 1, 2, 3, 4, 5, 6-7, 8-15, 16-31, ... 4,096 and more
    distinct   how many different tokens followed: 1, 2, 3, 4-7, 8-15, ... 256 and more; above 64 occurrences,
               how many runs of equal tokens there are in the interval, which is no less
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rung.models.counting.compiled import compiled
from rung.models.counting.matching_statistics import (
    Integer,
    extend_match,
    interval_begin,
    interval_end,
    rank,
)
from rung.models.counting.suffix_array import BLOCK, SuffixArray

COUNT_BINS = 16
DISTINCT_BINS = 10
SCAN_UP_TO = 64
RANK_COST = 4  # a token counted by binary search costs as much as looking at so many prefixes
UNUSED = -1


class TrainingText(NamedTuple):
    """What is known of a training text: its sorted prefixes, N of them, and what followed each.

    suffix_array: of the text read backwards.
    next_tokens: (N,) the token after each prefix (the Burrows-Wheeler transform of the text read backwards).
    runs: (N / 64 + 1,) how many of the first 0, 64, 128, ... of these differ from the one before.
    lengths: (K,) int64, rising, at least 1: the fixed lengths of suffixes to look at.
    length_bins: (D,) int64, rising, the first of them lengths[0]: what parts the longest suffixes into rows.
    """

    suffix_array: SuffixArray
    next_tokens: np.ndarray
    runs: np.ndarray
    lengths: np.ndarray
    length_bins: np.ndarray


def n_buckets(lengths: np.ndarray, length_bins: np.ndarray) -> int:
    """How many kinds of evidence there are."""
    return (len(lengths) + len(length_bins)) * COUNT_BINS * DISTINCT_BINS


def cumulative_runs(next_tokens: np.ndarray) -> np.ndarray:
    """How many of the first 0, 64, 128, ... tokens differ from the one before them, (N / 64 + 1,)."""
    starts_run = np.zeros(-(-max(len(next_tokens), 1) // BLOCK) * BLOCK, bool)
    starts_run[1 : len(next_tokens)] = next_tokens[1:] != next_tokens[:-1]
    totals = np.cumsum(starts_run.reshape(-1, BLOCK).sum(axis=1))
    return np.concatenate([[0], totals]).astype(np.int32 if len(next_tokens) < 1 << 31 else np.int64)


@compiled
def observe(
    text: TrainingText,
    tokens: np.ndarray,
    mark: Integer,
    state: np.ndarray,
    frequencies: np.ndarray,
    buckets: np.ndarray,
) -> None:
    """Take `tokens` (T,) in; before each, look at the suffixes of its history.

    Args:
        text: the training text.
        tokens: int64.
        mark: the document mark.
        state: as in `matching_statistics`; changed.
        frequencies: (T, K + 1) float32, written to: how often the token came after each suffix, relative; longest last.
        buckets: (T, K + 1) int32, written to: what kind of evidence that is, or UNUSED.
    """
    low, high, length = state[0], state[1], state[2]
    n_suffixes = len(text.lengths) + 1
    intervals = np.empty((n_suffixes, 2), np.int64)
    for i in range(len(tokens)):
        token = tokens[i]
        find_suffixes(text, low, high, length, intervals, buckets[i])
        for k in range(n_suffixes):
            frequencies[i, k] = 0
            if buckets[i, k] != UNUSED:
                begin, end = intervals[k]
                frequencies[i, k] = _count_token(text, begin, end, token) / (end - begin)
        low, high, length = extend_match(text.suffix_array, low, high, length, token, mark)
    state[0] = low
    state[1] = high
    state[2] = length


@compiled
def advance_and_interpolate(
    text: TrainingText,
    weights: np.ndarray,
    tokens: np.ndarray,
    mark: Integer,
    states: np.ndarray,
    probs: np.ndarray,
) -> None:
    """Take in the tokens of each history, and turn the probabilities of the model below into the mixed ones.

    Args:
        text: the training text.
        weights: lambda for each bucket.
        tokens: (B, T) int64.
        mark: the document mark.
        states: (B, 3), a state as in `matching_statistics` a row; changed.
        probs: (B, V) float64, changed.
    """
    n_suffixes = len(text.lengths) + 1
    vocab_size = probs.shape[1]
    intervals = np.empty((n_suffixes, 2), np.int64)
    buckets = np.empty(n_suffixes, np.int32)
    counts = np.empty(vocab_size, np.int64)
    for row in range(len(tokens)):
        low, high, length = states[row, 0], states[row, 1], states[row, 2]
        for t in range(tokens.shape[1]):
            low, high, length = extend_match(text.suffix_array, low, high, length, tokens[row, t], mark)
        states[row, 0] = low
        states[row, 1] = high
        states[row, 2] = length
        find_suffixes(text, low, high, length, intervals, buckets)
        for k in range(n_suffixes):
            if buckets[k] == UNUSED:
                continue
            weight = np.float64(weights[buckets[k]])
            begin, end = intervals[k]
            share = weight / (end - begin)
            for token in range(vocab_size):
                probs[row, token] *= 1 - weight
            if end - begin > RANK_COST * vocab_size:
                count_next_tokens(text.suffix_array, begin, end, counts)
                for token in range(vocab_size):
                    probs[row, token] += share * counts[token]
            else:
                for at in range(begin, end):
                    probs[row, text.next_tokens[at]] += share


@compiled
def find_suffixes(
    text: TrainingText,
    low: Integer,
    high: Integer,
    length: Integer,
    intervals: np.ndarray,
    buckets: np.ndarray,
) -> None:
    """Write the interval (K + 1, 2) and the bucket (K + 1,) of every suffix that is looked at, longest last."""
    index, lengths = text.suffix_array, text.lengths
    n_lengths = len(lengths)
    buckets[:] = UNUSED
    if length < lengths[0]:
        return
    row = n_lengths - 1
    for least in text.length_bins:
        row += length >= least
    begin, end = low, high
    for k in range(n_lengths, -1, -1):
        if k < n_lengths:
            if lengths[k] >= length:
                continue
            wider_begin = interval_begin(index, begin, lengths[k])
            wider_end = interval_end(index, end, lengths[k])
            if wider_begin == begin and wider_end == end:
                continue
            begin, end = wider_begin, wider_end
            row = k
        intervals[k, 0] = begin
        intervals[k, 1] = end
        count = end - begin
        count_bin = min(count, 6) if count < 8 else min(_bit_length(count) + 3, COUNT_BINS)
        n_distinct = _count_distinct(text, begin, end)
        distinct_bin = n_distinct if n_distinct < 4 else min(_bit_length(n_distinct) + 1, DISTINCT_BINS)
        buckets[k] = (row * COUNT_BINS + count_bin - 1) * DISTINCT_BINS + distinct_bin - 1


@compiled
def count_next_tokens(index: SuffixArray, begin: Integer, end: Integer, counts: np.ndarray) -> None:
    """Write how often each token follows the prefixes `begin` to `end`, (V,), in a time that doesn't grow with them."""
    for token in range(len(counts)):
        first, last = index.bucket_starts[token], index.bucket_starts[token + 1]
        counts[token] = rank(index, first, last, end) - rank(index, first, last, begin)


@compiled
def _count_token(text: TrainingText, begin: Integer, end: Integer, token: Integer) -> Integer:
    index, next_tokens = text.suffix_array, text.next_tokens
    if end - begin > SCAN_UP_TO:
        first, last = index.bucket_starts[token], index.bucket_starts[token + 1]
        return rank(index, first, last, end) - rank(index, first, last, begin)
    n = 0
    for at in range(begin, end):
        n += next_tokens[at] == token
    return n


@compiled
def _count_distinct(text: TrainingText, begin: Integer, end: Integer) -> Integer:
    if end - begin > SCAN_UP_TO:
        n_runs = 1 + _count_run_starts(text, end) - _count_run_starts(text, begin + 1)
        return max(n_runs, 1)  # `runs` is as the file has it
    next_tokens = text.next_tokens
    n = 0
    for at in range(begin, end):
        seen = False
        for earlier in range(begin, at):
            if next_tokens[earlier] == next_tokens[at]:
                seen = True
                break
        n += not seen
    return n


@compiled
def _count_run_starts(text: TrainingText, before: Integer) -> Integer:
    """How many of the first `before` >= 1 tokens differ from the one before them."""
    next_tokens = text.next_tokens
    block = before // BLOCK
    n = np.int64(text.runs[block])
    for at in range(max(block * BLOCK, 1), before):
        n += next_tokens[at] != next_tokens[at - 1]
    return n


@compiled
def _bit_length(n: Integer) -> Integer:
    bits = 0
    while n > 0:
        n >>= 1
        bits += 1
    return bits
