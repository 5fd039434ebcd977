"""The climb: every rung on the same data, split and tokeniser, under one budget each, measured on the test split.

Choices (which weights to keep) are made on the validation split; what is reported is measured on the test split.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rung.errors import Stopped, UserError
from rung.evaluation import statistics
from rung.evaluation.details import DETAILS, details
from rung.evaluation.report import FEWEST_STEPS, barely_trained, level_with_best, render, steps
from rung.evaluation.ways import ONE_WAY, WAYS, Contender, WaysOptions, rungs_of, verdict, ways_of
from rung.events import Evaluation, Event, Note, Phase, Step
from rung.files import atomic_path, write_json
from rung.generation.sampling import Sampling, generate
from rung.measure import bits_of
from rung.models import RUNGS, rung_class, short_name
from rung.run_files import DATA, REPORT
from rung.run_folders import Place, new_run
from rung.runs import Run, load, machine, versions
from rung.tasks.base import Dataset, Pieces, Task, columns_in
from rung.text.facts import notes, summary
from rung.training import restarts
from rung.training.config import TrainingConfig
from rung.training.experiment import Experiment, RunOptions, check_names, inputs_of
from rung.training.parents import StartOptions
from rung.training.session import check_seed
from rung.training.trainers import Sampler, trainer_of

DEFAULT_MINUTES = 1.0
BESIDE_WAYS = ("majority", "bag-of-words")
"""What the ways to use a run are set beside, unless told."""
SAMPLE_TOKENS = 300
ALL_WAYS = tuple(f"{rung}-{way}" for rung in RUNGS["classification"] for way in (*WAYS, ONE_WAY))


def climb(
    data: str | Path,
    folder: Path,
    *,
    task: Task[Any],
    rungs: tuple[str, ...],
    options: Any,
    training: TrainingConfig,
    run: RunOptions,
    start: WaysOptions | None = None,
    sample: Sampler | None = None,
    on_event: Callable[[str, Event], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    command: str = "",
) -> dict[str, Any]:
    """Train `rungs` in order into `folder/RUNG`, write `report.json` and `report.html` there; return the report.

    Args:
        data: any source.
        folder: where everything goes; the tokenised data lie there once and are shared by the runs.
        task: what is predicted.
        rungs: names from its ladder.
        options: how to read the data.
        training: the budget each rung gets, and the settings of gradient training.
        run: the seed, of every run and of the bootstrap; the device; whether to overwrite the climb that is there.
        start: a run whose network is used in four ways beside the rungs (`rung.evaluation.ways`).
        sample: writes the short texts shown during training.
        on_event: called with the rung's name and each event.
        stop: asked after every step; True ends the climb with the rungs finished so far.
        command: what was typed, for the report.

    Raises UserError when the input is at fault or no rung was finished.
    """
    ways = ways_of(start, task.name, training) if start is not None else []
    _check_rungs(rungs, task)
    check_seed(run.seed)
    contenders = [
        *rungs_of(rungs, training, task.name, one_way=start is not None and start.one_way),
        *ways,
    ]
    parts = tuple(dict.fromkeys([*RUNGS[task.name], *ALL_WAYS, *(one.name for one in contenders)]))
    inputs = (*inputs_of(data, options), *(way.parent.folder for way in ways if way.parent is not None))
    with new_run(folder, force=run.force, inputs=inputs, parts=parts) as place:
        corpus = task.prepare(data, place / DATA, _options_of(rungs[0], task, options))
        return _climb(
            data, corpus, place, task, contenders, options, training, run, sample, on_event, stop, command
        )


def _climb(
    data: str | Path,
    corpus: Dataset,
    place: Place,
    task: Task[Any],
    contenders: Sequence[Contender],
    options: Any,
    training: TrainingConfig,
    run: RunOptions,
    sample: Sampler | None,
    on_event: Callable[[str, Event], None] | None,
    stop: Callable[[], bool],
    command: str,
) -> dict[str, Any]:
    """`climb`, with the data read into `place`. An older climb there goes when the last of the new runs stands."""
    if "test" not in corpus.splits:
        raise UserError("the climb is measured on test text: give --test FILE, or a --split with some")
    rungs = [one.name for one in contenders]
    if "mix" in rungs and "validation" not in corpus.splits:
        raise UserError(
            "mix learns its weights on validation text: give --val FILE, a --split with some, or --rungs without mix"
        )
    if on_event is not None:
        for note in (summary(corpus.facts), *notes(corpus.facts)):
            on_event("data", Note(note))
    pieces = task.pieces(corpus, "test")
    rows: list[dict[str, Any]] = []
    nats: dict[str, np.ndarray] = {}
    kept_scores: dict[str, np.ndarray] = {}
    part_of: dict[str, Place] = {}
    trained_alone = [name for name in rungs if name != "mix"]
    data_of: list[tuple[Any, Place]] = [(_options_of(contenders[0].rung, task, options), place)]
    for one in sorted(contenders, key=lambda one: one.name == "mix"):  # it mixes the others, so it comes last
        name = one.name
        part = place.part(name, replaces=name == trained_alone[-1])
        recorder = _Recorder()
        config = one.config
        if name == "mix":
            config = rung_class("mix", task.name).config_class(tuple(row["run"] for row in rows))
        own = _own_data(one, part, corpus, data_of, task, options)
        for event in restarts.start(
            one.rung,
            own,
            part,
            task=task.name,
            config=config,
            training=one.training,
            parent=None if one.start is None else one.parent,
            beginning=one.start,
            seed=run.seed,
            device=run.device,
            asked=_asked(one, data, task, config, options, run),
            sample=sample,
            stop=stop,
        ):
            recorder.add(event)
            if on_event is not None:
                on_event(name, event)
        recorder.keep_best()
        trained = load(part / "")
        if trained.recipe["status"] != "finished":
            break
        if on_event is not None:
            on_event(name, Phase(f"measuring {task.size_of(corpus.facts['parts']['test'], 'test ')}"))
        scores = task.scores(trained.model, trained.corpus, "test")
        nats[name] = pieces.nats(scores)
        if task.name in DETAILS:
            kept_scores[name], part_of[name] = scores, part
        rows.append(_row(name, part.folder, trained, corpus, scores, nats[name], pieces, recorder, run.seed))
        if name == "mix":
            _count_parts(rows[-1], trained, rows[:-1])
        if stop():
            break
    if not rows:
        raise Stopped(
            "stopped before any rung was finished; go on with 'rung train --resume "
            f"{place.folder / rungs[0]}'"
        )
    best = min(rows, key=bits_of)
    if task.name in DETAILS:
        won = load(part_of[best["name"]] / "")
        best |= details(task.name, won.model, won.corpus, "test", kept_scores[best["name"]])
    report = {
        **_facts(task, corpus, training, run.seed, command),
        "rungs": rows,
        "steps": _steps(rows, nats, pieces.units, run.seed),
        "level_with_best": level_with_best(rows, nats, pieces.units, seed=run.seed),
        "best": best["name"],
    }
    ways = [one for one in contenders if one.parent is not None]
    if ways and (said := verdict(ways, rows, report["level_with_best"])) is not None:
        report["ways"] = said
    write_json(place / REPORT, report)
    with atomic_path(place / "report.html") as temporary:
        temporary.write_text(render(report), encoding="utf-8", errors="replace")
    place.stand()
    return report


def _options_of(rung: str, task: Task[Any], options: Any) -> Any:
    """How a rung wants the data to be read."""
    return task.suited(rung_class(rung, task.name), options)


def _own_data(
    one: Contender,
    part: Place,
    corpus: Dataset,
    read: list[tuple[Any, Place]],
    task: Task[Any],
    options: Any,
) -> Dataset:
    """The data in a rung's own tokens, in its `part`; by links where they have been `read` so before, which is kept."""
    tokenizer = None if one.parent is None else one.parent.tokenizer
    how = _options_of(one.rung, task, options)
    wanted = how if one.parent is None else one.parent.folder
    for earlier, place in read:
        if earlier == wanted:
            return task.open(place / DATA).link(part / DATA)
    read.append((wanted, part))
    return task.retokenized(corpus, part / DATA, how, tokenizer)


