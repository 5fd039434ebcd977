"""How to read a text: what a document is, how it is split, how it is cut into tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rung.text.corpus import Corpus, prepare
from rung.text.tokenizers import Tokenizer


@dataclass(frozen=True)
class DataOptions:
    """Settings of reading and tokenising.

    Attributes:
        tokenizer: char, byte, word, bpe, wordpiece or unigram.
        vocab_size: the most token ids; by default what suits the tokeniser.
        documents: what a document is: lines, paragraphs, files, or auto (rows of tables; lines of a list; files).
        split: shares of train/validation/test, as in 90/5/5.
        field: which JSON field, CSV column or Parquet column holds the text.
        sha256: the hash that an https:// source must have.
        val: validation text from this file instead of a share of the data.
        test: test text from this file instead of a share of the data.
    """

    tokenizer: str = "char"
    vocab_size: int | None = None
    documents: str = "auto"
    split: str = "90/5/5"
    field: str | None = None
    sha256: str | None = None
    val: str | None = None
    test: str | None = None


def prepare_corpus(
    data: str | Path, folder: Path, options: DataOptions, trained: Tokenizer | None = None
) -> Corpus:
    """`rung.text.corpus.prepare` with these options; `trained` is a tokeniser to use instead of training one."""
    return prepare(
        data,
        folder,
        tokenizer=options.tokenizer if trained is None else trained,
        vocab_size=options.vocab_size,
        split=options.split,
        documents=options.documents,
        field=options.field,
        sha256=options.sha256,
        validation=options.val,
        test=options.test,
    )
