"""What to do with a gradient g, once a step. w are a weight's numbers, lr the learning rate.

    gd         w -= lr g
    momentum   v = mu v + g;  w -= lr v                                             Polyak 1964
    nesterov   v = mu v + g;  w -= lr (g + mu v)                                    Nesterov 1983, Sutskever et al. 2013
    adam       m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2                      Kingma & Ba 2015
               w -= lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
    adamw      w -= lr decay w, then as adam                                        Loshchilov & Hutter 2019

Decay is open to all five. It concerns weights of two dimensions or more: biases and norms are left alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from rung.scratch.tape import Value


class Optimizer:
    """Changes weights by their gradients.

    Attributes:
        lr: the learning rate; a schedule may set it before each step.
        state: what is kept of earlier gradients, some arrays for each weight.
        steps: how many were made.
    """

    n_state = 0
    """How many arrays of a weight's shape are kept for each weight."""

    def __init__(self, weights: Iterable[Value], lr: float, *, decay: float = 0.0) -> None:
        self.weights = list(weights)
        self.lr = lr
        self.decay = decay
        self.state = [[np.zeros_like(w.data) for _ in range(self.n_state)] for w in self.weights]
        self.steps = 0

    def step(self) -> None:
        """Change every weight in place, and set its gradient to None, ready for the next pass."""
        self.steps += 1
        for weight, memory in zip(self.weights, self.state, strict=True):
            if weight.grad is not None:
                if self.decay and weight.data.ndim >= 2:
                    weight.data *= 1 - self.lr * self.decay
                weight.data -= self.update(weight.grad, *memory)
                weight.grad = None

    update: Callable[..., np.ndarray]
    """From a weight's gradient and its memory, which is brought up to date, to what is taken off the weight."""


class GradientDescent(Optimizer):
    """gd."""

    def update(self, grad: np.ndarray) -> np.ndarray:
        return self.lr * grad


class Momentum(Optimizer):
    """momentum: the heavy ball."""

    n_state = 1
    mu = 0.9

    def update(self, grad: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        velocity *= self.mu
        velocity += grad
        return self.lr * velocity


class Nesterov(Momentum):
    """nesterov: the ball that looks ahead."""

    def update(self, grad: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        ahead = super().update(grad, velocity)
        ahead *= self.mu
        ahead += self.lr * grad
        return ahead


class Adam(Optimizer):
    """adam, and with decay adamw."""

    n_state = 2
    beta1, beta2, eps = 0.9, 0.999, 1e-8

    def update(self, grad: np.ndarray, mean: np.ndarray, square: np.ndarray) -> np.ndarray:
        mean *= self.beta1
        mean += (1 - self.beta1) * grad
        out = grad * grad
        out *= 1 - self.beta2
        square *= self.beta2
        square += out
        np.sqrt(square, out=out)
        out *= 1 / math.sqrt(1 - self.beta2**self.steps)
        out += self.eps
        np.divide(mean, out, out=out)
        out *= self.lr / (1 - self.beta1**self.steps)
        return out


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "gd": GradientDescent,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adam": Adam,
    "adamw": Adam,
}
"""By name; adamw is adam given a decay."""
