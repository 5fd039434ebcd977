"""Documents while they are made a corpus of: in a file, so that a text need not fit into memory."""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rung.text.overlap import lines_of
from rung.text.sources import Source

BLOCK_BYTES = 1 << 20
"""How much text is encoded at once; at least a character's four bytes."""


@dataclass(frozen=True)
class Spool:
    """Documents on disk, one after another.

    offsets: (D + 1,) int64. hashes: (D,) int64. borders: which documents are of which source.
    """

    data: mmap.mmap
    offsets: np.ndarray
    hashes: np.ndarray
    borders: list[int]


@contextmanager
def spooled(path: Path, sources: Sequence[Source]) -> Iterator[Spool]:
    """The documents of some sources in a file, which is the caller's to remove."""
    offsets, hashes, borders = array("q", [0]), array("q"), [0]
    with path.open("wb") as file:
        for source in sources:
            for document in source:
                data = document.encode("utf-8")
                offsets.append(offsets[-1] + file.write(data))
                hashes.append(hash(data))
            borders.append(len(hashes))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield Spool(data, np.frombuffer(offsets, np.int64), np.frombuffer(hashes, np.int64), borders)


@dataclass(frozen=True)
class SpooledText:
    """Some documents of a spool, or parts of them.

    ranges: (n, 2) int64, the bytes where each begins and ends. hashes: (n,) int64, of the whole documents.
    """

    data: mmap.mmap
    ranges: np.ndarray
    hashes: np.ndarray

    @staticmethod
    def of(spool: Spool, ranges: np.ndarray) -> SpooledText:
        place = np.searchsorted(spool.offsets, ranges[:, 0], side="right") - 1
        return SpooledText(spool.data, ranges, spool.hashes[place])

    def __iter__(self) -> Iterator[str]:
        for block in self.blocks():
            for begin, end in block.tolist():
                yield self.data[begin:end].decode("utf-8")

    @property
    def n_bytes(self) -> int:
        return int((self.ranges[:, 1] - self.ranges[:, 0]).sum())

    def lines(self) -> Iterator[list[bytes]]:
        """The lines, about BLOCK_BYTES of them at a time."""
        for begin, end in self.ranges.tolist():
            yield from lines_of(self.data, begin, end, BLOCK_BYTES)

    def blocks(self) -> Iterator[np.ndarray]:
        """The ranges, in runs of about BLOCK_BYTES of text, one document at least."""
        ends = np.cumsum(self.ranges[:, 1] - self.ranges[:, 0])
        first = 0
        while first < len(ends):
            before = ends[first - 1] if first else 0
            last = max(int(np.searchsorted(ends, before + BLOCK_BYTES, side="right")), first + 1)
            yield self.ranges[first:last]
            first = last
