"""What the documents of a text cost several models, summed up as they are read, and in the same pieces for all.

Where there are many documents, memory holds a number or two for each of them. Where there are few, they are cut into
stretches, for which it holds two for each token.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rung.text.blocks import MANY_DOCUMENTS, MAX_BLOCKS, common_stretches
from rung.text.stream import TokenStream
from rung.text.tokenizers import Tokenizer


class Costs:
    """What one model is charged.

    Attributes:
        nats, bytes: of each document.
        units: of each document, in what the tokeniser is measured by: its bytes, or its words and its mark.
        tokens: of all, closing marks included.
        unknown, unknown_nats: how many of them are unknown words, and their share of the nats; None where the
            tokeniser has no such thing.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._each: list[tuple[np.ndarray, np.ndarray]] | None = (
            [] if tokenizer.lossless and tokenizer.unit == "byte" else None
        )
        self.nats: list[float] = []
        self.bytes: list[int] = []
        self.units = self.bytes if tokenizer.unit == "byte" else []
        self.tokens = 0
        self.unknown = None if tokenizer.unknown is None else 0
        self.unknown_nats = 0.0

    def add(
        self, log_prob: np.ndarray, n_bytes: np.ndarray, stream: TokenStream, log_probs: np.ndarray
    ) -> None:
        """Take in documents: log_prob (D,) and n_bytes (D,) of each, and log_probs (N,) of the stream's tokens."""
        self.nats += (-log_prob).tolist()
        self.bytes += n_bytes.tolist()
        if self.units is not self.bytes:
            self.units += np.diff(stream.starts).tolist()
        self.tokens += stream.n_tokens
        if self.unknown is not None:
            is_unknown = stream.ids[1:] == self._tokenizer.unknown
            self.unknown_nats -= float(log_probs[is_unknown].sum(dtype=np.float64))
            self.unknown += int(is_unknown.sum())
        if len(self.nats) >= MANY_DOCUMENTS:
            self._each = None
        if self._each is not None:
            counts = self._tokenizer.byte_counts(stream.ids).astype(np.int32)
            self._each.append((counts, log_probs.astype(np.float32)))

    @property
    def each(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Of every token the bytes (N,) and the log-probability (N,); None where documents are all that is known."""
        if not self._each:
            return None
        counts, log_probs = zip(*self._each, strict=True)
        return np.concatenate(counts), np.concatenate(log_probs)


def common_costs(costs: Sequence[Costs]) -> list[tuple[np.ndarray, np.ndarray]]:
    """What each model paid for the same K pieces of a text: of each its units (K,) and nats (K,).

    The pieces are documents, neighbours together where there are very many, or stretches of few documents that end
    where every model ends a token (`rung.text.blocks`).
    """
    each = [cost.each for cost in costs]
    tokens = [found for found in each if found is not None]
    if len(tokens) == len(each):
        cut = common_stretches([counts for counts, _ in tokens])
        return [
            (blocks.bytes, blocks.nats(log_probs)) for blocks, (_, log_probs) in zip(cut, tokens, strict=True)
        ]
    n = len(costs[0].nats)
    first = np.arange(0, n, -(-n // MAX_BLOCKS))
    return [
        (np.add.reduceat(np.array(cost.units), first), np.add.reduceat(np.array(cost.nats), first))
        for cost in costs
    ]
