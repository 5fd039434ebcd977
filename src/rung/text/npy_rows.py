"""Rows of numbers that are written to disk as they come."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np


class NpyRows:
    """A .npy file that grows, of numbers, or of rows of `width` numbers. Its header, of fixed length, is written again
    at the end."""

    def __init__(self, path: Path, dtype: type[np.integer | np.floating], width: int | None = None) -> None:
        self._file = path.open("wb")
        self._dtype = np.dtype(dtype)
        self._width = width
        self.n = 0
        self._header()

    def append(self, values: np.ndarray) -> None:
        """Write values (M,), or (M, width), behind those that are there."""
        self._file.write(values.astype(self._dtype).tobytes())
        self.n += len(values)

    def _header(self) -> None:
        fields = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self.n,) if self._width is None else (self.n, self._width),
        }
        np.lib.format.write_array_header_1_0(self._file, fields)

    def __enter__(self) -> NpyRows:
        return self

    def __exit__(self, *_: object) -> None:
        with self._file:
            self._file.seek(0)
            self._header()
            self._file.flush()
            os.fsync(self._file.fileno())
