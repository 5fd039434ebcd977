"""The perceptron against its rules, Novikoff's bound and scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import linear_model

from rung.errors import UserError
from rung.scratch import datasets, perceptron

Authority: Any = linear_model.Perceptron


def one_by_one(x: np.ndarray, y: np.ndarray, epochs: int) -> list[list[float]]:
    """The rules as the lectures print them, point by point, for points (p, q)."""
    w1 = w2 = b = 0.0
    path = [[w1, w2, b]]
    for _ in range(epochs):
        updates = len(path)
        for (p, q), label in zip(x.tolist(), y.tolist(), strict=True):
            positive = w1 * p + w2 * q + b >= 0
            if positive and label == 0:
                w1, w2, b = w1 - p, w2 - q, b - 1
                path.append([w1, w2, b])
            elif not positive and label == 1:
                w1, w2, b = w1 + p, w2 + q, b + 1
                path.append([w1, w2, b])
        if len(path) == updates:
            break
    return path


def test_two_points_on_paper():
    """(2, 1) is negative but called positive at 0; then (1, 3) is positive but -2 - 3 - 1 < 0; then (2, 1) again..."""
    x, y = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([0, 1])
    found = perceptron.fit(x, y)
    on_paper = [[0, 0, 0], [-2, -1, -1], [-1, 2, 0], [-3, 1, -1], [-2, 4, 0], [-4, 3, -1]]
    # -4*2 + 3*1 - 1 = -6 and -4*1 + 3*3 - 1 = 4: both right. (-3, 1, -1) leaves (1, 3) at -1; (-2, 4, 0) (2, 1) at 0.
    np.testing.assert_array_equal(found.path, on_paper)
    np.testing.assert_array_equal(found.updated_by, [0, 1, 0, 1, 0])
    assert found.converged
    assert found.mistakes.tolist() == [2, 2, 1, 0]


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 700), noise=st.floats(0, 2))
def test_it_is_the_rules_point_by_point(seed: int, n: int, noise: float):
    rng = np.random.default_rng(seed)
    # Sixteenths, so that sums are exact in any order.
    x = np.round(rng.normal(0, 1 + noise, (n, 2)) * 16) / 16
    y = rng.integers(0, 2, n) if noise > 1 else (x[:, 0] > x[:, 1]).astype(int)
    found = perceptron.fit(x, y, epochs=4)
    np.testing.assert_array_equal(found.path, one_by_one(x, y, 4))
    if found.converged:
        np.testing.assert_array_equal(perceptron.predict(x, found.weights, found.bias), y)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_separable_points_are_all_right_within_novikoffs_bound(seed: int):
    rng = np.random.default_rng(seed)
    best = rng.normal(size=3)
    best /= np.linalg.norm(best)
    x = rng.normal(size=(100, 2))
    signed = x @ best[:2] + best[2]
    x, signed = x[np.abs(signed) > 0.1], signed[np.abs(signed) > 0.1]
    found = perceptron.fit(x, (signed > 0).astype(int), epochs=10_000)
    radius = np.linalg.norm(np.hstack([x, np.ones((len(x), 1))]), axis=1).max()
    assert found.converged
    assert len(found.updated_by) <= (radius / np.abs(signed).min()) ** 2


@pytest.mark.parametrize("noise", [0.5, 1.5])
def test_the_boundary_is_scikit_learns(noise: float):
    """Both visit the points in order. They differ at a sum of 0 only; the first point meets one, and is negative."""
    points = datasets.make("blobs", 100, noise=noise, seed=3)
    ours = perceptron.fit(points.x, points.y, epochs=5)
    theirs = Authority(shuffle=False, max_iter=5, tol=None).fit(points.x, points.y)
    assert points.y[0] == 0
    np.testing.assert_allclose(ours.weights, theirs.coef_[0], atol=1e-10)
    np.testing.assert_allclose(ours.bias, theirs.intercept_[0], atol=1e-10)


def test_the_learning_rate_only_scales():
    points = datasets.make("blobs", 80, noise=1.0, seed=1)
    one = perceptron.fit(points.x, points.y, epochs=3)
    half = perceptron.fit(points.x, points.y, lr=0.5, epochs=3)
    np.testing.assert_allclose(half.path, one.path / 2)


def test_xor_is_never_learned():
    found = perceptron.fit(np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0]), epochs=200)
    assert not found.converged
    assert len(found.mistakes) == 200
    assert found.mistakes.min() >= 1


@pytest.mark.parametrize(
    ("y", "settings_"),
    [([0, 2], {}), ([0], {}), ([0, 1], {"lr": 0.0}), ([0, 1], {"epochs": 0})],
)
def test_bad_input(y: list[int], settings_: dict):
    with pytest.raises(UserError):
        perceptron.fit(np.zeros((2, 2)), np.array(y), **settings_)
