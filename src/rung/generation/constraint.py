"""What may come next, beside what is likely: the contract of constraints on a text, and texts that are banned.

A constraint keeps a state a row, as a model does, and never changes one in place, so that beams and speculation can
branch. It rules over what is made; the prompt is not its business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from rung.generation.settings import Sampling
from rung.text.tokenizers import Tokenizer, utf8

AllOfState = tuple[np.ndarray, list[Any]]


class Constraint(ABC):
    """Says of R rows which of the V tokens may come next.

    `by_spelling`: it speaks of the places in `Tokenizer.spellings` instead, as what a token spells may depend on the
    one before it; `AllOf` knows which it is.
    """

    by_spelling: ClassVar[bool] = False

    @abstractmethod
    def start(self, rows: int) -> Any:
        """The state of `rows` rows that have made nothing."""

    @abstractmethod
    def allowed(self, state: Any) -> np.ndarray | None:
        """Booleans (R, V), or None for everything; that of the document mark says whether the text may end here."""

    @abstractmethod
    def advance(self, state: Any, tokens: np.ndarray) -> Any:
        """The state after one token more in every row, (R,), each an allowed one."""

    @abstractmethod
    def select(self, state: Any, rows: np.ndarray) -> Any:
        """The state whose row i is row `rows[i]` of `state`."""


class AllOf(Constraint):
    """Several constraints at once; none is one too, and costs nothing.

    A state is the last token of every row, (R,), and the states of the parts.
    """

    def __init__(self, parts: Sequence[Constraint], tokenizer: Tokenizer) -> None:
        self.parts = list(parts)
        self._tokenizer = tokenizer
        self._ids = np.arange(tokenizer.vocab_size)

    def start(self, rows: int, prompts: Sequence[np.ndarray] = ()) -> AllOfState:
        """`prompts`: the ids of each row's, without the mark; none = all are empty."""
        last = np.full(rows, self._tokenizer.end)
        for row, prompt in enumerate(prompts):
            if len(prompt):
                last[row] = prompt[-1]
        return last, [part.start(rows) for part in self.parts]

    def allowed(self, state: AllOfState) -> np.ndarray | None:
        last, states = state
        some = []
        for part, own in zip(self.parts, states, strict=True):
            mask = part.allowed(own)
            if mask is not None and part.by_spelling and self._tokenizer.by_neighbour:
                mask = np.take_along_axis(mask, self._tokenizer.spelled(self._ids, last[:, None]), axis=1)
            if mask is not None:
                some.append(mask)
        return np.logical_and.reduce(some) if some else None

    def advance(self, state: AllOfState, tokens: np.ndarray) -> AllOfState:
        last, states = state
        spelled = self._tokenizer.spelled(tokens, last) if self._tokenizer.by_neighbour else tokens
        return tokens, [
            part.advance(own, spelled if part.by_spelling else tokens)
            for part, own in zip(self.parts, states, strict=True)
        ]

    def select(self, state: AllOfState, rows: np.ndarray) -> AllOfState:
        last, states = state
        return last[rows], [part.select(own, rows) for part, own in zip(self.parts, states, strict=True)]


class BannedText(Constraint):
    """A text never appears in what is made, whichever tokens spell it.

    The state is how many bytes of it, from its beginning, the row's text ends with (Knuth, Morris and Pratt 1977).
    """

    by_spelling = True

    def __init__(self, text: str, tokenizer: Tokenizer) -> None:
        self._text = utf8(text)
        self._spellings = tokenizer.spellings
        shape = (len(self._text), len(self._spellings))
        # The state after each token, -1 where the text would be complete.
        self._after = np.zeros(shape, np.int32)
        self._allowed = np.zeros(shape, bool)
        self._known: set[int] = set()  # the rows that are filled

    def start(self, rows: int) -> np.ndarray:
        return np.zeros(rows, np.int64)

    def allowed(self, state: np.ndarray) -> np.ndarray:
        for matched in set(state.tolist()) - self._known:
            self._after[matched] = [self._matched(matched, token) for token in self._spellings]
            self._allowed[matched] = self._after[matched] >= 0
            self._known.add(matched)
        return self._allowed[state]

    def advance(self, state: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        return self._after[state, tokens]

    def select(self, state: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return state[rows]

    def _matched(self, matched: int, token: bytes) -> int:
        text = self._text[:matched] + token
        if self._text in text:
            return -1
        longest = min(len(text), len(self._text) - 1)
        return next((n for n in range(longest, 0, -1) if text.endswith(self._text[:n])), 0)


def is_complete(constraint: Constraint, tokenizer: Tokenizer, prompt: str, token_ids: Sequence[int]) -> bool:
    """Whether a text of these tokens after the prompt, which the constraint admitted, may end here."""
    alone = AllOf([constraint], tokenizer)
    state = alone.start(1, [tokenizer.encode(prompt)])
    for token in token_ids:
        state = alone.advance(state, np.array([token]))
    allowed = alone.allowed(state)
    return allowed is None or bool(allowed[0, tokenizer.end])


def constraints_of(sampling: Sampling, tokenizer: Tokenizer, other: Constraint | None = None) -> AllOf:
    """All that the settings ask for, and another."""
    banned = [BannedText(text, tokenizer) for text in sampling.ban]
    return AllOf(banned if other is None else [*banned, other], tokenizer)
