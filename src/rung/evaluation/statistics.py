"""How sure a measured bits per byte is: the block bootstrap over held-out text.

A measure is a ratio, sum of nats / (ln 2 x sum of bytes), and held-out text is a sample of the text there
could be. Neighbouring tokens are not independent, so what is drawn again, with replacement, is whole blocks
of text (Künsch 1989; Efron & Tibshirani 1993, chapters 8 and 13): documents where there are many of them,
stretches of about 2,000 bytes where there are few. The 2.5 and 97.5 percentiles over the resamples are the
95% interval.

Two models are compared on the same blocks in the same resamples (paired): a hard block is hard for both, and
that cancels. A difference is larger than the noise when its 95% interval leaves out zero. The noise is that
of the held-out text alone; how much another seed would change a trained model is not in it.

Shapes: N tokens to predict, K blocks. Nats are sums of -log p, so positive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rung.text.stream import TokenStream

MANY_DOCUMENTS = 200
"""From here on documents are the blocks."""

BLOCK_BYTES = 2_000
MIN_BLOCK_BYTES = 100
ENOUGH_BLOCKS = 20
MIN_BLOCKS = 10
"""With fewer blocks a percentile interval is far too narrow, so there is none."""

MAX_BLOCKS = 1_000
"""More would cost time and change nothing; neighbours are put together instead."""

COUNTS_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class Blocks:
    """Held-out text cut into blocks; every token is in exactly one.

    boundaries: (K + 1,) int64, rising from 0 to N. Block k is tokens boundaries[k]:boundaries[k + 1] of the N
        that `LanguageModel.score_stream` scores.
    bytes: (K,) int64, the UTF-8 bytes that each block's tokens spell; document marks spell none.
    """

    boundaries: np.ndarray
    bytes: np.ndarray

    def __len__(self) -> int:
        return len(self.bytes)

    def nats(self, log_probs: np.ndarray) -> np.ndarray:
        """The nats (K,) that each block cost, from the log-probabilities (N,) of `score_stream`."""
        if log_probs.shape != (int(self.boundaries[-1]),):
            raise ValueError(f"log_probs of shape {log_probs.shape} for {self.boundaries[-1]} tokens")
        return -_sums(log_probs, self.boundaries, np.float64)


def blocks(
    stream: TokenStream,
    byte_lengths: np.ndarray,
    *,
    many_documents: int = MANY_DOCUMENTS,
    block_bytes: int = BLOCK_BYTES,
) -> Blocks:
    """Cut held-out text into blocks to draw from.

    With `many_documents` documents or more each is a block (past `MAX_BLOCKS`, neighbours share one). With
    fewer, the text is cut into stretches of about `block_bytes` bytes, shorter ones where that gives fewer
    than 20 blocks, though never shorter than about 100 bytes; a tiny text is one block.

    Args:
        stream: the tokens of the held-out split.
        byte_lengths: (V,) how many bytes each id spells, as in `Tokenizer.byte_lengths`.
        many_documents: from how many documents on they are the blocks.
        block_bytes: the size of a stretch where they are not.
    """
    lengths = byte_lengths[stream.ids[1:]]  # (N,)
    if stream.n_documents >= many_documents:
        step = -(-stream.n_documents // MAX_BLOCKS)
        boundaries = np.append(stream.starts[:-1:step], stream.starts[-1]) - 1
    else:
        boundaries = _cut_by_bytes(lengths, block_bytes)
    return Blocks(boundaries.astype(np.int64), _sums(lengths, boundaries, np.int64))


def bits_per_byte(nats: np.ndarray, bytes: np.ndarray) -> float:
    """The measure itself: total nats / (ln 2 x total bytes)."""
    return float(np.sum(nats) / (np.log(2) * np.sum(bytes)))


def interval(
    nats: np.ndarray, bytes: np.ndarray, *, seed: int = 0, resamples: int = 2_000
) -> tuple[float, float] | None:
    """The 95% bootstrap interval of bits per byte from blocks' nats (K,) and bytes (K,).

    None when there are fewer than `MIN_BLOCKS` blocks, one for instance: nothing honest can be said then.
    """
    if len(nats) < MIN_BLOCKS:
        return None
    columns = np.stack([nats, bytes], axis=1).astype(np.float64)  # (K, 2)
    totals = np.concatenate([counts @ columns for counts in _resample_counts(len(nats), seed, resamples)])
    totals = totals[totals[:, 1] > 0]  # a draw of nothing but empty documents measures nothing
    if not len(totals):
        return None
    low, high = np.quantile(totals[:, 0] / (np.log(2) * totals[:, 1]), [0.025, 0.975])
    return float(low), float(high)


class Difference(NamedTuple):
    """Bits per byte of the second model less the first's; negative = the second is better."""

    difference: float
    ci95: tuple[float, float] | None
    larger_than_noise: bool


def difference(
    nats_from: np.ndarray, nats_to: np.ndarray, bytes: np.ndarray, *, seed: int = 0, resamples: int = 2_000
) -> Difference:
    """Compare two models on the same blocks, paired: every resample draws the same blocks for both.

    Args:
        nats_from: (K,) the nats of the first model.
        nats_to: (K,) the nats of the second.
        bytes: (K,) the bytes of the blocks.
        seed: of the resampling.
        resamples: how often the blocks are drawn again.

    Without an interval (see `interval`) no difference counts as larger than the noise.
    """
    gain = np.asarray(nats_to, np.float64) - np.asarray(nats_from, np.float64)
    ci95 = interval(gain, bytes, seed=seed, resamples=resamples)
    larger = ci95 is not None and (ci95[0] > 0 or ci95[1] < 0)
    return Difference(bits_per_byte(gain, bytes), ci95, larger)


def _cut_by_bytes(lengths: np.ndarray, block_bytes: int) -> np.ndarray:
    """Boundaries of stretches with about equally many bytes; a token is never cut."""
    cumulative = np.cumsum(lengths)
    total = int(cumulative[-1]) if len(cumulative) else 0
    wanted = max(total // block_bytes, min(ENOUGH_BLOCKS, total // MIN_BLOCK_BYTES))
    wanted = min(max(wanted, 1), MAX_BLOCKS)
    cuts = np.searchsorted(cumulative, total * np.arange(1, wanted) / wanted) + 1
    cuts = cuts[cumulative[cuts - 1] < total]  # the last mark alone is no block
    return np.unique(np.concatenate([[0], cuts, [len(lengths)]]))


def _sums(values: np.ndarray, boundaries: np.ndarray, dtype: type) -> np.ndarray:
    """The sum of each block. Boundaries rise strictly: `reduceat` would not give 0 for an empty block."""
    if len(boundaries) < 2:
        return np.empty(0, dtype)
    return np.add.reduceat(values, boundaries[:-1], dtype=dtype)


def _resample_counts(k: int, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """Counts (resamples, K) of how often each block is drawn, in chunks. K draws are one multinomial."""
    rng = np.random.default_rng(seed)
    at_once = max(1, COUNTS_AT_ONCE // k)
    for begin in range(0, resamples, at_once):
        yield rng.multinomial(k, np.full(k, 1 / k), size=min(at_once, resamples - begin)).astype(np.float64)
