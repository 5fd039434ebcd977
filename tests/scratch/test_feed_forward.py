"""Networks of any depth, and softmax regression, against torch, scikit-learn and the two-layer network by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch import nn

from rung.errors import UserError
from rung.scratch import datasets, feed_forward, logistic, network, softmax_regression
from rung.scratch.network import Loss, Parameters

THEIRS = {
    "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(),
    "relu": nn.ReLU(),
    "leaky-relu": nn.LeakyReLU(0.01),
    "elu": nn.ELU(),
    "selu": nn.SELU(),
    "gelu": nn.GELU(),
}


@pytest.mark.parametrize("activation", THEIRS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_loss_and_steps_are_torchs(activation: str, n_classes: int):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((9, 4)), rng.integers(0, n_classes, 9)
    widths = [4, 5, 3, 1 if n_classes == 2 else n_classes]
    layers = feed_forward.first_layers(widths, rng, "kaiming", activation)
    value, steps = feed_forward.forward_backward(
        x, network.targets(y, n_classes), layers, activation=activation
    )
    weights = [(torch.tensor(w, requires_grad=True), torch.tensor(c, requires_grad=True)) for w, c in layers]
    out = torch.tensor(x)
    for w, c in weights[:-1]:
        out = THEIRS[activation](out @ w + c)
    out = out @ weights[-1][0] + weights[-1][1]
    if n_classes == 2:
        loss = nn.functional.binary_cross_entropy_with_logits(out[:, 0], torch.tensor(y, dtype=torch.float64))
    else:
        loss = nn.functional.cross_entropy(out, torch.tensor(y))
    loss.backward()
    assert value == pytest.approx(loss.item())
    for (w, c), (dw, dc) in zip(weights, steps, strict=True):
        assert w.grad is not None
        assert c.grad is not None
        np.testing.assert_allclose(dw, -w.grad.numpy(), atol=1e-10)
        np.testing.assert_allclose(dc, -c.grad.numpy(), atol=1e-10)


@settings(deadline=None, max_examples=20)
@given(
    st.integers(1, 4),
    st.integers(1, 5),
    st.sampled_from(["cross-entropy", "squared"]),
    st.sampled_from(["tanh", "sigmoid"]),
)
def test_with_one_hidden_layer_it_is_the_network_by_hand(
    n_in: int, n_hidden: int, loss: Loss, activation: Any
):
    rng = np.random.default_rng(n_in)
    x, y = rng.standard_normal((6, n_in)), network.targets(rng.integers(0, 2, 6), 2)
    (w, c), (big_w, big_c) = layers = feed_forward.first_layers([n_in, n_hidden, 1], rng)
    by_hand = network.forward_backward(x, y, Parameters(w, c, big_w, big_c), loss, activation)
    value, ((dw, dc), (dbig_w, dbig_c)) = feed_forward.forward_backward(x, y, layers, loss, activation)
    assert value == pytest.approx(by_hand.loss)
    for ours, theirs in ((dw, "w"), (dc, "c"), (dbig_w, "W"), (dbig_c, "C")):
        np.testing.assert_allclose(ours, getattr(by_hand.step, theirs), atol=1e-12)


def test_first_weights_have_the_spread_of_their_scheme():
    rng = np.random.default_rng(0)
    for init, spread in (
        ("lecun", 300**-0.5),
        ("kaiming", (2 / 300) ** 0.5),
        ("xavier", 2**0.5 * (2 / 500) ** 0.5),
        ("normal", 0.01),
        ("zeros", 0.0),
    ):
        (w, c), _ = feed_forward.first_layers([300, 200, 2], rng, init, "relu")
        assert w.std() == pytest.approx(spread, rel=0.02)
        assert not c.any()
    (w, _), _ = feed_forward.first_layers([300, 200, 2], rng, "orthogonal", "relu")
    np.testing.assert_allclose(w.T @ w, 2 * np.eye(200), atol=1e-10)


def test_two_hidden_layers_learn_circles_and_zeros_learn_nothing():
    points = datasets.make("circles", 100, seed=1)
    found = feed_forward.fit(points.x, points.y, n_hidden=(6, 6), activation="relu", init="kaiming", lr=0.2)
    o = feed_forward.scores(points.x, found.path[-1], "relu")
    assert ((o[:, 0] > 0) == points.y).all()
    stuck = feed_forward.fit(points.x, points.y, n_hidden=(6, 6), init="zeros", epochs=20)
    assert stuck.losses[-1] == pytest.approx(np.log(2), abs=0.01)


def test_softmax_regression_has_scikit_learns_minimum():
    rng = np.random.default_rng(3)
    centres = np.array([[0, 0, 1], [2, 1, 0], [-1, 2, 0], [1, -2, 1]])
    y = np.arange(120) % 4
    x = centres[y] + rng.standard_normal((120, 3))
    ours = softmax_regression.fit(x, y, l2=0.01, epochs=20_000, lr=1.0)
    theirs = LogisticRegression(C=1 / (0.01 * 120), tol=1e-10, max_iter=10_000).fit(x, y)
    assert ours.converged
    p = feed_forward.softmax(x @ ours.weights[-1] + ours.biases[-1])
    np.testing.assert_allclose(p, theirs.predict_proba(x), atol=1e-4)


def test_softmax_of_two_classes_is_the_sigmoid():
    points = datasets.make("blobs", 40, noise=1.5)
    two = softmax_regression.fit(points.x, points.y, epochs=30, lr=1.0)
    one = logistic.fit(points.x, points.y, epochs=30, lr=2.0)
    z = points.x @ two.weights[-1] + two.biases[-1]
    np.testing.assert_allclose(z[:, 1] - z[:, 0], points.x @ one.weights + one.bias, atol=1e-9)


def test_any_number_of_features_and_classes(tmp_path: Path):
    path = tmp_path / "flowers.csv"
    rng = np.random.default_rng(0)
    rows = [
        f"{','.join(f'{v:.3f}' for v in rng.standard_normal(5) + k)},{'abc'[k]}"
        for k in (0, 3, 6, 1, 4)
        for k in [k % 3]
    ]
    path.write_text("p,q,r,s,t,kind\n" + "\n".join(rows * 3) + "\n")
    points = datasets.read_csv(path, "kind")
    assert points.x.shape == (15, 5)
    assert points.features == ("p", "q", "r", "s", "t")
    with pytest.raises(UserError, match="--features"):
        datasets.read_csv(path, "kind", ("p", "p"))
