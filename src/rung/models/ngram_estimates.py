"""From counted n-grams to probabilities and backoff weights, one function a smoothing.

Interpolated smoothings take some mass off the counts a(h w) of a history h and share it out as the shorter
history h' would:

    P(w | h) = (a(h w) - D(a)) / S(h) + gamma(h) P(w | h')      gamma(h) = what is left over / S(h)

down to the empty history, whose rest goes in equal parts to all V tokens, seen or not.

    kneser-ney   a: at the highest order the count; below it, how many different tokens precede the n-gram,
                 but for n-grams that begin a document, which nothing precedes and which keep their counts.
                 D: three discounts an order. S(h): the sum of a. (Chen and Goodman 1998, as KenLM's lmplz
                 applies it; lmplz itself leaves one n-gram of every lower order out of its counts of counts)
    absolute     a: the count. D: one discount an order. S(h): the sum of a. (Ney, Essen and Kneser 1994)
    witten-bell  a: the count. D = 0. S(h): the sum of a, and T(h), the number of different tokens seen
                 after h, which is what is left over. (Witten and Bell 1991)

Three more look at one history only:

    add-k            (C(h w) + k) / (C(h) + k V) for histories n - 1 tokens long, or shorter ones that reach
                     back to the document mark. After one never seen all tokens are equally likely.
    none             C(h w) / C(h), the maximum of likelihood, h the longest end of the history that was seen
                     at all. What never followed it has probability 0.
    stupid-backoff   C(h w) / C(h), or where that is 0, 0.4 times the score after h'. These are no
                     probabilities. (Brants et al. 2007)

Pruned n-grams give all their mass to gamma; counts and discounts are those of the whole text (as in lmplz).
Probabilities are computed in float64 and kept as float32 logarithms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rung.models.discounts import (
    ABSOLUTE_STAND_IN,
    KNESER_NEY_STAND_IN,
    absolute_discount,
    kneser_ney_discounts,
)
from rung.models.ngram_counts import Grams

Kept = Sequence[np.ndarray]
"""For each order, which of its n-grams (G,) pruning leaves."""


@dataclass(frozen=True)
class Estimates:
    """What smoothing makes of the levels of `count_ngrams`. Logarithms are natural, float32.

    log_prob: for each order k, of every k-gram, (G,).
    log_backoff: for each order k, of every (k-1)-gram as a history; the first, of the empty one, is not used.
    discounts: (N, 3) D_1, D_2, D_3+ an order; 0 where a smoothing has none.
    stand_ins: the orders whose discounts could not be computed.
    """

    log_prob: list[np.ndarray]
    log_backoff: list[np.ndarray]
    discounts: np.ndarray
    stand_ins: list[int]


def kneser_ney(levels: Sequence[Grams], kept: Kept) -> Estimates:
    """Interpolated modified Kneser-Ney."""
    adjusted = [
        np.where(grams.begins, grams.counts, np.bincount(above.suffix, minlength=len(grams)))
        for grams, above in pairwise(levels)
    ]
    counts = [*adjusted, levels[-1].counts]
    return _discounted(levels, counts, kept, kneser_ney_discounts, KNESER_NEY_STAND_IN)


def absolute(levels: Sequence[Grams], kept: Kept) -> Estimates:
    """Interpolated absolute discounting."""
    counts = [grams.counts for grams in levels]
    return _discounted(levels, counts, kept, absolute_discount, ABSOLUTE_STAND_IN)


def witten_bell(levels: Sequence[Grams], kept: Kept) -> Estimates:
    """Interpolated Witten-Bell."""
    shares = []
    for grams, keep, n_histories in zip(levels, kept, _n_histories(levels), strict=True):
        followers = np.bincount(grams.parent[grams.counts > 0], minlength=n_histories)
        total = np.bincount(grams.parent, grams.counts, n_histories) + followers
        rest = followers + np.bincount(grams.parent, np.where(keep, 0, grams.counts), n_histories)
        shares.append(_share(grams, grams.counts, total, rest))
    return _interpolated(levels, shares, np.zeros((len(levels), 3)), [])


def add_k(levels: Sequence[Grams], k: float) -> Estimates:
    """Add-k over the histories that count; shorter ones leave all tokens equally likely."""
    vocab_size = len(levels[0])
    log_prob, log_backoff = [], []
    for grams, whole, total in zip(levels, *whole_histories(levels), strict=True):
        smoothed = (grams.counts + k) / (total + k * vocab_size)[grams.parent]
        log_prob.append(_log(np.where(whole, smoothed, 1 / vocab_size)))
        log_backoff.append(_log(k * vocab_size / (total + k * vocab_size)))
    return Estimates(log_prob, log_backoff, np.zeros((len(levels), 3)), [])


def whole_histories(levels: Sequence[Grams]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For each order: which n-grams (G,) have a history n - 1 tokens long or one that begins a document, and
    how often each history (H,) of that kind occurs."""
    whole = [grams.begins for grams in levels[:-1]] + [np.ones(len(levels[-1]), bool)]
    totals = [
        np.bincount(grams.parent, np.where(mask, grams.counts, 0), n_histories)
        for grams, mask, n_histories in zip(levels, whole, _n_histories(levels), strict=True)
    ]
    return whole, totals


