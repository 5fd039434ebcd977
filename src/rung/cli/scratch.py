"""`rung scratch ...`: the glass-box engine at the command line. Loaded only when asked for; NumPy, no torch.

Each verb trains, checks or draws with `rung.scratch`, writes pictures and says in a few lines what there is to see.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from cyclopts import App, Parameter

from rung.cli.common import no_option, show_json
from rung.errors import UserError, nearest
from rung.runs import free_folder
from rung.scratch import datasets

if TYPE_CHECKING:
    from rung.inspection.boundary import Curve, Frame

app = App(
    name="scratch",
    help="See inside: the classics, the tape and its gradients, in NumPy that hides nothing.",
    help_format="plaintext",
    default_parameter=Parameter(negative=""),
)

PNG, GIF, SVG = "boundary.png", "boundary.gif", "graph.svg"
FRAMES = 40
CURVE_POINTS = 400

Text = Annotated[str, Parameter(allow_leading_hyphen=True)]


@dataclass(frozen=True)
class Options:
    """Which points, and where the pictures go.

    Attributes:
        label: the file's column of classes; by default y, label, class or target.
        features: the two columns to use, as A,B; by default the two that are not the label.
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
        return _free(verb, self.out, (PNG, GIF), force=self.force)

    def read(self, data: str) -> datasets.Points:
        """The made set or the file that DATA names."""
        no_option(data)
        _check_seed(self.seed)
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


