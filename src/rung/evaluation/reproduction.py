"""Published numbers beside ours: what each recipe's run reached, and when.

A recipe's run lies in a folder of its name; what has not been run yet stands in the table without a number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rung.errors import UserError
from rung.measure import number
from rung.runs import EVENTS, RECIPE, Run, load
from rung.training.journal import evaluations
from rung.training.recipes import NATS, Recipe


@dataclass(frozen=True)
class Reproduction:
    """One recipe and what came of it. Losses in nats per token of validation text, its closing marks counted; of made
    tasks the share of texts that are right when the model is left alone.

    Attributes:
        recipe: what was published, and how it is followed.
        ours: the finished run's loss, or what figure the recipe names; None when there is no finished run.
        steps: optimiser steps taken; None for what counts.
        seconds: training time, evaluations included.
        parameters: of the model.
        reached: seconds of training after which an evaluation first stood at or below the published number; at the end,
            where it is no loss.
    """

    recipe: Recipe
    ours: float | None = None
    steps: int | None = None
    seconds: float | None = None
    parameters: int | None = None
    reached: float | None = None


def reproductions(folder: Path, recipes: Iterable[Recipe]) -> list[Reproduction]:
    """What the runs in `folder` reached, one entry a recipe.

    Raises UserError when a run there was made with another rung than its recipe's.
    """
    return [_reproduction(recipe, folder / recipe.name) for recipe in recipes]


HEADING = """# Published results beside ours

Written by `rung recipes --train --markdown FILE`; `rung train --recipe NAME` runs one. Losses are nats per token of
validation text, closing marks counted, but for the made tasks, whose number is the share of texts written right; the
last column is how long our training took until an evaluation stood at or below the published number. The texts are
Rung's own: `names` is cut from the same kind of list as makemore's, 80/10/10, but is not its file, and `shakespeare`
is all plays, 5 MB, where nanoGPT's numbers are of 1 MB. So compare the rungs of the ladder rather than the last
digit.

"""


def markdown(rows: Iterable[Reproduction]) -> str:
    """The table as a Markdown page, a line a recipe."""
    lines = [
        "| recipe | what | published | ours | steps | seconds | published number reached after |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        reached = "not run" if row.ours is None else "not reached"
        lines.append(
            f"| `{row.recipe.name}` | {row.recipe.title}. {row.recipe.source} | {row.recipe.published:.3f} | "
            f"{_shown(row.ours, '.3f')} | {_shown(row.steps, ',')} | {_shown(row.seconds, ',.0f')} | "
            f"{reached if row.reached is None else f'{row.reached:,.0f} s'} |"
        )
    return HEADING + "\n".join(lines) + "\n"


def _reproduction(recipe: Recipe, place: Path) -> Reproduction:
    if not (place / RECIPE).exists():
        return Reproduction(recipe)
    run = load(place)
    if run.rung != recipe.rung:
        raise UserError(
            f"{place} holds a run of {run.rung}, but the recipe {recipe.name} is of {recipe.rung}"
        )
    if run.recipe["status"] != "finished":
        return Reproduction(recipe)
    result = run.recipe["result"]
    ours = number(result["validation"][recipe.figure])
    return Reproduction(
        recipe,
        ours=ours,
        steps=result["steps"] or None,
        seconds=result["train_seconds"],
        parameters=result["parameters"],
        reached=_reached(run, recipe, ours),
    )


def _reached(run: Run, recipe: Recipe, ours: float) -> float | None:
    """Seconds until the loss was as low as published; the end when only the last measure is."""
    events = run.folder / EVENTS
    if events.exists() and recipe.figure == NATS:
        for event in evaluations(events):
            if recipe.reached_by(number(event[NATS])):
                return event["seconds"]
    return run.recipe["result"]["train_seconds"] if recipe.reached_by(ours) else None


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
