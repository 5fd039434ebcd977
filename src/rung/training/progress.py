"""How far a training is, how much of its budget that is, and what is due."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from rung.files import json_text
from rung.opening import from_json
from rung.training.config import TrainingConfig

EVALUATIONS = 5
EVALUATION_SHARE = 1 / 7
EVALUATION_PER_STEP = 0.6
"""What measuring a target takes, as a share of training on it: measured 0.5 to 0.6 for gpt on a busy CPU."""

LARGEST_RESERVE = 0.5
HOPELESS = 10.0
BEST = "checkpoints/best.safetensors"
CHECKPOINT_SECONDS = 30.0
LARGEST = 1 << 48
"""More steps or tokens than any training has."""


@dataclass
class Progress:
    """The numbers of a training under way.

    Attributes:
        step: optimiser steps taken.
        tokens: training tokens seen.
        seconds: wall time of training so far, evaluations included, pauses between resumes left out.
        evaluations: how many evaluations were made.
        evaluated_step: the step of the last one; -1 before the first.
        stale: how many there were since the best.
        best_step: the step of the best one; -1 before the first.
        best_nats: its nats per token.
        loss_nats, loss_tokens: training nats and tokens since the last evaluation.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    evaluations: int = 0
    evaluated_step: int = -1
    stale: int = 0
    best_step: int = -1
    best_nats: float = float("inf")
    loss_nats: float = 0.0
    loss_tokens: int = 0

    def to_text(self) -> str:
        """As checkpoints keep it."""
        return json_text(asdict(self))


P = TypeVar("P")


def read_progress(cls: type[P], metadata: Mapping[str, Any]) -> P:
    """What a checkpoint says of itself, as `Progress` or the like. Raises ValueError, KeyError when that can't be."""
    values = json.loads(metadata["progress"])
    if isinstance(values, dict):  # null stands for infinity, the best loss before there is one
        values = {name: math.inf if value is None else value for name, value in values.items()}
    progress = from_json(cls, values)
    for name, value in vars(progress).items():
        # Before there is one, the best step is -1 and its loss infinite.
        least, most = (-1, LARGEST) if name.endswith("_step") else (0, LARGEST)
        if not (least <= value <= most or (name.startswith("best") and value == math.inf)):
            raise ValueError(f"{name} can't be {value}")
    return progress


class Watch:
    """How long it takes to measure the held-out data, so that a budget in minutes is kept.

    Before the first time it is guessed from the steps so far.

    Args:
        targets: how many held-out targets there are, one evaluation's.
    """

    def __init__(self, targets: float) -> None:
        self._targets = targets
        self._steps, self._trained = 0.0, 0
        self._n = 0
        self.seconds = 0.0
        """What evaluations have taken so far."""

    def step(self, seconds: float, n_targets: int) -> None:
        """A step took so long."""
        self._steps += seconds
        self._trained += n_targets

    def evaluation(self, seconds: float) -> None:
        """An evaluation took so long."""
        self.seconds += seconds
        self._n += 1

    @property
    def cost(self) -> float:
        """What the next evaluation takes, in seconds."""
        if self._n:
            return self.seconds / self._n
        return self._targets * EVALUATION_PER_STEP * self._steps / max(self._trained, 1)


def fits(config: TrainingConfig, cost: float) -> bool:
    """Whether the last evaluation, of so many seconds, finds room in the budget beside the training."""
    return config.minutes is None or cost <= LARGEST_RESERVE * 60 * config.minutes


def share_of_budget(config: TrainingConfig, progress: Progress, seconds: float, cost: float = 0.0) -> float:
    """The share of the budget that is spent; the budget nearest its end counts.

    Of minutes, the `cost` of the last evaluation is set aside where it fits.
    """
    shares = [0.0]
    if config.steps is not None:
        shares.append(progress.step / config.steps)
    if config.tokens is not None:
        shares.append(progress.tokens / config.tokens)
    if config.minutes is not None:
        shares.append(seconds / (60 * config.minutes - (cost if fits(config, cost) else 0.0)))
    return max(shares)


def share_of_a_step(config: TrainingConfig) -> float:
    """How much of the budget a step takes, where that is known beforehand."""
    if config.steps is not None:
        return 1 / config.steps
    return 1e-4


def evaluation_is_due(
    config: TrainingConfig, progress: Progress, share: float, seconds: float, watch: Watch
) -> bool:
    """Whether to measure now. The last time, when the budget is spent, comes after the loop."""
    if share >= 1:
        return False
    if config.eval_every is not None:
        return progress.step % config.eval_every == 0
    if share * EVALUATIONS < progress.evaluations + 1:
        return False
    return config.minutes is None or watch.seconds + watch.cost <= EVALUATION_SHARE * seconds


def checkpoint_is_due(config: TrainingConfig, step: int, seconds_since: float) -> bool:
    """Whether to save after `step`, that many seconds after the last time."""
    if config.checkpoint_every is not None:
        return step % config.checkpoint_every == 0
    return seconds_since > CHECKPOINT_SECONDS


def hopeless_loss(n_classes: int) -> float:
    """Nats per target above which a training has diverged: HOPELESS times the ln n of an even guess."""
    return HOPELESS * math.log(max(n_classes, 2))


def too_long_note(config: TrainingConfig, cost: float) -> str:
    """What is told where measuring takes longer than the budget leaves room for."""
    assert config.minutes is not None
    return (
        f"measuring the validation data takes about {cost:.0f} s, more than half of the budget of "
        f"{60 * config.minutes:.0f} s: it is done once, after the training, and not counted; --split with a smaller "
        "share for validation would take less"
    )


def diverged_note(step: int, lr: float) -> str:
    """What is told of a training that diverged."""
    return (
        f"the loss is no longer a finite number after step {step}, or over {HOPELESS:g} times that of an even guess: "
        f"training stopped; try a lower --lr (it was {lr:g})"
    )