@app.command
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
        data: blobs, xor, moons, circles, or a CSV file with a header, two columns of numbers and one of classes.
        epochs: the most passes over the points; it stops when one makes no mistake.
        lr: how far one point moves the line; from zero weights, it changes no prediction.
        scale: none takes the numbers as they are; standard brings each feature to mean 0 and deviation 1 for training.
    """
    from rung.inspection.boundary import Curve, Frame, moments
    from rung.scratch import perceptron as learner

    folder = options.folder("perceptron")
    found = _two_classes(options.read(data))
    x, unscale = _scaled(found.x, scale)
    line = learner.fit(x, found.y, lr=lr, epochs=epochs)
    weights, bias = unscale(line.path[:, :2], line.path[:, 2])
    updates = len(line.updated_by)

    def wrong(i: int) -> int:
        return int((learner.predict(found.x, weights[i], bias[i]) != found.y).sum())

    def frame(i: int) -> Frame:
        title = f"{_count(i, 'update')}: {wrong(i)} of {len(found.y)} wrong"
        # The step is hard: a large factor leaves no soft border.
        return Frame(
            title, _line(1e6 * weights[i], 1e6 * bias[i]), i, int(line.updated_by[i - 1]) if i else None
        )

    times = np.unique(np.linspace(0, updates, CURVE_POINTS).astype(int))
    curve = Curve(times, np.array([wrong(i) for i in times]), "updates", "points that are wrong")
    _draw(found, [frame(i) for i in moments(updates + 1, FRAMES)], curve, folder)
    n_wrong, n_epochs = 0 if line.converged else wrong(updates), len(line.mistakes)
    result = {
        "finished": line.converged,
        "accuracy": 1 - n_wrong / len(found.y),
        "epochs": n_epochs,
        "updates": updates,
        "weights": weights[-1].tolist(),
        "bias": float(bias[-1]),
    }
    if line.converged:
        said = f"all {len(found.y):,} points are right after {_count(updates, 'update')}; epoch {n_epochs} had none"
    else:
        said = (
            f"{n_wrong:,} of {len(found.y):,} points are still wrong after {_count(n_epochs, 'epoch')} and {updates:,} "
            "updates: no line may separate these classes"
        )
        off = np.abs(found.x.mean(axis=0)) > 3 * found.x.std(axis=0)
        if scale == "none" and off.any():  # the bias must go far, one step at a time
            said += "; the numbers are far from 0, so try --scale standard"
    return _show(
        found,
        data,
        [said, f"boundary: {_equation(found.features, weights[-1], bias[-1])}"],
        result,
        folder,
        options.json,
    )


@app.command
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
    """Logistic regression by gradient descent; write pictures of how its boundary moved.

    Example: rung scratch logistic moons --method mini-batch

    Args:
        data: blobs, xor, moons, circles, or a CSV file with a header, two columns of numbers and one of classes.
        method: a step after all points, after each one, or after every --batch-size of them.
        epochs: the most passes over the points; it stops when the gradient is below 1e-8.
        lr: the learning rate; in epoch t it is lr / (1 + decay t).
        decay: of the learning rate; small batches need some to come to rest.
        batch_size: of mini-batches.
        l2: weight of the penalty l2/2 |w|^2. Without one, the weights of separable classes grow for ever.
        scale: standard brings each feature to mean 0 and deviation 1 for training; none takes it as it is.
    """
    from rung.inspection.boundary import Curve, Frame, moments
    from rung.scratch import logistic as learner

    folder = options.folder("logistic")
    found = _two_classes(options.read(data))
    x, unscale = _scaled(found.x, scale)
    fitted = learner.fit(
        x,
        found.y,
        method=method,
        lr=lr,
        decay=decay,
        epochs=epochs,
        batch_size=batch_size,
        l2=l2,
        seed=options.seed,
    )
    weights, bias = unscale(fitted.path[:, :2], fitted.path[:, 2])
    losses = fitted.losses

    def frame(i: int) -> Frame:
        return Frame(f"epoch {i:,}: loss {losses[i]:.4f}", _line(weights[i], bias[i]), i)

    curve = Curve(np.arange(len(losses)), losses, "epochs", "loss, nats")
    _draw(found, [frame(i) for i in moments(len(losses), FRAMES)], curve, folder)
    accuracy = float(((found.x @ weights[-1] + bias[-1] >= 0) == found.y).mean())
    result = {
        "converged": fitted.converged,
        "loss": float(losses[-1]),
        "accuracy": accuracy,
        "epochs": len(losses) - 1,
        "weights": weights[-1].tolist(),
        "bias": float(bias[-1]),
    }
    said = [
        _fitted(losses, accuracy),
        f"boundary: {_equation(found.features, weights[-1], bias[-1])}",
    ]
    if fitted.converged:
        said.append("the gradient is below 1e-8: this is the minimum")
    elif accuracy == 1 and l2 == 0:
        said.append(
            "a line separates these classes, so the weights would grow for ever; --l2 0.01 holds them"
        )
    return _show(found, data, said, result, folder, options.json)


@app.command
def network(
    data: Text = "moons",
    *,
    n_hidden: int = 8,
    loss: Literal["cross-entropy", "squared"] = "cross-entropy",
    activation: Literal["tanh", "sigmoid"] = "tanh",
    epochs: int = 500,
    lr: float = 0.5,
    batch_size: int = 16,
    scale: Literal["none", "standard"] = "standard",
    options: Annotated[Options, Parameter(name="*")] = OPTIONS,
) -> int:
    """Train a network with one hidden layer; write pictures of how its boundary moved.

    Example: rung scratch network circles --n-hidden 4

    Args:
        data: blobs, xor, moons, circles, or a CSV file with a header, two columns of numbers and one of classes.
        n_hidden: how many hidden units.
        loss: cross-entropy or squared error, both with their own backward pass.
        activation: of the hidden layer.
        epochs: passes over the points.
        lr: the learning rate.
        batch_size: of the mini-batches.
        scale: standard brings each feature to mean 0 and deviation 1 for training; none takes it as it is.
    """
    from rung.inspection.boundary import Curve, Frame, moments
    from rung.scratch import network as learner

    folder = options.folder("network")
    found = options.read(data)
    scaling = datasets.StandardScaler.fit(found.x) if scale == "standard" else None
    fitted = learner.fit(
        found.x if scaling is None else scaling.transform(found.x),
        found.y,
        n_hidden=n_hidden,
        loss=loss,
        activation=activation,
        lr=lr,
        epochs=epochs,
        batch_size=batch_size,
        seed=options.seed,
    )

    def scores(i: int) -> Callable[[np.ndarray], np.ndarray]:
        def of(x: np.ndarray) -> np.ndarray:
            x = x if scaling is None else scaling.transform(x)
            o = learner.forward(x, fitted.path[i], loss, activation)[2]
            return np.hstack([np.zeros_like(o), o]) if o.shape[1] == 1 else o

        return of

    losses, unit = fitted.losses, "nats" if loss == "cross-entropy" else "half squares"
    frames = [
        Frame(f"epoch {i:,}: loss {losses[i]:.4f}", scores(i), i)
        for i in moments(len(losses), FRAMES).tolist()
    ]
    _draw(found, frames, Curve(np.arange(len(losses)), losses, "epochs", f"loss, {unit}"), folder)
    accuracy = float((frames[-1].scores(found.x).argmax(axis=1) == found.y).mean())
    last = fitted.path[-1]
    result = {
        "loss": float(losses[-1]),
        "accuracy": accuracy,
        "epochs": epochs,
        "parameters": sum(part.size for part in (last.w, last.c, last.W, last.C)),
    }
    said = f"{_fitted(losses, accuracy)}, {_count(result['parameters'], 'parameter')}"
    return _show(found, data, [said], result, folder, options.json)


@app.command
def check(*, seed: int = 0, json: bool = False) -> int:
    """Hold every module's derivative against finite differences. Exit code 1 when one is wrong.

    Example: rung scratch check

    Args:
        seed: of the shapes and numbers.
        json: print the table as one JSON object, nothing else.
    """
    from rung.scratch.gradcheck import WrongGradient, gradcheck, modules_to_check

    _check_seed(seed)
    rows, reasons = [], []
    modules = modules_to_check(np.random.default_rng(seed))
    width = max(map(len, modules))
    if not json:
        print(f"{'module':<{width}}  worst relative error  ")
    for name, (module, inputs) in modules.items():
        try:
            worst, reason = gradcheck(module, inputs), None
        except WrongGradient as wrong:
            worst, reason = math.inf, str(wrong)
            reasons.append(reason)
        rows.append({"module": name, "error": worst, "passed": reason is None, "reason": reason})
        if not json:
            print(f"{name:<{width}}  {worst:>20.1e}  {'pass' if reason is None else 'FAIL'}")
    if json:
        show_json({"passed": not reasons, "modules": rows})
    else:
        print(f"{len(rows) - len(reasons)} of {len(rows)} modules agree with finite differences to 1e-6")
        for reason in reasons:
            print(f"rung: {reason}", file=sys.stderr)
    return 1 if reasons else 0


@app.command
def graph(what: Text, *, out: Path | None = None, force: bool = False, json: bool = False) -> int:
    """Draw the computation graph of an expression or a tiny model, with the value and the gradient of every node.

    Example: rung scratch graph "a = 2; b = -3; c = a*b + 10; tanh(c)"

    Args:
        what: statements with ; between them, the last one what the gradients are of: names, numbers, lists such as
            [0.1, 0.3], + - * / ** @ and tanh, sigmoid, relu, leaky_relu, elu, selu, gelu, softmax, exp, log, sqrt, sum,
            mean; or a model: bigram, mlp, rnn, gpt.
        out: the folder of the picture; by default runs/scratch-graph.
        force: overwrite the picture that is there.
        json: print the nodes as one JSON object, nothing else.
    """
    from rung.files import atomic_path
    from rung.inspection.expression import expression_graph
    from rung.inspection.graph import MODELS, as_text, model_graph
    from rung.inspection.graph_picture import as_svg

    nodes = model_graph(what) if what in MODELS else expression_graph(what)
    folder = _free("graph", out, (SVG,), force=force)
    with atomic_path(folder / SVG) as temporary:
        temporary.write_text(as_svg(nodes, what), encoding="utf-8")
    if json:
        show_json({"nodes": [asdict(node) for node in nodes], "svg": str(folder / SVG)})
        return 0
    print(as_text(nodes))
    print(f"picture: {folder / SVG}")
    return 0


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise UserError(f"--seed {seed} is not possible: give 0 or more")


def _two_classes(found: datasets.Points) -> datasets.Points:
    if len(found.classes) > 2:
        names = ", ".join(found.classes[:5]) + (", ..." if len(found.classes) > 5 else "")
        raise UserError(
            f"one line parts two classes, and the data have {len(found.classes)} ({names}); "
            "'rung scratch network' takes any number"
        )
    return found


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


def _free(verb: str, out: Path | None, files: Sequence[str], *, force: bool) -> Path:
    """The folder to write to; without `force`, none of `files` is there."""
    if out is None:
        return free_folder(f"scratch-{verb}")
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; give a folder")
    there = next((name for name in files if (out / name).exists()), None)
    if there is not None and not force:
        raise UserError(
            f"{out / there} is there already; choose another --out, or give --force to overwrite it"
        )
    return out


def _draw(found: datasets.Points, frames: Sequence[Frame], curve: Curve, folder: Path) -> None:
    from rung.inspection.boundary import draw

    draw(found, frames, curve, png=folder / PNG, gif=folder / GIF)


def _show(
    found: datasets.Points, data: str, said: Sequence[str], result: dict[str, Any], folder: Path, json: bool
) -> int:
    """The result, as lines or as JSON."""
    if json:
        places = {"png": str(folder / PNG), "gif": str(folder / GIF)}
        show_json({"data": data, "points": len(found.y), "classes": list(found.classes), **result, **places})
        return 0
    print(f"{data}: {len(found.y):,} points, classes {', '.join(found.classes)}")
    for line in said:
        print(line)
    print(f"pictures: {folder / PNG} and {folder / GIF}, which moves")
    return 0


def _fitted(losses: np.ndarray, accuracy: float) -> str:
    """How a descent went: its loss before and after, and how many of the points it has right."""
    epochs = _count(len(losses) - 1, "epoch")
    return f"loss {losses[0]:.4f} -> {losses[-1]:.4f} in {epochs}, {accuracy:.1%} of the points right"


def _equation(names: tuple[str, str], weights: np.ndarray, bias: float) -> str:
    terms = [
        f"{value:+.4g}{' ' + name if name else ''}"
        for value, name in zip([*weights, bias], [*names, ""], strict=True)
    ]
    first, *rest = terms
    return " ".join([first.removeprefix("+"), *(f"{term[0]} {term[1:]}" for term in rest)]) + " = 0"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
