"""The training loop of every neural rung: events out, nothing printed.

    batch number t  ->  loss  ->  gradient, clipped  ->  optimiser step at lr(progress)
    now and then: the whole validation split, a sample, a checkpoint

Batch t and the dropout of step t are functions of (seed, t) alone, and a checkpoint holds the rest, so a run that is
killed at any moment and resumed ends with the very weights it would have had (same machine, same number of threads;
a budget in minutes ends where the clock says).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch

from rung.errors import UserError
from rung.events import Checkpoint, Evaluation, Event, Finished, Note, Sample, Step
from rung.measure import Measure
from rung.models.neural import CarryingNetwork, Network, NeuralModel
from rung.tensors import load_tensors, save_tensors
from rung.text.stream import TokenStream
from rung.training import health
from rung.training.averaging import Average
from rung.training.batches import PADDING, Batches, Lanes
from rung.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from rung.training.config import TrainingConfig
from rung.training.optimizers import add_penalties, make_optimizer
from rung.training.precision import computing
from rung.training.schedules import SCHEDULES, Schedule

EVALUATIONS = 5
EVALUATION_SHARE = 1 / 7
CHECKPOINT_SECONDS = 30.0

LAST = "checkpoints/last.safetensors"
BEST = "checkpoints/best.safetensors"


def train_network(
    model: NeuralModel,
    train: TokenStream,
    config: TrainingConfig,
    folder: Path,
    *,
    seed: int,
    evaluate: Callable[[], Measure] | None,
    sample: Callable[[], str] | None = None,
    stop: Callable[[], bool] = lambda: False,
    resume: bool = False,
    schedule: Schedule | None = None,
) -> Iterator[Event]:
    """Train `model.network` in place; when it ends, the model holds the weights of the best evaluation.

    Args:
        model: freshly initialised, on its device.
        train: the training split.
        config: resolved: a budget and every optional number are set.
        folder: the run's folder; checkpoints go under `checkpoints/`.
        seed: of batches and dropout.
        evaluate: measures the model on the validation split; None when there is none (the last weights are kept).
        sample: writes a short text with the model as it is.
        stop: asked after every step; True saves a checkpoint and ends with reason "interrupted".
        resume: go on from `checkpoints/last.safetensors` instead of from the start.
        schedule: the learning rate's, instead of the one that `config` names.

    Yields Step, Evaluation, Sample, Checkpoint, Note and, last, Finished. Raises nothing for a loss that is not
    finite: it ends with reason "diverged", the best weights so far in the model and the last checkpoint kept.
    """
    assert config.batch_size is not None
    assert config.lr is not None
    assert config.weight_decay is not None
    network = model.network
    window = config.window if config.window is not None else model.window
    if model.max_window is not None and window > model.max_window:
        raise UserError(f"--window {window} is longer than this model's context, {model.max_window}")
    longest = min(window, int(np.diff(train.starts).max()))
    health.check_memory(config.batch_size, longest, model.vocab_size, model.device)
    if isinstance(network, CarryingNetwork):
        network.carry(config.batch_size)
        batches = Lanes(train, window, config.batch_size, seed, network.history)
    else:
        batches = Batches(train, window, config.batch_size, seed, network.history)
    optimizer = make_optimizer(
        config.optimizer, network, lr=config.lr, weight_decay=config.weight_decay, beta2=config.beta2
    )
    schedule = schedule if schedule is not None else SCHEDULES[config.schedule]
    average = Average(network, config.average) if config.average is not None else None
    averaged = average.in_place if average is not None else nullcontext
    progress = load_checkpoint(folder / LAST, network, optimizer, average) if resume else Progress()
    clock = _Clock(progress.seconds)
    saved_at = clock()
    evaluation_seconds = 0.0
    reason = "budget"
    if config.overfit_one_batch:
        evaluate = (
            None  # whatever one batch teaches, validation would keep the model that has learnt none of it
        )

    def keep() -> Checkpoint:
        nonlocal saved_at
        progress.seconds = saved_at = clock()
        save_checkpoint(folder / LAST, network, optimizer, progress, average)
        return Checkpoint(progress.step, LAST)

    def assess(measured: Measure) -> Iterator[Event]:
        """Take note of an evaluation: the best weights, the events, a sample, a checkpoint."""
        best = measured.nats_per_token < progress.best_nats
        if best:
            progress.best_nats, progress.best_step = measured.nats_per_token, progress.step
            with averaged():
                save_tensors(folder / BEST, model.tensors(), {"step": str(progress.step)})
        progress.stale = 0 if best else progress.stale + 1
        progress.evaluations += 1
        progress.evaluated_step = progress.step
        train_nats = progress.loss_nats / progress.loss_tokens if progress.loss_tokens else None
        progress.loss_nats, progress.loss_tokens = 0.0, 0
        yield Evaluation(
            progress.step, measured.nats_per_token, measured.bits_per_byte, train_nats, clock(), best
        )
        if sample is not None:
            with averaged():
                text = sample()
            yield Sample(progress.step, text)
        yield keep()

    network.train()
    while (share := _share(config, progress, clock())) < 1:
        # The learning rate of a step is taken at its end, so that the first is above zero and the last at the floor.
        factor = schedule(
            min(1.0, share + _share_of_a_step(config)), warmup=config.warmup, floor=config.min_lr
        )
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        nats, tokens, finite = _step(network, optimizer, batches, progress.step, config, seed, model.device)
        if not finite:
            reason = "diverged"
            break
        if progress.step == 0 and (told := health.first_loss(nats / tokens, model.vocab_size)) is not None:
            yield Note(told)
        progress.step += 1
        if average is not None:
            average.update(progress.step)
        progress.tokens += tokens
        progress.loss_nats += nats
        progress.loss_tokens += tokens
        share = _share(config, progress, clock())
        yield Step(
            progress.step, nats / tokens, config.lr * factor, progress.tokens, clock(), min(1.0, share)
        )
        if share < 1 and stop():
            reason = "interrupted"
            yield keep()
            break
        if evaluate is not None and _evaluation_is_due(config, progress, share, clock(), evaluation_seconds):
            began = clock()
            with averaged():
                measured = evaluate()
            evaluation_seconds += clock() - began
            if not math.isfinite(measured.nats_per_token):
                reason = "diverged"
                break
            yield from assess(measured)
            if config.patience is not None and progress.stale >= config.patience:
                reason = "patience"
                break
        if _checkpoint_is_due(config, progress.step, clock() - saved_at):
            yield keep()

    if reason == "budget" and progress.evaluated_step != progress.step:
        if evaluate is None:
            yield keep()
        else:
            with averaged():
                measured = evaluate()
            yield from assess(measured)
    if reason == "diverged":
        yield Note(
            f"the loss is no longer a finite number after step {progress.step}: training stopped; "
            f"try a lower --lr (it was {config.lr:g})"
        )
    if reason != "interrupted" and progress.best_step >= 0:
        model.load_tensors(load_tensors(folder / BEST)[0])
    else:
        if reason == "diverged" and (folder / LAST).exists():
            load_checkpoint(folder / LAST, network, optimizer, average)
        if reason != "interrupted" and average is not None:
            average.swap()
    if config.overfit_one_batch and reason == "budget":
        yield Note(health.by_heart(model, *batches.batch(0)))
    yield Finished(progress.step, reason, clock(), progress.tokens)


def _step(
    network: Network,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    step: int,
    config: TrainingConfig,
    seed: int,
    device: torch.device,
) -> tuple[float, int, bool]:
    """One optimiser step: (total nats, tokens, whether loss and gradient were finite). Weights change only if so."""
    first = 0 if config.overfit_one_batch else step * config.accumulate
    numbers = range(first, first + (1 if config.overfit_one_batch else config.accumulate))
    parts = [batches.batch(t) for t in numbers]
    tokens = sum(int((targets != PADDING).sum()) for _, targets in parts)
    total = 0.0
    with _seeded(_seed_of_step(seed, step), device):
        for t, (inputs, targets) in zip(numbers, parts, strict=True):
            if isinstance(network, CarryingNetwork) and isinstance(batches, Lanes):
                network.forget(torch.from_numpy(batches.fresh(t)).to(device))
            with computing(config.precision, device):
                loss = network.nats(torch.from_numpy(inputs).to(device), torch.from_numpy(targets).to(device))
            # Weighted by tokens: the sum over all parts is the mean over all their tokens.
            (loss / tokens).backward()
            total += loss.item()
    finite = math.isfinite(total)
    if config.l1 or config.l2:
        add_penalties(network.parameters(), config.l1, config.l2)
    if finite and config.clip:
        finite = math.isfinite(_clip(network, config.clip))
    if finite:
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total, tokens, finite


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


def _clip(network: Network, largest: float) -> float:
    """Shrink the gradient to the norm `largest` if it is longer; its norm before (Pascanu et al. 2013).

    Rows of hashed tables are left out: Adagrad's steps don't depend on how long their gradients are.
    """
    gradients = [p.grad for p in network.parameters() if p.grad is not None and not p.grad.is_sparse]
    norm = torch.stack(torch._foreach_norm(gradients)).norm().item()
    if norm > largest:
        torch._foreach_mul_(gradients, largest / (norm + 1e-6))
    return norm


def _seed_of_step(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step, 1]).generate_state(1)[0])


def _share(config: TrainingConfig, progress: Progress, seconds: float) -> float:
    """The share of the budget that is spent; the budget nearest its end counts."""
    shares = [0.0]
    if config.steps is not None:
        shares.append(progress.step / config.steps)
    if config.tokens is not None:
        shares.append(progress.tokens / config.tokens)
    if config.minutes is not None:
        shares.append(seconds / (60 * config.minutes))
    return max(shares)


def _share_of_a_step(config: TrainingConfig) -> float:
    if config.steps is not None:
        return 1 / config.steps
    return 1e-4


def _evaluation_is_due(
    config: TrainingConfig, progress: Progress, share: float, seconds: float, evaluation_seconds: float
) -> bool:
    """The last evaluation, when the budget is spent, is made after the loop."""
    if share >= 1:
        return False
    if config.eval_every is not None:
        return progress.step % config.eval_every == 0
    if share * EVALUATIONS < progress.evaluations + 1:
        return False
    if config.minutes is None or not progress.evaluations:
        return True
    cost = evaluation_seconds / progress.evaluations if evaluation_seconds else 0.0
    return evaluation_seconds + cost <= EVALUATION_SHARE * seconds


def _checkpoint_is_due(config: TrainingConfig, step: int, seconds_since: float) -> bool:
    if config.checkpoint_every is not None:
        return step % config.checkpoint_every == 0
    return seconds_since > CHECKPOINT_SECONDS


class _Clock:
    """Seconds of training: what earlier sessions took, and the time since this one began."""

    def __init__(self, before: float) -> None:
        self._began = time.monotonic() - before

    def __call__(self) -> float:
        return time.monotonic() - self._began
