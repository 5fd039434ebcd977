"""What every tokeniser promises, and the way from ids back to text, all at once or one by one."""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rung.errors import UserError
from rung.files import write_json
from rung.text.stream import TokenStream


class Tokenizer(ABC):
    """A lossless map between text and ids.

    Attributes:
        token_bytes: the bytes each id spells, by id; the mark's, last, are empty, and so are those of an id that spells
            only together with the next one.
        vocab_size: how many ids there are, the mark included.
        end: the id of the document mark.
        byte_lengths: (V,) how many UTF-8 bytes each id has in `token_bytes`.
        implies_blank: (V,) after which ids a blank that the next begins with is not written; none, save where `word`
            is. So what an id spells depends on the one before it: see `spelling` and `byte_counts`.
        begins_with_blank: (V,) which ids have such a blank.
        by_neighbour: whether what an id spells depends on the one before it at all.
        lossless: whether the ids of a text spell its bytes; of those that know words alone they don't.
        unknown: the id of all words without one of their own; those that lose nothing have none.
        source: of translations, where the texts that are read have a tokeniser of their own: that one.
        special: ids that no text is encoded to, the mark aside.
        unit: by what bits are reckoned: bytes of the text, or words where the text's bytes are lost.
    """

    kind: ClassVar[str]
    lossless: bool = True
    unknown: int | None = None
    source: Tokenizer | None = None
    special: tuple[int, ...] = ()
    unit: ClassVar[str] = "byte"

    def __init__(self, token_bytes: list[bytes], implies_blank: Sequence[bool] = ()) -> None:
        """`implies_blank`: of each of `token_bytes`; the mark implies one if any does."""
        self.token_bytes = [*token_bytes, b""]
        self.vocab_size = len(self.token_bytes)
        self.end = self.vocab_size - 1
        self.byte_lengths = np.array([len(token) for token in self.token_bytes], np.int64)
        self.implies_blank = np.zeros(self.vocab_size, bool)
        self.begins_with_blank = np.zeros(self.vocab_size, bool)
        self.by_neighbour = self.implies_any = any(implies_blank)
        if self.implies_any:
            self.implies_blank[:] = [*implies_blank, True]
            self.begins_with_blank[:] = [token.startswith(b" ") for token in self.token_bytes]

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """The ids (T,) of `text`, without any mark."""

    def encode_many(self, texts: Sequence[str]) -> TokenStream:
        """Every text as a document: what `encode` gives for each, marks between them, but faster for many."""
        return TokenStream.of([self.encode(text) for text in texts], self.end)

    def encode_rest(self, text: str) -> np.ndarray:
        """The ids of `text` where it goes on after a word."""
        return self.encode(text)

    def last(self, text: str) -> int:
        """The token that what comes after `text` stands after; the mark where that is empty."""
        ids = self.encode(text)
        return int(ids[-1]) if len(ids) else self.end

    def unwritten(self, ids: np.ndarray) -> np.ndarray:
        """(N,) booleans of N + 1 ids: whether the first blank of each but the first is implied, not written."""
        return self.implies_blank[ids[:-1]] & self.begins_with_blank[ids[1:]]

    def byte_counts(self, ids: np.ndarray) -> np.ndarray:
        """(N,) of N + 1 ids: how many UTF-8 bytes each but the first spells, where it stands."""
        lengths = self.byte_lengths[ids[1:]]
        return lengths - self.unwritten(ids) if self.implies_any else lengths

    def spelling(self, token: int, after: int | None = None) -> bytes:
        """The bytes that `token` spells after another, or at the beginning of a document."""
        implied = self.implies_blank[self.end if after is None else after] and self.begins_with_blank[token]
        return self.token_bytes[token][1:] if implied else self.token_bytes[token]

    @cached_property
    def spellings(self) -> list[bytes]:
        """`token_bytes`, and after them what each id that begins with a blank spells where that is implied."""
        return [*self.token_bytes, *[self.token_bytes[i][1:] for i in np.flatnonzero(self.begins_with_blank)]]

    @cached_property
    def spellings_in_order(self) -> tuple[list[bytes], list[int]]:
        """`spellings`, sorted, and the place of each: those with a given beginning stand together."""
        places = sorted(range(len(self.spellings)), key=self.spellings.__getitem__)
        return [self.spellings[place] for place in places], places

    def spelled(self, tokens: np.ndarray, before: np.ndarray) -> np.ndarray:
        """The place (R,) in `spellings` of each token, by the one before it."""
        implied = self.implies_blank[before] & self.begins_with_blank[tokens]
        return np.where(implied, self.end + np.cumsum(self.begins_with_blank)[tokens], tokens)

    @cached_property
    def silent(self) -> dict[int, np.ndarray]:
        """The places in `spellings` that spell nothing, the mark's aside; after each, one of these places follows.

        A blank where one is implied spells nothing; anything can follow.
        """
        spell = np.flatnonzero([len(spelled) > 0 for spelled in self.spellings])
        places = enumerate(self.spellings)
        return {place: spell for place, spelled in places if not spelled and place != self.end}

    def decode_bytes(self, ids: Iterable[int], after: int | None = None) -> bytes:
        """The bytes that `ids` spell, in order, after another or at the beginning; marks spell nothing."""
        if not self.implies_any:
            return b"".join([self.token_bytes[i] for i in ids])
        own = ids if isinstance(ids, np.ndarray) else np.fromiter(ids, np.int64)
        row = np.append(self.end if after is None else after, own)
        pairs = zip(row[1:].tolist(), self.unwritten(row).tolist(), strict=True)
        return b"".join([self.token_bytes[i][implied:] for i, implied in pairs])

    def decode(self, ids: Iterable[int], after: int | None = None) -> str:
        """The text that `ids` spell; bytes that are no UTF-8 (a model may write such) become U+FFFD."""
        return text_of(self.decode_bytes(ids, after))

    def spells_like(self, other: Tokenizer) -> bool:
        """Whether the same ids always spell the same."""
        return self.token_bytes == other.token_bytes and np.array_equal(
            self.implies_blank, other.implies_blank
        )

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """What `save` writes, less the kind."""

    @classmethod
    @abstractmethod
    def from_json(cls, value: dict[str, Any]) -> Tokenizer:
        """The tokeniser whose `to_json()` this is."""

    def save(self, path: Path) -> None:
        """Write the tokeniser as JSON, atomically."""
        source = (
            {} if self.source is None else {"source": {"kind": self.source.kind, **self.source.to_json()}}
        )
        write_json(path, {"format": 1, "kind": self.kind, **self.to_json(), **source})

    @property
    def reading(self) -> Tokenizer:
        """The one of texts that are read, where those that are written have another."""
        return self if self.source is None else self.source


