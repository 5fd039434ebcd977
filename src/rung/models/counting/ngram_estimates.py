"""From counted n-grams to probabilities and backoff weights, one function a smoothing.

Interpolated smoothings take some mass off the counts a(h w) of a history h and share it out as the shorter
history h' would:

    P(w | h) = (a(h w) - D(a)) / S(h) + gamma(h) P(w | h')      gamma(h) = what is left over / S(h)

down to the empty history, whose rest goes in equal parts to all V tokens, seen or not.

    kneser-ney   a: at the highest order the count; below it, how many different tokens precede the n-gram,
                 but for n-grams that begin a document, which nothing precedes and which keep their counts.
                 D: three discounts an order. S(h): the sum of a. (Chen and Goodman 1998, as KenLM's lmplz
                 applies it; its counts of counts can be one off an order: on Hamlet by characters they are)
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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rung.models.counting.add_k import leave_one_out_k
from rung.models.counting.discounts import (
    ABSOLUTE_FALLBACK,
    KNESER_NEY_FALLBACK,
    absolute_discount,
    counts_of_counts,
    kneser_ney_discounts,
)
from rung.models.counting.ngram_counts import Grams, pieces_by_parent
from rung.models.counting.workspace import Workspace

Kept = Sequence[np.ndarray] | None
"""For each order, which of its n-grams (G,) pruning leaves; None = all."""


@dataclass(frozen=True)
class Estimates:
    """What smoothing makes of the levels of `count_ngrams`. Logarithms are natural, float32.

    log_prob: for each order k, of every k-gram, (G,).
    log_backoff: for each order k, of every (k-1)-gram as a history, (H,); the empty one's is not used.
    discounts: (N, 3) D_1, D_2, D_3+ an order; 0 where a smoothing has none.
    fallback_orders: the orders whose discounts could not be computed.
    """

    log_prob: list[np.ndarray]
    log_backoff: list[np.ndarray]
    discounts: np.ndarray
    fallback_orders: list[int]

    @staticmethod
    def empty(levels: Sequence[Grams], space: Workspace) -> Estimates:
        """Room for the logarithms; no discounts yet."""
        log_prob = [space.empty(len(grams), np.float32) for grams in levels]
        log_backoff = [space.empty(grams.n_parents, np.float32) for grams in levels]
        return Estimates(log_prob, log_backoff, np.zeros((len(levels), 3)), [])


def kneser_ney(levels: Sequence[Grams], kept: Kept, space: Workspace) -> Estimates:
    """Interpolated modified Kneser-Ney."""
    counts = [_continuations(grams, above, space) for grams, above in pairwise(levels)]
    estimates = Estimates.empty(levels, space)
    _discount(estimates, [*counts, levels[-1].counts], kneser_ney_discounts, KNESER_NEY_FALLBACK, space)
    _interpolate(estimates, levels, [*counts, levels[-1].counts], kept, space, count_followers=False)
    return estimates


def absolute(levels: Sequence[Grams], kept: Kept, space: Workspace) -> Estimates:
    """Interpolated absolute discounting."""
    counts = [grams.counts for grams in levels]
    estimates = Estimates.empty(levels, space)
    _discount(estimates, counts, absolute_discount, ABSOLUTE_FALLBACK, space)
    _interpolate(estimates, levels, counts, kept, space, count_followers=False)
    return estimates


def witten_bell(levels: Sequence[Grams], kept: Kept, space: Workspace) -> Estimates:
    """Interpolated Witten-Bell."""
    estimates = Estimates.empty(levels, space)
    _interpolate(estimates, levels, [grams.counts for grams in levels], kept, space, count_followers=True)
    return estimates


def add_k(levels: Sequence[Grams], k: float, space: Workspace) -> Estimates:
    """Add-k over the histories that count; shorter ones leave all tokens equally likely."""
    vocab_size = len(levels[0])
    estimates = Estimates.empty(levels, space)
    for grams, log_prob, log_backoff in zip(levels, estimates.log_prob, estimates.log_backoff, strict=True):
        for piece, parents in pieces_by_parent(grams, space):
            whole, counts, total, child_of = _complete_histories(grams, piece, parents, len(levels))
            smoothed = (counts + k) / (total + k * vocab_size)[child_of]
            log_prob[piece] = _log(np.where(whole, smoothed, 1 / vocab_size))
            log_backoff[parents] = _log(k * vocab_size / (total + k * vocab_size))
    return estimates


def best_k(levels: Sequence[Grams], space: Workspace) -> float:
    """The k that add-k smoothing does best with on the training text, each token left out in turn."""
    counts_seen: dict[int, int] = {}
    totals_seen: dict[int, int] = {}
    for grams in levels:
        for piece, parents in pieces_by_parent(grams, space):
            whole, counts, total, _ = _complete_histories(grams, piece, parents, len(levels))
            _tally(counts[whole & (counts > 0)], counts_seen)
            _tally(total[total > 0].astype(np.int64), totals_seen)
    return leave_one_out_k(counts_seen, totals_seen, len(levels[0]))


def maximum_likelihood(levels: Sequence[Grams], space: Workspace) -> Estimates:
    """Relative frequencies; a history that was seen leaves nothing to other tokens."""
    return _relative_frequencies(levels, 0.0, space)


def stupid_backoff(levels: Sequence[Grams], space: Workspace) -> Estimates:
    """Relative frequencies; the cost of backing off depends on the history's length, so it isn't stored."""
    return _relative_frequencies(levels, 1.0, space)


def _continuations(grams: Grams, above: Grams, space: Workspace) -> np.ndarray:
    """How many different tokens precede each n-gram, (G,); those that begin a document keep their counts."""
    continuations = space.zeros(len(grams), grams.counts.dtype)
    if space.in_memory:
        continuations += np.bincount(above.suffix, minlength=len(grams))
    else:
        for piece in space.pieces(len(above)):
            suffixes, n = np.unique(above.suffix[piece], return_counts=True)
            continuations[suffixes] += n
    for piece in space.pieces(len(grams)):
        np.copyto(continuations[piece], grams.counts[piece], where=grams.starts_document[piece])
    return continuations


def _discount(
    estimates: Estimates,
    counts: Sequence[np.ndarray],
    discounts_of: Callable[[Sequence[int]], np.ndarray | None],
    fallback: np.ndarray,
    space: Workspace,
) -> None:
    """Fill in the discounts of every order that has n-grams."""
    for level, level_counts in enumerate(counts):
        tallies = np.zeros(4, np.int64)
        seen = False
        for piece in space.pieces(len(level_counts)):
            tallies += counts_of_counts(level_counts[piece])
            seen = seen or bool(level_counts[piece].any())
        if seen:
            computed = discounts_of(tallies.tolist())
            estimates.discounts[level] = fallback if computed is None else computed
            if computed is None:
                estimates.fallback_orders.append(level + 1)


def _interpolate(
    estimates: Estimates,
    levels: Sequence[Grams],
    counts: Sequence[np.ndarray],
    kept: Kept,
    space: Workspace,
    *,
    count_followers: bool,
) -> None:
    """Fill in the logarithms, order by order: each n-gram's own share, and its part of what its history leaves.

    With `count_followers` a history's total is larger by the number of different tokens seen after it, and these
    are left over too.
    """
    lower = np.array([1 / len(levels[0])])  # probabilities one order lower
    for level, grams in enumerate(levels):
        off_by_count = np.concatenate([[0.0], estimates.discounts[level]])
        probabilities = space.empty(len(grams), np.float64)
        for piece, parents in pieces_by_parent(grams, space):
            count = counts[level][piece]
            off = off_by_count[np.minimum(count, 3)]
            child_of = grams.parent[piece] - parents.start
            n_parents = parents.stop - parents.start
            total = np.bincount(child_of, count, n_parents)
            rest = np.bincount(
                child_of, off if kept is None else np.where(kept[level][piece], off, count), n_parents
            )
            if count_followers:
                followers = np.bincount(child_of[count > 0], minlength=n_parents)
                total, rest = total + followers, rest + followers
            nonzero = np.where(total > 0, total, 1.0)
            left = np.where(total > 0, rest / nonzero, 1.0)  # all is left where nothing follows a history
            below = lower[grams.suffix[piece]]
            probabilities[piece] = (count - off) / nonzero[child_of] + left[child_of] * below
            estimates.log_prob[level][piece] = _log(probabilities[piece])
            estimates.log_backoff[level][parents] = _log(left)
        lower = probabilities


def _complete_histories(
    grams: Grams, piece: slice, parents: slice, order: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Which n-grams (G,) of a piece have a history n - 1 tokens long or one that begins a document; their counts (G,);
    how often each history (H,) of that kind occurs, 0 for others; and the history of each n-gram (G,)."""
    counts = grams.counts[piece]
    whole = grams.starts_document[piece] | (grams.order == order)
    child_of = grams.parent[piece] - parents.start
    total = np.bincount(child_of, np.where(whole, counts, 0), parents.stop - parents.start)
    return whole, counts, total, child_of


