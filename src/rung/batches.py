"""What a training loop is fed with: batch number t is the same whoever asks for it, and whenever."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

POOL = 32


class Batch(NamedTuple):
    """One batch, or a process's rows of one.

    arrays: what the network's loss is called with, in this order; rows of the batch come first in each.
    n_targets: how many targets the whole batch has, whoever has its rows.
    """

    arrays: tuple[np.ndarray, ...]
    n_targets: int


class Batches(Protocol):
    """Random access to an endless row of batches, a pure function of (seed, t)."""

    @property
    def rows(self) -> int:
        """How many rows of each batch are computed here."""
        ...

    @property
    def epoch_targets(self) -> int:
        """How many targets there are in an epoch."""
        ...

    def batch(self, t: int) -> Batch:
        """Batch number t, from 0."""
        ...


class PooledOrder:
    """Which examples stand in which batch: all of them, shuffled anew each epoch, those of like length together.

    What fills up a batch costs as much as what is read: so each run of POOL batches is sorted by length, cut, and its
    batches shuffled. Batch t is what an endless row of epochs has from example t * batch_size on.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def rows(self, t: int) -> np.ndarray:
        """The examples of batch number t, (batch_size,)."""
        places = range(t * self._batch_size, (t + 1) * self._batch_size)
        return np.array([self._row(place) for place in places], np.int64)

    def _of_epoch(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(len(self._lengths))
        pieces = []
        for begin in range(0, len(order), POOL * self._batch_size):
            pool = order[begin : begin + POOL * self._batch_size]
            pool = pool[np.argsort(self._lengths[pool], kind="stable")]
            batches = np.array_split(pool, range(self._batch_size, len(pool), self._batch_size))
            pieces += [batches[i] for i in rng.permutation(len(batches))]
        return np.concatenate(pieces)

    def _row(self, place: int) -> int:
        epoch, within = divmod(place, len(self._lengths))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._of_epoch(epoch)
        return int(self._order[within])
