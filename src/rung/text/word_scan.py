"""Cutting text into words, compiled: what `WordTokenizer`'s regular expression and dictionary do, many times as fast.

    text         "the cows don't"
    code points  116 104 101 32 99 ...          (n,) uint32
    kinds        LETTER LETTER LETTER BLANK ...  what the expression's classes say of each: (0x110000,) uint8
    pieces       "the" " cows" " don't"
    ids          found in a hash table of the vocabulary, or spelled in bytes

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

import numpy as np

Cut = Callable[..., int | np.signedinteger]
Fill = Callable[..., None]

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
    mask = len(places) - 1
    for document in range(len(stops)):
        stop = stops[document]
        begins[document] = n
        while at < stop:
            begin = at
            body = at + 1 if text[at] == SPACE and at + 1 < stop else at
            kind = kinds[text[body]]
            if kind & ALONE:
                at = body + 1
            elif kind & LETTER:
                at = body + 1
                while at < stop:
                    if kinds[text[at]] & LETTER:
                        at += 1
                    elif kinds[text[at]] & APOSTROPHE and at + 1 < stop and kinds[text[at + 1]] & LETTER:
                        at += 2
                    else:
                        break
            elif kind & (DIGIT | MARK):
                same = kind & (DIGIT | MARK)
                at = body + 1
                while at < stop and kinds[text[at]] & same:
                    at += 1
            elif kinds[text[begin]] & NEWLINE:
                at = begin + 1
                while at < stop and kinds[text[at]] & NEWLINE:
                    at += 1
            else:
                at = begin + 1
                while at < stop and kinds[text[at]] & BLANK:
                    at += 1
                if at < stop and at > begin + 1 and not kinds[text[at]] & NEWLINE:
                    at -= 1  # the last blank is the next piece's

            if at == begin + 1 and text[begin] < 128:
                ids[n] = id_of_byte[text[begin]]
                n += 1
                continue
            value = FNV_BASIS
            for i in range(begin, at):
                value = ((value ^ np.int64(text[i])) * FNV_PRIME) & LOW_32_BITS
            place = value & mask
            found = EMPTY
            while places[place] != EMPTY:
                if hashes[place] == value:
                    word = places[place]
                    first = starts[word]
                    if starts[word + 1] - first == at - begin:
                        i = 0
                        while i < at - begin and letters[first + i] == text[begin + i]:
                            i += 1
                        if i == at - begin:
                            found = word
                            break
                place = (place + 1) & mask
            if found != EMPTY:
                ids[n] = first_word + found
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


def fill(letters: np.ndarray, starts: np.ndarray, hashes: np.ndarray, places: np.ndarray) -> None:
    """Put every word in its place. Of two that are the same the later one counts, as in a dictionary."""
    mask = len(places) - 1
    for word in range(len(starts) - 1):
        value = FNV_BASIS
        for i in range(starts[word], starts[word + 1]):
            value = ((value ^ np.int64(letters[i])) * FNV_PRIME) & LOW_32_BITS
        place = value & mask
        while places[place] != EMPTY:
            other = places[place]
            if starts[other + 1] - starts[other] == starts[word + 1] - starts[word]:
                i = 0
                length = starts[word + 1] - starts[word]
                while i < length and letters[starts[other] + i] == letters[starts[word] + i]:
                    i += 1
                if i == length:
                    break
            place = (place + 1) & mask
        hashes[place] = value
        places[place] = word


@cache
def compiled() -> tuple[Cut, Fill] | None:
    """`cut` and `fill` as machine code, or None where numba is not installed."""
    try:
        import numba
    except ImportError:
        return None
    try:
        return numba.njit(cache=True, nogil=True)(cut), numba.njit(cache=True, nogil=True)(fill)
    except RuntimeError:  # nowhere to keep the cache
        return numba.njit(nogil=True)(cut), numba.njit(nogil=True)(fill)


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
