"""Schedules: numbers on paper, and what holds for all."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.training.schedules import SCHEDULES


@pytest.mark.parametrize(
    ("name", "progress", "warmup", "floor", "factor"),
    [
        ("constant", 0.5, 0.1, 0.0, 1.0),
        ("constant", 1.0, 0.0, 0.0, 1.0),
        ("step", 0.66, 0.1, 0.1, 1.0),
        ("step", 0.67, 0.1, 0.1, 0.1),
        ("step", 1.0, 0.1, 0.25, 0.25),
        # sqrt(0.1 / 0.4) = 1/2; sqrt(0.04 / 1) = 1/5, below a floor of 0.3.
        ("inverse-root", 0.1, 0.1, 0.0, 1.0),
        ("inverse-root", 0.4, 0.1, 0.0, 0.5),
        ("inverse-root", 1.0, 0.04, 0.0, 0.2),
        ("inverse-root", 1.0, 0.04, 0.3, 0.3),
        # Without a warm-up: 1 / sqrt(1 + 0.03 / 0.01) = 1/2.
        ("inverse-root", 0.0, 0.0, 0.0, 1.0),
        ("inverse-root", 0.03, 0.0, 0.0, 0.5),
        # A third of the way cos(60 degrees) = 1/2, so 3/4 of the way down is left; half-way the mean of 1 and floor.
        ("cosine", 0.4, 0.1, 0.0, 0.75),
        ("cosine", 0.55, 0.1, 0.1, 0.55),
        ("cosine", 1.0, 0.1, 0.1, 0.1),
        ("linear", 0.55, 0.1, 0.0, 0.5),
        ("linear", 0.75, 0.0, 0.2, 0.4),
        ("linear", 1.0, 0.1, 0.1, 0.1),
        ("wsd", 0.79, 0.1, 0.0, 1.0),
        ("wsd", 0.9, 0.1, 0.0, 0.5),
        ("wsd", 0.95, 0.1, 0.2, 0.4),
        ("wsd", 1.0, 0.1, 0.1, 0.1),
    ],
)
def test_on_paper(name: str, progress: float, warmup: float, floor: float, factor: float):
    assert SCHEDULES[name](progress, warmup=warmup, floor=floor) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_warm_up_is_the_same_line(name: str):
    for progress in (0.0, 0.05, 0.1, 0.15):
        assert SCHEDULES[name](progress, warmup=0.2, floor=0.1) == pytest.approx(progress / 0.2)


@pytest.mark.parametrize("name", SCHEDULES)
@settings(max_examples=50, deadline=None)
@given(warmup=st.floats(0, 1), floor=st.floats(0, 1), points=st.lists(st.floats(0, 1), min_size=2))
def test_after_the_rise_it_never_rises_and_stays_between_floor_and_peak(name, warmup, floor, points):
    factors = [SCHEDULES[name](p, warmup=warmup, floor=floor) for p in sorted(points) if p >= warmup]
    assert all(floor - 1e-9 <= factor <= 1 + 1e-9 for factor in factors)
    assert all(b <= a + 1e-9 for a, b in pairwise(factors))
