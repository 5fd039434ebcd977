"""`rung recipes`, and `rung train --recipe`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rung.cli.common import settings_of, show_json, stopped
from rung.cli.results import show_run
from rung.interrupts import interruptible

if TYPE_CHECKING:
    from rung.training.experiment import RunOptions


def follow_recipe(name: str, run: RunOptions, json: bool, quiet: bool) -> int:
    """Train as a recipe says; show ours beside the published number."""
    from rung import api, terminal
    from rung.measure import number
    from rung.training.recipes import load_recipe

    recipe = load_recipe(name)
    if not (json or quiet):
        print(f"{recipe.title}\n{recipe.source}", file=sys.stderr)
    with interruptible() as stop, terminal.Progress(quiet=quiet or json) as progress:
        trained = api.train_recipe(
            name,
            on_event=lambda event: progress.event(recipe.rung, event),
            stop=stop,
            **settings_of(run),
        )
    code = show_run(trained, json)
    if code == 0 and not json:
        ours = number(trained.recipe["result"]["validation"][recipe.figure])
        what = recipe.figure.replace("_", " ")
        print(f"published: {recipe.published:.3f} {what}; ours: {ours:.3f}")
    return code


def recipes(
    *names: str,
    train: bool = False,
    minutes: float | None = None,
    out: Path = Path("runs/recipes"),
    markdown: Path | None = None,
    seed: int = 0,
    device: str = "auto",
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Published numbers beside those that our runs reached.

    Example: rung recipes --train --minutes 20 --markdown recipes.md

    Args:
        names: which recipes; by default all.
        train: train those that are not finished in OUT first, one after the other; Ctrl-C and the same command again
            go on where it stopped.
        minutes: the most minutes for each; its schedule is squeezed into them.
        out: the folder that holds a run for each recipe.
        markdown: write the table to this file too.
        seed: of weights, batches and dropout.
        device: auto, cpu, cuda or mps.
        json: print the table as one JSON object, nothing else.
        quiet: show no progress.
    """
    from rung import api, terminal
    from rung.evaluation import reproduction
    from rung.files import atomic_path
    from rung.training.recipes import load_recipe, recipe_names

    wanted = [load_recipe(name) for name in names or recipe_names()]
    rows = reproduction.reproductions(out, wanted)
    if train:
        with interruptible() as stop, terminal.Progress(quiet=quiet or json) as progress:
            for row in rows:
                name = row.recipe.name
                if row.ours is not None or stop():
                    continue
                progress.phase(f"{name}: {row.recipe.title}")
                api.train_recipe(
                    name,
                    out=out / name,
                    minutes=minutes,
                    seed=seed,
                    device=device,
                    on_event=lambda event, name=name: progress.event(name, event),
                    stop=stop,
                )
        if stop():
            return stopped("; the same command goes on from here")
        rows = reproduction.reproductions(out, wanted)
    if markdown is not None:
        with atomic_path(markdown) as temporary:
            temporary.write_text(reproduction.markdown(rows), encoding="utf-8")
    if json:
        show_json({"recipes": [asdict(row) for row in rows]})
    else:
        terminal.recipe_table(rows)
        if all(row.ours is None for row in rows):
            print(f"\nall of them: rung recipes --train\nnext: rung train --recipe {rows[0].recipe.name}")
    return 0
