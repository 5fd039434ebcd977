"""Text to token ids and back: one face over characters, bytes, words and learned subwords.

    base            the contract, and ids back to characters one by one
    characters      char, byte
    words           word, and the words of a model made elsewhere; word_scan does the same compiled
    implied_blanks  what makes a word one token wherever it stands
    subwords        bpe, wordpiece, unigram
    byte_fallback   what has no id of its own is spelled in bytes
    chunks          long text, cut where no token crosses

Every tokeniser is lossless on any string. Ids below 243 spell the bytes that can stand in UTF-8 (`char` and `word`)
or pieces that cover all 256 bytes (`byte`, `bpe`, `wordpiece`, `unigram`), so what was never seen in training is
spelled in bytes instead of being lost in an "unknown" token. The last id is the document mark, `end`; no text ever
encodes to it, not even text that looks like one.

A tokeniser is trained on the training split only and saved as JSON beside the model. A new kind is a file and a line
in `TRAINABLE`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rung.errors import UserError, nearest
from rung.files import read_json
from rung.opening import opening
from rung.text.tokenizers.base import TextDecoder, Tokenizer, TrainableTokenizer, text_of, utf8
from rung.text.tokenizers.byte_fallback import UTF8_BYTES
from rung.text.tokenizers.characters import ByteTokenizer, CharTokenizer
from rung.text.tokenizers.subwords import (
    BPETokenizer,
    SubwordTokenizer,
    UnigramTokenizer,
    WordPieceTokenizer,
)
from rung.text.tokenizers.words import WhitespaceTokenizer, WordTokenizer

__all__ = [
    "KINDS",
    "UTF8_BYTES",
    "BPETokenizer",
    "ByteTokenizer",
    "CharTokenizer",
    "SubwordTokenizer",
    "TextDecoder",
    "Tokenizer",
    "UnigramTokenizer",
    "WhitespaceTokenizer",
    "WordPieceTokenizer",
    "WordTokenizer",
    "load_tokenizer",
    "text_of",
    "train_tokenizer",
    "utf8",
]

TRAINABLE: dict[str, type[TrainableTokenizer]] = {
    "char": CharTokenizer,
    "byte": ByteTokenizer,
    "word": WordTokenizer,
    "bpe": BPETokenizer,
    "wordpiece": WordPieceTokenizer,
    "unigram": UnigramTokenizer,
}
KINDS = tuple(TRAINABLE)
LARGEST_VOCABULARY = 10_000_000
"""Trainers make room for all of it at once."""


def load_tokenizer(path: Path) -> Tokenizer:
    """Read what `Tokenizer.save` wrote. Raises UserError when the file is missing or isn't one of ours."""
    value = read_json(path)
    kind = value.get("kind") if isinstance(value, dict) else None
    for tokenizer in (*TRAINABLE.values(), WhitespaceTokenizer):
        if tokenizer.kind == kind:
            with opening(path):
                return tokenizer.from_json(value)
    raise UserError(
        f"{path} is no tokeniser of this version of Rung (kind {kind!r}; known: {', '.join(KINDS)})"
    )


def train_tokenizer(kind: str, texts: Iterable[str], vocab_size: int | None = None) -> Tokenizer:
    """Learn a vocabulary from `texts`, the documents of the training split.

    Args:
        kind: one of char, byte, word, bpe, wordpiece, unigram.
        texts: read once, in order.
        vocab_size: the most ids to have, the mark and the bytes included; None = what suits the kind and the text.

    Raises UserError for an unknown kind and a vocabulary too small to spell every byte.
    """
    if kind not in TRAINABLE:
        raise UserError(f"unknown tokeniser {kind!r}{nearest(kind, KINDS)} (known: {', '.join(KINDS)})")
    smallest = TRAINABLE[kind].min_vocab_size
    if vocab_size is not None and vocab_size < smallest:
        raise UserError(
            f"--vocab-size {vocab_size} is too small: {kind} needs at least {smallest}, to spell every byte"
        )
    if vocab_size is not None and vocab_size > LARGEST_VOCABULARY:
        raise UserError(f"--vocab-size {vocab_size} is too large: give at most {LARGEST_VOCABULARY:,}")
    return TRAINABLE[kind].train(texts, vocab_size)
