"""How sure a measured bits per byte is: the block bootstrap over held-out text.

A measure is a ratio, sum of nats / (ln 2 x sum of bytes), and held-out text is a sample of the text there
could be. Neighbouring tokens are not independent, so what is drawn again, with replacement, is whole blocks
of text (Künsch 1989; Efron & Tibshirani 1993, chapters 8 and 13): documents where there are many of them,
stretches of about 2,000 bytes where there are few. The 2.5 and 97.5 percentiles over the resamples are the
95% interval.

Two models are compared on the same blocks in the same resamples (paired): a hard block is hard for both, and
that cancels. A difference is larger than the noise when its 95% interval leaves out zero and what is
rounding's (ROUNDING). The noise is that
of the held-out text alone; how much another seed would change a trained model is not in it: `seed_noise` is for
that, where several were trained.

Shapes: N tokens to predict, K blocks. Nats are sums of -log p, so positive.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

MIN_BLOCKS = 10
"""With fewer blocks a percentile interval is far too narrow, so there is none."""

ROUNDING = 1e-6
"""Bits per unit below which a difference may be the rounding of float32 log-probabilities, however sure it looks."""

COUNTS_AT_ONCE = 1 << 21

MOST_PIECES = 10_000

FLIPS = 10_000
"""Draws of a p-value; none can be below 1 / (FLIPS + 1)."""


def bits_per_byte(nats: np.ndarray, bytes: np.ndarray) -> float:
    """The measure itself: total nats / (ln 2 x total bytes)."""
    return float(np.sum(nats) / (np.log(2) * np.sum(bytes)))


def bootstrap_interval(
    nats: np.ndarray, bytes: np.ndarray, *, seed: int = 0, resamples: int = 2_000
) -> tuple[float, float] | None:
    """The 95% bootstrap interval of bits per byte from blocks' nats (K,) and bytes (K,).

    None when there are fewer than `MIN_BLOCKS` blocks, one for instance, or one costs infinitely much: nothing honest
    can be said then.
    """
    if len(nats) < MIN_BLOCKS or not np.isfinite(nats).all():
        return None
    columns = np.stack([nats, bytes], axis=1).astype(np.float64)  # (K, 2)
    totals = np.concatenate([counts @ columns for counts in _resample_counts(len(nats), seed, resamples)])
    totals = totals[totals[:, 1] > 0]  # a draw of nothing but empty documents measures nothing
    if not len(totals):
        return None
    low, high = np.quantile(totals[:, 0] / (np.log(2) * totals[:, 1]), [0.025, 0.975])
    return float(low), float(high)


def gathered(*columns: np.ndarray, most: int = MOST_PIECES) -> list[np.ndarray]:
    """Columns (K,) of sums, neighbours put together so that there are at most `most`; more would only cost time."""
    step = -(-len(columns[0]) // most) or 1
    return [
        np.add.reduceat(column, np.arange(0, len(column), step)) if step > 1 else column for column in columns
    ]


class Difference(NamedTuple):
    """Bits per byte of the second model less the first's; negative = the second is better."""

    difference: float
    ci95: tuple[float, float] | None
    larger_than_noise: bool


def paired_bootstrap(
    nats_from: np.ndarray, nats_to: np.ndarray, bytes: np.ndarray, *, seed: int = 0, resamples: int = 2_000
) -> Difference:
    """Compare two models on the same blocks, paired: every resample draws the same blocks for both.

    Args:
        nats_from: (K,) the nats of the first model.
        nats_to: (K,) the nats of the second.
        bytes: (K,) the bytes of the blocks.
        seed: of the resampling.
        resamples: how often the blocks are drawn again.

    Without an interval (see `bootstrap_interval`) no difference counts as larger than the noise.
    """
    gain = np.asarray(nats_to, np.float64) - np.asarray(nats_from, np.float64)
    ci95 = bootstrap_interval(gain, bytes, seed=seed, resamples=resamples)
    larger = ci95 is not None and (ci95[0] > ROUNDING or ci95[1] < -ROUNDING)
    return Difference(bits_per_byte(gain, bytes), ci95, larger)


