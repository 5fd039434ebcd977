"""Texts to score, with the records they come from, read from a file or a pipe a megabyte at a time.

    plain text           a record is a line
    .jsonl, .ndjson      an object a line; its field `text`, or --field
    .csv, .tsv           a row; its column `text`, or --field, or the only one
    .parquet             the same
    -, or a pipe         lines; with --field, JSON lines

All but Parquet also as .gz and .zst. Unlike `rung.text.sources`, which reads text to learn from and refuses what is
broken, this reads what the web leaves behind: a bad record is marked with what is wrong, and reading goes on. Every
line of a file of lines is one record, empty ones too, so that line numbers stay.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import math
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from rung.errors import UserError, nearest

BATCH_BYTES = 1 << 20
PACKED = (".gz", ".zst")
JSON_LINES = (".jsonl", ".ndjson")
FORMATS = {
    **dict.fromkeys(JSON_LINES, "JSON lines"),
    ".csv": "CSV",
    ".tsv": "TSV",
    ".parquet": "Parquet",
}
LONGEST_CELL = 1 << 27  # characters; a quote that is never closed would swallow the rest of a table
ROWS_AT_ONCE = 1024
ENOUGH = 10  # records to judge a whole file by


@dataclass(frozen=True)
class Batch:
    """Records in order.

    texts: the text of each; "" for a bad one.
    rows: each as one JSON object, or "" where there is none to be had; None for lines of plain text.
    errors: what is wrong, and where, for each bad one, by its place in the batch.
    fields: the names of its fields, for each that has a name among `watched`, by its place in the batch.
    """

    texts: list[str] = field(default_factory=list)
    rows: list[str] | None = None
    errors: dict[int, str] = field(default_factory=dict)
    fields: dict[int, frozenset[str]] = field(default_factory=dict)


class Records:
    """The records of one file, to be read once.

    Attributes:
        name: what messages call the file.
        size: its bytes, packed as they are; None for a pipe.
        plain: whether records are lines of plain text.
    """

    def __init__(
        self, name: str, path: Path | None, format: str, packing: str, field: str | None, whole: bool
    ) -> None:
        self.name = name
        self.size = None if path is None or not path.is_file() else path.stat().st_size
        self.plain = format == "text"
        self.path = path
        self._format = format
        self._packing = packing
        self._field = field
        self._whole = whole
        self._raw: BinaryIO | None = None
        self._share = 0.0

    @property
    def position(self) -> int:
        """How many of the file's bytes have been read, packed as they are; 0 for a pipe."""
        if self.size is None or self._raw is None or self._raw.closed:
            return 0
        return int(self._share * self.size) if self._format == "Parquet" else self._raw.tell()

    def batches(self, n_bytes: int = BATCH_BYTES, watched: frozenset[str] = frozenset()) -> Iterator[Batch]:
        """The records, about `n_bytes` of text at a time; see `Batch.fields` for `watched`.

        Raises UserError when the file as a whole can't be read, or its first thousands of records are all bad.
        """
        readers = {"text": self._lines, "JSON lines": self._objects, "Parquet": self._parquet}
        with self._reading():
            for number, batch in enumerate(readers.get(self._format, self._table)(n_bytes, watched)):
                if number == 0:
                    self._refuse_if_all_are_bad(batch)
                yield batch

    def _lines(self, n_bytes: int, watched: frozenset[str]) -> Iterator[Batch]:
        number = 1
        for lines, errors in self._decoded(n_bytes):
            yield Batch(lines, errors={i: f"{self.name}:{number + i}: {why}" for i, why in errors.items()})
            number += len(lines)

    def _objects(self, n_bytes: int, watched: frozenset[str]) -> Iterator[Batch]:
        name = "text" if self._field is None else self._field
        number = 0
        for lines, errors in self._decoded(n_bytes):
            batch = Batch(rows=[])
            for i, line in enumerate(lines):
                number += 1
                row: Any = None
                why = errors.get(i)
                if why is None:
                    try:
                        row = json.loads(line)
                    except json.JSONDecodeError as error:
                        why = f"not JSON: {error.msg} at column {error.colno}"
                    except (ValueError, RecursionError) as error:
                        why = f"not JSON that can be read: {error}"
                    else:
                        if not isinstance(row, dict):
                            why = f"not an object but {type(row).__name__}"
                _add(
                    batch,
                    row if why is None else None,
                    line.strip(),
                    name,
                    f"{self.name}:{number}",
                    why,
                    watched,
                )
            yield batch

    def _table(self, n_bytes: int, watched: frozenset[str]) -> Iterator[Batch]:
        # The module's limit on a cell can be set only for the whole process.
        csv.field_size_limit(LONGEST_CELL)
        with self._open() as stream:
            # Bytes that are no UTF-8 come through as lone surrogates, which UTF-8 itself can't hold.
            text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")
            reader = csv.reader(text, delimiter="\t" if self._format == "TSV" else ",", strict=True)
            try:
                columns = next(reader, [])
            except csv.Error as error:
                raise UserError(f"{self.name}:1: no header that can be read: {error}") from None
            name = self._column(columns)
            batch, weight = Batch(rows=[]), 0
            while True:
                row: dict[str, str] | None = None
                why = None
                try:
                    cells = next(reader, None)
                except csv.Error as error:
                    why = f"not a row: {error}"
                else:
                    if cells is None:
                        break
                    if not cells:
                        continue
                    weight += sum(map(len, cells))
                    if len(cells) != len(columns):
                        why = f"{len(cells)} columns, but the header has {len(columns)}"
                    elif _is_broken("".join(cells)):
                        why = "not UTF-8"
                    else:
                        row = dict(zip(columns, cells, strict=True))
                spelled = _spelled(row) if self._whole and row is not None else ""
                _add(batch, row, spelled, name, f"{self.name}:{reader.line_num}", why, watched)
                if weight >= n_bytes:
                    yield batch
                    batch, weight = Batch(rows=[]), 0
            if batch.texts:
                yield batch

    def _parquet(self, n_bytes: int, watched: frozenset[str]) -> Iterator[Batch]:
        import pyarrow
        from pyarrow import parquet

        assert self.path is not None
        with self.path.open("rb") as self._raw:
            try:
                table = parquet.ParquetFile(self._raw)
                strings = [column.name for column in table.schema_arrow if _is_string(column.type)]
                name = self._column(strings, table.schema_arrow.names)
                number = 0
                batch, weight = Batch(rows=[]), 0
                taken = None if self._whole else [name]
                for rows in table.iter_batches(batch_size=ROWS_AT_ONCE, columns=taken):
                    for row, why in _rows(rows):
                        number += 1
                        spelled = _spelled(row) if self._whole and row is not None else ""
                        _add(batch, row, spelled, name, f"{self.name}: row {number}", why, watched)
                        weight += len(batch.texts[-1])
                    self._share = number / table.metadata.num_rows
                    if weight >= n_bytes:
                        yield batch
                        batch, weight = Batch(rows=[]), 0
                if batch.texts:
                    yield batch
            except pyarrow.ArrowException as error:
                raise UserError(f"{self.name} is no Parquet file that can be read: {error}") from error

    def _decoded(self, n_bytes: int) -> Iterator[tuple[list[str], dict[int, str]]]:
        """Lines without their ends, and what is wrong with those that are no UTF-8, which are ""."""
        with self._open() as stream:
            read = stream.read1 if self.size is None else stream.read  # what a pipe has now, not a megabyte
            block = read(n_bytes).removeprefix(codecs.BOM_UTF8)
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
        """The file's bytes, unpacked."""
        if self.path is None:
            yield sys.stdin.buffer
            return
        with self.path.open("rb", buffering=0) as self._raw:
            unpacked: Any = self._raw
            if self._packing == ".gz":
                unpacked = gzip.GzipFile(fileobj=self._raw, mode="rb")
            elif self._packing == ".zst":
                import pyarrow

                unpacked = pyarrow.CompressedInputStream(pyarrow.PythonFile(self._raw, "r"), "zstd")
            yield io.BufferedReader(unpacked, BATCH_BYTES)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn what can go wrong below `read` into one line."""
        try:
            yield
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{self.name} is cut short or damaged: {error}") from error
        except OSError as error:
            if self._packing and error.errno is None:  # so pyarrow reports a broken .zst
                raise UserError(f"{self.name} is cut short or damaged: {error}") from error
            raise UserError(f"cannot read {self.name}: {error.strerror or error}") from error

    def _column(self, columns: list[str], others: list[str] | None = None) -> str:
        """The column that holds the text: the one asked for, `text`, or the only one."""
        if self._field is None and len(columns) == 1:
            return columns[0]
        name = "text" if self._field is None else self._field
        if name not in columns:
            what = f"column {name!r} is not text" if name in (others or ()) else f"no column {name!r}"
            raise UserError(f"{self.name}: {what}{_choose(name, columns)}")
        return name

    def _refuse_if_all_are_bad(self, batch: Batch) -> None:
        """A misspelled --field is a mistake, not a billion bad records."""
        if len(batch.texts) < ENOUGH or len(batch.errors) < len(batch.texts):
            return
        raise UserError(f"all of the first {len(batch.texts)} records are bad; {batch.errors[0]}")


def open_records(file: str, field: str | None = None, *, whole: bool = False) -> Records:
    """The records of `file`.

    Args:
        file: a path, or - for standard input.
        field: which field or column holds the text.
        whole: whether `Batch.rows` of tables are wanted with all their columns.

    Raises UserError when there is no such file, or its format does not fit.
    """
    if file == "-":
        return Records("standard input", None, "text" if field is None else "JSON lines", "", field, whole)
    path = Path(file).expanduser()
    try:
        if path.is_dir():
            raise UserError(f"{file} is a folder; give one file")
        if not path.exists():
            beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
            raise UserError(f"there is no file {file}{nearest(path.name, beside)}")
        is_pipe = not path.is_file()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from error
    packing, suffix = suffixes(path)
    format = FORMATS.get(suffix, "text")
    if format == "Parquet" and (packing or is_pipe):
        raise UserError(f"{file}: Parquet is read from its end and packs its columns itself; unpack it first")
    if field is not None and format == "text":
        if not is_pipe:
            raise UserError(
                f"--field {field} does not fit: {file} is plain text (with fields: {', '.join(FORMATS)})"
            )
        format = "JSON lines"
    return Records(file, path, format, packing, field, whole)


def suffixes(path: Path) -> tuple[str, str]:
    """How the file is packed ("", .gz or .zst), and the suffix before that."""
    packing = path.suffix.lower() if path.suffix.lower() in PACKED else ""
    return packing, Path(path.stem).suffix.lower() if packing else path.suffix.lower()


def _add(
    batch: Batch,
    row: dict[str, Any] | None,
    spelled: str,
    name: str,
    where: str,
    why: str | None,
    watched: frozenset[str],
) -> None:
    """Add one record, bad when there is a `why` or its text is missing."""
    assert batch.rows is not None
    text: Any = ""
    if row is not None:
        text = row.get(name)
        if not isinstance(text, str):
            why = _missing(name, row)
            text = ""
        elif not text.isascii() and _is_broken(text):  # a JSON escape can spell half a character
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if not watched.isdisjoint(row):
            batch.fields[len(batch.texts)] = frozenset(row)
    if why is not None:
        batch.errors[len(batch.texts)] = f"{where}: {why}"
    batch.texts.append(text)
    batch.rows.append(spelled if row is not None else "")


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


def _is_broken(text: str) -> bool:
    """Whether `text` holds half a character."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _rows(batch: Any) -> Iterator[tuple[dict[str, Any] | None, str | None]]:
    """Each row of a Parquet batch, or what is wrong with it."""
    try:
        yield from ((row, None) for row in batch.to_pylist())
    except UnicodeDecodeError:
        for i in range(batch.num_rows):
            try:
                yield batch.slice(i, 1).to_pylist()[0], None
            except UnicodeDecodeError:
                yield None, "not UTF-8"


def _spelled(row: dict[str, Any]) -> str:
    """A row as JSON: what JSON lacks (dates, decimals) as Python writes it, numbers that are none as null."""
    try:
        return json.dumps(row, default=str, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(row), default=str, ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_string(kind: Any) -> bool:
    from pyarrow import types

    value = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_string(value) or types.is_large_string(value) or types.is_string_view(value)


def _choose(name: str, present: list[str]) -> str:
    if not present:
        return "; there is none"
    return (
        f"{nearest(name, present)} (there are: {', '.join(map(str, present[:20]))}); choose one with --field"
    )
