"""How runs learned, from their events: one table, and one picture of them all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rung.errors import UserError
from rung.evaluation.tables import as_csv
from rung.files import atomic_path
from rung.run_folders import check_no_run
from rung.runs import EVENTS, Run
from rung.training.journal import events_of

SUFFIXES = (".svg", ".png", ".csv")


class Curve(NamedTuple):
    """What happened on the way; points that are no numbers are left out.

    train: (step, seconds, nats per target) of training batches, about ten a second.
    validation: (step, seconds, nats per target, bits per unit) of the whole validation split.
    """

    train: list[tuple[int, float, float]]
    validation: list[tuple[int, float, float, float]]


def curve_of(run: Run) -> Curve:
    """The curve of a run's training, empty for one that only counts, or that came without its events."""
    curve = Curve([], [])
    for event in events_of(run.folder / EVENTS, "step", "evaluation"):
        if event["kind"] == "step":
            numbers = [event.get(name) for name in ("step", "seconds", "loss")]
        else:
            values = {key.rsplit("_per_")[0]: value for key, value in event.items() if "_per_" in key}
            numbers = [event.get("step"), event.get("seconds"), values.get("nats"), values.get("bits")]
        if all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
            points: list[Any] = curve.train if event["kind"] == "step" else curve.validation
            points.append(tuple(numbers))
    return curve


def curves_for(runs: Sequence[Run], paths: Sequence[Path]) -> dict[str, Curve]:
    """The curves that `write_curves` will write into `paths`, by the run's folder; none where there are no paths.

    Raises UserError for a file that can't be written, of another kind or a part of a run, and when no run has a curve.
    """
    for path in paths:
        if path.suffix.lower() not in SUFFIXES:
            raise UserError(f"--curves {path} is of no kind that is known (known: {', '.join(SUFFIXES)})")
        check_no_run(path, "--curves")
    curves = {run.folder.as_posix(): curve_of(run) for run in runs} if paths else {}
    if paths and not any(curve.train or curve.validation for curve in curves.values()):
        raise UserError(f"--curves: none of {', '.join(curves)} has a curve: what only counts has none")
    return curves


def write_curves(runs: Sequence[Run], curves: dict[str, Curve], path: Path) -> None:
    """Write the curves of all runs (`curves_for`) into `path`, a .csv, .svg or .png.

    Raises UserError when the file can't be written.
    """
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".csv":
            temporary.write_text(_table(runs, curves) + "\n", encoding="utf-8")
        else:
            from rung.evaluation.plots import curves_picture

            ends = {run.folder.as_posix(): _end(run) for run in runs}
            task = runs[0].task
            temporary.write_bytes(curves_picture(curves, ends, task.unit, path.suffix.lower()[1:]))


def _table(runs: Sequence[Run], curves: dict[str, Curve]) -> str:
    """A line a point, in full; a training batch has no bits per unit."""
    task = runs[0].task
    headings = ["run", "part", "step", "seconds", f"nats_per_{task.target}", f"bits_per_{task.unit}"]
    rows: list[list[object]] = []
    for name, curve in curves.items():
        rows += [[name, "train", *point, None] for point in curve.train]
        rows += [[name, "validation", *point] for point in curve.validation]
    return as_csv(headings, rows)


def _end(run: Run) -> float | None:
    """The bits per unit of validation data that a run ended with, for those without a curve."""
    measured = run.recipe.get("result", {}).get("validation") or {}
    bits = next((value for key, value in measured.items() if key.startswith("bits_per_")), None)
    return float(bits) if isinstance(bits, int | float) and math.isfinite(bits) else None
