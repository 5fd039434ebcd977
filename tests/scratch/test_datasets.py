"""The made sets are what their names say; a CSV file is read, or refused with the place at fault."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.errors import UserError
from rung.scratch import datasets


@pytest.mark.parametrize("name", datasets.SYNTHETIC)
def test_made_sets(name: str):
    points = datasets.make(name, 101, seed=4)
    assert points.x.shape == (101, 2)
    assert abs(int((points.y == 1).sum()) - 50) <= 1
    np.testing.assert_array_equal(points.x, datasets.make(name, 101, seed=4).x)
    assert (points.x != datasets.make(name, 101, seed=5).x).any()


def test_their_shapes_without_noise():
    rings = datasets.make("circles", 50, noise=0.0)
    np.testing.assert_allclose(np.linalg.norm(rings.x, axis=1), np.where(rings.y == 0, 1.0, 0.4))
    corners = datasets.make("xor", 40, noise=0.0)
    np.testing.assert_array_equal((corners.x.prod(axis=1) < 0).astype(int), corners.y)
    halves = datasets.make("moons", 40, noise=0.0)
    upper = halves.x[halves.y == 0]
    np.testing.assert_allclose(np.linalg.norm(upper + [0.5, 0.25], axis=1), 1.0)
    assert (upper[:, 1] >= -0.25).all()


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_scale_undone_says_the_same(seed: int):
    rng = np.random.default_rng(seed)
    x = rng.normal(rng.normal(0, 100, 2), 10.0 ** rng.uniform(-3, 3, 2), (20, 2))
    scaler = datasets.StandardScaler.fit(x)
    weights, bias = rng.normal(size=(3, 2)), rng.normal(size=3)
    np.testing.assert_allclose(scaler.transform(x).mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(scaler.transform(x).std(axis=0), 1)
    own, own_bias = scaler.unscale_weights(weights, bias)
    np.testing.assert_allclose(x @ own.T + own_bias, scaler.transform(x) @ weights.T + bias, atol=1e-6)


def test_a_feature_that_never_varies():
    x = np.array([[1.0, 7.0], [3.0, 7.0]])
    np.testing.assert_array_equal(datasets.StandardScaler.fit(x).transform(x), [[-1, 0], [1, 0]])


def test_a_csv_file(tmp_path: Path):
    path = tmp_path / "fruit.csv"
    path.write_bytes(
        b'\xef\xbb\xbfweight,kind,sugar\r\n120,apple,10.5\r\n\r\n"180",orange,-9e0\r\n110,apple,11\r\n'
    )
    points = datasets.read_csv(path, "kind")
    assert (points.features, points.classes) == (("weight", "sugar"), ("apple", "orange"))
    np.testing.assert_array_equal(points.x, [[120, 10.5], [180, -9], [110, 11]])
    np.testing.assert_array_equal(points.y, [0, 1, 0])


def test_classes_that_are_numbers_and_other_separators(tmp_path: Path):
    path = tmp_path / "data.tsv"
    path.write_text("a\tb\tc\ty\n1\t2\t3\t10\n4\t5\t6\t9\n7\t8\t9\t-1\n")
    points = datasets.read_csv(path, features=("c", "a"))
    assert points.classes == ("-1", "9", "10")
    np.testing.assert_array_equal(points.x, [[3, 1], [6, 4], [9, 7]])


@pytest.mark.parametrize(
    ("text", "label", "features", "said"),
    [
        ("", None, (), "is empty"),
        ("a,b,y\n", None, (), "no rows"),
        ("a,b,c\n1,2,0\n", None, (), "--label"),
        ("a,b,kind\n1,2,0\n", "knd", (), "did you mean 'kind'"),
        ("a,b,y\n1,2,0\n3,x,1\n", None, (), r"line 3, column 'b': 'x' is no number"),
        ("a,b,y\n1,2,0\n3,,1\n", None, (), r"line 3, column 'b': '' is no number"),
        ("a,b,y\n1,nan,0\n", None, (), r"line 2, column 'b': 'nan' is not finite"),
        ("a,b,y\ninf,1,0\n", None, (), r"line 2, column 'a': 'inf' is not finite"),
        ("a,b,y\n1,2,0\n3,-1e300,1\n", None, (), r"line 3, column 'b': '-1e300' is not finite"),
        ("a,b,y\n" + "".join(f"1,2,{i}\n" for i in range(21)), None, (), "21 classes in 'y'"),
        ("a,b,y\n1,2,0\n3,4,0\n", None, (), "only one class, '0'"),
        ("a,b,y\n1,2,0\n3,4\n", None, (), "line 3: 2 fields where the header has 3"),
        ("a,b,y\n1,2,0\n3,4, \n", None, (), "line 3: the label"),
        ("y\n0\n", None, (), "--features"),
        ("a,b,y\n1,2,0\n", None, ("a", "a"), "--features"),
        ("a,b,y\n1,2,0\n", None, ("a", "y"), "--features"),
        ("a,b,y\n1,2,0\n", None, ("a", "q"), "'q'"),
        ("a,a,y\n1,2,0\n", None, (), "once"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, label: str | None, features: tuple[str, ...], said: str):
    path = tmp_path / "data.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        datasets.read_csv(path, label, features)


def test_what_is_no_text_or_not_there(tmp_path: Path):
    (tmp_path / "data.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="UTF-8"):
        datasets.read_csv(tmp_path / "data.csv")
    with pytest.raises(UserError, match="No such file"):
        datasets.read_csv(tmp_path / "other.csv")


@pytest.mark.parametrize(("name", "n", "noise"), [("blob", 10, None), ("xor", 3, None), ("xor", 10, -1.0)])
def test_bad_made_sets(name: str, n: int, noise: float | None):
    with pytest.raises(UserError):
        datasets.make(name, n, noise=noise)
