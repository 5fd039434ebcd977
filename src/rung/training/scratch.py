"""Training of NumPy's rungs, by the loop of the scratch engine: torch stays unloaded."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rung.batches import Batches
from rung.errors import UserError
from rung.events import Checkpoint, Evaluation, Event, Finished, Note, Sample, Step
from rung.files import json_text
from rung.measure import Measure
from rung.models.base import Model
from rung.models.scratch import ScratchModel
from rung.opening import check_array, check_finite, opening
from rung.run_files import LAST
from rung.run_folders import Place
from rung.scratch.optimizers import OPTIMIZERS, Adam, Momentum, Optimizer
from rung.scratch.tape import Value
from rung.scratch.training import Progress, TrainingSettings, train
from rung.tasks.base import Dataset, Task
from rung.tensors import load_tensors, save_tensors
from rung.training.config import BETA2, TrainingConfig
from rung.training.going_on import Continuation, last_of, schedule_of, taken_up
from rung.training.nearby import weights_near
from rung.training.parents import weights_of
from rung.training.progress import checkpoint_is_due, diverged_note, hopeless_loss, read_progress
from rung.training.trainers import Job, Trainer


class ScratchTrainer(Trainer):
    """Hands the model's batches to the engine's loop, and saves what it needs to go on."""

    by_gradient = True

    def resolve(
        self,
        model_class: Any,
        task: Task[Any],
        dataset: Dataset,
        config: Any,
        training: TrainingConfig,
        device: str,
    ) -> tuple[Any, TrainingConfig, str | None]:
        check_training(training)
        config = model_class.resolve_config(config, **task.sizes(dataset))
        training = training.of_one_batch(reads_blocks=model_class.reads_blocks)
        return config, training.resolved(model_class.training_defaults), None

    def train(self, job: Job) -> Iterator[Event | Model]:
        """Everything runs on the CPU, whatever `--device` says."""
        config, task, dataset = job.training, job.task, job.dataset
        model: ScratchModel[Any] = job.model_class.initialise(job.config, seed=job.seed, **job.shape)
        weights = None if job.resume else weights_near(job, model.weights()) or weights_of(job.run)
        if weights is not None:
            model.load_tensors(weights)
        batches = task.batches(model, dataset, config.window, config.batch_size, job.seed)
        evaluate = partial(task.measure, model, dataset, "validation")
        yield from train_model(
            model,
            batches,
            config,
            job.place,
            evaluate=evaluate if "validation" in dataset.splits else None,
            hopeless=hopeless_loss(task.n_classes(model)),
            held_out_targets=dataset.stream("validation").n_tokens if "validation" in dataset.splits else 0,
            sample=None if job.sample is None else partial(job.sample, model, dataset),
            stop=job.stop,
            resume=job.resume,
            finish=job.finish,
            continuation=last_of(job.run),
        )
        yield model


def train_model(
    model: ScratchModel[Any],
    batches: Batches,
    config: TrainingConfig,
    folder: Path | Place,
    *,
    evaluate: Callable[[], Measure] | None = None,
    hopeless: float = math.inf,
    held_out_targets: float = 0.0,
    sample: Callable[[], str] | None = None,
    stop: Callable[[], bool] = lambda: False,
    resume: bool = False,
    finish: bool = False,
    continuation: Continuation | None = None,
) -> Iterator[Event]:
    """Train `model` in place by `rung.scratch.training.train`; arguments, events and files as of `train_network`.

    hopeless: the loss of an evaluation, nats per target, above which a training has diverged.
    held_out_targets: how many targets `evaluate` measures.
    """
    assert config.lr is not None
    weights = model.network.parameters()
    kind = OPTIMIZERS["gd" if config.optimizer == "sgd" else config.optimizer]
    optimizer = kind(weights.values(), config.lr, decay=config.weight_decay or 0.0)
    if isinstance(optimizer, Adam):
        optimizer.beta1 = optimizer.beta1 if config.beta1 is None else config.beta1
        optimizer.beta2 = BETA2 if config.beta2 is None else config.beta2
        optimizer.eps = optimizer.eps if config.eps is None else config.eps
    if isinstance(optimizer, Momentum) and config.momentum is not None:
        optimizer.mu = config.momentum
    progress, best = Progress(), dict[str, np.ndarray]()
    if resume:
        with opening(folder / LAST):
            progress = _load(folder / LAST, model, optimizer, best, batches.rows)
    saved_at, saved_step = time.monotonic(), progress.step
    measured: Measure | None = None

    def keep() -> Checkpoint:
        nonlocal saved_at, saved_step
        saved_at, saved_step = time.monotonic(), progress.step
        _save(folder / LAST, model, optimizer, best, progress)
        return Checkpoint(progress.step, LAST)

    def loss(t: int) -> tuple[Value, int]:
        batch = batches.batch(0 if config.overfit_one_batch else t)
        return model.loss(*batch.arrays), batch.n_targets

    def held_out() -> tuple[float, float]:
        nonlocal measured
        assert evaluate is not None
        measured = evaluate()
        return measured.nats_per_target, measured.bits_per_unit

    taken_up(progress, continuation)
    schedule = schedule_of(config, continuation)
    settings = TrainingSettings(
        steps=max(progress.step, 1) if finish else config.steps,
        tokens=None if finish else config.tokens,
        minutes=None if finish else config.minutes,
        schedule=lambda share: schedule(share, warmup=config.warmup, floor=config.min_lr),
        l1=config.l1,
        l2=config.l2,
        clip=config.clip,
        eval_every=config.eval_every,
        patience=config.patience,
        hopeless=hopeless,
        held_out=held_out_targets,
    )
    for event in train(
        model.network,
        optimizer,
        loss,
        settings,
        evaluate=None if evaluate is None or config.overfit_one_batch else held_out,
        stop=stop,
        progress=progress,
        best=best,
    ):
        if isinstance(event, Finished):
            if event.reason == "diverged":
                yield Note(diverged_note(event.step, config.lr))
            if event.reason == "interrupted" or (event.reason == "budget" and saved_step < event.step):
                yield keep()
        yield replace(event, measure=measured) if isinstance(event, Evaluation) else event
        if isinstance(event, Evaluation) and event.nats_per_target <= hopeless:
            if sample is not None:
                yield Sample(event.step, sample())
            yield keep()
        elif isinstance(event, Step) and checkpoint_is_due(config, event.step, time.monotonic() - saved_at):
            yield keep()


def check_training(training: TrainingConfig) -> None:
    """Raises UserError for a setting that the scratch engine's training does not have."""
    lacking = {"accumulate": 1, "average": None}
    for name, neutral in lacking.items():
        if getattr(training, name) != neutral:
            raise UserError(f"--{name} is not there for scratch rungs; leave it out, or train a torch rung")
    if training.shard:
        raise UserError("--shard is there for gpt alone; leave it out: other rungs fit into any process")
    if training.optimizer == "muon":
        raise UserError(
            "--optimizer muon is not there for scratch rungs; use sgd, momentum, nesterov, adam or adamw"
        )