def maximum_likelihood(levels: Sequence[Grams]) -> Estimates:
    """Relative frequencies; a history that was seen leaves nothing to other tokens."""
    return _relative_frequencies(levels, rest_of_seen=0.0)


def stupid_backoff(levels: Sequence[Grams]) -> Estimates:
    """Relative frequencies; the cost of backing off depends on the history's length, so it isn't stored."""
    return _relative_frequencies(levels, rest_of_seen=1.0)


def _relative_frequencies(levels: Sequence[Grams], rest_of_seen: float) -> Estimates:
    log_prob, log_backoff = [], []
    for grams, n_histories in zip(levels, _n_histories(levels), strict=True):
        total = np.bincount(grams.parent, grams.counts, n_histories)
        log_prob.append(_log(grams.counts / np.maximum(total, 1)[grams.parent]))
        log_backoff.append(_log(np.where(total > 0, rest_of_seen, 1.0)))
    if not levels[0].counts.any():  # no text at all
        log_prob[0] = np.full_like(log_prob[0], -np.log(len(levels[0])))
    return Estimates(log_prob, log_backoff, np.zeros((len(levels), 3)), [])


def _discounted(
    levels: Sequence[Grams],
    adjusted: Sequence[np.ndarray],
    kept: Kept,
    discounts_of: Callable[[np.ndarray], np.ndarray | None],
    stand_in: np.ndarray,
) -> Estimates:
    """Discount the counts `adjusted`, (G,) an order, and interpolate."""
    discounts = np.zeros((len(levels), 3))
    stand_ins = []
    shares = []
    for grams, counts, keep, n_histories in zip(levels, adjusted, kept, _n_histories(levels), strict=True):
        if counts.any():
            computed = discounts_of(counts)
            discounts[grams.order - 1] = stand_in if computed is None else computed
            if computed is None:
                stand_ins.append(grams.order)
        off = np.concatenate([[0.0], discounts[grams.order - 1]])[np.minimum(counts, 3)]
        total = np.bincount(grams.parent, counts, n_histories)
        rest = np.bincount(grams.parent, np.where(keep, off, counts), n_histories)
        shares.append(_share(grams, counts - off, total, rest))
    return _interpolated(levels, shares, discounts, stand_ins)


def _share(
    grams: Grams, part: np.ndarray, total: np.ndarray, rest: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """part / total an n-gram (G,), and rest / total a history: 1 where nothing follows it."""
    nonzero = np.where(total > 0, total, 1.0)
    return part / nonzero[grams.parent], np.where(total > 0, rest / nonzero, 1.0)


def _interpolated(
    levels: Sequence[Grams],
    shares: Sequence[tuple[np.ndarray, np.ndarray]],
    discounts: np.ndarray,
    stand_ins: list[int],
) -> Estimates:
    """Add to each n-gram's own share what its history leaves over times the probability one order lower."""
    lower = np.array([1 / len(levels[0])])
    log_prob, log_backoff = [], []
    for grams, (own, rest) in zip(levels, shares, strict=True):
        lower = own + rest[grams.parent] * lower[grams.suffix]
        log_prob.append(_log(lower))
        log_backoff.append(_log(rest))
    return Estimates(log_prob, log_backoff, discounts, stand_ins)


def _n_histories(levels: Sequence[Grams]) -> Iterator[int]:
    """How many different n-grams one order lower there are, for each order; the empty one is 1."""
    yield 1
    for grams in levels[:-1]:
        yield len(grams)


def _log(values: np.ndarray) -> np.ndarray:
    """Natural logarithms, float32, never above 0; log 0 is -inf."""
    with np.errstate(divide="ignore"):
        return np.minimum(np.log(values), 0).astype(np.float32)
