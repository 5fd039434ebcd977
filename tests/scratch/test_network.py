"""The two-layer network against the lectures' worked example, scikit-learn and finite differences."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as Authority

from rung.errors import UserError
from rung.scratch import datasets, feed_forward, network
from rung.scratch.activations import Tanh
from rung.scratch.layers import Linear, Sequential
from rung.scratch.losses import CrossEntropy
from rung.scratch.network import Activation, Loss, Parameters
from rung.scratch.tape import Tape

MLPClassifier: Any = Authority


def test_the_worked_example():
    """x = (.1, .3), w = (.4, -.2), W = .1, y = 1, rate 1/2, sigmoids, squared error."""
    x, y = np.array([[0.1, 0.3]]), np.array([[1.0]])
    p = Parameters(np.array([[0.4], [-0.2]]), np.zeros(1), np.array([[0.1]]), np.zeros(1))
    found = network.forward_backward(x, y, p, "squared", "sigmoid")
    assert found.h.item() == pytest.approx(-0.02, abs=1e-12)
    assert found.a.item() == pytest.approx(0.495, abs=5e-4)
    assert found.y_hat.item() == pytest.approx(0.512, abs=5e-4)
    assert found.delta_o.item() == pytest.approx(0.122, abs=5e-4)
    assert found.delta_h.item() == pytest.approx(0.003, abs=5e-4)
    assert 0.5 * found.step.W.item() == pytest.approx(0.0302, abs=5e-5)
    # The lectures multiply the rounded 0.003; from the unrounded 0.00305 it is 0.00015 and 0.00046.
    np.testing.assert_allclose(0.5 * found.step.w[:, 0], [0.00015, 0.00045], atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 5), st.integers(2, 4)),
    loss=st.sampled_from(["squared", "cross-entropy"]),
    activation=st.sampled_from(["sigmoid", "tanh"]),
)
def test_every_step_by_finite_differences(
    seed: int, shape: tuple[int, int, int, int], loss: Loss, activation: Activation
):
    n, n_in, n_hidden, n_classes = shape
    rng = np.random.default_rng(seed)
    y = network.targets(rng.integers(0, n_classes, n), n_classes)
    x, n_out = rng.normal(size=(n, n_in)), y.shape[1]
    p = Parameters(*(rng.normal(size=s) for s in [(n_in, n_hidden), n_hidden, (n_hidden, n_out), n_out]))
    step = network.forward_backward(x, y, p, loss, activation).step
    for name in (f.name for f in fields(Parameters)):
        weights = getattr(p, name)
        for place in np.ndindex(weights.shape):
            shift = np.zeros_like(weights)
            shift[place] = 1e-5
            up = network.forward_backward(x, y, replace(p, **{name: weights + shift}), loss, activation).loss
            down = network.forward_backward(
                x, y, replace(p, **{name: weights - shift}), loss, activation
            ).loss
            assert -getattr(step, name)[place] == pytest.approx((up - down) / 2e-5, abs=1e-8)


@pytest.mark.parametrize(("ours", "theirs"), [("sigmoid", "logistic"), ("tanh", "tanh")])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_shared_weights_predict_what_scikit_learn_predicts(ours: Activation, theirs: str, n_classes: int):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(90, 2)), np.arange(90) % n_classes
    authority = MLPClassifier((6,), activation=theirs, max_iter=5, random_state=0)
    with pytest.warns(ConvergenceWarning):
        authority.fit(x, y)
    (w, W), (c, C) = authority.coefs_, authority.intercepts_
    found = network.forward_backward(
        x, network.targets(y, n_classes), Parameters(w, c, W, C), activation=ours
    )
    theirs_y_hat = authority.predict_proba(x)[
        :, -found.y_hat.shape[1] :
    ]  # of two classes, ours gives the second's
    np.testing.assert_allclose(found.y_hat, theirs_y_hat, atol=1e-12)


def test_one_epoch_of_batch_descent_is_scikit_learns():
    """From the same weights, with plain SGD on the whole batch, both arrive at the same weights."""
    points = datasets.make("moons", 60, seed=3)
    authority = MLPClassifier(
        (4,), activation="tanh", solver="sgd", alpha=0.0, batch_size=60, learning_rate_init=0.3, momentum=0.0
    )
    authority.partial_fit(points.x, points.y, classes=[0, 1])
    (w, W), (c, C) = ([part.copy() for part in group] for group in (authority.coefs_, authority.intercepts_))
    p = Parameters(w, c, W, C)
    y = network.targets(points.y, 2)
    for _ in range(20):
        authority.partial_fit(points.x, points.y)
        p = network.updated(p, network.forward_backward(points.x, y, p).step, 0.3)
    for found, expected in zip(
        (p.w, p.W, p.c, p.C), (*authority.coefs_, *authority.intercepts_), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-10)


def test_by_hand_and_by_the_tape():
    rng = np.random.default_rng(2)
    x, classes = rng.normal(size=(12, 2)), rng.integers(0, 3, 12)
    net = Sequential(Linear(2, 5, rng), Tanh(), Linear(5, 3, rng))
    with Tape() as tape:
        loss = CrossEntropy()(net(x), classes)
    tape.backward(loss)
    w, c, W, C = net.parameters().values()
    p = Parameters(w.data.T, c.data, W.data.T, C.data)
    found = network.forward_backward(x, network.targets(classes, 3), p)
    assert found.loss == pytest.approx(float(loss.data), abs=1e-12)
    for step, value in zip(
        (found.step.w.T, found.step.c, found.step.W.T, found.step.C), (w, c, W, C), strict=True
    ):
        assert value.grad is not None
        np.testing.assert_allclose(-step, value.grad, atol=1e-12)


@pytest.mark.parametrize("name", ["xor", "moons", "circles"])
def test_what_no_line_separates_is_learned(name: str):
    points = datasets.make(name, 100, noise=0.05, seed=1)
    found = feed_forward.fit(points.x, points.y, epochs=300)
    y_hat = feed_forward.probabilities(feed_forward.scores(points.x, found.path[-1]))
    assert ((y_hat[:, 0] > 0.5) == points.y).all()
    assert len(found.path) == len(found.losses) == 301


def test_the_seed_decides():
    points = datasets.make("xor", 40)
    one, same, other = (feed_forward.fit(points.x, points.y, epochs=3, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.losses, same.losses)
    assert one.losses[0] != other.losses[0]


def test_certain_and_wrong_costs_no_infinity():
    p = Parameters(np.array([[1.0]]), np.zeros(1), np.array([[2000.0]]), np.zeros(1))
    found = network.forward_backward(np.array([[1.0]]), np.array([[0.0]]), p)
    assert found.loss == pytest.approx(2000 * np.tanh(1.0))


@pytest.mark.parametrize(
    "wrong", [{"n_hidden": [4, 0]}, {"n_hidden": []}, {"lr": -1.0}, {"epochs": 0}, {"batch_size": 0}]
)
def test_bad_settings(wrong: dict):
    with pytest.raises(UserError):
        feed_forward.fit(np.eye(2), np.array([0, 1]), **wrong)
