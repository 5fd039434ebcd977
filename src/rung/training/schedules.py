"""The learning rate as a function of progress, the share of the budget spent, 0 to 1.

Progress rather than the step number, so that one schedule serves budgets of steps, tokens and minutes. Each gives
the factor on the peak learning rate and begins with the same linear rise over the first `warmup` share of the budget;
`floor` is where those that fall end, as a share of the peak.
"""

from __future__ import annotations

import math
from collections.abc import Callable

STEP_AT = 2 / 3
DECAY_FROM = 0.8
"""Hägele et al. 2024 (arXiv:2405.18392): a decay over the last fifth serves as well as a whole cosine."""

ROOT_WARMUP = 0.01
"""What the inverse root counts from when there is no warm-up."""


def constant(progress: float, *, warmup: float, floor: float) -> float:
    """1 throughout; `floor` plays no part."""
    return _rise(progress, warmup)


def step(progress: float, *, warmup: float, floor: float) -> float:
    """1, and from two thirds of the budget on `floor`."""
    return _rise(progress, warmup) if progress < STEP_AT else floor


def inverse_root(progress: float, *, warmup: float, floor: float) -> float:
    """sqrt(warmup / progress) after the rise, but no less than `floor` (Vaswani et al. 2017, eq. 3)."""
    if progress < warmup:
        return _rise(progress, warmup)
    unit = warmup if warmup else ROOT_WARMUP
    return max(floor, 1 / math.sqrt(1 + (progress - warmup) / unit))


def cosine(progress: float, *, warmup: float, floor: float) -> float:
    """Half a cosine down to `floor` (Loshchilov & Hutter 2017, without restarts)."""
    if progress < warmup:
        return _rise(progress, warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * _along(progress, warmup)))


def linear(progress: float, *, warmup: float, floor: float) -> float:
    """A straight line down to `floor`."""
    if progress < warmup:
        return _rise(progress, warmup)
    return 1 - (1 - floor) * _along(progress, warmup)


def warmup_stable_decay(progress: float, *, warmup: float, floor: float) -> float:
    """1 until the last fifth of the budget, then a straight line down to `floor` (Hu et al. 2024, arXiv:2404.06395)."""
    if progress < max(warmup, DECAY_FROM):
        return _rise(progress, warmup)
    return 1 - (1 - floor) * _along(progress, max(warmup, DECAY_FROM))


Schedule = Callable[..., float]

SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "step": step,
    "inverse-root": inverse_root,
    "cosine": cosine,
    "linear": linear,
    "wsd": warmup_stable_decay,
}


def _rise(progress: float, warmup: float) -> float:
    return min(1.0, progress / warmup) if warmup else 1.0


def _along(progress: float, begin: float) -> float:
    """The share of the way from `begin` to the end of the budget."""
    return min(1.0, (progress - begin) / max(1e-12, 1.0 - begin))
