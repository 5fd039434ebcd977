"""How scored records are written: what comes out, by what goes in and where it goes.

    no --keep, --worst or --out    {"log_prob": -42.1, "tokens": 11, "bytes": 52, "bits_per_byte": 1.17}, one a record
    lines, else                    {"line": 7, "text": "...", "log_prob": ...}: the line and its number
    records, else                  each whole record with these four fields added
    rows of .csv or .tsv, --out X.csv or X.tsv     the row with four columns more, and without --keep one for errors
    lines, --out X.txt             the lines that are kept, and nothing else

Numbers have nine digits; a log-probability of minus infinity, which only models without smoothing give, is null, and so
are its bits: JSON has no infinities. In a table they are empty cells.

A field or column that a record already has is left alone, and ours is called rung_log_prob and so on. A bad record
gives {"error": "where: what"}, after its own fields where they could be read, and is never kept.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from rung.errors import UserError
from rung.evaluation.keep import NAMES
from rung.tasks.text_scores import Columns
from rung.text.formats import ROW_FORMATS, split_suffixes
from rung.text.record_batches import RecordBatch, Records

TEXT_SUFFIXES = (".txt", ".text")
TABLES = {"csv": ",", "tsv": "\t"}
FIELDS: str = '"log_prob": %.9g, "tokens": %d, "bytes": %d, "bits_per_byte": %.9g\n'
RESERVED = frozenset((*NAMES, "error"))


@dataclass(frozen=True)
class Form:
    """How records are written.

    lines: one a record, of a batch and its scores.
    head: what stands before them, once the file is being read.
    """

    lines: Callable[[RecordBatch, Any], list[str]]
    head: Callable[[], str] = lambda: ""


def form_of(out: Path | None, records: Records, chosen: bool) -> Form:
    """How records are written to `out`, None being standard output.

    Args:
        out: a file by whose suffix it is told.
        records: what goes in.
        chosen: whether only some come out.

    Raises UserError at once for what would fail only after hours.
    """
    whole = _numbered_lines if records.file.format == "text" else _record_lines
    if out is None:
        return Form(whole if chosen else score_lines)
    suffix, _ = split_suffixes(out)
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; name a file in it")
    if records.file.path is not None and out.exists() and out.samefile(records.file.path):
        raise UserError(f"--out {out} is the file that is read; name another")
    format = ROW_FORMATS.get(suffix)
    if format == "jsonl":
        return Form(whole)
    if format in TABLES:
        if records.file.format not in TABLES:
            raise UserError(
                f"--out {out} does not fit: {records.file.name} is no .csv or .tsv; end it in .jsonl"
            )
        return _scored_table(format, records, chosen)
    if suffix not in TEXT_SUFFIXES:
        raise UserError(
            f"--out {out} does not say what it is to hold: end its name in .jsonl, in .csv or .tsv for rows of such a "
            "table, or in .txt to --keep lines, then perhaps .gz or .zst"
        )
    if records.file.format != "text":
        raise UserError(
            f"--out {out} does not fit: {records.file.name} holds records, not lines; end it in .jsonl"
        )
    if not chosen:
        raise UserError(
            f"--out {out} would be a copy of {records.file.name}: --keep some lines, or end it in .jsonl"
        )
    return Form(lambda batch, columns: [text + "\n" for text in batch.texts])


def score_lines(batch: RecordBatch, columns: Columns) -> list[str]:
    """The four fields alone."""
    lines = [f"{{{fields}}}\n" for fields in _score_fields(columns)]
    for place, error in batch.errors.items():
        lines[place] = json.dumps({"error": error}) + "\n"
    return lines


def _numbered_lines(batch: RecordBatch, columns: Columns) -> list[str]:
    lines = [
        f'{{"line": {number}, "text": {json.dumps(text, ensure_ascii=False)}, {fields}}}\n'
        for number, (text, fields) in enumerate(
            zip(batch.texts, _score_fields(columns), strict=True), batch.first
        )
    ]
    for place, error in batch.errors.items():
        lines[place] = json.dumps({"line": batch.first + place, "error": error}) + "\n"
    return lines


def _record_lines(batch: RecordBatch, columns: Columns) -> list[str]:
    assert batch.rows is not None
    lines = [
        f"{row[:-1].rstrip()}, {fields}}}\n"
        for row, fields in zip(batch.rows, _score_fields(columns), strict=True)
    ]
    for place, names in batch.fields.items():
        if place not in batch.errors:
            lines[place] = with_fields(batch.rows[place], _score_fields_of(columns, place), names)
    for place, error in batch.errors.items():
        names = batch.fields.get(place, frozenset())
        lines[place] = with_fields(batch.rows[place] or "{}", {"error": json.dumps(error)}, names)
    return lines


def _scored_table(format: str, records: Records, chosen: bool) -> Form:
    table = table_form(format, records, NAMES, errors=not chosen)

    def lines(batch: RecordBatch, columns: Columns) -> list[str]:
        return table.lines(
            batch, {name: [_cell(value) for value in columns[name].tolist()] for name in NAMES}
        )

    return Form(lines, table.head)


def table_form(format: str, records: Records, names: Sequence[str], *, errors: bool) -> Form:
    """Rows of a table with columns more, whose cells are given by name; with `errors` one of what is wrong, too."""
    names = (*names, "error") if errors else tuple(names)

    def added() -> list[str]:
        return [f"rung_{name}" if name in records.header else name for name in names]

    def own() -> list[int]:
        """Which columns stay: of what was done for the third time not the second time's."""
        return [i for i, name in enumerate(records.header) if name not in added()]

    def written(rows: list[list[str]]) -> str:
        file = io.StringIO(newline="")
        delimiter = records.delimiter if records.file.format == format else TABLES[format]
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)
        return file.getvalue()

    def lines(batch: RecordBatch, columns: Mapping[str, Sequence[str]]) -> list[str]:
        given = [columns[name] for name in names if name != "error"]
        kept, rows = own(), []
        for place, (cells, *more) in enumerate(zip(batch.cells, *given, strict=True)):
            row = [cells[i] if cells else "" for i in kept]
            error = batch.errors.get(place)
            row += more if error is None else [""] * len(given)
            rows.append([*row, error or ""] if errors else row)
        return [written([row]) for row in rows]

    return Form(lines, lambda: written([[*(records.header[i] for i in own()), *added()]]))


