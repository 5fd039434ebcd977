"""`rung predict`."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.cli.common import Dashed, no_option, show_json
from rung.errors import UserError

if TYPE_CHECKING:
    from rung.runs import Run


OWN_FLAGS = {
    "classification": ("--second-text", "--second"),
    "tagging": ("--words",),
    "translation": ("--beams", "--n-best", "--length-penalty", "--attention"),
}
"""Task -> the flags that only it has."""
ANSWERS = {"tagging": "tags", "translation": "text"}


def predict(
    run: Path,
    file: Dashed = None,
    *,
    text: Dashed = None,
    second_text: Dashed = None,
    field: str | None = None,
    second: str | None = None,
    words: bool = False,
    beams: int | None = None,
    n_best: int | None = None,
    length_penalty: float | None = None,
    attention: Path | None = None,
    out: Path | None = None,
    quiet: bool = False,
) -> int:
    """The label, tags or translation of each record of a file.

    One JSON object each, in order: the likeliest label, and the probability of every one. A record is a line of plain
    text, an object of .jsonl or .json, a row of .csv, .tsv or .parquet, each (but Parquet) also as .gz or .zst. Reads
    and writes as it goes, in constant memory. A bad record (no UTF-8, no JSON, no text) gives an object with "error"
    and is counted.

    Of a tagger: the words of each sentence and their tags. A line is a sentence, and words are cut at white space and
    around punctuation; a .conllu or .conll file is read for its words. Of a translator: the text that it writes, the
    best of a few beams.

    Example: rung predict runs/bag-of-words new.csv --out answers.csv

    Args:
        run: a run's folder, of a classifier, a tagger or a translator.
        file: the file, or - for standard input: lines, or with --field JSON lines.
        text: this text instead.
        second_text: with --text: the other of two texts.
        field: which JSON field or column holds the text; by default that of the training.
        second: which one holds the other of two texts; by default that of the training.
        words: of a tagger: the words of a line are apart already, at white space.
        beams: of a translator: candidates kept at every step, 4 unless told; 1 = the likeliest token each time.
        n_best: of a translator: how many texts of each, best first.
        length_penalty: of a translator: texts are ranked by log P / tokens ** this, 1 unless told.
        attention: with --text, of a translator: draw where it looked as it wrote, to this .svg, .png or .pdf.
        out: write here, when all is done: .jsonl holds whole records with `label` and `probabilities` added, .csv and
            .tsv rows of such tables with `label` and `probability`; of tags .conll and .conllu columns of words; of
            translations .txt a line each; then perhaps .gz or .zst.
        quiet: show no progress.
    """
    from rung import terminal
    from rung.runs import load

    opened = load(run)
    task = opened.task.name
    own = OWN_FLAGS.get(task, OWN_FLAGS["classification"])
    flags = {
        "--second-text": second_text,
        "--second": second,
        "--words": words or None,
        "--beams": beams,
        "--n-best": n_best,
        "--length-penalty": length_penalty,
        "--attention": attention,
    }
    for flag, value in flags.items():
        if value is not None and flag not in own:
            raise UserError(f"{flag} does not go with {run}, which is of {task}")
    search = {"beams": beams, "n_best": n_best, "length_penalty": length_penalty}
    searched = {name: value for name, value in search.items() if value is not None}
    if text is not None:
        for flag, value in (("FILE", file), ("--field", field), ("--second", second), ("--out", out)):
            if value is not None:
                raise UserError(f"{flag} does not go with --text, which is one text by itself")
        show_json(_of_text(opened, text, second_text, words, searched, attention))
        return 0
    if attention is not None:
        raise UserError("--attention goes with --text: it draws one text and what is written for it")
    if second_text is not None:
        raise UserError("--second-text goes with --text; of a file it is a column: --second NAME")
    if file is None:
        raise UserError('name a file, - for standard input, or one text: rung predict RUN --text "..."')
    no_option(file)
    predicting = _of_file(opened, file, field, second, words, searched, out)
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
            f"rung: {n_bad:,} of {records:,} records have no {ANSWERS.get(task, 'label')}: {'; '.join(places)}{more}",
            file=sys.stderr,
        )
    return 0


def _of_text(
    run: Run, text: str, second: str | None, words: bool, search: dict[str, Any], attention: Path | None
) -> dict[str, Any]:
    """What is made of one text."""
    if run.task.name == "tagging":
        from rung.evaluation.tagged_predictions import cut, tag_sentences

        return asdict(next(tag_sentences(run, [cut(text, words=words)])))
    if run.task.name == "translation":
        from rung.evaluation.translations import Search, translate

        found = next(translate(run, [text], Search(**search)))
        if attention is not None:
            from rung.inspection.attention_picture import draw_source_attention, source_attention

            draw_source_attention(attention, source_attention(run, text, found[0].text))
        best = [asdict(one) for one in found]
        return {"texts": best} if search.get("n_best", 1) > 1 else best[0]
    from rung.evaluation.predictions import check_classifier, predict_texts

    seconds = None if second is None else [second]
    return asdict(next(predict_texts(check_classifier(run), [text], seconds)))


def _of_file(
    run: Run,
    file: str,
    field: str | None,
    second: str | None,
    words: bool,
    search: dict[str, Any],
    out: Path | None,
) -> Any:
    """The pass over a file."""
    if run.task.name == "tagging":
        from rung.evaluation.tagged_predictions import PredictingTags

        return PredictingTags(run, file, field=field, words=words, out=out)
    if run.task.name == "translation":
        from rung.evaluation.translations import Search, Translating

        return Translating(run, file, Search(**search), field=field, out=out)
    from rung.evaluation.predictions import Predicting

    return Predicting(run, file, field=field, second=second, out=out)
