"""A row of numbers that is written to disk as it comes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np


class NpyRows:
    """A one-dimensional .npy file that grows. Its header, of fixed length, is written again at the end."""

    def __init__(self, path: Path, dtype: type[np.unsignedinteger | np.signedinteger]) -> None:
        self._file = path.open("wb")
        self._dtype = np.dtype(dtype)
        self.n = 0
        self._header()

    def append(self, values: np.ndarray) -> None:
        """Write values (M,) behind those that are there."""
        self._file.write(values.astype(self._dtype).tobytes())
        self.n += len(values)

    def _header(self) -> None:
        fields = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self.n,),
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
