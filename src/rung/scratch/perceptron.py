"""The perceptron (Rosenblatt 1958): one line through the plane, moved by every point it gets wrong.

The prediction is yhat = step(w . x + b), 1 when the sum is 0 or more. Points are visited in turn. One that is right
changes nothing; one that is wrong pulls the line towards itself or pushes it away, by the learning rate:

    called positive but negative:   w <- w - rate x     b <- b - rate
    called negative but positive:   w <- w + rate x     b <- b + rate

which is one rule, w <- w + rate (y - yhat) x, the same as logistic regression's but for the hard step.
When some line separates the classes, the number of updates is finite: at most (R/margin)^2 (Novikoff 1962), with R the
longest (x, 1) and the margin that of the best line. When none does, it goes on for ever, so there is a last epoch.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np

from rung.errors import UserError
from rung.scratch.datasets import check_settings

BLOCK = 256  # points that are looked at together for the next wrong one


@dataclass(frozen=True)
class LinearClassifier:
    """A line and the way it took in training.

    Attributes:
        path: weights and bias at first and after every step # (steps + 1, D + 1)
    """

    path: np.ndarray

    @property
    def weights(self) -> np.ndarray:  # (D,)
        return self.path[-1, :-1]

    @property
    def bias(self) -> float:
        return float(self.path[-1, -1])


@dataclass(frozen=True)
class Perceptron(LinearClassifier):
    """A trained perceptron; a step of its path is an update.

    Attributes:
        updated_by: which point caused each update # (updates,)
        mistakes: how many updates each epoch made; the last is 0 when all points are right # (epochs,)
        converged: whether a whole epoch passed without a mistake.
    """

    updated_by: np.ndarray
    mistakes: np.ndarray
    converged: bool


def predict(x: np.ndarray, weights: np.ndarray, bias: float) -> np.ndarray:
    """The class of each point, 0 or 1 # (N, D) -> (N,)"""
    return (x @ weights + bias >= 0).astype(np.int64)


def fit(x: np.ndarray, y: np.ndarray, *, lr: float = 1.0, epochs: int = 1000) -> Perceptron:
    """Visit the points in their order until an epoch makes no mistake, or `epochs` times.

    Args:
        x: the features # (N, D)
        y: the classes, 0 or 1 # (N,)
        lr: the learning rate: how far one point moves the line. As all begins at 0, it only scales the result.
        epochs: when to give up: the points may not be separable.
    """
    check_settings(y, len(x), lr=lr, epochs=epochs)
    check_two_classes(y)
    weights, bias = np.zeros(x.shape[1]), 0.0
    path, updated_by, mistakes = array("d", [*weights, bias]), array("q"), array("q")
    while len(mistakes) < epochs and (not mistakes or mistakes[-1] > 0):
        before, i = len(updated_by), 0
        while i < len(x):
            # All points from here on are judged at once, but only the first wrong one counts: it moves the line.
            error = y[i : i + BLOCK] - predict(x[i : i + BLOCK], weights, bias)
            wrong = np.flatnonzero(error)
            if len(wrong) == 0:
                i += BLOCK
                continue
            i += int(wrong[0])
            step = lr * int(error[wrong[0]])
            weights = weights + step * x[i]
            bias += step
            path.extend([*weights, bias])
            updated_by.append(i)
            i += 1
        mistakes.append(len(updated_by) - before)
    return Perceptron(
        np.array(path).reshape(-1, x.shape[1] + 1),
        np.array(updated_by, dtype=np.int64),
        np.array(mistakes, dtype=np.int64),
        mistakes[-1] == 0,
    )


def check_two_classes(y: np.ndarray) -> None:
    if y.max() > 1:
        raise UserError("one line parts two classes, 0 and 1")
