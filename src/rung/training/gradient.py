"""Training of torch networks: from a job to what the loop takes, and from its weights back to a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import torch

from rung.embeddings import token_names
from rung.events import Event, Finished, Note
from rung.measure import Measure
from rung.models.base import Model
from rung.models.networks.torch_model import TorchModel
from rung.models.quantisation import load_weights
from rung.run_files import ADAPTER, LAST, MODEL
from rung.tasks.base import Dataset, Task
from rung.tensors import load_tensors
from rung.training import going_on, health, lr_finder, parents, transfer
from rung.training.config import TrainingConfig
from rung.training.device import pick_device
from rung.training.loop import train_network
from rung.training.nearby import NEAR, weights_near
from rung.training.parallel import DataParallel
from rung.training.precision import choose
from rung.training.progress import hopeless_loss
from rung.training.starting_vectors import start_embedding
from rung.training.sweep_options import SweepOptions
from rung.training.trainers import Job, Trainer


class TorchTrainer(Trainer):
    """Builds the network and its batches, and runs the loop."""

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
        config = model_class.resolve_config(config, **task.sizes(dataset))
        published = model_class.published_training(config)
        defaults = {**model_class.training_defaults, **published}
        if model_class.batch_tokens is not None and "batch_size" not in published:
            window = training.window if training.window is not None else asdict(config).get("context", 64)
            rows = task.rows_of(model_class.batch_tokens, dataset, window)
            defaults["batch_size"] = max(defaults["batch_size"], rows)
        width = min(asdict(config).get("n_embd", 128), 2048)
        wanted = training.precision if training.precision != "auto" else defaults.get("precision", "auto")
        precision, message = choose(wanted, torch.device(pick_device(device)), width)
        training = training.of_one_batch(reads_blocks=getattr(model_class, "reads_blocks", False))
        return config, replace(training, precision=precision).resolved(defaults), message

    def train(self, job: Job) -> Iterator[Event | Model]:
        training, task, dataset = job.training, job.task, job.dataset
        # What is used up by a batch that is too large may be asked for anywhere in here.
        with health.explaining_out_of_memory(training):
            model, parallel = _new_model(job)
            learn = parents.learn_of(job.run)
            if learn.kind != "all" and not job.resume:
                yield Note(transfer.in_words(model.network, learn))
            if not job.resume and (unread := task.unread(model, dataset)) is not None:
                yield Note(unread)
            batches = task.batches(model, dataset, training.window, training.batch_size, job.seed, job.group)

        def evaluate() -> Measure:
            with parallel.measuring(model.network) as catch_up:
                return task.measure(model, dataset, "validation", job.group, catch_up)

        sample = job.sample
        learns_on = "parent" in job.run.recipe or NEAR in job.run.recipe
        events = train_network(
            model.network,
            batches,
            training,
            job.place,
            seed=job.seed,
            evaluate=evaluate if "validation" in dataset.splits else None,
            first_loss=lambda loss: (
                None
                if learns_on
                else health.first_loss(loss, task.n_classes(model), task.target, task.even_guess(model))
            ),
            hopeless=hopeless_loss(task.n_classes(model)),
            # Generation reads whole weights.
            sample=None if sample is None or parallel.sharded else lambda: sample(model, dataset),
            stop=job.stop,
            resume=job.resume,
            finish=job.finish,
            continuation=going_on.last_of(job.run),
            parallel=parallel,
            held_out=_held_out(dataset) * batches.epoch_targets,
        )
        with health.explaining_out_of_memory(training):
            for event in events:
                if isinstance(event, Finished):
                    if training.overfit_one_batch and event.reason == "budget" and job.group.rank == 0:
                        yield Note(_memorised(job, model))
                    if parallel.sharded:
                        model = _unsharded(job, parallel)
                yield event
            if learn.kind != "all" and job.group.rank == 0:
                transfer.settle(model.network, learn, job.place / ADAPTER)
        yield model


def sweep(job: Job, options: SweepOptions | None = None) -> Iterator[Event | lr_finder.Sweep]:
    """Try learning rates on a new model instead of training it: Steps, and last what was found."""
    training = job.training
    with health.explaining_out_of_memory(training):
        model, _ = _new_model(job)
        batches = job.task.batches(
            model, job.dataset, training.window, training.batch_size, job.seed, job.group
        )
        yield from lr_finder.sweep(
            model.network, batches, training, seed=job.seed, options=options, stop=job.stop
        )


def _new_model(job: Job) -> tuple[Any, DataParallel]:
    """An untrained model on its device, or, with `shard`, this process's share of one."""
    device = pick_device(job.run.recipe["device"])
    job.group.check_device(device)
    shape = job.shape
    if job.model_class.sees_examples:
        shape = {**shape, "examples": job.task.examples(job.dataset, job.model_class)}
    model: TorchModel[Any] = job.model_class.initialise(job.config, seed=job.seed, **shape)
    learn = parents.learn_of(job.run)
    # What a checkpoint brings is not asked of the parent, who may be gone.
    if job.resume:
        new_rows = 0 if learn.kind == "all" else transfer.new_rows_in(load_tensors(job.place / LAST)[0])
    else:
        new_rows = _begun(job, model)
    if "vectors" in job.run.recipe:
        if not job.resume and NEAR not in job.run.recipe:
            # The last token is the mark, which has no name.
            names = model.row_names or [*token_names(job.dataset.tokenizer), ""]
            start_embedding(job.run, model.network.token_embedding, names)
        if job.run.recipe["vectors"]["frozen"]:
            model.network.token_embedding.requires_grad_(False)
    transfer.restrict(model.network, learn, new_rows, job.seed)
    if parents.keeps_zeros(job.run):
        transfer.hold_zeros(model.network, job.training.optimizer, learn, shard=job.training.shard)
    if not job.training.shard:
        return model.to(device), DataParallel(job.group)
    from rung.training import sharding

    sharding.check_shardable(model.network, job.training, job.group)
    sharding.shard(model.network, torch.device(device), job.group)
    return model, sharding.FullySharded(job.group)


