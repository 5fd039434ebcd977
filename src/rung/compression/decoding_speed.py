"""How many tokens a second a run writes, one text at a time: what is read a token is all its weights."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from rung.models.base import LanguageModel
from rung.runs import Run

WARM_UP_STEPS, WARM_UP_SECONDS = 1002, 5.0
"""Until then a small network may have been compiled (`transformer.inference.lean`)."""

TURNS, STEPS, SECONDS = 4, 64, 0.7


def decoding_speed(run: Run) -> float | None:
    """Tokens a second, each the likeliest, after as many as make its ways warm; None where it writes no text.

    The best of some turns: whatever else a machine does, or has to compile, only makes it slower.
    """
    if not isinstance(run.model, LanguageModel):
        return None
    model = run.model
    state, token = model.start(1), np.array([model.end])

    def step() -> None:
        nonlocal state, token
        log_probs, state = model.advance(state, token)
        token = log_probs.argmax(1)

    _speed(step, WARM_UP_STEPS, WARM_UP_SECONDS)
    return max(_speed(step, STEPS, SECONDS) for _ in range(TURNS))


def _speed(step: Callable[[], None], most: int, seconds: float) -> float:
    """Steps a second, until so many or so long; two at least, as the first may compile."""
    began, n = time.perf_counter(), 0
    while n < most and (n < 2 or time.perf_counter() - began < seconds):
        step()
        n += 1
    return n / (time.perf_counter() - began)
