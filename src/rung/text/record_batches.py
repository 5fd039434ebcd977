"""Texts with the records they come from, read from a file or a pipe a megabyte at a time.

    plain text           a record is a line
    .jsonl, .ndjson      an object a line; its field `text`, or --field
    .json                the same, or an array of objects
    .csv, .tsv           a row; its column `text`, or --field, or the only one
    .parquet             the same
    -, or a pipe         lines; with --field, JSON lines

All but Parquet also as .gz and .zst. Unlike `rung.text.records`, which reads what is learned from and refuses what is
broken, this reads what the web leaves behind: a bad record is marked with what is wrong, and reading goes on. What
holds nothing is passed over in both, save that every line of plain text is answered, so that what comes out stands
beside what went in. An array that is no JSON can't be gone on with.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from rung.errors import UserError, nearest
from rung.files import finite
from rung.text.formats import (
    HEAD,
    ROW_FORMATS,
    STDIN,
    File,
    decompressed,
    open_text,
    reading,
    refuse_binary,
    refuse_encoding,
    split_suffixes,
)
from rung.text.json_rows import array_items, as_object, is_array, json_object
from rung.text.records import (
    choose_columns,
    is_broken,
    open_parquet,
    refuse_doubled,
    text_columns,
    whole_characters,
)
from rung.text.tables import Table

BATCH_BYTES = 1 << 20
PARQUET_ROWS = 1024  # at once
ENOUGH = 10  # records to judge a whole file by
COLUMNS_SHOWN = 20


@dataclass(frozen=True)
class RecordBatch:
    """Records in order.

    texts: the text of each; "" for a bad one.
    rows: each as one JSON object, or "" where there is none to be had; None for lines of plain text.
    errors: what is wrong, and where, for each bad one, by its place in the batch.
    fields: the names of its fields, for each that has a reserved one among them, by its place in the batch.
    first: the number of the first, where they are lines of plain text.
    cells: of a table's rows, where they are wanted whole; [] for a row that is none.
    words: of each whose text is a list of words, by its place in the batch.
    """

    texts: list[str] = field(default_factory=list)
    rows: list[str] | None = None
    errors: dict[int, str] = field(default_factory=dict)
    fields: dict[int, frozenset[str]] = field(default_factory=dict)
    first: int = 1
    cells: list[list[str]] = field(default_factory=list)
    words: dict[int, list[str]] = field(default_factory=dict)


class Records:
    """The records of one file, to be read once.

    Attributes:
        file: where they are; when its format is text, they are lines.
        size: its bytes, compressed as they are; None for a pipe.
        header, delimiter: of a table of .csv or .tsv, once it is being read.
    """

    header: list[str]
    delimiter: str

    def __init__(
        self,
        file: File,
        field: str | None,
        whole: bool,
        reserved: frozenset[str],
        columns: tuple[str, ...] = (),
        also: dict[str, str] | None = None,
        words: str | None = None,
    ) -> None:
        self.file = file
        self.size = file.path.stat().st_size if file.path is not None and file.path.is_file() else None
        self._field = field
        self._name = "text" if field is None else field
        self._whole = whole
        self._reserved = reserved
        self._columns = columns
        self._also = also or {}
        self._words = words
        self._raw: BinaryIO | None = None
        self._share = 0.0

    @property
    def position(self) -> int:
        """How many of the file's bytes have been read, compressed as they are; 0 for a pipe."""
        if self.size is None:
            return 0
        if self.file.format == "parquet":
            return int(self._share * self.size)
        return 0 if self._raw is None or self._raw.closed else self._raw.tell()

    def batches(self, n_bytes: int = BATCH_BYTES) -> Iterator[RecordBatch]:
        """The records, about `n_bytes` of text at a time.

        Raises UserError when the file as a whole can't be read, or its first thousands of records are all bad.
        """
        readers = {
            "text": self._lines,
            "jsonl": self._objects,
            "json": self._objects,
            "parquet": self._parquet,
        }
        with reading(self.file):
            first = True
            for batch in readers.get(self.file.format, self._table)(n_bytes):
                if not batch.texts:
                    continue
                if first:
                    self.refuse_if_all_are_bad(batch)
                first = False
                yield batch

    def _lines(self, n_bytes: int) -> Iterator[RecordBatch]:
        number = 1
        for lines, errors in self._decoded(n_bytes):
            errors = {i: f"{self.file.name}:{number + i}: {why}" for i, why in errors.items()}
            yield RecordBatch(lines, errors=errors, first=number)
            number += len(lines)

    def _objects(self, n_bytes: int) -> Iterator[RecordBatch]:
        if self.file.format == "json" and is_array(self.file):
            yield from self._array(n_bytes)
            return
        number = 0
        for lines, errors in self._decoded(n_bytes):
            batch = RecordBatch(rows=[])
            for i, line in enumerate(lines):
                number += 1
                if not (line := line.strip()) and i not in errors:
                    continue
                row, why = (None, errors[i]) if i in errors else json_object(line)
                line = self._strict(line, row)
                self._add(batch, row, line, self._name, f"{self.file.name}:{number}", why)
            yield batch

    def _array(self, n_bytes: int) -> Iterator[RecordBatch]:
        with open_text(self.file) as text:
            batch, weight = RecordBatch(rows=[]), 0
            for where, value, written in array_items(self.file, text):
                row, why = as_object(value)
                written = self._strict(written, row)
                self._add(batch, row, written, self._name, where, why)
                weight += len(written)
                if weight >= n_bytes:
                    yield batch
                    batch, weight = RecordBatch(rows=[]), 0
            yield batch

    def _table(self, n_bytes: int) -> Iterator[RecordBatch]:
        with self._open() as stream:
            refuse_binary(self.file.name, stream.peek(HEAD)[:HEAD])
            # Bytes that are no UTF-8 come through as lone surrogates, which UTF-8 itself can't hold.
            text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")
            table = Table(self.file.name, self.file.format, text)
            if is_broken("".join(table.header)):
                refuse_encoding(self.file.name, "its header")
            self.header, self.delimiter, rows = table.header, table.delimiter, table.rows()
            if len(self.header) == len(self._columns) and not set(self.header) & set(self._columns):
                self.header, rows = list(self._columns), chain([(1, table.header, None)], rows)
            name = self._column(self.header)
            for column in self.header if self._whole else ():
                refuse_doubled(self.file.name, self.header, column)
            batch, weight = RecordBatch(rows=[]), 0
            for line, cells, why in rows:
                joined = "".join(cells)
                if why is None and is_broken(joined):
                    why = "not UTF-8"
                row = dict(zip(self.header, cells, strict=True)) if why is None else None
                self._add(batch, row, self._as_json(row), name, f"{self.file.name}:{line}", why)
                if self._whole:
                    batch.cells.append(cells if row is not None else [])
                weight += len(joined)
                if weight >= n_bytes:
                    yield batch
                    batch, weight = RecordBatch(rows=[]), 0
            yield batch

    def _parquet(self, n_bytes: int) -> Iterator[RecordBatch]:
        with open_parquet(self.file) as table:
            names = table.schema_arrow.names
            name = self._words if self._words in names else self._column(names, text_columns(table))
            assert name is not None
            number = 0
            batch, weight = RecordBatch(rows=[]), 0
            columns = None if self._whole else [name]
            for rows in table.iter_batches(batch_size=PARQUET_ROWS, columns=columns):
                for row, why in _parquet_rows(rows):
                    number += 1
                    self._add(batch, row, self._as_json(row), name, f"{self.file.name}: row {number}", why)
                    weight += len(batch.texts[-1])
                self._share = number / table.metadata.num_rows
                if weight >= n_bytes:
                    yield batch
                    batch, weight = RecordBatch(rows=[]), 0
            yield batch

    def _add(
        self,
        batch: RecordBatch,
        row: dict[str, Any] | None,
        as_json: str,
        name: str,
        where: str,
        why: str | None,
    ) -> None:
        """Add one record, bad when there is a `why` or its text is missing."""
        assert batch.rows is not None
        text: Any = ""
        if row is not None:
            name = self._words if self._words is not None and self._words in row else name
            text = row.get(name)
            if isinstance(text, str):
                text = whole_characters(text)
            elif self._words and isinstance(text, list) and all(isinstance(word, str) for word in text):
                batch.words[len(batch.texts)] = [whole_characters(word) for word in text]
                text = " ".join(text)
            else:
                why = _missing(name, row)
                text = ""
            if not self._reserved.isdisjoint(row):
                batch.fields[len(batch.texts)] = frozenset(row)
        if why is not None:
            batch.errors[len(batch.texts)] = f"{where}: {why}"
        batch.texts.append(text)
        batch.rows.append(as_json if row is not None else "")

    def _as_json(self, row: dict[str, Any] | None) -> str:
        """A row, if it is wanted: what JSON lacks (dates, decimals) as Python writes it, NaN as null."""
        if row is None or not self._whole:
            return ""
        try:
            return json.dumps(row, default=str, ensure_ascii=False, allow_nan=False)
        except ValueError:
            return json.dumps(finite(row), default=str, ensure_ascii=False)

    def _strict(self, written: str, row: dict[str, Any] | None) -> str:
        """An object as it was written, but for NaN and the infinities, which Python reads and JSON has not."""
        named = row is not None and self._whole and ("NaN" in written or "Infinity" in written)
        return self._as_json(row) if named else written

    def _decoded(self, n_bytes: int) -> Iterator[tuple[list[str], dict[int, str]]]:
        """Lines without their ends, and what is wrong with those that are no UTF-8, which are ""."""
        with self._open() as stream:
            read = stream.read1 if self.size is None else stream.read  # what a pipe has now, not a megabyte
            block = read(n_bytes)
            while block and codecs.BOM_UTF8.startswith(block) and (more := read(n_bytes)):
                block += more  # a pipe may give the mark alone
            block = block.removeprefix(codecs.BOM_UTF8)
            refuse_binary(self.file.name, block[:HEAD])
            begun: list[bytes] = []
            while block:
                cut = block.rfind(b"\n")
                if cut >= 0:
                    yield _decode(b"".join([*begun, block[:cut]]))
                    begun = []
                begun.append(block[cut + 1 :])
                block = read(n_bytes)
            if last := b"".join(begun):
                yield _decode(last)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        """The file's bytes, decompressed."""
        if self.file.path is None:
            yield sys.stdin.buffer
            return
        with self.file.path.open("rb", buffering=0) as self._raw:
            yield decompressed(self._raw, self.file.compression)

    def _column(self, header: list[str], texts: list[str] | None = None) -> str:
        """The column that holds the text."""
        asked = {"text": self._field} if self._field is None else {"text": self._field, **self._also}
        return choose_columns(self.file.name, asked, header, texts, COLUMNS_SHOWN)["text"]

    def refuse_if_all_are_bad(self, batch: RecordBatch) -> None:
        """A misspelled --field is a mistake, not a billion bad records."""
        if len(batch.texts) < ENOUGH or len(batch.errors) < len(batch.texts):
            return
        raise UserError(f"all of the first {len(batch.texts)} records are bad; {batch.errors[0]}")


