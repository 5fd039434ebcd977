"""`rung evaluate` and `rung score`."""

from __future__ import annotations

import shlex
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rung.cli.common import Dashed, Text, no_option, settings_of, show_json
from rung.errors import UserError


def evaluate(run: Path, *data: Text, split: str = "test", options: Any, json: bool = False) -> int:
    """Measure a run in bits, on its test split or on all of DATA.

    Of several DATA each is measured by itself, on a line of its own. Each document starts afresh. A gpt reads one that
    is longer than its context in windows that overlap by half, mlp and wavenet see the last tokens before each place,
    the other rungs all of them.

    Example: rung evaluate runs/gpt other.txt

    Args:
        run: a run's folder.
        data: any texts, or tables of texts and labels; by default the run's own.
        split: train, validation or test, of the run's own data.
        json: print the measure as one JSON object, nothing else; of several DATA as {"run", "measures": a list}.
    """
    from rung import api, terminal

    for name in data:
        no_option(name)
    opened = api.load(run)
    settings = settings_of(options)
    if len(data) > 1:
        if data.count("-") > 1:
            raise UserError("- is standard input, which can be read only once: name it once")
        measures = []
        for name in data:
            measures.append(api.evaluate(opened, name, **settings))
            if not json:
                print(terminal.measure_in_short(measures[-1]), flush=True)
                for note in measures[-1].notes:
                    print(f"  {note}")
        if json:
            show_json({"run": str(run), "measures": [measure.to_json() for measure in measures]})
        return 0
    measure = api.evaluate(opened, *data, split=split, **settings)
    if json:
        show_json({"run": str(run), **measure.to_json()})
    else:
        print(f"{opened.rung} on {terminal.measure_in_full(measure, opened.tokenizer.kind)}")
    return 0


def score(
    run: Path,
    file: Dashed = None,
    *,
    text: Dashed = None,
    target_text: Dashed = None,
    field: str | None = None,
    target: str | None = None,
    out: Path | None = None,
    keep: Dashed = None,
    worst: int | None = None,
    survey: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """How likely is each record of a file? Keep those that are.

    One JSON object each: log P(text and its closing mark) in nats.
    A record is a line of plain text, an object of .jsonl or .json, a row of .csv, .tsv or .parquet, each (but Parquet)
    also as .gz or .zst. Reads and writes as it goes, in order and in constant memory. A text that is empty holds no
    tokens and adds nothing. A bad record (no UTF-8, no JSON, no text) gives an object with "error" and is counted.

    Of a translator: log P(target and its closing mark | source) of rows that hold both, a filter for parallel text.

    Example: rung score runs/ngram web.jsonl.zst --keep "bits_per_byte < 2.5" --out good.jsonl.zst

    Args:
        run: a run's folder.
        file: the file, or - for standard input: lines, or with --field JSON lines.
        text: score this text instead, and show the log-probability of every token.
        target_text: of a translator, with --text: the translation whose tokens are scored.
        field: which JSON field or column holds the text; by default text, of a translator that of the training.
        target: of a translator: which one holds the translation; by default that of the training.
        out: write here instead of to standard output, when all is done: .jsonl, perhaps .gz or .zst, holds whole
            records with their scores added, .csv and .tsv rows of such tables with four columns more; .txt, with
            --keep, the lines of plain text that are kept.
        keep: keep only what this holds for, over log_prob, tokens, bytes and bits_per_byte: numbers, + - * /,
            comparisons, and, or, not, parentheses; or by rank: "top 10%", "top 500", "bottom 1%", in bits per byte.
            What is kept comes out whole: the record, or the line and its number.
        worst: give so many records only, those with the most bits per byte, the worst first.
        survey: choose no record; score a sample of them and show what bits per byte they have.
        json: print a survey as one JSON object. (Scores are JSON lines in any case.)
        quiet: show no progress.
    """
    from rung.runs import load_scorer

    if text is not None:
        from rung.evaluation.scored_pairs import score_pair
        from rung.evaluation.token_scores import score_text

        for flag, value in (
            *(("FILE", file), ("--field", field), ("--out", out), ("--keep", keep), ("--worst", worst)),
            ("--target", target),
            ("--survey", survey or None),
        ):
            if value is not None:
                raise UserError(f"{flag} does not go with --text, which is one text by itself")
        opened = load_scorer(run)
        pairs = opened.task.name == "translation"
        if pairs != (target_text is not None):
            raise UserError(
                f"{run} scores a translation given its source: --text SOURCE --target-text TRANSLATION"
                if pairs
                else f"--target-text does not go with {run}, which is of {opened.task.name}"
            )
        show_json(score_text(opened, text) if target_text is None else score_pair(opened, text, target_text))
        return 0
    if target_text is not None:
        raise UserError("--target-text goes with --text; of a file it is a column: --target NAME")
    if file is None:
        raise UserError('name a file, - for standard input, or one text: rung score RUN --text "..."')
    no_option(file)
    from rung import terminal

    if survey:
        return _show_survey(run, file, field, (keep, out, worst), json, quiet)
    if json:
        raise UserError("--json goes with --survey; scores are JSON lines in any case")
    from rung.evaluation.filter import Scoring

    scoring = Scoring(load_scorer(run), file, field=field, target=target, keep=keep, worst=worst, out=out)
    shown = out is None and sys.stdout.isatty()
    records, kept, n_bad = 0, 0, 0
    places: list[str] = []
    with (
        terminal.FileProgress(file, scoring.size, quiet=quiet or shown) as progress,
        closing(scoring.parts()) as parts,
    ):
        for part in parts:
            if out is None:
                sys.stdout.write(part.output)
                sys.stdout.flush()
            records, kept = records + part.records, kept + part.kept
            n_bad += len(part.errors)
            places = (places + part.errors)[:3]
            progress.update(part.position, records)
    if not quiet and (note := scoring.training_rows.note()) is not None:
        print(f"rung: {note}", file=sys.stderr)
    if keep is not None and not quiet:
        print(f"rung: kept {kept:,} of {records:,} records", file=sys.stderr)
    if n_bad:
        more = "; ..." if n_bad > len(places) else ""
        print(
            f"rung: {n_bad:,} of {records:,} records not scored: {'; '.join(places)}{more}", file=sys.stderr
        )
    return 0


def _show_survey(
    run: Path, file: str, field: str | None, others: tuple[object, ...], json: bool, quiet: bool
) -> int:
    from rung import terminal
    from rung.evaluation.survey import survey
    from rung.runs import load_language_model

    if any(value is not None for value in others):
        raise UserError("--survey chooses nothing: leave out --keep, --worst and --out, or --survey")
    with terminal.FileProgress(file, None, quiet=quiet) as progress:
        found = survey(load_language_model(run), file, field, watch=progress.update)
    if found.note is not None and not quiet and not json:
        print(f"rung: {found.note}", file=sys.stderr)
    if json:
        show_json(
            {**asdict(found), "quantiles": {f"{share:g}": bits for share, bits in found.quantiles.items()}}
        )
        return 0
    terminal.survey(found)
    tenth = found.quantiles[0.1]
    print('\n--keep "top 10%" keeps exactly a tenth of the records, this about as many:')
    words = ["rung", "score", str(run), file, *([] if field is None else ["--field", field])]
    print(f"next: {shlex.join([*words, '--keep', f'bits_per_byte <= {tenth:.4g}'])}")
    return 0
