"""What every tokeniser promises, and the way from ids back to text, all at once or one by one."""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rung.files import write_json
from rung.text.stream import TokenStream


class Tokenizer(ABC):
    """A lossless map between text and ids.

    Attributes:
        token_bytes: the bytes each id spells, by id; the mark's, last, are empty.
        vocab_size: how many ids there are, the mark included.
        end: the id of the document mark.
        byte_lengths: (V,) how many UTF-8 bytes each id spells.
        lossless: whether the ids of a text spell its bytes; of Rung's own tokenisers all are.
        unknown: the id of all words without one of their own; Rung's own tokenisers have none.
    """

    kind: ClassVar[str]
    lossless: bool = True
    unknown: int | None = None

    def __init__(self, token_bytes: list[bytes]) -> None:
        self.token_bytes = [*token_bytes, b""]
        self.vocab_size = len(self.token_bytes)
        self.end = self.vocab_size - 1
        self.byte_lengths = np.array([len(token) for token in self.token_bytes], np.int64)

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """The ids (T,) of `text`, without any mark."""

    def encode_many(self, texts: Sequence[str]) -> TokenStream:
        """Every text as a document: what `encode` gives for each, marks between them, but faster for many."""
        return TokenStream.of([self.encode(text) for text in texts], self.end)

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that `ids` spell, in order; marks spell nothing."""
        return b"".join([self.token_bytes[i] for i in ids])

    def decode(self, ids: Iterable[int]) -> str:
        """The text that `ids` spell; bytes that are no UTF-8 (a model may write such) become U+FFFD."""
        return text_of(self.decode_bytes(ids))

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """What `save` writes, less the kind."""

    @classmethod
    @abstractmethod
    def from_json(cls, value: dict[str, Any]) -> Tokenizer:
        """The tokeniser whose `to_json()` this is."""

    def save(self, path: Path) -> None:
        """Write the tokeniser as JSON, atomically."""
        write_json(path, {"format": 1, "kind": self.kind, **self.to_json()})


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


class TextDecoder:
    """Ids in, whole characters out: bytes of a character that isn't finished yet are held back."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._token_bytes = tokenizer.token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The characters that `token` completes, perhaps none."""
        return self._decoder.decode(self._token_bytes[token])

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
