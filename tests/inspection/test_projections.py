"""Points on a plane: PCA and t-SNE beside scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rung.errors import UserError
from rung.inspection.projections import pca, tsne


def clusters() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(size=(15, 6)) + 12 * rng.normal(size=6) for _ in range(3)])


def test_pca_is_scikit_learns():
    from sklearn.decomposition import PCA

    points = np.random.default_rng(1).normal(size=(30, 7)) * [5, 3, 1, 1, 1, 1, 1]
    theirs = PCA(2)
    expected = theirs.fit_transform(points)
    places, share = pca(points)
    signs = np.sign((places * expected).sum(axis=0))
    np.testing.assert_allclose(places, expected * signs, atol=1e-9)
    assert share == pytest.approx(theirs.explained_variance_ratio_.sum())


def test_pca_of_a_line_and_of_one_point():
    places, share = pca(np.arange(5.0)[:, None])
    assert share == 1
    np.testing.assert_allclose(places, np.stack([np.arange(5) - 2, np.zeros(5)], 1))
    assert pca(np.ones((3, 4)))[0].tolist() == [[0, 0]] * 3


def test_tsne_is_as_good_as_scikit_learns_and_keeps_neighbours_together():
    from sklearn.manifold import TSNE

    points = clusters()
    theirs = TSNE(perplexity=10, method="exact", init="pca", random_state=0, max_iter=500)
    theirs.fit_transform(points)
    places, divergence = tsne(points, perplexity=10)
    assert divergence < 1.1 * theirs.kl_divergence_ + 0.02
    distances = np.linalg.norm(places[:, None] - places, axis=2) + 1e9 * np.eye(len(places))
    nearest = distances.argmin(axis=1)
    assert (nearest // 15 == np.arange(45) // 15).all()
    again, _ = tsne(points, perplexity=10)
    assert np.array_equal(places, again)


def test_words_alike_are_no_trouble():
    places, _ = tsne(np.ones((6, 3)))
    assert np.isfinite(places).all()


@pytest.mark.parametrize(("points", "how"), [(np.ones((3, 2)), {}), (np.ones((9, 2)), {"perplexity": 0.5})])
def test_what_it_can_not_do(points: np.ndarray, how: dict[str, Any]):
    with pytest.raises(UserError, match=r"t-SNE is for|--perplexity"):
        tsne(points, **how)
