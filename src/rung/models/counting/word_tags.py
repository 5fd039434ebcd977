"""Which tags a word had, how often: what taggers that count begin with.

Tensors: `words` and `word_ends`, the words' bytes one after another and where each ends; of word i the tags
`tag_ids[starts[i]:starts[i + 1]]` and how often each, `tag_counts`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from rung.opening import check_array, check_below, check_rising


@dataclass(frozen=True)
class WordTags:
    """N words, in the order of their bytes, and their tags.

    words: what they are. starts: (N + 1,); tag_ids, tag_counts: (P,) pairs of a word and a tag.
    """

    words: list[bytes]
    starts: np.ndarray
    tag_ids: np.ndarray
    tag_counts: np.ndarray

    @classmethod
    def of(cls, words: Sequence[bytes], tags: np.ndarray) -> Self:
        """Counted over W words and their tags (W,)."""
        distinct = sorted(set(words))
        number = {word: i for i, word in enumerate(distinct)}
        ids = np.fromiter((number[word] for word in words), np.int64, len(words))
        n_tags = int(tags.max()) + 1 if len(tags) else 1
        pairs, counts = np.unique(ids * n_tags + tags, return_counts=True)
        starts = np.searchsorted(pairs // n_tags, np.arange(len(distinct) + 1))
        return cls(
            distinct, starts.astype(np.int64), (pairs % n_tags).astype(np.int32), counts.astype(np.int64)
        )

    @cached_property
    def numbers(self) -> dict[bytes, int]:
        """A word's number."""
        return {word: i for i, word in enumerate(self.words)}

    def ids(self, words: Sequence[bytes]) -> np.ndarray:
        """The number of each word (W,), -1 where it is none of these."""
        numbers = self.numbers
        return np.fromiter((numbers.get(word, -1) for word in words), np.int64, len(words))

    def rows(self, n_tags: int) -> np.ndarray:
        """The counts as a table (N, K)."""
        table = np.zeros((len(self.words), n_tags))
        word = np.repeat(np.arange(len(self.words)), np.diff(self.starts))
        table[word, self.tag_ids] = self.tag_counts
        return table

    def tensors(self) -> dict[str, np.ndarray]:
        return {
            "words": np.frombuffer(b"".join(self.words), np.uint8),
            "word_ends": np.cumsum([len(word) for word in self.words], dtype=np.int64),
            "starts": self.starts,
            "tag_ids": self.tag_ids,
            "tag_counts": self.tag_counts,
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray], n_tags: int) -> Self:
        """Raises ValueError and the like for arrays that don't go together."""
        blob, ends = np.array(tensors["words"]), np.array(tensors["word_ends"])
        starts, ids, counts = (np.array(tensors[name]) for name in ("starts", "tag_ids", "tag_counts"))
        check_array("words", blob, "u1", [None])
        check_array("word_ends", ends, "i8", [None])
        check_rising("word_ends", np.concatenate([[0], ends]), 0, len(blob), strictly=True)
        check_array("starts", starts, "i8", [len(ends) + 1])
        check_rising("starts", starts, 0, len(ids), strictly=True)
        check_array("tag_ids", ids, "i4", [None])
        check_below("tag_ids", ids, n_tags)
        check_array("tag_counts", counts, "i8", [len(ids)])
        check_below("tag_counts", counts, 1 << 53)
        data, borders = blob.tobytes(), [0, *ends.tolist()]
        words = [data[begin:end] for begin, end in itertools.pairwise(borders)]
        if sorted(set(words)) != words:
            raise ValueError("its words are not in order")
        return cls(words, starts, ids, counts)
