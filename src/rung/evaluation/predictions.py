"""Labels for a file of any size, record by record, in order and in constant memory.

    no --out           {"label": "yes", "probabilities": {"no": 0.1, "yes": 0.9}}, one a record
    --out X.jsonl      each whole record (of lines: the line and its number) with these two added
    --out X.csv|.tsv   each row of such a table with the label and its probability, and a column for errors

A name that a record already has is left alone, and ours is called rung_label and so on. A bad record gives
{"error": "where: what"}, after its own fields where they could be read. Of a line as fastText has them the label is no
part of the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from rung.errors import UserError
from rung.evaluation.filter import NEURAL_BATCH_BYTES, Part, open_output
from rung.evaluation.scored_records import TABLES, Form, table_form, with_fields
from rung.models.base import Counted
from rung.run_folders import check_no_run
from rung.runs import Run
from rung.text.examples import PREFIX
from rung.text.formats import ROW_FORMATS, split_suffixes
from rung.text.labelled import encode_examples
from rung.text.record_batches import BATCH_BYTES, RecordBatch, open_records
from rung.text.tokenizers import NotInVocabularyError

NAMES = ("label", "probability")
RESERVED = frozenset((*NAMES, "probabilities", "error"))
TEXTS_AT_ONCE = 1024


@dataclass(frozen=True)
class Prediction:
    """What a classifier makes of one text.

    Attributes:
        label: the likeliest.
        probabilities: of every label, in the order of the labels.
    """

    label: str
    probabilities: dict[str, float]


def predict_texts(
    run: Run, texts: Iterable[str], seconds: Iterable[str] | None = None
) -> Iterator[Prediction]:
    """What the run's classifier makes of each text, or pair of texts, in order and as they are needed.

    Raises UserError for one text where it was trained on two, or two where on one, and for text it has no symbols for.
    """
    check_seconds(run, seconds is not None)
    pairs = zip(texts, iter(seconds), strict=True) if seconds is not None else ((text, "") for text in texts)
    while batch := list(islice(pairs, TEXTS_AT_ONCE)):
        own, others = (list(column) for column in zip(*batch, strict=True))
        yield from predictions(run, own, others if seconds is not None else None)


def predictions(run: Run, texts: Sequence[str], seconds: Sequence[str] | None) -> list[Prediction]:
    """Of a batch."""
    labels = run.model.labels
    rows = np.exp(run.model.log_probs(encode_examples(run.tokenizer, texts, seconds)).astype(np.float64))
    return [
        Prediction(labels[int(row.argmax())], dict(zip(labels, row.tolist(), strict=True))) for row in rows
    ]


def check_classifier(run: Run) -> Run:
    """The run. Raises UserError when it answers with no labels."""
    if run.task.name != "classification":
        raise UserError(
            f"{run.folder} is a {run.rung}, trained for {run.task.name}: it has no labels to predict; train one with "
            "rung train RUNG DATA --label COLUMN"
        )
    return run


def check_seconds(run: Run, given: bool) -> None:
    """Raises UserError when a run of pairs gets one text, or one of single texts two."""
    pairs = run.model.delimiter is not None
    if pairs != given:
        raise UserError(
            f"{run.folder} was trained on {'two texts' if pairs else 'one text'} an example: "
            + ("give the second one too" if pairs else "leave the second one out")
        )


class Predicting:
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
        second: str | None = None,
        out: Path | None = None,
    ) -> None:
        """Nothing is predicted yet.

        Args:
            run: of a classifier.
            file: what `rung.text.record_batches` reads; - for standard input.
            field, second: which columns hold the text and the other text; by default those of the training.
            out: a .jsonl, .csv or .tsv to write to, perhaps .gz or .zst. It appears when all is done.

        Raises UserError when a name or a suffix is wrong.
        """
        if out is not None:
            check_no_run(out)
        self._run, self._out = check_classifier(run), out
        columns = run.recipe["data"]["columns"]
        self._second = second if second is not None else columns.get("second")
        check_seconds(run, self._second is not None)
        plain = ROW_FORMATS.get(split_suffixes(Path(file))[0], "text") == "text"
        if field is None and not plain and columns["text"] != "text":
            field = columns["text"]
        whole = out is not None or self._second is not None
        also = {} if self._second is None else {"second": self._second}
        self._records = open_records(file, field, whole=whole, reserved=RESERVED, also=also)
        self.size = self._records.size
        self._n_read = 0
        if self._second is not None and self._records.file.format == "text":
            raise UserError(
                f"{file} holds lines, and two texts an example are needed: give .jsonl, .csv or .tsv"
            )
        self._table = self._table_of(out)

    def _table_of(self, out: Path | None) -> Form | None:
        if out is None:
            return None
        if out.is_dir():
            raise UserError(f"--out {out} is a folder; name a file in it")
        path = self._records.file.path
        if path is not None and out.exists() and out.samefile(path):
            raise UserError(f"--out {out} is the file that is read; name another")
        format = ROW_FORMATS.get(split_suffixes(out)[0])
        if format == "jsonl":
            return None
        if format not in TABLES:
            raise UserError(
                f"--out {out} does not say what it is to hold: end its name in .jsonl, or in .csv or .tsv for rows of "
                "such a table, then perhaps .gz or .zst"
            )
        if self._records.file.format not in TABLES:
            raise UserError(
                f"--out {out} does not fit: {self._records.file.name} is no .csv or .tsv; end it in .jsonl"
            )
        return table_form(format, self._records, NAMES, errors=True)

    def parts(self) -> Generator[Part]:
        """Do it, a part at a time. Every part is written before it is given; closed early, it leaves no file."""
        with ExitStack() as stack:
            write = None if self._out is None else stack.enter_context(open_output(self._out)).write
            head = self._table is not None
            at_once = BATCH_BYTES if isinstance(self._run.model, Counted) else NEURAL_BATCH_BYTES
            for batch in self._records.batches(at_once):
                lines = self._lines(batch)
                if write is not None:
                    if head and self._table is not None:
                        write(self._table.head().encode("utf-8"))
                        head = False
                    write("".join(lines).encode("utf-8"))
                n = len(lines)
                yield Part("".join(lines), n, n, [*batch.errors.values()], self._records.position)
            if write is not None and head and self._table is not None:
                write(self._table.head().encode("utf-8"))

    def _lines(self, batch: RecordBatch) -> list[str]:
        found = self._predicted(batch)
        if self._table is not None:
            cells = [[one.label, f"{one.probabilities[one.label]:.6g}"] for one in found]
            return self._table.lines(batch, {name: [row[i] for row in cells] for i, name in enumerate(NAMES)})
        lines: list[str] = []
        for place, one in enumerate(found):
            fields = {
                "label": json.dumps(one.label, ensure_ascii=False),
                "probabilities": json.dumps(
                    {label: round(p, 9) for label, p in one.probabilities.items()}, ensure_ascii=False
                ),
            }
            if place in batch.errors:
                fields = {"error": json.dumps(batch.errors[place], ensure_ascii=False)}
            lines.append(
                with_fields(self._record(batch, place), fields, batch.fields.get(place, frozenset()))
            )
        return lines

    def _record(self, batch: RecordBatch, place: int) -> str:
        """The record that a prediction is written beside."""
        if self._out is None:
            return "{}"
        if batch.rows is not None:
            return batch.rows[place] or "{}"
        own = {"line": batch.first + place}
        if place in batch.errors:
            return json.dumps(own)
        return json.dumps({**own, "text": batch.texts[place]}, ensure_ascii=False)

    def _predicted(self, batch: RecordBatch) -> list[Prediction]:
        texts = batch.texts
        if self._records.file.format == "text":
            texts = [re.sub(rf"^{PREFIX}\S*\s?", "", text) for text in texts]
        seconds = (
            None if self._second is None else [self._second_of(batch, place) for place in range(len(texts))]
        )
        if not self._n_read:
            self._records.refuse_if_all_are_bad(batch)
        try:
            found = predictions(self._run, texts, seconds)
        except NotInVocabularyError:
            found = [self._one(batch, place, text, seconds) for place, text in enumerate(texts)]
        self._n_read += len(texts)
        return found

    def _one(self, batch: RecordBatch, place: int, text: str, seconds: list[str] | None) -> Prediction:
        """Of a text that a closed vocabulary may not hold: a bad one then."""
        try:
            return predictions(self._run, [text], None if seconds is None else [seconds[place]])[0]
        except NotInVocabularyError as error:
            batch.errors[place] = f"{self._where(place)}: {error}"
            return predictions(self._run, [""], None if seconds is None else [""])[0]

    def _second_of(self, batch: RecordBatch, place: int) -> str:
        if place in batch.errors:
            return ""
        assert batch.rows is not None
        assert self._second is not None
        value = json.loads(batch.rows[place]).get(self._second)
        if isinstance(value, str):
            return value
        batch.errors[place] = f"{self._where(place)} has no text in {self._second!r}"
        return ""

    def _where(self, place: int) -> str:
        return f"{self._records.file.name} record {self._n_read + place + 1}"
