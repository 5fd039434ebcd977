"""What a file is by its name, and its bytes as text: decompressed, UTF-8, bad bytes named by their place.

Text comes out as it stands in the file: a byte order mark at the start is dropped, line ends are not translated.
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from rung.errors import UserError

BUFFER = 1 << 20
ROW_FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
COMPRESSED = (".gz", ".zst")
ACCEPTED = "UTF-8 text, .jsonl, .csv, .tsv or .parquet, each also as .gz or .zst"


@dataclass(frozen=True)
class File:
    """A file to read.

    Attributes:
        name: what messages call it.
        path: None for standard input.
        format: text, jsonl, csv, tsv or parquet.
        compression: "", .gz or .zst.
    """

    name: str
    path: Path | None
    format: str
    compression: str


def split_suffixes(path: Path) -> tuple[str, str]:
    """The suffix that says what a file holds, and after it the one that says how it is compressed, or ""."""
    last = path.suffix.lower()
    return (Path(path.stem).suffix.lower(), last) if last in COMPRESSED else (last, "")


@contextmanager
def reading(file: File) -> Iterator[None]:
    """Turn what can go wrong below `read` into one line."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{file.name} is cut short or damaged: {error}") from error
    except OSError as error:
        if file.compression and error.errno is None:  # so pyarrow reports a broken .zst
            raise UserError(f"{file.name} is cut short or damaged: {error}") from error
        raise UserError(f"cannot read {file.name}: {error.strerror or error}") from error


def decompressed(raw: Any, compression: str) -> io.BufferedReader:
    """The bytes that the unbuffered file `raw` holds."""
    if compression == ".gz":
        raw = gzip.GzipFile(fileobj=raw, mode="rb")
    elif compression == ".zst":
        import pyarrow

        raw = pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, "r"), "zstd")
    return io.BufferedReader(raw, BUFFER)


@contextmanager
def open_file(file: File) -> Iterator[io.BufferedReader]:
    """The file's bytes, decompressed, from after a byte order mark."""
    assert file.path is not None
    with file.path.open("rb", buffering=0) as raw, decompressed(raw, file.compression) as stream:
        if stream.peek(3)[:3] == codecs.BOM_UTF8:
            stream.read(3)
        yield stream


def plain_documents(file: File, mode: str) -> Iterator[str]:
    """The documents of plain text: its lines, its paragraphs, or all of it; empty ones too."""
    with open_file(file) as stream:
        decode = Utf8Decoder(file, stream)
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


class Utf8Decoder:
    """Bytes of one file, in order, to text; knows how far it is, to say where the file stops being UTF-8."""

    def __init__(self, file: File, stream: io.BufferedReader) -> None:
        self._name = file.name
        self._offset = stream.tell() if not file.compression else 0
        self._head = stream.peek(1)[:_HEAD]

    def __call__(self, data: bytes) -> str:
        """`data` as text. A zero byte says that the file is no text."""
        zero = data.find(b"\0")
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
