"""`rung climb`, `rung train` and `rung recipes`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from rung.cli.common import Text, defaults_in_words, flatten, no_option, settings_of, show_json, stopped
from rung.cli.learning_rate import show_learning_rate
from rung.errors import UserError
from rung.interrupts import interruptible
from rung.models import is_file, rung_class, rungs_by_task, summary_of

if TYPE_CHECKING:
    from rung.events import Event
    from rung.runs import Run
    from rung.training.experiment import AgainOptions, RunOptions


def climb(
    data: Text,
    *,
    rungs: str | None = None,
    training: Any,
    options: Any,
    run: Any,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Train several rungs on one text and compare them.

    All get the same data and budget, without one a minute each; what each step up buys is said. The runs and the
    report go to OUT, by default runs/climb; SEED is of the bootstrap too.

    Example: rung climb my.txt --minutes 2

    Args:
        data: shakespeare, names, a file, folder, glob, https URL, hf://owner/dataset, or - for standard input. Several
            texts, each with its share of what is learned from: --data books.txt:0.6 --data web.jsonl:0.4.
        rungs: which rungs, comma-separated, ./FILE.py:CLASS among them; by default
            bigram,ngram,infinigram,neural-bigram,gpt,mix; with --label: majority,bag-of-words.
        json: print the report as one JSON object, nothing else.
        quiet: show no progress.
    """
    no_option(data)
    from rung import api, terminal
    from rung.evaluation.report import headline
    from rung.measure import bits_of, unit_of
    from rung.tasks import task_from, task_of

    run = replace(run, out=run.folder("climb"))
    settings = settings_of(training, options, run)
    if rungs is None:
        names = list(task_of(task_from((), settings, [data])).ladder)
    else:
        names = [name.strip() for name in rungs.split(",") if name.strip()]
    with interruptible() as stop, terminal.Progress(quiet=quiet or json) as progress:
        progress.phase(f"climbing {', '.join(names)} on {data}")
        report = api.climb(
            data,
            rungs=names,
            on_event=progress.event,
            stop=stop,
            command="rung " + " ".join(sys.argv[1:]),
            **settings,
        )
    if json:
        show_json(report)
    else:
        terminal.climb_table(report)
        best = next(row for row in report["rungs"] if row["name"] == report["best"])
        own = any(map(is_file, names))
        print(f"\n{headline(report)}")
        print(f"best: {best['name']}, {bits_of(best):.3f} bits per {unit_of(best)}")
        print(f"report: {run.out / 'report.html'}")
        print(f"next: {terminal.next_step(best['run'], writes=best['sample'] is not None, own=own)}")
    return (
        stopped(f"; the report holds what was finished. Runs can be resumed, see {run.out}") if stop() else 0
    )


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
        ours = number(trained.recipe["result"]["validation"]["nats_per_token"])
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


def show_run(run: Run, json: bool, **told: Any) -> int:
    """The result of a training; how to go on when it was stopped."""
    from rung import terminal
    from rung.training.parents import in_words

    tested = run.recipe.get("training", {}).get("overfit_one_batch")
    if run.recipe["status"] != "finished" and tested:
        return stopped("; it was a test, and nothing is kept")
    if run.recipe["status"] != "finished":
        own = " --trust" if run.model_class.code is not None else ""
        return stopped(
            f"; a checkpoint is saved, go on with: rung train --resume {quote(str(run.folder))}{own} "
            "(or close it as it is: --finish)"
        )
    result = run.recipe["result"]
    if json:
        keys = ("validation", "train_seconds", "parameters", "mixture", "old_text", "new_text")
        show_json(
            {
                "run": None if tested else str(run.folder),
                **{key: result[key] for key in keys if key in result},
                **told,
            }
        )
        return 0
    if tested:
        print("it was a test of the model: no run is kept")
        return 0
    measured = result["validation"]
    if measured is not None:
        print(f"{run.rung}: {terminal.measured(measured, run.tokenizer.kind)}")
    elif "validation" not in run.recipe["data"]["parts"]:
        print(f"{run.rung}: not measured, as no validation text was held out")
    if "mixture" in result:
        terminal.mixture_table(result)
    if (forgotten := in_words(result)) is not None:
        print(forgotten)
    print(f"{terminal.count(result['parameters'])} parameters, {result['train_seconds']:.1f} s of training")
    print(f"run: {run.folder}")
    usable = run.model.has_probabilities
    own, tested = run.model_class.code is not None, "test" in run.recipe["data"]["parts"]
    print(
        f"next: {terminal.next_step(run.folder, writes=run.task.writes, tested=tested, own=own)}"
        if usable
        else "it gives scores, not probabilities: it can't be sampled"
    )
    return 0