class TrainableTokenizer(Tokenizer):
    """A tokeniser whose vocabulary is learned from text.

    Attributes:
        min_vocab_size: with fewer ids it could not spell every byte.
    """

    min_vocab_size: ClassVar[int]

    @classmethod
    @abstractmethod
    def train(cls, texts: Iterable[str], vocab_size: int | None) -> Tokenizer:
        """See `rung.text.tokenizers.train_tokenizer`, which has checked that `vocab_size` is large enough."""


class NotInVocabularyError(UserError):
    """Text that a closed vocabulary has no symbol for.

    Attributes:
        text: which of the texts that were encoded together, from 0.
    """

    def __init__(self, message: str, text: int) -> None:
        super().__init__(message)
        self.text = text


class TextDecoder:
    """Ids in, whole characters out: bytes of a character that isn't finished yet are held back."""

    def __init__(self, tokenizer: Tokenizer, after: int | None = None, skipped: int = 0) -> None:
        """`after`: the token that the text goes on after; None = it begins a document. `skipped`: so many bytes of the
        text are left out at its beginning."""
        self._spelling, self._before, self._skipped = tokenizer.spelling, after, skipped
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The characters that `token` completes, perhaps none."""
        spelled = self._spelling(token, self._before)
        self._before = token
        if self._skipped:
            left_out = min(self._skipped, len(spelled))
            spelled, self._skipped = spelled[left_out:], self._skipped - left_out
        return self._decoder.decode(spelled)

    def finish(self) -> str:
        """What is left: U+FFFD when the last character was never completed."""
        return self._decoder.decode(b"", final=True)


def check_different(name: str, pieces: Sequence[str]) -> None:
    """Raise ValueError when a piece of a vocabulary is there twice."""
    if len(set(pieces)) < len(pieces):
        raise ValueError(f"{name} is there twice: {Counter(pieces).most_common(1)[0][0]!r}")


def utf8(text: str) -> bytes:
    """UTF-8, with a lone surrogate (which JSON escapes can smuggle in) as the three bytes it would have had."""
    return text.encode("utf-8", "surrogatepass")


def text_of(data: bytes) -> str:
    """The inverse of `utf8`; what isn't UTF-8 becomes U+FFFD."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")
