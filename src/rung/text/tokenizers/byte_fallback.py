"""Vocabularies that fall back to bytes: first the bytes that UTF-8 has, then what occurs often enough in training."""

from __future__ import annotations

from collections import Counter

import numpy as np

from rung.text.tokenizers.base import utf8

# 0xC0, 0xC1 and 0xF5-0xFF never occur in UTF-8 (RFC 3629).
UTF8_BYTES = [bytes([b]) for b in range(256) if b not in (0xC0, 0xC1) and b < 0xF5]

BYTE_IDS = np.full(256, -1, np.int64)
"""The id of each byte by its value, -1 for those that UTF-8 has not."""
BYTE_IDS[np.frombuffer(b"".join(UTF8_BYTES), np.uint8)] = np.arange(len(UTF8_BYTES))

MIN_VOCAB_SIZE = len(UTF8_BYTES) + 1


def frequent_pieces(counts: Counter[str], vocab_size: int | None, most: int | None) -> list[str]:
    """The pieces longer than a byte that occur at least twice, most frequent first, ties in code-point order.

    Those that `vocab_size` has room for beside the bytes and the mark, or `most` (None = all).
    A lone surrogate is no piece: JSON, in UTF-8, has no way to save it. Bytes spell it.
    """
    room = most if vocab_size is None else vocab_size - MIN_VOCAB_SIZE
    pieces = [(piece, n) for piece, n in counts.items() if n > 1 and len(utf8(piece)) > 1]
    pieces = [
        (piece, n) for piece, n in pieces if not any("\ud800" <= letter <= "\udfff" for letter in piece)
    ]
    pieces.sort(key=lambda item: (-item[1], item[0]))
    return [piece for piece, _ in pieces[:room]]
