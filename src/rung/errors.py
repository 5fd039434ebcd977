"""Errors that the user can mend. The command line turns one into a single line on stderr and exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """The input is at fault. The message says what, where, and what is accepted or how to mend it."""


class Untrusted(UserError):
    """What is opened would run a file that the user has not said to trust."""


class Stopped(UserError):
    """The user stopped the work before there was anything to show. Exit code 130."""


def nearest(word: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """`"; did you mean 'gpt'?"` when one of `known` is close to `word`, otherwise an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {close[0]!r}?" if close else ""
