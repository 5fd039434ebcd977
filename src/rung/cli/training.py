"""`rung climb`, `rung train` and `rung recipes`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from rung.cli.common import Text, flatten, no_option, show_json, stopped
from rung.errors import UserError
from rung.interrupts import interruptible
from rung.models import RUNGS, rung_class

if TYPE_CHECKING:
    from rung.runs import Run
    from rung.training.lr_finder import Sweep


def climb(
    data: Text,
    *,
    out: Path | None = None,
    rungs: str | None = None,
    training: Any,
    options: Any,
    seed: int = 0,
    device: str = "auto",
    force: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Train the ladder's rungs on one text, compare them, say what each step up buys.

    Example: rung climb my.txt --minutes 2

    Args:
        data: shakespeare, names, a file, folder, glob, https URL, hf://owner/dataset, or - for standard input.
        out: where the runs and the report go; by default runs/climb.
        rungs: which rungs, comma-separated; by default bigram,ngram,infinigram,neural-bigram,gpt,mix.
        seed: of weights, batches, dropout and the bootstrap.
        device: auto, cpu, cuda or mps.
        force: overwrite the climb that is there.
        json: print the report as one JSON object, nothing else.
        quiet: show no progress.
    """
    no_option(data)
    from rung import api, terminal
    from rung.evaluation.compare import DEFAULT_MINUTES, LADDER
    from rung.evaluation.compare import climb as run_climb
    from rung.evaluation.report import headline
    from rung.runs import free_folder

    if training.steps is None and training.tokens is None and training.minutes is None:
        training = replace(training, minutes=DEFAULT_MINUTES)
    folder = out if out is not None else free_folder("climb")
    names = LADDER if rungs is None else tuple(name.strip() for name in rungs.split(",") if name.strip())
    with interruptible() as stop, terminal.Progress(quiet=quiet or json) as progress:
        progress.phase(f"climbing {', '.join(names)} on {data}")
        report = run_climb(
            data,
            folder,
            rungs=names,
            options=options,
            training=training,
            force=force,
            seed=seed,
            device=device,
            sample=api.short_sample,
            on_event=progress.event,
            stop=stop,
            command="rung " + " ".join(sys.argv[1:]),
        )
    if json:
        show_json(report)
    else:
        terminal.climb_table(report)
        best = next(row for row in report["rungs"] if row["name"] == report["best"])
        print(f"\n{headline(report)}")
        print(f"best: {best['name']}, {best['bits_per_byte']:.3f} bits per byte")
        print(f"report: {folder / 'report.html'}")
        print(f"next: rung sample {best['run']}")
    return (
        stopped(f"; the report holds what was finished. Runs can be resumed, see {folder}") if stop() else 0
    )


