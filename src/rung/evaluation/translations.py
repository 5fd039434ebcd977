"""Texts for the texts of a file, record by record, in order and in constant memory.

    no --out        {"text": "Guten Tag", "log_prob": -1.2}, one a record; log_prob is of the whole text and its closing
                    mark, nats
    --n-best 3      {"texts": [{"text": ..., "log_prob": ..., "score": ...}, ...]}, best first, no text twice
    --out X.jsonl   each whole record (of lines: the line and its number) with these added
    --out X.txt     the texts alone, a line each, line ends in them as blanks

By default the best of 4 beams by log_prob / tokens ** length_penalty. A bad record gives {"error": "where: what"}.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from rung.errors import UserError
from rung.evaluation.filter import NEURAL_BATCH_BYTES, Part, open_output
from rung.evaluation.scored_pairs import pair_fields
from rung.evaluation.scored_records import with_fields
from rung.generation.beam import BeamSettings
from rung.generation.source_beams import beams_of_sources
from rung.models.translator import Translator
from rung.run_folders import check_no_run
from rung.runs import Run
from rung.tasks.written import LONGER, MORE, greedy_ids
from rung.text.formats import split_suffixes
from rung.text.record_batches import RecordBatch, open_records
from rung.text.stream import TokenStream
from rung.text.tokenizers import NotInVocabularyError

RESERVED = frozenset(("text", "texts", "log_prob", "error"))
AT_ONCE = 64
ROWS_AT_ONCE = 64
"""Beams of all sources, side by side."""


@dataclass(frozen=True)
class Search:
    """How what is written is found.

    Attributes:
        beams: candidates kept at every step; 1 = the likeliest token after the likeliest.
        n_best: how many texts of each, best first.
        length_penalty: texts are ranked by log_prob / tokens ** this.
    """

    beams: int = 4
    n_best: int = 1
    length_penalty: float = 1.0

    def __post_init__(self) -> None:
        BeamSettings(self.beams, self.n_best, self.length_penalty)


@dataclass(frozen=True)
class Translated:
    """One text that was written: log P of it and its closing mark, nats, and what it was ranked by."""

    text: str
    log_prob: float
    score: float


def translate(run: Run, texts: Iterable[str], search: Search | None = None) -> Iterator[list[Translated]]:
    """The texts that the run writes for each, best first, in order and as they are needed."""
    how = Search() if search is None else search
    each = iter(texts)
    while batch := [text for text, _ in zip(each, range(AT_ONCE), strict=False)]:
        yield from translated(run, batch, how)


def translated(run: Run, texts: Sequence[str], search: Search) -> list[list[Translated]]:
    """Of a batch."""
    model: Translator = run.model
    sources = run.tokenizer.reading.encode_many(list(texts))
    if search.beams == 1:
        written = [np.array(ids, np.int64) for ids in greedy_ids(model, sources)]
        targets = TokenStream.of(written, model.end)
        scores = model.score_pairs(sources, targets).astype(np.float64)
        sums = np.add.reduceat(scores, np.asarray(targets.starts)[:-1] - 1)
        sizes = np.diff(targets.starts)
        return [
            [Translated(run.tokenizer.decode(ids), float(total), float(total / n**search.length_penalty))]
            for ids, total, n in zip(written, sums, sizes, strict=True)
        ]
    # Some are searched for beyond those asked for: a text may be spelled in several ways.
    settings = BeamSettings(search.beams, search.beams, search.length_penalty)
    lengths = np.diff(sources.starts)
    order = np.argsort(lengths, kind="stable")
    found: dict[int, list[Translated]] = {}
    at_once = max(1, ROWS_AT_ONCE // search.beams)
    for begin in range(0, len(order), at_once):
        rows = order[begin : begin + at_once]
        view, most = model.given(sources.of_documents(rows)), LONGER * lengths[rows] + MORE
        for row, samples in zip(
            rows.tolist(), beams_of_sources(view, run.tokenizer, most.tolist(), settings), strict=True
        ):
            best: dict[str, Translated] = {}
            for one in samples:
                best.setdefault(one.text, Translated(one.text, one.log_prob, float(one.score or 0.0)))
            found[row] = list(best.values())[: search.n_best]
    return [found[row] for row in range(len(order))]


class Translating:
    """One pass over a file.

    Attributes:
        size: the file's bytes, compressed as they are; None for a pipe.
    """

    def __init__(
        self, run: Run, file: str, search: Search, *, field: str | None = None, out: Path | None = None
    ) -> None:
        """Nothing is written yet.

        Args:
            run: of a translator.
            file: lines, or rows; - for standard input.
            search: how.
            field: of rows: which one holds the text; by default the training's source.
            out: a .jsonl or .txt to write to, perhaps .gz or .zst. It appears when all is done.

        Raises UserError when a name or a suffix is wrong.
        """
        if out is not None:
            check_no_run(out)
            if split_suffixes(out)[0] not in (".jsonl", ".txt"):
                raise UserError(
                    f"--out {out} does not say what it is to hold: end its name in .jsonl or .txt, then perhaps .gz or "
                    ".zst"
                )
            if out.exists() and Path(file).exists() and out.samefile(file):
                raise UserError(f"--out {out} is the file that is read; name another")
        self._run, self._out, self._search = run, out, search
        columns: tuple[str, ...] = ()
        if split_suffixes(Path(file))[0] in (".jsonl", ".json", ".csv", ".tsv", ".parquet"):
            named = pair_fields(run, field)
            field, columns = named.source, named.headless
        self._records = open_records(file, field, whole=out is not None, reserved=RESERVED, columns=columns)
        self.size = self._records.size

    def parts(self) -> Generator[Part]:
        """Do it, a part at a time. Every part is written before it is given; closed early, it leaves no file."""
        plain = self._out is not None and split_suffixes(self._out)[0] == ".txt"
        with ExitStack() as stack:
            write = None if self._out is None else stack.enter_context(open_output(self._out)).write
            for batch in self._records.batches(NEURAL_BATCH_BYTES):
                lines = []
                for place, best in enumerate(self._translated(batch)):
                    if plain:
                        lines.append((" ".join(best[0].text.splitlines()) if best else "") + "\n")
                    else:
                        fields = self._fields(best, batch.errors.get(place))
                        taken = batch.fields.get(place, frozenset())
                        lines.append(with_fields(self._record(batch, place), fields, taken))
                if write is not None:
                    write("".join(lines).encode("utf-8"))
                yield Part(
                    "".join(lines), len(lines), len(lines), [*batch.errors.values()], self._records.position
                )

    def _fields(self, best: list[Translated], error: str | None) -> dict[str, str]:
        if error is not None:
            return {"error": json.dumps(error, ensure_ascii=False)}
        if self._search.n_best > 1:
            return {"texts": json.dumps([asdict(one) for one in best], ensure_ascii=False)}
        return {
            "text": json.dumps(best[0].text, ensure_ascii=False),
            "log_prob": json.dumps(round(best[0].log_prob, 6)),
        }

    def _translated(self, batch: RecordBatch) -> list[list[Translated]]:
        try:
            return translated(self._run, batch.texts, self._search)
        except NotInVocabularyError:
            return [self._one(batch, place) for place in range(len(batch.texts))]

    def _one(self, batch: RecordBatch, place: int) -> list[Translated]:
        try:
            return translated(self._run, [batch.texts[place]], self._search)[0]
        except NotInVocabularyError as error:
            batch.errors[place] = f"{self._records.file.name}: {error}"
            return []

    def _record(self, batch: RecordBatch, place: int) -> str:
        if self._out is None:
            return "{}"
        if batch.rows is not None:
            return batch.rows[place] or "{}"
        own = {"line": batch.first + place}
        return json.dumps(
            own if place in batch.errors else {**own, "source": batch.texts[place]}, ensure_ascii=False
        )
