"""What a transformer remembers of a window: its inputs, and the keys and values that every block made of them.

Room for the whole window is taken at once and only ever written on behind what is there. A state (`Window`) is a
cache and a length: it reads what stands before that length, which is never written again while it lives. So a plain
chain of steps copies nothing, and a state from which another branch has been written on takes a copy of its own.

Shapes: B rows, C context, Hkv heads of keys and values, D their size.
"""

from __future__ import annotations

import weakref

import numpy as np
import torch
from torch import Tensor


class KeyValueCache:
    """Inputs (B, C) int64 and, block by block, keys and values (2, B, Hkv, C, D).

    Args:
        batch, context: B, C.
        shape: how many blocks there are; Hkv and D of each.
        like: a tensor of the number type and on the device wanted.
    """

    def __init__(self, batch: int, context: int, shape: tuple[int, int, int], like: Tensor) -> None:
        self.shape = shape
        n_layer, n_kv_head, head_size = shape
        self.inputs = np.empty((batch, context), np.int64)
        # Pages that are never written cost nothing, so a long context is not paid before it is used.
        with torch.inference_mode():
            self.stacked = like.new_empty(n_layer, 2, batch, n_kv_head, context, head_size)
            self.keys_values = list(self.stacked.unbind())
        self._windows: list[weakref.ref[Window]] = []

    def window(self, length: int) -> Window:
        """The state of the first `length` inputs, which have been written."""
        window = Window(self, length)
        self._windows.append(weakref.ref(window))
        return window

    def is_read_beyond(self, length: int) -> bool:
        """Whether a state is still in use that would notice if something else were written at `length`."""
        self._windows = [window for window in self._windows if window() is not None]
        return any(
            window.length > length for reference in self._windows if (window := reference()) is not None
        )

    def copy(self, length: int, rows: np.ndarray | None = None) -> KeyValueCache:
        """The first `length` inputs of these rows (None = all), with room to go on."""
        inputs = self.inputs if rows is None else self.inputs[rows]
        copy = KeyValueCache(len(inputs), inputs.shape[1], self.shape, self.stacked)
        copy.inputs[:, :length] = inputs[:, :length]
        with torch.inference_mode():
            index = None if rows is None else torch.as_tensor(rows.copy(), device=self.stacked.device)
            for target, source in zip(copy.keys_values, self.keys_values, strict=True):
                known = source[:, :, :, :length]
                target[:, :, :, :length] = known if index is None else known.index_select(1, index)
        return copy


class Window:
    """The state of B histories: the first `length` inputs of a cache. Made by `KeyValueCache.window`."""

    def __init__(self, cache: KeyValueCache, length: int) -> None:
        self.cache = cache
        self.length = length

    @property
    def inputs(self) -> np.ndarray:
        """(B, length)."""
        return self.cache.inputs[:, : self.length]

    def writable_cache(self) -> KeyValueCache:
        """A cache with these inputs that nobody minds being written on behind them: this one, if possible."""
        return self.cache.copy(self.length) if self.cache.is_read_beyond(self.length) else self.cache
