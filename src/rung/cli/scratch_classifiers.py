"""The classifiers of `rung scratch`, perceptron, logistic and network: they learn points of the plane and draw how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from cyclopts import Parameter

from rung.cli.common import Text, no_option, show_json
from rung.errors import UserError, nearest
from rung.inspection.boundary import Curve, Frame, draw, frame_indices
from rung.run_folders import free_folder
from rung.scratch import datasets
from rung.scratch import feed_forward as network_model
from rung.scratch import logistic as logistic_model
from rung.scratch import perceptron as perceptron_model
from rung.scratch import softmax_regression as softmax_model

PNG, GIF = "boundary.png", "boundary.gif"
FRAMES = 40
CURVE_POINTS = 400


@dataclass(frozen=True)
class Options:
    """Which points, and where the pictures go.

    Attributes:
        label: the file's column of classes; by default y, label, class or target.
        features: the columns to use, as A,B; by default all that are not the label. Of two there are pictures.
        points: how many points of a made set.
        noise: the standard deviation of a made set's noise.
        seed: of the made set, of weights and of the order of the points.
        out: the folder of the pictures; by default runs/scratch-perceptron and so on.
        force: overwrite the pictures that are there.
        json: print the result as one JSON object, nothing else.
    """

    label: str | None = None
    features: str | None = None
    points: int = 200
    noise: float | None = None
    seed: int = 0
    out: Path | None = None
    force: bool = False
    json: bool = False

    def folder(self, verb: str) -> Path:
        """Where the pictures go; without `force`, none is there."""
        return picture_folder(verb, self.out, (PNG, GIF), force=self.force)

    def read(self, data: str) -> datasets.Points:
        """The made set or the file that DATA names."""
        no_option(data)
        check_seed(self.seed)
        if data in datasets.SYNTHETIC:
            if self.label is not None or self.features is not None:
                raise UserError(f"--label and --features belong to a CSV file; {data} is a made set")
            return datasets.make(data, self.points, noise=self.noise, seed=self.seed)
        if not Path(data).exists():
            near = nearest(data, datasets.SYNTHETIC)
            raise UserError(f"{data} is neither a CSV file nor one of {', '.join(datasets.SYNTHETIC)}{near}")
        chosen = () if self.features is None else tuple(name.strip() for name in self.features.split(","))
        return datasets.read_csv(Path(data), self.label, chosen)


OPTIONS = Options()


def perceptron(
    data: Text = "blobs",
    *,
    epochs: int = 1000,
    lr: float = 1.0,
    scale: Literal["none", "standard"] = "none",
    options: Annotated[Options, Parameter(name="*")] = OPTIONS,
) -> int:
    """Draw a line between two classes, moved by every point it gets wrong; write pictures of how it moved.

    Example: rung scratch perceptron fruit.csv --label kind

    Args:
        data: blobs, xor, moons, circles, or a CSV file with a header, columns of numbers and one of classes.
        epochs: the most passes over the points; it stops when one makes no mistake.
        lr: how far one point moves the line; from zero weights, it changes no prediction.
        scale: none takes the numbers as they are; standard brings each feature to mean 0 and deviation 1 for training.
    """
    folder = options.folder("perceptron")
    points = _two_classes(options.read(data))
    x, unscale = _scaled(points.x, scale)
    line = perceptron_model.fit(x, points.y, lr=lr, epochs=epochs)
    weights, bias = unscale(line.path[:, :-1], line.path[:, -1])
    updates = len(line.updated_by)

    def wrong(i: int) -> int:
        return int((perceptron_model.predict(points.x, weights[i], bias[i]) != points.y).sum())

    def frame(i: int) -> Frame:
        title = f"{_count(i, 'update')}: {wrong(i)} of {len(points.y)} wrong"
        # The step is hard: a large factor leaves no soft border.
        scores = _line(1e6 * weights[i], 1e6 * bias[i])
        return Frame(title, scores, i, int(line.updated_by[i - 1]) if i else None)

    frames = [frame(i) for i in frame_indices(updates + 1, FRAMES)]
    times = np.unique(np.linspace(0, updates, CURVE_POINTS).astype(int))
    curve = Curve(times, np.array([wrong(i) for i in times]), "updates", "points that are wrong")
    n_wrong, n_epochs = 0 if line.converged else wrong(updates), len(line.mistakes)
    result = {
        "finished": line.converged,
        "accuracy": 1 - n_wrong / len(points.y),
        "epochs": n_epochs,
        "updates": updates,
        "weights": weights[-1].tolist(),
        "bias": float(bias[-1]),
    }
    if line.converged:
        summary = f"all {len(points.y):,} points are right after {_count(updates, 'update')}; epoch {n_epochs} had none"
    else:
        summary = (
            f"{n_wrong:,} of {len(points.y):,} points are still wrong after {_count(n_epochs, 'epoch')} and "
            f"{updates:,} updates: no line may separate these classes"
        )
        off = np.abs(points.x.mean(axis=0)) > 3 * points.x.std(axis=0)
        if scale == "none" and off.any():  # the bias must go far, one step at a time
            summary += "; the numbers are far from 0, so try --scale standard"
    lines = [summary, f"boundary: {_equation(points.features, weights[-1], bias[-1])}"]
    return _report(data, points, frames, curve, lines, result, folder, json=options.json)


def logistic(
    data: Text = "blobs",
    *,
    method: Literal["batch", "stochastic", "mini-batch"] = "batch",
    epochs: int = 1000,
    lr: float = 0.5,
    decay: float = 0.0,
    batch_size: int = 16,
    l2: float = 0.0,
    scale: Literal["none", "standard"] = "standard",
    options: Annotated[Options, Parameter(name="*")] = OPTIONS,
) -> int:
    """Logistic regression by gradient descent, of several classes by softmax; write pictures of how its boundary moved.

    Example: rung scratch logistic moons --method mini-batch

    Args:
        data: blobs, xor, moons, circles, or a CSV file with a header, columns of numbers and one of classes.
        method: a step after all points, after each one, or after every --batch-size of them.
        epochs: the most passes over the points; it stops when the gradient is below 1e-8.
        lr: the learning rate; in epoch t it is lr / (1 + decay t).
        decay: of the learning rate; small batches need some to come to rest.
        batch_size: of mini-batches.
        l2: weight of the penalty l2/2 |w|^2. Without one, the weights of separable classes grow for ever.
        scale: standard brings each feature to mean 0 and deviation 1 for training; none takes it as it is.
    """
    folder = options.folder("logistic")
    points = options.read(data)
    x, unscale = _scaled(points.x, scale)
    how: dict[str, Any] = {
        "method": method,
        "lr": lr,
        "decay": decay,
        "epochs": epochs,
        "batch_size": batch_size,
        "l2": l2,
        "seed": options.seed,
    }
    if len(points.classes) > 2:
        return _softmax(data, points, x, unscale, how, folder, json=options.json)
    fitted = logistic_model.fit(x, points.y, **how)
    weights, bias = unscale(fitted.path[:, :-1], fitted.path[:, -1])
    losses = fitted.losses
    frames, curve = _descent(losses, lambda i: _line(weights[i], bias[i]), "nats")
    accuracy = float(((points.x @ weights[-1] + bias[-1] >= 0) == points.y).mean())
    result = {
        "converged": fitted.converged,
        "loss": float(losses[-1]),
        "accuracy": accuracy,
        "epochs": len(losses) - 1,
        "weights": weights[-1].tolist(),
        "bias": float(bias[-1]),
    }
    lines = [
        _descent_summary(losses, accuracy),
        f"boundary: {_equation(points.features, weights[-1], bias[-1])}",
    ]
    if fitted.converged:
        lines.append("the gradient is below 1e-8: this is the minimum")
    elif accuracy == 1 and l2 == 0:
        lines.append(
            "a line separates these classes, so the weights would grow for ever; --l2 0.01 holds them"
        )
    return _report(data, points, frames, curve, lines, result, folder, json=options.json)


def _softmax(
    data: str,
    points: datasets.Points,
    x: np.ndarray,
    unscale: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
    how: dict[str, Any],
    folder: Path,
    *,
    json: bool,
) -> int:
    """`logistic` of more than two classes."""
    fitted = softmax_model.fit(x, points.y, **how)
    # (epochs + 1, K, D): one row of weights a class, as the data's own units have them.
    weights, biases = unscale(fitted.weights.transpose(0, 2, 1), fitted.biases)

    def scores(i: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda x: x @ weights[i].T + biases[i]

    frames, curve = _descent(fitted.losses, scores, "nats")
    accuracy = float((scores(-1)(points.x).argmax(axis=1) == points.y).mean())
    result = {
        "converged": fitted.converged,
        "loss": float(fitted.losses[-1]),
        "accuracy": accuracy,
        "epochs": len(fitted.losses) - 1,
        "weights": weights[-1].tolist(),
        "bias": biases[-1].tolist(),
    }
    lines = [f"{_descent_summary(fitted.losses, accuracy)}; softmax of {len(points.classes)} classes"]
    if fitted.converged:
        lines.append("the gradient is below 1e-8: this is the minimum")
    return _report(data, points, frames, curve, lines, result, folder, json=json)


def network(
    data: Text = "moons",
    *,
    n_hidden: Annotated[tuple[int, ...], Parameter(consume_multiple=True)] = (8,),
    loss: Literal["cross-entropy", "squared"] = "cross-entropy",
    activation: network_model.Activation = "tanh",
    init: network_model.Init = "lecun",
    epochs: int = 500,
    lr: float = 0.5,
    batch_size: int = 16,
    scale: Literal["none", "standard"] = "standard",
    options: Annotated[Options, Parameter(name="*")] = OPTIONS,
) -> int:
    """Train a network; write pictures of how its boundary moved.

    Example: rung scratch network circles --n-hidden 8 8 --activation relu --init kaiming

    Args:
        data: blobs, xor, moons, circles, or a CSV file with a header, columns of numbers and one of classes.
        n_hidden: how many hidden units, a number for each hidden layer: 8, or 8 8.
        loss: cross-entropy or squared error, both with their own backward pass.
        activation: of the hidden layers.
        init: how their first weights are drawn: lecun N(0, 1 / inputs), kaiming, xavier, normal, orthogonal or zeros.
        epochs: passes over the points.
        lr: the learning rate.
        batch_size: of the mini-batches.
        scale: standard brings each feature to mean 0 and deviation 1 for training; none takes it as it is.
    """
    folder = options.folder("network")
    points = options.read(data)
    scaler = datasets.StandardScaler.fit(points.x) if scale == "standard" else None
    fitted = network_model.fit(
        points.x if scaler is None else scaler.transform(points.x),
        points.y,
        n_hidden=n_hidden,
        loss=loss,
        activation=activation,
        init=init,
        lr=lr,
        epochs=epochs,
        batch_size=batch_size,
        seed=options.seed,
    )

    def scores(i: int) -> Callable[[np.ndarray], np.ndarray]:
        def of(x: np.ndarray) -> np.ndarray:
            x = x if scaler is None else scaler.transform(x)
            o = network_model.scores(x, fitted.path[i], activation)
            return np.hstack([np.zeros_like(o), o]) if o.shape[1] == 1 else o

        return of

    losses = fitted.losses
    frames, curve = _descent(losses, scores, "nats" if loss == "cross-entropy" else "half squares")
    accuracy = float((scores(-1)(points.x).argmax(axis=1) == points.y).mean())
    last = fitted.path[-1]
    result = {
        "loss": float(losses[-1]),
        "accuracy": accuracy,
        "epochs": epochs,
        "parameters": sum(w.size + c.size for w, c in last),
    }
    lines = [f"{_descent_summary(losses, accuracy)}, {_count(result['parameters'], 'parameter')}"]
    return _report(data, points, frames, curve, lines, result, folder, json=options.json)


def check_seed(seed: int) -> None:
    if seed < 0:
        raise UserError(f"--seed {seed} is not possible: give 0 or more")


def _two_classes(points: datasets.Points) -> datasets.Points:
    if len(points.classes) > 2:
        names = ", ".join(points.classes[:5]) + (", ..." if len(points.classes) > 5 else "")
        raise UserError(
            f"one line parts two classes, and the data have {len(points.classes)} ({names}); "
            "'rung scratch logistic' and 'network' take any number"
        )
    return points


def _scaled(
    x: np.ndarray, how: str
) -> tuple[np.ndarray, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]]:
    """The features to train on, and what brings weights back to the data's own units."""
    if how == "none":
        return x, lambda weights, bias: (weights, bias)
    scaler = datasets.StandardScaler.fit(x)
    return scaler.transform(x), scaler.unscale_weights


