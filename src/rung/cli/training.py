"""`rung train`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from rung.cli.common import Text, defaults_in_words, flatten, no_option, settings_of
from rung.cli.learning_rate import show_learning_rate
from rung.cli.recipes import follow_recipe
from rung.cli.results import show_run
from rung.errors import UserError
from rung.interrupts import interruptible
from rung.models import rung_class, rungs_by_task, summary_of

if TYPE_CHECKING:
    from rung.events import Event
    from rung.training.experiment import AgainOptions


def train(
    *,
    resume: Path | None = None,
    again: Path | None = None,
    steps: int | None = None,
    tokens: int | None = None,
    minutes: float | None = None,
    finish: bool = False,
    recipe: str | None = None,
    run: Any,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Train one rung: rung train RUNG DATA.

    Each rung has its own settings: rung train RUNG --help.

    Example: rung train ngram my.txt --order 6

    Args:
        resume: go on with this run, which was stopped, killed or crashed, from its last checkpoint; with a budget,
            which is that of the whole run, with a finished one too. The schedule is stretched over it; constant and
            inverse-root go on as they were.
        steps: with --resume: the whole run is to have so many steps, those made before counted.
        tokens: with --resume: the same in training tokens.
        minutes: with --resume: the same in minutes.
        finish: with --resume: make no step more; the best model there is becomes the run's.
        again: make this run anew, from its folder or its run.json alone, and say whether it is the same, byte for byte.
        recipe: reproduce a published result, by name; an unknown name lists them.
        json: print the result as one JSON object, nothing else.
        quiet: show no progress.
    """
    if [resume, again, recipe].count(None) < 2:
        raise UserError("--resume, --again and --recipe are three trainings; give one of them")
    given = {"steps": steps, "tokens": tokens, "minutes": minutes, "finish": finish or None}
    extra = next((name for name, value in given.items() if value is not None), None)
    if resume is None and extra is not None:
        raise UserError(f"--{extra} goes with --resume RUN, or with a rung and a text: rung train gpt my.txt")
    if recipe is not None:
        return follow_recipe(recipe, run.after(), json, quiet)
    if again is not None:
        return repeat(again, run, json, quiet)
    if resume is None:
        raise UserError(f"name a rung and a text, as in 'rung train gpt my.txt' ({rungs_by_task()})")
    from rung import api, runs, terminal

    name = runs.load(resume).rung
    with interruptible() as stop, terminal.Progress(quiet=quiet or json) as progress:
        trained = api.resume(
            resume,
            steps=steps,
            tokens=tokens,
            minutes=minutes,
            finish=finish,
            on_event=lambda event: progress.event(name, event),
            stop=stop,
        )
    return show_run(trained, json)


def repeat(path: Path, run: AgainOptions, json: bool, quiet: bool) -> int:
    """Train as an earlier run was; say whether it came out the same."""
    from rung import api, terminal

    with interruptible() as stop, terminal.Progress(quiet=quiet or json) as progress:
        progress.phase(f"making {path} anew")
        found = api.train_again(
            path, on_event=lambda event: progress.event("again", event), stop=stop, **settings_of(run)
        )
    told = {"of": str(path), "same": found.same, "sha256": found.sha256, "reasons": list(found.reasons)}
    code = show_run(found.run, json, again=told)
    if code == 0 and not json:
        for line in terminal.again_in_words(found):
            print(line)
    return code


def check_resumed(arguments: list[str]) -> None:
    """Raise UserError for what stands beside --resume and would be another training."""
    names = [part.partition("=")[0] for part in arguments if part.startswith("--")]
    if "--resume" not in names:
        return
    from rung import runs
    from rung.training.config import TrainingConfig, setting_names
    from rung.training.experiment import RunOptions

    keeps = "a resumed run keeps its text and settings"
    if not arguments[0].startswith("-"):
        raise UserError(
            f"{arguments[0]!r} does not go with --resume: {keeps}; give rung train --resume RUN alone"
        )
    place = next(i for i, part in enumerate(arguments) if part.partition("=")[0] == "--resume")
    _, given, value = arguments[place].partition("=")
    path = value if given else next(iter(arguments[place + 1 : place + 2]), "")
    if not path:
        raise UserError("--resume needs a value: the run to go on with")
    run = runs.load(path)
    configs = (TrainingConfig, RunOptions, run.task.options_class, run.model_class.config_class)
    known = {"recipe", "find_lr", *(name for config in configs for name in setting_names(config))}
    for name in names:
        if name[2:].replace("-", "_") in known - {"steps", "tokens", "minutes"}:
            raise UserError(
                f"{name} does not go with --resume: {keeps} ({run.folder / runs.RECIPE}); leave it out, or train anew "
                "with another --out"
            )


