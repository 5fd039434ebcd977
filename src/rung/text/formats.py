"""How a file becomes documents or rows: plain text, JSON lines, tables; packed or not; bad bytes named by place.

Text comes out as it stands in the file: a byte order mark at the start is dropped, line ends are not translated.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

from rung.errors import UserError, nearest

BUFFER = 1 << 20
ACCEPTED = "UTF-8 text, .jsonl, .csv, .tsv or .parquet, each also as .gz or .zst"


@dataclass(frozen=True)
class File:
    """A file to read. `name` is what messages call it."""

    name: str
    path: Path
    format: str  # text, jsonl, csv, tsv, parquet
    packing: str  # "", .gz, .zst


@contextmanager
def reading(file: File) -> Iterator[None]:
    """Turn what can go wrong below `read` into one line."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{file.name} is cut short or damaged: {error}") from error
    except OSError as error:
        if file.packing and error.errno is None:  # so pyarrow reports a broken .zst
            raise UserError(f"{file.name} is cut short or damaged: {error}") from error
        raise UserError(f"cannot read {file.name}: {error.strerror or error}") from error


def open_file(file: File) -> io.BufferedReader:
    """The file's bytes, unpacked, from after a byte order mark."""
    raw: Any
    if file.packing == ".gz":
        raw = gzip.GzipFile(file.path, "rb")
    elif file.packing == ".zst":
        import pyarrow

        # Opened by Python first, so that a missing file or permission is an ordinary OSError.
        raw = pyarrow.CompressedInputStream(pyarrow.PythonFile(file.path.open("rb"), "r"), "zstd")
    else:
        raw = file.path.open("rb", buffering=0)
    stream = io.BufferedReader(raw, BUFFER)
    if stream.peek(3)[:3] == b"\xef\xbb\xbf":
        stream.read(3)
    return stream


def plain_documents(file: File, mode: str) -> Iterator[str]:
    with open_file(file) as stream:
        decode = _Decoder(file, stream)
        if mode == "lines":
            for line in stream:
                yield decode(line).removesuffix("\n").removesuffix("\r")
        elif mode == "paragraphs":
            paragraph: list[str] = []
            for line in stream:
                text = decode(line)
                if text.strip():
                    paragraph.append(text)
                elif paragraph:
                    yield "".join(paragraph).rstrip("\r\n")
                    paragraph = []
            yield "".join(paragraph).rstrip("\r\n")
        else:
            yield decode(stream.read())


class _Decoder:
    """Bytes of one file, in order, to text; knows how far it is, to say where the file stops being UTF-8."""

    def __init__(self, file: File, stream: io.BufferedReader) -> None:
        self._name = file.name
        self._offset = stream.tell() if not file.packing else 0
        self._head = stream.peek(1)[:_HEAD]

    def __call__(self, data: bytes, *, nul: bool = False) -> str:
        """`data` as text. A zero byte says that the file is no text, unless `nul`."""
        zero = -1 if nul else data.find(b"\0")
        if zero >= 0:
            self._refuse(data, zero)
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            self._refuse(data, error.start)
        self._offset += len(data)
        return text

    def _refuse(self, data: bytes, position: int) -> NoReturn:
        where = f"byte {self._offset + position} is 0x{data[position]:02x}"
        convert, files = "iconv -t utf-8 -f", f"{self._name} > {self._name}.utf8"
        if self._head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise UserError(f"{self._name} is UTF-16; convert it: {convert} utf-16 {files}")
        if _CONTROL.search(self._head) or _CONTROL.search(data, max(position - _HEAD, 0), position + _HEAD):
            raise UserError(f"{self._name} is binary, not text ({where}); accepted: {ACCEPTED}")
        raise UserError(
            f"{self._name} is not UTF-8 ({where}); if it is Latin-1, convert it: {convert} latin1 {files}"
        )


_HEAD = 8192
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def _jsonl(file: File, field: str | None) -> Iterator[str]:
    field = "text" if field is None else field
    with open_file(file) as stream:
        decode = _Decoder(file, stream)
        for number, line in enumerate(stream, 1):
            text = decode(line)
            if not text.strip():
                continue
            where = f"{file.name}:{number}"
            try:
                row = json.loads(text)
            except json.JSONDecodeError as error:
                raise UserError(f"{where}: not JSON: {error.msg} at column {error.colno}") from None
            except (ValueError, RecursionError) as error:
                raise UserError(f"{where}: not JSON that can be read: {error}") from None
            if not isinstance(row, dict):
                raise UserError(
                    f"{where}: an object with a field {field!r} is needed, not {type(row).__name__}"
                )
            if field not in row:
                raise UserError(f"{where}: no field {field!r}{choose(field, row)}")
            yield text_or_nothing(row[field], where, field)


def _csv(file: File, field: str | None) -> Iterator[str]:
    # The module's limit on a field, 131,072 characters, can be lifted only for the whole process.
    csv.field_size_limit(max(csv.field_size_limit(), 2**31 - 1))
    with open_file(file) as stream:
        decode = _Decoder(file, stream)
        reader = csv.reader(
            (decode(line) for line in stream), delimiter="\t" if file.format == "tsv" else ",", strict=True
        )
        try:
            columns = next(reader, [])
            column = columns.index(_pick(file, field, columns))
            for row in reader:
                if row and len(row) <= column:
                    where = f"{file.name}:{reader.line_num}"
                    raise UserError(
                        f"{where}: {len(row)} columns, but {columns[column]!r} is number {column + 1}"
                    )
                yield row[column] if row else ""
        except csv.Error as error:
            raise UserError(f"{file.name}:{reader.line_num}: not a row: {error}") from error


def _parquet(file: File, field: str | None) -> Iterator[str]:
    import pyarrow
    from pyarrow import parquet

    with tempfile.TemporaryFile() if file.packing else file.path.open("rb") as stream:
        if file.packing:  # Parquet is read from its end
            with open_file(file) as packed:
                shutil.copyfileobj(packed, stream, BUFFER)
        try:
            table = parquet.ParquetFile(cast(Any, stream))
            columns = [column.name for column in table.schema_arrow if _is_string(column.type)]
            name = _pick(file, field, columns, table.schema_arrow.names)
            for batch in table.iter_batches(batch_size=256, columns=[name]):
                for value in batch.column(0):
                    yield text_or_nothing(value.as_py(), file.name, name)
        except (pyarrow.ArrowException, UnicodeDecodeError) as error:
            raise UserError(f"{file.name} is no Parquet file that can be read: {error}") from error


def _is_string(kind: Any) -> bool:
    from pyarrow import types

    value = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_string(value) or types.is_large_string(value) or types.is_string_view(value)


READERS: dict[str, Callable[[File, str | None], Iterator[str]]] = {
    "jsonl": _jsonl,
    "csv": _csv,
    "tsv": _csv,
    "parquet": _parquet,
}


def _pick(file: File, field: str | None, columns: list[str], others: list[str] | None = None) -> str:
    """The column that holds the text: the one asked for, `text`, or the only one."""
    if field is None and len(columns) == 1:
        return columns[0]
    name = "text" if field is None else field
    if name in columns:
        return name
    if others is not None and name in others:
        raise UserError(f"{file.name}: column {name!r} is not text{choose(name, columns)}")
    raise UserError(f"{file.name}: no column {name!r}{choose(name, columns)}")


def choose(field: str, present: Any) -> str:
    if not present:
        return "; there is none"
    return f"{nearest(field, present)} (there are: {', '.join(map(str, present))}); choose one with --field"


def text_or_nothing(value: Any, where: str, field: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(f"{where}: field {field!r} is {type(value).__name__}, not text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value
