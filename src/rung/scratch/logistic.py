"""Logistic regression by gradient descent: the perceptron with a soft step.

    yhat = sigmoid(w . x + b)                       the probability that the point is of class 1
    E = -(1/m) sum y ln yhat + (1 - y) ln(1 - yhat) + l2/2 |w|^2

The sigmoid's derivative is yhat (1 - yhat), which the logarithm's 1/yhat and 1/(1 - yhat) cancel. What is left for one
point is dE/dw = -(y - yhat) x and dE/db = -(y - yhat): the error times the input. The bias is not penalised.
scikit-learn's LogisticRegression(C) has the same minimum for l2 = 1 / (C m).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rung.errors import UserError
from rung.scratch.activations import sigmoid
from rung.scratch.datasets import check_settings
from rung.scratch.perceptron import LinearClassifier, check_two_classes

Method = Literal["batch", "stochastic", "mini-batch"]


@dataclass(frozen=True)
class LogisticRegression(LinearClassifier):
    """A trained logistic regression; a step of its path is an epoch.

    Attributes:
        losses: the mean log-loss with the penalty at each place of the path, in nats # (epochs + 1,)
        converged: whether the gradient of the whole set came below the tolerance.
    """

    losses: np.ndarray
    converged: bool


def log_loss(z: np.ndarray, y: np.ndarray) -> float:
    """Mean cross-entropy of sigmoid(z) against y, from z itself: ln(1 + e^z) - y z never meets ln 0."""
    return float(np.mean(np.logaddexp(0.0, z) - y * z))


def gradient(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, bias: float, l2: float = 0.0
) -> tuple[np.ndarray, float]:
    """The mean over the points of -(y - yhat) (x, 1), and the penalty's l2 w # (D,) and a number"""
    error = y - sigmoid(x @ weights + bias)  # (N,)
    return -(error @ x) / len(x) + l2 * weights, -float(error.mean())


@np.errstate(over="ignore", invalid="ignore")  # a loss that is no number is told in words
def fit(
    x: np.ndarray,
    y: np.ndarray,
    *,
    method: Method = "batch",
    lr: float = 0.5,
    decay: float = 0.0,
    epochs: int = 1000,
    batch_size: int = 16,
    l2: float = 0.0,
    tolerance: float = 1e-8,
    seed: int = 0,
) -> LogisticRegression:
    """Descend from zero weights until the gradient is below `tolerance`, or for `epochs` passes over the points.

    Args:
        x: the features # (N, D)
        y: the classes, 0 or 1 # (N,)
        method: an update after all points (batch), after each one (stochastic) or after every `batch_size`
            (mini-batch). The last two visit the points in a new random order each epoch.
        lr: the step size; in epoch t it is lr / (1 + decay t).
        decay: without it, the stochastic methods end in a cloud around the minimum, not in it.
        epochs: the most passes.
        batch_size: of the mini-batches.
        l2: weight of the penalty.
        tolerance: the largest component that the gradient of the whole set may have at the end.
        seed: of the orders.
    """
    check_settings(y, len(x), lr=lr, epochs=epochs, batch_size=batch_size)
    for name, value in (("l2", l2), ("decay", decay)):
        if not 0 <= value < np.inf:
            raise UserError(f"--{name} {value} is not possible: give 0 or more")
    check_two_classes(y)
    size = {"batch": len(x), "stochastic": 1, "mini-batch": batch_size}[method]
    rng = np.random.default_rng(seed)
    weights, bias = np.zeros(x.shape[1]), 0.0
    path, losses, converged = [], [], False
    for epoch in range(epochs + 1):
        full, full_bias = gradient(x, y, weights, bias, l2)
        path.append([*weights, bias])
        losses.append(log_loss(x @ weights + bias, y) + l2 / 2 * float(weights @ weights))
        if not np.isfinite(losses[-1]):
            raise UserError(f"the loss is no number in epoch {epoch}: --lr {lr} is too large")
        converged = bool(max(np.abs(full).max(), abs(full_bias)) < tolerance)
        if converged or epoch == epochs:
            break
        rate = lr / (1 + decay * epoch)
        order = np.arange(len(x)) if method == "batch" else rng.permutation(len(x))
        for start in range(0, len(x), size):
            batch = order[start : start + size]
            grad, grad_bias = gradient(x[batch], y[batch], weights, bias, l2)
            weights = weights - rate * grad
            bias -= rate * grad_bias
    return LogisticRegression(np.array(path), np.array(losses), converged)
