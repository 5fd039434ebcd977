"""Points in the plane with class labels: four small synthetic sets, or a CSV file of one's own.

The synthetic sets, "made" at the command line, are the ones every course draws on the board. `blobs` can be told apart
by a line, the other three can't: `xor` (Minsky and Papert 1969: no perceptron learns it), `moons` and `circles` need a
hidden layer. Each is a function of its size, noise and seed alone.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rung.errors import UserError, nearest

MAX_CLASSES = 20
MAX_MAGNITUDE = 1e100  # larger numbers overflow where they are squared


@dataclass(frozen=True)
class Points:
    """Labelled points.

    Attributes:
        x: the features, float64 # (N, D); of two there are pictures
        y: which class each point is of, from 0 # (N,)
        features: their names, the axes of a picture.
        classes: the names of the classes; in a set of two the second is the positive one.
    """

    x: np.ndarray
    y: np.ndarray
    features: tuple[str, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class StandardScaler:
    """Features brought to mean 0 and deviation 1, and weights learned there brought back to the data's own units.

    Gradient descent takes one step size for all weights, so features of unlike sizes make it slow or wild.
    """

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray) -> StandardScaler:
        """The scaler of `x` # (N, D). A feature that never varies keeps its unit."""
        std = x.std(axis=0)
        return cls(x.mean(axis=0), np.where(std > 0, std, 1.0))

    def transform(self, x: np.ndarray) -> np.ndarray:
        """The scaled features # (N, D)"""
        return (x - self.mean) / self.std

    def unscale_weights(self, weights: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights # (..., D) and bias # (...) that say of `x` what the given ones say of `transform(x)`."""
        weights = weights / self.std
        return weights, bias - weights @ self.mean


def blobs(n: int, noise: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two round clouds around (-1.5, -1) and (1.5, 1)."""
    y = np.arange(n) % 2
    return np.where(y[:, None] == 1, [1.5, 1.0], [-1.5, -1.0]) + noise * rng.standard_normal((n, 2)), y


def xor(n: int, noise: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Four clouds on the corners of a square, the same class on opposite corners."""
    corner = np.arange(n) % 4
    centres = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
    return centres[corner] + noise * rng.standard_normal((n, 2)), corner % 2


def moons(n: int, noise: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two half circles, one hooked into the other."""
    y, angle = np.arange(n) % 2, np.pi * rng.random(n)
    upper = np.stack([np.cos(angle) - 0.5, np.sin(angle) - 0.25], axis=1)
    return np.where(y[:, None] == 0, upper, -upper) + noise * rng.standard_normal((n, 2)), y


def circles(n: int, noise: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A ring of radius 1 and, inside it, one of radius 0.4."""
    y, angle = np.arange(n) % 2, 2 * np.pi * rng.random(n)
    radius = np.where(y == 0, 1.0, 0.4)[:, None]
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1) + noise * rng.standard_normal((n, 2)), y


Sampler = Callable[[int, float, np.random.Generator], tuple[np.ndarray, np.ndarray]]
SYNTHETIC: dict[str, tuple[Sampler, float]] = {
    "blobs": (blobs, 0.6),
    "xor": (xor, 0.3),
    "moons": (moons, 0.1),
    "circles": (circles, 0.08),
}
"""The synthetic sets, each with the standard deviation of its noise unless told otherwise."""


def make(name: str, n: int = 200, *, noise: float | None = None, seed: int = 0) -> Points:
    """`n` points of a synthetic set, classes in equal parts. Raises UserError for an unknown name or a bad number."""
    if name not in SYNTHETIC:
        raise UserError(f"no data set {name!r}; there are {', '.join(SYNTHETIC)}{nearest(name, SYNTHETIC)}")
    sample, default_noise = SYNTHETIC[name]
    noise = default_noise if noise is None else noise
    if n < 4:
        raise UserError(f"--points {n} is not possible: give 4 or more")
    if not 0 <= noise < math.inf:
        raise UserError(f"--noise {noise} is not possible: give a standard deviation, 0 or more")
    x, y = sample(n, noise, np.random.default_rng(seed))
    return Points(x, y, ("x1", "x2"), ("0", "1"))


def read_csv(path: Path, label: str | None = None, features: tuple[str, ...] = ()) -> Points:
    """Read a CSV file with a header: one column of class labels (any words), the others numbers.

    Args:
        path: the file, in UTF-8; tabs or semicolons may stand for commas.
        label: the column of labels; by default `y`, `label`, `class` or `target`, whichever there is.
        features: the columns to use; by default all that are not the label.

    Raises:
        UserError: with the line and the column at fault.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8 text (byte {error.start:,}); a CSV file is needed") from None
    if not text.strip():
        raise UserError(f"{path} is empty; a header and rows such as 'x1,x2,y' and '0.5,1.2,0' are needed")
    first_line = text.splitlines()[0]
    reader = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first_line.count))
    try:
        lines = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}") from None
    header = [name.strip() for name in lines[0][1]]
    *features_at, label_at = _columns(path, header, label, features)
    numbers, labels = [], []
    for line, row in lines[1:]:
        if len(row) != len(header):
            raise UserError(f"{path}, line {line}: {len(row)} fields where the header has {len(header)}")
        numbers.append([_number(path, line, header[column], row[column]) for column in features_at])
        labels.append(row[label_at].strip())
        if not labels[-1]:
            raise UserError(f"{path}, line {line}: the label in column {header[label_at]!r} is empty")
    classes = tuple(sorted(set(labels), key=lambda name: (_numeric_order(name), name)))
    if len(classes) < 2:
        found = f"only one class, {classes[0]!r}" if classes else "no rows below the header"
        raise UserError(f"{path} has {found}; at least two classes are needed in {header[label_at]!r}")
    if len(classes) > MAX_CLASSES:
        raise UserError(
            f"{path} has {len(classes):,} classes in {header[label_at]!r}; {MAX_CLASSES} or fewer are accepted: "
            "choose another --label"
        )
    y = np.array([classes.index(name) for name in labels])
    return Points(np.array(numbers), y, tuple(header[column] for column in features_at), classes)


def check_settings(y: np.ndarray, n_points: int, **settings: float) -> None:
    """Raise UserError unless every point has its class, from 0, and every setting is above 0 and finite."""
    for name, value in settings.items():
        if not 0 < value < math.inf:
            raise UserError(f"--{name.replace('_', '-')} {value} is not possible: give a number above 0")
    if len(y) != n_points or n_points == 0 or y.min() < 0:
        raise UserError(f"{n_points} points and {len(y)} classes: each point needs one, counted from 0")


def _columns(path: Path, header: list[str], label: str | None, features: tuple[str, ...]) -> tuple[int, ...]:
    """Where the features and, last, the label stand."""
    has = f"{path} has the columns {', '.join(map(repr, header))}"
    if len(set(header)) < len(header):
        raise UserError(f"{has}: each name may stand once")
    if label is None:
        label = next((name for name in ("y", "label", "class", "target") if name in header), None)
        if label is None:
            raise UserError(f"{has}: say which one holds the classes with --label NAME")
    for name in (label, *features):
        if name not in header:
            raise UserError(f"{has}, none is called {name!r}{nearest(name, header)}")
    chosen = features if features else tuple(name for name in header if name != label)
    if not chosen or label in chosen or len(set(chosen)) < len(chosen):
        raise UserError(
            f"{path}: the features ({', '.join(chosen)}) beside the label {label!r} are to be one column or more, each "
            "once: choose them with --features A,B"
        )
    return *(header.index(name) for name in chosen), header.index(label)


def _number(path: Path, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = None
    if value is None or not abs(value) < MAX_MAGNITUDE:  # NaN is not
        what = "is no number" if value is None else f"is not finite and below {MAX_MAGNITUDE:g}"
        raise UserError(f"{path}, line {line}, column {column!r}: {text!r} {what}")
    return value


def _numeric_order(name: str) -> float:
    """Classes that are numbers stand in the order of numbers, after them words."""
    try:
        return float(name)
    except ValueError:
        return math.inf