def train(
    *,
    resume: Path | None = None,
    recipe: str | None = None,
    out: Path | None = None,
    seed: int = 0,
    device: str = "auto",
    force: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Train one rung: rung train RUNG DATA. Each rung has its own settings: rung train RUNG --help.

    Example: rung train ngram my.txt --order 6

    Args:
        resume: go on with this run, which was stopped, killed or crashed, from its last checkpoint.
        recipe: reproduce a published result, by name; an unknown name lists them.
        out: the recipe's run folder; by default runs/NAME.
        seed: of the recipe's weights, batches and dropout.
        device: auto, cpu, cuda or mps.
        force: overwrite the run that is there.
        json: print the result as one JSON object, nothing else.
        quiet: show no progress.
    """
    if recipe is not None:
        return follow_recipe(recipe, out, json, quiet, seed=seed, device=device, force=force)
    if resume is None:
        raise UserError(f"name a rung and a text, as in 'rung train gpt my.txt' (rungs: {', '.join(RUNGS)})")
    from rung import api, runs, terminal

    name = runs.load(resume).rung
    with interruptible() as stop, terminal.Progress(quiet=quiet or json) as progress:
        run = api.resume(resume, on_event=lambda event: progress.event(name, event), stop=stop)
    return show_run(run, json)


def follow_recipe(
    name: str, out: Path | None, json: bool, quiet: bool, *, seed: int, device: str, force: bool
) -> int:
    """Train as a recipe says; show ours beside the published number."""
    from rung import api, runs, terminal
    from rung.training.recipes import load_recipe

    recipe = load_recipe(name)
    if not (json or quiet):
        print(f"{recipe.title}\n{recipe.source}", file=sys.stderr)
    with interruptible() as stop, terminal.Progress(quiet=quiet or json) as progress:
        run = api.train_recipe(
            name,
            out=out if out is not None else runs.free_folder(name),
            force=force,
            seed=seed,
            device=device,
            on_event=lambda event: progress.event(recipe.rung, event),
            stop=stop,
        )
    code = show_run(run, json)
    if code == 0 and not json:
        ours = run.recipe["result"]["validation"]["nats_per_token"]
        print(f"published: {recipe.published:.3f} nats per token; ours: {ours:.3f}")
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
    """Published numbers beside ours: all recipes, and what their runs reached.

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
            print("\nnext: rung recipes --train, or one of them: rung train --recipe NAME")
    return 0


def train_command(name: str) -> Callable[..., int]:
    """The typed function behind `rung train NAME`; its flags are those of the rung's configuration."""
    from rung.models import descends
    from rung.text.options import DataOptions
    from rung.training.config import Budget, TrainingConfig

    model_class = rung_class(name)
    config_class = model_class.config_class
    training_class = TrainingConfig if descends(name) else Budget

    def command(
        data: Text,
        *,
        config: Any,
        training: Any,
        options: Any,
        out: Path | None = None,
        seed: int = 0,
        device: str = "auto",
        find_lr: bool = False,
        force: bool = False,
        json: bool = False,
        quiet: bool = False,
    ) -> int:
        no_option(data)
        from rung import api, runs, terminal

        if find_lr:
            with interruptible() as stop, terminal.Progress(quiet=quiet or json) as progress:
                progress.phase(f"reading and tokenising {data}")
                folder = out if out is not None else runs.free_folder(f"{name}-lr")
                found = api.find_lr_run(
                    name,
                    data,
                    folder,
                    config=config,
                    training=training if isinstance(training, TrainingConfig) else TrainingConfig(),
                    options=options,
                    force=force,
                    seed=seed,
                    device=device,
                    on_event=lambda event: progress.event(name, event),
                    stop=stop,
                )
            return show_learning_rate(name, data, folder, found, json)
        folder = out if out is not None else runs.free_folder(name)
        with interruptible() as stop, terminal.Progress(quiet=quiet or json) as progress:
            progress.phase(f"reading and tokenising {data}")
            run = api.train_run(
                name,
                data,
                folder,
                config=config,
                training=training if isinstance(training, TrainingConfig) else TrainingConfig(),
                options=options,
                force=force,
                seed=seed,
                device=device,
                on_event=lambda event: progress.event(name, event),
                stop=stop,
            )
        return show_run(run, json)

    command.__doc__ = f"""{RUNGS[name][1].capitalize()}.

    Example: rung train {name} shakespeare

    Args:
        data: shakespeare, names, a file, folder, glob, https URL, hf://owner/dataset, or - for standard input.
        out: the run's folder; by default runs/{name}, or runs/{name}-2 when that is taken, and so on.
        seed: of weights, batches and dropout.
        device: auto, cpu, cuda or mps.
        find_lr: train nothing; sweep the learning rate, suggest one and draw a picture, by default in runs/{name}-lr.
        force: overwrite the run that is there.
        json: print the result as one JSON object, nothing else.
        quiet: show no progress.
    """
    # What counts has no learning rate: its help does not mention the flag.
    command.__annotations__["find_lr"] = Annotated[bool, Parameter(show=descends(name))]
    flatten(command, config=config_class, training=training_class, options=DataOptions)
    return command


def train_best(
    data: Text,
    *,
    training: Any,
    options: Any,
    out: Path | None = None,
    seed: int = 0,
    device: str = "auto",
    force: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """The lowest loss for the minutes: count, try transformers of some sizes, train the best of them, mix.

    Example: rung train best my.txt --minutes 10

    Args:
        data: shakespeare, names, a file, folder, glob, https URL, hf://owner/dataset, or - for standard input.
        out: the run's folder; by default runs/best. Its parts lie in parts/, each a run of its own.
        seed: of weights, batches and dropout.
        device: auto, cpu, cuda or mps.
        force: overwrite the run that is there.
        json: print the result as one JSON object, nothing else.
        quiet: show no progress.
    """
    no_option(data)
    from rung import api, terminal

    with interruptible() as stop, terminal.Progress(quiet=quiet or json) as progress:
        progress.phase(f"reading and tokenising {data}")
        run = api.train_best(
            data,
            out=out,
            force=force,
            seed=seed,
            device=device,
            on_event=progress.event,
            stop=stop,
            **asdict(training),
            **asdict(options),
        )
    if not json:
        terminal.tried_table(run.recipe["tried"])
    return show_run(run, json)


def show_run(run: Run, json: bool) -> int:
    """The result of a training; how to go on when it was stopped."""
    from rung import terminal

    if run.recipe["status"] != "finished":
        return stopped(f"; a checkpoint is saved, go on with: rung train --resume {run.folder}")
    result = run.recipe["result"]
    if json:
        keys = ("validation", "train_seconds", "parameters")
        show_json({"run": str(run.folder), **{key: result[key] for key in keys}})
        return 0
    measured = result["validation"]
    if measured is not None:
        print(
            f"{run.rung}: {measured['bits_per_byte']:.3f} bits per byte on validation text "
            f"({measured['nats_per_token']:.3f} nats per {run.tokenizer.kind} token)"
        )
    print(f"{terminal.count(result['parameters'])} parameters, {result['train_seconds']:.1f} s of training")
    print(f"run: {run.folder}")
    usable = run.model.has_probabilities
    print(
        f"next: rung sample {run.folder}"
        if usable
        else "it gives scores, not probabilities: it can't be sampled"
    )
    return 0


def show_learning_rate(rung: str, data: str, folder: Path, found: Sweep | None, json: bool) -> int:
    """What a sweep of the learning rate found."""
    from rung.training.lr_finder import PICTURE

    if found is None:
        return stopped("; nothing was found out yet")
    if json:
        show_json({"run": str(folder), "suggestion": found.suggestion, "picture": str(folder / PICTURE)})
        return 0
    print(
        f"suggested learning rate: {found.suggestion:g}, where the smoothed loss falls fastest\n"
        f"picture: {folder / PICTURE}\nnext: rung train {rung} {data} --lr {found.suggestion:g}"
    )
    return 0
