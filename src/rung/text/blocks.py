"""Held-out text cut into blocks that can be drawn again: what intervals and comparisons are made of.

Neighbouring tokens are not independent, so what is drawn is whole blocks: documents where there are many of them,
stretches of about 2,000 bytes where there are few (Künsch 1989; `rung.evaluation.statistics`).

Models whose tokenisers differ are compared on the same blocks of bytes: between documents, or where every one of them
ends a token (`common_blocks`).

Shapes: N tokens to predict, K blocks. Nats are sums of -log p, so positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from rung.text.stream import TokenStream

MANY_DOCUMENTS = 200
"""From here on documents are the blocks."""

BLOCK_BYTES = 2_000
MIN_BLOCK_BYTES = 100
ENOUGH_BLOCKS = 20
MAX_BLOCKS = 1_000
"""More would cost time and change nothing; neighbours are put together instead."""


@dataclass(frozen=True)
class Blocks:
    """Held-out text cut into blocks; every token is in exactly one.

    boundaries: (K + 1,) int64, rising from 0 to N. Block k is tokens boundaries[k]:boundaries[k + 1] of the N
        that `LanguageModel.score_stream` scores.
    bytes: (K,) int64, the UTF-8 bytes that each block's tokens spell; document marks spell none.
    """

    boundaries: np.ndarray
    bytes: np.ndarray

    @staticmethod
    def of(byte_counts: np.ndarray, boundaries: np.ndarray) -> Blocks:
        """Blocks with these boundaries of tokens with these byte counts (N,)."""
        return Blocks(boundaries.astype(np.int64), _sums(byte_counts, boundaries, np.int64))

    def __len__(self) -> int:
        return len(self.bytes)

    def nats(self, log_probs: np.ndarray) -> np.ndarray:
        """The nats (K,) that each block cost, from the log-probabilities (N,) of `score_stream`."""
        if log_probs.shape != (int(self.boundaries[-1]),):
            raise ValueError(f"log_probs of shape {log_probs.shape} for {self.boundaries[-1]} tokens")
        return -_sums(log_probs, self.boundaries, np.float64)


def blocks(
    stream: TokenStream,
    byte_counts: np.ndarray,
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
        byte_counts: (N,) how many bytes each of its tokens spells, as from `Tokenizer.byte_counts`.
        many_documents: from how many documents on they are the blocks.
        block_bytes: the size of a stretch where they are not.
    """
    return common_blocks([(stream, byte_counts)], many_documents=many_documents, block_bytes=block_bytes)[0]


def common_blocks(
    streams: Sequence[tuple[TokenStream, np.ndarray]],
    *,
    many_documents: int = MANY_DOCUMENTS,
    block_bytes: int = BLOCK_BYTES,
) -> list[Blocks]:
    """`blocks` of one text as several tokenisers cut it: the same K blocks of bytes for each.

    A stretch of bytes ends where a token ends in every stream, so it is longer where that is seldom.

    Args:
        streams: the documents' tokens and their byte counts, as in `blocks`; the same documents in each.
        many_documents, block_bytes: as in `blocks`.
    """
    first = streams[0][0]
    if first.n_documents >= many_documents:
        step = -(-first.n_documents // MAX_BLOCKS)
        cuts = [np.append(stream.starts[:-1:step], stream.starts[-1]) - 1 for stream, _ in streams]
    else:
        return common_stretches([counts for _, counts in streams], block_bytes)
    return [Blocks.of(counts, at) for (_, counts), at in zip(streams, cuts, strict=True)]


def common_stretches(lengths: Sequence[np.ndarray], block_bytes: int = BLOCK_BYTES) -> list[Blocks]:
    """`common_blocks` of few documents, from nothing but the byte counts (N,) of each stream; a token is never cut."""
    ends = [np.cumsum(row) for row in lengths]
    common = reduce(np.intersect1d, ends) if len(ends) > 1 else ends[0]
    total = int(common[-1]) if len(common) else 0
    wanted = max(total // block_bytes, min(ENOUGH_BLOCKS, total // MIN_BLOCK_BYTES))
    wanted = min(max(wanted, 1), MAX_BLOCKS)
    at = common[np.searchsorted(common, total * np.arange(1, wanted) / wanted)]
    at = np.unique(at[at < total])  # the last mark alone is no block
    return [
        Blocks.of(counts, np.unique(np.concatenate([[0], np.searchsorted(row, at) + 1, [len(row)]])))
        for counts, row in zip(lengths, ends, strict=True)
    ]


def _sums(values: np.ndarray, boundaries: np.ndarray, dtype: type) -> np.ndarray:
    """The sum of each block. Boundaries rise strictly: `reduceat` would not give 0 for an empty block."""
    if len(boundaries) < 2:
        return np.empty(0, dtype)
    return np.add.reduceat(values, boundaries[:-1], dtype=dtype)
