"""How data are read: what a document is, how they are split, how they are cut into tokens."""

from __future__ import annotations

from dataclasses import dataclass

from rung.errors import UserError, nearest

CLASS_WEIGHTS = ("none", "balanced")
SPLIT_BY = ("chance", "time")


@dataclass(frozen=True)
class ReadOptions:
    """Settings of reading data to measure on.

    Attributes:
        documents: what a document is: lines, paragraphs, files, or auto (rows of tables; lines of a list; files).
        field: which JSON field, CSV column or Parquet column holds the text.
        label: which one holds the label; by default the one that the model was trained on.
        second: which one holds the other of two texts; by default the one that the model was trained on.
        sha256: the hash that an https:// source must have.
    """

    documents: str = "auto"
    field: str | None = None
    label: str | None = None
    second: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class DataOptions:
    """Settings of reading and tokenising.

    Attributes:
        tokenizer: char, byte, word, bpe, wordpiece or unigram.
        vocab_size: the most token ids; by default what suits the tokeniser.
        vocabulary: open spells what was never seen; closed (of char and word) has nothing but the training text's own
            symbols and refuses others.
        unknown: with --tokenizer word --vocabulary closed: words without an id are all one symbol, <unk>, as in papers.
        min_count: with --unknown: words that occur less often are unknown; by default 2.
        documents: what a document is: lines, paragraphs, files, or auto (rows of tables; lines of a list; files). For a
            closed vocabulary of words auto means lines.
        split: shares of train/validation/test; by default 90/5/5, with --val 100/0/0, with --test alone 95/5/0.
        split_by: chance, or time: the last documents are held out, for logs and the like. (Of few documents the last
            part always is.)
        field: which JSON field, CSV column or Parquet column holds the text.
        sha256: the hash that an https:// source must have.
        val: validation text from this file; the data are then all for training, unless --split says otherwise.
        test: test text from this file.
    """

    tokenizer: str = "char"
    vocab_size: int | None = None
    vocabulary: str = "open"
    unknown: bool = False
    min_count: int | None = None
    documents: str = "auto"
    split: str | None = None
    split_by: str = "chance"
    field: str | None = None
    sha256: str | None = None
    val: str | None = None
    test: str | None = None

    def __post_init__(self) -> None:
        if self.split_by not in SPLIT_BY:
            near = nearest(self.split_by, SPLIT_BY)
            raise UserError(f"--split-by {self.split_by} is unknown{near} (known: {', '.join(SPLIT_BY)})")


@dataclass(frozen=True)
class LabelOptions:
    """Settings of reading texts with labels.

    Attributes:
        label: which column holds the label; by default `label`.
        field: which column holds the text.
        second: which column holds the other text, where an example is two.
        group: which column says what belongs together (an author, a patient, a play): no group is torn by the split.
        tokenizer: char, byte, word, bpe, wordpiece or unigram; by default what suits the rung and the texts.
        vocab_size: the most token ids; by default what suits the tokeniser.
        split: shares of train/validation/test, each with its share of every label; by default 90/5/5, with --val
            100/0/0, with --test alone 95/5/0.
        val: validation examples from this file, of the same columns; the data are then all for training, unless --split
            says otherwise.
        test: test examples from this file.
        class_weights: none, or balanced: in training an example counts N / (L x how many have its label), so that rare
            labels count as much as common ones.
        sha256: the hash that an https:// source must have.
    """

    label: str | None = None
    field: str = "text"
    second: str | None = None
    group: str | None = None
    tokenizer: str | None = None
    vocab_size: int | None = None
    split: str | None = None
    val: str | None = None
    test: str | None = None
    class_weights: str = "none"
    sha256: str | None = None

    def __post_init__(self) -> None:
        if self.class_weights not in CLASS_WEIGHTS:
            raise UserError(
                f"--class-weights {self.class_weights} is unknown (known: {', '.join(CLASS_WEIGHTS)})"
            )


@dataclass(frozen=True)
class TagOptions:
    """Settings of reading words with tags.

    Attributes:
        tags: of rows: which column holds the list of tags; by default `tags`.
        field: of rows: which column holds the list of words.
        column: of .conllu: which column is the tag, upos or xpos (or another); of other columns, its number from 1; by
            default upos, or the last.
        group: of rows: which column says what belongs together (a document, an author): no group is torn by the split.
        tokenizer: how words are spelled for the rung; by default what suits it: byte, or wordpiece for bert.
        vocab_size: the most token ids; by default what suits the tokeniser.
        split: shares of train/validation/test, whole documents where the files mark some; by default 90/5/5, with --val
            100/0/0, with --test alone 95/5/0.
        val: validation sentences from this file; the data are then all for training, unless --split says otherwise.
        test: test sentences from this file.
        sha256: the hash that an https:// source must have.
    """

    tags: str | None = None
    field: str = "tokens"
    column: str | None = None
    group: str | None = None
    tokenizer: str | None = None
    vocab_size: int | None = None
    split: str | None = None
    val: str | None = None
    test: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class ParallelOptions:
    """Settings of reading texts with their translations.

    Attributes:
        source: which column holds the text; by default `source`.
        target: which one holds its translation; by default `target`.
        target_file: the translations, a line for each line of DATA, in place of columns.
        group: which column says what belongs together (a document): no group is torn by the split.
        tokenizer: char, byte, word, bpe, wordpiece or unigram; for both sides, unless the source has its own.
        vocab_size: the most token ids; by default what suits the tokeniser.
        source_tokenizer: of the texts that are read alone: char, byte, ...; by default one for both sides.
        source_vocab_size: the most ids it has.
        longest: pairs with more tokens on a side are left out of training, and told of; all are measured.
        split: shares of train/validation/test; by default 90/5/5, with --val 100/0/0, with --test alone 95/5/0.
        val: validation pairs from this file, of the same columns; the data are then all for training, unless --split
            says otherwise.
        test: test pairs from this file.
        sha256: the hash that an https:// source must have.
    """

    source: str | None = None
    target: str | None = None
    target_file: str | None = None
    group: str | None = None
    tokenizer: str = "bpe"
    vocab_size: int | None = None
    source_tokenizer: str | None = None
    source_vocab_size: int | None = None
    longest: int = 256
    split: str | None = None
    val: str | None = None
    test: str | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        if not (type(self.longest) is int and self.longest >= 1):
            raise UserError(f"--longest {self.longest} is not allowed: give 1 or more")
        if self.source_vocab_size is not None and self.source_tokenizer is None:
            raise UserError(
                f"--source-vocab-size {self.source_vocab_size} goes with a tokeniser for the source alone: "
                f"--source-tokenizer {self.tokenizer}"
            )
        if self.target_file is not None:
            for name in ("source", "target", "group", "val", "test"):
                if (value := getattr(self, name)) is not None:
                    flag = f"--{name} {value}"
                    raise UserError(
                        f"{flag} does not go with --target-file, where lines are pairs; use --split"
                    )
