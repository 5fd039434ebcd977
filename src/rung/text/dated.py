"""Whether documents look like the entries of a log, which are better held out by time than by chance.

Neighbours in a log tell of one another; where some are learned from and others tested on, the test is too easy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

DATED = re.compile(
    rb"""[\W_]{0,3}(?:
        \d{4}[-/.]\d{1,2}[-/.]\d{1,2}                          # 2026-11-26, 2026/11/26
      | \d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d\d)\b               # 26.11.2026, 11/26/26
      | (?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\ +)?
        \d{1,2}[/ -](?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[/ -]\d{2,4}
      | (?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\ +)?
        (?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?\ +\d{1,2}\b[ ,]
      | \d{1,2}:\d\d:\d\d\b                                    # 14:58:08
      | 1\d{9}(?:\d{3}|\.\d+)?\b                               # seconds, or milliseconds, since 1970
    )""",
    re.VERBOSE | re.IGNORECASE,
)
LOOKED_AT = 200
MOST = 0.9
"""From this share of dated documents on they look like a log."""
BEGINNING = 64
"""Bytes of a document that its date stands in; logs of web servers begin with an address and two names."""
ADDRESS = re.compile(rb"\S+ \S+ \S+ (?=\[)")


def look_dated(beginnings: Iterable[bytes]) -> bool:
    """Whether documents, by the first BEGINNING bytes of some, begin with dates or times."""
    found = [
        DATED.match(beginning) is not None or DATED.match(ADDRESS.sub(b"", beginning, count=1)) is not None
        for beginning in beginnings
    ]
    return bool(found) and sum(found) >= MOST * len(found)
