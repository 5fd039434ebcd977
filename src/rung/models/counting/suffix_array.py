"""Every place in a text, sorted by what comes before it: the index for histories of any length.

The text is a row of N tokens followed by a document mark, the first of them a mark as well. Its N places are
the ends of its first N tokens. They are sorted by their last token, then by the one before it, and so on:
the suffix array of the text read backwards (Manber and Myers 1993). So all places that follow some string lie
side by side, and that range is all there is to know of the string: its length says how often it occurs.

To find the range of a string one token longer needs no text, as in the FM-index (Ferragina and Manzini 2000).
The places where token w was last are a slice of the row, `first[w]` to `first[w + 1]`, and within it they
stand in the order of the places that they came from, one token earlier. `came_from` tells those. It rises
within a slice, so two binary searches turn the range of h into that of h w.

    text      # a b a c # a b #                           # the mark, greater than all letters
    places    #aba|c  #a|b  #abac#a|b  #ab|a  #abac#ab|#  #abac|#  #|a  #abac#|a

"a" has the first three places: it occurs three times, and b followed it twice. Of these the second and the
third came from the places of "#", the last two, in that order.

The mark both ends a document and begins the next, so the row is a ring: what comes before its first token
is its last. A string that has a mark at its beginning at most is then never found across two documents.

Sorting is done by libdivsufsort, in native code: 4.5 million characters take 0.6 s, where doubling the sorted
length with NumPy's sort takes 3 s.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rung.errors import UserError

LONGEST_SHARED = np.iinfo(np.uint16).max
BLOCK = 64


class PlaceIndex(NamedTuple):
    """The sorted places of a text. N places, V tokens; plain arrays, so that compiled code can take it whole.

    first: (V + 1,) int64; the places where token w was last are first[w] to first[w + 1].
    came_from: (N,) the sorted position of each place's predecessor in the text.
    shared: (N + 1,) uint16; how many last tokens each place has in common with the one sorted before it,
        counted to 65,535; 0 at both ends.
    shared_blocks, shared_superblocks: the least of each 64, and each 4,096, values of `shared`.
    """

    first: np.ndarray
    came_from: np.ndarray
    shared: np.ndarray
    shared_blocks: np.ndarray
    shared_superblocks: np.ndarray

    @property
    def n_places(self) -> int:
        return len(self.came_from)

    def find(self, tokens: np.ndarray) -> tuple[int, int]:
        """The range of the places that follow the string `tokens`; empty when it doesn't occur."""
        low, high = 0, self.n_places
        for token in tokens.tolist():
            begin, end = int(self.first[token]), int(self.first[token + 1])
            # The needles have the row's own type; otherwise NumPy would convert the row.
            needles = np.array([low, high], self.came_from.dtype)
            low, high = (begin + np.searchsorted(self.came_from[begin:end], needles)).tolist()
            if low == high:
                break
        return low, high


def build_index(ids: np.ndarray, vocab_size: int) -> tuple[PlaceIndex, np.ndarray]:
    """Sort the places of a text.

    Args:
        ids: (N + 1,) unsigned; the first and the last are the same mark.
        vocab_size: V.

    Returns the index and, for each sorted place, the position in `ids` of its last token, (N,).
    """
    backwards = np.ascontiguousarray(ids[:-1][::-1]).astype(np.min_scalar_type(vocab_size - 1), copy=False)
    order, shared_with_next = sort_suffixes(backwards)
    last = len(backwards) - 1 - order
    shared = np.zeros(len(order) + 1, np.uint16)
    shared[1:-1] = np.minimum(shared_with_next[:-1], LONGEST_SHARED)
    # Sorting by the token that follows and, among equals, by place is sorting the places that come next.
    following = ids[last + 1].astype(backwards.dtype)
    came_from = np.argsort(following, kind="stable").astype(order.dtype)
    first = np.concatenate([[0], np.cumsum(np.bincount(following, minlength=vocab_size))])
    blocks = block_minima(shared)
    arrays = (first, came_from, shared, blocks, block_minima(blocks))
    return PlaceIndex(*map(read_only, arrays)), last


def sort_suffixes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The suffix array of `values` (N,) and how much each suffix shares with the next one, (N,) each, signed.

    A suffix that is the beginning of another comes first.
    """
    try:
        from pydivsufsort import divsufsort, kasai  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            "sorting a text's suffixes needs the package pydivsufsort: pip install pydivsufsort"
        ) from None
    if len(values) == 0:
        return np.empty(0, np.int32), np.empty(0, np.int32)
    order = divsufsort(values)
    return order, kasai(values, order)


def block_minima(values: np.ndarray) -> np.ndarray:
    """The least of each 64 values, the last block filled up with the largest there is."""
    n = -(-len(values) // BLOCK)
    filled = np.full(n * BLOCK, np.iinfo(values.dtype).max, values.dtype)
    filled[: len(values)] = values
    return filled.reshape(n, BLOCK).min(axis=1)


def read_only(array: np.ndarray) -> np.ndarray:
    """One kind of array, mapped from a file or made here: code is compiled for each kind it meets."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view