def _check_rungs(rungs: tuple[str, ...], task: Task[Any]) -> None:
    """Raises UserError for rungs that can't be climbed together."""
    if not rungs:
        raise UserError(f"--rungs is empty: name some of {', '.join(RUNGS[task.name])}")
    for name in rungs:
        check_names(rung_class(name, task.name), task.options_class)
    names = [short_name(name) for name in rungs]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"--rungs names {repeated[0]!r} twice")
    if "mix" in rungs and len(rungs) < 3:
        raise UserError("mix needs two other rungs or more to mix: name them in --rungs too")


def _asked(
    one: Contender,
    data: str | Path,
    task: Task[Any],
    config: Any,
    options: Any,
    run: RunOptions,
) -> dict[str, Any]:
    """How one would ask for this rung alone."""
    model_class = rung_class(one.rung, task.name)
    how = one.training if trainer_of(model_class).by_gradient else TrainingConfig()
    config = model_class.config_class() if config is None or one.start is not None else config
    start = StartOptions() if one.start is None else one.start
    experiment = Experiment(one.rung, data, task.name, config, how, options, run, start)
    return {"command": experiment.command, "asked": experiment.asked}


def _count_parts(row: dict[str, Any], run: Run, others: list[dict[str, Any]]) -> None:
    """A mixture can't be had without its parts, so their training time is its own too."""
    used = {getattr(part, "model", part).rung for part in run.model.parts}
    row["train_seconds"] += sum(other["train_seconds"] for other in others if other["name"] in used)
    row["tokens_per_second"] = run.recipe["result"]["train_tokens"] / row["train_seconds"]
    row["notes"].append("the training time of its parts is counted as its own")


