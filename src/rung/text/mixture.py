"""Several texts as one: `books.txt:0.6 + web.jsonl:0.4`, each with its share of what is learned from.

The table of a training mixture (Brown et al. 2020, arXiv:2005.14165, table 2.2): a share of the training tokens for
each text, whatever its size, so that small good texts are read more often than large poor ones. How often, is its
epochs: share x tokens read / tokens it has. Without shares each text counts by its size.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isclose
from pathlib import Path

from rung.errors import UserError

JOINED_BY = " + "
MOST_COPIES = 10
CLOSE = 0.02
"""By how much of itself a share may be missed by whole copies without trying more of them."""


@dataclass(frozen=True)
class Component:
    """One of the texts: what it is, and its share, 0 to 1; None = by its size."""

    data: str
    share: float | None


def components_of(data: str | Path) -> list[Component]:
    """The texts that `data` names, one or several.

    Raises UserError for shares that are none, or given for some only.
    """
    whole = str(data)
    names = [whole] if _is_there(whole) else whole.split(JOINED_BY)
    found = [_component(name.strip() if len(names) > 1 else name) for name in names]
    if len(found) == 1:
        if found[0].share is not None:
            raise UserError(
                f"{whole}: a share is one among several texts; give --data twice, or leave it out"
            )
        return found
    given = [one.share for one in found if one.share is not None]
    if not given:
        return found
    if len(given) < len(found):
        lacking = next(one.data for one in found if one.share is None)
        raise UserError(
            f"{lacking} has no share, and others have: give all of them, as in {lacking}:0.5, or none"
        )
    total = sum(given)
    if not total > 0 or min(given) < 0 or not total < inf:
        raise UserError(f"{whole}: shares are numbers above 0, such as 0.6 and 0.4")
    if min(given) == 0:
        raise UserError(f"{whole}: a share of 0 is no share; leave that text out")
    return [Component(one.data, share / total) for one, share in zip(found, given, strict=True)]


def joined(names: Sequence[str]) -> str:
    """The one name of several texts."""
    return JOINED_BY.join(names)


def copies_of(shares: Sequence[float], sizes: Sequence[int]) -> list[int]:
    """How often each text is to be counted, in whole numbers up to 10, for each to come near to its share.

    Smoothing is made from counts of counts, which have to be whole; of the numbers that miss no share by more than 2 %
    of itself the smallest are taken, else those that miss least.
    """
    wanted = [share / size for share, size in zip(shares, sizes, strict=True)]
    best: tuple[float, list[int]] = (inf, [])
    for first in range(1, MOST_COPIES + 1):
        copies = [min(max(round(first * each / min(wanted)), 1), MOST_COPIES) for each in wanted]
        got = [n * size for n, size in zip(copies, sizes, strict=True)]
        off = max(abs(part / sum(got) / share - 1) for part, share in zip(got, shares, strict=True))
        if off < best[0] - 1e-12:
            best = off, copies
        if off <= CLOSE:
            break
    return best[1]


def allotted(shares: Sequence[float], n: int) -> list[int]:
    """`n` things dealt out by shares, one at least to each, the largest remainders first. n is as many as shares at
    least."""
    borders = [0.0]
    for share in shares:
        borders.append(borders[-1] + share)
    out = [1 + int((n - len(shares)) * (end - begin) / borders[-1]) for begin, end in pairwise(borders)]
    lacking = [n * share / borders[-1] - has for share, has in zip(shares, out, strict=True)]
    for place in sorted(range(len(out)), key=lambda i: -lacking[i])[: n - sum(out)]:
        out[place] += 1
    assert sum(out) == n
    assert isclose(borders[-1], 1, rel_tol=1e-6)
    return out


def _component(name: str) -> Component:
    found = None if _is_there(name) else re.fullmatch(r"(.+):([0-9.eE+-]+)", name)
    if not name:
        raise UserError(
            "one of the texts has an empty name; give a file, a folder, a glob or a built-in name"
        )
    if found is None:
        return Component(name, None)
    try:
        return Component(found[1], float(found[2]))
    except ValueError:
        return Component(name, None)


def _is_there(name: str) -> bool:
    try:
        return Path(name).expanduser().exists()
    except OSError:  # too long for a name
        return False
