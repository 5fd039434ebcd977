"""Newton's method with conjugate gradients against linear algebra and SciPy."""

import numpy as np
import pytest
import scipy.optimize

from rung.models.linear.newton import Convex, minimum


class Quadratic(Convex):
    """x A x / 2 - b x, whose minimum solves A x = b."""

    def __init__(self, a: np.ndarray, b: np.ndarray) -> None:
        self.a, self.b = a, b

    def at(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        return float(x @ self.a @ x / 2 - self.b @ x), self.a @ x - self.b

    def curvature(self, v: np.ndarray) -> np.ndarray:
        return self.a @ v

    def diagonal(self) -> np.ndarray:
        return np.diag(self.a).copy()


class Quartic(Quadratic):
    """The same and sum (c x)^4: a full Newton step from far away does not lower it enough everywhere."""

    def at(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = super().at(x)
        self.x = x
        return value + float((x**4).sum()), gradient + 4 * x**3

    def curvature(self, v: np.ndarray) -> np.ndarray:
        return super().curvature(v) + 12 * self.x**2 * v

    def diagonal(self) -> np.ndarray:
        return super().diagonal() + 12 * self.x**2


@pytest.mark.parametrize("seed", range(3))
def test_the_minimum_of_a_quadratic_solves_its_equations(seed: int):
    """However badly its axes are scaled."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(12, 12)) * 10.0 ** rng.uniform(-2, 2, size=12)
    a, b = root.T @ root + 1e-3 * np.eye(12), rng.normal(size=12)
    found = minimum(Quadratic(a, b), rng.normal(size=12), 0.0, 1000)
    exact = np.linalg.solve(a, b)
    value = Quadratic(a, b).at
    assert value(found)[0] == pytest.approx(value(exact)[0], rel=1e-9)


@pytest.mark.parametrize("far", [1.0, 1e3])
def test_the_minimum_is_scipys(far: float):
    rng = np.random.default_rng(7)
    root = rng.normal(size=(8, 8))
    function = Quartic(root.T @ root, rng.normal(size=8))
    theirs = scipy.optimize.minimize(function.at, np.zeros(8), jac=True, options={"gtol": 1e-12})
    np.testing.assert_allclose(minimum(function, far * rng.normal(size=8), 1e-15, 1000), theirs.x, atol=1e-6)
