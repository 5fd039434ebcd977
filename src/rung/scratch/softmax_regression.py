"""Softmax regression: logistic regression for more than two classes.

    yhat = softmax(x w + b)                 K probabilities
    E = -(1/m) sum ln yhat[y] + l2/2 |w|^2

The derivative of the logarithm cancels here too: dE/dw = -x^T (y - yhat) / m, y one-hot, and dE/db = -(y - yhat) / m.
With two classes the softmax of (0, z) is the sigmoid of z, so this is `logistic`. scikit-learn's LogisticRegression(C)
has the same minimum for l2 = 1 / (C m).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rung.errors import UserError
from rung.scratch.datasets import check_settings
from rung.scratch.logistic import Method
from rung.scratch.losses import softmax


@dataclass(frozen=True)
class SoftmaxRegression:
    """A trained softmax regression; a step of its path is an epoch.

    Attributes:
        weights: at first and after every epoch # (epochs + 1, D, K)
        biases: likewise # (epochs + 1, K)
        losses: the mean log-loss with the penalty there, in nats # (epochs + 1,)
        converged: whether the gradient of the whole set came below the tolerance.
    """

    weights: np.ndarray
    biases: np.ndarray
    losses: np.ndarray
    converged: bool


def gradient(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, bias: np.ndarray, l2: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """dE/dw # (D, K) and dE/db # (K,) for classes y # (N,)"""
    error = np.eye(len(bias))[y] - softmax(x @ weights + bias)
    return -(x.T @ error) / len(x) + l2 * weights, -error.mean(axis=0)


def log_loss(z: np.ndarray, y: np.ndarray) -> float:
    """Mean cross-entropy of softmax(z) # (N, K) against classes y # (N,), from z itself."""
    return float(np.mean(np.logaddexp.reduce(z, axis=1) - z[np.arange(len(y)), y]))


@np.errstate(over="ignore", invalid="ignore")
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
) -> SoftmaxRegression:
    """Descend from zero weights; arguments as of `logistic.fit`, y the classes from 0 # (N,)"""
    check_settings(y, len(x), lr=lr, epochs=epochs, batch_size=batch_size)
    for name, value in (("l2", l2), ("decay", decay)):
        if not 0 <= value < np.inf:
            raise UserError(f"--{name} {value} is not possible: give 0 or more")
    size = {"batch": len(x), "stochastic": 1, "mini-batch": batch_size}[method]
    rng = np.random.default_rng(seed)
    n_classes = int(y.max()) + 1
    weights, bias = np.zeros((x.shape[1], n_classes)), np.zeros(n_classes)
    all_weights, all_biases, losses, converged = [], [], [], False
    for epoch in range(epochs + 1):
        all_weights.append(weights)
        all_biases.append(bias)
        full, full_bias = gradient(x, y, weights, bias, l2)
        losses.append(log_loss(x @ weights + bias, y) + l2 / 2 * float(np.vdot(weights, weights)))
        if not np.isfinite(losses[-1]):
            raise UserError(f"the loss is no number in epoch {epoch}: --lr {lr} is too large")
        converged = bool(max(np.abs(full).max(), np.abs(full_bias).max()) < tolerance)
        if converged or epoch == epochs:
            break
        rate = lr / (1 + decay * epoch)
        order = np.arange(len(x)) if method == "batch" else rng.permutation(len(x))
        for start in range(0, len(x), size):
            batch = order[start : start + size]
            step, step_bias = gradient(x[batch], y[batch], weights, bias, l2)
            weights, bias = weights - rate * step, bias - rate * step_bias
    return SoftmaxRegression(np.array(all_weights), np.array(all_biases), np.array(losses), converged)
