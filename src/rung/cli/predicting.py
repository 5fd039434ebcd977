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
    words: bool = False,
    out: Path | None = None,
    quiet: bool = False,
) -> int:
    """Which label has each record of a file, or which tag each word?

    One JSON object each, in order: the likeliest label, and the probability of every one. A record is a line of plain
    text, an object of .jsonl or .json, a row of .csv, .tsv or .parquet, each (but Parquet) also as .gz or .zst. Reads
    and writes as it goes, in constant memory. A bad record (no UTF-8, no JSON, no text) gives an object with "error"
    and is counted.

    Of a tagger: the words of each sentence and their tags. A line is a sentence, and words are cut at white space and
    around punctuation; a .conllu or .conll file is read for its words.

    Example: rung predict runs/bag-of-words new.csv --out answers.csv

    Args:
        run: a run's folder, of a classifier or a tagger.
        file: the file, or - for standard input: lines, or with --field JSON lines.
        text: this text instead.
        second_text: with --text: the other of two texts.
        field: which JSON field or column holds the text; by default that of the training.
        second: which one holds the other of two texts; by default that of the training.
        words: of a tagger: the words of a line are apart already, at white space.
        out: write here, when all is done: .jsonl holds whole records with `label` and `probabilities` added, .csv and
            .tsv rows of such tables with `label` and `probability`; of tags .conll and .conllu columns of words; then
            perhaps .gz or .zst.
        quiet: show no progress.
    """
    from rung import terminal
    from rung.evaluation.predictions import Predicting, check_classifier, predict_texts
    from rung.evaluation.tagged_predictions import PredictingTags, cut, tag_sentences
    from rung.runs import load

    opened = load(run)
    tags = opened.task.name == "tagging"
    if not tags:
        check_classifier(opened)
    given = {"--second": second, "--second-text": second_text} if tags else {"--words": words or None}
    for flag, value in given.items():
        if value is not None:
            raise UserError(f"{flag} does not go with {run}, a {opened.rung} of {opened.task.name}")
    if text is not None:
        for flag, value in (("FILE", file), ("--field", field), ("--second", second), ("--out", out)):
            if value is not None:
                raise UserError(f"{flag} does not go with --text, which is one text by itself")
        if tags:
            show_json(asdict(next(tag_sentences(opened, [cut(text, words=words)]))))
            return 0
        seconds = None if second_text is None else [second_text]
        show_json(asdict(next(predict_texts(opened, [text], seconds))))
        return 0
    if second_text is not None:
        raise UserError("--second-text goes with --text; of a file it is a column: --second NAME")
    if file is None:
        raise UserError('name a file, - for standard input, or one text: rung predict RUN --text "..."')
    no_option(file)
    predicting = (
        PredictingTags(opened, file, field=field, words=words, out=out)
        if tags
        else Predicting(opened, file, field=field, second=second, out=out)
    )
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
            f"rung: {n_bad:,} of {records:,} records have no {'tags' if tags else 'label'}: {'; '.join(places)}{more}",
            file=sys.stderr,
        )
    return 0
