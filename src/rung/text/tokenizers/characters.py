"""A token a character, or a byte."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rung.errors import UserError
from rung.opening import check_kind
from rung.text.stream import TokenStream
from rung.text.tokenizers.base import TrainableTokenizer, check_different, utf8
from rung.text.tokenizers.byte_fallback import BYTE_IDS, MIN_VOCAB_SIZE, UTF8_BYTES, frequent_pieces
from rung.text.tokenizers.word_scan import code_points


class ByteTokenizer(TrainableTokenizer):
    """One id a byte of UTF-8: id = byte value, and 256 is the mark."""

    kind = "byte"
    min_vocab_size = 257

    def __init__(self) -> None:
        super().__init__([bytes([b]) for b in range(256)])

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int | None) -> ByteTokenizer:
        """Nothing is learned, and nothing read."""
        if vocab_size not in (None, 257):
            raise UserError(f"--vocab-size {vocab_size} does not fit: byte always has 257 ids; leave it out")
        return cls()

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(utf8(text), np.uint8).astype(np.int64)

    def encode_many(self, texts: Sequence[str]) -> TokenStream:
        encoded = [utf8(text) for text in texts]
        ids = np.frombuffer(b"".join(encoded), np.uint8)
        return TokenStream.pack(ids, [len(text) for text in encoded], self.end)

    def to_json(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ByteTokenizer:
        return cls()


class CharTokenizer(TrainableTokenizer):
    """One id a character. ASCII characters are their own bytes; other characters seen at least twice in training
    have ids after the bytes; the rest are spelled in two to four byte ids."""

    kind = "char"
    min_vocab_size = MIN_VOCAB_SIZE

    def __init__(self, characters: Iterable[str]) -> None:
        self.characters = list(characters)
        super().__init__(UTF8_BYTES + [utf8(character) for character in self.characters])
        self._ids = np.full(0x110000, -1, np.int32)
        self._ids[:128] = BYTE_IDS[:128]
        for position, character in enumerate(self.characters):
            self._ids[ord(character)] = len(UTF8_BYTES) + position

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int | None) -> CharTokenizer:
        counts: Counter[str] = Counter()
        for text in texts:
            if not text.isascii():
                counts.update(re.findall(r"[^\x00-\x7f]", text))
        return cls(frequent_pieces(counts, vocab_size, None))

    def encode(self, text: str) -> np.ndarray:
        return self._encode(text)[0]

    def encode_many(self, texts: Sequence[str]) -> TokenStream:
        ids, repeats = self._encode("".join(texts))
        stops = np.cumsum([0, *map(len, texts)])
        return TokenStream.pack(ids, np.diff(np.concatenate([[0], np.cumsum(repeats)])[stops]), self.end)

    def _encode(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The ids, and how many of them each character has become."""
        points = code_points(text)
        ids = self._ids[points].astype(np.int64)
        repeats = np.ones(len(ids), np.int64)
        unseen = np.flatnonzero(ids < 0)
        if not len(unseen):
            return ids, repeats
        spelled = [BYTE_IDS[np.frombuffer(utf8(chr(points[i])), np.uint8)] for i in unseen]
        repeats[unseen] = [len(byte_ids) for byte_ids in spelled]
        out = np.repeat(ids, repeats)
        out[out < 0] = np.concatenate(spelled)
        return out, repeats

    def to_json(self) -> dict[str, Any]:
        return {"characters": "".join(self.characters)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> CharTokenizer:
        characters = value["characters"]
        check_kind("characters", characters, str)
        check_different("a character", characters)
        return cls(characters)
