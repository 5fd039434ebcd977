"""The calls that make runs: training, going on, comparing rungs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.evaluation.climb import BESIDE_WAYS, DEFAULT_MINUTES
from rung.evaluation.climb import climb as _climb
from rung.evaluation.ways import WaysOptions
from rung.events import Event
from rung.experiments import (
    Stop,
    Watch,
    find_lr_of,
    never,
    notes_of,
    prompt_of,
    run_experiment,
    sampler,
    watch,
    with_notes,
    write_page,
)
from rung.models.own import trusting
from rung.numbers import numbers_checked
from rung.run_files import DATA, RECIPE
from rung.run_folders import held, new_run
from rung.runs import Run, load
from rung.signatures import takes
from rung.tasks import task_from, task_of
from rung.text.options import DataOptions, LabelOptions
from rung.training import again, best, restarts
from rung.training.again import Again
from rung.training.config import TrainingConfig, setting_names
from rung.training.experiment import (
    AgainOptions,
    Experiment,
    RunOptions,
    command_line,
    differing,
    inputs_of,
    split_settings,
)
from rung.training.recipes import load_recipe
from rung.training.sweep_options import SweepOptions

if TYPE_CHECKING:
    from rung.training.lr_finder import Sweep


@takes(TrainingConfig, DataOptions, LabelOptions, RunOptions, absent=("label",), and_others=True)
def train(
    rung: str, data: str | Path, *, on_event: Watch | None = None, stop: Stop = never, **settings: Any
) -> Run:
    """Train one rung on data and return its run.

    Args:
        rung: its name: bigram, ngram, neural-bigram, gpt, ..., or a class of your own, "./mine.py:MyModel".
        data: a built-in text (shakespeare, names), a file, folder, glob, https URL, or - for standard input.
        on_event: called with every event as it happens.
        stop: asked after every step; True saves a checkpoint and ends training (see `resume`).
        settings: those below, None being the rung's own choice, and without a budget its own, mostly 2,000 steps; and
            the settings of the rung (`order`, `n_layer`, ...: `rung train RUNG --help` lists them). With
            `label` a classifier is trained; its tokenizer is by default word. `from_` and `weight`: `StartOptions`.

    Raises UserError when something in the input is at fault.
    """
    return run_experiment(Experiment.of(rung, data, settings), on_event=on_event, stop=stop)


def train_again(
    path: str | Path, *, on_event: Watch | None = None, stop: Stop = never, **settings: Any
) -> Again:
    """Make a run anew from what its `run.json` says, and tell whether it is the same, byte for byte.

    Args:
        path: a run's folder, or a `run.json` by itself.
        on_event, stop: as in `train`.
        settings: `out`, by default the next free `runs/RUNG`; `force`; `seed` and `device`, by default the same.

    Raises UserError when the recipe doesn't say what was asked for, or the text has changed.
    """
    (where,) = split_settings(settings, AgainOptions)
    old = again.earlier(path)
    experiment = again.experiment_of(old, AgainOptions(**where))
    new = run_experiment(
        experiment, on_event=on_event, stop=stop, check=lambda dataset: again.check_data(old, dataset)
    )
    return again.outcome(old, new, Path(path))


@takes(TrainingConfig, DataOptions, RunOptions)
def train_best(
    data: str | Path,
    *,
    on_event: Callable[[str, Event], None] | None = None,
    stop: Stop = never,
    **settings: Any,
) -> Run:
    """Spend `minutes` (by default 10) on the lowest loss this text allows: count, try sizes, train, mix.

    All is as in `train`, but `on_event` gets the part at work too. What was tried
    stands in the run's `run.json`; see `rung.training.best`.

    Raises UserError when something in the input is at fault, or a part was stopped before it was finished.
    """
    training, options, where = split_settings(settings, TrainingConfig, DataOptions, RunOptions)
    run = RunOptions(**where)
    folder = run.folder("best")
    task = task_of("language")
    reading = DataOptions(**options)
    how = TrainingConfig(**training)
    asked = differing(how) | differing(reading) | differing(run, ("seed", "device"))
    with new_run(folder, force=run.force, inputs=inputs_of(data, reading), parts=[best.PARTS]) as place:
        corpus = task.prepare(data, place / DATA, reading)
        events = best.train_best(
            corpus,
            place,
            training=how,
            seed=run.seed,
            device=run.device,
            command=command_line("best", data, asked),
            sample=sampler("language", how.sample_prompt),
            stop=stop,
        )
        for name, event in with_notes([("data", note) for note in notes_of(corpus)], events):
            if on_event is not None:
                on_event(name, event)
        write_page(load(folder))
    return load(folder)


@takes(RunOptions)
def train_recipe(
    name: str,
    *,
    minutes: float | None = None,
    on_event: Watch | None = None,
    stop: Stop = never,
    **settings: Any,
) -> Run:
    """Reproduce a published result (`rung.training.recipes`); a run that was begun in `out` is resumed.

    Args:
        name: the recipe's.
        minutes: the most minutes it may take; the learning rate's schedule is squeezed into them.
        on_event, stop: as in `train`.
        settings: below; `out` is by default the next free `runs/NAME`.

    Raises UserError when there is no such recipe.
    """
    recipe = load_recipe(name)
    (where,) = split_settings(settings, RunOptions)
    run = RunOptions(**where)
    folder = run.folder(name)
    if not run.force and (folder / RECIPE).exists() and load(folder).recipe["status"] != "finished":
        return resume(folder, on_event=on_event, stop=stop)
    limit = {} if minutes is None else {"minutes": minutes}
    experiment = Experiment.of(recipe.rung, recipe.data, recipe.settings | limit)
    return run_experiment(replace(experiment, run=replace(run, out=folder)), on_event=on_event, stop=stop)


@takes(
    SweepOptions, TrainingConfig, DataOptions, LabelOptions, RunOptions, absent=("label",), and_others=True
)
def find_lr(
    rung: str, data: str | Path, *, on_event: Watch | None = None, stop: Stop = never, **settings: Any
) -> Sweep | None:
    """Sweep the learning rate over some steps, by default a hundred, and suggest one. None when stopped.

    Nothing is trained.

    Everything as in `train`; the folder, by default the next free `runs/RUNG-lr`, gets a picture, `lr_finder.svg`. A
    run that is there stays.

    Raises UserError when something in the input is at fault or the loss never falls.
    """
    names = setting_names(SweepOptions)
    options = SweepOptions(**{name: settings.pop(name) for name in names if name in settings})
    return find_lr_of(Experiment.of(rung, data, settings), options=options, on_event=on_event, stop=stop)


def resume(
    path: str | Path,
    *,
    steps: int | None = None,
    tokens: int | None = None,
    minutes: float | None = None,
    finish: bool = False,
    on_event: Watch | None = None,
    stop: Stop = never,
    trust: bool | str | Path = False,
) -> Run:
    """Go on with a run that was stopped, killed or crashed, from its last checkpoint; or past its budget.

    Args:
        path: the run's folder.
        steps, tokens, minutes: a budget of the whole run, in place of the one it has: a finished run goes on to there,
            a stopped one ends there. What becomes of the learning rate: `rung.training.going_on`.
        finish: make no step more: the best model there is becomes the run's.
        on_event, stop: as in `train`.
        trust: as in `load`.

    Raises UserError when there is no such run, it has finished and no budget is given, or it can't go on.
    """
    run = load(path, trust=trust)
    budget = numbers_checked({"steps": steps, "tokens": tokens, "minutes": minutes}, TrainingConfig)
    with held(run.folder), trusting(trust):
        events = restarts.resume(
            run,
            budget=budget,
            finish=finish,
            sample=sampler(run.task.name, prompt_of(run)),
            stop=stop,
            page=write_page,
        )
        watch(events, on_event)
    return load(path, trust=trust)


@takes(TrainingConfig, DataOptions, LabelOptions, RunOptions, absent=("label",))
def climb(
    data: str | Path,
    *,
    rungs: Iterable[str] | None = None,
    on_event: Callable[[str, Event], None] | None = None,
    stop: Stop = never,
    command: str = "",
    **settings: Any,
) -> dict[str, Any]:
    """Train every rung on the same data under one budget each, compare them, write `report.html` and `report.json`.

    Args:
        data: as in `train`.
        rungs: names from the ladder; None = the task's own choice.
        on_event: called with the rung's name and each event.
        stop: asked after every step; True ends the climb with the rungs finished so far.
        command: what was typed, for the report.
        settings: below; without a budget each rung gets a minute. With `label` classifiers are trained; with
            `from_` too, a run, its network is used for the labels in four ways (`rung.evaluation.ways`).

    Returns what `report.json` says.
    """
    settings = dict(settings)
    names = None if rungs is None else tuple(rungs)
    task = task_of(settings.pop("task", None) or task_from(names or (), settings, [data]))
    training, options, where, start = split_settings(
        settings, TrainingConfig, task.options_class, RunOptions, WaysOptions
    )
    how = TrainingConfig(**training)
    if not how.has_budget:
        how = replace(how, minutes=DEFAULT_MINUTES)
    run = RunOptions(**where)
    return _climb(
        data,
        run.folder("climb"),
        task=task,
        rungs=names if names is not None else BESIDE_WAYS if start.get("from_") else task.ladder,
        start=WaysOptions(**start),
        options=task.options_class(**options),
        training=how,
        run=run,
        sample=sampler(task.name, how.sample_prompt),
        on_event=on_event,
        stop=stop,
        command=command,
    )
