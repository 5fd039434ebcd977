"""The whole of training in one loop: the main trainer's events, and nothing but NumPy underneath.

    lr by the schedule  ->  loss of batch t on a tape  ->  backward  ->  + penalties  ->  clip  ->  optimiser step
    now and then: evaluate, remember the best weights, stop when patience is out

Penalties add to the loss what large weights cost, l1 sum |w| + l2 / 2 sum w^2 (both: the elastic net, Zou & Hastie
2005); their gradient is l1 sign(w) + l2 w. They concern weights of two dimensions or more.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np

from rung.errors import UserError
from rung.events import Evaluation, Event, Finished, Step
from rung.scratch.optimizers import Optimizer
from rung.scratch.tape import Module, Tape, Value, no_grad

EVALUATIONS = 5  # unless `eval_every` says otherwise
EVALUATION_SHARE = 1 / 7
"""Of a budget in minutes, what all evaluations but the last may take."""
EVALUATION_PER_STEP = 0.6
"""What measuring a token takes, as a share of training on it: a guess, until one evaluation was made."""
LARGEST_RESERVE = 0.5


@dataclass(frozen=True)
class TrainingSettings:
    """How to train. A budget, `steps`, `tokens` or `minutes`, must be given; the first one spent ends the training.

    Attributes:
        schedule: the factor on the learning rate as a function of the share of the budget spent, 0 to 1.
        l1, l2: the penalties above.
        clip: the largest norm of the gradient over all weights; 0 = any.
        eval_every: steps between evaluations; None = 5, spread over the budget.
        patience: stop after this many evaluations in a row without a new best; None = never.
        hopeless: the loss of an evaluation, nats a token, above which a training has diverged.
        held_out: how many tokens an evaluation measures, about. Of minutes, the time of the last one is set aside,
            unless it is more than half of them.
    """

    steps: int | None = None
    tokens: int | None = None
    minutes: float | None = None
    schedule: Callable[[float], float] = lambda _: 1.0
    l1: float = 0.0
    l2: float = 0.0
    clip: float = 0.0
    eval_every: int | None = None
    patience: int | None = None
    hopeless: float = math.inf
    held_out: float = 0.0

    def __post_init__(self) -> None:
        if self.steps is None and self.tokens is None and self.minutes is None:
            raise UserError("training needs a budget: give steps, tokens or minutes")


@dataclass
class Progress:
    """How far a training is. With the weights and the optimiser's memory it is all that is needed to go on.

    Attributes:
        step, tokens, seconds: spent so far.
        evaluations, evaluated: how many were made, and at which step the last.
        best, stale: the lowest held-out loss, nats a token, and evaluations since.
        nats, seen: the training loss summed since the last evaluation, and over how many tokens.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    evaluations: int = 0
    evaluated: int = 0
    best: float = math.inf
    stale: int = 0
    nats: float = 0.0
    seen: int = 0


