"""Which words are noise, and which are left out because they occur all the time.

    noise      P(w) = C(w)^0.75 / sum of them all        (Mikolov et al. 2013, arXiv:1310.4546, section 2.2)
    kept       min(1, sqrt(t / f) + t / f)               f = C(w) / N, as in word2vec's code (the paper: sqrt(t / f))

Noise is drawn by the alias method (Walker 1977; Vose 1991): one column of V with equal chance, then that column's word
or its alias. word2vec has a table of a hundred million places for it, in which rare words are rounded away.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Alias(NamedTuple):
    """A distribution over V words, to draw from in two look-ups.

    stay: (V,) float64, with what probability a column's own word is drawn.
    other: (V,) int64, the word that is drawn else.
    """

    stay: np.ndarray
    other: np.ndarray

    @staticmethod
    def of(probabilities: np.ndarray) -> Alias:
        """Of probabilities (V,) that add up to 1."""
        n = len(probabilities)
        stay, other = probabilities * n, np.arange(n)
        small = np.flatnonzero(stay < 1).tolist()
        large = np.flatnonzero(stay >= 1).tolist()
        left = stay.tolist()
        while small and large:
            little, much = small.pop(), large[-1]
            other[little] = much
            left[much] -= 1 - left[little]
            if left[much] < 1:
                small.append(large.pop())
        stay = np.array(left)
        stay[[*small, *large]] = 1.0  # but for rounding they are
        return Alias(stay, other)

    @property
    def probabilities(self) -> np.ndarray:
        """(V,): what it draws."""
        out = self.stay.copy()
        np.add.at(out, self.other, 1 - self.stay)
        return out / len(out)


def noise_of(counts: np.ndarray, power: float = 0.75) -> np.ndarray:
    """The noise distribution (V,) of words that occur `counts` (V,) times; what never occurs is none."""
    weights = np.where(counts > 0, np.asarray(counts, np.float64) ** power, 0.0)
    return weights / weights.sum()


def kept_of(counts: np.ndarray, threshold: float) -> np.ndarray:
    """With what probability (V,) an occurrence of each word is kept; `threshold` 0 = always."""
    frequency = counts / max(int(counts.sum()), 1)
    if threshold == 0:
        return np.ones(len(counts))
    ratio = threshold / np.where(frequency > 0, frequency, 1.0)
    return np.minimum(1.0, np.sqrt(ratio) + ratio)