def train_command(name: str, task: str, preset: str | None = None) -> Callable[..., int]:
    """The typed function behind `rung train NAME`; its flags are the fields of what an experiment is made of.

    Help tells the defaults of `preset`, where the rung has presets.
    """
    from rung.tasks import task_of
    from rung.training.config import Budget, TrainingConfig
    from rung.training.experiment import Experiment, RunOptions, check_names, differing
    from rung.training.parents import StartOptions
    from rung.training.sweep_options import NoOptions, SweepOptions
    from rung.training.trainers import trainer_of

    rung, model_class = name, rung_class(name, task)
    name = model_class.rung
    check_names(model_class, task_of(task).options_class)
    by_gradient = trainer_of(model_class).by_gradient
    summary = summary_of(model_class, task)

    def command(
        data: Text,
        *,
        config: Any,
        training: Any,
        options: Any,
        run: Any,
        start: Any,
        sweep: Any,
        find_lr: bool = False,
        json: bool = False,
        quiet: bool = False,
    ) -> int:
        no_option(data)
        from rung import experiments, terminal
        from rung.runs import Run

        how = training if by_gradient else TrainingConfig()
        if not find_lr and (given := differing(sweep)):
            raise UserError(f"--{next(iter(given)).replace('_', '-')} goes with --find-lr")
        place = run.folder(f"{name}-lr" if find_lr else name)
        experiment = Experiment(rung, data, task, config, how, options, replace(run, out=place), start)
        with interruptible() as stop, terminal.Progress(quiet=quiet or json) as progress:
            progress.phase(f"reading and tokenising {data}")

            def watch(event: Event) -> None:
                progress.event(name, event)

            if find_lr:
                found = experiments.find_lr_of(experiment, options=sweep, on_event=watch, stop=stop)
            else:
                found = experiments.run_experiment(experiment, on_event=watch, stop=stop)
        return (
            show_run(found, json) if isinstance(found, Run) else show_learning_rate(experiment, found, json)
        )

    command.__doc__ = f"""{summary[:1].upper()}{summary[1:].rstrip(".")}.

    Example: rung train {rung} {task_of(task).example}

    Args:
        data: shakespeare, names, a file, folder, glob, https URL, hf://owner/dataset, or - for standard input. Several
            texts, each with its share of what is learned from: --data books.txt:0.6 --data web.jsonl:0.4.
        find_lr: train nothing; sweep the learning rate, suggest one and draw a picture, by default in runs/{name}-lr.
        json: print the result as one JSON object, nothing else.
        quiet: show no progress.
    """
    # What counts has no learning rate: its help does not mention the flag.
    command.__annotations__["find_lr"] = Annotated[bool, Parameter(show=by_gradient)]
    flatten(
        command,
        defaults_in_words(model_class, preset),
        config=model_class.config_class,
        training=TrainingConfig if by_gradient else Budget,
        options=task_of(task).options_class,
        run=RunOptions,
        start=StartOptions,
        sweep=SweepOptions if by_gradient else NoOptions,
    )
    return command


def train_best(
    data: Text,
    *,
    training: Any,
    options: Any,
    run: Any,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """The lowest loss for the minutes: count, try transformers of some sizes, train the best of them, mix.

    Without a budget it takes 10 minutes. The parts lie in OUT/parts, each a run of its own.

    Example: rung train best my.txt --minutes 10

    Args:
        data: shakespeare, names, a file, folder, glob, https URL, hf://owner/dataset, or - for standard input. Several
            texts, each with its share of what is learned from: --data books.txt:0.6 --data web.jsonl:0.4.
        json: print the result as one JSON object, nothing else.
        quiet: show no progress.
    """
    no_option(data)
    from rung import api, terminal

    with interruptible() as stop, terminal.Progress(quiet=quiet or json) as progress:
        progress.phase(f"reading and tokenising {data}")
        trained = api.train_best(
            data, on_event=progress.event, stop=stop, **settings_of(training, options, run)
        )
    if not json:
        terminal.tried_table(trained.recipe["tried"])
    return show_run(trained, json)
