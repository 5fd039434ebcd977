"""`report.html` of one run: its curves on one chart, what it writes, its settings, split and measure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rung.evaluation import summary
from rung.evaluation.curves import Curve, curve_of
from rung.evaluation.details import DETAILS, details
from rung.evaluation.pages import template
from rung.evaluation.report import count, duration, size
from rung.files import atomic_path
from rung.measure import bits_of, number
from rung.opening import opening
from rung.run_files import EVENTS, RECIPE
from rung.runs import Run
from rung.training.journal import events_of

MOST_SAMPLES = 3


def write_run_page(run: Run, path: Path, sample: Callable[[Any, Any], str] | None = None) -> None:
    """Write the page of a finished run to `path`.

    Args:
        run: it.
        path: of the page.
        sample: writes a text with a model and its dataset, or None where the task's models write nothing.

    Raises UserError when the run is damaged or the page can't be written.
    """
    made = Run(run.folder, {**run.recipe, "status": "training"})  # its run.json is written after its page
    last = sample(made.model, made.corpus) if sample is not None and made.model.has_probabilities else None
    samples = _samples(run, last)
    with opening(run.folder / RECIPE):
        page = render_run(summary.summary(run), curve_of(run), samples, run.task, _details(made))
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def render_run(
    told: dict[str, Any],
    curve: Curve,
    samples: list[tuple[str, str]],
    task: Any,
    details: dict[str, Any] | None = None,
) -> str:
    """The page, as HTML in one string. The same facts give the same bytes."""
    from markupsafe import Markup

    measured: dict[str, Any] | None = told["result"]["validation"]
    shown = [] if measured is None else [column for column in task.columns if column.key in measured]
    values = {} if measured is None else measured
    drawing = None
    if curve.train or curve.validation:
        from rung.evaluation import plots

        rung = {"name": told["rung"], "curve": curve._asdict()}
        drawing = Markup(plots.losses(rung, 1, task.target))
    return template("run.html").render(
        told=told,
        measured=measured,
        bits=None if measured is None else f"{bits_of(measured):.3f}",
        unit=task.unit,
        drawing=drawing,
        samples=samples,
        labels=(details or {}).get("labels"),
        tags=(details or {}).get("tags"),
        translations=(details or {}).get("translations"),
        columns=shown,
        column_value=lambda column: format(number(values[column.key]), column.format),
        glossary=[
            (term, meaning.format(best=told["rung"], bits=f"{bits_of(measured):.3f}"))
            for term, meaning in task.glossary
            if measured is not None
        ],
        settings=summary.settings,
        made=summary.made(told),
        status=summary.status(told),
        count=count,
        duration=duration,
        size=size,
    )


def _details(run: Run) -> dict[str, Any]:
    """What the model makes of the validation part, where its task is one that can be looked at."""
    if run.task.name not in DETAILS or "validation" not in run.corpus.splits:
        return {}
    scores = run.task.scores(run.model, run.corpus, "validation")
    return details(run.task.name, run.model, run.corpus, "validation", scores)


def _samples(run: Run, last: str | None) -> list[tuple[str, str]]:
    """What it wrote on the way and in the end, each with when."""
    found = [
        (f"after step {event['step']:,}", event["text"])
        for event in events_of(run.folder / EVENTS, "sample")
        if isinstance(event.get("text"), str) and isinstance(event.get("step"), int)
    ]
    step = max(len(found) // MOST_SAMPLES, 1)
    return [*found[::step][:MOST_SAMPLES], *([("in the end", last)] if last is not None else [])]
