"""Files of word vectors, as others write them; which of them a file is shows by its beginning.

    GloVe             a word a line and its numbers, blanks between them; a word may hold blanks
    word2vec, text    the same behind a line with how many words and how many numbers there are; fastText's .vec, too
    word2vec, binary  that line; then of each word its bytes, a blank, its numbers as little-endian float32, and perhaps
                      a line feed

Bytes of a word that are no UTF-8 become U+FFFD. A word that is there twice counts once, as it first stands. Any may be
packed (.gz).
"""

from __future__ import annotations

import codecs
import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np

from rung.errors import UserError
from rung.files import atomic_path
from rung.opening import damaged, opening

HEADER = re.compile(rb"\s*(\d+)[ \t]+(\d+)\s*")
LONGEST_LINE = 1 << 22
LONGEST_WORD = 1 << 16
LINES_AT_ONCE = 1 << 14
FASTTEXT_MODEL = (0x2F4F16BA).to_bytes(4, "little")
WIDEST = 1 << 20


class VectorFile(NamedTuple):
    """What a file holds.

    words: N of them, each once, in order.
    vectors: (N, E) float32.
    format: glove, word2vec or word2vec-binary.
    repeated: how many words were there again and left out.
    """

    words: list[str]
    vectors: np.ndarray
    format: str
    repeated: int


def read_vectors(path: Path, most: int | None = None) -> VectorFile:
    """Read a file of vectors, or its first `most` words.

    Raises UserError naming the line, or the word, where it is none of these formats or is cut short.
    """
    if most is not None and most < 1:
        raise UserError(f"--most {most} is not possible: give 1 or more")
    if not path.exists():
        raise UserError(f"there is no file {path}")
    if path.is_dir():
        raise UserError(f"{path} is a folder and no run; give a file of vectors, or a run")
    with opening(path), _opened(path) as file:
        first = file.readline(LONGEST_LINE)
        if first.startswith(FASTTEXT_MODEL):
            raise damaged(path, "it is a whole fastText model (.bin); its vectors are in the .vec beside it")
        mark = codecs.BOM_UTF8 if first.startswith(codecs.BOM_UTF8) else b""
        first = first.removeprefix(mark)
        header = HEADER.fullmatch(first)
        if header is None:
            rows, kind, promised = _text_rows(file, first, _width_of(first), 0), "glove", None
        else:
            promised, width = int(header[1]), int(header[2])
            if not 0 < width <= WIDEST:
                raise ValueError(f"its first line says {width} numbers a word")
            second = file.readline(LONGEST_LINE)
            if _is_row(second, width):
                if len(second.split()) > width + 1 and _width_of(second) > width:
                    raise ValueError(
                        f"its first line says {width} numbers a word, and there are {_width_of(second)}"
                    )
                rows, kind = _text_rows(file, second, width, 1), "word2vec"
            elif promised and not second:
                raise ValueError(f"it is cut short: {promised:,} words are promised and none is there")
            else:
                file.seek(len(mark) + len(first))
                rows, kind = _binary_rows(file, width, promised), "word2vec-binary"
        return _gathered(rows, kind, promised, most)


