"""The pictures show what they are told to: boundaries where scores cross, every frame, the same bytes twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rung.errors import UserError
from rung.inspection.boundary import Curve, Frame, draw, frame_indices
from rung.scratch import datasets
from rung.scratch.datasets import Points

SQUARE = Points(
    np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]),
    np.array([0, 0, 1, 1]),
    ("x", "y"),
    ("left", "right"),
)


def sides(x: np.ndarray) -> np.ndarray:
    """Class 1 right of the middle, for certain."""
    return np.stack([np.zeros(len(x)), 1e6 * x[:, 0]], axis=1)


def always(x: np.ndarray) -> np.ndarray:
    """Class 0 everywhere."""
    return np.stack([np.ones(len(x)), np.zeros(len(x))], axis=1)


def pictures(folder: Path, points: Points, frames: list[Frame]) -> tuple[Image.Image, Image.Image]:
    times = np.arange(len(frames))
    curve = Curve(times, np.linspace(1, 0, len(frames)), "epochs", "loss")
    draw(points, frames, curve, png=folder / "b.png", gif=folder / "b.gif")
    return Image.open(folder / "b.png"), Image.open(folder / "b.gif")


def test_a_frame_a_moment_and_the_colours_of_the_sides(tmp_path: Path):
    frames = [Frame("before", always, 0), Frame("after", sides, 1, marked=2), Frame("end", sides, 2)]
    png, gif = pictures(tmp_path, SQUARE, frames)
    with png, gif:
        assert gif.n_frames == 3  # type: ignore[attr-defined]
        assert gif.info["loop"] == 0
        assert png.size[0] > 1200
        gif.seek(0)
        first = np.asarray(gif.convert("RGB")).astype(int)
        gif.seek(2)
        last = np.asarray(gif.convert("RGB")).astype(int)
        row = last.shape[0] // 3  # a line across the plane, with no point on it
        blue, orange = last[row, 130], last[row, 430]
        assert blue[2] > blue[0]
        assert orange[0] > orange[2]
        assert first[row, 430][2] > first[row, 430][0]  # before, the right side was the first class's, too


def test_the_boundary_stands_where_the_scores_cross(tmp_path: Path):
    """Dark pixels of the line at x = 0 are in the middle between the points at -1 and 1, and straight."""
    png, gif = pictures(tmp_path, SQUARE, [Frame("", sides, 0)])
    with png, gif:
        ground = np.asarray(gif.convert("RGB")).astype(int)
    rows = range(120, 320, 20)
    lines = [np.flatnonzero(ground[row, 60:460].max(axis=1) < 90) + 60 for row in rows]
    assert all(len(line) for line in lines)
    middles = np.array([line.mean() for line in lines])
    assert np.ptp(middles) <= 1
    left = [np.flatnonzero(ground[row, 60:460, 2] > ground[row, 60:460, 0]).max() + 60 for row in rows]
    np.testing.assert_allclose(left, middles, atol=4)


def test_more_classes_than_colours_and_a_single_frame(tmp_path: Path):
    rng = np.random.default_rng(0)
    points = Points(
        rng.normal(size=(40, 2)),
        np.arange(40) % 10,
        ("a $b 身長", "c_d"),
        tuple(f"class {i}" for i in range(10)),
    )
    weights = rng.normal(size=(2, 10))
    png, gif = pictures(tmp_path, points, [Frame("$ _ ^ \\", lambda x: x @ weights, 0)])
    with png, gif:
        assert gif.n_frames == 1  # type: ignore[attr-defined]


def test_a_feature_that_never_varies(tmp_path: Path):
    points = Points(np.array([[1.0, 5.0], [2.0, 5.0]]), np.array([0, 1]), ("x", "y"), ("0", "1"))
    png, gif = pictures(tmp_path, points, [Frame("", sides, 0)])
    png.close()
    gif.close()


def test_the_same_bytes_twice(tmp_path: Path):
    points = datasets.make("moons", 50)
    frames = [Frame("a", always, 0), Frame("b", sides, 1)]
    found = []
    for name in ("one", "two"):
        png, gif = pictures(tmp_path / name, points, frames)
        png.close()
        gif.close()
        found.append([(tmp_path / name / file).read_bytes() for file in ("b.png", "b.gif")])
    assert found[0] == found[1]


def test_a_folder_that_can_not_be_written(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        pictures(tmp_path / "file", SQUARE, [Frame("", sides, 0)])


@settings(deadline=None, max_examples=100)
@given(n=st.integers(1, 10_000), most=st.integers(2, 60))
def test_frame_indices(n: int, most: int):
    """In order, each once, no more than asked for, with the first and the last."""
    found = frame_indices(n, most)
    assert found[0] == 0
    assert found[-1] == n - 1
    assert len(found) <= most
    assert (np.diff(found) > 0).all()
    if n <= most // 2:
        assert len(found) <= n
