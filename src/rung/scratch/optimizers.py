"""What to do with a gradient g, once a step. w are a weight's numbers, lr the learning rate.

    gd         w -= lr g
    momentum   v = mu v + g;  w -= lr v                                             Polyak 1964
    nesterov   v = mu v + g;  w -= lr (g + mu v)                                    Nesterov 1983, Sutskever et al. 2013
    adam       m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;                     Kingma & Ba 2015
               w -= lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
    adamw      w -= lr decay w, then as adam                                        Loshchilov & Hutter 2019

These are torch.optim's SGD, Adam and AdamW to the last digits. `step` changes the weights in place and sets the
gradients to None, ready for the next pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from rung.scratch.tape import Value


class GradientDescent:
    """gd; with a momentum, the heavy ball; with nesterov, the ball that looks ahead.

    Attributes:
        lr: the learning rate; a schedule may set it before each step.
    """

    def __init__(
        self, parameters: Iterable[Value], lr: float, *, momentum: float = 0.0, nesterov: bool = False
    ) -> None:
        self.parameters = list(parameters)
        self.lr = lr
        self.momentum = momentum
        self.nesterov = nesterov
        self._velocity: dict[int, np.ndarray] = {}

    def step(self) -> None:
        for i, parameter in enumerate(self.parameters):
            grad = parameter.grad
            if grad is None:
                continue
            if self.momentum:
                if i in self._velocity:
                    self._velocity[i] *= self.momentum
                    self._velocity[i] += grad
                else:
                    self._velocity[i] = np.array(grad)
                velocity = self._velocity[i]
                grad = grad + self.momentum * velocity if self.nesterov else velocity
            parameter.data -= self.lr * grad
            parameter.grad = None


class Adam:
    """adam, and with a decay adamw.

    Attributes:
        lr: the learning rate; a schedule may set it before each step.
    """

    def __init__(
        self,
        parameters: Iterable[Value],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        decay: float = 0.0,
    ) -> None:
        self.parameters = list(parameters)
        self.lr = lr
        self.betas = betas
        self.eps = eps
        self.decay = decay
        self._means = [np.zeros_like(p.data) for p in self.parameters]
        self._squares = [np.zeros_like(p.data) for p in self.parameters]
        self._steps = 0

    def step(self) -> None:
        self._steps += 1
        b1, b2 = self.betas
        rate = self.lr / (1 - b1**self._steps)
        root = 1 / math.sqrt(1 - b2**self._steps)
        for parameter, mean, square in zip(self.parameters, self._means, self._squares, strict=True):
            grad = parameter.grad
            if grad is None:
                continue
            if self.decay:
                parameter.data *= 1 - self.lr * self.decay
            mean *= b1
            mean += (1 - b1) * grad
            square *= b2
            change = grad * grad
            change *= 1 - b2
            square += change
            np.sqrt(square, out=change)
            change *= root
            change += self.eps
            np.divide(mean, change, out=change)
            change *= rate
            parameter.data -= change
            parameter.grad = None