def _begun(job: Job, model: TorchModel[Any]) -> int:
    """Put in what a new model begins with, where that is not chance; how many rows of its tables are new."""
    near = weights_near(job, {name for name, _ in model.network.named_parameters()})
    if near is not None:
        model.network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in near.items()})
        return 0
    parent = parents.parent_of(job.run)
    if parent is None:
        return 0
    own = job.shape.get("labels", job.shape.get("tags"))
    tensors = load_weights(parent.folder / MODEL)
    if own is None:
        return transfer.take_over(
            model.network, tensors, same_answers=parent.task.name == job.task.name, of=parent.folder
        )
    theirs = list(parent.shape.get("labels", parent.shape.get("tags", parent.recipe["data"].get("tags", []))))
    same_answers = sorted(own) == sorted(theirs)
    if same_answers and own != theirs:
        rows = [theirs.index(name) for name in own]
        last = model.network.heads[-1:]
        tensors = {name: t[rows] if name.startswith(last) else t for name, t in tensors.items()}
    return transfer.take_over(model.network, tensors, same_answers=same_answers, of=parent.folder)


def _held_out(dataset: Dataset) -> float:
    """How large the validation part is, as a share of the training part."""
    if "validation" not in dataset.splits:
        return 0.0
    return dataset.stream("validation").n_tokens / dataset.train.n_tokens


def _unsharded(job: Job, parallel: Any) -> Any:
    """A model of its own on the CPU, with the weights that were gathered; None where they were not."""
    if parallel.loaded is None:
        return None
    return job.model_class.from_tensors(job.config, tensors=parallel.loaded, **job.shape)


def _memorised(job: Job, model: Any) -> str:
    """How well the one batch was learned that was trained on."""
    training = job.training
    batch = job.task.batches(model, job.dataset, training.window, training.batch_size, job.seed).batch(0)
    with model.inference():
        model.network.start_carrying(len(batch.arrays[0]))
        loss = model.network.loss(*(torch.from_numpy(array).to(model.device) for array in batch.arrays))
    return health.memorised(
        loss.item() / batch.n_targets, job.task.lowest_loss(model, batch), job.task.target
    )
