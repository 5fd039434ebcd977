"""Ways to damage a file: byte by byte, and, where its format is known, so that only what it says is wrong."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TOKENS = b'-1 0 1e999 NaN null [] {} "x" 99999999999999999999 \xff\xfe \n \t \0 true'.split(b" ")
WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    3,
    2.5,
    10**6,
    10**20,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\ud800",
    [],
    [1],
    ["x", "x"],
    {},
    {"x": 1},
)
"""What a value of a JSON file becomes."""

DTYPES = ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL", "BF16", "X", 3)


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, left out, put in, said twice or cut off."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        kind, at = rng.random(), rng.randrange(len(changed) or 1)
        if kind < 0.3:
            changed[at : at + 1] = bytes([rng.randrange(256)])
        elif kind < 0.45:
            del changed[at : at + rng.choice([1, 2, 8, 64, len(changed)])]
        elif kind < 0.6:
            changed[at:at] = rng.randbytes(rng.choice([1, 3, 9]))
        elif kind < 0.7:
            changed[at:at] = changed[max(0, at - rng.choice([1, 5, 40])) : at]
        elif kind < 0.85:
            token = rng.choice(TOKENS)
            changed[at : at + len(token)] = token
        else:
            del changed[at:]
    return bytes(changed)


def mutate_json(data: bytes, rng: random.Random) -> bytes:
    """A value, somewhere, of another type or size; a key gone; a list doubled; a thousand brackets."""
    value = json.loads(data)
    places = _places(value)
    holder, key = rng.choice(places)
    kind = rng.random()
    if kind < 0.1:
        del holder[key]
    elif kind < 0.2 and isinstance(holder, list):
        holder += holder
    elif kind < 0.23:
        return b"[" * 100_000
    elif kind < 0.25:
        return json.dumps(rng.choice(WRONG)).encode()
    else:
        holder[key] = rng.choice(WRONG)
    return json.dumps(value).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Where values stand: what holds each, and under which key. Of a long list only a few."""
    if isinstance(value, dict):
        keys: list[Any] = list(value)
    elif isinstance(value, list):
        keys = list(range(min(len(value), 3)))
    else:
        return []
    return [(value, key) for key in keys] + [place for key in keys for place in _places(value[key])]


