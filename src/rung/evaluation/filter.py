"""A file of any size scored record by record, in order and in constant memory, and perhaps filtered by the scores.

    {"log_prob": -42.1, "tokens": 11, "bytes": 52, "bits_per_byte": 1.17}

log P(text and its closing mark) in nats, how many tokens were predicted, the mark included, the text's UTF-8 bytes,
and -log_prob / (ln 2 x bytes), null for an empty text. Numbers have nine digits; a log-probability of minus infinity,
which only models without smoothing give, is null, and so are its bits: JSON has no infinities.

What comes out, by what goes in and where it goes:

    lines, or no --out         the objects above, one a record
    records, --out X.jsonl     each whole record with these four fields added
    lines, --keep, --out X.txt the lines that are kept, and nothing else

A field that a record already has is left alone, and ours is called rung_log_prob and so on. A bad record gives
{"error": "where: what"}, after its own fields where they could be read, and is never kept.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from rung.errors import UserError
from rung.evaluation.keep import NAMES, Keep
from rung.files import atomic_path
from rung.models.base import CountedModel
from rung.run_folders import check_no_run
from rung.runs import Run
from rung.tasks.language import Columns, score_batch
from rung.text.formats import ROW_FORMATS, split_suffixes
from rung.text.record_batches import BATCH_BYTES, RecordBatch, Records, open_records
from rung.text.tokenizers import NotInVocabularyError

TEXT_SUFFIXES = (".txt", ".text")
NEURAL_BATCH_BYTES = 1 << 16
FIELDS: str = '"log_prob": %.9g, "tokens": %d, "bytes": %d, "bits_per_byte": %.9g\n'
RESERVED = frozenset((*NAMES, "error"))

FormatLines = Callable[[RecordBatch, Columns], list[str]]


@dataclass(frozen=True)
class Part:
    """What has been done since the part before.

    output: the lines that come out; they are in the file already if there is one.
    records, kept: how many went in, how many came out; without an expression to keep by all do.
    errors: what is wrong with the bad ones, and where.
    position: how many bytes of the file have been read so far, compressed as they are.
    """

    output: str
    records: int
    kept: int
    errors: list[str]
    position: int


class Scoring:
    """One pass over a file.

    Attributes:
        size: the file's bytes, compressed as they are; None for a pipe.
    """

    def __init__(
        self,
        run: Run,
        file: str,
        *,
        field: str | None = None,
        keep: str | None = None,
        out: Path | None = None,
    ) -> None:
        """Nothing is scored yet.

        Args:
            run: a finished run.
            file: what `rung.text.record_batches` reads; - for standard input.
            field: which field or column holds the text.
            keep: keep only records for which this holds; see `rung.evaluation.keep`.
            out: a file to write to: .jsonl or .txt, and perhaps .gz or .zst. It appears when all is done.

        Raises UserError when a name, a suffix or the expression is wrong.
        """
        if out is not None:
            check_no_run(out)
        self._run = run
        self._keep = None if keep is None else Keep(keep)
        self._records = open_records(file, field, whole=out is not None, reserved=RESERVED)
        self._out = out
        self._format_lines = _score_lines if out is None else _output_format(out, self._records, self._keep)
        self.size = self._records.size
        self._n_read = 0

    def parts(self) -> Generator[Part]:
        """Do it, a part at a time. Every part is written before it is given; closed early, it leaves no file."""
        counted = isinstance(self._run.model, CountedModel)
        with ExitStack() as stack:
            write = None if self._out is None else stack.enter_context(_open_output(self._out)).write
            for batch in self._records.batches(BATCH_BYTES if counted else NEURAL_BATCH_BYTES):
                part = self._part(batch)
                if write is not None:
                    write(part.output.encode("utf-8"))
                yield part

    def _part(self, batch: RecordBatch) -> Part:
        try:
            columns = score_batch(self._run.model, self._run.tokenizer, batch.texts)
        except NotInVocabularyError:
            self._mark_unknown(batch)
            columns = score_batch(self._run.model, self._run.tokenizer, batch.texts)
        self._n_read += len(batch.texts)
        lines = self._format_lines(batch, columns)
        if self._keep is not None:
            kept = self._keep(columns).copy()
            kept[list(batch.errors)] = False
            lines = [lines[i] for i in np.flatnonzero(kept).tolist()]
        errors = list(batch.errors.values())
        return Part("".join(lines), len(batch.texts), len(lines), errors, self._records.position)

    def _mark_unknown(self, batch: RecordBatch) -> None:
        """Records that a closed vocabulary can't hold are bad ones."""
        for place, text in enumerate(batch.texts):
            try:
                self._run.tokenizer.encode(text)
            except NotInVocabularyError as error:
                where = f"{self._records.file.name} record {self._n_read + place + 1}"
                batch.texts[place], batch.errors[place] = "", f"{where}: {error}"


