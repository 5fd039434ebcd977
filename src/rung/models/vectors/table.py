"""A table of vectors and the words its rows stand for; neighbours, by cosine or dot product.

    cosine(a, b) = a . b / (|a| |b|)

A word is found as it is spelled or, failing that, whatever its case: the first such row. A row of zeros has a cosine
of 0 with all.

Shapes: R rows, E numbers a word, Q questions at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from rung.errors import UserError, nearest

MEASURES = ("cosine", "dot")
SCORES_AT_ONCE = 1 << 24
FEW_WORDS = 50_000
"""Of more, no word of like spelling is looked for."""


class Neighbour(NamedTuple):
    """A word, and how near it is."""

    word: str
    score: float


@dataclass(frozen=True)
class WordTable:
    """Words and their vectors.

    words: R of them, each once, most frequent first where that is known.
    vectors: (R, E) float32.
    source: what they are of, for messages.
    """

    words: list[str]
    vectors: np.ndarray
    source: str

    def __post_init__(self) -> None:
        if not self.words:
            raise UserError(f"{self.source} holds no vector of a word")

    @cached_property
    def rows(self) -> dict[str, int]:
        """Where each word stands."""
        return {word: row for row, word in enumerate(self.words)}

    def first(self, most: int | None) -> WordTable:
        """Its first `most` words; None = all."""
        if most is None:
            return self
        if most < 1:
            raise UserError(f"--most {most} is not possible: give 1 or more")
        return WordTable(self.words[:most], self.vectors[:most], self.source)

    @cached_property
    def _folded(self) -> dict[str, int]:
        return {word.casefold(): row for row, word in reversed(list(enumerate(self.words)))}

    def find(self, word: str) -> int | None:
        """The row of a word, or of the first that differs in case alone; None where there is none."""
        row = self.rows.get(word)
        return self._folded.get(word.casefold()) if row is None else row

    def row(self, word: str) -> int:
        """As `find`. Raises UserError where there is none."""
        row = self.find(word)
        if row is None:
            near = nearest(word, self.words) if len(self.words) <= FEW_WORDS else ""
            raise UserError(
                f"{self.source} has no vector for {word!r}{near} ({len(self.words):,} words have one)"
            )
        return row

    def scaled(self, measure: str) -> np.ndarray:
        """The vectors (R, E) whose dot products are the measure."""
        if measure not in MEASURES:
            near = nearest(measure, MEASURES)
            raise UserError(f"--measure {measure} is unknown{near} (known: {', '.join(MEASURES)})")
        return self._unit if measure == "cosine" else self.vectors

    @cached_property
    def _unit(self) -> np.ndarray:
        return unit(self.vectors)

    def neighbours(self, word: str, n: int = 10, measure: str = "cosine") -> list[Neighbour]:
        """The n words nearest to one, itself left out. Raises UserError for a word without a vector, and n below 1."""
        row = self.row(word)
        return self._best(self.scaled(measure)[row], n, measure, [row])

    def analogies(self, words: Sequence[str], n: int = 10, measure: str = "cosine") -> list[Neighbour]:
        """What is to the third word as the second is to the first: the n words nearest to b - a + c.

        Of vectors scaled to length 1 where it goes by cosine (3CosAdd: Mikolov et al. 2013, "Linguistic regularities").
        The three words themselves are left out.
        """
        rows = [self.row(word) for word in words]
        if len(rows) != 3:
            raise UserError(f"an analogy is asked by three words, man king woman; here are {len(rows)}")
        a, b, c = self.scaled(measure)[rows]
        return self._best(b - a + c, n, measure, rows)

    def nearest_rows(self, queries: np.ndarray, excluded: np.ndarray, measure: str) -> Iterator[np.ndarray]:
        """The nearest row to each of `queries` (Q, E), (q,) at a time; those in `excluded` (Q, X) left out."""
        table = self.scaled(measure)
        at_once = max(1, SCORES_AT_ONCE // len(table))
        for begin in range(0, len(queries), at_once):
            scores = queries[begin : begin + at_once] @ table.T
            np.put_along_axis(scores, excluded[begin : begin + at_once], -np.inf, axis=1)
            yield scores.argmax(axis=1)

    def _best(self, query: np.ndarray, n: int, measure: str, excluded: Sequence[int]) -> list[Neighbour]:
        if n < 1:
            raise UserError(f"--n-best {n} is not possible: give 1 or more")
        if measure == "cosine":
            query = unit(query[None])[0]
        scores = self.scaled(measure) @ query
        order = np.argsort(-scores, kind="stable")[: n + len(set(excluded))]
        kept = [row for row in order.tolist() if row not in excluded][:n]
        return [Neighbour(self.words[row], float(scores[row])) for row in kept]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Each of vectors (N, E) at length 1; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)
