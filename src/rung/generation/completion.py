"""The likeliest ways to finish a word, or to say the next one, with their probabilities: what an editor offers.

A completion is what comes after the prefix up to the end of a word: the rest of the word that the prefix ends in, or,
where that is whole, what stands before the next word, and that word. It is complete when the model goes on with what is
no part of a word, or ends the document:

    P(completion) = sum, over the tokens that spell it and those that may follow, of the model's own P

The search is best first: of all texts begun the likeliest is read on, until none begun can be likelier than the n-th
complete one. So the n likeliest are found; spellings of one text by other tokens are added up as far as they were met.
The prefix is healed (`rung.generation.healing`).
"""

from __future__ import annotations

import heapq
import math
import re
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from rung.errors import UserError
from rung.generation.healing import healed, start
from rung.generation.settings import Sampling
from rung.models.base import LanguageModel
from rung.text.tokenizers import Tokenizer

MOST_READ = 4096
"""Texts begun that are read on; then the search ends with what it has."""
LONGEST = 64
"""Bytes of a completion."""
WORD_AND_REST = re.compile(r"(?s)(\W*\w[\w'\u2019-]*)(.*)")


@dataclass(frozen=True)
class Completion:
    """One way on.

    Attributes:
        text: what comes after the prefix, without what ends it.
        probability: of just this text up to the end of a word, by the model.
    """

    text: str
    probability: float


def complete(model: LanguageModel, tokenizer: Tokenizer, prefix: str, n: int = 5) -> list[Completion]:
    """The `n` likeliest completions of `prefix`, likeliest first; fewer where there are no more.

    Raises UserError for n below 1, and for words whose letters are lost.
    """
    if n < 1:
        raise UserError(f"n = {n} is not possible: give 1 or more")
    if not tokenizer.lossless:
        raise UserError(f"a {tokenizer.kind} vocabulary spells no text: there is nothing to complete")
    model, (healing,) = healed(model, tokenizer, [prefix], Sampling(), constrained=False)
    log_probs, state = model.advance(start(model, [0]), np.array([[tokenizer.end, *healing.ids]]))
    last = int(healing.ids[-1]) if len(healing.ids) else tokenizer.end
    search = _Search(tokenizer, healing.n_bytes, n)
    search.read(_Begun(0.0, b"", last, False), log_probs[0], state)
    for _ in range(MOST_READ):
        following = search.likeliest()
        if following is None:
            break
        begun, before = following
        row, after = model.advance(model.select(before, np.zeros(1, np.int64)), np.array([begun.token]))
        search.read(begun, row[0], after)
    best = sorted(search.found.items(), key=lambda one: -one[1])[:n]
    return [Completion(text, probability) for text, probability in best]


class _Begun(NamedTuple):
    """A text begun: -log p, its bytes, its last token, and whether it has a word that may end here."""

    cost: float
    spelled: bytes
    token: int
    has_word: bool


class _Search:
    """What was found and what is begun.

    Attributes:
        found: the complete texts and their probabilities.
    """

    def __init__(self, tokenizer: Tokenizer, owed: int, n: int) -> None:
        """`owed`: how many bytes spelled first are the prefix's own."""
        self.found: dict[str, float] = {}
        self._tokenizer, self._owed, self._n = tokenizer, owed, n
        self._begun: list[tuple[float, int, _Begun, Any]] = []
        self._number = count()
        spellings = tokenizer.spellings
        # Half a byte spells nothing yet, and ends no word.
        self._part_of_word = np.array([not text or bool(_STARTS_IN_WORD.match(text)) for text in spellings])
        self._part_of_word[tokenizer.end] = False
        self._ids = np.arange(tokenizer.vocab_size)

    def likeliest(self) -> tuple[_Begun, Any] | None:
        """The likeliest text begun, and the model's state before its last token; None where none can be of the best."""
        if not self._begun or -self._begun[0][0] <= self._least():
            return None
        *_, begun, state = heapq.heappop(self._begun)
        return begun, state

    def read(self, begun: _Begun, row: np.ndarray, state: Any) -> None:
        """What may follow a text, by the model's log-probabilities (V,) after it."""
        tokenizer = self._tokenizer
        places = tokenizer.spelled(self._ids, np.full(len(self._ids), begun.token))
        ends = ~self._part_of_word[places] if begun.has_word else np.zeros(len(places), bool)
        if ends.any():
            text = begun.spelled[self._owed :].decode("utf-8", "replace")
            self._add(text, float(np.exp(np.logaddexp.reduce(row[ends].astype(np.float64)) - begun.cost)))
        ends[tokenizer.end] = True
        for token in np.flatnonzero(~ends & (row - begun.cost > self._least())).tolist():
            cost, spelled = begun.cost - float(row[token]), begun.spelled + tokenizer.spellings[places[token]]
            if len(spelled) - self._owed > LONGEST:
                continue
            try:
                word = WORD_AND_REST.match(spelled[self._owed :].decode())
            except UnicodeDecodeError:  # in the middle of a character
                word = None
            if word and word[2]:  # one token ended the word and went on
                self._add(word[1], math.exp(-cost))
                continue
            new = _Begun(cost, spelled, token, word is not None)
            heapq.heappush(self._begun, (cost, next(self._number), new, state))

    def _add(self, text: str, probability: float) -> None:
        if probability > 0:
            self.found[text] = self.found.get(text, 0.0) + probability

    def _least(self) -> float:
        """The log-probability that a text must be above to be one of the best."""
        if len(self.found) < self._n:
            return -math.inf
        return math.log(heapq.nlargest(self._n, self.found.values())[-1])


_STARTS_IN_WORD = re.compile(rb"[0-9A-Za-z_'\x80-\xff-]")
"""What a word may go on with, by the first byte of a token: letters beyond ASCII are taken for such by theirs."""
