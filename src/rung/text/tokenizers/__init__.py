"""Text to token ids and back: one face over characters, bytes, words and learned subwords.

    base            the contract, and ids back to characters one by one
    characters      char, byte
    half_bytes      what char spells that it has no id for
    words           word; word_scan does the same compiled
    whitespace_words  the words of a closed vocabulary, or of a model made elsewhere
    bare_words      words alone, lower-cased, no signs between them
    implied_blanks  what makes a word one token wherever it stands
    subwords        bpe, wordpiece, unigram
    bert_wordpiece  BERT's own WordPiece, of a model made elsewhere
    byte_fallback   what has no id of its own is spelled in bytes
    chunks          long text, cut where no token crosses

An open vocabulary is lossless on any string. 32 ids spell half a byte each (`char`), ids below 243 the bytes that can
stand in UTF-8 (`word`), or pieces cover all 256 bytes (`byte`, `bpe`, `wordpiece`, `unigram`), so what was never seen
in training is spelled instead of being lost in an "unknown" token. A closed one (`char`, `word`) has nothing but the
training text's own symbols; others are refused, or of words, if asked for, one symbol. The last id is the document
mark, `end`; no text ever encodes to it, not even text that looks like one.

A tokeniser is trained on the training split only and saved as JSON beside the model. A new kind is a file and a line
in `TRAINABLE`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rung.errors import UserError, nearest
from rung.files import read_json
from rung.opening import check_kind, opening
from rung.text.tokenizers.bare_words import BareWordTokenizer
from rung.text.tokenizers.base import (
    NotInVocabularyError,
    TextDecoder,
    Tokenizer,
    TrainableTokenizer,
    text_of,
    utf8,
)
from rung.text.tokenizers.bert_wordpiece import BertTokenizer
from rung.text.tokenizers.byte_fallback import UTF8_BYTES
from rung.text.tokenizers.characters import ByteTokenizer, CharTokenizer
from rung.text.tokenizers.subwords import (
    BPETokenizer,
    SubwordTokenizer,
    UnigramTokenizer,
    WordPieceTokenizer,
)
from rung.text.tokenizers.whitespace_words import WhitespaceTokenizer
from rung.text.tokenizers.words import WordTokenizer

__all__ = [
    "KINDS",
    "UTF8_BYTES",
    "BPETokenizer",
    "BareWordTokenizer",
    "BertTokenizer",
    "ByteTokenizer",
    "CharTokenizer",
    "NotInVocabularyError",
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
READABLE: tuple[type[Tokenizer], ...] = (
    *TRAINABLE.values(),
    WhitespaceTokenizer,
    BareWordTokenizer,
    BertTokenizer,
)
LARGEST_VOCABULARY = 10_000_000
"""Trainers make room for all of it at once."""
VOCABULARIES = ("open", "closed")
CLOSED = ("char", "word")
"""The kinds that can be closed."""


def load_tokenizer(path: Path) -> Tokenizer:
    """Read what `Tokenizer.save` wrote. Raises UserError when the file is missing or isn't one of ours."""
    value = read_json(path)
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind not in [tokenizer.kind for tokenizer in READABLE]:  # a damaged file may hold a list here
        raise UserError(
            f"{path} is no tokeniser of this version of Rung (kind {kind!r}; known: {', '.join(KINDS)})"
        )
    with opening(path):
        return tokenizer_from(value)


def tokenizer_from(value: dict[str, Any]) -> Tokenizer:
    """The tokeniser that `value` describes: its kind, and its `to_json()`. Raises KeyError for an unknown kind."""
    by_kind = {tokenizer.kind: tokenizer for tokenizer in READABLE}
    tokenizer = by_kind[value["kind"]].from_json(value)
    if "source" in value:
        check_kind("source", value["source"], dict)
        tokenizer.source = tokenizer_from(value["source"])
    return tokenizer


def check_vocabulary(
    kind: str, vocabulary: str, *, unknown: bool = False, min_count: int | None = None
) -> None:
    """Raise UserError unless these settings, as in `train_tokenizer`, are possible and go together."""
    if kind not in (*TRAINABLE, BareWordTokenizer.kind):
        raise UserError(f"unknown tokeniser {kind!r}{nearest(kind, KINDS)} (known: {', '.join(KINDS)})")
    if vocabulary not in VOCABULARIES:
        hint = nearest(vocabulary, VOCABULARIES)
        raise UserError(f"--vocabulary {vocabulary!r} is unknown{hint} (known: {', '.join(VOCABULARIES)})")
    if vocabulary == "closed" and kind not in CLOSED:
        raise UserError(
            f"--vocabulary closed does not go with --tokenizer {kind}, which spells every byte; "
            f"it goes with {' and '.join(CLOSED)}"
        )
    if kind == BareWordTokenizer.kind:
        unknown, vocabulary, kind = True, "closed", "word"  # it is of this sort, whatever is said
    if unknown and (kind, vocabulary) != ("word", "closed"):
        raise UserError("--unknown goes with --tokenizer word --vocabulary closed; others lose no word")
    if min_count is not None and not unknown:
        raise UserError(f"--min-count {min_count} goes with --unknown: without it no word is left out")
    if min_count is not None and min_count < 1:
        raise UserError(f"--min-count {min_count} is not possible: give 1 or more")


def train_tokenizer(
    kind: str,
    texts: Iterable[str],
    vocab_size: int | None = None,
    *,
    vocabulary: str = "open",
    unknown: bool = False,
    min_count: int | None = None,
) -> Tokenizer:
    """Learn a vocabulary from `texts`, the documents of the training split.

    Args:
        kind: one of char, byte, word, bpe, wordpiece, unigram; or bare-word, which loses what no word is.
        texts: read once, in order.
        vocab_size: the most ids to have, the mark and the bytes included; None = what suits the kind and the text.
        vocabulary: open spells what was never seen; closed (char, word) has the symbols of `texts` and no others.
        unknown: of a closed vocabulary of words: all that have no id are one symbol; else they are refused.
        min_count: words that occur less often are unknown; None = 2, so that there is an unknown to learn from.

    Raises UserError for an unknown kind, what doesn't go together, and a vocabulary too small.
    """
    check_vocabulary(kind, vocabulary, unknown=unknown, min_count=min_count)
    if kind == BareWordTokenizer.kind:
        return BareWordTokenizer.train(texts, vocab_size, unknown=True, min_count=min_count)
    if vocabulary == "closed":
        if kind == "char":
            return CharTokenizer.train_closed(texts, vocab_size)
        return WhitespaceTokenizer.train(texts, vocab_size, unknown=unknown, min_count=min_count)
    smallest = TRAINABLE[kind].min_vocab_size
    if vocab_size is not None and vocab_size < smallest:
        raise UserError(
            f"--vocab-size {vocab_size} is too small: {kind} needs at least {smallest}, to spell every byte"
        )
    if vocab_size is not None and vocab_size > LARGEST_VOCABULARY:
        raise UserError(f"--vocab-size {vocab_size} is too large: give at most {LARGEST_VOCABULARY:,}")
    return TRAINABLE[kind].train(texts, vocab_size)
