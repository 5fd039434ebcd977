"""Batches of several texts, each with its share of the tokens: `rung.text.windows`, a text at a time.

Every text has rows of its own, shuffled and cut anew each epoch of that text. Which text a row is of is a function of
its number alone: the fraction of number x golden ratio, which spreads evenly however long one counts (Weyl 1916), falls
into a text's part of [0, 1). Parts are shares of rows, so that tokens come out as wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from rung.batches import Batch
from rung.errors import UserError
from rung.text.mixture import allotted
from rung.text.stream import TokenStream
from rung.text.windows import PADDING, ContiguousBatches, WindowBatches

GOLDEN = (5**0.5 - 1) / 2
COUNTED_AT_ONCE = 1 << 16


class MixedWindowBatches(WindowBatches):
    """Random access to an endless row of batches, each of rows of several texts.

    Args:
        borders: (S + 1,) which documents of the stream are of which text.
        shares: (S,) of the tokens, adding up to 1.
    """

    def __init__(
        self,
        stream: TokenStream,
        window: int,
        batch_size: int,
        seed: int,
        history: int = 0,
        shard: slice = slice(None),
        *,
        borders: Sequence[int],
        shares: Sequence[float],
    ) -> None:
        super().__init__(stream, window, batch_size, seed, history, shard)
        self._own = [
            WindowBatches(part, window, batch_size, seed, history) for part in _parts(stream, borders)
        ]
        per_row = np.array([own.tokens_a_row for own in self._own])
        rows = np.array(shares) / per_row
        self._ends = np.cumsum(rows / rows.sum())[:-1]
        self._counts = [np.zeros(len(self._own), np.int64)]  # of each text before row i x COUNTED_AT_ONCE

    def _texts_of(self, first: int, last: int) -> np.ndarray:
        """Which text each of the rows first..last - 1 is of."""
        return np.searchsorted(self._ends, np.arange(first + 1, last + 1) * GOLDEN % 1.0, side="right")

    def _before(self, row: int) -> np.ndarray:
        """How many of the rows before `row` are of each text, (S,)."""
        blocks, rest = divmod(row, COUNTED_AT_ONCE)
        while len(self._counts) <= blocks:
            begin = (len(self._counts) - 1) * COUNTED_AT_ONCE
            self._counts.append(self._counts[-1] + self._tally(begin, begin + COUNTED_AT_ONCE))
        return self._counts[blocks] + self._tally(row - rest, row)

    def _tally(self, first: int, last: int) -> np.ndarray:
        return np.bincount(self._texts_of(first, last), minlength=len(self._own))

    def _rows(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        which, before = self._texts_of(first, last), self._before(first)
        out = (
            np.empty(last - first, np.int64),
            np.empty(last - first, np.int64),
            np.empty(last - first, np.int64),
        )
        for text, own in enumerate(self._own):
            places = np.flatnonzero(which == text)
            if len(places):
                rows = own._rows(int(before[text]), int(before[text]) + len(places))
                for whole, part in zip(out, rows, strict=True):
                    whole[places] = part
        return out


class MixedContiguousBatches(ContiguousBatches):
    """The same for a network that carries its state: of the rows of every batch each text has its share, one at least.

    Raises UserError when a batch has fewer rows than there are texts.
    """

    def __init__(
        self,
        stream: TokenStream,
        window: int,
        batch_size: int,
        seed: int,
        history: int = 0,
        shard: slice = slice(None),
        *,
        borders: Sequence[int],
        shares: Sequence[float],
    ) -> None:
        super().__init__(stream, window, batch_size, seed, history, shard)
        if batch_size < len(shares):
            raise UserError(
                f"--batch-size {batch_size} has no row for each of {len(shares)} texts; give {len(shares)} or more"
            )
        self._own = [
            ContiguousBatches(part, window, rows, seed, history)
            for part, rows in zip(_parts(stream, borders), allotted(shares, batch_size), strict=True)
        ]

    def batch(self, t: int) -> Batch:
        batches = [own.batch(t) for own in self._own]
        n_targets = sum(batch.n_targets for batch in batches)
        inputs, targets, fresh = zip(*(batch.arrays for batch in batches), strict=True)
        arrays = _stacked(inputs, 0), _stacked(targets, PADDING), np.concatenate(fresh)
        return Batch(tuple(array[self._shard] for array in arrays), n_targets)


def _parts(stream: TokenStream, borders: Sequence[int]) -> list[TokenStream]:
    """The documents of each text, in the ids of the whole."""
    return [TokenStream(stream.ids, stream.starts[begin : end + 1]) for begin, end in pairwise(borders)]


def _stacked(arrays: Sequence[np.ndarray], filling: int) -> np.ndarray:
    """Rows of several widths, filled up at their ends."""
    width = max(array.shape[1] for array in arrays)
    return np.concatenate(
        [np.pad(array, ((0, 0), (0, width - array.shape[1])), constant_values=filling) for array in arrays]
    )
