"""Vectors brought to a plane, to be looked at.

    pca     the two directions in which they differ most (Pearson 1901), by a singular value decomposition
    t-sne   places whose neighbours are those of the vectors (van der Maaten and Hinton 2008, "Visualizing data using
            t-SNE"), the exact way, over all pairs: for some hundred words

PCA keeps distances as far as two directions can; in t-SNE who is near is true, how far apart groups lie is not.

Shapes: N points, E numbers each; N x 2 comes out.
"""

from __future__ import annotations

import numpy as np

from rung.errors import UserError

MOST_POINTS = 3000
STEPS, EXAGGERATED = 750, 250
LEARNING_RATE_SHARE = 12.0
"""The rate is N / 12, at least 50 (Belkina et al. 2019): of 4 N / 48 in their terms."""


def pca(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Places (N, 2), and the share of the points' variance that is to be seen in them, 0 to 1.

    A direction's sign is that in which its largest number is positive.
    """
    centred = np.asarray(points, np.float64) - points.mean(axis=0, dtype=np.float64)
    _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    directions = np.pad(directions[:2], ((0, max(0, 2 - len(directions))), (0, 0)))
    signs = np.sign(directions[np.arange(2), np.abs(directions).argmax(axis=1)])
    total = float((lengths**2).sum())
    return centred @ (directions * np.where(signs == 0, 1, signs)[:, None]).T, (
        float((lengths[:2] ** 2).sum()) / total if total else 1.0
    )


def tsne(points: np.ndarray, perplexity: float = 30.0, steps: int = STEPS) -> tuple[np.ndarray, float]:
    """Places (N, 2), and the Kullback-Leibler divergence, nats, of their neighbourhoods from the points'.

    Begins with PCA, so there is no chance in it. The perplexity is about how many neighbours each point has; of few
    points it is lowered to a third of them. Raises UserError for fewer than 4 points and more than `MOST_POINTS`.
    """
    n = len(points)
    if not 4 <= n <= MOST_POINTS:
        raise UserError(f"t-SNE is for 4 to {MOST_POINTS:,} words, not {n:,}; give fewer, or --method pca")
    if not perplexity >= 1:
        raise UserError(f"--perplexity {perplexity:g} is not possible: give 1 or more")
    joint = _joint(np.asarray(points, np.float64), min(perplexity, (n - 1) / 3))
    start, _ = pca(points)
    spread = start.std(axis=0)[0]
    places = start / spread * 1e-4 if spread > 0 else start
    rate = max(n / LEARNING_RATE_SHARE, 50.0)
    move, gain = np.zeros_like(places), np.ones_like(places)
    for step in range(steps):
        early = step < EXAGGERATED
        near, _ = _near(places)
        pull = ((12.0 if early else 1.0) * joint - near / near.sum()) * near
        slope = 4 * (pull.sum(axis=1)[:, None] * places - pull @ places)
        gain = np.maximum(np.where(slope * move < 0, gain + 0.2, gain * 0.8), 0.01)
        move = (0.5 if early else 0.8) * move - rate * gain * slope
        places = places + move
    near, _ = _near(places)
    shares = np.maximum(near / near.sum(), 1e-12)
    return places - places.mean(axis=0), float((joint * np.log(np.maximum(joint, 1e-12) / shares)).sum())


def _near(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1 / (1 + distance squared) of each two places, 0 of one with itself, and those distances."""
    distances = _squared_distances(places)
    near = 1 / (1 + distances)
    np.fill_diagonal(near, 0)
    return near, distances


def _squared_distances(points: np.ndarray) -> np.ndarray:
    lengths = (points**2).sum(axis=1)
    return np.maximum(lengths[:, None] + lengths - 2 * points @ points.T, 0)


def _joint(points: np.ndarray, perplexity: float) -> np.ndarray:
    """(N, N), all together 1: how likely two points are neighbours, by Gaussians of the same perplexity."""
    distances = _squared_distances(points)
    wanted = np.log(perplexity)
    low, high = np.zeros(len(points)), np.full(len(points), np.inf)
    precision = 1 / np.maximum(distances.mean(axis=1), 1e-12)
    own = np.eye(len(points), dtype=bool)
    distances = np.where(own, np.inf, distances)
    nearest = distances.min(axis=1, keepdims=True)
    beyond = np.where(own, 0, distances - nearest)
    weights = total = np.ones(0)
    for _ in range(64):
        weights = np.exp(-(distances - nearest) * precision[:, None])
        total = weights.sum(axis=1)
        entropy = np.log(total) + precision * (weights * beyond).sum(axis=1) / total
        wide = entropy > wanted
        low, high = np.where(wide, precision, low), np.where(wide, high, precision)
        precision = np.where(np.isinf(high), precision * 2, (low + high) / 2)
    given = weights / total[:, None]
    return (given + given.T) / (2 * len(points))
