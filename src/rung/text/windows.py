"""A token stream cut into the rows of batches, a pure function of (seed, t).

A row is a window of one document: inputs begin with the token before the window (the document mark for its first),
targets are the window itself, so rows never cross a border between documents. A document that fits is one row. A
longer one is cut every `window` tokens from a random phase, drawn anew each epoch, so the cuts fall elsewhere each
time round. Rows are shuffled within an epoch; each token of the training split is a target once an epoch.

`ContiguousBatches` does the same for recurrent networks that keep their state, trained by truncated backpropagation
through time: row i of a batch goes on where row i of the batch before stopped.
"""

from __future__ import annotations

import numpy as np

from rung.batches import Batch
from rung.text.stream import TokenStream

PADDING = -1
"""The target that is no target: rows of a batch differ in length, and what is short is filled up with it."""


class WindowBatches:
    """Random access to an endless row of batches.

    Args:
        stream: the training split.
        window: the most tokens in a row.
        batch_size: rows in a batch.
        seed: of the phases and the shuffles.
        history: how many inputs each row has to the left of those that its targets follow: tokens of its document,
            and before that marks.
        shard: which rows of each batch are wanted, where several processes share it.
    """

    def __init__(
        self,
        stream: TokenStream,
        window: int,
        batch_size: int,
        seed: int,
        history: int = 0,
        shard: slice = slice(None),
    ) -> None:
        self._ids = stream.ids
        self._starts = np.asarray(stream.starts)
        self._window = window
        self._batch_size = batch_size
        self._seed = seed
        self._history = history
        self._shard = shard
        # Row number at which each epoch begins: how many rows an epoch has depends on its phases.
        self._epoch_begins = [0]
        self._epoch = -1
        self._order = self._begin = self._end = self._start = np.empty(0, np.int64)

    @property
    def rows(self) -> int:
        """How many rows of a full batch are wanted."""
        return len(range(self._batch_size)[self._shard])

    @property
    def tokens_a_row(self) -> float:
        """How many tokens a row has on average: over all phases a document of L tokens is cut into 1 + (L - 1) / window
        rows."""
        length = np.diff(self._starts)
        rows = np.where(length > self._window, 1 + (length - 1) / self._window, 1)
        return float(length.sum() / rows.sum())

    @property
    def epoch_targets(self) -> int:
        """How many targets there are in an epoch: every token of the stream."""
        return len(self._ids) - 1

    def batch(self, t: int) -> Batch:
        """Inputs (B, history + T) and targets (B, T), int64, T at most `window`; beyond a row's end: PADDING."""
        begin, end, start = self._rows(t * self._batch_size, (t + 1) * self._batch_size)
        shard = self._shard
        return Batch(self._gather(begin[shard], end[shard], start[shard]), int((end - begin).sum()))

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


class ContiguousBatches(WindowBatches):
    """Batches whose rows go on from batch to batch, for a network that carries its state along.

    In an epoch the documents are shuffled, cut into rows and laid end to end, and the line of rows is broken into
    `batch_size` streams of equal length. Batch t takes the next row of every stream. A row goes on with the document of
    the row before it, or is `fresh`: it begins a document or, at a stream's beginning, somewhere within one. All
    documents are cut at multiples of one length, drawn anew each epoch between three quarters of the window and all
    of it. Only a document's last row can be shorter, so no filling comes between a row and the one that goes on. A
    stream that has run out by the epoch's last batch has a row of nothing but PADDING there.
    """

    def batch(self, t: int) -> Batch:
        """As of `WindowBatches`, but with always `batch_size` rows, and third which rows (B,) are fresh."""
        rows, there = self._rows_of(t)
        n_targets = int((self._end[rows] - self._begin[rows])[there].sum())
        fresh = (~there | (self._begin[rows] == self._start[rows]) | (rows == self._streams[:-1]))[
            self._shard
        ]
        rows, there = rows[self._shard], there[self._shard]
        nowhere = np.ones(len(rows), np.int64)  # from 1 to 1: no tokens
        picked = (self._begin[rows], self._end[rows], self._start[rows])
        arrays = self._gather(*(np.where(there, part, nowhere) for part in picked))
        return Batch((*arrays, fresh), n_targets)

    def _rows_of(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows (B,) of batch t in its epoch, which is laid out, and whether the stream has one left."""
        epoch = int(np.searchsorted(self._epoch_begins, t, side="right")) - 1
        self._lay_out(epoch)
        while t >= self._epoch_begins[epoch + 1]:
            epoch += 1
            self._lay_out(epoch)
        rows = self._streams[:-1] + t - self._epoch_begins[epoch]
        there = rows < self._streams[1:]
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
        self._streams = len(document) * np.arange(self._batch_size + 1) // self._batch_size
        self._epoch = epoch
        if epoch + 1 == len(self._epoch_begins):
            self._epoch_begins.append(self._epoch_begins[epoch] + int(np.diff(self._streams).max()))


def padded_documents(stream: TokenStream, rows: np.ndarray, window: int | None = None) -> np.ndarray:
    """The tokens (B, T) of some documents without their closing marks, cut to `window`, filled up with PADDING."""
    begin = np.asarray(stream.starts)[rows]
    lengths = np.asarray(stream.starts)[rows + 1] - begin - 1
    if window is not None:
        lengths = np.minimum(lengths, window)
    columns = np.arange(max(int(lengths.max(initial=0)), 1))
    there = columns < lengths[:, None]
    tokens = np.asarray(stream.ids)[np.where(there, begin[:, None] + columns, 0)].astype(np.int64)
    return np.where(there, tokens, PADDING)
