"""The training loop of every neural rung: events out, nothing printed.

    batch number t  ->  loss  ->  gradient, clipped  ->  optimiser step at lr(progress)
    now and then: the whole validation split, a sample, a checkpoint

Batch t and the dropout of step t are functions of (seed, t) alone, and a checkpoint holds the rest, so a run that is
killed at any moment and resumed ends with the very weights it would have had (same machine, same number of threads;
a budget in minutes ends where the clock says).

Several processes may take these steps together (`rung.training.distributed`), each with its share of every batch. All
of them run this loop and come to the same decisions; the first one writes.
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
from rung.models.networks.mlp import BatchNorm
from rung.models.networks.network import Network, NeuralModel, RecurrentNetwork
from rung.process_group import SINGLE_PROCESS, ProcessGroup
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
    group: ProcessGroup = SINGLE_PROCESS,
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
        group: the processes that train together; when it ends, the first one's model holds what was trained.

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
    _check_group(network, config, group)
    mine = group.shard(config.batch_size)
    longest = min(window, int(np.diff(train.starts).max()))
    rows = len(range(config.batch_size)[mine])
    health.check_memory(rows, longest, model.vocab_size, model.device)
    carrying = isinstance(network, RecurrentNetwork)
    if carrying:
        network.start_carrying(rows)
    cut_batches = Lanes if carrying else Batches
    batches = cut_batches(train, window, config.batch_size, seed, network.history, mine)
    parameters = list(network.parameters())
    if config.shard:
        from rung.training.sharding import cut_like, left_whole, unsharded, whole

        added_up = left_whole(network)  # what is cut up is added up where it is
    else:
        cut_like, unsharded, whole = _itself, None, torch.Tensor.detach
        added_up = parameters
    optimizer = make_optimizer(
        config.optimizer, network, lr=config.lr, weight_decay=config.weight_decay, beta2=config.beta2
    )
    schedule = schedule if schedule is not None else SCHEDULES[config.schedule]
    average = Average(network, config.average) if config.average is not None else None
    averaged = average.in_place if average is not None else nullcontext

    def restore() -> Progress:
        if carrying:
            network.start_carrying(config.batch_size)
        found = load_checkpoint(folder / LAST, network, optimizer, average, cut_like=cut_like)
        if carrying:
            assert network.carried is not None
            network.carried = network.carried[:, :, mine].contiguous()
        return found

    progress = restore() if resume else Progress()
    clock = _Clock(progress.seconds, group)
    saved_at = clock()
    writing = group.rank == 0
    evaluation_seconds = 0.0
    reason = "budget"
    if config.overfit_one_batch:
        evaluate = (
            None  # whatever one batch teaches, validation would keep the model that has learnt none of it
        )

    def weights() -> dict[str, np.ndarray]:
        return {name: whole(t).numpy(force=True) for name, t in network.state_dict().items()}

    def keep() -> Checkpoint:
        nonlocal saved_at
        progress.seconds = saved_at = clock()
        with _all_carried(network, group):
            if writing or config.shard:
                save_checkpoint(
                    folder / LAST, network, optimizer, progress, average, whole=whole, write=writing
                )
        return Checkpoint(progress.step, LAST)

    def assess(measured: Measure) -> Iterator[Event]:
        """Take note of an evaluation: the best weights, the events, a sample, a checkpoint."""
        best = measured.nats_per_token < progress.best_nats
        if best:
            progress.best_nats, progress.best_step = measured.nats_per_token, progress.step
            if writing or config.shard:
                with averaged():
                    tensors = weights()
                    if writing:
                        save_tensors(folder / BEST, tensors, {"step": str(progress.step)})
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
        for param_group in optimizer.param_groups:
            param_group["lr"] = param_group["peak"] * factor
        network.set_epochs(progress.tokens / train.n_tokens)
        nats, tokens, finite = _step(
            network,
            optimizer,
            batches,
            progress.step,
            config,
            seed,
            model.device,
            group,
            parameters,
            added_up,
        )
        clock.agree()
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
        if share < 1 and group.any(stop()):
            reason = "interrupted"
            yield keep()
            break
        if evaluate is not None and _evaluation_is_due(config, progress, share, clock(), evaluation_seconds):
            began = clock()
            with averaged():
                measured = evaluate()
            clock.agree()
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
            clock.agree()
            yield from assess(measured)
    if reason == "diverged":
        yield Note(
            f"the loss is no longer a finite number after step {progress.step}: training stopped; "
            f"try a lower --lr (it was {config.lr:g})"
        )
    kept: dict[str, np.ndarray] | None = None
    if reason != "interrupted" and progress.best_step >= 0:
        kept = load_tensors(folder / BEST)[0] if writing else None
    else:
        if reason == "diverged" and (folder / LAST).exists():
            restore()
        if reason != "interrupted" and average is not None:
            average.swap()
        if config.shard:
            kept = weights()
    if kept is not None and unsharded is not None:
        model.network = unsharded(model, kept)
    elif kept is not None:
        model.load_tensors(kept)
    if config.overfit_one_batch and reason == "budget" and writing:
        first = cut_batches(train, window, config.batch_size, seed, network.history)
        yield Note(health.by_heart(model, *first.batch(0)))
    yield Finished(progress.step, reason, clock(), progress.tokens)


def _step(
    network: Network,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    step: int,
    config: TrainingConfig,
    seed: int,
    device: torch.device,
    group: ProcessGroup,
    parameters: list[torch.nn.Parameter],
    added_up: list[torch.nn.Parameter],
) -> tuple[float, int, bool]:
    """One optimiser step: (total nats, tokens, whether loss and gradient were finite). Weights change only if so.

    Nats, tokens and gradient are those of the whole batch, whichever rows are computed here.
    """
    first = 0 if config.overfit_one_batch else step * config.accumulate
    numbers = range(first, first + (1 if config.overfit_one_batch else config.accumulate))
    parts = [batches.batch(t) for t in numbers]
    if group.world_size == 1:
        tokens = sum(int((targets != PADDING).sum()) for _, targets in parts)
    else:
        tokens = sum(batches.n_targets(t) for t in numbers)
    losses: list[torch.Tensor] = []
    with _seeded(_seed_of_step(seed, step, group.rank), device):
        for t, (inputs, targets) in zip(numbers, parts, strict=True):
            if isinstance(network, RecurrentNetwork) and isinstance(batches, Lanes):
                network.reset_rows(_sent(batches.fresh(t), device))
            with computing(config.precision, device):
                loss = network.loss(_sent(inputs, device), _sent(targets, device))
            # Weighted by tokens: the sum over all parts is the mean over all their tokens.
            (loss / tokens).backward()
            losses.append(loss.detach())
    # Asked for once, at the end: a GPU's queue runs dry meanwhile.
    total = group.sum(sum(torch.stack(losses).tolist()))
    finite = math.isfinite(total)
    if finite:
        group.all_reduce_gradients(added_up)
    if config.l1 or config.l2:
        add_penalties(parameters, config.l1, config.l2)
    if finite and config.clip:
        finite = math.isfinite(_clip(parameters, config.clip, group if config.shard else SINGLE_PROCESS))
    if finite:
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total, tokens, finite


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


def _clip(parameters: list[torch.nn.Parameter], largest: float, group: ProcessGroup) -> float:
    """Shrink the gradient to the norm `largest` if it is longer; its norm before (Pascanu et al. 2013).

    Rows of hashed tables are left out: Adagrad's steps don't depend on how long their gradients are. Where each of
    the `group` has a share of the gradient, the norm is that of the whole.
    """
    gradients = [p.grad for p in parameters if p.grad is not None and not p.grad.is_sparse]
    if group.world_size > 1:
        from rung.training.sharding import share_of

        gradients = [share_of(gradient) for gradient in gradients]
    norm = torch.nn.utils.get_total_norm(gradients).item()
    if group.world_size > 1:
        norm = math.sqrt(group.sum(norm**2))
    if norm > largest:
        for gradient in gradients:
            gradient.mul_(largest / (norm + 1e-6))
    return norm


def _seed_of_step(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, 1, *[rank] * (rank > 0)]).generate_state(1)[0])


def _check_group(network: Network, config: TrainingConfig, group: ProcessGroup) -> None:
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


def _itself(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return tensor


@contextmanager
def _all_carried(network: Network, group: ProcessGroup) -> Iterator[None]:
    """Inside, the state that a network carries is that of all rows of the batch, as one process would have it."""
    if group.world_size == 1 or not isinstance(network, RecurrentNetwork) or network.carried is None:
        yield
        return
    own = network.carried
    network.carried = group.all_gather(own.movedim(2, 0).contiguous()).movedim(0, 2)
    yield
    network.carried = own


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
    """Seconds of training: what earlier sessions took, and the time since this one began.

    Several processes go by the first one's clock, and by what it said when they last agreed: time decides what is
    done next, and all must do the same.
    """

    def __init__(self, before: float, group: ProcessGroup) -> None:
        self._began = time.monotonic() - before
        self._group = group
        self._agreed = before

    def __call__(self) -> float:
        return time.monotonic() - self._began if self._group.world_size == 1 else self._agreed

    def agree(self) -> None:
        """All processes call this; one alone has nobody to agree with."""
        if self._group.world_size > 1:
            self._agreed = self._group.broadcast_value(time.monotonic() - self._began)
