"""Multinomial logistic regression, fitted to its one minimum.

    J(W, b) = sum over examples i of s_i (-log softmax(W x_i + b)[y_i]) + (l2 / 2) |W|^2

With two labels one row w of weights is enough, logits (0, w x + b), as scikit-learn's LogisticRegression has it, whose
C is 1 / l2. J is convex; Newton's method (`newton`) finds its minimum from anywhere, so nothing is left to chance.

Shapes: N examples, F features, L labels, K rows of weights: 1 for two labels, else L.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from rung.models.linear.newton import Convex, minimum
from rung.models.temperature import log_softmax

if TYPE_CHECKING:
    from scipy.sparse import csr_array

STRENGTHS = tuple(10 ** (exponent / 2) for exponent in range(8, -9, -1))
"""What l2 is tried, from the strongest."""
FIRST_TRIED = STRENGTHS.index(1.0)
CLOSE, ROUGH = 1e-8, 1e-4
"""By what share of J a step must lower it for a search to go on: of the fit that is kept, and of those compared."""
MOST_STEPS = 1000
TINY = 1e-12
"""The least curvature of a bias; where examples are all certain it has none."""


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
    k = 1 if n_labels == 2 else n_labels
    if start is None:
        start = Weights(np.zeros((k, cast("tuple[int, int]", x.shape)[1])), np.zeros(k))
    cost = _Cost(x, labels, k, l2, example_weights)
    found = minimum(cost, np.concatenate([start.rows.ravel(), start.biases]), tolerance, MOST_STEPS)
    return cost.unpacked(found)


class _Cost(Convex):
    """J / N as a function of all weights: the rows one after the other, then the biases."""

    def __init__(
        self, x: csr_array, labels: np.ndarray, k: int, l2: float, example_weights: np.ndarray | None
    ) -> None:
        n, self.n_features = cast("tuple[int, int]", x.shape)
        x = cast("csr_array", x.astype(np.float64))  # once, not at every product
        self.x, self.turned, self.k, self.penalty = x, x.T, k, l2 / n
        self.squared = x.copy()
        self.squared.data **= 2
        self.scale = (np.ones(n) if example_weights is None else example_weights)[:, None] / n
        self.labels, self.rows = labels, np.arange(n)

    def unpacked(self, flat: np.ndarray) -> Weights:
        size = self.k * self.n_features
        return Weights(flat[:size].reshape(self.k, self.n_features), flat[size:])

    def _packed(self, slopes: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The derivative of the weights, from that of the logits (N, K) and the penalty's of `rows`."""
        of_rows = np.asarray(self.turned @ slopes).T + self.penalty * rows
        return np.concatenate([of_rows.ravel(), slopes.sum(axis=0)])

    def at(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        weights = self.unpacked(x)
        logits = np.asarray(self.x @ weights.rows.T) + weights.biases  # (N, K)
        if self.k == 1:
            normalizer = np.logaddexp(0, logits)
        else:
            most = logits.max(axis=1, keepdims=True)
            normalizer = most + np.log(np.exp(logits - most).sum(axis=1, keepdims=True))
        right = logits[:, 0] * self.labels if self.k == 1 else logits[self.rows, self.labels]
        costs = normalizer[:, 0] - right
        value = float(self.scale[:, 0] @ costs + self.penalty / 2 * np.vdot(weights.rows, weights.rows))
        np.subtract(logits, normalizer, out=logits)
        self.probs = np.exp(logits, out=logits)
        slopes = self.probs.copy()
        if self.k == 1:
            slopes[:, 0] -= self.labels
        else:
            slopes[self.rows, self.labels] -= 1
        slopes *= self.scale
        return value, self._packed(slopes, weights.rows)

    def curvature(self, v: np.ndarray) -> np.ndarray:
        ways = self.unpacked(v)
        moved = self.probs * (np.asarray(self.x @ ways.rows.T) + ways.biases)
        moved -= self.probs * moved.sum(axis=1, keepdims=True)
        return self._packed(self.scale * moved, ways.rows)

    def diagonal(self) -> np.ndarray:
        bent = self.scale * self.probs * (1 - self.probs)
        of_rows = np.asarray(self.squared.T @ bent).T + self.penalty
        return np.concatenate([of_rows.ravel(), np.maximum(bent.sum(axis=0), TINY)])


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
