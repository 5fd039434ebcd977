"""Sentences of words with a tag each, as they are read.

.conllu                 ten columns a word, an empty line after a sentence, `# newdoc` where a document begins
                        (universaldependencies.org/format.html); the tag is UPOS, or another column; words of several
                        tokens (3-4) and empty nodes (3.1) are passed over
.conll, word TAB tag    2 to 10 columns a word, an empty line after a sentence, -DOCSTART- where a document begins; the
                        word is in the first column, or in the second where the first counts 1, 2, 3 ...; the tag is in
                        the last, or another
word/tag word/tag       a sentence a line, cut at white space and at the last slash
rows                    of .jsonl, .json or .parquet: a list of words, a list of as many tags, perhaps a group

The words are taken as they are given.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rung.errors import UserError
from rung.text.formats import File, open_text, reading, split_suffixes
from rung.text.records import read_rows, whole_characters
from rung.text.sources import Source, open_source

CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
DOCUMENT = "-DOCSTART-"
MOST_COLUMNS = 10
ROWS = ("jsonl", "json", "parquet")
LOOKED_AT = 1 << 16
ALIKE = 3
"""So many words of a text, all with a slash inside, are words with tags."""
NEEDED = "words with tags are needed: .conllu, .conll, lines of word/tag, lines of word TAB tag, or rows with lists"


@dataclass(frozen=True)
class TagColumns:
    """Which columns hold what: `words` and `tags` of rows, `column` of lines (None = UPOS, or the last one)."""

    words: str = "tokens"
    tags: str = "tags"
    group: str | None = None
    column: str | None = None


class Sentence(NamedTuple):
    """Words and as many tags, at least one; where it stands, for messages; the document it is of, None = not said."""

    words: list[str]
    tags: list[str]
    where: str
    document: str | None


class Sentences(NamedTuple):
    """N sentences as they were read.

    documents: (N,) which document each is of; None where the files mark none.
    """

    words: list[list[str]]
    tags: list[list[str]]
    documents: list[str] | None
    source: Source
    sha256: str


def read_sentences(data: str | Path, columns: TagColumns, sha256: str | None = None) -> Sentences:
    """The sentences of files. A folder's files are documents, unless they mark some themselves.

    Raises UserError when there are none, tags don't match words, a word or a tag is empty, or a column is missing.
    """
    source = open_source(data, sha256=sha256)
    digest = hashlib.sha256()
    words: list[list[str]] = []
    tags: list[list[str]] = []
    documents: list[str | None] = []
    for file in source.files:
        with reading(file):
            for sentence in _of_file(file, columns):
                words.append(sentence.words)
                tags.append(sentence.tags)
                where = sentence.document
                documents.append(file.name if where is None and len(source.files) > 1 else where)
                for pair in zip(sentence.words, sentence.tags, strict=True):
                    digest.update("\t".join(pair).encode("utf-8", "surrogatepass") + b"\n")
                digest.update(b"\n")
    if not words:
        raise UserError(f"{data} holds no sentences; {NEEDED}")
    known = None if any(document is None for document in documents) else [str(one) for one in documents]
    return Sentences(words, tags, known, source, digest.hexdigest())


def is_tagged(data: str | Path) -> bool:
    """Whether `data` is a file, or a folder with files, whose first lines hold words with tags."""
    path = Path(data)
    try:
        if path.is_dir():
            path = next(
                (one for one in sorted(path.rglob("*")) if one.is_file() and one.name[0] != "."), path
            )
        if not path.is_file():
            return False
        suffix = split_suffixes(path)[0]
        if suffix in (".conllu", ".conll"):
            return True
        if suffix == ".jsonl":
            with path.open("rb") as file:
                first = file.readline(LOOKED_AT)
            return b'"tokens"' in first and b'"tags"' in first
        if suffix not in ("", ".txt", ".pos", ".tagged", ".tag", ".tsv", ".tt"):
            return False
        with path.open("rb") as file:
            lines = file.read(LOOKED_AT).decode("utf-8", "replace").splitlines()[:-1]
    except OSError:
        return False
    filled = [line for line in lines if line.strip()]
    if suffix != ".tsv":
        cut = [word for line in filled[:20] for word in line.split()]
        if len(cut) >= ALIKE and all(re.fullmatch(r".*[^/].*/[^/\s]+|//[^/\s]+", word) for word in cut):
            return True
    return len(filled) < len(lines) and all(len(line.split("\t")) == 2 for line in filled) and bool(filled)


def words_of_file(name: str, columns: TagColumns) -> Iterator[list[str]]:
    """The words of each sentence of a file of columns, whatever its tags are. Raises UserError as `read_sentences`."""
    for file in open_source(name).files:
        with reading(file):
            for sentence in _of_file(file, columns):
                yield sentence.words


def _of_file(file: File, columns: TagColumns) -> Iterator[Sentence]:
    if file.format in ROWS:
        yield from _of_rows(file, columns)
        return
    with open_text(file) as text:
        lines = enumerate((line.rstrip("\r\n") for line in text), 1)
        suffix = split_suffixes(Path(file.name))[0]
        if suffix == ".conllu":
            yield from _checked(file, _columns(file, lines, columns.column, conllu=True))
            return
        first = next((pair for pair in lines if pair[1].strip()), None)
        if first is None:
            return
        rest = _chained(first, lines)
        if suffix == ".conll" or "\t" in first[1].strip():
            yield from _checked(file, _columns(file, rest, columns.column, conllu=False))
        else:
            if columns.column is not None:
                raise UserError(f"--column {columns.column} does not fit: {file.name} has no columns")
            yield from _checked(file, _slashed(file, rest))


def _chained(first: tuple[int, str], rest: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield first
    yield from rest


def _checked(file: File, sentences: Iterator[Sentence]) -> Iterator[Sentence]:
    for sentence in sentences:
        for word, tag in zip(sentence.words, sentence.tags, strict=True):
            if not word or not tag:
                what = "a tag without a word" if tag else f"the word {word!r} without a tag"
                raise UserError(f"{sentence.where} has {what}")
        yield sentence


def _of_rows(file: File, columns: TagColumns) -> Iterator[Sentence]:
    chosen: dict[str, str | None] = {"words": columns.words, "tags": columns.tags}
    if columns.group is not None:
        chosen["group"] = columns.group
    for number, row in enumerate(read_rows(file, chosen), 1):
        where = f"{file.name}: record {number}"
        words, tags = (_strings(row[key], where, chosen[key]) for key in ("words", "tags"))
        if len(words) != len(tags):
            raise UserError(f"{where} has {len(words)} words and {len(tags)} tags; give each word one tag")
        if words:
            document = str(row["group"]) if columns.group is not None else None
            yield from _checked(file, iter([Sentence(words, tags, where, document)]))


def _strings(values: Any, where: str, column: str | None) -> list[str]:
    if not isinstance(values, list | tuple):
        kind = "nothing" if values is None else type(values).__name__
        raise UserError(f"{where}: {column!r} is {kind}, not a list of words or tags")
    for value in values:
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise UserError(f"{where}: {column!r} holds {value!r}, which is no word")
    return [whole_characters(str(value)) for value in values]


def _slashed(file: File, lines: Iterator[tuple[int, str]]) -> Iterator[Sentence]:
    for number, line in lines:
        if not line.strip():
            continue
        where = f"{file.name}: line {number}"
        words, tags = [], []
        for one in line.split():
            word, slash, tag = one.rpartition("/")
            if not slash:
                raise UserError(f"{where}: {one!r} has no tag: word/tag is needed")
            words.append(word)
            tags.append(tag)
        yield Sentence(words, tags, where, None)


def _columns(
    file: File, lines: Iterator[tuple[int, str]], column: str | None, *, conllu: bool
) -> Iterator[Sentence]:
    rows: list[list[str]] = []
    begun, n_documents, width = 0, 0, 0
    for number, line in lines:
        where = f"{file.name}: line {number}"
        if not line.strip():
            if rows:
                yield _sentence(file, begun, rows, column, conllu, n_documents)
                rows = []
            continue
        if conllu and line.startswith("#"):
            n_documents += line.startswith("# newdoc")
            continue
        if line.startswith(DOCUMENT):
            n_documents += 1
            continue
        cells = line.split("\t") if "\t" in line else line.split()
        if conllu:
            if len(cells) != len(CONLLU):
                raise UserError(f"{where} has {len(cells)} columns; .conllu has {len(CONLLU)}, cut by tabs")
            if not cells[0].isdecimal():
                if not re.fullmatch(r"\d+[-.]\d+", cells[0]):
                    raise UserError(f"{where}: {cells[0]!r} is no number of a word")
                continue
        elif not 2 <= len(cells) <= MOST_COLUMNS:
            raise UserError(
                f"{where} has {len(cells)} column{'s' if len(cells) > 1 else ''}; 2 to {MOST_COLUMNS} are read: a word "
                "and its tag"
            )
        elif width and len(cells) != width:
            raise UserError(f"{where} has {len(cells)} columns, and the lines before have {width}")
        width = len(cells)
        if not rows:
            begun = number
        rows.append(cells)
    if rows:
        yield _sentence(file, begun, rows, column, conllu, n_documents)


def _sentence(
    file: File, begun: int, rows: list[list[str]], column: str | None, conllu: bool, n_documents: int
) -> Sentence:
    width = len(rows[0])
    if conllu:
        names = CONLLU[2:]
        if column is not None and column not in names:
            raise UserError(f"--column {column} is none of .conllu: {', '.join(names)}")
        word, tag = 1, CONLLU.index(column or "upos")
    else:
        numbered = width > 2 and [row[0] for row in rows] == [str(i) for i in range(1, len(rows) + 1)]
        word, tag = int(numbered), width - 1
        if column is not None:
            if not column.isdecimal() or not word + 2 <= int(column) <= width:
                raise UserError(
                    f"--column {column} does not fit: {file.name} has {width} columns; the tags are in one of "
                    f"{word + 2} to {width}"
                )
            tag = int(column) - 1
    return Sentence(
        [row[word].strip() for row in rows],
        [row[tag].strip() for row in rows],
        f"{file.name}: the sentence of line {begun}",
        str(n_documents) + "\n" + file.name if n_documents else None,
    )
