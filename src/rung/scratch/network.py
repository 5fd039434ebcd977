"""The two-layer network with its backward pass by hand, for squared error and for cross-entropy.

    h = x w + c,  a = f(h),  o = a W + C,  yhat = sigmoid(o), or softmax(o) for cross-entropy of several classes

Going back, every layer has an error term, delta, which says how the loss falls as the layer's input rises:

    squared error 1/2 sum (y - yhat)^2:   delta_o = (y - yhat) yhat (1 - yhat)
    cross-entropy -sum y ln yhat:         delta_o = y - yhat         (the derivative of the output cancels)
    both:                                 delta_h = (delta_o W^T) f'(h)

A step is Delta W = rate a^T delta_o and Delta w = rate x^T delta_h, averaged over the points of the batch.
A network of any depth, trained, is in `feed_forward`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from rung.scratch.activations import sigmoid
from rung.scratch.losses import softmax

Loss = Literal["cross-entropy", "squared"]
Activation = Literal["sigmoid", "tanh"]


@dataclass(frozen=True)
class Parameters:
    """Weights, or one step for each of them.

    Attributes:
        w, c: of the hidden layer # (D, H), (H,)
        W, C: of the output layer # (H, K), (K,)
    """

    w: np.ndarray
    c: np.ndarray
    W: np.ndarray
    C: np.ndarray


@dataclass(frozen=True)
class Pass:
    """All that one forward and backward pass computes, by the names above; `step` for a rate of 1."""

    h: np.ndarray  # (N, H)
    a: np.ndarray  # (N, H)
    y_hat: np.ndarray  # (N, K)
    loss: float
    delta_o: np.ndarray  # (N, K)
    delta_h: np.ndarray  # (N, H)
    step: Parameters


def forward(
    x: np.ndarray, p: Parameters, loss: Loss = "cross-entropy", activation: Activation = "tanh"
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """h, a, o and yhat # (N, H), (N, H), (N, K), (N, K)"""
    h = x @ p.w + p.c
    a = np.tanh(h) if activation == "tanh" else sigmoid(h)
    o = a @ p.W + p.C
    if loss == "squared" or o.shape[1] == 1:
        return h, a, o, sigmoid(o)
    return h, a, o, softmax(o)


def forward_backward(
    x: np.ndarray, y: np.ndarray, p: Parameters, loss: Loss = "cross-entropy", activation: Activation = "tanh"
) -> Pass:
    """Once through the network and back, for points x # (N, D) and targets y # (N, K)."""
    h, a, o, y_hat = forward(x, p, loss, activation)
    value, delta_o = output_error(o, y, loss)
    slope = 1 - a**2 if activation == "tanh" else a * (1 - a)
    delta_h = (delta_o @ p.W.T) * slope
    step = Parameters(
        x.T @ delta_h / len(x), delta_h.mean(axis=0), a.T @ delta_o / len(x), delta_o.mean(axis=0)
    )
    return Pass(h, a, y_hat, value, delta_o, delta_h, step)


def output_error(o: np.ndarray, y: np.ndarray, loss: Loss) -> tuple[float, np.ndarray]:
    """The mean loss of outputs o # (N, K) against targets y # (N, K), and delta_o # (N, K)"""
    if loss == "squared":
        y_hat = sigmoid(o)
        return float(0.5 * np.sum((y - y_hat) ** 2) / len(o)), (y - y_hat) * y_hat * (1 - y_hat)
    # The logarithms of yhat from o itself, so that a probability of 0 is never asked for one.
    one = o.shape[1] == 1
    log_z = np.logaddexp(0, o) if one else np.logaddexp.reduce(o, axis=1, keepdims=True)
    return float(np.sum(log_z) - np.sum(y * o)) / len(o), y - (sigmoid(o) if one else softmax(o))


def targets(y: np.ndarray, n_classes: int) -> np.ndarray:
    """Classes # (N,) as targets: one column for two classes # (N, 1), one-hot for more # (N, K)"""
    return (y[:, None] if n_classes == 2 else np.eye(n_classes)[y]).astype(float)


def updated(p: Parameters, step: Parameters, rate: float) -> Parameters:
    """The parameters after one step downhill."""
    return Parameters(*(getattr(p, f.name) + rate * getattr(step, f.name) for f in fields(Parameters)))
