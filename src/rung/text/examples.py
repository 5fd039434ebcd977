"""Texts with a label each, or pairs of texts, as they are read: rows of a table, or lines as fastText has them.

rows                 of .csv, .tsv, .json, .jsonl or .parquet: a column of texts, one of labels, perhaps one of
                     second texts and one of groups
__label__x text      a line an example (Joulin et al. 2016, arXiv:1607.01759); one label each
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from rung.errors import UserError
from rung.text.formats import File, plain_documents, reading
from rung.text.records import read_rows, whole_characters
from rung.text.sources import Source, open_source

PREFIX = "__label__"
ROWS_NEEDED = f"labels need rows (.csv, .tsv, .json, .jsonl or .parquet), or lines that begin with {PREFIX}"


@dataclass(frozen=True)
class Columns:
    """Which columns hold what; None = there is none of it."""

    text: str = "text"
    label: str = "label"
    second: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        """Raises UserError when one column is named twice."""
        flags = {"text": "--field", "label": "--label", "second": "--second", "group": "--group"}
        named: dict[str, str] = {}
        for key, name in self.chosen().items():
            if name in named and {key, named[name]} != {"text", "group"}:
                what = (
                    "the column of the text itself"
                    if named[name] == "text"
                    else f"{flags[named[name]]}'s column"
                )
                raise UserError(f"{flags[key]} {name} is {what}; name another, or the text's with --field")
            named[name] = key

    def chosen(self) -> dict[str, str]:
        """Those there are, by what they hold."""
        return {field.name: name for field in fields(self) if (name := getattr(self, field.name)) is not None}


class Examples(NamedTuple):
    """N examples as they were read.

    texts: (N,); seconds: (N,), the other of each two texts, None where there is one; labels: (N,); groups: (N,), or
    None; source: where they are from.
    """

    texts: list[str]
    seconds: list[str] | None
    labels: list[str]
    groups: list[str] | None
    source: Source

    def contents(self) -> list[Any]:
        """What each example is asked by: its text, or both."""
        return self.texts if self.seconds is None else list(zip(self.texts, self.seconds, strict=True))


def read_examples(data: str | Path, columns: Columns, sha256: str | None = None) -> Examples:
    """The examples of a table's rows, or of labelled lines. White space around a label is no part of it.

    Raises UserError when there are neither, or a column, a label or a second text is missing.
    """
    source = open_source(data, sha256=sha256, labelled=True)
    found: dict[str, list[str]] = {key: [] for key in columns.chosen()}
    for file in source.files:
        with reading(file):
            for example in _of_file(file, columns):
                for key, value in example.items():
                    found[key].append(value)
    if not found["text"]:
        raise UserError(f"{data} holds no rows")
    return Examples(found["text"], found.get("second"), found["label"], found.get("group"), source)


def is_labelled(data: str | Path) -> bool:
    """Whether `data` is a file whose first line that isn't blank begins with a label, as fastText has them."""
    path = Path(data)
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(1 << 16).lstrip().startswith(PREFIX.encode())
    except OSError:
        return False


def label_text(value: Any, where: str, column: str) -> str:
    """A label as it is written: words, numbers, true and false. Raises UserError for anything else, and for none."""
    if isinstance(value, bool):
        return str(value).lower()
    value = value.strip() if isinstance(value, str) else value
    if value is None or value == "" or value != value:
        raise UserError(f"{where} has no {column!r}; give each text a label")
    if isinstance(value, list | tuple):
        raise UserError(f"{where}: {column!r} is a list; a text has one label: give each a column of its own")
    if not isinstance(value, str | int | float):
        raise UserError(
            f"{where}: {column!r} is {type(value).__name__}; a label is a word, a number, true or false"
        )
    return whole_characters(str(value))


def in_order(labels: set[str]) -> list[str]:
    """Labels in the order of their numbers, where all are numbers, else of their letters."""
    try:
        return sorted(labels, key=lambda label: (float(label), label))
    except ValueError:
        return sorted(labels)


def _of_file(file: File, columns: Columns) -> Iterator[dict[str, str]]:
    if file.format == "text":
        yield from _labelled_lines(file, columns)
        return
    chosen = columns.chosen()
    for number, row in enumerate(read_rows(file, chosen), 1):
        where = f"{file.name}: record {number}"
        example = {"text": row["text"], "label": label_text(row["label"], where, chosen["label"])}
        if "second" in chosen:
            example["second"] = _second_text(row["second"], where, chosen["second"])
        if "group" in chosen:
            example["group"] = str(row["group"])
        yield example


def _second_text(value: Any, where: str, column: str) -> str:
    if value is None or value != value:
        raise UserError(f"{where} has no {column!r}; give each example both texts, or leave --second out")
    if not isinstance(value, str):
        raise UserError(f"{where}: field {column!r} is {type(value).__name__}, not text")
    return whole_characters(value)


def _labelled_lines(file: File, columns: Columns) -> Iterator[dict[str, str]]:
    first = True
    for number, line in enumerate(plain_documents(file, "lines"), 1):
        if not line.strip():
            continue
        labels = re.findall(rf"(?<!\S){PREFIX}(\S*)", line)
        if not labels:
            # The first line says whether this is such a file at all.
            raise UserError(
                f"{file.name} is plain text; {ROWS_NEEDED}"
                if first
                else f"{file.name}: line {number} has no label: it should begin with {PREFIX}"
            )
        first = False
        _no_columns(file, columns)
        if len(labels) > 1:
            raise UserError(
                f"{file.name}: line {number} has {len(labels)} labels, {' and '.join(labels[:3])}; a text has one: "
                "keep the one that matters"
            )
        text = re.sub(rf"(?<!\S){PREFIX}\S*\s?", "", line).strip()
        yield {"text": text, "label": label_text(labels[0], f"{file.name}: line {number}", PREFIX)}


def _no_columns(file: File, columns: Columns) -> None:
    named: Mapping[str, str] = columns.chosen()
    for key, default in (("text", "text"), ("label", "label"), ("second", None), ("group", None)):
        if named.get(key) not in (None, default):
            flag = "--field" if key == "text" else f"--{key}"
            raise UserError(f"{flag} {named[key]} does not fit: {file.name} has labelled lines, no columns")
