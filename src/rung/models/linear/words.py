"""The features of a bag of words: which words, and short runs of words, a text holds, and how much each counts.

A word is a run of letters, digits and underscores, an apostrophe inside it (`don't`), in Unicode; of the writing that
has no blanks (Chinese, Japanese) each character is one. Where texts are single words, letters are counted instead, and
marks where they begin and end.

    counts   tf                     how often the text has it
    binary   1                      that it has it
    tf-idf   (1 + ln tf) idf        idf = ln((1 + N) / (1 + df)) + 1, N texts, df of them with the feature;
                                    rows are scaled to length 1 (Salton and Buckley 1988; scikit-learn's smoothing)

Shapes: N texts, F features.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from rung.errors import UserError
from rung.opening import check_array, check_below, check_finite, check_rising

if TYPE_CHECKING:
    from scipy.sparse import csr_array

UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Characters that are written without blanks between words."""

UNITS = {
    "words": re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+(?:['\u2019][^\W{UNSPACED}]+)*"),
    "letters": re.compile(r"\S"),
}
WEIGHTINGS = ("tf-idf", "counts", "binary")
UNKNOWN = -1
BEGINS, ENDS = "<", ">"
"""What stands around the letters of a text: how it begins and ends is told too."""

STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
    a about above after again against all am an and any are as at be because been before being below between both but
    by can cannot could did do does doing down during each few for from further had has have having he her here hers
    herself him himself his how i if in into is it its itself just me more most my myself nor of off on once only or
    other our ours ourselves out over own same she should so some such than that the their theirs them themselves then
    there these they this those through to too under until up very was we were what when where which while who whom why
    will with would you your yours yourself yourselves
    """,
    )
)
"""English words that say little by themselves. Words that deny (no, not, don't) are none of them."""


@dataclass(frozen=True)
class Cutting:
    """How texts are cut, and what is kept.

    unit: words or letters.
    lowercase: whether capitals are made small.
    stop_words: whether the English ones are left out, before runs are made.
    longest: the longest run of units that is a feature.
    """

    unit: str
    lowercase: bool
    stop_words: bool
    longest: int

    def units(self, text: str) -> list[str]:
        """The words, or letters, of a text, in order."""
        found = UNITS[self.unit].findall(text.lower() if self.lowercase else text)
        if self.unit == "letters":
            return [BEGINS, *found, ENDS] if found else []
        return [unit for unit in found if unit not in STOP_WORDS] if self.stop_words else found


@dataclass(frozen=True)
class Vocabulary:
    """The features of a training text.

    A run of k units w1 ... wk, numbers below V, is one number: V + V^2 + ... + V^(k - 1) + w1 V^(k - 1) + ... + wk; of
    the second of two texts V + ... + V^n is added, n the longest run.

    Attributes:
        cutting: how texts become units.
        words: V of them, in order of their numbers.
        features: (F,) int64, rising: the runs that count.
        idf: (F,) float32, what each counts by in tf-idf.
    """

    cutting: Cutting
    words: list[str]
    features: np.ndarray
    idf: np.ndarray

    @staticmethod
    def of(
        texts: Sequence[tuple[str, ...]], cutting: Cutting, min_count: int
    ) -> tuple[Vocabulary, csr_array]:
        """The features that `min_count` texts have at least, and how often each text has each, (N, F).

        Raises UserError when there is none, or more than can be numbered.
        """
        cut = [tuple(cutting.units(part) for part in text) for text in texts]
        words = sorted({word for text in cut for part in text for word in part})
        number = {word: i for i, word in enumerate(words)}
        spans = sum(len(words) ** k for k in range(1, cutting.longest + 1))
        if 2 * spans >= 1 << 63:
            raise UserError(
                f"--ngrams {cutting.longest} of {len(words):,} different {cutting.unit} are too many to number: "
                "give a smaller --ngrams"
            )
        rows, codes = _runs(cut, number, cutting.longest)
        features, columns = np.unique(codes, return_inverse=True)
        counts = _matrix(rows, columns, (len(texts), len(features)))
        n_texts_with = np.bincount(counts.indices, minlength=len(features))
        kept = np.flatnonzero(n_texts_with >= min_count)
        if not len(kept):
            raise UserError(
                f"no {cutting.unit} are left to tell labels by: the texts hold none"
                if not len(features)
                else f"--min-count {min_count} leaves none of the {len(features):,} features: give a smaller one"
            )
        idf = np.log((1 + len(texts)) / (1 + n_texts_with[kept])) + 1
        vocabulary = Vocabulary(cutting, words, features[kept], idf.astype(np.float32))
        return vocabulary, counts if len(kept) == len(features) else counts[:, kept]

    def counts(self, texts: Sequence[tuple[str, ...]]) -> csr_array:
        """How often each text has each feature, (N, F); what is no feature is left out."""
        number = self._number
        cut = [tuple(self.cutting.units(part) for part in text) for text in texts]
        rows, codes = _runs(cut, number, self.cutting.longest)
        columns = np.searchsorted(self.features, codes)
        known = columns < len(self.features)
        known[known] = self.features[columns[known]] == codes[known]
        return _matrix(rows[known], columns[known], (len(texts), len(self.features)))

    def weighted(self, counts: csr_array, weighting: str) -> csr_array:
        """Counts (N, F) by `weighting`, float32."""
        out: Any = counts.astype(np.float32)
        if weighting == "binary":
            out.data[:] = 1
        elif weighting == "tf-idf":
            out.data = (1 + np.log(out.data)) * self.idf[out.indices]
            lengths = np.sqrt(np.add.reduceat(np.append(out.data**2, 0), out.indptr[:-1]))
            lengths[np.diff(out.indptr) == 0] = 1
            out.data /= np.repeat(lengths, np.diff(out.indptr)).astype(np.float32)
        return out

    def name(self, feature: int) -> str:
        """A feature as one would write it: `not good`; of the second of two texts `2: not good`."""
        code, size = int(self.features[feature]), len(self.words)
        first = sum(size**k for k in range(1, self.cutting.longest + 1))
        where, code = ("2: ", code - first) if code >= first else ("", code)
        length = 1
        while code >= size**length:
            code -= size**length
            length += 1
        run = [self.words[code // size**place % size] for place in reversed(range(length))]
        return where + (" " if self.cutting.unit == "words" else "").join(run)

    @cached_property
    def _number(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    def tensors(self) -> dict[str, np.ndarray]:
        """What `from_tensors` takes."""
        spelled = [word.encode() for word in self.words]
        return {
            "words": np.frombuffer(b"".join(spelled), np.uint8),
            "word_ends": np.cumsum([len(word) for word in spelled], dtype=np.int64),
            "features": self.features,
            "idf": self.idf,
        }

    @classmethod
    def from_tensors(cls, cutting: Cutting, tensors: dict[str, np.ndarray]) -> Self:
        """Raises ValueError and the like for arrays that are no vocabulary."""
        blob, ends = np.array(tensors["words"]), np.array(tensors["word_ends"])
        features, idf = np.array(tensors["features"]), np.array(tensors["idf"])
        check_array("words", blob, "u1", [None])
        check_array("word_ends", ends, "i8", [None])
        check_rising("word_ends", np.concatenate([[0], ends]), 0, len(blob), strictly=True)
        check_array("features", features, "i8", [None])
        spans = sum(len(ends) ** k for k in range(1, cutting.longest + 1))
        if 2 * spans >= 1 << 63:
            raise ValueError("it has too many words")
        check_below("features", features, 2 * spans)
        check_rising("features", features, features[0], features[-1], strictly=True)
        check_array("idf", idf, "f4", [len(features)])
        check_finite("idf", idf)
        data = blob.tobytes()
        words = [
            data[begin:end].decode() for begin, end in zip([0, *ends.tolist()], ends.tolist(), strict=False)
        ]
        return cls(cutting, words, features, idf)


def _runs(
    cut: Sequence[tuple[list[str], ...]], number: dict[str, int], longest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Every run of known units up to `longest`: whose text's it is, and its number (`Vocabulary`)."""
    size = len(number)
    spans = sum(size**k for k in range(1, longest + 1))
    all_rows, all_codes = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for part in range(max((len(text) for text in cut), default=0)):
        lengths = np.array([len(text[part]) for text in cut], np.int64)
        ids = np.array([number.get(word, UNKNOWN) for text in cut for word in text[part]], np.int64)
        rows = np.repeat(np.arange(len(cut)), lengths)
        codes, known, first = ids, ids >= 0, part * spans
        for k in range(1, longest + 1):
            if k > 1:
                together = rows[: len(rows) - k + 1] == rows[k - 1 :]
                codes = codes[:-1] * size + ids[k - 1 :]
                known = known[:-1] & (ids[k - 1 :] >= 0)
                chosen = known & together
            else:
                chosen = known
            all_rows.append(rows[: len(chosen)][chosen])
            all_codes.append(codes[chosen] + first)
            first += size**k
    return np.concatenate(all_rows), np.concatenate(all_codes)


def _matrix(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> csr_array:
    """How often each pair of a row and a column is there."""
    from scipy.sparse import coo_array

    found = coo_array((np.ones(len(rows), np.float32), (rows, columns)), shape=shape).tocsr()
    found.sum_duplicates()
    found.sort_indices()
    return found
