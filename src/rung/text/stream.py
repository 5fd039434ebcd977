"""Many documents as one flat row of token ids, held in memory or mapped from disk."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rung.files import atomic_path
from rung.opening import check_array, check_below, check_rising, damaged, opening


@dataclass(frozen=True)
class TokenStream:
    """`end d1 end d2 end ... dn end`: every document is preceded and followed by the document mark.

    ids: (N + 1,) unsigned integers, possibly memory-mapped. ids[0] is the mark; the N tokens after it are
        what a model is asked to predict, marks that close documents included.
    starts: (D + 1,) int64. Document i, its closing mark included, is ids[starts[i]:starts[i + 1]]; starts[0] is 1.
    """

    ids: np.ndarray
    starts: np.ndarray

    @property
    def n_tokens(self) -> int:
        """How many tokens there are to predict, closing marks included."""
        return len(self.ids) - 1

    @property
    def n_documents(self) -> int:
        return len(self.starts) - 1

    def document(self, index: int) -> np.ndarray:
        """The ids of one document, its closing mark last."""
        return self.ids[self.starts[index] : self.starts[index + 1]]

    @staticmethod
    def of(documents: Iterable[np.ndarray], end: int) -> TokenStream:
        """Build a stream in memory. The documents come without their marks."""
        arrays = [np.asarray(document, np.int64) for document in documents]
        ids = np.concatenate([np.empty(0, np.int64), *arrays])
        return TokenStream.pack(ids, [len(array) for array in arrays], end)

    @staticmethod
    def pack(ids: np.ndarray, lengths: Sequence[int] | np.ndarray, end: int) -> TokenStream:
        """The stream of documents of `lengths` (D,) tokens, which lie one after another, unmarked, in `ids`."""
        starts = np.concatenate([[1], 1 + np.cumsum(np.asarray(lengths, np.int64) + 1)])
        out = np.full(len(ids) + len(starts), end, np.int64)
        inside = np.ones(len(out), bool)
        inside[starts - 1] = False
        out[inside] = ids
        return TokenStream(out, starts)

    def of_documents(self, rows: np.ndarray) -> TokenStream:
        """Some of the documents, by their numbers, in that order."""
        lengths = np.diff(self.starts)[rows]
        begins = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(begins[-1]) + np.repeat(np.asarray(self.starts)[rows] - begins[:-1], lengths)
        return TokenStream(np.concatenate([self.ids[:1], self.ids[places]]), 1 + begins)

    def save(self, path: Path) -> None:
        """Write `path`.npy and `path`.documents.npy."""
        for suffix, array in ((".npy", self.ids), (".documents.npy", self.starts)):
            with atomic_path(path.with_name(path.name + suffix)) as temporary, temporary.open("wb") as file:
                np.save(file, array, allow_pickle=False)

    @staticmethod
    def load(path: Path) -> TokenStream:
        """Map what `save` wrote; ids are not read until they are used. Raises UserError when it is missing or damaged.

        Whether the ids are those of a tokeniser is for `check_ids` to say.
        """
        ids = load_array(path.with_name(path.name + ".npy"), "u2 u4 i8")
        places = path.with_name(path.name + ".documents.npy")
        starts = load_array(places, "i8")
        with opening(places):
            check_rising("where documents begin", starts, 1, len(ids), strictly=True)
        return TokenStream(ids, starts)

    def check_ids(self, path: Path, vocab_size: int, end: int) -> None:
        """Raise UserError unless the ids, `path`.npy's, are those of a tokeniser: every one is read."""
        file = path.with_name(path.name + ".npy")
        with opening(file):
            check_below("a token", self.ids, vocab_size)
        if self.ids[0] != end or self.ids[-1] != end:
            raise damaged(file, "it does not begin and end with the document mark")


def load_array(path: Path, dtypes: str) -> np.ndarray:
    """Map a row of numbers, a .npy of one of some types. Raises UserError when it is missing or damaged."""
    with opening(path), warnings.catch_warnings():
        warnings.simplefilter("error")
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        check_array("it", array, dtypes, [None])
    return array


class LabelledStream(NamedTuple):
    """Documents and the label of each.

    stream: the documents, D of them.
    labels: (D,) int64, which label.
    """

    stream: TokenStream
    labels: np.ndarray


class LabelledExamples(NamedTuple):
    """What a classifier that counts is made from.

    train: to learn from.
    validation: to choose by; None where there is none.
    weights: (L,) float64, how much an example of each label counts; None = each once.
    """

    train: LabelledStream
    validation: LabelledStream | None = None
    weights: np.ndarray | None = None