def _relative_frequencies(levels: Sequence[Grams], rest_of_seen: float, space: Workspace) -> Estimates:
    estimates = Estimates.empty(levels, space)
    for grams, log_prob, log_backoff in zip(levels, estimates.log_prob, estimates.log_backoff, strict=True):
        for piece, parents in pieces_by_parent(grams, space):
            child_of = grams.parent[piece] - parents.start
            total = np.bincount(child_of, grams.counts[piece], parents.stop - parents.start)
            log_prob[piece] = _log(grams.counts[piece] / np.maximum(total, 1)[child_of])
            log_backoff[parents] = _log(np.where(total > 0, rest_of_seen, 1.0))
    if not levels[0].counts.any():  # no text at all
        estimates.log_prob[0][:] = -np.log(len(levels[0]))
    return estimates


def _tally(values: np.ndarray, seen: dict[int, int]) -> None:
    """Add to `seen` how often each value occurs."""
    for value, n in zip(*(a.tolist() for a in np.unique(values, return_counts=True)), strict=True):
        seen[value] = seen.get(value, 0) + n


def _log(values: np.ndarray) -> np.ndarray:
    """Natural logarithms, float32, never above 0; log 0 is -inf."""
    with np.errstate(divide="ignore"):
        return np.minimum(np.log(values), 0).astype(np.float32)
