"""Which learning rate? Try them all on the way: a hundred steps, each with a rate larger than the last.

    lr(step) = from * (to / from) ^ (step / steps),   the loss of each step against its rate

At first nothing moves; then the loss falls, fastest at a rate that is neither too small to learn nor too large to last;
at last it blows up. Source: Smith 2017, "Cyclical learning rates for training neural networks" (arXiv:1506.01186),
section 3.3, with the exponential sweep of fastai. The suggestion is the rate at which the smoothed loss falls fastest
(measured on shakespeare: within a factor of 2.5 of the rungs' own choices; a tenth of the rate of the lowest loss, the
other custom, lies up to 10 times too low).
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rung.batches import Batches
from rung.errors import UserError
from rung.events import Event, Step
from rung.files import atomic_path
from rung.models.networks.torch_model import TrainableModule
from rung.training.config import TrainingConfig
from rung.training.loop import train_network
from rung.training.sweep_options import SweepOptions

BLOWN_UP = 3.0
"""The sweep ends when the loss is this many times the lowest so far."""

SMOOTHED = 2.0
"""Standard deviation, in steps, of the Gaussian that the losses are smoothed with; it looks both ways, so that
the curve is not shifted."""


@dataclass(frozen=True)
class Sweep:
    """What a sweep found.

    Attributes:
        rates: the learning rate of each step, rising.
        losses: the loss of each step's batch before the step, nats per token.
        smoothed: the same without most of the noise between batches.
        suggestion: a peak learning rate to train with.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float


def sweep(
    network: TrainableModule,
    batches: Batches,
    config: TrainingConfig,
    *,
    seed: int,
    options: SweepOptions | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event | Sweep]:
    """Train `network`, which is of no use afterwards, on the real batches with the real optimiser at rising rates.

    Yields each Step, and last the Sweep; nothing more when stopped. Raises UserError when the loss never falls.
    """
    options = SweepOptions() if options is None else options
    config = replace(
        config,
        steps=options.lr_steps,
        tokens=None,
        minutes=None,
        lr=options.lr_to,
        warmup=0.0,
        average=None,
        overfit_one_batch=None,
    )
    rates: list[float] = []
    losses: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for event in train_network(
            network,
            batches,
            config,
            Path(folder),
            seed=seed,
            evaluate=None,
            schedule=options.share,
            stop=stop,
        ):
            if not isinstance(event, Step):
                continue
            rates.append(event.learning_rate)
            losses.append(event.loss)
            yield event
            if stop():
                return
            if event.loss > BLOWN_UP * min(losses):
                break
    smoothed = smooth(losses)
    yield Sweep(rates, losses, smoothed, suggest(rates, smoothed))


def smooth(losses: Sequence[float]) -> list[float]:
    """A weighted mean of each loss and its neighbours on both sides."""
    values, at = np.array(losses), np.arange(len(losses))
    weights = np.exp(-0.5 * ((at[:, None] - at) / SMOOTHED) ** 2)
    return (weights @ values / weights.sum(axis=1)).tolist()


def suggest(rates: Sequence[float], smoothed: Sequence[float]) -> float:
    """The rate where the loss falls fastest per factor of the rate, before it is lowest; one significant digit.

    Raises UserError when it never falls.
    """
    lowest = int(np.argmin(smoothed))
    if lowest == 0:
        raise UserError(
            f"the loss fell at no learning rate from {rates[0]:g} to {rates[-1]:g}: --overfit-one-batch shows "
            "whether the model can learn at all"
        )
    slopes = np.gradient(np.array(smoothed), np.log(rates))
    return float(f"{rates[int(np.argmin(slopes[: lowest + 1]))]:.0e}")


def plot(found: Sweep, path: Path) -> None:
    """Write the picture, an SVG: loss over learning rate, smoothed and as it was, the suggestion marked."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # No blown-up loss may flatten the part that matters.
    top = found.losses[0] + 0.25 * (found.losses[0] - min(found.smoothed))
    with mpl.rc_context({"svg.hashsalt": "rung", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 4), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.plot(found.rates, found.losses, color="0.75", linewidth=1, label="each step")
        axes.plot(found.rates, found.smoothed, color="C0", linewidth=2, label="smoothed")
        axes.axvline(
            found.suggestion, color="C3", linestyle="--", label=f"suggestion: --lr {found.suggestion:g}"
        )
        axes.set_xscale("log")
        if math.isfinite(top):
            axes.set_ylim(min(found.losses) - 0.05 * top, max(top, found.losses[0] + 0.1))
        axes.set_xlabel("learning rate")
        axes.set_ylabel("training loss, nats per token")
        axes.legend(frameon=False)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})
