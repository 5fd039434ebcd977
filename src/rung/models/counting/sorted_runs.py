"""Counted keys that were sorted run by run, merged into one sorted row, a block of each run at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from rung.models.counting.workspace import Workspace, disk_errors, memory_map


@dataclass(frozen=True)
class CountedKeys:
    """Different keys, rising; how often each occurs; and something that is the same at every occurrence: (G,) each."""

    keys: np.ndarray
    counts: np.ndarray
    tags: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)


def merge_runs(runs: Sequence[CountedKeys], space: Workspace) -> CountedKeys:
    """One row of all keys of `runs`, the counts of equal keys added up."""
    if len(runs) == 1:
        return runs[0]
    room = sum(len(run) for run in runs)
    merged = _empty_keys(room, space)
    length = 0
    block = max(space.piece // max(len(runs), 1), 1)
    done = np.zeros(len(runs), np.int64)
    while any(done[i] < len(run) for i, run in enumerate(runs)):
        # All keys up to the smallest of the blocks' last ones are at hand; none of them can turn up later.
        up_to = min(
            run.keys[min(at + block, len(run)) - 1]
            for run, at in zip(runs, done, strict=True)
            if at < len(run)
        )
        taken = []
        for i, run in enumerate(runs):
            n = np.searchsorted(run.keys[done[i] : done[i] + block], up_to, side="right")
            taken.append(slice(int(done[i]), int(done[i] + n)))
            done[i] += n
        keys = np.concatenate([run.keys[part] for run, part in zip(runs, taken, strict=True)])
        counts = np.concatenate([run.counts[part] for run, part in zip(runs, taken, strict=True)])
        tags = np.concatenate([run.tags[part] for run, part in zip(runs, taken, strict=True)])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        first = np.flatnonzero(np.diff(keys, prepend=-1))
        part = slice(length, length + len(first))
        merged.keys[part] = keys[first]
        merged.counts[part] = np.add.reduceat(counts[order], first)
        merged.tags[part] = tags[order[first]]
        length = part.stop
    return CountedKeys(merged.keys[:length], merged.counts[:length], merged.tags[:length])


class SortedRuns:
    """Sorted rows of counted keys, collected one after the other where the workspace keeps its arrays.

    A context manager; what `all` gives outlives it.
    """

    def __init__(self, space: Workspace) -> None:
        self._held: list[CountedKeys] = []
        self._files = None if space.in_memory else [space.file() for _ in range(3)]
        self._lengths: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held = []
        for file in self._files or []:
            file.close()

    def add(self, run: CountedKeys) -> None:
        """Take in one more run. Raises UserError when the disk is full."""
        if self._files is None:
            self._held.append(run)
            return
        for file, array in zip(self._files, (run.keys, run.counts, run.tags), strict=True):
            with disk_errors():
                file.write(array.tobytes())
        self._lengths.append(len(run))

    def all(self) -> list[CountedKeys]:
        """Every run, in order; those in files are mapped, not read."""
        if self._files is None:
            return self._held
        stops = np.cumsum([0, *self._lengths]).tolist()
        arrays = [memory_map(file, stops[-1], np.int64) for file in self._files]
        parts = [slice(stop - length, stop) for stop, length in zip(stops[1:], self._lengths, strict=True)]
        return [CountedKeys(*(array[part] for array in arrays)) for part in parts]


def _empty_keys(n: int, space: Workspace) -> CountedKeys:
    """Room for `n` keys."""
    return CountedKeys(*(space.empty(n, np.int64) for _ in range(3)))
