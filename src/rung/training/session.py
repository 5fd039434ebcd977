"""One training from data to a finished run folder, as a stream of events; and the same, gone on with after a stop.

The recipe, `run.json`, is written before the first step and again with the result after the last, so a folder always
says what it is and `resume` needs nothing but the folder. With the first checkpoint, or at the end, the run stands: an
older one that it replaces goes (`rung.run_folders`).
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rung.errors import UserError
from rung.events import Checkpoint, Evaluation, Event, Finished, Note, Phase
from rung.files import sha256_of
from rung.models import rung_class
from rung.models.base import Model
from rung.opening import opening
from rung.process_group import SINGLE_PROCESS, ProcessGroup, current_group
from rung.run_files import EVENTS, LAST, MODEL, TOKENIZER
from rung.run_folders import Place
from rung.runs import Run, machine, save_model, versions, write_recipe
from rung.tasks import task_of
from rung.tasks.base import Dataset
from rung.tensors import load_tensors
from rung.training import going_on, parents
from rung.training.config import TrainingConfig
from rung.training.device import check_device
from rung.training.diagnosis import diagnose
from rung.training.journal import Journal, evaluations, loss_curves
from rung.training.trainers import Job, Sampler, trainer_of

CLOSED = "closed"
"""Why a training is over that was stopped and not gone on with."""
Page = Callable[[Run], None]


class Diverged(UserError):
    """The loss of a training was no longer a finite number."""


def describe(
    rung: str,
    dataset: Dataset,
    *,
    task: str = "language",
    config: Any = None,
    training: TrainingConfig | None = None,
    seed: int = 0,
    device: str = "auto",
    asked: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], str | None]:
    """The recipe of a training that is to be, nothing left open, and something to tell.

    Args:
        rung: its name on the ladder.
        dataset: what it is to be trained on.
        task: what is to be predicted.
        config: the rung's configuration; None = its defaults.
        training: how to train; counting rungs have no use for it.
        seed: of the weights, the batches and dropout.
        device: auto, cpu, cuda or mps.
        asked: more for the recipe: the `command` it was asked for by, and `asked`, the same as a program reads it.

    Raises UserError when something does not fit.
    """
    check_seed(seed)
    check_device(device)
    predicted, model_class = task_of(task), rung_class(rung, task)
    config = config if config is not None else model_class.config_class()
    recipe: dict[str, Any] = {
        "format": 1,
        **({} if task == "language" else {"task": task}),
        "status": "training",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "machine": machine(),
        **(asked or {}),
        "seed": seed,
        "device": device,
        "tokenizer": dataset.tokenizer.kind,
        "data": dataset.facts,
    }
    trainer, message = trainer_of(model_class), None
    if trainer.by_gradient:
        training = training if training is not None else TrainingConfig()
        config, training, message = trainer.resolve(model_class, predicted, dataset, config, training, device)
        recipe["training"] = asdict(training)
    recipe["model"] = {**model_class.identity(), **predicted.shape(dataset), "config": asdict(config)}
    return recipe, message


def start(
    place: Place,
    dataset: Dataset,
    recipe: dict[str, Any],
    *,
    sample: Sampler | None = None,
    stop: Callable[[], bool] = lambda: False,
    page: Page | None = None,
) -> Iterator[Event]:
    """Train what `recipe` says into `place`, which holds the dataset as `data/` and nothing of an older run.

    Args:
        place: where the run is written.
        dataset: `place / "data"` is this very dataset.
        recipe: of `describe`.
        sample: writes a short text with the model, now and then.
        stop: asked after every step; True saves a checkpoint and ends the stream.
        page: writes the page of the finished run, which does not stand yet.

    Raises UserError when something does not fit, and, after everything worth keeping is saved, when training diverged.
    """
    dataset.tokenizer.save(place / TOKENIZER)
    write_recipe(place, recipe)
    yield from _train(place, recipe, dataset, sample, stop, page, resume=False)


def resume(
    place: Place,
    recipe: dict[str, Any],
    dataset: Dataset,
    *,
    sample: Sampler | None = None,
    stop: Callable[[], bool] = lambda: False,
    finish: bool = False,
    page: Page | None = None,
) -> Iterator[Event]:
    """Go on with a run from its last checkpoint, or from its beginning when there is none yet.

    finish: make no step more; the best there is at that checkpoint becomes the model.
    """
    yield from _train(place, recipe, dataset, sample, stop, page, resume=True, finish=finish)


def prolong(
    place: Place,
    run: Run,
    budget: Mapping[str, float | None],
    dataset: Dataset,
    *,
    sample: Sampler | None = None,
    stop: Callable[[], bool] = lambda: False,
    page: Page | None = None,
) -> Iterator[Event]:
    """Go on with a run, stopped or finished, with another budget for the whole of it (`rung.training.going_on`).

    A finished one stays what it is until the first checkpoint of what follows stands.
    """
    recipe = going_on.prolonged(run, budget)
    finished = run.recipe["status"] == "finished"
    if not finished:
        write_recipe(place, recipe)
    yield from _train(place, recipe, dataset, sample, stop, page, resume=True, replaces=finished)


def follow(
    group: ProcessGroup,
    folder: str,
    within: str,
    recipe: dict[str, Any],
    data: str,
    resume: bool,
    finish: bool,
    stop: Any,
) -> None:
    """Train along with the first process, which has called for it: the same steps, nothing said or written."""
    place = Place(Path(folder), within)
    run = Run(place.folder, recipe, trust=True)  # as the first process does
    job = Job(run, place, run.task.open(Path(data)), stop=stop, resume=resume, finish=finish, group=group)
    for _ in trainer_of(run.model_class).train(job):
        pass


def _train(
    place: Place,
    recipe: dict[str, Any],
    dataset: Dataset,
    sample: Sampler | None,
    stop: Callable[[], bool],
    page: Page | None,
    *,
    resume: bool,
    finish: bool = False,
    replaces: bool = False,
) -> Iterator[Event]:
    """`replaces`: a finished model lies there, and another recipe, until there is a checkpoint."""
    tokenizer_hash = sha256_of(dataset.folder / TOKENIZER)  # now: the folder moves when the run stands
    run = Run(place.folder, recipe)
    model_class = run.model_class
    trainer = trainer_of(model_class)
    resume = resume and (place / LAST).exists()
    group = current_group() if model_class.distributed else SINGLE_PROCESS
    group.call(
        "train",
        folder=str(place.root.absolute()),
        within=place.within,
        recipe=recipe,
        data=str(dataset.folder.absolute()),
        resume=resume,
        finish=finish,
    )
    job = Job(run, place, dataset, sample, stop, resume, finish, group)
    model: Model | None = None
    finished: Finished | None = None
    best: Evaluation | None = None
    with Journal(place / EVENTS) as journal:
        journal.rewind(_checkpoint_step(place / LAST) if resume else None)
        if (
            resume
            and "continued" in recipe
            and recipe["continued"][-1]["step"] == _checkpoint_step(place / LAST)
        ):
            yield journal.add(Note(going_on.told(recipe)))
        for event in trainer.train(job):
            if not isinstance(event, Event):
                model = event
            elif isinstance(event, Phase):
                yield event
            else:
                if isinstance(event, Checkpoint):
                    place.stand()
                    if replaces:
                        write_recipe(place, recipe)
                        (place / MODEL).unlink(missing_ok=True)
                        replaces = False
                if finish and isinstance(event, Finished) and event.reason == "budget":
                    event = replace(event, reason=CLOSED)
                yield journal.add(event)
                finished = event if isinstance(event, Finished) else finished
                best = event if isinstance(event, Evaluation) and event.best else best
        assert finished is not None
        if finished.reason == "interrupted":
            return
        if finished.reason == "diverged" and replaces:
            raise Diverged(
                f"going on with {run.folder} diverged before its first checkpoint; the run is as it was. Learn on "
                f"from it in a new run: rung train {run.rung} DATA --from {run.folder} --lr ..."
            )
        if finished.reason == "diverged" and not (place / LAST).exists():
            raise Diverged(
                f"training of {run.folder} diverged before its first checkpoint; nothing was kept. Try a lower --lr"
            )
        message = None
        if finished.reason in ("budget", "patience"):
            even = math.log(max(run.task.n_classes(model), 2))
            # A training loss that has more in it than the measure can't be held beside it.
            alike = math.isclose(run.task.even_guess(model), math.log(run.task.n_classes(model)))
            if alike:
                message = diagnose(*loss_curves(place / EVENTS), run.task.target, even=even)
        if finished.reason == CLOSED:
            message = going_on.told_closed(finished.step, _best_step(place / EVENTS))
        if message is not None:
            yield journal.add(Note(message))
    assert model is not None
    save_model(place, model)
    measured = None
    if "validation" in dataset.splits and model.has_probabilities:
        if best is None:
            yield Phase("measuring the validation split")
            measured = run.task.measure(model, dataset, "validation")
        else:  # these very weights were measured when they were kept
            assert best.measure is not None
            measured = replace(best.measure, nats=best.nats_per_target * best.measure.targets)
        if (writing := run.task.writing(model, dataset, "validation")) is not None:
            measured = replace(measured, figures={**measured.figures, **writing.figures})
    recipe = dict(recipe)
    recipe["status"] = "finished"
    # What was left open before training (an order, an amount of smoothing) is closed now.
    recipe["model"] = model.describe()
    recipe["result"] = {
        "validation": None if measured is None else measured.to_json(),
        "train_seconds": finished.seconds,
        "train_tokens": finished.tokens,
        "steps": finished.step,
        "reason": finished.reason,
        "parameters": model.n_parameters,
        "sha256": {MODEL: sha256_of(place / MODEL), TOKENIZER: tokenizer_hash},
    }
    rows = recipe.get("training", {}).get("batch_size")
    if of_each := run.task.read_of_each(dataset, finished.tokens, model_class, rows):
        recipe["result"]["mixture"] = of_each
    if "parent" in recipe:
        yield Phase("measuring the old and the new text, after")
        recipe["result"] |= parents.measured_after(recipe, model, dataset)
    if page is not None:
        page(Run(place / "", recipe))
    write_recipe(place, recipe)
    place.stand()
    if finished.reason == "diverged":
        raise Diverged(
            f"training diverged at step {finished.step}: {run.folder / MODEL} holds the best model before that;"
            f" try a lower --lr (it was {recipe['training']['lr']:g})"
        )


def check_seed(seed: int) -> None:
    """Raise UserError for a seed that torch's generators don't take."""
    if not 0 <= seed < 1 << 63:
        raise UserError(f"--seed {seed} is not possible: give a whole number from 0 to 9223372036854775807")


def _best_step(path: Path) -> int | None:
    """The step of the best evaluation that a journal tells of; None where none was made."""
    return max((event["step"] for event in evaluations(path) if event.get("best")), default=None)


def _checkpoint_step(path: Path) -> int:
    with opening(path):
        return int(json.loads(load_tensors(path)[1]["progress"])["step"])
