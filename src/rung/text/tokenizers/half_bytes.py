"""Characters without an id of their own, spelled in few: two ids a byte, one for each half of it.

    é          C3 A9
    its ids    C_ _3 A_ _9        ids 0 to 15 are first halves, 16 to 31 second ones

A first half spells nothing by itself, and a second half the byte whose first half stands before it. One that stands
elsewhere, which a model may write, spells FF, a byte that no text has. So 32 ids spell every text, and which halves
are which a model needn't count. (Sixteen digits, sixteen quarters of bytes and bits were measured too: docs/log.md.)
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

N_HALVES = 32
SECOND = 16
"""The first id of a second half."""
BROKEN = b"\xff"
HALVES = [b""] * SECOND + [BROKEN] * SECOND
"""What each half spells by itself."""
BYTES = [bytes([value]) for value in range(256)]


def halves_of(data: bytes) -> np.ndarray:
    """The ids, two a byte (2 N,)."""
    values = np.frombuffer(data, np.uint8).astype(np.int64)
    return np.stack([values >> 4, SECOND + (values & 15)], axis=1).ravel()


def spelling(token: int, before: int, token_bytes: list[bytes]) -> bytes:
    """The bytes that `token` spells after another."""
    if before < SECOND and SECOND <= token < N_HALVES:
        return BYTES[before << 4 | token - SECOND]
    return token_bytes[token]


def spelled(tokens: np.ndarray, before: np.ndarray, first: int) -> np.ndarray:
    """The places of tokens among spellings of which `first` and the 255 after it are those of the bytes, in order.

    What comes after a first half and is no second one is at the place of a byte that no text has.
    """
    is_second = (tokens >= SECOND) & (tokens < N_HALVES)
    whole = np.where(is_second, first + 16 * before + tokens - SECOND, first + BROKEN[0])
    return np.where(before < SECOND, whole, tokens)


def decoded(ids: Iterable[int], before: int, token_bytes: list[bytes]) -> bytes:
    """The bytes that `ids` spell, in order, after another."""
    pieces = []
    for token in ids:
        pieces.append(spelling(token, before, token_bytes) if before < SECOND else token_bytes[token])
        before = token
    return b"".join(pieces)


def name(half: int) -> str:
    """What one is called where it has to stand alone: `C_`, `_3`."""
    return f"{half:X}_" if half < SECOND else f"_{half - SECOND:X}"