def _steps(
    rows: list[dict[str, Any]], nats: dict[str, np.ndarray], units: np.ndarray, seed: int
) -> list[Any]:
    """What each rung bought over the one below; what the mixture bought over the best that it mixes."""
    alone = [row for row in rows if row["name"] != "mix"]
    taken = steps(alone, nats, units, seed=seed)
    if len(alone) < len(rows):
        best = min(alone, key=bits_of)
        taken += steps([best, rows[-1]], nats, units, seed=seed)
    return taken


def _row(
    name: str,
    folder: Path,
    run: Run,
    corpus: Dataset,
    scores: np.ndarray,
    piece_nats: np.ndarray,
    pieces: Pieces,
    recorder: _Recorder,
    seed: int,
) -> dict[str, Any]:
    writing = run.task.writing(run.model, run.corpus, "test")
    measured = {
        **run.task.measure_of(scores, corpus, "test").to_json(),
        **({} if writing is None else {**writing.figures, "by_length": writing.by_length}),
    }
    interval = statistics.bootstrap_interval(piece_nats, pieces.units, seed=seed)
    how = Sampling(max_tokens=SAMPLE_TOKENS, temperature=0.8, seed=seed)
    result = run.recipe["result"]
    epoch = run.task.epoch_targets(corpus)
    by_steps = result["steps"] > 0
    if by_steps and result["steps"] < FEWEST_STEPS:
        recorder.notes.append(barely_trained(result["steps"]))
    key = next(iter(key for key in measured if key.startswith("bits_per_")))
    return {
        "name": name,
        "run": folder.as_posix(),
        key: measured[key],
        "ci95": list(interval) if interval is not None else None,
        **{name: measured[name] for name in ("by_source", "by_length") if name in measured},
        **{column.key: measured[column.key] for column in columns_in(run.task.columns, [measured])},
        "parameters": result["parameters"],
        "steps": result["steps"] if by_steps else None,
        "epochs": result["train_tokens"] / epoch if by_steps else None,
        "train_seconds": result["train_seconds"],
        "tokens_per_second": result["train_tokens"] / max(result["train_seconds"], 1e-9),
        "bytes_on_disk": run.bytes_on_disk(),
        "sample": generate(run.model, run.tokenizer, "", how)[0].text if run.task.writes else None,
        "notes": recorder.notes,
        "settings": run.recipe["model"]["config"],
        "curve": {"train": recorder.train, "validation": recorder.validation},
    }


def _facts(
    task: Task[Any], corpus: Dataset, training: TrainingConfig, seed: int, command: str
) -> dict[str, Any]:
    facts = corpus.facts
    held = facts["parts"]["test"]
    return {
        **({} if task.name == "language" else {"task": task.name}),
        "data": {
            "name": facts["source"]["data"],
            "sha256": facts["source"]["sha256"],
            "documents_mode": facts["source"]["documents"],
            "parts": facts["parts"],
            "split": facts["split_rule"],
            "notes": [summary(facts), *notes(facts)],
        },
        "tokenizer": {"kind": corpus.tokenizer.kind, "vocab_size": corpus.tokenizer.vocab_size},
        "budget": _budget(training),
        "seed": seed,
        "command": command,
        "split": "test",
        **{key: held[key] for key in ("tokens", "bytes") if key in held},
        **held,
        "machine": machine(),
        "versions": versions(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _budget(training: TrainingConfig) -> str:
    parts = [
        f"{value:,g} {name if value != 1 else name[:-1]}"
        for name, value in (
            ("steps", training.steps),
            ("tokens", training.tokens),
            ("minutes", training.minutes),
        )
        if value is not None
    ]
    return " or ".join(parts) + " each"


class _Recorder:
    """Gathers the curves and notes of one training; of several restarts, the curves of the one that was kept."""

    def __init__(self) -> None:
        self.train: list[tuple[int, float, float]] = []
        self.validation: list[tuple[int, float, float, float]] = []
        self.notes: list[str] = []
        self._before: list[tuple[list[tuple[int, float, float]], list[tuple[int, float, float, float]]]] = []

    def keep_best(self) -> None:
        """Make the curves those of the restart with the lowest validation loss."""
        tries = [*self._before, (self.train, self.validation)]
        self.train, self.validation = min(
            tries, key=lambda tried: min((point[2] for point in tried[1]), default=math.inf)
        )

    def add(self, event: Event) -> None:
        match event:
            case Step() if self.train and event.step <= self.train[-1][0]:  # a restart begins
                self._before.append((self.train, self.validation))
                self.train, self.validation = [(event.step, event.seconds, event.loss)], []
            case Step():
                self.train.append((event.step, event.seconds, event.loss))
            case Evaluation():
                self.validation.append(
                    (event.step, event.seconds, event.nats_per_target, event.bits_per_unit)
                )
            case Note():
                self.notes.append(event.text)
            case _:
                pass
