"""Cutting text into words, compiled: what `WordTokenizer`'s regular expression and dictionary do, many times as fast.

    text         "the cows don't"
    code points  116 104 101 32 99 ...          (n,) uint32
    classes      LETTER LETTER LETTER BLANK ...  what the expression says of each: (0x110000,) uint8
    pieces       "the" " cows" " don't"
    ids          found in a hash table of the vocabulary, or spelled in bytes (`encode`)
    counts       of every different piece, in a table that grows (`count`)

The classes are read off the expression itself, so nothing is known twice of Unicode; only the order of its
alternatives is written out again. The hash is 32-bit FNV-1a over code points (Fowler, Noll and Vo 1991).

Compiling takes seconds once and is then cached beside this file; loading numba takes half a second every time. So
this pays for much text only, and without numba installed the expression does the work.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

Integer = int | np.signedinteger
Encode = Callable[..., Integer]
FillTable = Callable[..., None]
Count = Callable[..., tuple[Integer, Integer]]

CJK, LETTER, DIGIT, PUNCTUATION, BLANK, NEWLINE, APOSTROPHE, OPENING = 1, 2, 4, 8, 16, 32, 64, 128
SPACE = 32
EMPTY = -1
FNV_BASIS, FNV_PRIME, LOW_32_BITS = 0x811C9DC5, 0x01000193, 0xFFFFFFFF


class WordTable(NamedTuple):
    """A vocabulary as arrays. W words; an open-addressing hash table of 2**k slots, a quarter full at most.

    points: all words' code points, one after another, uint32.
    starts: (W + 1,) word i is points[starts[i]:starts[i + 1]].
    hashes: (2**k,) uint32, of the word in each slot.
    slots: (2**k,) int32, which word, or EMPTY.
    """

    points: np.ndarray
    starts: np.ndarray
    hashes: np.ndarray
    slots: np.ndarray


def encode(
    text: np.ndarray,
    stops: np.ndarray,
    classes: np.ndarray,
    table: WordTable,
    byte_ids: np.ndarray,
    first_word_id: int,
    end: int,
    ids: np.ndarray,
    starts: np.ndarray,
) -> Integer:
    """Write the ids of many texts, each followed by the mark, to `ids`; return how many were written.

    Args:
        text: the code points of all texts, one text after another, uint32.
        stops: (D,) where each text ends.
        classes: (0x110000,) of every code point.
        table: the vocabulary.
        byte_ids: (256,) int64.
        first_word_id: the id of word 0; the others follow.
        end: the document mark.
        ids: int64, at least as long as the texts in UTF-8 and their marks.
        starts: (D,) receives where in `ids` each text begins.
    """
    n = 0
    at = 0
    for document in range(len(stops)):
        stop = stops[document]
        starts[document] = n
        while at < stop:
            begin = at
            at = piece_end(text, begin, stop, classes)
            if at == begin + 1 and text[begin] < 128:
                ids[n] = byte_ids[text[begin]]
                n += 1
                continue
            word = table.slots[find_slot(text, begin, at, fnv1a(text, begin, at), table)]
            if word != EMPTY:
                ids[n] = first_word_id + word
                n += 1
                continue
            for i in range(begin, at):  # UTF-8, a lone surrogate as the three bytes it would have had
                point = np.int64(text[i])
                if point < 0x80:
                    ids[n] = byte_ids[point]
                    n += 1
                    continue
                if point < 0x800:
                    ids[n] = byte_ids[0xC0 | point >> 6]
                    n += 1
                elif point < 0x10000:
                    ids[n] = byte_ids[0xE0 | point >> 12]
                    ids[n + 1] = byte_ids[0x80 | point >> 6 & 0x3F]
                    n += 2
                else:
                    ids[n] = byte_ids[0xF0 | point >> 18]
                    ids[n + 1] = byte_ids[0x80 | point >> 12 & 0x3F]
                    ids[n + 2] = byte_ids[0x80 | point >> 6 & 0x3F]
                    n += 3
                ids[n] = byte_ids[0x80 | point & 0x3F]
                n += 1
        ids[n] = end
        n += 1
    return n


def count(
    text: np.ndarray,
    stops: np.ndarray,
    at: int,
    classes: np.ndarray,
    table: WordTable,
    counts: np.ndarray,
    n: int,
) -> tuple[Integer, Integer]:
    """Count the pieces of many texts from `at` on, up to their end or to the first for which there is no room.

    Args:
        text, stops, classes: as in `encode`.
        table: with room for more words; new ones are put into it.
        counts: int64, how often each word has occurred; as long as there may be words.
        n: how many words there are.

    Returns where in `text` it stopped, and how many words there are now.
    """
    for document in range(len(stops)):
        stop = stops[document]
        while at < stop:
            after = piece_end(text, at, stop, classes)
            value = fnv1a(text, at, after)
            slot = find_slot(text, at, after, value, table)
            word = table.slots[slot]
            if word == EMPTY:
                first = table.starts[n]
                if n == len(counts) or first + after - at > len(table.points):
                    return at, n
                word = n
                for i in range(after - at):
                    table.points[first + i] = text[at + i]
                table.starts[n + 1] = first + after - at
                table.hashes[slot] = value
                table.slots[slot] = n
                n += 1
            counts[word] += 1
            at = after
    return at, n


def fill(table: WordTable) -> None:
    """Put every word in its slot. Of two that are the same the later one counts, as in a dictionary."""
    for word in range(len(table.starts) - 1):
        begin, end = table.starts[word], table.starts[word + 1]
        value = fnv1a(table.points, begin, end)
        slot = find_slot(table.points, begin, end, value, table)
        table.hashes[slot] = value
        table.slots[slot] = word


def piece_end(text: np.ndarray, begin: int, stop: int, classes: np.ndarray) -> int:
    """Where the piece that begins at `begin` ends, in a text that ends at `stop`."""
    body = begin + 1 if text[begin] == SPACE and begin + 1 < stop else begin
    at = body + 1
    kind = classes[text[body]]
    if kind & CJK:
        return at
    if kind & LETTER:
        while at < stop:
            if classes[text[at]] & LETTER:
                at += 1
            elif classes[text[at]] & APOSTROPHE and at + 1 < stop and classes[text[at + 1]] & LETTER:
                at += 2
            else:
                break
        return at
    if kind & (DIGIT | PUNCTUATION):
        same = kind & (DIGIT | PUNCTUATION)
        while at < stop and classes[text[at]] & same:
            at += 1
        return at
    at = begin + 1
    if classes[text[begin]] & NEWLINE:
        while at < stop and classes[text[at]] & NEWLINE:
            at += 1
        return at
    while at < stop and classes[text[at]] & BLANK:
        at += 1
    if at < stop and at > begin + 1 and not classes[text[at]] & NEWLINE:
        at -= 1  # the last blank is the next piece's
    return at


def fnv1a(text: np.ndarray, begin: int, end: int) -> Integer:
    """The hash of the word text[begin:end]."""
    value = FNV_BASIS
    for i in range(begin, end):
        value = ((value ^ np.int64(text[i])) * FNV_PRIME) & LOW_32_BITS
    return value


def find_slot(text: np.ndarray, begin: int, end: int, value: Integer, table: WordTable) -> Integer:
    """The slot of the word text[begin:end], whose hash is `value`, or the empty one it would take."""
    mask = len(table.slots) - 1
    slot = value & mask
    while table.slots[slot] != EMPTY:
        if table.hashes[slot] == value:
            first = table.starts[table.slots[slot]]
            if table.starts[table.slots[slot] + 1] - first == end - begin:
                i = 0
                while i < end - begin and table.points[first + i] == text[begin + i]:
                    i += 1
                if i == end - begin:
                    break
        slot = (slot + 1) & mask
    return slot


@cache
def compiled_encode() -> tuple[Encode, FillTable] | None:
    """`encode` and `fill` as machine code, or None where numba is not installed."""
    machine_code = compiler()
    return None if machine_code is None else (machine_code(encode), machine_code(fill))


@cache
def compiled_count() -> tuple[Count, FillTable] | None:
    """`count` and `fill` as machine code, or None where numba is not installed."""
    machine_code = compiler()
    return None if machine_code is None else (machine_code(count), machine_code(fill))


def compiler() -> Callable[[Callable[..., Any]], Callable[..., Any]] | None:
    """What makes machine code of a function that makes no arrays, or None where numba is not installed."""
    try:
        import numba
        from numba.extending import register_jitable
    except ImportError:
        return None
    # Nothing here makes arrays. Numba would count references to those it is given at every call of a helper, which
    # takes three times as long as the work itself; `_nrt` turns that off.
    bare: dict[str, Any] = {"nogil": True, "_nrt": False}
    for helper in (piece_end, fnv1a, find_slot):
        register_jitable(**bare)(helper)

    def machine_code(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(cache=True, **bare)(function)
        except RuntimeError:  # nowhere to keep the cache
            return numba.njit(**bare)(function)

    return machine_code


class WordCounter:
    """How often each piece occurs in text that comes bit by bit. Only the different pieces are kept."""

    def __init__(self, classes: np.ndarray, count: Count, fill: FillTable, capacity: int = 1 << 14) -> None:
        """`count` and `fill`, compiled or not; room for so many words at first, a power of two."""
        self._classes = classes
        self._count = count
        self._fill = fill
        self._n = 0
        self._counts = np.zeros(capacity, np.int64)
        points, starts = np.zeros(8 * capacity, np.uint32), np.zeros(capacity + 1, np.int64)
        self._table = WordTable(points, starts, *_slots(4 * capacity))

    def add(self, text: np.ndarray, stops: np.ndarray) -> None:
        """Count the pieces of each of many texts by itself; `text` and `stops` as in `count`."""
        at = 0
        while True:
            at, self._n = self._count(text, stops, at, self._classes, self._table, self._counts, self._n)
            if at == len(text):
                return
            self._grow(len(text) - int(at))

    def counts(self) -> dict[str, int]:
        """Every piece, in the order in which they came, and how often it did."""
        starts = self._table.starts[: self._n + 1].tolist()
        letters = self._table.points[: starts[-1]].tobytes().decode("utf-32-le", "surrogatepass")
        pieces = [letters[begin:end] for begin, end in pairwise(starts)]
        return dict(zip(pieces, self._counts[: self._n].tolist(), strict=True))

    def _grow(self, longest: int) -> None:
        """Twice the room, for words or for letters, whichever is full; then also for a word of `longest`."""
        points, starts, hashes, slots = self._table
        if self._n < len(self._counts):
            n_points = max(2 * len(points), int(starts[self._n]) + longest)
            self._table = WordTable(_longer(points, n_points), starts, hashes, slots)
            return
        capacity = 2 * len(self._counts)
        self._counts = _longer(self._counts, capacity)
        hashes, slots = _slots(4 * capacity)
        self._fill(WordTable(points, starts[: self._n + 1], hashes, slots))
        self._table = WordTable(points, _longer(starts, capacity + 1), hashes, slots)


def word_table(words: Sequence[str], fill: FillTable) -> WordTable:
    """The table of `words`, filled by `fill`, compiled or not."""
    starts = np.cumsum([0, *map(len, words)])
    table = WordTable(code_points("".join(words)), starts, *_slots(1 << max(4 * len(words), 16).bit_length()))
    fill(table)
    return table


@cache
def class_table(classes: tuple[tuple[int, str], ...]) -> np.ndarray:
    """(0x110000,) uint8: for every code point, the classes whose one-character expression matches it."""
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    table = np.zeros(len(everything), np.uint8)
    for bit, expression in classes:
        table[code_points("".join(re.findall(expression, everything)))] |= bit
    return table


def code_points(text: str) -> np.ndarray:
    """(len(text),) uint32, read-only."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _longer(array: np.ndarray, length: int) -> np.ndarray:
    out = np.zeros(length, array.dtype)
    out[: len(array)] = array
    return out


def _slots(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The hashes and the words of `n` empty slots."""
    return np.zeros(n, np.uint32), np.full(n, EMPTY, np.int32)
