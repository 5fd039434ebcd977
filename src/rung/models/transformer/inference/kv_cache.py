"""What a transformer remembers of a window: its inputs, and the keys and values that every block made of them.

Room is taken at once and only ever written on behind what is there. A state (`Window`) is a cache and a length: it
reads what stands before that length, which is never written again while it lives. So a plain chain of steps copies
nothing, and a state from which another branch has been written on takes a copy of its own.

There is room for all inputs that a window may have, or, where a position attends to the last few alone, for those and
some more: when that is full, the last few move to the front of a new cache.

Shapes: B rows, C context, Hkv heads of keys and values, D their size, R inputs there is room for.
"""

from __future__ import annotations

import weakref

import numpy as np
import torch
from torch import Tensor

ROOM_AHEAD = 64
"""Inputs that there is room for beyond what a short window sees: so many steps between two moves."""


class KeyValueCache:
    """Inputs (B, C) int64 and, block by block, keys and values (2, B, Hkv, R, D).

    Args:
        batch, context: B, C.
        shape: how many blocks there are; Hkv and D of each.
        like: a tensor of the number type and on the device wanted.
        local: to how many inputs, its own included, a position attends; None = to all before it.
        begin: the first input that there is room for keys of.
    """

    def __init__(
        self,
        batch: int,
        context: int,
        shape: tuple[int, int, int],
        like: Tensor,
        local: int | None = None,
        begin: int = 0,
    ) -> None:
        self.shape, self.local, self.begin = shape, local, begin
        n_layer, n_kv_head, head_size = shape
        room = context if local is None else min(context, local - 1 + max(local, ROOM_AHEAD))
        self.at_once = context if local is None or room == context else room - (local - 1)
        self.inputs = np.empty((batch, context), np.int64)
        # Pages that are never written cost nothing, so a long context is not paid before it is used.
        with torch.inference_mode():
            self.stacked = like.new_empty(n_layer, 2, batch, n_kv_head, room, head_size)
            self.keys_values = list(self.stacked.unbind())
        self._windows: list[weakref.ref[Window]] = []

    @property
    def end(self) -> int:
        """The input up to which, without it, there is room for keys."""
        return self.begin + self.stacked.shape[4]

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
        """The first `length` inputs of these rows (None = all), with as much room to go on as there can be."""
        inputs = self.inputs if rows is None else self.inputs[rows]
        context = inputs.shape[1]
        begin = self.begin
        if self.local is not None and self.stacked.shape[4] < context:
            begin = max(begin, length - (self.local - 1))
        copy = KeyValueCache(len(inputs), context, self.shape, self.stacked, self.local, begin)
        copy.inputs[:, :length] = inputs[:, :length]
        with torch.inference_mode():
            index = None if rows is None else torch.as_tensor(rows.copy(), device=self.stacked.device)
            for target, source in zip(copy.keys_values, self.keys_values, strict=True):
                known = source[:, :, :, begin - self.begin : length - self.begin]
                target[:, :, :, : length - begin] = known if index is None else known.index_select(1, index)
        return copy


class Window:
    """The state of B histories: the first `length` inputs of a cache. Made by `KeyValueCache.window`."""

    def __init__(self, cache: KeyValueCache, length: int) -> None:
        self.cache = cache
        self.length = length

    @property
    def at_once(self) -> int:
        """The most inputs that can be read in one go behind it."""
        return self.cache.at_once

    @property
    def inputs(self) -> np.ndarray:
        """(B, length)."""
        return self.cache.inputs[:, : self.length]

    def writable_cache(self, n_new: int) -> KeyValueCache:
        """A cache with these inputs that nobody minds so many being written on behind them: this one, if possible."""
        full = self.length + n_new > self.cache.end
        return self.cache.copy(self.length) if full or self.cache.is_read_beyond(self.length) else self.cache

    def select(self, rows: np.ndarray) -> Window:
        """The state of these rows of B."""
        return self.cache.copy(self.length, rows).window(self.length)
