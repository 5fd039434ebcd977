"""A text as its tokens come: whole characters only, and never a part of a stop string.

A token is settled once some of its characters are shown: then it is part of the text for good. One whose first
character is not complete yet, or may belong to a stop string, waits; if the stop string comes, it is dropped with it.
So the text, the tokens and their log-probabilities always tell of the same thing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from rung.text.tokenizers import TextDecoder, Tokenizer


class Settled(NamedTuple):
    """What one token more decides: text to show, how many of the waiting tokens are settled, whether a stop came."""

    text: str
    n_tokens: int
    stopped: bool


class TextStream:
    """One text as it grows."""

    def __init__(
        self, tokenizer: Tokenizer, stops: Sequence[str] = (), after: int | None = None, skipped: int = 0
    ) -> None:
        """`after`: the token that the text goes on after; None = it begins a document. `skipped`: bytes left out."""
        self._decoder = TextDecoder(tokenizer, after, skipped)
        self._stops = stops
        self._first_characters = frozenset(stop[0] for stop in stops)
        self._held = ""
        self._shown = 0  # characters
        self._token_starts: deque[int] = deque()  # where the text of each waiting token begins

    def take(self, token: int, *, mark: bool, last: bool) -> tuple[str, int, str | None]:
        """What one token more decides: text to show, tokens settled, and why the text ends here, if it does.

        `mark` = it is the document mark; `last` = it is the last there may be.
        """
        shown, n_tokens, stopped = ("", 0, False) if mark else self.push(token)
        if not stopped and (mark or last):
            more, n_more, stopped = self.finish(marked=mark)
            shown, n_tokens = shown + more, n_tokens + n_more
        if stopped:
            return shown, n_tokens, "stop"
        return shown, n_tokens, "end" if mark else "length" if last else None

    def push(self, token: int) -> Settled:
        """Take in one token, not the document mark."""
        text = self._decoder.push(token)
        waiting = self._held or self._token_starts
        if text and not waiting and self._first_characters.isdisjoint(text):  # as it mostly is
            self._shown += len(text)
            return Settled(text, 1, stopped=False)
        self._token_starts.append(self._shown + len(self._held))
        self._held += text
        return self._settle()

    def finish(self, *, marked: bool) -> Settled:
        """Nothing more comes; `marked` = the document mark came, a token without text. All that waits is settled."""
        self._held += self._decoder.finish()
        settled = self._settle()
        if settled.stopped:
            return settled
        self._shown += len(self._held)
        rest, self._held = self._held, ""
        n_tokens = settled.n_tokens + len(self._token_starts) + marked
        self._token_starts.clear()
        return Settled(settled.text + rest, n_tokens, stopped=False)

    def _settle(self) -> Settled:
        stop = min(filter(None, (_find_stop(self._held, stop) for stop in self._stops)), default=None)
        if stop is not None:
            keep = len(self._held) - stop[1]
        else:
            keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        text, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        self._shown += len(text)
        n_tokens = 0
        while self._token_starts and self._token_starts[0] < self._shown:
            self._token_starts.popleft()
            n_tokens += 1
        return Settled(text, n_tokens, stop is not None)


def _find_stop(text: str, stop: str) -> tuple[int, int] | None:
    """Where `stop` first ends in `text` and where it begins; of several, the one that is complete first stops."""
    begin = text.find(stop)
    return (begin + len(stop), begin) if begin >= 0 else None


def _overlap(text: str, stop: str) -> int:
    """How many of `text`'s last characters are the beginning of `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
