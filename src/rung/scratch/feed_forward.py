"""A network of any number of hidden layers, its backward pass by hand: `network`, layer upon layer.

    a_0 = x;  h_l = a_(l-1) w_l + c_l,  a_l = f(h_l)  for l = 1 ... L;  o = a_L w_(L+1) + c_(L+1)
    yhat = sigmoid(o), or softmax(o) for cross-entropy of several classes

    delta_(L+1) as delta_o of `network`;  delta_l = (delta_(l+1) w_(l+1)^T) f'(h_l);  Delta w_l = rate a_(l-1)^T delta_l

f and f' are the engine's (`activations`). First weights, with I inputs and O outputs, g the function's gain:

    lecun N(0, 1 / I) · kaiming N(0, g^2 / I) · xavier N(0, 2 g^2 / (I + O)) · normal N(0, 0.01^2) · zeros ·
    orthogonal: g times rows, or columns, at right angles
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from rung.errors import UserError
from rung.scratch.activations import ELU, GELU, SELU, LeakyReLU, ReLU, Sigmoid, Tanh, sigmoid
from rung.scratch.datasets import check_settings
from rung.scratch.losses import softmax
from rung.scratch.network import Loss, output_error, targets
from rung.scratch.tape import Module

Activation = Literal["tanh", "sigmoid", "relu", "leaky-relu", "elu", "selu", "gelu"]
Init = Literal["lecun", "kaiming", "xavier", "normal", "orthogonal", "zeros"]

ACTIVATIONS: dict[str, tuple[Module, float]] = {
    "tanh": (Tanh(), 5 / 3),
    "sigmoid": (Sigmoid(), 1.0),
    "relu": (ReLU(), math.sqrt(2)),
    "leaky-relu": (LeakyReLU(), math.sqrt(2 / (1 + 0.01**2))),
    "elu": (ELU(), 1.0),
    "selu": (SELU(), 3 / 4),
    "gelu": (GELU(), 1.0),
}
"""Name -> the function, and its gain."""

Layers = list[tuple[np.ndarray, np.ndarray]]
"""Weights # (I, O) and biases # (O,) of every layer, the output's last."""


@dataclass(frozen=True)
class FeedForwardNetwork:
    """A trained network and the way it took: layers and mean loss (nats, or half squares) after every epoch."""

    path: list[Layers]
    losses: np.ndarray  # (epochs + 1,)


def scores(x: np.ndarray, layers: Layers, activation: str = "tanh") -> np.ndarray:
    """o # (N, D) -> (N, K)"""
    f, _ = ACTIVATIONS[activation]
    for w, c in layers[:-1]:
        x = f.forward(x @ w + c)[0]
    w, c = layers[-1]
    return x @ w + c


def probabilities(o: np.ndarray, loss: Loss = "cross-entropy") -> np.ndarray:
    """yhat # (N, K)"""
    return sigmoid(o) if loss == "squared" or o.shape[1] == 1 else softmax(o)


def forward_backward(
    x: np.ndarray, y: np.ndarray, layers: Layers, loss: Loss = "cross-entropy", activation: str = "tanh"
) -> tuple[float, Layers]:
    """The mean loss over N points whose targets are y # (N, K), and the step downhill for a rate of 1."""
    f, _ = ACTIVATIONS[activation]
    a, saved = [x], []
    for w, c in layers[:-1]:
        out, kept = f.forward(a[-1] @ w + c)
        a.append(out)
        saved.append(kept)
    w, c = layers[-1]
    value, delta = output_error(a[-1] @ w + c, y, loss)
    steps: Layers = []
    for place in reversed(range(len(layers))):
        steps.append((a[place].T @ delta / len(x), delta.mean(axis=0)))
        if place:
            (back,) = f.backward(saved[place - 1], delta @ layers[place][0].T)
            assert back is not None
            delta = back
    return value, steps[::-1]


def first_layers(
    widths: Sequence[int], rng: np.random.Generator, init: str = "lecun", activation: str = "tanh"
) -> Layers:
    """Layers between `widths`, by a scheme's name; biases 0. The output's layer has no function, and so no gain."""
    gain = ACTIVATIONS[activation][1]
    return [
        (_first_weights(n_in, n_out, rng, init, gain if place < len(widths) - 2 else 1.0), np.zeros(n_out))
        for place, (n_in, n_out) in enumerate(pairwise(widths))
    ]


@np.errstate(over="ignore", invalid="ignore")
def fit(
    x: np.ndarray,
    y: np.ndarray,
    *,
    n_hidden: Sequence[int] = (8,),
    loss: Loss = "cross-entropy",
    activation: str = "tanh",
    init: str = "lecun",
    lr: float = 0.5,
    epochs: int = 500,
    batch_size: int = 16,
    seed: int = 0,
) -> FeedForwardNetwork:
    """Mini-batch gradient descent from random weights, the points in a new order each epoch (without replacement).

    Args:
        x, y: the features # (N, D) and the classes, from 0 # (N,)
        n_hidden: units of each hidden layer.
        loss, activation, init: of the output, of the hidden layers, of their first weights.
        lr, epochs, batch_size: of the descent.
        seed: of the weights and the orders.
    """
    check_settings(y, len(x), lr=lr, epochs=epochs, batch_size=batch_size)
    if not n_hidden or min(n_hidden) < 1:
        raise UserError(f"--n-hidden {' '.join(map(str, n_hidden))} is not possible: give numbers above 0")
    rng = np.random.default_rng(seed)
    y = targets(y, max(int(y.max()) + 1, 2))
    layers = first_layers([x.shape[1], *n_hidden, y.shape[1]], rng, init, activation)
    path, losses = [layers], [forward_backward(x, y, layers, loss, activation)[0]]
    for epoch in range(1, epochs + 1):
        order = rng.permutation(len(x))
        for start in range(0, len(x), batch_size):
            batch = order[start : start + batch_size]
            _, steps = forward_backward(x[batch], y[batch], layers, loss, activation)
            layers = [(w + lr * dw, c + lr * dc) for (w, c), (dw, dc) in zip(layers, steps, strict=True)]
        path.append(layers)
        losses.append(forward_backward(x, y, layers, loss, activation)[0])
        if not np.isfinite(losses[-1]):
            raise UserError(f"the loss is no number in epoch {epoch}: --lr {lr} is too large")
    return FeedForwardNetwork(path, np.array(losses))


def _first_weights(n_in: int, n_out: int, rng: np.random.Generator, init: str, gain: float) -> np.ndarray:
    normal = rng.standard_normal((n_in, n_out))
    if init == "zeros":
        return np.zeros((n_in, n_out))
    if init == "orthogonal":
        tall = normal if n_in >= n_out else normal.T
        q, r = np.linalg.qr(tall)
        q = q * np.sign(np.diag(r))
        return gain * (q if n_in >= n_out else q.T)
    spreads = {
        "lecun": 1 / math.sqrt(n_in),
        "kaiming": gain / math.sqrt(n_in),
        "xavier": gain * math.sqrt(2 / (n_in + n_out)),
        "normal": 0.01,
    }
    return normal * spreads[init]
