"""How a text is cut: its pieces, how many there are to a word and to a byte, and a file of them for other programs.

A piece goes by the name that an ARPA file gives it (`rung.exchange.arpa_format`), a blank in it as `▁`. In a file of
pieces a document is a line, blanks stand between its pieces, and so KenLM's query scores it with an exported model.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rung.errors import UserError
from rung.exchange.arpa_format import token_names
from rung.files import atomic_path
from rung.run_folders import check_apart, check_no_run
from rung.runs import Run, load_language_model
from rung.text.sources import MODES, open_source
from rung.text.tokenizers import KINDS, TextDecoder, Tokenizer, check_vocabulary, train_tokenizer, utf8
from rung.text.whitespace import count_words


@dataclass(frozen=True)
class TextPiece:
    """One token where it stands.

    Attributes:
        id: the token.
        name: what it is called in ARPA files.
        text: the characters that it completes; joined up they are the text.
    """

    id: int
    name: str
    text: str


@dataclass(frozen=True)
class Tokenization:
    """A text, cut.

    Attributes:
        kind: of the tokeniser.
        vocab_size: how many ids it has, the mark included.
        documents, tokens, words, bytes: what the text has; closing marks are no tokens here, words stand between white
            space, bytes are UTF-8.
        unknown: how many tokens stand for words that have none; None where every word is spelled.
        pieces: of each of the first documents, its first tokens.
    """

    kind: str
    vocab_size: int
    documents: int
    tokens: int
    words: int
    bytes: int
    unknown: int | None
    pieces: list[list[TextPiece]]

    @property
    def tokens_per_word(self) -> float | None:
        return self.tokens / self.words if self.words else None

    @property
    def tokens_per_byte(self) -> float | None:
        return self.tokens / self.bytes if self.bytes else None


def tokenize(
    run: Run | str | Path,
    data: str | Path | None = None,
    *,
    text: str | None = None,
    vocab_size: int | None = None,
    vocabulary: str = "open",
    unknown: bool = False,
    min_count: int | None = None,
    documents: str = "auto",
    field: str | None = None,
    show: int = 100,
    out: str | Path | None = None,
) -> Tokenization:
    """How `data`, or one text, is cut by a run or by a kind of tokeniser that learns from `data`.

    Arguments and errors are those of `rung.api.tokenize`.
    """
    if show < 0:
        raise UserError(f"--show {show} is not possible: give 0 or more")
    like = None
    if isinstance(run, str) and run in KINDS:
        check_vocabulary(run, vocabulary, unknown=unknown, min_count=min_count)
        by_lines = (run, vocabulary) == ("word", "closed")
        if data is None and (text is None or run != "byte"):
            raise UserError(f"name the text that {run} is to learn from: rung tokenize {run} FILE")
    else:
        if (vocab_size, vocabulary, unknown, min_count) != (None, "open", False, None):
            raise UserError(
                "--vocab-size, --vocabulary, --unknown and --min-count are for a kind that learns from FILE "
                f"({', '.join(KINDS)}); a run has its own"
            )
        if (data is None) == (text is None):
            raise UserError(
                'name a file or one text: rung tokenize RUN FILE, or rung tokenize RUN --text "..."'
            )
        run = load_language_model(run)
        trained_on = run.recipe["data"]["source"].get("documents")
        like = trained_on if trained_on in MODES else None
        by_lines = run.tokenizer.unit == "word"
    source: Iterable[str] = ()
    if data is not None:
        documents = "lines" if by_lines and documents == "auto" else documents
        source = open_source(data, documents=documents, field=field, like=like, keep_empty=by_lines)
    place = None if out is None else Path(out)
    if place is not None:
        check_apart(place, [] if data is None else [data])
        check_no_run(place)
    if isinstance(run, Run):
        tokenizer = run.tokenizer
    else:
        how: dict[str, Any] = {"vocabulary": vocabulary, "unknown": unknown, "min_count": min_count}
        tokenizer = train_tokenizer(str(run), source, vocab_size, **how)
    return cut(tokenizer, source if text is None else [text], show=show, out=place)


def cut(
    tokenizer: Tokenizer, texts: Iterable[str], *, show: int = 100, out: Path | None = None
) -> Tokenization:
    """Cut texts, keep the first `show` pieces, and write all of them to `out`.

    Raises UserError for text that a closed vocabulary has no symbol for, and a file that can't be written.
    """
    names = token_names(tokenizer)
    documents, tokens, words, n_bytes, unknown = 0, 0, 0, 0, 0
    shown: list[list[TextPiece]] = []
    with ExitStack() as stack:
        write = None
        if out is not None:
            temporary = stack.enter_context(atomic_path(out))
            write = stack.enter_context(temporary.open("w", encoding="utf-8", newline="\n")).write
        for text in texts:
            ids = tokenizer.encode(text)
            row = ids.tolist()
            if write is not None:
                write(" ".join([names[i] for i in row]) + "\n")
            if show > 0:
                decoder = TextDecoder(tokenizer)
                shown.append([TextPiece(i, names[i], decoder.push(i)) for i in row[:show]])
                show -= len(row)
            data = utf8(text)
            documents, tokens = documents + 1, tokens + len(row)
            words, n_bytes = words + count_words(data), n_bytes + len(data)
            unknown += int(np.count_nonzero(ids == tokenizer.unknown)) if tokenizer.unknown is not None else 0
    return Tokenization(
        tokenizer.kind,
        tokenizer.vocab_size,
        documents,
        tokens,
        words,
        n_bytes,
        None if tokenizer.unknown is None else unknown,
        shown,
    )