def train(
    model: Module,
    optimizer: Optimizer,
    batch_loss: Callable[[int], tuple[Value, int]],
    settings: TrainingSettings,
    *,
    evaluate: Callable[[], tuple[float, float]] | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
    best: dict[str, np.ndarray] | None = None,
) -> Iterator[Event]:
    """Train `model` in place; unless stopped, it ends with the weights of its best evaluation, if there were any.

    Args:
        model: anything with weights.
        optimizer: of those weights; its `lr` is the peak.
        batch_loss: applies the model to batch t; the mean loss, and over how many tokens (or examples) that is.
        settings: budget and regularisation.
        evaluate: the loss on held-out data, in nats a token and in bits a byte.
        stop: asked after every step; True ends it with reason "interrupted".
        progress: of a training to go on with; kept up to date.
        best: the best weights by name, of a training to go on with; kept up to date.

    Yields Step, Evaluation and, last, Finished: "budget", "patience", "interrupted", or "diverged" when loss or
    gradient is not finite, or the loss of an evaluation hopeless.
    """
    p = progress if progress is not None else Progress()
    best_weights = best if best is not None else {}
    weights = model.parameters()
    peak_lr, began, reason = optimizer.lr, time.monotonic() - p.seconds, ""
    model.train()
    measuring, measured = 0.0, 0  # seconds that evaluations took, and how many they were

    def cost() -> float:
        """What the next evaluation takes, in seconds."""
        if measured:
            return measuring / measured
        guess = settings.held_out * EVALUATION_PER_STEP * p.seconds / max(p.tokens, 1)
        return guess if evaluate is not None else 0.0

    while not reason:
        spent = _budget_spent(settings, p, cost())
        if evaluate is not None and _is_due(settings, p, spent, measuring + cost()):
            model.train(False)
            asked = time.monotonic()
            with no_grad():
                nats, bits = evaluate()
            measuring, measured = measuring + time.monotonic() - asked, measured + 1
            model.train()
            diverged = not math.isfinite(nats) or nats > settings.hopeless
            improved = nats < p.best and not diverged
            if improved:
                p.best = nats
                best_weights |= {name: weight.data.copy() for name, weight in weights.items()}
            p.stale = 0 if improved else p.stale + 1
            p.evaluations, p.evaluated, p.seconds = p.evaluations + 1, p.step, time.monotonic() - began
            yield Evaluation(p.step, nats, bits, p.nats / p.seen if p.seen else None, p.seconds, improved)
            p.nats, p.seen = 0.0, 0
            if diverged:
                reason = "diverged"
            elif settings.patience is not None and p.stale >= settings.patience:
                reason = "patience"
        if reason or spent >= 1:
            reason = reason or "budget"
            break
        # The rate of a step is taken at its end, so that the first of a rising schedule is above zero.
        optimizer.lr = peak_lr * settings.schedule(
            min(1.0, spent + (1 / settings.steps if settings.steps else 1e-4))
        )
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is told as an event
            with Tape() as tape:
                loss, n = batch_loss(p.step)
            tape.backward(loss)
            nats = float(loss.data)
            if not (_penalise_and_clip(weights.values(), settings) and math.isfinite(nats)):
                reason = "diverged"
                break
            optimizer.step()
        p.step, p.tokens, p.nats, p.seen = p.step + 1, p.tokens + n, p.nats + n * nats, p.seen + n
        p.seconds = time.monotonic() - began
        spent = _budget_spent(settings, p, cost())
        yield Step(p.step, nats, optimizer.lr, p.tokens, p.seconds, spent)
        if spent < 1 and stop():
            reason = "interrupted"
    optimizer.lr = peak_lr
    if reason != "interrupted":
        for name, data in best_weights.items():
            weights[name].data[...] = data
    yield Finished(p.step, reason, time.monotonic() - began, p.tokens)


def _penalise_and_clip(weights: Collection[Value], settings: TrainingSettings) -> bool:
    """Add the penalties to the gradients and clip them. False when one is not finite."""
    squares = 0.0
    for weight in weights:
        if (settings.l1 or settings.l2) and weight.data.ndim >= 2:
            weight.add_grad(settings.l1 * np.sign(weight.data) + settings.l2 * weight.data)
        if weight.grad is not None:
            squares += float(np.vdot(weight.grad, weight.grad))
    norm = math.sqrt(squares)
    for weight in weights:
        if settings.clip and norm > settings.clip and weight.grad is not None:
            weight.grad = weight.grad * (settings.clip / (norm + 1e-6))
    return math.isfinite(norm)


def _budget_spent(settings: TrainingSettings, p: Progress, cost: float) -> float:
    """How much of the budget is spent; of several, the one nearest its end counts.

    cost: what an evaluation takes, in seconds.
    """
    minutes = settings.minutes
    if minutes is not None and cost <= LARGEST_RESERVE * 60 * minutes:
        minutes -= cost / 60
    budgets = ((p.step, settings.steps), (p.tokens, settings.tokens), (p.seconds / 60, minutes))
    return min(1.0, max(used / budget for used, budget in budgets if budget is not None))


def _is_due(settings: TrainingSettings, p: Progress, spent: float, measuring: float) -> bool:
    """`measuring`: seconds that evaluations take, this one included."""
    if p.evaluated == p.step:
        return False
    if spent >= 1:
        return True
    if settings.eval_every is not None:
        return p.step % settings.eval_every == 0
    if spent * EVALUATIONS < p.evaluations + 1:
        return False
    return settings.minutes is None or measuring <= EVALUATION_SHARE * p.seconds
