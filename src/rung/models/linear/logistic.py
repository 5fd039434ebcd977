"""Multinomial logistic regression, fitted to its one minimum.

    J(W, b) = sum over examples i of s_i (-log softmax(W x_i + b)[y_i]) + (l2 / 2) |W|^2

With two labels one row w of weights is enough, logits (0, w x + b), as scikit-learn's LogisticRegression has it, whose
C is 1 / l2. J is convex; L-BFGS (Liu and Nocedal 1989, SciPy's) finds its minimum from anywhere, so nothing is left to
chance.

Shapes: N examples, F features, L labels, K rows of weights: 1 for two labels, else L.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from rung.models.temperature import log_softmax

if TYPE_CHECKING:
    from scipy.sparse import csr_array

STRENGTHS = tuple(10 ** (exponent / 2) for exponent in range(8, -9, -1))
"""What l2 is tried, from the strongest."""
FIRST_TRIED = STRENGTHS.index(1.0)
CLOSE, ROUGH = 1e-8, 1e-5
"""By what share of J a step must lower it for a search to go on: of the fit that is kept, and of those compared."""
MOST_ITERATIONS = 1000


class Weights(NamedTuple):
    """What is learned: rows (K, F) and biases (K,), float64."""

    rows: np.ndarray
    biases: np.ndarray


def log_probs(weights: Weights, x: csr_array) -> np.ndarray:
    """log P(label | x) in nats, (N, L), float64."""
    logits = np.asarray(x @ weights.rows.T) + weights.biases
    if len(weights.biases) == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    return log_softmax(logits)


def fit(
    x: csr_array,
    labels: np.ndarray,
    n_labels: int,
    l2: float,
    example_weights: np.ndarray | None = None,
    start: Weights | None = None,
    tolerance: float = CLOSE,
) -> Weights:
    """The minimum of J.

    Args:
        x: (N, F) features.
        labels: (N,) which label each example has.
        n_labels: L.
        l2: above 0.
        example_weights: (N,) s; None = each 1.
        start: where the search begins; it ends at the same place from anywhere.
        tolerance: the search ends with the step that lowers J by no more than this share of it.
    """
    from scipy.optimize import minimize

    n, n_features = cast("tuple[int, int]", x.shape)
    k = 1 if n_labels == 2 else n_labels
    turned = x.T.tocsr()
    scale = np.full(n, 1 / n) if example_weights is None else example_weights / n
    places = np.arange(n)
    signs = labels.astype(np.float64)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        rows = flat[: k * n_features].reshape(k, n_features)
        logits = np.asarray(x @ rows.T) + flat[k * n_features :]  # (N, K)
        if k == 1:
            z = logits[:, 0]
            loss = scale @ (np.logaddexp(0, z) - signs * z)
            slope = (scale * (1 / (1 + np.exp(-np.clip(z, -700, 700))) - signs))[:, None]
        else:
            logits -= logits.max(axis=1, keepdims=True)
            slope = np.exp(logits)
            sums = slope.sum(axis=1)
            loss = scale @ (np.log(sums) - logits[places, labels])
            slope /= sums[:, None]
            slope[places, labels] -= 1
            slope *= scale[:, None]
        gradient = np.asarray(turned @ slope).T + (l2 / n) * rows  # (K, F)
        return (
            float(loss + l2 / (2 * n) * np.vdot(rows, rows)),
            np.concatenate([gradient.ravel(), slope.sum(axis=0)]),
        )

    if start is None:
        start = Weights(np.zeros((k, n_features)), np.zeros(k))
    found = minimize(
        objective,
        np.concatenate([start.rows.ravel(), start.biases]),
        method="L-BFGS-B",
        jac=True,
        options={"maxiter": MOST_ITERATIONS, "maxfun": 2 * MOST_ITERATIONS, "gtol": 0.0, "ftol": tolerance},
    ).x
    return Weights(found[: k * n_features].reshape(k, n_features), found[k * n_features :])


def best_strength(
    x: csr_array,
    labels: np.ndarray,
    n_labels: int,
    held_out: csr_array,
    held_out_labels: np.ndarray,
    example_weights: np.ndarray | None = None,
) -> tuple[float, Weights]:
    """The l2, of `STRENGTHS`, under which the labels of held-out examples cost least, and rough weights for it.

    From 1 the search goes the way that improves, until it no longer does.
    """

    def cost(weights: Weights) -> float:
        return -float(
            np.take_along_axis(log_probs(weights, held_out), held_out_labels[:, None], axis=1).sum()
        )

    def tried(place: int, start: Weights | None) -> tuple[float, int, Weights]:
        weights = fit(x, labels, n_labels, STRENGTHS[place], example_weights, start, ROUGH)
        return cost(weights), place, weights

    best = tried(FIRST_TRIED, None)
    for way in (1, -1):
        begun = best[1]
        while 0 <= best[1] + way < len(STRENGTHS):
            new = tried(best[1] + way, best[2])
            if new[0] >= best[0]:
                break
            best = new
        if best[1] != begun:
            break
    return STRENGTHS[best[1]], best[2]
