"""How well vectors tell which text belongs to which: what the right partner costs among a few others.

    p(own | text) = exp(cos(h, h'_own) / t) / sum over candidates j of exp(cos(h, h'_j) / t)

The candidates of an example are its own partner and those of the CANDIDATES - 1 examples after it in an order that is
always the same, so that every example is asked as hard a question, and every model the same one. Equal texts are not
told from each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from rung.text.stream import TokenStream
from rung.text.views import Views

CANDIDATES = 64
AT_ONCE = 1024
TIE = 1e-6
"""Cosines that are nearer than this are equal: of equal texts they differ by rounding."""


class MakesVectors(Protocol):
    """What has vectors of texts."""

    def vectors(self, texts: TokenStream) -> np.ndarray: ...


def partner_scores(model: MakesVectors, views: Views, temperature: float) -> np.ndarray:
    """Of each example (N, 2): log p of its own partner, nats, and 1 where no other is nearer, else 0."""
    n = len(views.alike)
    found = np.empty((n, 2))
    for rows, cosines in partner_cosines(model, views):
        logits = cosines / temperature
        logits -= logits.max(axis=1, keepdims=True)
        found[rows, 0] = logits[:, 0] - np.log(np.exp(logits).sum(axis=1))
        found[rows, 1] = cosines[:, 0] >= cosines.max(axis=1) - TIE
    return found


def partner_cosines(model: MakesVectors, views: Views) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Some examples (M,) at a time, and their cosines (M, K) with the candidates, their own the first; -inf for what is
    no candidate."""
    first, second, alike = views
    n = len(alike)
    order, k = np.random.default_rng(0).permutation(n), min(CANDIDATES, n)
    for begin in range(0, n, AT_ONCE):
        places = np.arange(begin, min(begin + AT_ONCE, n))
        own = order[places]
        around = order[np.arange(begin, places[-1] + k) % n]  # theirs, and those after the last
        h = _unit(model.vectors(first.of_documents(own)))
        others = _unit(model.vectors(second.of_documents(around)))
        window = np.arange(len(own))[:, None] + np.arange(k)  # (M, K): which of `around`
        cosines = np.empty(window.shape)
        for column in range(k):
            cosines[:, column] = np.einsum("nc,nc->n", h, others[window[:, column]])
        same = (alike[own][:, None] == alike[around][window]).any(axis=2)
        same[:, 0] = False
        cosines[same] = -np.inf
        yield own, cosines


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths == 0, 1, lengths)
