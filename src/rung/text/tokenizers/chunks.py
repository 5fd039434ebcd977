"""Long text in parts that can be tokenised one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator

CHUNK_CHARACTERS = 1 << 16


def chunks(text: str, border: re.Pattern[str]) -> Iterator[str]:
    """`text` cut at matches of `border`, where no token can cross, into parts of about that length.

    What `border` matches, if it isn't empty, is in no part.
    """
    begin = 0
    while len(text) - begin > 2 * CHUNK_CHARACTERS:
        found = border.search(text, begin + CHUNK_CHARACTERS)
        if found is None:
            break
        yield text[begin : found.start()]
        begin = found.end()
    yield text[begin:]
