"""How to train, apart from what is trained on what: budget, batches, optimiser, schedule, evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from rung.errors import UserError, nearest
from rung.training.schedules import SCHEDULES

DEFAULT_STEPS = 2000
DEFAULT_SCHEDULE = "linear"
BETA2 = 0.99
EXAMPLES = 32
"""On how many examples a model is tested whose number is not given."""

LR_FACTORS = {"sgd": 100.0, "momentum": 10.0, "nesterov": 10.0, "adam": 1.0, "adamw": 1.0, "muon": 1.0}
"""What a learning rate that suits adamw is multiplied by: its steps are as large as lr, those of sgd as lr times a
gradient of norm 1 or less over all weights; momentum 0.9 makes ten times of each."""

SETTINGS_OF = {
    "momentum": ("momentum", "nesterov"),
    "beta1": ("adam", "adamw", "muon"),
    "eps": ("adam", "adamw", "muon"),
}
"""Settings of some optimisers only."""

OPTIMIZERS = tuple(LR_FACTORS)
"""The names; the functions are in `rung.training.optimizers`, which needs torch."""

LARGEST = 1e30
"""The most that a number may be: weights are float32, which ends at 3.4e38, and some of these are multiplied."""

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of gradient training; counting rungs have no use for them. None = the rung's own choice.

    Attributes:
        steps: budget in optimiser steps.
        tokens: budget in training tokens.
        minutes: budget in minutes of wall time, evaluations included. Several budgets: the first spent ends it.
        batch_size: rows in a batch, of all processes together.
        window: most tokens in a row; by default the context of a gpt, 64 for the others.
        accumulate: batches whose gradients are summed, weighted by their tokens, before a step.
        lr: peak learning rate; by default the rung's, 100 times that for sgd, 10 times for momentum and nesterov.
        optimizer: sgd, momentum, nesterov, adam, adamw, or muon (hidden matrices, with adamw for the rest).
        schedule: warm-up, then constant, step (at two thirds), inverse-root, cosine, linear, wsd (last fifth linear);
            by default linear, or the published one of a gpt's preset.
        warmup: share of the budget over which the learning rate rises.
        min_lr: where the schedule ends, as a share of the peak.
        weight_decay: decoupled decay of the weight matrices, whatever the optimiser; none for adam.
        l1: adds l1 * sum |w| over the weight matrices to the loss; with l2 the elastic net.
        l2: adds l2 / 2 * sum w^2 over the weight matrices to the loss.
        momentum: of momentum and nesterov, by default 0.9: how much of its last step a weight goes on with.
        beta1: first-moment decay of adam, adamw and muon's rest, by default 0.9.
        beta2: second-moment decay of the same, by default 0.99.
        eps: what they add to the root of the second moment, by default 1e-8.
        clip: largest norm of the gradient; 0 turns clipping off.
        average: keep a running mean of the weights that fades by this factor a step, 0.999 say, not the weights.
        precision: of products of matrices: float32, bfloat16, or auto: bfloat16 where a short test finds it faster.
            Weights and sums are float32 in any case.
        shard: of several processes that torchrun started, let each keep a share of the weights, not all of them.
        restarts: train this many times, each with the whole budget and the next seed; the best by validation is kept.
        restart_noise: with --restarts: each but the first begins near the best so far, its weights plus N(0, NOISE^2).
        overfit_one_batch: test the model: train on so many examples alone, by default 32, which any model that works
            learns by heart; says if not, and keeps no run. An example is a row; a token and the block before it where a
            network reads blocks.
        sample_prompt: what the samples written while training begin with.
        eval_every: steps between evaluations of the whole validation split; by default 5 evaluations are spread
            over the budget (fewer under --minutes if they would take more than a seventh of the time).
        patience: stop after this many evaluations in a row without a new best; by default go on to the end.
        checkpoint_every: steps between checkpoints; by default every 30 seconds, and at each evaluation.
    """

    steps: int | None = None
    tokens: int | None = None
    minutes: float | None = None
    batch_size: int | None = None
    window: int | None = None
    accumulate: int = 1
    lr: float | None = None
    optimizer: str = "adamw"
    schedule: str | None = None
    warmup: float = 0.05
    min_lr: float = 0.0
    weight_decay: float | None = None
    l1: float = 0.0
    l2: float = 0.0
    momentum: float | None = None
    beta1: float | None = None
    beta2: float | None = None
    eps: float | None = None
    clip: float = 1.0
    average: float | None = None
    precision: str = "auto"
    shard: bool = False
    restarts: int = 1
    restart_noise: float | None = None
    overfit_one_batch: int | bool | None = None
    sample_prompt: str = ""
    eval_every: int | None = None
    patience: int | None = None
    checkpoint_every: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.overfit_one_batch, bool):  # as earlier runs have it
            n = self.batch_size or EXAMPLES
            object.__setattr__(self, "overfit_one_batch", n if self.overfit_one_batch else None)
        for name in (
            "steps",
            "tokens",
            "batch_size",
            "overfit_one_batch",
            "window",
            "accumulate",
            "restarts",
            "eval_every",
            "patience",
            "checkpoint_every",
        ):
            _check(self, name, lambda value: value >= 1, "a whole number from 1 up")
        for name in ("minutes", "lr", "eps", "restart_noise"):
            _check(self, name, lambda value: 0 < value <= LARGEST, f"a number above 0, at most {LARGEST:g}")
        for name in ("weight_decay", "l1", "l2", "clip"):
            _check(self, name, lambda value: 0 <= value <= LARGEST, f"from 0 to {LARGEST:g}")
        for name in ("warmup", "min_lr"):
            _check(self, name, lambda value: 0 <= value <= 1, "a share from 0 to 1")
        for name in ("momentum", "beta1", "beta2", "average"):
            _check(self, name, lambda value: 0 <= value < 1, "from 0 to just below 1")
        for name, known in (
            ("optimizer", OPTIMIZERS),
            ("schedule", tuple(SCHEDULES)),
            ("precision", PRECISIONS),
        ):
            value = getattr(self, name)
            if value not in known and (name, value) != ("schedule", None):
                raise UserError(
                    f"--{name} {value!r} is unknown{nearest(value, known)} (known: {', '.join(known)})"
                )
        for name, optimizers in SETTINGS_OF.items():
            if getattr(self, name) is not None and self.optimizer not in optimizers:
                raise UserError(
                    f"--{name} does not go with --optimizer {self.optimizer}: it is one of {', '.join(optimizers)}"
                )
        if self.restart_noise is not None and self.restarts == 1:
            raise UserError("--restart-noise goes with --restarts: give how many")
        if self.optimizer == "adam" and self.weight_decay:
            raise UserError(
                "--weight-decay does not go with adam: take --optimizer adamw, or give --l2 instead"
            )

    @property
    def has_budget(self) -> bool:
        """Whether one was given."""
        return (self.steps, self.tokens, self.minutes) != (None,) * 3

    def of_one_batch(self, *, reads_blocks: bool) -> TrainingConfig:
        """The same, where one batch is to be learned by heart: rows of it are as many as it has examples, and one
        target long where each is a block and a target."""
        if not self.overfit_one_batch:
            return self
        window = 1 if reads_blocks else self.window
        return replace(self, batch_size=int(self.overfit_one_batch), window=window, accumulate=1)

    def resolved(self, choices: Mapping[str, Any]) -> TrainingConfig:
        """Every None that the rung has a choice for, filled; and a budget, if none was given."""
        factor = LR_FACTORS[self.optimizer]
        choices = {
            "schedule": DEFAULT_SCHEDULE,
            "beta2": BETA2,
            **choices,
            "lr": choices["lr"] * factor,
            # A step takes lr * weight_decay of a weight: as much as the rung's choice takes with adamw.
            "weight_decay": 0.0 if self.optimizer == "adam" else choices["weight_decay"] / factor,
        }
        filled = {name: value for name, value in choices.items() if getattr(self, name) is None}
        if not self.has_budget:
            filled.setdefault("steps", DEFAULT_STEPS)
        return replace(self, **filled)


@dataclass(frozen=True)
class Budget:
    """What a counting rung accepts and has no need of, so that one command line serves every rung.

    Attributes:
        steps: counting takes one pass, whatever is given here.
        tokens: counting takes one pass, whatever is given here.
        minutes: counting takes one pass, whatever is given here.
    """

    steps: int | None = None
    tokens: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "tokens", "minutes"):
            _check(self, name, lambda value: value > 0, "a number above 0")


def _check(config: TrainingConfig | Budget, name: str, accepts: Any, allowed: str) -> None:
    value = getattr(config, name)
    if value is not None and not accepts(value):
        raise UserError(f"--{name.replace('_', '-')} {value} is not possible: give {allowed}")


def setting_names(config: type) -> tuple[str, ...]:
    """The names of a configuration's fields."""
    return tuple(field.name for field in fields(config))
