"""The training loop on losses whose minimum is known on paper."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from rung.errors import UserError
from rung.events import Evaluation, Finished, Step
from rung.scratch.losses import SquaredError
from rung.scratch.optimizers import GradientDescent, Momentum
from rung.scratch.shapes import sum_of
from rung.scratch.tape import Module, Value, add, multiply
from rung.scratch.training import Progress, TrainingSettings, train


class Point(Module):
    """Nothing but a row of numbers w (1, n)."""

    def __init__(self, *numbers: float) -> None:
        self.w = Value(np.array([numbers]), "w")


TARGET = np.array([[3.0, -1.0, 0.2]])


def quadratic(point: Point) -> tuple[Value, int]:
    """1/2 |w - target|^2."""
    return SquaredError(0.5)(point.w, TARGET), 1


def trained(settings: TrainingSettings) -> np.ndarray:
    point = Point(1.0, 1.0, 1.0)
    *_, last = train(point, GradientDescent([point.w], 0.1), lambda _: quadratic(point), settings)
    assert isinstance(last, Finished)
    return point.w.data


def test_penalties_have_their_minima() -> None:
    """1/2 (w - a)^2 + l1 |w| + l2/2 w^2 is least at sign(a) max(|a| - l1, 0) / (1 + l2)."""
    np.testing.assert_allclose(trained(TrainingSettings(steps=300)), TARGET, atol=1e-9)
    np.testing.assert_allclose(trained(TrainingSettings(steps=300, l2=0.5)), TARGET / 1.5, atol=1e-9)
    shrunk = np.array([[2.5, -0.5, 0.0]])
    # At 0 the slope of |w| is not one number: descent by 0.1 swings around it by less than a step.
    np.testing.assert_allclose(trained(TrainingSettings(steps=300, l1=0.5)), shrunk, atol=0.07)
    np.testing.assert_allclose(trained(TrainingSettings(steps=300, l1=0.5, l2=1.0)), shrunk / 2, atol=0.07)


def test_a_budget_must_be_given() -> None:
    with pytest.raises(UserError, match="steps, tokens or minutes"):
        TrainingSettings()


def test_clipping_shortens_the_step_and_keeps_its_direction() -> None:
    point = Point(1.0, 1.0, 1.0)
    list(
        train(
            point,
            GradientDescent([point.w], 1.0),
            lambda _: quadratic(point),
            TrainingSettings(steps=1, clip=0.5),
        )
    )
    step = point.w.data - 1
    assert np.linalg.norm(step) == pytest.approx(0.5, rel=1e-5)
    direction = TARGET - 1
    np.testing.assert_allclose(step / 0.5, direction / np.linalg.norm(direction), rtol=1e-5)


def test_the_schedule_sets_the_rate_and_events_tell_it() -> None:
    point = Point(0.0)
    settings = TrainingSettings(steps=4, schedule=lambda share: 1 - share / 2)
    events = list(train(point, GradientDescent([point.w], 0.8), lambda _: (sum_of(point.w), 5), settings))
    steps = [event for event in events if isinstance(event, Step)]
    assert [event.step for event in steps] == [1, 2, 3, 4]
    assert [event.learning_rate for event in steps] == pytest.approx([0.7, 0.6, 0.5, 0.4])
    assert [event.tokens for event in steps] == [5, 10, 15, 20]
    assert steps[-1].progress == 1
    assert point.w.data == pytest.approx(-2.2)
    assert isinstance(events[-1], Finished)
    assert (events[-1].reason, events[-1].tokens) == ("budget", 20)


def test_early_stopping_keeps_the_best() -> None:
    """w falls by 1 a step from 5; held-out loss is |w - 2|, so step 3 is best and patience 2 ends it at step 5."""
    point = Point(5.0)
    events = list(
        train(
            point,
            GradientDescent([point.w], 1.0),
            lambda _: (sum_of(point.w), 1),
            TrainingSettings(steps=100, eval_every=1, patience=2),
            evaluate=lambda: (abs(point.w.data.item() - 2), 0.0),
        )
    )
    evaluations = [event for event in events if isinstance(event, Evaluation)]
    assert [event.nats_per_target for event in evaluations] == [2, 1, 0, 1, 2]
    assert [(e.step, e.best) for e in evaluations] == [
        (1, True),
        (2, True),
        (3, True),
        (4, False),
        (5, False),
    ]
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "patience"
    assert point.w.data == 2


def test_a_loss_that_is_no_number_ends_it() -> None:
    point = Point(1.0)
    events = list(
        train(
            point,
            GradientDescent([point.w], 10.0),
            lambda _: (sum_of(multiply(multiply(point.w, point.w), multiply(point.w, point.w))), 1),
            TrainingSettings(steps=100),
        )
    )
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "diverged"
    assert np.isfinite(point.w.data).all()


def test_going_on_ends_where_going_through_does() -> None:
    def batches(point: Point, t: int) -> tuple[Value, int]:
        noise = np.random.default_rng(t).standard_normal((1, 3))
        return SquaredError(0.5)(add(point.w, noise), TARGET), 1

    def training(stop_after: int | None) -> Iterator[np.ndarray]:
        point, progress, best = Point(1.0, 1.0, 1.0), Progress(), dict[str, np.ndarray]()
        optimizer = Momentum([point.w], 0.05)
        for halt in (stop_after, None):
            list(
                train(
                    point,
                    optimizer,
                    lambda t: batches(point, t),
                    TrainingSettings(steps=40, eval_every=4, schedule=lambda share: 1 - share),
                    evaluate=lambda: (float(((point.w.data - TARGET) ** 2).sum()), 0.0),
                    stop=lambda halt=halt: progress.step == halt,
                    progress=progress,
                    best=best,
                )
            )
            yield point.w.data.copy()

    whole = next(training(None))
    for stop_after in (3, 4, 17):
        *_, resumed = training(stop_after)
        np.testing.assert_array_equal(resumed, whole)


def test_the_last_evaluation_is_set_aside_from_the_minutes(monkeypatch: pytest.MonkeyPatch):
    """By a clock that steps 1 second a batch and 20 an evaluation, 60 seconds hold 40 steps and one evaluation."""
    now = [0.0]
    monkeypatch.setattr("rung.scratch.training.time.monotonic", lambda: now[0])
    point = Point(1.0, 1.0, 1.0)

    def loss(_: int) -> tuple[Value, int]:
        now[0] += 1.0
        return quadratic(point)

    def evaluate() -> tuple[float, float]:
        now[0] += 20.0
        return 1.0, 1.0

    how = TrainingSettings(minutes=1, held_out=34)  # taken for 0.6 seconds each
    events = list(train(point, GradientDescent([point.w], 1e-3), loss, how, evaluate=evaluate))
    steps = [event for event in events if isinstance(event, Step)]
    evaluations = [event for event in events if isinstance(event, Evaluation)]
    assert (len(steps), len(evaluations)) == (40, 1)
    assert now[0] == 60
