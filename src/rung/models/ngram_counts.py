"""Counting every n-gram of a token stream, order by order, by sorting.

A k-gram is a (k-1)-gram and one more token. With the (k-1)-grams numbered in sorted order, the k-grams are
numbered by sorting the pairs (number of the (k-1)-gram that ends before a token, the token), one integer
each. Packed together with the token's position into 64 bits, the pair needs only a plain sort, which is
several times quicker than an argsort.

N-grams never cross documents: the mark may be their first token (a document begins) or their last (it ends).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NO_GRAM = -1


@dataclass(frozen=True)
class Grams:
    """All different n-grams of one order, sorted by parent and then by last token. G of them.

    order: how many tokens long they are.
    words: (G,) the last token.
    parent: (G,) the number, among those one order lower, of the n-gram less its last token.
    suffix: (G,) the same, less its first token.
    counts: (G,) how often it occurs.
    begins: (G,) whether it begins with the document mark. (The 1-gram of the mark is the closing one: False.)
    """

    order: int
    words: np.ndarray
    parent: np.ndarray
    suffix: np.ndarray
    counts: np.ndarray
    begins: np.ndarray

    def __len__(self) -> int:
        return len(self.words)


def count_ngrams(ids: np.ndarray, vocab_size: int, end: int, order: int) -> list[Grams]:
    """The n-grams of orders 1 to `order` of a stream `end d1 end d2 end ... dn end`.

    Of order 1 there are always V, seen or not, so that a token is its own number. An order longer than every
    document has none.
    """
    ids = np.asarray(ids)
    nothing = np.zeros(vocab_size, np.int64)
    levels = [
        Grams(
            order=1,
            words=np.arange(vocab_size),
            parent=nothing,
            suffix=nothing,
            counts=np.bincount(
                ids[1:], minlength=vocab_size
            ),  # the mark before the first document predicts nothing
            begins=np.zeros(vocab_size, bool),
        )
    ]
    number = ids.astype(np.int64)  # of the n-gram of the current order that ends at each token
    at = np.arange(1, len(ids))  # the tokens at which one of the next order ends
    for _ in range(2, order + 1):
        grams, number_at = _count_level(ids, number, at, levels[-1], vocab_size, end)
        levels.append(grams)
        number[at] = number_at
        inside = at[ids[at] != end] + 1  # nothing continues an n-gram that a document mark has closed
        at = inside[inside < len(ids)]
    return levels


def keep_frequent(levels: Sequence[Grams], thresholds: Sequence[int]) -> list[np.ndarray]:
    """For each order, which n-grams (G,) occur more often than its threshold; the last holds for all above.

    Thresholds that begin with 0 and never fall keep every parent and suffix of what they keep: these occur
    at least as often.
    """
    masks = []
    for grams in levels:
        threshold = thresholds[min(grams.order, len(thresholds)) - 1] if thresholds else 0
        masks.append(grams.counts > threshold if threshold else np.ones(len(grams), bool))
    return masks


def take_kept(levels: Sequence[Grams], kept: Sequence[np.ndarray]) -> list[Grams]:
    """The n-grams that `kept` (G,) an order leaves, numbered anew."""
    number = np.zeros(1, np.int64)  # of each n-gram one order lower; the empty one is 0
    left = []
    for grams, keep in zip(levels, kept, strict=True):
        parent, suffix = number[grams.parent[keep]], number[grams.suffix[keep]]
        left.append(
            Grams(grams.order, grams.words[keep], parent, suffix, grams.counts[keep], grams.begins[keep])
        )
        number = np.cumsum(keep) - 1
    return left


def _count_level(
    ids: np.ndarray, number: np.ndarray, at: np.ndarray, below: Grams, vocab_size: int, end: int
) -> tuple[Grams, np.ndarray]:
    """The n-grams one order above `below`, and the number (n,) of the one that ends at each token of `at`."""
    key, key_at = _sorted_pairs(number[at - 1], ids[at], at, len(below), vocab_size)
    first = np.flatnonzero(np.diff(key, prepend=-1))  # where each n-gram's run of equal keys begins
    counts = np.diff(first, append=len(key))
    parent, words = np.divmod(key[first], vocab_size)
    begins = parent == end if below.order == 1 else below.begins[parent]
    grams = Grams(below.order + 1, words, parent, number[key_at[first]], counts, begins)
    numbered = np.empty(len(ids), np.int64)
    numbered[key_at] = np.repeat(np.arange(len(first)), counts)
    return grams, numbered[at]


def _sorted_pairs(
    contexts: np.ndarray, words: np.ndarray, at: np.ndarray, n_contexts: int, vocab_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """context * V + word of every pair, sorted, and the position each came from."""
    key = contexts * vocab_size + words
    position_bits = int(at[-1]).bit_length() if len(at) else 0
    if (n_contexts * vocab_size).bit_length() + position_bits < 64:
        packed = np.sort((key << position_bits) | at)
        return packed >> position_bits, packed & ((1 << position_bits) - 1)
    order = np.argsort(key, kind="stable")
    return key[order], at[order]
