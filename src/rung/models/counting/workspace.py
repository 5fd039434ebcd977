"""Room for arrays: in memory, or beyond a bound in temporary files that vanish with the last use of them.

Counting n-grams of much text makes arrays larger than memory. They are written and read a piece at a time; a mapped
file then costs no memory that the system can't take back, so only the pieces count against the bound.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import DTypeLike

from rung.errors import UserError

UNBOUNDED_PIECE = 1 << 18  # small enough to stay in a processor's cache
BYTES_PER_ITEM = 192  # of temporary arrays while a piece is worked on: about two dozen of eight bytes
MIN_MEMORY = 1 << 20
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Workspace:
    """Arrays in memory (`memory` None), or in files of which `memory` bytes are worked on at a time.

    Attributes:
        memory: the bound in bytes, or None.
        piece: how many items to work on at a time.
    """

    def __init__(self, memory: int | None = None) -> None:
        self.memory = memory
        self.piece = UNBOUNDED_PIECE if memory is None else max(memory // BYTES_PER_ITEM, 1)

    @property
    def in_memory(self) -> bool:
        """Whether arrays live in memory."""
        return self.memory is None

    def empty(self, n: int, dtype: DTypeLike) -> np.ndarray:
        """Room for `n` items, with any content."""
        if self.in_memory or n == 0:
            return np.empty(n, dtype)
        with self.file() as file:  # the mapping keeps the file's content when it has been closed
            size = n * np.dtype(dtype).itemsize
            with disk_errors():
                # Without this, a full disk kills the process when a page is written to.
                if sys.platform == "linux":
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
            return memory_map(file, n, dtype)

    def file(self) -> BinaryIO:
        """A nameless temporary file, gone when neither it nor a mapping of it is in use."""
        return cast(BinaryIO, tempfile.TemporaryFile())

    def zeros(self, n: int, dtype: DTypeLike) -> np.ndarray:
        """Room for `n` items, all 0."""
        return np.zeros(n, dtype) if self.in_memory else self.empty(n, dtype)  # a new file reads as zeros

    def pieces(self, n: int) -> Iterator[slice]:
        """Slices that cover 0 to n."""
        for begin in range(0, n, self.piece):
            yield slice(begin, min(begin + self.piece, n))


def memory_map(file: BinaryIO, n: int, dtype: DTypeLike) -> np.ndarray:
    """The `n` items of a file as an array that can be written to."""
    if n == 0:
        return np.empty(0, dtype)
    file.flush()
    return np.memmap(file, dtype, "r+", shape=(n,))  # pyright: ignore[reportCallIssue, reportArgumentType]


@contextmanager
def disk_errors() -> Iterator[None]:
    """A full disk is the user's to mend."""
    try:
        yield
    except OSError as error:
        where = f"cannot write temporary files in {tempfile.gettempdir()}: {error.strerror}"
        raise UserError(f"{where}; make room there or set TMPDIR to a larger disk") from error


def parse_size(text: str) -> int:
    """`"512M"` or `"1G"` as a number of bytes. Raises UserError for what is none, or too little to work in."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise UserError(f"--memory {text!r} is no size; write it as in 512M or 1G")
    size = int(float(match[1]) * UNITS[match[2].upper()])
    if size < MIN_MEMORY:
        raise UserError(f"--memory {text} is too little to count in; the least is {MIN_MEMORY >> 20}M")
    return size
