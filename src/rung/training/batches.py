"""Batches as a pure function of (seed, t): batch number t is the same whoever asks for it, and whenever.

A row is a window of one document: inputs begin with the token before the window (the document mark for its first),
targets are the window itself, so rows never cross a border between documents. A document that fits is one row. A
longer one is cut every `window` tokens from a random phase, drawn anew each epoch, so the cuts fall elsewhere each
time round. Rows are shuffled within an epoch; each token of the training split is a target once an epoch.

`Lanes` does the same for networks that remember: row i of a batch goes on where row i of the batch before stopped.
"""

from __future__ import annotations

import numpy as np

from rung.text.stream import TokenStream

PADDING = -1
"""The target that is no target: rows of a batch differ in length, and what is short is filled up with it."""


class Batches:
    """Random access to an endless row of batches.

    Args:
        stream: the training split.
        window: the most tokens in a row.
        batch_size: rows in a batch.
        seed: of the phases and the shuffles.
        history: how many inputs each row has to the left of those that its targets follow: tokens of its document,
            and before that marks.
        mine: which rows of each batch are wanted, where several processes share it.
    """

    def __init__(
        self,
        stream: TokenStream,
        window: int,
        batch_size: int,
        seed: int,
        history: int = 0,
        mine: slice = slice(None),
    ) -> None:
        self._ids = stream.ids
        self._starts = np.asarray(stream.starts)
        self._window = window
        self._batch_size = batch_size
        self._seed = seed
        self._history = history
        self._mine = mine
        # Row number at which each epoch begins: how many rows an epoch has depends on its phases.
        self._epoch_begins = [0]
        self._epoch = -1
        self._order = self._begin = self._end = self._start = np.empty(0, np.int64)

    def batch(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (B, history + T) and targets (B, T), int64, T at most `window`; beyond a row's end: PADDING."""
        begin, end, start = self._rows(t * self._batch_size, (t + 1) * self._batch_size)
        return self._gather(begin[self._mine], end[self._mine], start[self._mine])

    def n_targets(self, t: int) -> int:
        """How many targets the whole of batch t has, whoever has its rows."""
        begin, end, _ = self._rows(t * self._batch_size, (t + 1) * self._batch_size)
        return int((end - begin).sum())

    def _gather(self, begin: np.ndarray, end: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The batch of the rows begin..end - 1 of the stream, whose documents start at `start`."""
        lengths = end - begin
        columns = np.arange(lengths.max())
        positions = np.minimum(begin[:, None] + columns, end[:, None] - 1)
        targets = self._ids[positions].astype(np.int64)
        targets[columns >= lengths[:, None]] = PADDING
        if self._history:
            before = begin[:, None] + np.arange(-self._history, 0)
            positions = np.concatenate([np.maximum(before, start[:, None]), positions], axis=1)
        return self._ids[positions - 1].astype(np.int64), targets

    def _rows(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where rows first..last-1 begin and end in the stream, and where their documents start; epochs may change."""
        begins, ends, starts = [], [], []
        while first < last:
            epoch = int(np.searchsorted(self._epoch_begins, first, side="right")) - 1
            self._lay_out(epoch)
            offset = first - self._epoch_begins[epoch]
            rows = self._order[offset : offset + last - first]
            begins.append(self._begin[rows])
            ends.append(self._end[rows])
            starts.append(self._start[rows])
            first += len(rows)
        return np.concatenate(begins), np.concatenate(ends), np.concatenate(starts)

    def _lay_out(self, epoch: int) -> None:
        """Cut and shuffle one epoch; epochs before it were laid out when their first row was asked for."""
        if epoch == self._epoch:
            return
        rng = np.random.default_rng([self._seed, epoch])
        start, stop = self._starts[:-1], self._starts[1:]
        length = stop - start
        phase = np.where(length > self._window, rng.integers(1, self._window + 1, len(length)), length)
        rows = 1 + -(-(length - phase) // self._window)
        document = np.repeat(np.arange(len(rows)), rows)
        within = np.arange(len(document)) - np.repeat(np.cumsum(rows) - rows, rows)
        # Row 0 of a document ends at its phase; row j ends j windows later, or where the document does.
        end = start[document] + phase[document] + within * self._window
        self._begin = np.where(within == 0, start[document], end - self._window)
        self._end = np.minimum(end, stop[document])
        self._start = start[document]
        self._order = rng.permutation(len(document))
        self._epoch = epoch
        if epoch + 1 == len(self._epoch_begins):
            self._epoch_begins.append(self._epoch_begins[epoch] + len(document))


class Lanes(Batches):
    """Batches whose rows go on from batch to batch, for a network that carries its state along.

    In an epoch the documents are shuffled, cut into rows and laid end to end, and the line of rows is broken into
    `batch_size` lanes of equal length. Batch t takes the next row of every lane. A row goes on with the document of
    the row before it, or is `fresh`: it begins a document or, at a lane's beginning, somewhere within one. All
    documents are cut at multiples of one length, drawn anew each epoch between three quarters of the window and all
    of it. Only a document's last row can be shorter, so no filling comes between a row and the one that goes on. A
    lane that has run out by the epoch's last batch has a row of nothing but PADDING there.
    """

    def fresh(self, t: int) -> np.ndarray:
        """Which rows (B,) of batch t do not go on from batch t - 1."""
        rows, there = self._rows_of(t)
        begin = self._begin[rows]
        return (~there | (begin == self._start[rows]) | (rows == self._lanes[:-1]))[self._mine]

    def n_targets(self, t: int) -> int:
        rows, there = self._rows_of(t)
        return int((self._end[rows] - self._begin[rows])[there].sum())

    def batch(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """As of `Batches`, but with always `batch_size` rows."""
        rows, there = (part[self._mine] for part in self._rows_of(t))
        nowhere = np.ones(len(rows), np.int64)  # from 1 to 1: no tokens
        picked = (self._begin[rows], self._end[rows], self._start[rows])
        return self._gather(*(np.where(there, part, nowhere) for part in picked))

    def _rows_of(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows (B,) of batch t in its epoch, which is laid out, and whether the lane has one left."""
        epoch = int(np.searchsorted(self._epoch_begins, t, side="right")) - 1
        self._lay_out(epoch)
        while t >= self._epoch_begins[epoch + 1]:
            epoch += 1
            self._lay_out(epoch)
        rows = self._lanes[:-1] + t - self._epoch_begins[epoch]
        there = rows < self._lanes[1:]
        return np.where(there, rows, 0), there

    def _lay_out(self, epoch: int) -> None:
        if epoch == self._epoch:
            return
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(len(self._starts) - 1)
        start, stop = self._starts[:-1][order], self._starts[1:][order]
        length = stop - start
        size = self._window - int(rng.integers(0, self._window // 4 + 1))
        rows = -(-length // size)
        document = np.repeat(np.arange(len(rows)), rows)
        within = np.arange(len(document)) - np.repeat(np.cumsum(rows) - rows, rows)
        self._start = start[document]
        self._begin = self._start + within * size
        self._end = np.minimum(self._begin + size, stop[document])
        self._lanes = len(document) * np.arange(self._batch_size + 1) // self._batch_size
        self._epoch = epoch
        if epoch + 1 == len(self._epoch_begins):
            self._epoch_begins.append(self._epoch_begins[epoch] + int(np.diff(self._lanes).max()))
