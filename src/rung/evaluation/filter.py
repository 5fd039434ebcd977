"""A file of any size scored record by record, in order and in constant memory, and perhaps filtered by the scores.

log P(text and its closing mark) in nats, how many tokens were predicted, the mark included, the text's UTF-8 bytes,
and -log_prob / (ln 2 x bytes), none for an empty text. How they are written is told in
`rung.evaluation.scored_records`, what is kept in `keep` and `rank`.
"""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rung.errors import UserError
from rung.evaluation.keep import NAMES, Keep
from rung.evaluation.rank import Ranked, Worst
from rung.evaluation.scored_pairs import pair_fields, score_pair_batch
from rung.evaluation.scored_records import RESERVED, form_of
from rung.evaluation.training_rows import TrainingRows
from rung.files import atomic_path
from rung.measure import naming
from rung.models.base import CountedModel
from rung.run_folders import check_no_run
from rung.runs import Run
from rung.tasks.text_scores import Columns, score_batch
from rung.text.formats import split_suffixes
from rung.text.record_batches import BATCH_BYTES, RecordBatch, open_records
from rung.text.tokenizers import NotInVocabularyError

NEURAL_BATCH_BYTES = 1 << 16


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
    """One pass over a file; two, where records are kept by their rank.

    Attributes:
        size: the file's bytes, compressed as they are; None for a pipe.
        training_rows: says, when all is done, whether what was scored is what was learned.
    """

    def __init__(
        self,
        run: Run,
        file: str,
        *,
        field: str | None = None,
        target: str | None = None,
        keep: str | None = None,
        worst: int | None = None,
        out: Path | None = None,
    ) -> None:
        """Nothing is scored yet.

        Args:
            run: a finished run.
            file: what `rung.text.record_batches` reads; - for standard input.
            field: which field or column holds the text.
            target: of a translator: which one holds the translation, whose probability it is.
            keep: keep only records for which this holds (`rung.evaluation.keep`), or the best: "top 10%" (`rank`).
            worst: give only so many of the records that are kept, those with the most bits per byte, the worst first.
            out: a file to write to: .jsonl, .csv, .tsv or .txt, and perhaps .gz or .zst. It appears when all is done.

        Raises UserError when a name, a suffix or the expression is wrong.
        """
        if out is not None:
            check_no_run(out)
        self._run, self._file, self._field, self._out = run, file, field, out
        self._pairs = None if run.task.name == "language" and target is None else pair_fields(run, field)
        if self._pairs is not None:
            self._pairs = replace(self._pairs, target=target or self._pairs.target)
            self._field = self._pairs.source
        self._ranked = None if keep is None else Ranked.read(keep)
        self._keep = None if keep is None or self._ranked is not None else Keep(keep)
        self._worst = None if worst is None else Worst(worst)
        self._chosen = keep is not None or worst is not None
        self._n_read = 0
        self._open()
        self.size = self._records.size
        if self._ranked is not None and self.size is None:
            raise UserError(
                f"--keep {keep!r} reads twice, which {self._records.file.name} can't be: give a file, or a threshold"
            )
        self.training_rows = TrainingRows(run)

    def _open(self) -> None:
        whole = self._out is not None or self._chosen or self._pairs is not None
        columns = () if self._pairs is None else self._pairs.headless
        also = {} if self._pairs is None else {"target": self._pairs.target}
        self._records = open_records(
            self._file, self._field, whole=whole, reserved=RESERVED, columns=columns, also=also
        )
        self._form = form_of(self._out, self._records, self._chosen)

    def parts(self) -> Generator[Part]:
        """Do it, a part at a time. Every part is written before it is given; closed early, it leaves no file."""
        with ExitStack() as stack:
            write = None if self._out is None else stack.enter_context(open_output(self._out)).write
            head = True
            for part in self._two_passes() if self._ranked is not None else self._one_pass():
                if write is not None:
                    if head and part.output:
                        write(self._form.head().encode("utf-8"))
                        head = False
                    write(part.output.encode("utf-8"))
                yield part
            if write is not None and head:
                write(self._form.head().encode("utf-8"))

    def _mark_unknown(self, batch: RecordBatch) -> None:
        """Records that a closed vocabulary can't hold are bad ones."""
        for place, text in enumerate(batch.texts):
            try:
                self._run.tokenizer.encode(text)
            except NotInVocabularyError as error:
                where = f"{self._records.file.name} record {self._n_read + place + 1}"
                batch.texts[place], batch.errors[place] = "", f"{where}: {error}"

    def _batches(self) -> Iterator[RecordBatch]:
        counted = isinstance(self._run.model, CountedModel)
        return self._records.batches(BATCH_BYTES if counted else NEURAL_BATCH_BYTES)

    def _one_pass(self) -> Iterator[Part]:
        for batch in self._batches():
            columns = self._scores(batch)
            lines = self._lines(batch, columns, None if self._keep is None else self._keep(columns))
            yield Part(
                "".join(lines), len(batch.texts), len(lines), [*batch.errors.values()], self._records.position
            )
        yield from self._last()

    def _two_passes(self) -> Iterator[Part]:
        """Score all and keep the scores in a file, then read again and give what has its rank."""
        assert self._ranked is not None
        ranked: list[np.ndarray] = []
        with tempfile.TemporaryFile() as spilled:
            for batch in self._batches():
                columns = self._scores(batch)
                bits = columns["bits_per_byte"].copy()
                bits[list(batch.errors)] = np.nan
                ranked.append(bits)
                spilled.write(np.stack([columns[name] for name in NAMES]).astype(np.float64).tobytes())
                yield Part("", len(batch.texts), 0, [*batch.errors.values()], self._records.position)
            kept = self._ranked(np.concatenate([np.empty(0), *ranked]))
            self._n_read = 0
            self._open()
            spilled.seek(0)
            begin = 0
            for batch in self._batches():
                n = len(batch.texts)
                rows = np.frombuffer(spilled.read(8 * n * len(NAMES)), np.float64)
                if len(rows) < n * len(NAMES):
                    raise UserError(f"{self._records.file.name} has changed while it was read")
                columns: Columns = dict(zip(map(str, NAMES), rows.reshape(len(NAMES), n), strict=True))
                lines = self._lines(batch, columns, kept[begin : begin + n])
                begin += n
                yield Part("".join(lines), 0, len(lines), [], self._records.position)
        yield from self._last()

    def _scores(self, batch: RecordBatch) -> Columns:
        if self._pairs is not None:
            with naming(self._run.folder):
                name = self._records.file.name
                columns = score_pair_batch(self._run, batch, self._pairs.target, name, self._n_read)
            if not self._n_read:
                self._records.refuse_if_all_are_bad(batch)
            self._n_read += len(batch.texts)
            return columns
        self.training_rows.add(batch.texts)
        with naming(self._run.folder):
            try:
                columns = score_batch(self._run.model, self._run.tokenizer, batch.texts)
            except NotInVocabularyError:
                self._mark_unknown(batch)
                columns = score_batch(self._run.model, self._run.tokenizer, batch.texts)
        self._n_read += len(batch.texts)
        return columns

    def _lines(self, batch: RecordBatch, columns: Columns, holds: np.ndarray | None) -> list[str]:
        """What comes out of a batch, now; the worst come at the end."""
        lines = self._form.lines(batch, columns)
        if not self._chosen:
            return lines
        kept = np.ones(len(lines), bool) if holds is None else holds.copy()
        kept[list(batch.errors)] = False
        if self._worst is None:
            return [lines[i] for i in np.flatnonzero(kept).tolist()]
        self._worst.add(np.where(kept, columns["bits_per_byte"], np.nan), lines)
        return []

    def _last(self) -> Iterator[Part]:
        if self._worst is not None:
            lines = self._worst.lines()
            yield Part("".join(lines), 0, len(lines), [], self._records.position)


@contextmanager
def open_output(path: Path) -> Iterator[Any]:
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
