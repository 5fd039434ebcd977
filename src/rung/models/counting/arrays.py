"""What several counted models do with their arrays."""

from __future__ import annotations

import numpy as np


def read_only(array: np.ndarray) -> np.ndarray:
    """One kind of array, mapped from a file or made here: functions are compiled for each kind they meet."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


def concatenated_ranges(begins: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers begins[i] to begins[i] + lengths[i] of every i, one range after the other; and the i of each."""
    rows = np.repeat(np.arange(len(begins)), lengths)
    return np.arange(len(rows)) + np.repeat(begins - (np.cumsum(lengths) - lengths), lengths), rows
