"""Many documents as one flat row of token ids, held in memory or mapped from disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rung.errors import UserError
from rung.files import atomic_path


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

    def save(self, path: Path) -> None:
        """Write `path`.npy and `path`.documents.npy."""
        for suffix, array in ((".npy", self.ids), (".documents.npy", self.starts)):
            with atomic_path(path.with_name(path.name + suffix)) as temporary, temporary.open("wb") as file:
                np.save(file, array, allow_pickle=False)

    @staticmethod
    def load(path: Path) -> TokenStream:
        """Map what `save` wrote; nothing is read until it is used. Raises UserError when it is missing or broken."""
        arrays = []
        for suffix in (".npy", ".documents.npy"):
            file = path.with_name(path.name + suffix)
            try:
                arrays.append(np.load(file, mmap_mode="r", allow_pickle=False))
            except FileNotFoundError:
                raise UserError(f"{file} is missing") from None
            except (OSError, ValueError) as error:
                raise UserError(f"{file} can't be read: {error}") from error
        return TokenStream(*arrays)


class LabelledStream(NamedTuple):
    """Documents and the label of each.

    stream: the documents, D of them.
    labels: (D,) int64, which label.
    """

    stream: TokenStream
    labels: np.ndarray
