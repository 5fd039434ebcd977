"""The features of a bag of n-grams: words, runs of words and of letters, each hashed to a number below a bound.

Nothing is looked up in a dictionary, so a word never seen still has the letters it is made of (Joulin et al. 2016,
arXiv:1607.01759; letters of a word between `<` and `>`: Bojanowski et al. 2017, arXiv:1607.04606). Hashes are CRC-32 of
UTF-8, the same on every machine; two features that meet in a bucket share a weight.

Shapes: N texts, M features of all of them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

import numpy as np

from rung.models.linear.words import UNITS

MIXED_BY = np.uint64(
    0x9E3779B97F4A7C15
)  # 2^64 over the golden ratio: what multiplicative hashing multiplies by


class Bags(NamedTuple):
    """The features of texts, one after another.

    starts: (N + 1,) int64; text i has features[starts[i]:starts[i + 1]].
    features: (M,) int64.
    """

    starts: np.ndarray
    features: np.ndarray


@dataclass(frozen=True)
class Hashing:
    """Which features a text has.

    lowercase: whether capitals are made small.
    words: the longest run of words.
    letters: the shortest and the longest run of letters; none where the longest is 0.
    buckets: how many numbers there are.
    """

    lowercase: bool
    words: int
    letters: tuple[int, int]
    buckets: int

    def bags(self, texts: Sequence[tuple[str, ...]]) -> Bags:
        """The features of texts, each one string or two; those of the second are numbers of their own."""
        rows, found = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for part in range(max((len(text) for text in texts), default=0)):
            cut = [self._words(text[part]) for text in texts]
            number = {word: i for i, word in enumerate(dict.fromkeys(word for text in cut for word in text))}
            owner = np.repeat(np.arange(len(cut)), [len(text) for text in cut])
            ids = np.array([number[word] for text in cut for word in text], np.int64)
            if not len(ids):
                continue
            hashes = np.array([crc32(word.encode(), part) for word in number], np.uint64)
            pieces = [self._letters(word, part) for word in number]
            lengths = np.array([len(piece) for piece in pieces], np.int64)
            flat = np.concatenate(pieces)
            begins = np.concatenate([[0], np.cumsum(lengths)[:-1]])
            each = lengths[ids]  # features that each word brings by its letters
            places = np.arange(each.sum()) + np.repeat(begins[ids] - np.cumsum(each) + each, each)
            rows += [owner, np.repeat(owner, each)]
            found += [self._bucket(hashes[ids]), flat[places]]
            run = hashes[ids]
            for k in range(2, self.words + 1):
                run = (run[:-1] ^ (run[:-1] >> np.uint64(29))) * MIXED_BY + hashes[ids[k - 1 :]]
                together = owner[: len(run)] == owner[k - 1 :]
                rows.append(owner[: len(run)][together])
                found.append(self._bucket(run[together] * MIXED_BY))
        row = np.concatenate(rows)
        order = np.argsort(row, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(texts)))])
        return Bags(starts, np.concatenate(found)[order])

    def of_words(self, words: Sequence[str]) -> np.ndarray:
        """The feature (N,) that each of some words is by itself, in the first text."""
        cut = (word.lower() if self.lowercase else word for word in words)
        return self._bucket(np.array([crc32(word.encode("utf-8", "replace"), 0) for word in cut], np.uint64))

    def _words(self, text: str) -> list[str]:
        return UNITS["words"].findall(text.lower() if self.lowercase else text)

    def _letters(self, word: str, part: int) -> np.ndarray:
        """The buckets of the runs of letters of `<word>`, the whole of it left out."""
        shortest, longest = self.letters
        marked = f"<{word}>"
        hashes = [
            crc32(marked[begin : begin + length].encode(), 2 + part)
            for length in range(shortest, min(longest, len(marked) - 1) + 1)
            for begin in range(len(marked) - length + 1)
        ]
        return self._bucket(np.array(hashes, np.uint64))

    def _bucket(self, hashes: np.ndarray) -> np.ndarray:
        return (hashes % np.uint64(self.buckets)).astype(np.int64)
