"""A picture of a boundary as it moved: the plane on the left, the error on its way down on the right.

Whatever classifies points of the plane can be drawn: a `Frame` holds a function from points to scores,
one a class, whose softmax is the colour and whose largest is the class.
The PNG shows the last frame, with earlier boundaries dotted, the older the fainter. The GIF shows every frame and
rings the point that moved the boundary, where one did. The same input gives the same bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rung.files import atomic_path
from rung.scratch.datasets import Points
from rung.scratch.losses import softmax

INK, MUTED, RULE = "#1f2430", "#6b7280", "#d5d9e0"
COLOURS = ("#3b6fd4", "#e2703a", "#2f9e6e", "#8a5cc7", "#c23b6b", "#7a7f2a", "#1a8fa6", "#8a5a3c")
"""One a class; an eighth class's colour begins again."""

GRID = 120  # cells along each side of the plane
EARLIER_BOUNDARIES = 7  # dotted in the still picture
FRAME_MS, LAST_FRAME_MS = 120, 2500


@dataclass(frozen=True)
class Frame:
    """One moment of a training.

    Attributes:
        title: what is true at this moment, in a few words.
        scores: points # (M, 2) -> the log-probability of each class, up to a constant # (M, K)
        time: where it stands on the error's axis.
        marked: which point has just moved the boundary, if one did.
    """

    title: str
    scores: Callable[[np.ndarray], np.ndarray]
    time: float
    marked: int | None = None


@dataclass(frozen=True)
class Curve:
    """How the error fell: one value at each time, and what the two axes are."""

    times: np.ndarray
    values: np.ndarray
    time_name: str
    value_name: str


def frame_indices(n: int, max_frames: int) -> np.ndarray:
    """At most `max_frames` of 0 .. n-1, the first and the last among them, dense at first, where most changes."""
    return np.unique(np.geomspace(1, n, min(n, max_frames)).round().astype(int)) - 1


