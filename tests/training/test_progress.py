"""A budget in minutes is kept: what measuring takes is part of it."""

from __future__ import annotations

import pytest

from rung.training.config import TrainingConfig
from rung.training.progress import Progress, Watch, evaluation_is_due, fits, share_of_budget

MINUTE = TrainingConfig(minutes=1.0)


def test_the_last_evaluation_s_time_is_set_aside():
    assert share_of_budget(MINUTE, Progress(), 40.0, 20.0) == pytest.approx(1)
    assert share_of_budget(MINUTE, Progress(), 20.0, 20.0) == pytest.approx(0.5)
    # Where measuring takes longer than training would be left with, it is not.
    assert not fits(MINUTE, 31.0)
    assert share_of_budget(MINUTE, Progress(), 30.0, 31.0) == pytest.approx(0.5)
    # Steps have no clock.
    assert share_of_budget(TrainingConfig(steps=10), Progress(step=5), 1e9, 1e9) == 0.5


def test_what_measuring_takes_is_guessed_from_steps_and_then_known():
    watch = Watch(1000)
    assert watch.cost == 0
    watch.step(3.0, 100)
    slow = watch.cost
    watch.step(1.0, 100)
    assert watch.cost == pytest.approx(slow * 2 / 3)
    watch.evaluation(7.0)
    watch.evaluation(9.0)
    assert (watch.seconds, watch.cost) == (16.0, 8.0)


def test_evaluations_on_the_way_take_no_more_than_a_seventh_of_the_time():
    watch = Watch(100)
    watch.step(0.1, 1)  # so 5 s or so
    dear = watch.cost
    assert not evaluation_is_due(MINUTE, Progress(), 0.3, 7 * dear - 0.1, watch)
    assert evaluation_is_due(MINUTE, Progress(), 0.3, 7 * dear + 0.1, watch)
    assert evaluation_is_due(TrainingConfig(steps=10), Progress(), 0.3, 0.0, watch)
