"""Logistic regression against scikit-learn, arithmetic on paper and finite differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import linear_model

from rung.errors import UserError
from rung.scratch import datasets, logistic
from rung.scratch.activations import sigmoid
from rung.scratch.logistic import Method

LogisticRegression: Any = linear_model.LogisticRegression


def test_log_loss_on_paper():
    """The lectures' four points, -ln .6 - ln .2 - ln .1 - ln .7 = 4.78: two of class 1, two of 0 with 1 - yhat."""
    y, y_hat = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.6, 0.2, 0.9, 0.3])
    assert 4 * logistic.log_loss(np.log(y_hat / (1 - y_hat)), y) == pytest.approx(4.78, abs=0.005)


def test_the_sigmoid_in_its_corners():
    np.testing.assert_array_equal(sigmoid(np.array([0.0, 1000.0, -1000.0])), [0.5, 1.0, 0.0])
    assert sigmoid(np.array(math.log(3))) == pytest.approx(0.75, abs=1e-15)
    z = np.linspace(-30, 30, 61)
    np.testing.assert_allclose(sigmoid(z) + sigmoid(-z), 1.0, atol=1e-15)
    np.testing.assert_allclose(logistic.log_loss(np.array([-1000.0]), np.array([1])), 1000.0)


@pytest.mark.parametrize(
    ("name", "strength"), [("blobs", 1.0), ("moons", 1.0), ("moons", 100.0), ("xor", 0.1)]
)
def test_the_coefficients_are_scikit_learns(name: str, strength: float):
    points = datasets.make(name, 120, seed=5)
    theirs = LogisticRegression(C=strength, tol=1e-10, max_iter=1000).fit(points.x, points.y)
    ours = logistic.fit(points.x, points.y, l2=1 / (strength * 120), lr=2.0, epochs=50_000)
    assert ours.converged
    np.testing.assert_allclose(ours.weights, theirs.coef_[0], atol=1e-4)
    np.testing.assert_allclose(ours.bias, theirs.intercept_[0], atol=1e-4)


@pytest.mark.parametrize("method", ["stochastic", "mini-batch"])
def test_small_batches_reach_the_same_minimum(method: Method):
    points = datasets.make("moons", 40, seed=6)
    theirs = LogisticRegression(C=0.1, tol=1e-10, max_iter=1000).fit(points.x, points.y)
    ours = logistic.fit(
        points.x, points.y, method=method, l2=10 / 40, lr=1.0, decay=0.5, epochs=2000, batch_size=4
    )
    np.testing.assert_allclose(ours.weights, theirs.coef_[0], atol=1e-4)
    np.testing.assert_allclose(ours.bias, theirs.intercept_[0], atol=1e-4)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), l2=st.floats(0, 1))
def test_the_gradient_by_finite_differences(seed: int, l2: float):
    rng = np.random.default_rng(seed)
    x, y, weights, bias = rng.normal(size=(7, 3)), rng.integers(0, 2, 7), rng.normal(size=3), rng.normal()

    def loss(weights: np.ndarray, bias: float) -> float:
        return logistic.log_loss(x @ weights + bias, y) + l2 / 2 * float(weights @ weights)

    found, found_bias = logistic.gradient(x, y, weights, bias, l2)
    for i, shift in enumerate(1e-5 * np.eye(3)):
        assert found[i] == pytest.approx(
            (loss(weights + shift, bias) - loss(weights - shift, bias)) / 2e-5, abs=1e-8
        )
    assert found_bias == pytest.approx(
        (loss(weights, bias + 1e-5) - loss(weights, bias - 1e-5)) / 2e-5, abs=1e-8
    )


def test_one_point_moves_the_weights_by_its_error_times_itself():
    """At zero weights yhat = 1/2: w <- 0 + a (1 - 1/2) x, b <- a / 2."""
    ours = logistic.fit(np.array([[3.0, -2.0]]), np.array([1]), method="stochastic", lr=0.1, epochs=1)
    np.testing.assert_allclose(ours.path, [[0, 0, 0], [0.15, -0.1, 0.05]])
    np.testing.assert_allclose(ours.losses[0], math.log(2))


def test_mini_batches_between_the_two():
    """Batches of one are stochastic descent; one batch of all is batch descent, in any order."""
    points = datasets.make("blobs", 30, noise=1.5, seed=2)
    x, y = points.x, points.y
    single = logistic.fit(x, y, method="mini-batch", batch_size=1, epochs=3, seed=4)
    np.testing.assert_array_equal(single.path, logistic.fit(x, y, method="stochastic", epochs=3, seed=4).path)
    whole = logistic.fit(x, y, method="mini-batch", batch_size=30, epochs=20)
    np.testing.assert_allclose(whole.path, logistic.fit(x, y, epochs=20).path, atol=1e-12)
    assert (np.diff(whole.losses) < 0).all()


def test_a_huge_rate_is_told():
    with pytest.raises(UserError, match="lr"):
        logistic.fit(np.array([[1e200, 0], [-1e200, 0]]), np.array([0, 1]), lr=1e200)


@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"epochs": 0}, {"batch_size": 0}, {"l2": -1.0}])
def test_bad_settings(wrong: dict):
    with pytest.raises(UserError):
        logistic.fit(np.eye(2), np.array([0, 1]), **wrong)