def draw(points: Points, frames: Sequence[Frame], curve: Curve, *, png: Path, gif: Path) -> None:
    """Write both pictures.

    Args:
        points: drawn in the plane, on axes named by their features.
        frames: in the order of time, at least one.
        curve: of all times, not the frames' alone.
        png, gif: where they go. Raises UserError when that can't be written to.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    with mpl.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Glyph .* missing"
        )  # a name's letter that the font lacks is an empty box
        scene = _Scene(points, curve)
        canvas = FigureCanvasAgg(scene.figure)
        scene.show(frames[0])
        canvas.draw()
        scene.figure.set_layout_engine("none")  # what the first frame found holds for all
        # Axes and their numbers take most of the time and never change: they are drawn once.
        for _, artist in scene.changing_artists():
            artist.set_animated(True)
        canvas.draw()
        background = canvas.copy_from_bbox(scene.figure.bbox)
        pictures = []
        for frame in frames:
            scene.show(frame)
            canvas.restore_region(background)
            for axes, artist in scene.changing_artists():
                axes.draw_artist(artist)
            pictures.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
        earlier = [
            frames[i] for i in np.linspace(0, len(frames) - 1, EARLIER_BOUNDARIES + 1).astype(int)[:-1]
        ]
        scene.show(replace(frames[-1], marked=None), earlier if len(frames) > 1 else [])
        with atomic_path(png) as temporary:
            scene.figure.savefig(temporary, format="png", dpi=160, metadata={"Software": None})
    # One palette for all frames, so that nothing flickers; the last has every colour.
    palette = pictures[-1].quantize(128)
    shown = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    durations = [FRAME_MS] * (len(shown) - 1) + [LAST_FRAME_MS]
    with atomic_path(gif) as temporary:
        shown[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=shown[1:],
            duration=durations,
            loop=0,
            optimize=True,
        )


class _Scene:
    """The figure, of which each frame changes only what moved."""

    def __init__(self, points: Points, curve: Curve) -> None:
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(8.4, 4.3), dpi=100, layout="constrained")
        self.plane, right = self.figure.subplots(1, 2, width_ratios=(1.15, 1))
        low, high = points.x.min(axis=0), points.x.max(axis=0)
        margin = 0.12 * np.where(high > low, high - low, 1.0)
        low, high = low - margin, high + margin
        self._axes = [np.linspace(low[i], high[i], GRID) for i in range(2)]
        self._cells = np.stack(
            [axis.ravel() for axis in np.meshgrid(*self._axes)], axis=1
        )  # (GRID * GRID, 2)
        self._colours = np.array([_rgb(COLOURS[k % len(COLOURS)]) for k in range(len(points.classes))])
        self._image = self.plane.imshow(
            np.ones((GRID, GRID, 3)),
            extent=(low[0], high[0], low[1], high[1]),
            origin="lower",
            aspect="auto",
            interpolation="bilinear",
        )
        self._clouds = []
        for k, name in enumerate(points.classes):
            here = points.x[points.y == k]
            size = float(np.clip(5000 / len(points.x), 6, 34))
            cloud = self.plane.scatter(
                here[:, 0],
                here[:, 1],
                s=size,
                color=self._colours[k],
                edgecolor="white",
                linewidth=0.6,
                label=name,
            )
            self._clouds.append(cloud)
        self.plane.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        self.plane.set(xlabel=points.features[0], ylabel=points.features[1])
        self.plane.legend(
            loc="lower right", bbox_to_anchor=(1.01, 0.985), ncols=4, handletextpad=0, columnspacing=0.6
        )
        (self._ring,) = self.plane.plot([], [], "o", markersize=13, markerfacecolor="none", color=INK)
        self._points, self._lines = points, []
        right.plot(curve.times, curve.values, color=RULE, linewidth=1.5)
        (self._curve_so_far,) = right.plot([], [], color=INK, linewidth=2)
        (self._dot,) = right.plot([], [], "o", color=INK, markersize=7, clip_on=False)
        right.set(xlabel=curve.time_name, title=curve.value_name)
        right.set_ylim(0, 1.08 * max(float(curve.values.max()), 1e-9))
        right.grid(axis="y")
        right.spines["left"].set_visible(False)
        self._title = self.plane.set_title(" ")
        self._curve, self._right = curve, right

    def changing_artists(self) -> list[tuple[Any, Any]]:
        """What a frame changes, from the ground up, with the axes it is on."""
        on_plane = [self._image, *self._clouds, *self._lines, self._ring, self._title]
        return [(self.plane, artist) for artist in on_plane] + [
            (self._right, self._curve_so_far),
            (self._right, self._dot),
        ]

    def show(self, frame: Frame, earlier: Sequence[Frame] = ()) -> None:
        """Change the figure into this frame, with the boundaries of earlier ones dotted."""
        scores = frame.scores(self._cells)
        pale = 0.34 * self._colours + 0.66  # so that the points stand out
        self._image.set_data((softmax(scores) @ pale).reshape(GRID, GRID, 3).clip(0, 1))
        for line in self._lines:
            line.remove()
        self._lines = []
        for age, before in enumerate(reversed(earlier), start=1):
            self._boundary(
                before.scores(self._cells), linestyles="dotted", alpha=0.75 - 0.08 * age, linewidths=1.3
            )
        self._boundary(scores, linestyles="solid", alpha=1.0, linewidths=2.4)
        marked = self._points.x[[frame.marked]] if frame.marked is not None else np.empty((0, 2))
        self._ring.set_data(marked[:, 0], marked[:, 1])
        until = self._curve.times <= frame.time
        self._curve_so_far.set_data(self._curve.times[until], self._curve.values[until])
        self._dot.set_data(self._curve.times[until][-1:], self._curve.values[until][-1:])
        self._title.set_text(frame.title)

    def _boundary(self, scores: np.ndarray, **style: Any) -> None:
        """Where the likeliest class changes: each class's score less the best other's is 0 there."""
        for k in range(1 if scores.shape[1] == 2 else 0, scores.shape[1]):
            lead = scores[:, k] - np.delete(scores, k, axis=1).max(axis=1)
            if lead.min() < 0 < lead.max():
                grid = lead.reshape(GRID, GRID)
                self._lines.append(self.plane.contour(*self._axes, grid, levels=[0], colors=INK, **style))


def _rgb(colour: str) -> list[float]:
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


SETTINGS: Any = {
    "font.size": 11,
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.titlesize": 11.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e8ebf0",
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
}