def _score_lines(batch: RecordBatch, columns: Columns) -> list[str]:
    lines = [f"{{{fields}}}\n" for fields in _score_fields(columns)]
    for place, error in batch.errors.items():
        lines[place] = json.dumps({"error": error}) + "\n"
    return lines


def _record_lines(batch: RecordBatch, columns: Columns) -> list[str]:
    assert batch.rows is not None
    lines = [
        f"{row[:-1].rstrip()}, {fields}}}\n"
        for row, fields in zip(batch.rows, _score_fields(columns), strict=True)
    ]
    for place, names in batch.fields.items():
        if place not in batch.errors:
            lines[place] = _with_fields(batch.rows[place], _score_fields_of(columns, place), names)
    for place, error in batch.errors.items():
        names = batch.fields.get(place, frozenset())
        lines[place] = _with_fields(batch.rows[place] or "{}", {"error": json.dumps(error)}, names)
    return lines


def _text_lines(batch: RecordBatch, columns: Columns) -> list[str]:
    return [text + "\n" for text in batch.texts]


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


def _with_fields(row: str, fields: dict[str, str], names: frozenset[str]) -> str:
    """A record with fields added to it, under names that it doesn't have. What it has stays as it was formatted."""
    added = {f"rung_{name}" if name in names else name: value for name, value in fields.items()}
    if not names.isdisjoint(added):  # scored for the third time
        kept = {name: value for name, value in json.loads(row).items() if name not in added}
        row = json.dumps(kept, ensure_ascii=False)
    head = row[:-1].rstrip()
    comma = "" if head == "{" else ", "
    return head + comma + ", ".join(f'"{name}": {value}' for name, value in added.items()) + "}\n"


def _output_format(out: Path, records: Records, keep: Keep | None) -> FormatLines:
    """How the lines of `out` are written. Raises UserError at once for what would fail only after hours."""
    suffix, _ = split_suffixes(out)
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; name a file in it")
    if records.file.path is not None and out.exists() and out.samefile(records.file.path):
        raise UserError(f"--out {out} is the file that is read; name another")
    if ROW_FORMATS.get(suffix) == "jsonl":
        return _score_lines if records.file.format == "text" else _record_lines
    if suffix not in TEXT_SUFFIXES:
        raise UserError(
            f"--out {out} does not say what it is to hold: end its name in .jsonl, or in .txt to --keep lines, "
            "then perhaps .gz or .zst"
        )
    if records.file.format != "text":
        raise UserError(
            f"--out {out} does not fit: {records.file.name} holds records, not lines; end it in .jsonl"
        )
    if keep is None:
        raise UserError(
            f"--out {out} would be a copy of {records.file.name}: --keep some lines, or end it in .jsonl"
        )
    return _text_lines


@contextmanager
def _open_output(path: Path) -> Iterator[Any]:
    """A file to write bytes to, compressed as its name says, that appears when the block ends well."""
    _, compression = split_suffixes(path)
    with atomic_path(path) as temporary, temporary.open("wb") as raw:
        if compression == ".gz":
            with gzip.GzipFile("", "wb", 6, raw, 0) as file:  # no name and no time: same in, same out
                yield file
        elif compression == ".zst":
            import pyarrow

            with pyarrow.CompressedOutputStream(pyarrow.PythonFile(raw, "w"), "zstd") as file:
                yield file
        else:
            yield raw