def paired_p_value(nats_from: np.ndarray, nats_to: np.ndarray, *, seed: int = 0) -> float | None:
    """The two-sided p-value of the paired randomisation test: were the two models as good as each other?

    If they were, each block's difference could as well have had the other sign (Noreen 1989). The value is the share,
    among `FLIPS` draws of signs and the one that was found, of sums at least as far from 0 (Phipson & Smyth 2010).
    None with fewer than `MIN_BLOCKS` blocks, as in `bootstrap_interval`.

    Args:
        nats_from, nats_to: (K,) the nats of the two models on the same blocks.
        seed: of the draws.
    """
    gain = np.asarray(nats_to, np.float64) - np.asarray(nats_from, np.float64)
    k = len(gain)
    if k < MIN_BLOCKS or not np.isfinite(gain).all():
        return None
    rng = np.random.default_rng(seed)
    at_once = max(1, COUNTS_AT_ONCE // k)
    found, rounding = abs(gain.sum()), 1e-12 * np.abs(gain).sum()
    as_far = 0
    for begin in range(0, FLIPS, at_once):
        flipped = rng.integers(0, 2, size=(min(at_once, FLIPS - begin), k), dtype=np.int8).astype(np.float64)
        as_far += int((np.abs((2 * flipped - 1) @ gain) >= found - rounding).sum())
    return (as_far + 1) / (FLIPS + 1)


class SeedNoise(NamedTuple):
    """What the seeds leave open of a difference between two means: its standard error, and a two-sided p-value."""

    standard_error: float
    p: float


def seed_noise(
    ones: np.ndarray, others: np.ndarray, *, fixed: tuple[bool, bool] = (False, False)
) -> SeedNoise | None:
    """Welch's t-test (1947) between the measures of two models' seeds, each on the whole text.

    Args:
        ones, others: (n,) and (m,) a measure a seed.
        fixed: which of the two no seed changes, as it only counts: its measure is exact, and the test that of one mean.

    None where nothing can be known: one seed of a model that another seed would change.
    """
    shares, freedom = [], []
    for values, exact in ((ones, fixed[0]), (others, fixed[1])):
        if exact:
            continue
        if len(values) < 2:
            return None
        shares.append(float(np.var(values, ddof=1)) / len(values))
        freedom.append(len(values) - 1)
    error = float(np.sqrt(sum(shares)))
    gap = abs(float(np.mean(others)) - float(np.mean(ones)))
    if error == 0:
        return SeedNoise(0.0, 0.0 if gap > ROUNDING else 1.0)
    df = sum(shares) ** 2 / sum(share**2 / n for share, n in zip(shares, freedom, strict=True))
    return SeedNoise(error, _two_sided_t(gap / error, df))


def _two_sided_t(t: float, df: float) -> float:
    """P(|T| >= t) of Student's t with df >= 1, by t = sqrt(df) tan a, which makes the density cos(a) ** (df - 1)."""
    angles = np.linspace(0, np.pi / 2, 20_001)
    density = np.cos(angles) ** (df - 1)
    tail = np.linspace(np.arctan(t / np.sqrt(df)), np.pi / 2, 20_001)
    return float(np.trapezoid(np.cos(tail) ** (df - 1), tail) / np.trapezoid(density, angles))


def _resample_counts(k: int, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """Counts (resamples, K) of how often each block is drawn, in chunks. K draws are one multinomial."""
    rng = np.random.default_rng(seed)
    at_once = max(1, COUNTS_AT_ONCE // k)
    for begin in range(0, resamples, at_once):
        yield rng.multinomial(k, np.full(k, 1 / k), size=min(at_once, resamples - begin)).astype(np.float64)
