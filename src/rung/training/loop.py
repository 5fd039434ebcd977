"""The training loop of everything that torch trains: events out, nothing printed. It knows no task.

    batch number t  ->  loss  ->  gradient, clipped  ->  optimiser step at lr(progress)
    now and then: the held-out measure, a sample, a checkpoint

Batch t and the dropout of step t are functions of (seed, t) alone, and a checkpoint holds the rest, so a run that is
killed at any moment and resumed ends with the very weights it would have had (same machine, same number of threads;
a budget in minutes ends where the clock says).

Several processes (`rung.training.parallel`), each with its share of every batch, decide alike; the first one writes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch

from rung.batches import Batches
from rung.errors import UserError
from rung.events import Checkpoint, Evaluation, Event, Finished, Note, Sample, Step
from rung.measure import Measure
from rung.models.networks.hidden_layer import BatchNorm
from rung.models.networks.torch_model import TrainableModule
from rung.opening import check_finite, opening
from rung.process_group import ProcessGroup
from rung.run_files import LAST
from rung.run_folders import Place
from rung.tensors import load_tensors, save_tensors
from rung.training.averaging import Average
from rung.training.checkpoint import load_checkpoint, save_checkpoint
from rung.training.clock import Clock
from rung.training.config import TrainingConfig
from rung.training.going_on import Continuation, schedule_of, taken_up
from rung.training.optimizers import add_penalties, make_optimizer
from rung.training.parallel import DataParallel
from rung.training.precision import computing
from rung.training.progress import (
    BEST,
    Progress,
    Watch,
    checkpoint_is_due,
    diverged_note,
    evaluation_is_due,
    fits,
    share_of_a_step,
    share_of_budget,
    too_long_note,
)
from rung.training.schedules import Schedule


def train_network(
    network: TrainableModule,
    batches: Batches,
    config: TrainingConfig,
    folder: Path | Place,
    *,
    seed: int,
    evaluate: Callable[[], Measure] | None,
    first_loss: Callable[[float], str | None] = lambda loss: None,
    hopeless: float = math.inf,
    sample: Callable[[], str] | None = None,
    stop: Callable[[], bool] = lambda: False,
    resume: bool = False,
    finish: bool = False,
    continuation: Continuation | None = None,
    schedule: Schedule | None = None,
    parallel: DataParallel | None = None,
    held_out: float = 0.0,
) -> Iterator[Event]:
    """Train `network` in place; when it ends, it holds the weights of the best evaluation.

    Args:
        network: freshly initialised, on its device.
        batches: what it learns from; its loss is called with the arrays of batch t.
        config: resolved: a budget and every optional number are set.
        folder: the run's folder; checkpoints go under `checkpoints/`.
        seed: of dropout.
        evaluate: measures the network as it is on held-out data; None when there are none (the last weights are kept).
        first_loss: what to tell of the mean loss of the first batch, before any update.
        hopeless: the mean loss, of an evaluation or, where there are none, of the last step, above which it diverged.
        sample: writes a short text with the model as it is.
        stop: asked after every step; True saves a checkpoint and ends with reason "interrupted".
        resume: go on from `checkpoints/last.safetensors` instead of from the start.
        finish: with `resume`, make no step more.
        continuation: the last change of the budget (`rung.training.going_on`).
        schedule: the learning rate's, instead of the one that `config` names.
        parallel: the processes that train together; when it ends, the first one's network holds what was trained
            (sharded, `parallel.loaded` does).
        held_out: how many targets `evaluate` measures, about.

    Yields Step, Evaluation, Sample, Checkpoint, Note and, last, Finished. Raises nothing for a loss that is
    not finite or hopeless: it ends with reason "diverged", the best weights so far in the network and the last
    checkpoint kept.
    """
    assert config.batch_size is not None
    assert config.lr is not None
    assert config.weight_decay is not None
    parallel = parallel if parallel is not None else DataParallel()
    group = parallel.group
    _check_group(network, config, group)
    shard = group.shard(config.batch_size)
    device = next(network.parameters()).device
    network.start_carrying(batches.rows)
    moments = {name: getattr(config, name) for name in ("momentum", "beta1", "beta2", "eps")}
    optimizer = make_optimizer(
        config.optimizer, network, lr=config.lr, weight_decay=config.weight_decay, **moments
    )
    schedule = schedule if schedule is not None else schedule_of(config, continuation)
    average = Average(network, config.average) if config.average is not None else None
    averaged = average.in_place if average is not None else nullcontext

    def restore() -> Progress:
        assert config.batch_size is not None
        network.start_carrying(config.batch_size)
        found = load_checkpoint(
            folder / LAST, network, optimizer, average, distribute_like=parallel.distribute_like
        )
        if network.carried is not None:
            network.carried = network.carried[:, :, shard].contiguous()
        return found

    progress = restore() if resume else Progress()
    taken_up(progress, continuation)
    nats, n_targets = progress.loss_nats, progress.loss_tokens or 1  # of the last step
    clock = Clock(progress.seconds, group)
    saved_at = clock()
    writing = group.rank == 0
    watch = Watch(held_out)
    reason = "budget"
    if config.overfit_one_batch:
        # Whatever one batch teaches, validation would keep what has learnt none of it.
        evaluate, watch = None, Watch(0)

    def keep() -> Checkpoint:
        nonlocal saved_at
        progress.seconds = saved_at = clock()
        with _all_carried(network, group):
            if parallel.saves:
                save_checkpoint(
                    folder / LAST,
                    network,
                    optimizer,
                    progress,
                    average,
                    full_tensor=parallel.full_tensor,
                    write=writing,
                )
        return Checkpoint(progress.step, LAST)

    def assess(measured: Measure) -> Iterator[Event]:
        """Take note of an evaluation: the best weights, the events, a sample, a checkpoint."""
        best = measured.nats_per_target < progress.best_nats
        if best:
            progress.best_nats, progress.best_step = measured.nats_per_target, progress.step
            if parallel.saves:
                with averaged():
                    tensors = parallel.weights(network)
                    if writing:
                        save_tensors(folder / BEST, tensors, {"step": str(progress.step)})
        progress.stale = 0 if best else progress.stale + 1
        progress.evaluations += 1
        progress.evaluated_step = progress.step
        train_nats = progress.loss_nats / progress.loss_tokens if progress.loss_tokens else None
        progress.loss_nats, progress.loss_tokens = 0.0, 0
        yield Evaluation(
            progress.step,
            measured.nats_per_target,
            measured.bits_per_unit,
            train_nats,
            clock(),
            best,
            measured,
        )
        if sample is not None:
            with averaged():
                text = sample()
            yield Sample(progress.step, text)
        yield keep()

    network.train()
    step_of = _Stepper(network, optimizer, batches, config, seed, device, parallel)
    while not finish and (share := share_of_budget(config, progress, begun := clock(), watch.cost)) < 1:
        # The learning rate of a step is taken at its end, so that the first is above zero and the last at the floor.
        factor = schedule(
            min(1.0, share + share_of_a_step(config)), warmup=config.warmup, floor=config.min_lr
        )
        for param_group in optimizer.param_groups:
            param_group["lr"] = param_group["peak"] * factor
        network.set_epochs(progress.tokens / batches.epoch_targets)
        nats, n_targets, finite = step_of(progress.step)
        clock.agree()
        watch.step(clock() - begun, n_targets)
        if not finite:
            reason = "diverged"
            break
        if progress.step == 0 and (message := first_loss(nats / n_targets)) is not None:
            yield Note(message)
        progress.step += 1
        if average is not None:
            average.update(progress.step)
        progress.tokens += n_targets
        progress.loss_nats += nats
        progress.loss_tokens += n_targets
        share = share_of_budget(config, progress, clock(), watch.cost)
        yield Step(
            progress.step, nats / n_targets, config.lr * factor, progress.tokens, clock(), min(1.0, share)
        )
        if evaluate is not None and evaluation_is_due(config, progress, share, clock(), watch):
            began = clock()
            with averaged():
                measured = evaluate()
            clock.agree()
            watch.evaluation(clock() - began)
            if not _is_sane(measured.nats_per_target, hopeless):
                reason = "diverged"
                break
            yield from assess(measured)
            if config.patience is not None and progress.stale >= config.patience:
                reason = "patience"
                break
        if checkpoint_is_due(config, progress.step, clock() - saved_at):
            yield keep()
        if share < 1 and group.any(stop()):
            reason = "interrupted"
            yield keep()
            break

    seconds = clock()  # of training, where there is no room for the last evaluation in the budget
    if reason == "budget" and progress.evaluated_step != progress.step:
        measured = None
        if evaluate is not None and not fits(config, watch.cost):
            yield Note(too_long_note(config, watch.cost))
        if evaluate is not None:
            with averaged():
                measured = evaluate()
            clock.agree()
        if not _is_sane(nats / n_targets if measured is None else measured.nats_per_target, hopeless):
            reason = "diverged"
        elif measured is None:
            yield keep()
        else:
            yield from assess(measured)
    if reason == "diverged":
        yield Note(diverged_note(progress.step, config.lr))
    if reason != "interrupted" and progress.best_step >= 0:
        if writing:
            with opening(folder / BEST):
                tensors, _ = load_tensors(folder / BEST)
                for name, tensor in tensors.items():
                    check_finite(name, tensor)
                parallel.load_weights(network, tensors)
    else:
        if reason == "diverged" and (folder / LAST).exists():
            restore()
        if reason != "interrupted" and average is not None:
            average.swap()
        if parallel.sharded:
            parallel.load_weights(network, parallel.weights(network))
    if fits(config, watch.cost):
        seconds = clock()
    yield Finished(progress.step, reason, seconds, progress.tokens)


def _is_sane(loss: float, hopeless: float) -> bool:
    return math.isfinite(loss) and loss <= hopeless


class _Stepper:
    """Takes optimiser steps, each a function of its number."""

    def __init__(
        self,
        network: TrainableModule,
        optimizer: torch.optim.Optimizer,
        batches: Batches,
        config: TrainingConfig,
        seed: int,
        device: torch.device,
        parallel: DataParallel,
    ) -> None:
        self._network = network
        self._optimizer = optimizer
        self._batches = batches
        self._config = config
        self._seed = seed
        self._device = device
        self._parallel = parallel
        self._parameters = list(network.parameters())
        self._reduced = parallel.reduced_parameters(network)

    def __call__(self, step: int) -> tuple[float, int, bool]:
        """One step: (total nats, targets, whether loss and gradient were finite). Weights change only if so.

        Nats, targets and gradient are those of the whole batch, whichever rows are computed here.
        """
        config, group = self._config, self._parallel.group
        first = 0 if config.overfit_one_batch else step * config.accumulate
        count = 1 if config.overfit_one_batch else config.accumulate
        parts = [self._batches.batch(t) for t in range(first, first + count)]
        n_targets = sum(part.n_targets for part in parts)
        losses: list[torch.Tensor] = []
        with _seeded(_seed_of_step(self._seed, step, group.rank), self._device):
            for part in parts:
                arrays = [_sent(array, self._device) for array in part.arrays]
                with computing(config.precision, self._device):
                    loss = self._network.loss(*arrays)
                # Weighted by targets: the sum over all parts is the mean over all their targets.
                (loss / n_targets).backward()
                losses.append(loss.detach())
        # Asked for once, at the end: a GPU's queue runs dry meanwhile.
        total = group.sum(sum(torch.stack(losses).tolist()))
        finite = math.isfinite(total)
        if finite:
            group.all_reduce_gradients(self._reduced)
        if config.l1 or config.l2:
            add_penalties(self._parameters, config.l1, config.l2)
        if finite and config.clip:
            finite = math.isfinite(_clip(self._parameters, config.clip, self._parallel))
        if finite:
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return total, n_targets, finite


def _sent(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """`array` on `device`; a GPU fetches it by itself, from memory that stays in place, while it computes."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """The generators that dropout draws from, set to `seed`; the CPU's is as it was when the block ends.

    `torch.manual_seed` would do, but it also queues a call, stack trace and all, for each kind of accelerator that is
    not there: half a millisecond a step, and a queue that only grows.
    """
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(before)


def _clip(parameters: list[torch.nn.Parameter], largest: float, parallel: DataParallel) -> float:
    """Shrink the gradient to the norm `largest` if it is longer; its norm before (Pascanu et al. 2013).

    Rows of hashed tables are left out: Adagrad's steps don't depend on how long their gradients are.
    """
    gradients = [
        parallel.local_part(p.grad) for p in parameters if p.grad is not None and not p.grad.is_sparse
    ]
    norm = parallel.norm(gradients)
    if norm > largest:
        for gradient in gradients:
            gradient.mul_(largest / (norm + 1e-6))
    return norm


def _seed_of_step(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, 1, *[rank] * (rank > 0)]).generate_state(1)[0])


def _check_group(network: TrainableModule, config: TrainingConfig, group: ProcessGroup) -> None:
    """Raises UserError for what several processes can't do together."""
    assert config.batch_size is not None
    if config.batch_size < group.world_size:
        raise UserError(
            f"--batch-size {config.batch_size} leaves some of the {group.world_size} processes without a row: "
            f"give {group.world_size} or more"
        )
    if group.world_size > 1 and any(isinstance(part, BatchNorm) for part in network.modules()):
        raise UserError(
            "--batch-norm takes its averages over the whole batch, which no process sees alone: "
            "turn it off with --batch-norm=false, or train with one process"
        )


@contextmanager
def _all_carried(network: TrainableModule, group: ProcessGroup) -> Iterator[None]:
    """Inside, the state that a network carries is that of all rows of the batch, as one process would have it."""
    if group.world_size == 1 or network.carried is None:
        yield
        return
    own = network.carried
    network.carried = group.all_gather(own.movedim(2, 0).contiguous()).movedim(0, 2)
    yield
    network.carried = own
