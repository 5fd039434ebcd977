"""The report's plots, as SVG to be set into an HTML page.

Each function takes rungs as dicts (the keys of `report.json`) and returns one `<svg>` element (`drawing`). The same
input gives the same bytes.

Matplotlib draws, through its objects alone; settings hold inside one `rc_context`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from rung.evaluation.drawing import (
    INK,
    MUTED,
    RULE,
    SETTINGS,
    WIDTH,
    colour,
    marker,
    plain,
    short,
    svg,
)
from rung.measure import bits_of

MAX_CURVE_POINTS = 160
LETTER = 6.2  # points, about, that a letter of a name is wide

CLOCK = (
    (0.001, "1 ms"),
    (0.01, "10 ms"),
    (0.1, "0.1 s"),
    (1.0, "1 s"),
    (10.0, "10 s"),
    (60.0, "1 min"),
    (600.0, "10 min"),
    (3600.0, "1 h"),
    (36000.0, "10 h"),
    (360000.0, "100 h"),
)
"""The marks of a time axis."""


def bars(rungs: Sequence[dict[str, Any]], best: str, unit: str = "byte") -> str:
    """Bits per byte of every rung from zero, the 95% intervals as whiskers, the best rung in full colour."""
    with mpl.rc_context(SETTINGS):
        height = max(2.9, 0.62 + 0.42 * len(rungs))
        thick = min(0.6, 0.4 * len(rungs) / (height - 0.62))  # a lone bar is no wall
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        ax = figure.add_subplot()
        values = np.array([bits_of(rung) for rung in rungs], float)
        highs = [max(bits_of(rung), rung["ci95"][1] if rung["ci95"] else 0) for rung in rungs]
        for row, rung in enumerate(rungs):
            chosen = rung["name"] == best
            ax.barh(
                row, values[row], height=thick, color=colour(row), alpha=1 if chosen else 0.55, linewidth=0
            )
            if rung["ci95"]:
                low, high = rung["ci95"]
                ax.plot([low, high], [row, row], color=INK, linewidth=1.4, solid_capstyle="butt")
                ax.plot([low, high], [row, row], color=INK, linestyle="none", marker="|", markersize=9)
            ax.annotate(
                f"{values[row]:.3f}",
                (highs[row], row),
                xytext=(7, 0),
                textcoords="offset points",
                va="center_baseline",
                color=INK,
                fontweight="bold" if chosen else "normal",
            )
        ax.set_yticks(range(len(rungs)), [short(plain(rung["name"])) for rung in rungs])
        ax.tick_params(axis="y", labelcolor=INK)
        ax.set_ylim(len(rungs) - 0.5, -0.5)
        ax.set_xlim(0, 1.18 * max([*highs, 1e-9]))
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.spines["left"].set_color(MUTED)
        ax.spines["bottom"].set_visible(False)
        ax.set_xlabel(f"bits per {unit}, lower is better")
        return svg(figure, "bars", f"Bits per {unit} of every rung")


def losses(rung: dict[str, Any], index: int, target: str = "token") -> str:
    """Training and validation loss of one neural rung, nats per target over steps; `index` is its place."""
    train, validation = _finite(rung["curve"]["train"], 3), _finite(rung["curve"]["validation"], 4)
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        ax = figure.add_subplot()
        if len(train):
            smooth = _binned(train, MAX_CURVE_POINTS)
            ax.plot(smooth[:, 0], smooth[:, 2], color=MUTED, linewidth=1.1, label="training")
        if len(validation):
            ax.plot(validation[:, 0], validation[:, 2], color=colour(index), linewidth=2, label="validation")
            lowest = validation[validation[:, 2].argmin()]
            ax.plot(lowest[0], lowest[2], **marker(index))
            ax.annotate(
                f"{lowest[2]:.3f}",
                (lowest[0], lowest[2]),
                xytext=(0, 9),
                textcoords="offset points",
                ha="right" if lowest[0] > 0.8 * validation[-1, 0] else "center",
                color=INK,
            )
        _set_loss_limits(ax, [train, validation])
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
        ax.yaxis.set_major_locator(MaxNLocator(5))
        ax.grid(axis="y")
        ax.spines["left"].set_visible(False)
        ax.set_xlabel("steps")
        ax.set_ylabel(f"nats per {target}")
        if len(train) or len(validation):
            ax.legend(loc="upper right", labelcolor=MUTED, handlelength=1.2, borderaxespad=0)
        return svg(figure, f"loss-{index}", f"Training and validation loss of {rung['name']}")


def against_time(rungs: Sequence[dict[str, Any]], unit: str = "byte") -> str:
    """Bits per byte against training time: dots where rungs ended (test), lines on their way (validation)."""
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
        ax = figure.add_subplot()
        ax.set_xscale("log")
        ends, paths = [], []
        for index, rung in enumerate(rungs):
            end = max(float(rung["train_seconds"]), 1e-3), float(bits_of(rung))
            path = _finite(rung["curve"]["validation"], 4)
            path = path[path[:, 1] > 0]
            ax.plot(path[:, 1], path[:, 3], color=colour(index), linewidth=1.8)
            ax.plot(*end, **marker(index))
            ends.append(end)
            paths.append(path[:, [1, 3]])
        names = [short(plain(rung["name"])) for rung in rungs]
        _set_time_limits(ax, names, ends, paths)
        _label_ends(figure, ax, names, ends, [len(path) > 1 for path in paths])
        ax.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: dict(CLOCK).get(float(seconds), "")))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_locator(MaxNLocator(6))
        ax.grid(axis="y")
        ax.spines["left"].set_visible(False)
        ax.set_xlabel("training time, logarithmic")
        ax.set_ylabel(f"bits per {unit}")
        return svg(figure, "time", f"Bits per {unit} against training time")


def curves_picture(
    curves: Mapping[str, Any], ends: Mapping[str, float | None], unit: str, kind: str
) -> bytes:
    """How several runs learned, over steps and over time, as a picture by itself, svg or png.

    Args:
        curves: by name, each with `train` and `validation` as in `rung.evaluation.curves.Curve`.
        ends: by name, the validation measure of the finished run: a level line for one that has no curve.
        unit: of the measure.
        kind: svg or png.

    Lines are validation; thin ones are training batches, smoothed, in units of validation text: their loss times the
    bits per unit that a nat per target was there.
    """
    on_white = {INK: "#1f1d1a", MUTED: "#6b665e", RULE: "#e4dfd5"}
    looks: Any = {
        key: on_white.get(value, value) if isinstance(value, str) else value
        for key, value in SETTINGS.items()
    }
    looks |= {"figure.facecolor": "white", "savefig.facecolor": "white"}
    salt = {"svg.hashsalt": "curves"}
    with mpl.rc_context(looks | salt):
        figure = Figure(figsize=(2 * WIDTH, 3.8), layout="constrained")
        both = figure.subplots(1, 2, sharey=True)
        highest: list[float] = []
        lows = [float(point[3]) for curve in curves.values() for point in curve.validation]
        lows += [end for end in ends.values() if end is not None]
        faint: Any = {"alpha": 0.35, "linewidth": 0.9}
        lines_of_training = any(len(curve.train) and len(curve.validation) for curve in curves.values())
        for index, (name, curve) in enumerate(curves.items()):
            own = f"C{index % 10}"
            train, validation = _finite(curve.train, 3), _finite(curve.validation, 4)
            for ax, column in zip(both, (0, 1), strict=True):
                label = plain(name)
                if len(validation):
                    ax.plot(validation[:, column], validation[:, 3], color=own, marker=".", label=label)
                elif ends.get(name) is not None and not len(train):
                    ax.axhline(ends[name], color=own, linestyle="--", label=label)
                if len(train) and len(validation):
                    smooth = _binned(train, MAX_CURVE_POINTS)
                    ratio = validation[-1, 3] / max(validation[-1, 2], 1e-9)
                    ax.plot(smooth[:, column], smooth[:, 2] * ratio, color=own, **faint)
                    lows.append(float(smooth[:, 2].min() * ratio))
            highest += [float(value) for value in validation[:1, 3]]
            highest += [end for end in (ends.get(name),) if end is not None]
        if lows and highest:
            room = max(max(highest) - min(lows), 0.05 * max(highest), 1e-3)
            both[0].set_ylim(min(lows) - 0.1 * room, max(highest) + 0.1 * room)
        for ax, what in zip(both, ("steps", "seconds of training"), strict=True):
            ax.grid(axis="y")
            ax.set_xlabel(what)
        both[0].set_ylabel(f"bits per {unit}")
        handles, _ = both[1].get_legend_handles_labels()
        if lines_of_training:
            handles.append(Line2D([], [], color="#6b665e", label="faint: training batches", **faint))
        both[1].legend(handles=handles, loc="upper right", labelcolor="#6b665e", fontsize=9)
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None)
        return buffer.getvalue()


def _finite(points: Sequence[Sequence[float]], columns: int) -> np.ndarray:
    """The points as an array; a loss that is no number (a run that diverged) is left out."""
    array = np.array(points, float).reshape(-1, columns)
    return array[np.isfinite(array).all(axis=1)]


def _binned(points: np.ndarray, most: int) -> np.ndarray:
    """At most `most` points, each the mean of as many neighbours."""
    return np.stack([part.mean(axis=0) for part in np.array_split(points, min(most, len(points)))])


def _set_loss_limits(ax: Axes, curves: Sequence[np.ndarray]) -> None:
    """Leave the steep fall of the first steps out of the picture, so that the rest has room."""
    late = [curve[curve[:, 0] >= 0.03 * curve[-1, 0], 2] for curve in curves if len(curve)]
    losses = np.concatenate([*late, np.empty(0)])
    if len(losses):
        low, high = losses.min(), np.quantile(losses, 0.99)
        room = max(high - low, 1e-3)
        ax.set_ylim(low - 0.06 * room, high + 0.12 * room)


def _set_time_limits(
    ax: Axes, names: Sequence[str], ends: Sequence[tuple[float, float]], paths: Sequence[np.ndarray]
) -> None:
    """Room for every dot and its name. Lines may come in from above: the untrained deserve no space."""
    low, high = min(end[1] for end in ends), max(end[1] for end in ends)
    started = [float(np.quantile(path[:, 1], 0.9)) for path in paths if len(path)]
    high = max(high, *started, high)
    room = max(high - low, 0.1 * high, 1e-3)
    ax.set_ylim(low - 0.14 * room, high + 0.14 * room)

    times = np.log10([end[0] for end in ends] + [path[0, 0] for path in paths if len(path)])
    spread = np.ptp(times)
    left = times.min() - (0.06 * spread if spread > 1 else 0.7)
    width = 72 * WIDTH - 70.0  # points between the axis and the edge, about
    rights = [
        left + (np.log10(end[0]) - left) * width / (width - 14 - LETTER * len(name))
        for name, end in zip(names, ends, strict=True)
    ]
    right = max(*rights, left + 1.4)
    ax.set_xlim(10**left, 10**right)
    marks = [seconds for seconds, _ in CLOCK if left <= np.log10(seconds) <= right]
    ax.xaxis.set_major_locator(FixedLocator(marks[:: -(-len(marks) // 6) or 1]))


def _label_ends(
    figure: Figure,
    ax: Axes,
    names: Sequence[str],
    ends: Sequence[tuple[float, float]],
    learned: Sequence[bool],
) -> None:
    """Write each name beside its dot, where no dot and no other name is in the way."""
    figure.draw_without_rendering()  # the layout decides where data lie on the page
    spots = (ax.transData.transform(ends) * 72 / figure.dpi).tolist()  # in points
    taken = [(x - 5, x + 5, y - 5, y + 5) for x, y in spots]
    floor = float(ax.transAxes.transform((0, 0))[1]) * 72 / figure.dpi + 6
    for i, (x, y) in enumerate(spots):
        width = LETTER * len(names[i])
        # A line comes in from the left of a rung that learned.
        sides = ((9, width + 9),) if learned[i] else ((9, width + 9), (-width - 9, -9))
        spaces = [
            (x + begin, x + end, y + up - 6.5, y + up + 6.5)
            for up in (0, 6, -6, 13, -13, 26, -26, 39, -39)
            for begin, end in sides
            if y + up > floor
        ]
        free = [space for space in spaces if not any(_overlap(space, other) for other in taken)]
        space = free[0] if free else spaces[0]
        taken.append(space)
        leftward = space[0] < x
        ax.annotate(
            names[i],
            ends[i],
            xytext=(-9 if leftward else 9, (space[2] + space[3]) / 2 - y),
            textcoords="offset points",
            ha="right" if leftward else "left",
            va="center_baseline",
            color=colour(i),
            annotation_clip=False,
        )


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]


def by_length(rungs: Sequence[dict[str, Any]], figure: str, name: str) -> str:
    """A figure of what each rung wrote, over the length of what it read; `rungs` with their places on the page."""
    with mpl.rc_context(SETTINGS):
        drawing = Figure(figsize=(WIDTH, 3.1), layout="constrained")
        ax = drawing.add_subplot()
        for index, rung in enumerate(rungs):
            points = [(row["tokens"], row[figure]) for row in rung.get("by_length", ()) if figure in row]
            if points:
                x, y = zip(*points, strict=True)
                ax.plot(x, y, color=colour(index), linewidth=1.8, label=short(plain(rung["name"])))
                ax.plot(x[-1], y[-1], **marker(index))
        ax.yaxis.set_major_locator(MaxNLocator(5))
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.set_ylim(bottom=0)
        ax.grid(axis="y")
        ax.spines["left"].set_visible(False)
        ax.set_xlabel("tokens of the source")
        ax.set_ylabel(name)
        ax.legend(loc="best", labelcolor=MUTED, handlelength=1.2)
        return svg(drawing, "length", f"{name} over the length of the source")
