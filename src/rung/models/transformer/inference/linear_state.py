"""What a transformer with linear attention remembers: sums of one size, however much was read.

Beside them stand the inputs of the window, eight bytes each: when it is full, the next begins with its second half.

A state is never changed. Several inputs read at once leave sums before the first and behind the last; a state in
between (a draft that was refused from there on) has the sums before, and reads again what came between when it goes on.

Shapes: L blocks, B rows, Hkv heads of keys and values, D their size.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class LinearCache:
    """What is read on into: inputs (B, end) int64 and each block's sums (B, Hkv, D, D + 1), copies of a state's.

    They lie in one tensor (L, B, Hkv, D, D + 1).
    """

    def __init__(self, state: LinearState, n_new: int) -> None:
        self.state = state
        self.end = state.length + n_new
        self.inputs = np.empty((len(state.inputs), self.end), np.int64)
        self.inputs[:, : state.length] = state.inputs
        with torch.inference_mode():
            self.stacked = state.sums.clone()
            self.keys_values = list(self.stacked.unbind())

    def window(self, length: int) -> LinearState:
        """The state of the first `length` inputs, once all have been read."""
        inputs = self.inputs[:, :length]
        if length == self.end:
            return LinearState(inputs, self.stacked, length, self.state.at_once)
        return LinearState(inputs, self.state.sums, self.state.length, self.state.at_once)


class LinearState:
    """The state of B histories.

    Args:
        inputs: (B, length), those of the window.
        sums: of the first `known` of them, block by block, (L, B, Hkv, D, D + 1).
        known: as said.
        at_once: the most inputs that can be read in one go.
    """

    def __init__(self, inputs: np.ndarray, sums: Tensor, known: int, at_once: int) -> None:
        self.inputs, self.sums, self.known, self.at_once = inputs, sums, known, at_once

    @property
    def length(self) -> int:
        return self.inputs.shape[1]

    def back(self) -> LinearState:
        """The state that the sums are of."""
        return LinearState(self.inputs[:, : self.known], self.sums, self.known, self.at_once)

    def writable_cache(self, n_new: int) -> LinearCache:
        """Sums to add to, and room for so many more inputs."""
        return LinearCache(self, n_new)

    def select(self, rows: np.ndarray) -> LinearState:
        """The state of these rows of B."""
        with torch.inference_mode():
            sums = self.sums[:, torch.as_tensor(rows.copy(), device=self.sums.device)]
        return LinearState(self.inputs[rows], sums, self.known, self.at_once)