def open_records(
    file: str,
    field: str | None = None,
    *,
    whole: bool = False,
    reserved: frozenset[str] = frozenset(),
    columns: tuple[str, ...] = (),
    also: dict[str, str] | None = None,
    words: str | None = None,
) -> Records:
    """The records of `file`.

    Args:
        file: a path, or - for standard input.
        field: which field or column holds the text.
        whole: whether `RecordBatch.rows` of tables are wanted with all their columns.
        reserved: names that records should not have; see `RecordBatch.fields`.
        words: which field or column holds, where it is there, a list of words in place of a text.
        also: which other columns a table must have, by what they are for.
        columns: what the columns of a table are called that has so many and no header: a first line with none of these.

    Raises UserError when there is no such file, or its format does not fit.
    """
    if file == "-":
        stdin = File(STDIN, None, "text" if field is None else "jsonl", "")
        return Records(stdin, field, whole, reserved, columns, also, words)
    path = Path(os.path.expanduser(file))
    try:
        if path.is_dir():
            raise UserError(f"{file} is a folder; give one file")
        if not path.exists():
            beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
            raise UserError(f"there is no file {file}{nearest(path.name, beside)}")
        is_pipe = not path.is_file()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from error
    suffix, compression = split_suffixes(path)
    format = ROW_FORMATS.get(suffix, "text")
    if format == "parquet" and (compression or is_pipe):
        raise UserError(f"{file}: Parquet is read from its end and packs its columns itself; unpack it first")
    if field is not None and format == "text":
        if not is_pipe:
            raise UserError(
                f"--field {field} does not fit: {file} is plain text (with fields: {', '.join(ROW_FORMATS)})"
            )
        format = "jsonl"
    return Records(File(file, path, format, compression), field, whole, reserved, columns, also, words)


