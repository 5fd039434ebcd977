"""The learning rate as a function of progress, the share of the budget spent, 0 to 1.

Progress rather than the step number, so that one schedule serves budgets of steps, tokens and minutes.
"""

from __future__ import annotations

import math


def warmup_cosine(progress: float, *, warmup: float, floor: float) -> float:
    """The factor on the peak learning rate: a linear rise over the first `warmup` share of the budget, then half a
    cosine down to `floor` (Loshchilov & Hutter 2017, without restarts)."""
    if progress < warmup:
        return progress / warmup
    along = min(1.0, (progress - warmup) / max(1e-12, 1.0 - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * along))


def constant(progress: float, *, warmup: float, floor: float) -> float:
    """1 after the same linear rise; `floor` plays no part."""
    return min(1.0, progress / warmup) if warmup else 1.0


SCHEDULES = {"cosine": warmup_cosine, "constant": constant}