def mutate_header(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file whose header says something else of the same numbers."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    entries = [name for name in header if name != "__metadata__"]
    name = rng.choice(entries)
    entry, other = header[name], header[rng.choice(entries)]
    kind = rng.randrange(9)
    if kind == 0:
        entry["dtype"] = rng.choice(DTYPES)
    elif kind == 1:
        entry["shape"] = rng.choice(
            [[], [0], [-1], [10**12, 10**12], ["x"], None, [2.0], [*entry["shape"], 1], entry["shape"][::-1]]
        )
    elif kind == 2:
        entry["data_offsets"] = rng.choice(
            [[0, 0], [-8, 0], [0, 10**18], [8, 0], None, [0], [True, 8], other["data_offsets"]]
        )
    elif kind == 3:
        del header[name]
    elif kind == 4:
        header["renamed"] = header.pop(name)
    elif kind == 5:
        entry["data_offsets"], other["data_offsets"] = other["data_offsets"], entry["data_offsets"]
    elif kind == 6:
        header["__metadata__"] = rng.choice([None, [], "x", {"progress": "{}"}, {"progress": 3}])
    elif kind == 7:  # half of an array, said to be all of it
        begin, end = entry["data_offsets"]
        half = entry["shape"][:1] and [entry["shape"][0] // 2, *entry["shape"][1:]]
        entry["shape"], entry["data_offsets"] = half, [begin, begin + (end - begin) // 2]
    else:
        return mutate_json_text(data[:8], header, data[8 + size :], rng)
    return spelled(header, data[8 + size :])


def mutate_json_text(size: bytes, header: Any, rest: bytes, rng: random.Random) -> bytes:
    """The header's own JSON, damaged as any other."""
    text = mutate_json(json.dumps(header).encode(), rng)
    return len(text).to_bytes(8, "little") + text + rest


def spelled(header: Any, rest: bytes) -> bytes:
    """A safetensors file."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + rest


def mutate_numbers(data: bytes, rng: random.Random) -> bytes:
    """Numbers of one tensor of a safetensors file that can't be."""
    changed = bytearray(data)
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    entry = header[rng.choice(list(header))]
    begin, end = (8 + size + offset for offset in entry["data_offsets"])
    dtype = np.dtype(entry["dtype"].lower().replace("bool", "u8")[0] + str(_bytes_of(entry["dtype"])))
    changed[begin:end] = damage_numbers(np.frombuffer(data[begin:end], dtype), rng).tobytes()
    return bytes(changed)


def _bytes_of(dtype: str) -> int:
    return 1 if dtype == "BOOL" else int(dtype[1:]) // 8


def damage_numbers(values: np.ndarray, rng: random.Random) -> np.ndarray:
    """One number or a stretch of them extreme, or all of them in another order."""
    values = values.copy()
    if not len(values):
        return values
    at = rng.randrange(len(values))
    stretch = slice(at, at + rng.choice([1, 1, 2, 100, len(values)]))
    kind = rng.randrange(5)
    if kind == 0:
        values[:] = values[::-1].copy()
    elif kind == 1:
        values[stretch] = np.random.default_rng(rng.randrange(1 << 30)).permutation(values[stretch])
    elif kind == 2:
        values[stretch] = values[rng.randrange(len(values))]
    else:
        with np.errstate(all="ignore"):
            values[stretch] = _extreme(values, rng)
    return values


def _extreme(values: np.ndarray, rng: random.Random) -> Any:
    if values.dtype.kind == "f":
        extremes = [
            np.nan,
            np.inf,
            -np.inf,
            np.finfo(values.dtype).max,
            np.finfo(values.dtype).min,
            0,
            -1,
            1e4,
        ]
        return rng.choice(extremes)
    limits = np.iinfo(values.dtype)
    near = int(values.max()) + rng.choice([1, 2, 100])
    return rng.choice([limits.min, limits.max, 0, 1, min(near, limits.max)])


def mutate_npy(data: bytes, rng: random.Random) -> bytes:
    """A .npy whose header says something else, or whose numbers can't be."""
    size = int.from_bytes(data[8:10], "little")
    text = data[10 : 10 + size].decode("latin1")
    if rng.random() < 0.5:
        dtype = re.search(r"'descr': '(.*?)'", text)
        assert dtype is not None
        return data[: 10 + size] + damage_numbers(np.frombuffer(data[10 + size :], dtype[1]), rng).tobytes()
    pattern, values = rng.choice(
        [
            (
                r"'descr': '.*?'",
                ["'O'", "'<f4'", "'<i8'", "'<i4'", "'|u1'", "'U7'", "[('a', '<i4')]", "3", "'<M8[s]'"],
            ),
            (
                r"'shape': \(.*?\)",
                ["()", "(1,)", "(-1,)", "(0,)", "(99999999999999,)", "(2, 2)", "'x'", "(3L,)"],
            ),
            (r"'fortran_order': False", ["True", "3"]),
        ]
    )
    key = pattern.split(":")[0]
    text = re.sub(pattern, lambda _: f"{key}: {rng.choice(values)}", text)
    return data[:8] + len(text).to_bytes(2, "little") + text.encode("latin1") + data[10 + size :]


def mutate(path: Path, rng: random.Random) -> str:
    """Damage a file, in place, in a way that its kind has; says which."""
    ways: list[Callable[[bytes, random.Random], bytes]] = [mutate_bytes]
    if path.suffix == ".json":
        ways += [mutate_json] * 3
    elif path.suffix == ".safetensors":
        ways += [mutate_header, mutate_numbers, mutate_numbers]
    elif path.suffix == ".npy":
        ways += [mutate_npy] * 2
    way = rng.choice(ways)
    path.write_bytes(way(path.read_bytes(), rng))
    return way.__name__
