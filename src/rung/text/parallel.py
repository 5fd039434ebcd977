"""Texts with their translations, as they are read: rows of a table, or two files line by line.

rows              of .csv, .tsv, .json, .jsonl or .parquet: a column of texts, one of translations, perhaps one of
                  groups; or a column `translation` that holds an object of two texts, as corpora are often kept
two columns       a .tsv whose first line is no header of these: a pair a line
two files         a line of one belongs to the line of the other

Nothing is dropped: a pair with an empty side is told of.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rung.errors import UserError
from rung.text.formats import File, open_text, plain_documents, reading
from rung.text.made import is_made
from rung.text.pairs import Pairs
from rung.text.records import read_rows, whole_characters
from rung.text.sources import open_source

SIDES = ("source", "target")
LOOKED_AT = 1 << 14


@dataclass(frozen=True)
class Sides:
    """Which columns hold what; target_file: of two files the other one."""

    source: str = "source"
    target: str = "target"
    group: str | None = None
    target_file: str | None = None


class Parallel(NamedTuple):
    """N pairs, and which group each is of, (N,) int64; None = they are drawn one by one."""

    pairs: Pairs
    groups: np.ndarray | None


def read_parallel(data: str | Path, sides: Sides, sha256: str | None = None) -> Parallel:
    """The pairs. Raises UserError when there are none, a side is missing or empty, or files are of unequal length."""
    source = open_source(data, sha256=sha256)
    texts: list[str] = []
    seconds: list[str] = []
    groups: list[str] = []
    rows: Iterator[tuple[str, str, str, str]]
    if sides.target_file is not None:
        rows = _two_files(source.files, open_source(sides.target_file).files)
    else:
        rows = (row for file in source.files for row in _of_file(file, sides))
    for where, text, second, group in rows:
        for side, one in zip(SIDES, (text, second), strict=True):
            if not one.strip():
                raise UserError(f"{where} has an empty {side}; leave the pair out, or fill it")
        texts.append(text)
        seconds.append(second)
        groups.append(group)
    if not texts:
        raise UserError(f"{data} holds no pairs")
    if sides.group is None:
        return Parallel(Pairs(texts, seconds, source), None)
    number = {name: i for i, name in enumerate(dict.fromkeys(groups))}
    return Parallel(Pairs(texts, seconds, source), np.array([number[group] for group in groups], np.int64))


def is_parallel(data: str | Path) -> bool:
    """Whether `data` is a file whose first row has a source and a target."""
    if is_made(str(data)):
        return True
    path = Path(data)
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            first = file.read(LOOKED_AT).split(b"\n")[0].decode("utf-8", "replace")
    except OSError:
        return False
    if path.suffix == ".jsonl":
        return ('"source"' in first and '"target"' in first) or '"translation"' in first
    cells = [cell.strip().strip('"') for cell in first.replace("\t", ",").split(",")]
    return path.suffix in (".csv", ".tsv") and set(SIDES) <= set(cells)


def _two_files(sources: list[File], targets: list[File]) -> Iterator[tuple[str, str, str, str]]:
    if len(sources) != 1 or len(targets) != 1:
        raise UserError("--target-file goes with one file of texts, a line each")
    (source,), (target,) = sources, targets
    for file in (source, target):
        if file.format != "text":
            raise UserError(f"{file.name} holds rows; --target-file goes with two files of plain lines")
    with reading(source), reading(target):
        lines = zip_longest(plain_documents(source, "lines"), plain_documents(target, "lines"))
        for number, (text, second) in enumerate(lines, 1):
            if text is None or second is None:
                short, long = (source, target) if text is None else (target, source)
                raise UserError(
                    f"{short.name} ends before line {number}, and {long.name} goes on: lines must be pairs"
                )
            yield f"{source.name}: line {number}", text, second, ""


def _of_file(file: File, sides: Sides) -> Iterator[tuple[str, str, str, str]]:
    with reading(file):
        if file.format == "text":
            raise UserError(
                f"{file.name} is plain text; translations need rows with --source and --target, or a second file of "
                "lines: --target-file FILE"
            )
        if file.format == "tsv" and not _has_header(file, sides):
            yield from _two_columns(file)
            return
        names: dict[str, str | None] = {"source": sides.source, "target": sides.target}
        if sides.group is not None:
            names["group"] = sides.group
        for number, row in enumerate(_rows(file, names), 1):
            where = f"{file.name}: record {number}"
            both = [_text(row[side], where, names[side]) for side in SIDES]
            yield where, both[0], both[1], str(row.get("group", ""))


def _rows(file: File, names: dict[str, str | None]) -> Iterator[dict[str, Any]]:
    """The rows, or those of a column `translation` of objects."""
    try:
        yield from read_rows(file, names)
    except UserError:
        nested = {"translation": "translation", **{k: v for k, v in names.items() if k == "group"}}
        if (names["source"], names["target"]) != SIDES or file.format not in ("jsonl", "json", "parquet"):
            raise
        try:
            first = next(iter(read_rows(file, nested)))
        except (UserError, StopIteration):
            first = {"translation": None}
        if not isinstance(first["translation"], dict) or len(first["translation"]) != 2:
            raise
        source, target = first["translation"]
        for row in read_rows(file, nested):
            pair = row["translation"] if isinstance(row["translation"], dict) else {}
            yield {"source": pair.get(source), "target": pair.get(target), **row}


def _text(value: Any, where: str, column: str | None) -> str:
    if not isinstance(value, str):
        kind = "no text" if value is None or value != value else type(value).__name__
        raise UserError(f"{where}: {column!r} is {kind}, and a text is needed")
    return whole_characters(value)


def _has_header(file: File, sides: Sides) -> bool:
    with open_text(file) as text:
        cells = text.readline().rstrip("\r\n").split("\t")
    named = (sides.source, sides.target) != SIDES
    return named or set(SIDES) <= set(cells) or len(cells) != 2


def _two_columns(file: File) -> Iterator[tuple[str, str, str, str]]:
    for number, line in enumerate(plain_documents(file, "lines"), 1):
        cells = line.split("\t")
        if len(cells) != 2:
            raise UserError(f"{file.name}: line {number} has {len(cells)} columns; a pair is two")
        yield f"{file.name}: line {number}", cells[0], cells[1], ""
