"""Every prefix of a text, sorted from its end backwards: the index for histories of any length.

The text is a row of N tokens followed by a document mark, the first of them a mark as well. The prefixes that its
first N tokens end are sorted by their last token, then by the one before it, and so on: the suffix array of the text
read backwards (Manber and Myers 1993). So all that end with some string lie side by side, and that interval is all
there is to know of the string: its length says how often it occurs.

To find the interval of a string one token longer needs no text: backward search, as in the FM-index (Ferragina and
Manzini 2000). The prefixes that end with token w are a slice of the row, w's bucket, and within it they stand in the
order of the prefixes that they are one token longer than. `psi` tells those (Grossi and Vitter 2000). It rises within
a bucket, so two binary searches turn the interval of h into that of h w.

    text      # a b a c # a b #                           # the mark, greater than all letters
    prefixes  #aba|c  #a|b  #abac#a|b  #ab|a  #abac#ab|#  #abac|#  #|a  #abac#|a

"a" has the first three: it occurs three times, and b followed it twice. Of these the second and the third are longer
by a token than those of "#", the last two, in that order.

The mark both ends a document and begins the next, so the row is a ring: what comes before its first token
is its last. A string that has a mark at its beginning at most is then never found across two documents.

Sorting is done by libdivsufsort, in native code: 4.5 million characters take 0.6 s, where doubling the sorted
length with NumPy's sort takes 3 s.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rung.errors import UserError
from rung.models.counting.arrays import read_only
from rung.opening import AT_ONCE, check_array, check_below, check_rising

MAX_LCP = np.iinfo(np.uint16).max
BLOCK = 64


_FILE_NAMES = ("first", "came_from", "shared", "shared_blocks", "shared_superblocks")
"""What files call the arrays of a `SuffixArray`, in the order of its fields."""


class SuffixArray(NamedTuple):
    """The sorted prefixes of a text. N of them, V tokens; plain arrays, so that compiled code can take it whole.

    bucket_starts: (V + 1,) int64; the prefixes that end with token w are bucket_starts[w] to bucket_starts[w + 1].
    psi: (N,) where the prefix one token shorter stands.
    lcp: (N + 1,) uint16; how many last tokens each has in common with the one sorted before it, counted to 65,535;
        0 at both ends. (The longest common prefix of two suffixes, read backwards.)
    lcp_blocks, lcp_superblocks: the least of each 64, and each 4,096, values of `lcp`.
    """

    bucket_starts: np.ndarray
    psi: np.ndarray
    lcp: np.ndarray
    lcp_blocks: np.ndarray
    lcp_superblocks: np.ndarray

    @property
    def size(self) -> int:
        """N."""
        return len(self.psi)

    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays as files hold them."""
        return {f"places.{name}": array for name, array in zip(_FILE_NAMES, self, strict=True)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray], vocab_size: int) -> SuffixArray:
        """The one whose `tensors()` are among these. Raises ValueError, KeyError when no walk could trust them."""
        index = cls(*(read_only(tensors[f"places.{name}"]) for name in _FILE_NAMES))
        index.check(vocab_size)
        return index

    def check(self, vocab_size: int) -> None:
        """Raise ValueError unless every walk through these arrays stays within them and is as short as it should be."""
        names = dict(zip(self._fields, _FILE_NAMES, strict=True))
        check_array(names["psi"], self.psi, "i4 i8", [None])
        check_below(names["psi"], self.psi, self.size)
        check_array(names["bucket_starts"], self.bucket_starts, "i8", [vocab_size + 1])
        check_rising(names["bucket_starts"], self.bucket_starts, 0, self.size)
        check_array(names["lcp"], self.lcp, "u2", [self.size + 1])
        if self.lcp[0] or self.lcp[-1]:
            raise ValueError(f"{names['lcp']} is not 0 at its ends")
        for blocks, values in (("lcp_blocks", self.lcp), ("lcp_superblocks", self.lcp_blocks)):
            check_array(names[blocks], getattr(self, blocks), "u2", [-(-len(values) // BLOCK)])
            for begin in range(0, len(getattr(self, blocks)), AT_ONCE // BLOCK):
                least = block_minima(values[begin * BLOCK : begin * BLOCK + AT_ONCE])
                if (least != getattr(self, blocks)[begin : begin + AT_ONCE // BLOCK]).any():
                    raise ValueError(f"{names[blocks]} holds other numbers than the least of their blocks")

    def find(self, tokens: np.ndarray) -> tuple[int, int]:
        """The interval of the prefixes that end with the string `tokens`; empty when it doesn't occur."""
        low, high = 0, self.size
        for token in tokens.tolist():
            begin, end = int(self.bucket_starts[token]), int(self.bucket_starts[token + 1])
            # The needles have the row's own type; otherwise NumPy would convert the row.
            needles = np.array([low, high], self.psi.dtype)
            low, high = (begin + np.searchsorted(self.psi[begin:end], needles)).tolist()
            if low == high:
                break
        return low, high


def build_suffix_array(ids: np.ndarray, vocab_size: int) -> tuple[SuffixArray, np.ndarray]:
    """Sort the prefixes of a text.

    Args:
        ids: (N + 1,) unsigned; the first and the last are the same mark.
        vocab_size: V.

    Returns the index and, for each sorted prefix, the position in `ids` of its last token, (N,).
    """
    backwards = np.ascontiguousarray(ids[:-1][::-1]).astype(np.min_scalar_type(vocab_size - 1), copy=False)
    order, lcp_with_next = sort_suffixes(backwards)
    positions = len(backwards) - 1 - order
    lcp = np.zeros(len(order) + 1, np.uint16)
    lcp[1:-1] = np.minimum(lcp_with_next[:-1], MAX_LCP)
    # Sorting by the token that follows and, among equals, by rank is sorting the prefixes one token longer.
    next_tokens = ids[positions + 1].astype(backwards.dtype)
    psi = np.argsort(next_tokens, kind="stable").astype(order.dtype)
    bucket_starts = np.concatenate([[0], np.cumsum(np.bincount(next_tokens, minlength=vocab_size))])
    blocks = block_minima(lcp)
    arrays = (bucket_starts, psi, lcp, blocks, block_minima(blocks))
    return SuffixArray(*map(read_only, arrays)), positions


def sort_suffixes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The suffix array of `values` (N,) and each suffix's longest common prefix with the next one, (N,) each, signed.

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
    if len(values) == n * BLOCK:
        return values.reshape(n, BLOCK).min(axis=1)
    filled = np.full(n * BLOCK, np.iinfo(values.dtype).max, values.dtype)
    filled[: len(values)] = values
    return filled.reshape(n, BLOCK).min(axis=1)
