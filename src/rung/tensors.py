"""Tensors on disk: the safetensors format, written atomically, and mapped rather than read when loaded."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from rung.files import atomic_path
from rung.opening import check_count, check_kind, opening

_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}


def save_tensors(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Write `tensors` and string `metadata` as one safetensors file, whole or not at all.

    Array by array, so that memory-mapped ones are never in memory together (the library's own writer copies them all).
    Laid out as the library does it: widest types first, which keeps every array aligned.
    """
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    offset = 0
    for name, tensor in ordered:
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    spelled = json.dumps(header, separators=(",", ":")).encode()
    spelled += b" " * (-len(spelled) % 8)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(len(spelled).to_bytes(8, "little") + spelled)
        for _, tensor in ordered:
            file.write(np.ascontiguousarray(tensor).data)


def load_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Map a safetensors file: read-only arrays backed by the file, and its metadata. Takes no time, whatever the size.

    Raises UserError when the file is missing, cut short or no safetensors file.
    """
    with opening(path):
        size = path.stat().st_size
        with path.open("rb") as file:
            header_size = int.from_bytes(file.read(8), "little")
            if size < 8 or header_size > size - 8:
                raise ValueError("it is cut short, or no safetensors file")
            header = json.loads(file.read(header_size))
        check_kind("the header", header, dict)
        metadata = header.pop("__metadata__", {})
        check_kind("__metadata__", metadata, dict)
        data = (
            np.memmap(path, np.uint8, "r", offset=8 + header_size)
            if size > 8 + header_size
            else np.empty(0, np.uint8)
        )
        return {name: _tensor(name, entry, data) for name, entry in header.items()}, metadata


def _tensor(name: str, entry: dict[str, Any], data: np.ndarray) -> np.ndarray:
    """The part of `data` that an entry of the header speaks of."""
    begin, end = entry["data_offsets"]
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    for number in (begin, end, *entry["shape"]):
        check_count(f"a number of {name} in the header", number)
    if not begin <= end <= len(data):
        raise ValueError(f"it is cut short: {name} should end at byte {end} of {len(data)}")
    if end - begin != math.prod(entry["shape"]) * dtype.itemsize:
        raise ValueError(
            f"{name} has {end - begin} bytes, not those of {dtype} in the shape {entry['shape']}"
        )
    return data[begin:end].view(dtype).reshape(entry["shape"])