def _missing(name: str, row: dict[str, Any]) -> str:
    if name in row:
        return f"field {name!r} is {type(row[name]).__name__}, not text"
    present = ", ".join(list(row)[:5])
    return f"no field {name!r} (there are: {present[:100]})" if present else f"no field {name!r}"


def _decode(block: bytes) -> tuple[list[str], dict[int, str]]:
    try:
        text = block.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        lines = text.split("\n")
        return [line.removesuffix("\r") for line in lines] if "\r" in text else lines, {}
    lines, errors = [], {}
    for number, line in enumerate(block.split(b"\n")):
        try:
            lines.append(line.removesuffix(b"\r").decode("utf-8"))
        except UnicodeDecodeError as error:
            lines.append("")
            errors[number] = f"not UTF-8 at byte {error.start} of the line"
    return lines, errors


def _parquet_rows(batch: Any) -> Iterator[tuple[dict[str, Any] | None, str | None]]:
    """Each row of a Parquet batch, or what is wrong with it."""
    try:
        yield from ((row, None) for row in batch.to_pylist())
    except UnicodeDecodeError:
        for i in range(batch.num_rows):
            try:
                yield batch.slice(i, 1).to_pylist()[0], None
            except UnicodeDecodeError:
                yield None, "not UTF-8"
