"""Rows of text with hidden tokens, cut from a stream: what a masked language model is trained on.

A row is a stretch of one document. A document that fits is one row; a longer one is cut every `window` tokens from a
random phase, drawn anew each epoch, so cuts fall elsewhere each time round, and other tokens are hidden: the masks of a
row are a function of (seed, its number), and rows are numbered on from epoch to epoch.

With pairs a row is two stretches, the document mark between them. In one of each two rows, numbers 2j and 2j + 1, by a
coin, the second is what follows the first in its document; in the other it comes from another document, or where there
is but one from elsewhere in it. (Devlin et al. 2018, arXiv:1810.04805, section 3.1, task 2.)
"""

from __future__ import annotations

import numpy as np

from rung.batches import Batch
from rung.text.masking import CHOSEN, PADDING, Masking
from rung.text.stream import TokenStream

_MASKS, _COINS = 1, 2
"""What a seed is for, beside order and phases."""
SHORTEST_PAIR = 4
"""A stretch of fewer tokens is not cut in two."""


class MaskedBatches:
    """Random access to an endless row of batches.

    Args:
        stream: the training part.
        masking: which tokens are hidden.
        window: the most tokens in a row, what stands between two stretches included.
        batch_size: rows in a batch.
        seed: of all chance.
        shard: which rows of each batch are wanted, where several processes share it.
        pairs: whether a row is two stretches.
    """

    def __init__(
        self,
        stream: TokenStream,
        masking: Masking,
        window: int,
        batch_size: int,
        seed: int,
        shard: slice = slice(None),
        *,
        pairs: bool = False,
    ) -> None:
        self._ids = stream.ids
        starts = np.asarray(stream.starts)
        self._document_begins, self._document_ends = starts[:-1], starts[1:] - 1  # without the closing mark
        self._masking, self._window, self._pairs = masking, window - pairs, pairs
        self._batch_size, self._seed, self._shard = batch_size, seed, shard
        self._epoch_begins = [0]
        self._epoch = -1
        self._begin = self._end = self._document = np.empty(0, np.int64)

    @property
    def rows(self) -> int:
        """How many rows of a batch are wanted."""
        return len(range(self._batch_size)[self._shard])

    @property
    def epoch_targets(self) -> int:
        """About how many tokens are hidden in an epoch."""
        return max(1, round(CHOSEN * int((self._document_ends - self._document_begins).sum())))

    def batch(self, t: int) -> Batch:
        """Texts (B, T) and targets (B, T), int64, filled up with PADDING; with pairs a third, (B,): 0 where the second
        follows the first, 1 where not, PADDING where a stretch was too short to be two."""
        made = [self._row(place) for place in range(t * self._batch_size, (t + 1) * self._batch_size)]
        n_targets = sum(len(places) for _, places, _, _ in made)
        wanted = made[self._shard]
        texts = np.full((len(wanted), max(len(text) for text, *_ in wanted)), PADDING, np.int64)
        targets = texts.copy()
        for row, (text, places, right, _) in enumerate(wanted):
            texts[row, : len(text)] = text
            targets[row, places] = right
        follows = (np.array([other for *_, other in wanted]),) if self._pairs else ()
        return Batch((texts, targets, *follows), max(n_targets, 1))

    def _row(self, place: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Row number `place`: its tokens, where some are to be guessed, what is right there, and whether its second
        stretch is another's, 1 or 0; PADDING where it has none."""
        begin, end, document = self._place(place)
        rng = np.random.default_rng([self._seed, _MASKS, place])
        ids, other = np.asarray(self._ids[begin:end]).astype(np.int64), PADDING
        if self._pairs and len(ids) >= SHORTEST_PAIR:
            coin = np.random.default_rng([self._seed, _COINS, place // 2]).integers(2)
            other = int(place % 2 != coin)
            cut = self._cut(ids, rng)
            second = self._elsewhere(begin, end, document, len(ids) - cut, rng) if other else ids[cut:]
            ids = np.concatenate([ids[:cut], self._ids[:1].astype(np.int64), second])
        places = self._masking.choose(ids, rng)
        return self._masking.corrupted(ids, places, rng), places, ids[places], other

    def _cut(self, ids: np.ndarray, rng: np.random.Generator) -> int:
        """Where a stretch is cut in two: near a place in its middle half, before a word."""
        wanted = int(rng.integers(len(ids) // 4, len(ids) - len(ids) // 4)) or 1
        starts = np.flatnonzero(self._masking.word_starts(ids))[1:]
        return int(starts[np.argmin(np.abs(starts - wanted))]) if len(starts) else wanted

    def _elsewhere(
        self, begin: int, end: int, document: int, length: int, rng: np.random.Generator
    ) -> np.ndarray:
        """At most `length` tokens of another document, drawn by length; of the only one, outside of begin..end - 1."""
        borders = np.cumsum(self._document_ends - self._document_begins)
        own = (borders[document - 1] if document else 0, borders[document])
        if borders[-1] > own[1] - own[0]:
            at = int(rng.integers(0, borders[-1] - (own[1] - own[0])))
            at += int(own[1] - own[0]) if at >= own[0] else 0
            document = int(np.searchsorted(borders, at, side="right"))
            first, last = self._document_begins[document], self._document_ends[document]
            at = first + at - (borders[document - 1] if document else 0)
        else:
            first, last = max(
                (self._document_begins[0], begin), (end, self._document_ends[0]), key=lambda p: p[1] - p[0]
            )
            at = first + rng.integers(0, max(1, last - first))
        at = max(first, min(at, last - length))
        return np.asarray(self._ids[at : min(at + length, last)]).astype(np.int64)

    def _place(self, place: int) -> tuple[int, int, int]:
        """Where a row begins and ends in the stream, and the number of its document."""
        epoch = int(np.searchsorted(self._epoch_begins, place, side="right")) - 1
        self._lay_out(epoch)
        while place >= self._epoch_begins[epoch + 1]:
            epoch += 1
            self._lay_out(epoch)
        row = place - self._epoch_begins[epoch]
        return int(self._begin[row]), int(self._end[row]), int(self._document[row])

    def _lay_out(self, epoch: int) -> None:
        """Cut and shuffle one epoch."""
        if epoch == self._epoch:
            return
        rng = np.random.default_rng([self._seed, 0, epoch])
        start, stop = self._document_begins, self._document_ends
        length = stop - start
        window = self._window
        phase = np.where(length > window, rng.integers(1, window + 1, len(length)), length)
        rows = 1 + -(-(length - phase) // window)
        document = np.repeat(np.arange(len(rows)), rows)
        within = np.arange(len(document)) - np.repeat(np.cumsum(rows) - rows, rows)
        end = start[document] + phase[document] + within * window
        begin = np.where(within == 0, start[document], end - window)
        order = rng.permutation(len(document))
        self._begin, self._end = begin[order], np.minimum(end, stop[document])[order]
        self._document, self._epoch = document[order], epoch
        if epoch + 1 == len(self._epoch_begins):
            self._epoch_begins.append(self._epoch_begins[epoch] + len(document))
