"""What a training loop is fed with: batch number t is the same whoever asks for it, and whenever."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np


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
