"""Where words end, for models whose words were counted elsewhere.

KenLM cuts at NUL, tab, line feed, carriage return and space, and at nothing else, in ARPA files and when it counts. A
no-break space, a form feed or a line separator is part of a word. ARPA files are read and written by this rule, and
texts are cut by it for the models that come out of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

SEPARATORS = "\0\t\n\r "
MARK = b"\0"

_IS_SEPARATOR = np.isin(np.arange(256), [*map(ord, SEPARATORS)])
_WORD = re.compile(rb"[^\0\t\n\r ]+")
_MARK_OR_WORD = re.compile(rb"\0|[^\0\t\n\r ]+")


def cut_each(lines: Sequence[bytes]) -> list[list[bytes]]:
    """The words of every line."""
    data = b"".join(lines)
    if MARK in data or not _python_agrees(data):
        return [_WORD.findall(line) for line in lines]
    return [line.split() for line in lines]


def count_words(text: bytes) -> int:
    """How many words there are."""
    inside = ~_IS_SEPARATOR[np.frombuffer(text, np.uint8)]
    return int(np.count_nonzero(inside[1:] & ~inside[:-1])) + int(inside[:1].sum())


def cut_and_mark(texts: Sequence[bytes]) -> list[bytes]:
    """The words of all texts, in order, and `MARK`, which is no word, after those of each."""
    if not texts:
        return []
    data = b" \0 ".join(texts)
    if data.count(MARK) == len(texts) - 1 and _python_agrees(data):
        return [*data.split(), MARK]
    return [*_MARK_OR_WORD.findall(b" \0 ".join(text.replace(MARK, b" ") for text in texts)), MARK]


def _python_agrees(data: bytes) -> bool:
    """Whether `bytes.split` cuts as we do where there is no NUL: it cuts at \\v and \\f too."""
    return b"\x0b" not in data and b"\x0c" not in data