def write_vectors(path: Path, words: list[str], vectors: np.ndarray) -> None:
    """Write word2vec's format: binary where the name ends in .bin, else text; packed where it ends in .gz.

    Words must not hold white space. Numbers are written so that they are read as the same float32.
    """
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    opened = gzip.open if path.suffix == ".gz" else open
    with atomic_path(path) as temporary, opened(temporary, "wb") as file:
        file.write(f"{len(words)} {vectors.shape[1]}\n".encode())
        for word, vector in zip(words, vectors, strict=True):
            if plain.suffix == ".bin":
                numbers = vector.astype("<f4").tobytes()
            else:
                numbers = " ".join([f"{number:.9g}" for number in vector.tolist()]).encode()
            file.write(word.encode("utf-8", "replace") + b" " + numbers + b"\n")


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _gathered(
    rows: Iterator[tuple[list[bytes], np.ndarray]], kind: str, promised: int | None, most: int | None
) -> VectorFile:
    words: dict[str, None] = {}
    kept: list[np.ndarray] = []
    n = 0
    for spelled, numbers in rows:
        if most is not None:
            spelled, numbers = spelled[: most - n], numbers[: most - n]
        n += len(spelled)
        if not np.isfinite(numbers).all():
            bad = int(np.argmin(np.isfinite(numbers).all(axis=1)))
            raise ValueError(
                f"the vector of {spelled[bad].decode('utf-8', 'replace')!r} holds a number that is none"
            )
        new = []
        for i, word in enumerate(spelled):
            text = word.decode("utf-8", "replace")
            if text not in words:
                words[text] = None
                new.append(i)
        kept.append(numbers if len(new) == len(spelled) else numbers[new])
        if n == most:
            break
    if promised is not None and most is None and n > promised:
        raise ValueError(f"it goes on behind the {promised:,} words promised: {n:,} are there")
    if promised is not None and n < (promised if most is None else min(promised, most)):
        raise ValueError(f"it is cut short: {promised:,} words are promised and {n:,} are there")
    if not words:
        raise ValueError("it holds no vector")
    return VectorFile(list(words), np.concatenate(kept), kind, n - len(words))


def _text_rows(
    file: IO[bytes], first: bytes, width: int, before: int
) -> Iterator[tuple[list[bytes], np.ndarray]]:
    """Rows in blocks; `first` is a line that was read already, behind `before` others."""
    line, number = first, before
    while line:
        words: list[bytes] = []
        numbers: list[float] = []
        while line and len(words) < LINES_AT_ONCE:
            number += 1
            if line.strip():
                fields = line.rsplit(None, width)
                try:
                    numbers += map(float, fields[1:])
                except ValueError:
                    fields = []
                if len(fields) != width + 1:
                    raise ValueError(
                        f"line {number} is no word and {width} numbers: {line[:40].decode('utf-8', 'replace')!r}"
                    )
                words.append(fields[0].strip(b" \t"))
            line = file.readline(LONGEST_LINE)
        if words:
            yield words, _as_float32(numbers).reshape(len(words), width)


def _as_float32(numbers: list[float]) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.array(numbers).astype(np.float32)


def _binary_rows(file: IO[bytes], width: int, n: int) -> Iterator[tuple[list[bytes], np.ndarray]]:
    data, place, rest = b"", 0, n
    while rest:
        words: list[bytes] = []
        numbers: list[np.ndarray] = []
        while rest and len(words) < LINES_AT_ONCE:
            blank = data.find(b" ", place, place + LONGEST_WORD)
            if blank < 0 or len(data) < blank + 1 + 4 * width:
                more = file.read(max(1 << 20, 8 * width))
                if not more:
                    raise ValueError(
                        f"it is cut short, or no file of word2vec: {n:,} words are promised, of {width} numbers each, "
                        f"and {n - rest:,} are there"
                    )
                data, place = data[place:] + more, 0
                continue
            words.append(data[place:blank].lstrip(b"\n"))
            numbers.append(np.frombuffer(data, "<f4", width, blank + 1))
            place = blank + 1 + 4 * width
            rest -= 1
        if words:
            yield words, np.stack(numbers).astype(np.float32)
    if (data[place:] + file.read(1 << 10)).strip():
        raise ValueError(
            f"it is no binary file of word2vec in float32: it goes on behind the {n:,} words promised"
        )


def _width_of(line: bytes) -> int:
    """How many numbers stand at the end of a line, behind a word."""
    fields: list[Any] = line.split()
    width = 0
    for field in reversed(fields[1:]):
        try:
            float(field)
        except ValueError:
            break
        width += 1
    if not width:
        raise ValueError(
            "it holds no vectors: its first line is neither a word and its numbers nor two counts "
            f"({line[:40].decode('utf-8', 'replace')!r})"
        )
    return width


def _is_row(line: bytes, width: int) -> bool:
    fields = line.rsplit(None, width)
    try:
        return len([float(field) for field in fields[1:]]) == width and len(fields) == width + 1
    except ValueError:
        return False
