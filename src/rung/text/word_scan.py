"""Cutting text into words, compiled: what `WordTokenizer`'s regular expression and dictionary do, many times as fast.

    text         "the cows don't"
    code points  116 104 101 32 99 ...          (n,) uint32
    kinds        LETTER LETTER LETTER BLANK ...  what the expression's classes say of each: (0x110000,) uint8
    pieces       "the" " cows" " don't"
    ids          found in a hash table of the vocabulary, or spelled in bytes (`cut`)
    counts       of every different piece, in a table that grows (`count`)

The kinds are read off the expression itself, so nothing is known twice of Unicode; only the order of its
alternatives is written out again. The hash is 32-bit FNV-1a over code points (Fowler, Noll and Vo 1991).

Compiling takes seconds once and is then cached beside this file; loading numba takes half a second every time. So
this pays for much text only, and without numba installed the expression does the work.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

Cut = Callable[..., int | np.signedinteger]
Fill = Callable[..., None]
Count = Callable[..., tuple[int | np.signedinteger, int | np.signedinteger]]

ALONE, LETTER, DIGIT, MARK, BLANK, NEWLINE, APOSTROPHE = 1, 2, 4, 8, 16, 32, 64
SPACE = 32
EMPTY = -1
FNV_BASIS, FNV_PRIME, LOW_32_BITS = 0x811C9DC5, 0x01000193, 0xFFFFFFFF


@dataclass(frozen=True)
class WordTable:
    """A vocabulary as arrays. W words; an open-addressing table of 2**k places, a quarter full at most.

    letters: all words' code points, one after another, uint32.
    starts: (W + 1,) word i is letters[starts[i]:starts[i + 1]].
    hashes: (2**k,) uint32, of the word in each place.
    places: (2**k,) int32, which word, or EMPTY.
    """

    letters: np.ndarray
    starts: np.ndarray
    hashes: np.ndarray
    places: np.ndarray


def cut(
    text: np.ndarray,
    stops: np.ndarray,
    kinds: np.ndarray,
    letters: np.ndarray,
    starts: np.ndarray,
    hashes: np.ndarray,
    places: np.ndarray,
    id_of_byte: np.ndarray,
    first_word: int,
    end: int,
    ids: np.ndarray,
    begins: np.ndarray,
) -> int | np.signedinteger:
    """Write the ids of many texts, each followed by the mark, to `ids`; return how many were written.

    Args:
        text: the code points of all texts, one text after another, uint32.
        stops: (D,) where each text ends.
        kinds: (0x110000,) of every code point.
        letters, starts, hashes, places: a `WordTable`.
        id_of_byte: (256,) int64.
        first_word: the id of word 0; the others follow.
        end: the document mark.
        ids: int64, at least as long as the texts in UTF-8 and their marks.
        begins: (D,) receives where in `ids` each text begins.
    """
    n = 0
    at = 0
    for document in range(len(stops)):
        stop = stops[document]
        begins[document] = n
        while at < stop:
            begin = at
            at = piece_end(text, begin, stop, kinds)
            if at == begin + 1 and text[begin] < 128:
                ids[n] = id_of_byte[text[begin]]
                n += 1
                continue
            value = hash_of(text, begin, at)
            word = places[place_of(text, begin, at, value, letters, starts, hashes, places)]
            if word != EMPTY:
                ids[n] = first_word + word
                n += 1
                continue
            for i in range(begin, at):  # UTF-8, a lone surrogate as the three bytes it would have had
                point = np.int64(text[i])
                if point < 0x80:
                    ids[n] = id_of_byte[point]
                    n += 1
                    continue
                if point < 0x800:
                    ids[n] = id_of_byte[0xC0 | point >> 6]
                    n += 1
                elif point < 0x10000:
                    ids[n] = id_of_byte[0xE0 | point >> 12]
                    ids[n + 1] = id_of_byte[0x80 | point >> 6 & 0x3F]
                    n += 2
                else:
                    ids[n] = id_of_byte[0xF0 | point >> 18]
                    ids[n + 1] = id_of_byte[0x80 | point >> 12 & 0x3F]
                    ids[n + 2] = id_of_byte[0x80 | point >> 6 & 0x3F]
                    n += 3
                ids[n] = id_of_byte[0x80 | point & 0x3F]
                n += 1
        ids[n] = end
        n += 1
    return n


def count(
    text: np.ndarray,
    stops: np.ndarray,
    at: int,
    kinds: np.ndarray,
    letters: np.ndarray,
    starts: np.ndarray,
    hashes: np.ndarray,
    places: np.ndarray,
    tallies: np.ndarray,
    n: int,
) -> tuple[int | np.signedinteger, int | np.signedinteger]:
    """Count the pieces of many texts from `at` on, up to their end or to the first for which there is no room.

    Args:
        text, stops, kinds: as in `cut`.
        letters, starts, hashes, places: a `WordTable` with room for more words; new ones are put into it.
        tallies: int64, how often each word has occurred; as long as there may be words.
        n: how many words there are.

    Returns where in `text` it stopped, and how many words there are now.
    """
    for document in range(len(stops)):
        stop = stops[document]
        while at < stop:
            after = piece_end(text, at, stop, kinds)
            value = hash_of(text, at, after)
            place = place_of(text, at, after, value, letters, starts, hashes, places)
            word = places[place]
            if word == EMPTY:
                first = starts[n]
                if n == len(tallies) or first + after - at > len(letters):
                    return at, n
                word = n
                for i in range(after - at):
                    letters[first + i] = text[at + i]
                starts[n + 1] = first + after - at
                hashes[place] = value
                places[place] = n
                n += 1
            tallies[word] += 1
            at = after
    return at, n


def fill(letters: np.ndarray, starts: np.ndarray, hashes: np.ndarray, places: np.ndarray) -> None:
    """Put every word in its place. Of two that are the same the later one counts, as in a dictionary."""
    for word in range(len(starts) - 1):
        begin, end = starts[word], starts[word + 1]
        value = hash_of(letters, begin, end)
        place = place_of(letters, begin, end, value, letters, starts, hashes, places)
        hashes[place] = value
        places[place] = word


def piece_end(text: np.ndarray, begin: int, stop: int, kinds: np.ndarray) -> int:
    """Where the piece that begins at `begin` ends, in a text that ends at `stop`."""
    body = begin + 1 if text[begin] == SPACE and begin + 1 < stop else begin
    at = body + 1
    kind = kinds[text[body]]
    if kind & ALONE:
        return at
    if kind & LETTER:
        while at < stop:
            if kinds[text[at]] & LETTER:
                at += 1
            elif kinds[text[at]] & APOSTROPHE and at + 1 < stop and kinds[text[at + 1]] & LETTER:
                at += 2
            else:
                break
        return at
    if kind & (DIGIT | MARK):
        same = kind & (DIGIT | MARK)
        while at < stop and kinds[text[at]] & same:
            at += 1
        return at
    at = begin + 1
    if kinds[text[begin]] & NEWLINE:
        while at < stop and kinds[text[at]] & NEWLINE:
            at += 1
        return at
    while at < stop and kinds[text[at]] & BLANK:
        at += 1
    if at < stop and at > begin + 1 and not kinds[text[at]] & NEWLINE:
        at -= 1  # the last blank is the next piece's
    return at


def hash_of(text: np.ndarray, begin: int, end: int) -> int | np.signedinteger:
    value = FNV_BASIS
    for i in range(begin, end):
        value = ((value ^ np.int64(text[i])) * FNV_PRIME) & LOW_32_BITS
    return value


def place_of(
    text: np.ndarray,
    begin: int,
    end: int,
    value: int | np.signedinteger,
    letters: np.ndarray,
    starts: np.ndarray,
    hashes: np.ndarray,
    places: np.ndarray,
) -> int | np.signedinteger:
    """The place in the table of the word text[begin:end], whose hash is `value`, or the empty one it would take."""
    mask = len(places) - 1
    place = value & mask
    while places[place] != EMPTY:
        if hashes[place] == value:
            first = starts[places[place]]
            if starts[places[place] + 1] - first == end - begin:
                i = 0
                while i < end - begin and letters[first + i] == text[begin + i]:
                    i += 1
                if i == end - begin:
                    break
        place = (place + 1) & mask
    return place


@cache
def compiled() -> tuple[Cut, Fill] | None:
    """`cut` and `fill` as machine code, or None where numba is not installed."""
    machine_code = _compiler()
    return None if machine_code is None else (machine_code(cut), machine_code(fill))


@cache
def compiled_count() -> tuple[Count, Fill] | None:
    """`count` and `fill` as machine code, or None where numba is not installed."""
    machine_code = _compiler()
    return None if machine_code is None else (machine_code(count), machine_code(fill))


def _compiler() -> Callable[[Callable[..., Any]], Callable[..., Any]] | None:
    try:
        import numba
        from numba.extending import register_jitable
    except ImportError:
        return None
    # Nothing here makes arrays. Numba would count references to those it is given at every call of a helper, which
    # takes three times as long as the work itself; `_nrt` turns that off.
    bare: dict[str, Any] = {"nogil": True, "_nrt": False}
    for helper in (piece_end, hash_of, place_of):
        register_jitable(**bare)(helper)

    def machine_code(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(cache=True, **bare)(function)
        except RuntimeError:  # nowhere to keep the cache
            return numba.njit(**bare)(function)

    return machine_code


class WordCounts:
    """How often each piece occurs in text that comes bit by bit. Only the different pieces are kept."""

    def __init__(self, kinds: np.ndarray, count: Count, fill: Fill, room: int = 1 << 14) -> None:
        """`count` and `fill`, compiled or not; room for so many words at first, a power of two."""
        self._kinds = kinds
        self._count = count
        self._fill = fill
        self._n = 0
        self._letters = np.zeros(8 * room, np.uint32)
        self._starts = np.zeros(room + 1, np.int64)
        self._tallies = np.zeros(room, np.int64)
        self._hashes = np.zeros(4 * room, np.uint32)
        self._places = np.full(4 * room, EMPTY, np.int32)

    def add(self, texts: Sequence[str]) -> None:
        """Count the pieces of each text by itself."""
        text = code_points("".join(texts))
        stops = np.cumsum([0, *map(len, texts)])[1:]
        at = 0
        while True:
            at, self._n = self._count(
                text,
                stops,
                at,
                self._kinds,
                self._letters,
                self._starts,
                self._hashes,
                self._places,
                self._tallies,
                self._n,
            )
            if at == len(text):
                return
            self._grow(len(text) - int(at))

    def counts(self) -> dict[str, int]:
        """Every piece, in the order in which they came, and how often it did."""
        starts = self._starts[: self._n + 1].tolist()
        letters = self._letters[: starts[-1]].tobytes().decode("utf-32-le", "surrogatepass")
        pieces = [letters[begin:end] for begin, end in pairwise(starts)]
        return dict(zip(pieces, self._tallies[: self._n].tolist(), strict=True))

    def _grow(self, longest: int) -> None:
        """Twice the room, for words or for letters, whichever is full; then also for a word of `longest`."""
        if self._n < len(self._tallies):
            n_letters = max(2 * len(self._letters), int(self._starts[self._n]) + longest)
            self._letters = _longer(self._letters, n_letters)
            return
        room = 2 * len(self._tallies)
        self._starts = _longer(self._starts, room + 1)
        self._tallies = _longer(self._tallies, room)
        self._hashes = np.zeros(4 * room, np.uint32)
        self._places = np.full(4 * room, EMPTY, np.int32)
        self._fill(self._letters, self._starts[: self._n + 1], self._hashes, self._places)


def word_table(words: Sequence[str], fill: Fill) -> WordTable:
    """The table of `words`, filled by `fill`, compiled or not."""
    starts = np.zeros(len(words) + 1, np.int64)
    np.cumsum([len(word) for word in words], out=starts[1:])
    size = 1 << max(4 * len(words), 16).bit_length()
    table = WordTable(
        letters=code_points("".join(words)),
        starts=starts,
        hashes=np.zeros(size, np.uint32),
        places=np.full(size, EMPTY, np.int32),
    )
    fill(table.letters, table.starts, table.hashes, table.places)
    return table


@cache
def kinds_of(classes: tuple[tuple[int, str], ...]) -> np.ndarray:
    """(0x110000,) uint8: for every code point, the kinds whose one-character expression matches it."""
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    kinds = np.zeros(len(everything), np.uint8)
    for kind, expression in classes:
        kinds[code_points("".join(re.findall(expression, everything)))] |= kind
    return kinds


def code_points(text: str) -> np.ndarray:
    """(len(text),) uint32, read-only."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _longer(array: np.ndarray, length: int) -> np.ndarray:
    out = np.zeros(length, array.dtype)
    out[: len(array)] = array
    return out
