"""A token a character, or a byte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from rung.errors import UserError
from rung.opening import check_kind
from rung.text.stream import TokenStream
from rung.text.tokenizers import half_bytes
from rung.text.tokenizers.base import NotInVocabularyError, TrainableTokenizer, check_different, utf8
from rung.text.tokenizers.byte_fallback import BYTE_IDS, UTF8_BYTES
from rung.text.tokenizers.half_bytes import BYTES, HALVES, N_HALVES, SECOND, halves_of
from rung.text.tokenizers.word_scan import code_points

UNSEEN = ("halves", "bytes", "refused")
"""What becomes of characters without an id. Those trained before there were halves spell them in bytes, and ASCII
characters are their own."""


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
    """One id a character of the training text.

    An open vocabulary has those seen at least twice and spells all others in halves of their bytes, so that a model
    learns what spelling-out looks like. A closed one has every character of the training text, and refuses others.
    """

    kind = "char"
    min_vocab_size = N_HALVES + 1

    def __init__(self, characters: Iterable[str], unseen: str = "halves") -> None:
        """`unseen`, what becomes of other characters: one of `UNSEEN`."""
        self.characters = list(characters)
        self.unseen = unseen
        first = {"halves": HALVES, "bytes": UTF8_BYTES, "refused": []}[unseen]
        super().__init__([*first, *map(utf8, self.characters)])
        self.by_neighbour = unseen == "halves"
        self._ids = np.full(0x110000, -1, np.int32)
        if unseen == "bytes":
            self._ids[:128] = BYTE_IDS[:128]
        for position, character in enumerate(self.characters):
            self._ids[ord(character)] = len(first) + position

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int | None) -> CharTokenizer:
        most = None if vocab_size is None else vocab_size - cls.min_vocab_size
        pieces = [(character, n) for character, n in _counts(texts).items() if n > 1]
        pieces.sort(key=lambda piece: (-piece[1], piece[0]))
        return cls([character for character, _ in pieces[:most]])

    @classmethod
    def train_closed(cls, texts: Iterable[str], vocab_size: int | None) -> CharTokenizer:
        """Every character that occurs, in code-point order. Raises UserError where `vocab_size` hasn't room for all."""
        characters = sorted(_counts(texts))
        if vocab_size is not None and vocab_size <= len(characters):
            raise UserError(
                f"--vocab-size {vocab_size} is too small: a closed vocabulary has all {len(characters):,} characters "
                "of the training text, and the mark"
            )
        return cls(characters, "refused")

    @cached_property
    def spellings(self) -> list[bytes]:
        """`token_bytes`, and after them every byte that halves spell."""
        return [*self.token_bytes, *BYTES] if self.by_neighbour else self.token_bytes

    @cached_property
    def silent(self) -> dict[int, np.ndarray]:
        firsts = range(SECOND) if self.by_neighbour else ()
        return {half: self.vocab_size + 16 * half + np.arange(16) for half in firsts}

    def spelled(self, tokens: np.ndarray, before: np.ndarray) -> np.ndarray:
        return half_bytes.spelled(tokens, before, self.vocab_size) if self.by_neighbour else tokens

    def spelling(self, token: int, after: int | None = None) -> bytes:
        if not self.by_neighbour:
            return self.token_bytes[token]
        return half_bytes.spelling(token, self.end if after is None else after, self.token_bytes)

    def decode_bytes(self, ids: Iterable[int], after: int | None = None) -> bytes:
        if not self.by_neighbour:
            return super().decode_bytes(ids, after)
        return half_bytes.decoded(ids, self.end if after is None else after, self.token_bytes)

    def encode(self, text: str) -> np.ndarray:
        return self._encode(text, [0, len(text)])[0]

    def encode_many(self, texts: Sequence[str]) -> TokenStream:
        stops = np.cumsum([0, *map(len, texts)])
        ids, repeats = self._encode("".join(texts), stops)
        return TokenStream.pack(ids, np.diff(np.concatenate([[0], np.cumsum(repeats)])[stops]), self.end)

    def _encode(self, text: str, stops: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The ids, and how many of them each character has become. `stops`: where each of the texts begins and ends."""
        points = code_points(text)
        ids = self._ids[points].astype(np.int64)
        repeats = np.ones(len(ids), np.int64)
        unseen = np.flatnonzero(ids < 0)
        if not len(unseen):
            return ids, repeats
        if self.unseen == "refused":
            self._refuse(text, int(unseen[0]), stops)
        spelled = [self._spelled_out(utf8(chr(points[i]))) for i in unseen]
        repeats[unseen] = [len(byte_ids) for byte_ids in spelled]
        out = np.repeat(ids, repeats)
        out[out < 0] = np.concatenate(spelled)
        return out, repeats

    def _spelled_out(self, data: bytes) -> np.ndarray:
        return halves_of(data) if self.unseen == "halves" else BYTE_IDS[np.frombuffer(data, np.uint8)]

    def _refuse(self, text: str, at: int, stops: Sequence[int] | np.ndarray) -> NoReturn:
        place = int(np.searchsorted(stops, at, side="right")) - 1
        begin, end = max(int(stops[place]), at - 20), min(int(stops[place + 1]), at + 20)
        raise NotInVocabularyError(
            f"{text[at]!r} (U+{ord(text[at]):04X}) in {text[begin:end]!r} is none of the {len(self.characters):,} "
            "characters of the training text, and the vocabulary is closed: take it out, or train with --vocabulary "
            "open",
            place,
        )

    def to_json(self) -> dict[str, Any]:
        return {"characters": "".join(self.characters), "unseen": self.unseen}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> CharTokenizer:
        characters, unseen = value["characters"], value.get("unseen", "bytes")
        check_kind("characters", characters, str)
        check_different("a character", characters)
        if unseen not in UNSEEN:
            raise ValueError(f"unseen can't be {unseen!r} (known: {', '.join(UNSEEN)})")
        return cls(characters, unseen)


def _counts(texts: Iterable[str]) -> Counter[str]:
    """How often each character occurs. A lone surrogate is none: JSON, in UTF-8, has no way to save it."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    return Counter({char: n for char, n in counts.items() if not "\ud800" <= char <= "\udfff"})
