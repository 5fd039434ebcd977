"""`rung predict`."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from rung.cli.common import Dashed, no_option, show_json
from rung.errors import UserError


def predict(
    run: Path,
    file: Dashed = None,
    *,
    text: Dashed = None,
    second_text: Dashed = None,
    field: str | None = None,
    second: str | None = None,
    out: Path | None = None,
    quiet: bool = False,
) -> int:
    """Which label has each record of a file?

    One JSON object each, in order: the likeliest label, and the probability of every one. A record is a line of plain
    text, an object of .jsonl or .json, a row of .csv, .tsv or .parquet, each (but Parquet) also as .gz or .zst. Reads
    and writes as it goes, in constant memory. A bad record (no UTF-8, no JSON, no text) gives an object with "error"
    and is counted.

    Example: rung predict runs/bag-of-words new.csv --out answers.csv

    Args:
        run: a run's folder, of a classifier.
        file: the file, or - for standard input: lines, or with --field JSON lines.
        text: this text instead.
        second_text: with --text: the other of two texts.
        field: which JSON field or column holds the text; by default that of the training.
        second: which one holds the other of two texts; by default that of the training.
        out: write here, when all is done: .jsonl holds whole records with `label` and `probabilities` added, .csv and
            .tsv rows of such tables with `label` and `probability`; then perhaps .gz or .zst.
        quiet: show no progress.
    """
    from rung import terminal
    from rung.evaluation.predictions import Predicting, check_classifier, predict_texts
    from rung.runs import load

    opened = check_classifier(load(run))
    if text is not None:
        for flag, value in (("FILE", file), ("--field", field), ("--second", second), ("--out", out)):
            if value is not None:
                raise UserError(f"{flag} does not go with --text, which is one text by itself")
        seconds = None if second_text is None else [second_text]
        show_json(asdict(next(predict_texts(opened, [text], seconds))))
        return 0
    if second_text is not None:
        raise UserError("--second-text goes with --text; of a file it is a column: --second NAME")
    if file is None:
        raise UserError('name a file, - for standard input, or one text: rung predict RUN --text "..."')
    no_option(file)
    predicting = Predicting(opened, file, field=field, second=second, out=out)
    records, n_bad, places = 0, 0, list[str]()
    shown = out is None and sys.stdout.isatty()
    with (
        terminal.FileProgress(file, predicting.size, quiet=quiet or shown) as progress,
        closing(predicting.parts()) as parts,
    ):
        for part in parts:
            if out is None:
                sys.stdout.write(part.output)
                sys.stdout.flush()
            records, n_bad = records + part.records, n_bad + len(part.errors)
            places = (places + part.errors)[:3]
            progress.update(part.position, records)
    if n_bad:
        more = "; ..." if n_bad > len(places) else ""
        print(
            f"rung: {n_bad:,} of {records:,} records have no label: {'; '.join(places)}{more}",
            file=sys.stderr,
        )
    return 0
