"""The minimum of a smooth, strictly convex function of many numbers, by Newton's method with conjugate gradients.

Each Newton step solves H d = -g only as well as it needs to (Nocedal and Wright, Numerical Optimization, 2nd edition,
algorithm 7.1), with the diagonal of H as preconditioner, and is halved until it lowers the value enough.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

DECREASE = 1e-4
"""c1: of what a straight line promises, the share that a step must lower the value by."""
MOST_HALVINGS = 40
MOST_CONJUGATE = 200


class Convex(ABC):
    """A function of (n,) numbers, float64."""

    @abstractmethod
    def at(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Its value and its gradient (n,). The curvature asked for next is that of this place."""

    @abstractmethod
    def curvature(self, v: np.ndarray) -> np.ndarray:
        """H v, (n,)."""

    @abstractmethod
    def diagonal(self) -> np.ndarray:
        """The diagonal of H, (n,), each above 0."""


def minimum(function: Convex, start: np.ndarray, tolerance: float, most_steps: int) -> np.ndarray:
    """Where the function is least.

    Args:
        function: of (n,) numbers.
        start: (n,) where the search begins.
        tolerance: the search ends with the step that lowers the value by no more than this share of it.
        most_steps: it ends there at the latest.
    """
    x = start
    value, gradient = function.at(x)
    for _ in range(most_steps):
        way = _direction(function, gradient)
        slope = float(gradient @ way)
        size = 1.0
        for _ in range(MOST_HALVINGS):
            new_value, new_gradient = function.at(x + size * way)
            if new_value <= value + DECREASE * size * slope:
                break
            size /= 2
        else:
            break  # as low as numbers of this precision can tell
        x = x + size * way
        lowered, value, gradient = value - new_value, new_value, new_gradient
        if lowered <= tolerance * max(abs(value), 1):
            break
    return x


def _direction(function: Convex, gradient: np.ndarray) -> np.ndarray:
    """d with H d = -g, to a share of |g| that shrinks with it: by conjugate gradients."""
    scale = 1 / function.diagonal()
    way = np.zeros_like(gradient)
    left = -gradient
    scaled = scale * left
    along = scaled
    size = first = float(left @ scaled)
    enough = min(0.25, first**0.5) * first
    for _ in range(MOST_CONJUGATE):
        if size <= enough:
            break
        bent = function.curvature(along)
        step = size / float(along @ bent)
        way += step * along
        left -= step * bent
        scaled = scale * left
        size, before = float(left @ scaled), size
        along = scaled + (size / before) * along
    return way