def _cell(value: float) -> str:
    return f"{value:.9g}" if np.isfinite(value) else ""


def _score_fields(columns: Columns) -> list[str]:
    """The four fields of every record. One big formatting is several times as fast as many small ones."""
    rows = zip(*(columns[name].tolist() for name in NAMES), strict=True)
    formatted = (FIELDS * len(columns["tokens"])) % tuple(chain.from_iterable(rows))
    if not all(np.isfinite(columns[name]).all() for name in ("log_prob", "bits_per_byte")):
        formatted = (
            formatted.replace(": nan", ": null").replace(": -inf", ": null").replace(": inf", ": null")
        )
    return formatted.split("\n")[:-1]


def _score_fields_of(columns: Columns, place: int) -> dict[str, str]:
    fields = _score_fields({name: column[place : place + 1] for name, column in columns.items()})[0]
    return dict(zip(NAMES, (field.split(": ")[1] for field in fields.split(", ")), strict=True))


def with_fields(row: str, fields: dict[str, str], names: frozenset[str]) -> str:
    """A record with fields added to it, under names that it doesn't have. What it has stays as it was formatted."""
    added = {f"rung_{name}" if name in names else name: value for name, value in fields.items()}
    if not names.isdisjoint(added):  # scored for the third time
        kept = {name: value for name, value in json.loads(row).items() if name not in added}
        row = json.dumps(kept, ensure_ascii=False)
    head = row[:-1].rstrip()
    comma = "" if head == "{" else ", "
    return head + comma + ", ".join(f'"{name}": {value}' for name, value in added.items()) + "}\n"
