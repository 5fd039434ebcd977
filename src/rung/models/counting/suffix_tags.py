"""Which tags words have that end alike: for words never seen (Brants 2000, "TnT", section 2.3).

    P_i(t) = (P^(t | last i letters) + theta P_(i-1)(t)) / (1 + theta)        i = 1 ... 10,  P_0(t) = P^(t)

P^ are shares among words met ten times or less, those that begin with a capital apart from the others; theta is the
standard deviation of the tags' own shares. Letters are characters, so endings of any script are told apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from rung.models.counting.word_tags import WordTags

LONGEST = 10
RARE = 10
"""Words met more often say little of new ones."""


@dataclass(frozen=True)
class SuffixTags:
    """Endings, `C` or `c` before each for a capital, and the tags of words that have them; and all rare words' tags.

    endings: by `WordTags`, the tags of each ending. overall: (K,) counts.
    """

    endings: WordTags
    overall: np.ndarray

    @classmethod
    def of(cls, lexicon: WordTags, n_tags: int) -> Self:
        """From the rare words of a lexicon; from all where none is rare."""
        totals = np.add.reduceat(lexicon.tag_counts, lexicon.starts[:-1])
        rare = np.flatnonzero(totals <= RARE)
        chosen = rare if len(rare) else np.arange(len(totals))
        counts: dict[bytes, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        overall = np.zeros(n_tags, np.int64)
        for word in chosen.tolist():
            span = slice(lexicon.starts[word], lexicon.starts[word + 1])
            pairs = list(zip(lexicon.tag_ids[span].tolist(), lexicon.tag_counts[span].tolist(), strict=True))
            for tag, count in pairs:
                overall[tag] += count
            for ending in endings_of(lexicon.words[word]):
                own = counts[ending]
                for tag, count in pairs:
                    own[tag] += count
        # An ending that one word alone has says no more than the next shorter one, unless it is that word's first.
        names = sorted(counts)
        sizes = [len(counts[name]) for name in names]
        tags = [sorted(counts[name].items()) for name in names]
        return cls(
            WordTags(
                names,
                np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
                np.array([tag for own in tags for tag, _ in own], np.int32),
                np.array([count for own in tags for _, count in own], np.int64),
            ),
            overall,
        )

    @cached_property
    def _base(self) -> np.ndarray:
        return (self.overall + 1) / (self.overall.sum() + len(self.overall))

    @cached_property
    def _theta(self) -> float:
        return max(float(np.std(self._base, ddof=1)), 1e-3)

    def probs(self, word: bytes) -> np.ndarray:
        """P(t | how the word ends), (K,); each above 0."""
        found = self._base
        numbers, starts = self.endings.numbers, self.endings.starts
        for ending in endings_of(word):
            number = numbers.get(ending)
            if number is None:
                break
            span = slice(starts[number], starts[number + 1])
            counts = self.endings.tag_counts[span]
            found = found * (self._theta / (1 + self._theta))
            found[self.endings.tag_ids[span]] += counts / (counts.sum() * (1 + self._theta))
        return found

    def tensors(self) -> dict[str, np.ndarray]:
        own = self.endings.tensors()
        return {**{f"endings.{name}": array for name, array in own.items()}, "overall": self.overall}

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray], n_tags: int) -> Self:
        """Raises ValueError and the like for arrays that don't go together."""
        from rung.opening import check_array, check_below

        own = {
            name.removeprefix("endings."): array
            for name, array in tensors.items()
            if name.startswith("endings.")
        }
        overall = np.array(tensors["overall"])
        check_array("overall", overall, "i8", [n_tags])
        check_below("overall", overall, 1 << 53)
        return cls(WordTags.from_tensors(own, n_tags), overall)


def endings_of(word: bytes) -> Sequence[bytes]:
    """The endings of a word, the shortest first, a sign for its first letter before each."""
    text = word.decode("utf-8", "replace")
    sign = b"C" if text[:1].isupper() else b"c"
    return [sign + text[-i:].encode("utf-8", "replace") for i in range(1, min(LONGEST, len(text)) + 1)]
