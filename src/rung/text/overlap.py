"""How much of held-out text stands word for word in the training text: what it measures there is memory.

The share of its bytes that are in pieces which are also pieces of the training text: documents where there are many
(`splits.MANY_DOCUMENTS`), lines where there are few. Some come back in any text (`else:`, a speaker's name; a tenth of
the bytes of source code), so it is worth telling from NOTABLE on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np

NOTABLE = 0.25
MOST_BYTES = 1 << 26
"""Of a held-out part that is larger than this, every second line is looked at, or every third, ..."""


def share_of_hashes(held_out: np.ndarray, sizes: np.ndarray, train: np.ndarray) -> float:
    """The share, 0 to 1, of the bytes of held-out documents whose hashes are among those of the training part.

    held_out, sizes: (n,) int64; train: (m,) int64. Of hashes of 64 bits two are the same by chance once in 10^19 pairs.
    """
    wanted = np.unique(held_out)
    place = np.minimum(np.searchsorted(wanted, train), len(wanted) - 1)
    found = np.isin(held_out, train[wanted[place] == train])
    return round(float(sizes[found].sum() / sizes.sum()), 6)


def shares_of_lines(
    held_out: Mapping[str, Iterable[list[bytes]]], train: Iterable[list[bytes]]
) -> dict[str, float]:
    """For each held-out part, by its lines, the share of its bytes, 0 to 1, that are in lines of `train` too."""
    counts = {part: Counter(chain.from_iterable(pieces)) for part, pieces in held_out.items()}
    wanted, found = set().union(*counts.values()), set[bytes]()
    for pieces in train:
        found |= wanted.intersection(pieces)
        if len(found) == len(wanted):
            break
    return {
        part: round(
            sum(len(piece) * n for piece, n in count.items() if piece in found)
            / max(sum(len(piece) * n for piece, n in count.items()), 1),
            6,
        )
        for part, count in counts.items()
    }


def lines_of(data: Any, begin: int, end: int, block: int) -> Iterator[list[bytes]]:
    """The lines of bytes `begin` to `end` of a buffer, about `block` bytes at a time."""
    while begin < end:
        cut = min(begin + block, end)
        if cut < end:
            after = data.find(b"\n", cut, end)
            cut = after + 1 if after >= 0 else end
        yield data[begin:cut].split(b"\n")
        begin = cut
