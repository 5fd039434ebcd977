"""Measuring a run on a split of its own data or on any other, in constant memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rung.errors import UserError, nearest
from rung.measure import Measure, checked
from rung.runs import Run
from rung.text.facts import notes
from rung.text.options import ReadOptions
from rung.text.splits import PARTS


def evaluate(
    run: Run, data: str | Path | None = None, *, split: str = "test", options: ReadOptions | None = None
) -> Measure:
    """Measure a run on a split of the data it was trained from, or on the whole of `data`.

    Args:
        run: a finished run.
        data: any source; None = the run's own.
        split: train, validation or test, of the run's own.
        options: how to read `data`.

    Raises UserError when the split or the data aren't there, or the measure is no number.
    """
    if data is not None:
        how = options if options is not None else ReadOptions()
        return checked(run.task.measure_on(run.model, run.tokenizer, data, how, run.recipe["data"]))
    if split not in PARTS:
        raise UserError(f"--split {split!r} is unknown{nearest(split, PARTS)} (known: {', '.join(PARTS)})")
    measured = checked(run.task.measure(run.model, run.corpus, split))
    overlap = {"in_training": run.corpus.facts.get("in_training", {})}
    return replace(measured, notes=tuple(notes(overlap, (split,))))
