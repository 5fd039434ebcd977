"""Spans that tags mark: B-X begins one, I-X goes on with it, E-X ends it, S-X is one word, O is none.

What is a span is what seqeval 1.2.2 counts by default, which is what conlleval counted (Tjong Kim Sang and De Meulder
2003): an I- without its B- begins one too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

Span = tuple[str, int, int]
"""What it is, its first word and the one after its last."""


def marks_spans(tags: Sequence[str]) -> bool:
    """Whether tags are B-, I- and O (or with E-, S- too)."""
    return all(tag == "O" or re.fullmatch(r"[BIES]-.+", tag) for tag in tags) and any(
        tag != "O" for tag in tags
    )


def spans_of(tags: Sequence[str]) -> list[Span]:
    """The spans of a sentence, in order."""
    found: list[Span] = []
    before, kind, begun = "O", "", 0
    for i, tag in enumerate([*tags, "O"]):
        mark, own = tag[0], tag[2:]
        if _ends(before, mark, kind, own):
            found.append((kind, begun, i))
        if _begins(before, mark, kind, own):
            begun = i
        before, kind = mark, own
    return found


def span_counts(right: Sequence[Sequence[str]], guessed: Sequence[Sequence[str]]) -> np.ndarray:
    """Of each sentence how many spans were found, how many there are, how many were said: (S, 3)."""
    rows = []
    for own, said in zip(right, guessed, strict=True):
        there, told = set(spans_of(own)), set(spans_of(said))
        rows.append((len(there & told), len(there), len(told)))
    return np.array(rows, np.int64).reshape(-1, 3)


def allowed_transitions(tags: Sequence[str]) -> np.ndarray:
    """What may follow what, (K + 1, K + 1) bool, the last of both the border of a sentence: I-X and E-X follow B-X or
    I-X alone, and where there are E-X, B-X and I-X are followed by them."""
    ended = any(tag.startswith("E-") for tag in tags)
    names = [*tags, "O"]
    allowed = np.ones((len(names), len(names)), bool)
    for i, before in enumerate(names):
        for j, after in enumerate(names):
            going_on = after[0] in "IE"
            inside = before[0] in "BI" and before != "O"
            if going_on and not (inside and before[2:] == after[2:]):
                allowed[i, j] = False
            if ended and inside and not (going_on and before[2:] == after[2:]):
                allowed[i, j] = False
    return allowed


def _ends(before: str, mark: str, kind: str, own: str) -> bool:
    if before in "ES":
        return True
    if before in "BI" and before != "O":
        return mark in "BSO" or own != kind
    return False


def _begins(before: str, mark: str, kind: str, own: str) -> bool:
    if mark in "BS":
        return True
    return mark in "IE" and (before in "ESO" or own != kind)