def _line(weights: np.ndarray, bias: float) -> Callable[[np.ndarray], np.ndarray]:
    """The scores of a line's two sides."""
    return lambda x: np.stack([np.zeros(len(x)), x @ weights + bias], axis=1)


def picture_folder(verb: str, out: Path | None, files: Sequence[str], *, force: bool) -> Path:
    """The folder to write to; without `force`, none of `files` is there."""
    if out is None:
        return free_folder(f"scratch-{verb}")
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; give a folder")
    taken = next((name for name in files if (out / name).exists()), None)
    if taken is not None and not force:
        raise UserError(
            f"{out / taken} is there already; choose another --out, or give --force to overwrite it"
        )
    return out


def _descent(
    losses: np.ndarray, scores_at: Callable[[int], Callable[[np.ndarray], np.ndarray]], unit: str
) -> tuple[list[Frame], Curve]:
    """The frames and the curve of a gradient descent, from the loss before and after each epoch."""
    epochs = frame_indices(len(losses), FRAMES)
    frames = [Frame(f"epoch {i:,}: loss {losses[i]:.4f}", scores_at(i), i) for i in epochs]
    return frames, Curve(np.arange(len(losses)), losses, "epochs", f"loss, {unit}")


def _report(
    data: str,
    points: datasets.Points,
    frames: Sequence[Frame],
    curve: Curve,
    lines: Sequence[str],
    result: dict[str, Any],
    folder: Path,
    *,
    json: bool,
) -> int:
    """Draw the pictures and show the result, as lines or as JSON."""
    drawn = points.x.shape[1] == 2
    if drawn:
        draw(points, frames, curve, png=folder / PNG, gif=folder / GIF)
    if json:
        pictures = {"png": str(folder / PNG), "gif": str(folder / GIF)} if drawn else {}
        about = {"data": data, "points": len(points.y), "classes": list(points.classes)}
        show_json({**about, **result, **pictures})
        return 0
    print(f"{data}: {len(points.y):,} points, classes {', '.join(points.classes)}")
    print(*lines, sep="\n")
    if drawn:
        print(f"pictures: {folder / PNG} and {folder / GIF}, which moves")
    else:
        print(f"no picture: it would have {points.x.shape[1]} axes; choose two with --features A,B")
    return 0


def _descent_summary(losses: np.ndarray, accuracy: float) -> str:
    """How a descent went: its loss before and after, and how many of the points it has right."""
    epochs = _count(len(losses) - 1, "epoch")
    return f"loss {losses[0]:.4f} -> {losses[-1]:.4f} in {epochs}, {accuracy:.1%} of the points right"


def _equation(names: Sequence[str], weights: np.ndarray, bias: float) -> str:
    terms = [
        f"{value:+.4g}{' ' + name if name else ''}"
        for value, name in zip([*weights, bias], [*names, ""], strict=True)
    ]
    first, *rest = terms
    return " ".join([first.removeprefix("+"), *(f"{term[0]} {term[1:]}" for term in rest)]) + " = 0"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
