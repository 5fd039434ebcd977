"""Blanks that are meant without being written, so that a word is one token wherever it stands.

A word carries the blank before it. Where none is written because a line, a bracket or a quotation begins, it is there
all the same:

    text                  "Cows eat.\n(Cows do.)"
    with implied blanks   " Cows eat.\n ( Cows do.)"
    tokens                " Cows" " eat" "." "\n" " (" " Cows" " do" ".)"

A blank is put in
    at the beginning of a document or after a break (`BREAKS`)  before a word, a number, punctuation or a blank
    after an opening bracket, or a quotation mark after a blank  before a word, a number or a blank
A blank that is really written there gets one more before it, so the way back is certain: of tokens after which a blank
is implied, the next token's first blank is left out. Those end in a break or a bracket, or are a blank and a
quotation mark, or the document mark; so two neighbours tell, in any text. Scripts without spaces have none of this.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from rung.text.tokenizers import word_scan
from rung.text.tokenizers.word_scan import Integer

CJK = r"぀-ヿ㐀-䶿一-鿿豈-﫿\uac00-\ud7af"
BREAKS = "\t\n\v\f\r"
BRACKETS = "([{"
QUOTES = "\"'“‘"

LINE_BEGINS = rf"(?![{CJK}])[\S ]"
QUOTE_BEGINS = rf"(?![{CJK}])[^\W_]| "
NO_LINE_BEGINS = re.compile(rf"\n (?!{LINE_BEGINS})")

Insert = Callable[..., Integer]


def with_blanks(text: str, quotes: str = QUOTES) -> str:
    """`text` with its implied blanks put in; of quotation marks, `quotes` imply them."""
    if "\n" in text:  # far more often than anything else
        text = NO_LINE_BEGINS.sub("\n", text.replace("\n", "\n "))
    inside = _implied(quotes).sub(lambda found: found[0] + " ", text)
    return " " + inside if re.match(LINE_BEGINS, text) else inside


def implies_blank(token: str, quotes: str) -> bool:
    """Whether a blank is implied after a token, by its spelling."""
    return token[-1:] in {*BREAKS, *BRACKETS} or (len(token) == 2 and token[0] == " " and token[1] in quotes)


def class_table(classes: tuple[tuple[int, str], ...], quotes: str) -> np.ndarray:
    """`word_scan.class_table` with `OPENING` for the brackets and for `quotes`."""
    table = word_scan.class_table(classes).copy()
    table[[ord(character) for character in BRACKETS + quotes]] |= word_scan.OPENING
    return table


def insert(
    text: np.ndarray, stops: np.ndarray, classes: np.ndarray, out: np.ndarray, out_stops: np.ndarray
) -> Integer:
    """`with_blanks` of many texts, as code points; return how many there are then.

    Args:
        text, stops, classes: as in `word_scan.encode`.
        out: uint32, twice as long as `text`; receives the texts.
        out_stops: (D,) receives where each ends in `out`.
    """
    n = 0
    at = 0
    for document in range(len(stops)):
        first = at
        while at < stops[document]:
            point, kind = text[at], classes[text[at]]
            line_begins = at == first or classes[text[at - 1]] & word_scan.NEWLINE
            if line_begins or classes[text[at - 1]] & word_scan.OPENING:
                wanted = word_scan.LETTER | word_scan.DIGIT
                if line_begins:
                    wanted |= word_scan.PUNCTUATION
                elif text[at - 1] not in (40, 91, 123) and not (  # a quotation mark
                    at - 1 == first
                    or text[at - 2] == word_scan.SPACE
                    or classes[text[at - 2]] & word_scan.NEWLINE
                ):
                    wanted = 0
                if wanted and (point == word_scan.SPACE or (kind & wanted and not kind & word_scan.CJK)):
                    out[n] = word_scan.SPACE
                    n += 1
            out[n] = point
            n += 1
            at += 1
        out_stops[document] = n
    return n


@cache
def compiled_insert() -> Insert | None:
    """`insert` as machine code, or None where numba is not installed."""
    machine_code = word_scan.compiler()
    return None if machine_code is None else machine_code(insert)


def spread(texts: Sequence[str], classes: np.ndarray, insert: Insert | None) -> tuple[np.ndarray, np.ndarray]:
    """The code points of all texts and where each ends, with implied blanks if `insert` is given."""
    points = word_scan.code_points("".join(texts))
    stops = np.cumsum([0, *map(len, texts)])[1:]
    if insert is None:
        return points, stops
    out, out_stops = np.empty(2 * len(points), np.uint32), np.empty(len(stops), np.int64)
    n = insert(points, stops, classes, out, out_stops)
    return out[:n], out_stops


@cache
def _implied(quotes: str) -> re.Pattern[str]:
    """What a blank is implied after, beginnings and line feeds excepted."""
    breaks, brackets = BREAKS.replace("\n", ""), re.escape(BRACKETS)
    after_quote = rf"|(?<![^ {BREAKS}][{quotes}])(?<=[{quotes}])(?={QUOTE_BEGINS})" if quotes else ""
    return re.compile(
        rf"[{breaks}{brackets}{quotes}]"  # one set, which is looked for fast
        rf"(?:(?<=[{breaks}])(?={LINE_BEGINS})|(?<=[{brackets}])(?={QUOTE_BEGINS}){after_quote})"
    )
