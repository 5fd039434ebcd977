"""How sure a classifier may be: one number that its logits are scaled by, chosen on validation examples.

P(l | text) = softmax(scale x logits)[l]          Guo et al. 2017, arXiv:1706.04599: 1 / temperature
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

GOLDEN = (5**0.5 - 1) / 2
LEAST, MOST = 1e-3, 10.0
HALVINGS = 40


def best_scale(log_probs: Callable[[float], np.ndarray], labels: np.ndarray) -> float:
    """The scale, 0.001 to 10, under which the right labels (N,) cost least.

    `log_probs` gives those of all labels, (N, L) nats, for a scale. Their cost is convex in it: a golden section finds
    its minimum.
    """

    def cost(scale: float) -> float:
        return -float(np.take_along_axis(log_probs(scale), labels[:, None], axis=1).sum())

    low, high = LEAST, MOST
    for _ in range(HALVINGS):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        low, high = (low, right) if cost(left) <= cost(right) else (left, high)
    return (low + high) / 2


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Of each row (N, L), float64."""
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