def _save(
    path: Path,
    model: ScratchModel[Any],
    optimizer: Optimizer,
    best: dict[str, np.ndarray],
    progress: Progress,
) -> None:
    """Everything that training needs to go on as if it had never stopped, atomically."""
    weights = model.network.parameters()
    tensors = {f"model.{name}": weight.data for name, weight in weights.items()}
    tensors |= {f"best.{name}": data for name, data in best.items()}
    for name, memory in zip(weights, optimizer.state, strict=True):
        tensors |= {f"memory.{i}.{name}": array for i, array in enumerate(memory)}
    if model.carried is not None:
        tensors["carried"] = model.carried
    save_tensors(path, tensors, {"progress": json_text(asdict(progress))})


def _load(
    path: Path, model: ScratchModel[Any], optimizer: Optimizer, best: dict[str, np.ndarray], rows: int
) -> Progress:
    """Put back what `_save` wrote. Raises ValueError, KeyError when that does not fit."""
    tensors, metadata = load_tensors(path)
    for name, array in tensors.items():
        check_finite(name, array)
    for (name, weight), memory in zip(model.network.parameters().items(), optimizer.state, strict=True):
        names = [f"model.{name}", *(f"memory.{i}.{name}" for i in range(len(memory))), f"best.{name}"]
        for key in names[: None if best or names[-1] in tensors else -1]:
            check_array(key, tensors[key], "f4 f8", weight.data.shape)
        weight.data[...] = tensors[f"model.{name}"]
        for i, array in enumerate(memory):
            array[...] = tensors[f"memory.{i}.{name}"]
        if f"best.{name}" in tensors:
            best[name] = np.array(tensors[f"best.{name}"])
    if "carried" in tensors:
        model.carried = np.array(tensors["carried"])
        check_array("carried", model.carried, "f4 f8", model.start(rows).shape)
    progress = read_progress(Progress, metadata)
    optimizer.steps = progress.step
    return progress
