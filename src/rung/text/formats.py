"""What a file is by its name, and its bytes as text: decompressed, UTF-8, bad bytes named by their place.

Text is what decodes as UTF-8 and is not full of control characters. It comes out as it stands in the file: a byte order
mark at the start is dropped, line ends are not translated.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, NoReturn

from rung.errors import UserError

BUFFER = 1 << 20
ROW_FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
COMPRESSED = (".gz", ".zst")
STDIN = "standard input"
"""What messages call it."""
ACCEPTED = "UTF-8 text, .jsonl, .json, .csv, .tsv or .parquet, each also as .gz or .zst"


@dataclass(frozen=True)
class File:
    """A file to read.

    Attributes:
        name: what messages call it.
        path: None for standard input.
        format: text, jsonl, json, csv, tsv or parquet.
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


@contextmanager
def open_text(file: File, newline: str = "\n") -> Iterator[io.TextIOWrapper]:
    """The file's characters. Raises UserError, now or inside the block, where they are no text.

    Args:
        newline: what ends a line; "" for any of line feed, carriage return, and both. None is translated.
    """
    with open_file(file) as stream:
        refuse_binary(file.name, stream.peek(HEAD)[:HEAD])
        with io.TextIOWrapper(stream, "utf-8", newline=newline) as text:
            try:
                yield text
            except UnicodeDecodeError:
                _refuse_encoding(file)


def plain_documents(file: File, mode: str) -> Iterator[str]:
    """The documents of plain text: its lines, its paragraphs, or all of it; empty ones too."""
    with open_text(file) as text:
        if mode == "lines":
            for line in text:
                yield line.removesuffix("\n").removesuffix("\r")
        elif mode == "paragraphs":
            paragraph: list[str] = []
            for line in text:
                if line.strip():
                    paragraph.append(line)
                elif paragraph:
                    yield "".join(paragraph).rstrip("\r\n")
                    paragraph = []
            yield "".join(paragraph).rstrip("\r\n")
        else:
            yield text.read()


def require_text(file: File) -> None:
    """Raises UserError unless all of a file is text."""
    with reading(file), open_text(file) as text:
        while text.read(BUFFER):
            pass


def refuse_binary(name: str, head: bytes) -> None:
    """Raises UserError when a file that begins with `head`, its first HEAD bytes, is no text.

    Text may hold control characters that no text needs, zero bytes too, but few: MOST_CONTROLS, or one byte in 100.
    """
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            raise UserError(f"{name} is {encoding}; convert it: {_convert(encoding, name)}")
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if controls > max(MOST_CONTROLS, len(head) // 100):
        place = next(place for place, byte in enumerate(head) if byte in _CONTROLS)
        _refuse(name, f"byte {place} is 0x{head[place]:02x}")


def _refuse_encoding(file: File) -> NoReturn:
    """Raise UserError that names the first byte where the file stops being UTF-8."""
    assert file.path is not None
    decoder = codecs.getincrementaldecoder("utf-8")()
    with file.path.open("rb", buffering=0) as raw, decompressed(raw, file.compression) as stream:
        offset = 0
        while True:
            block = stream.read(BUFFER)
            kept = len(decoder.getstate()[0])
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                place, data = error.start, error.object
                where = f"byte {offset - kept + place} is 0x{data[place]:02x}"
                around = data[max(place - HEAD, 0) : place + HEAD]
                if len(around) > len(around.translate(None, _CONTROLS)):
                    _refuse(file.name, where)
                refuse_encoding(file.name, where)
            offset += len(block)


def refuse_encoding(name: str, where: str) -> NoReturn:
    """Raise UserError for a file that is no UTF-8, and say where not."""
    raise UserError(
        f"{name} is not UTF-8 ({where}); if it is Latin-1, convert it: {_convert('latin1', name)}"
    ) from None


def _refuse(name: str, where: str) -> NoReturn:
    raise UserError(f"{name} is binary, not text ({where}); accepted: {ACCEPTED}")


def _convert(encoding: str, name: str) -> str:
    """The command that writes a file as UTF-8 beside itself, under a name that says the same of what it holds."""
    if name == STDIN:
        return f"iconv -t utf-8 -f {encoding}"
    path = Path(name)
    suffix, compression = split_suffixes(path)
    stem = path.name[: len(path.name) - len(suffix + compression)]
    unpack = {"": "", ".gz": f"gzip -dc {quote(name)} | ", ".zst": f"zstd -dc {quote(name)} | "}[compression]
    source = "" if unpack else f" {quote(name)}"
    return (
        f"{unpack}iconv -t utf-8 -f {encoding}{source} > {quote(str(path.with_name(f'{stem}.utf8{suffix}')))}"
    )


HEAD = 8192
# The first of UTF-32's begins as one of UTF-16's does.
MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
MOST_CONTROLS = 8
_CONTROLS = bytes(byte for byte in range(32) if byte not in b"\t\n\v\f\r\x1b")
