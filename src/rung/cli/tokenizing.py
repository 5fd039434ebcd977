"""`rung tokenize`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rung.cli.common import Dashed, no_option, show_json

if TYPE_CHECKING:
    from rung.inspection.tokenization import TextPiece, Tokenization


def tokenize(
    run: str,
    file: Dashed = None,
    *,
    text: Dashed = None,
    vocab_size: int | None = None,
    vocabulary: Literal["open", "closed"] = "open",
    unknown: bool = False,
    min_count: int | None = None,
    documents: str = "auto",
    field: str | None = None,
    show: int = 100,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Show how a text is cut into tokens, and how many a word has.

    A token goes by its name in ARPA files: its text, a blank as ▁, what can't be shown as <0x0A>.

    Example: rung tokenize runs/ngram --text "to be, or not"

    Args:
        run: a run's folder; or a kind, char, byte, word, bpe, wordpiece or unigram, which then learns from FILE.
        file: any text.
        text: cut this text instead; of a kind, one that has learned from FILE.
        vocab_size: of a kind: the most token ids.
        vocabulary: of a kind: open spells what was never seen, closed (char, word) refuses it.
        unknown: of closed words: those without an id are one symbol, <unk>.
        min_count: with --unknown: words that occur less often are unknown; by default 2.
        documents: what a document is: lines, paragraphs, files, or auto (as training would have it).
        field: which JSON field, CSV column or Parquet column holds the text.
        show: how many tokens to show.
        out: write all tokens here, a document a line, for KenLM's query and an exported model.
        json: print the answer as one JSON object, nothing else.
    """
    from rung import api

    if file is not None:
        no_option(file)
    found = api.tokenize(
        run,
        file,
        text=text,
        vocab_size=vocab_size,
        vocabulary=vocabulary,
        unknown=unknown,
        min_count=min_count,
        documents=documents,
        field=field,
        show=show,
        out=out,
    )
    if json:
        show_json(_record(found))
        return 0
    _show(found, more=found.tokens - sum(map(len, found.pieces)))
    if out is not None:
        print(f"written: {out}")
    return 0


def _record(found: Tokenization) -> dict[str, Any]:
    pieces = [[asdict(piece) for piece in document] for document in found.pieces]
    counted = {key: value for key, value in vars(found).items() if key != "pieces" and value is not None}
    ratios = {"tokens_per_word": found.tokens_per_word, "tokens_per_byte": found.tokens_per_byte}
    return {**counted, **ratios, "pieces": pieces}


def _show(found: Tokenization, more: int) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    for document in found.pieces:
        for row in _rows(document, console.width):
            _show_row(console, row)
        console.print()
    if found.pieces and more:
        console.print(f"... and {more:,} more tokens (--show N)\n")
    words = "" if found.tokens_per_word is None else f"{found.tokens_per_word:.2f} tokens a word, "
    bytes_ = "" if found.tokens_per_byte is None else f"{found.tokens_per_byte:.3f} tokens a byte; "
    unknown = "" if found.unknown is None else f"; {found.unknown:,} tokens are unknown words"
    console.print(
        f"{found.kind}, {found.vocab_size:,} ids: {words}{bytes_}{found.tokens:,} tokens, {found.words:,} words, "
        f"{found.bytes:,} bytes, {found.documents:,} document{'' if found.documents == 1 else 's'}{unknown}",
        soft_wrap=True,
    )


def _rows(pieces: Sequence[TextPiece], width: int) -> list[list[tuple[str, str]]]:
    """Names and ids in rows no wider than `width`; a line feed ends one."""
    rows: list[list[tuple[str, str]]] = [[]]
    used = 0
    for piece in pieces:
        cell = (piece.name, str(piece.id))
        size = _width(cell) + 1
        if rows[-1] and used + size > width:
            rows.append([])
            used = 0
        rows[-1].append(cell)
        used += size
        if piece.name.endswith("<0x0A>"):
            rows.append([])
            used = 0
    return [row for row in rows if row]


def _width(cell: tuple[str, str]) -> int:
    from rich.cells import cell_len

    return max(cell_len(cell[0]), len(cell[1]))


STYLES = (
    "black on bright_cyan",
    "black on bright_yellow",
    "black on bright_green",
    "black on bright_magenta",
)


def _show_row(console: Any, row: Sequence[tuple[str, str]]) -> None:
    """The names, in colours that change from token to token, and under each its id."""
    from rich.cells import cell_len
    from rich.text import Text

    names, ids = Text(), Text(style="dim")
    for place, cell in enumerate(row):
        width = _width(cell)
        names.append(cell[0], STYLES[place % len(STYLES)])
        names.append(" " * (width - cell_len(cell[0]) + 1))
        ids.append(cell[1].ljust(width + 1))
    for line in (names, ids):
        line.rstrip()
        console.print(line, soft_wrap=True)
