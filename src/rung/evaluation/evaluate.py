"""Measuring a run on a split of its own data or on any other, and how sure that is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rung.errors import UserError, nearest
from rung.evaluation.statistics import bootstrap_interval, gathered
from rung.measure import Measure, checked
from rung.runs import Run
from rung.tasks.base import Reader
from rung.text.facts import notes
from rung.text.options import ReadOptions
from rung.text.splits import PARTS


def evaluate(
    run: Run, data: str | Path | None = None, *, split: str = "test", options: ReadOptions | None = None
) -> Measure:
    """Measure a run on a split of the data it was trained from, or on the whole of `data`, with a 95 % interval.

    Args:
        run: a finished run.
        data: any source; None = the run's own.
        split: train, validation or test, of the run's own.
        options: how to read `data`.

    Raises UserError when the split or the data aren't there, or the measure is no number.
    """
    if data is not None:
        how = options if options is not None else ReadOptions()
        (measured,) = run.task.measure_on([reader_of(run)], data, how)
        told = measured.measure.notes
    else:
        check_split(split)
        (measured,) = run.task.measure_together([run.model], [run.corpus], split)
        told = (*split_notes(run, split), *measured.measure.notes)
    measure = checked(measured.measure, str(run.folder))
    return replace(measure, notes=told, ci95=bootstrap_interval(*gathered(measured.nats, measured.units)))


def check_split(split: str) -> None:
    """Raise UserError for a name that is none of the parts of a split."""
    if split not in PARTS:
        raise UserError(f"--split {split!r} is unknown{nearest(split, PARTS)} (known: {', '.join(PARTS)})")


def reader_of(run: Run) -> Reader:
    """The run as it is measured on data that are not its own."""
    return Reader(run.model, run.tokenizer, run.recipe["data"])


def split_notes(run: Run, split: str) -> tuple[str, ...]:
    """What is to be known before a measure of a run's own split is trusted."""
    return tuple(notes({"in_training": run.corpus.facts.get("in_training", {})}, (split,)))
