"""Who guesses ahead for speculative decoding: another model, an n-gram's likeliest path, or the text itself.

A draft follows the text as it grows (`push`) and proposes how it goes on. What it proposes may be anything: the target
accepts or corrects it, so a poor draft costs time and never changes what is written.

A draft that draws tells the distribution it drew from; one that only points at tokens tells None, which is
a distribution with all probability on each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from dataclasses import fields
from typing import NamedTuple

import numpy as np

from rung.errors import UserError
from rung.generation.constraint import AllOf, AllOfState
from rung.generation.pipeline import Pipeline, TokenHistory, sample_tokens
from rung.models.base import LanguageModel, State
from rung.models.counting.backoff_trie import ROOT, BackoffTrie
from rung.models.counting.ngram import NGram

LONGEST_MATCH = 8
MIN_PATH_PROBABILITY = 0.45
"""An n-gram's path ends where its probability, as a whole, falls below this: what comes is hardly ever accepted."""


class Proposal(NamedTuple):
    """K tokens (K,), and the probabilities (K, V) they were drawn from, or None where nothing was drawn."""

    tokens: list[int]
    probs: np.ndarray | None


class Draft(ABC):
    """Guesses how one text goes on."""

    @abstractmethod
    def start(self) -> None:
        """Forget everything: a new text begins."""

    @abstractmethod
    def push(self, tokens: list[int]) -> None:
        """These tokens are now part of the text, the mark that opens it included."""

    @abstractmethod
    def propose(self, k: int) -> Proposal:
        """At most k tokens that may come next, perhaps none."""


class PromptLookupDraft(Draft):
    """What followed the last time the text's last tokens stood in it, the longest such end first.

    Prompt look-up decoding: texts repeat names, phrases and what they quote.
    """

    def __init__(self, longest: int = LONGEST_MATCH, shortest: int = 2) -> None:
        self._lengths = range(longest, shortest - 1, -1)
        self._text: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}

    def start(self) -> None:
        self._text, self._after = [], {}

    def push(self, tokens: list[int]) -> None:
        text = self._text
        for token in tokens:
            # The ends of what came before are followed by this token; the text's own end is no match for itself.
            for length in self._lengths:
                if length <= len(text):
                    self._after[tuple(text[-length:])] = len(text)
            text.append(token)

    def propose(self, k: int) -> Proposal:
        for length in self._lengths:
            if length <= len(self._text):
                at = self._after.get(tuple(self._text[-length:]))
                if at is not None:
                    return Proposal(self._text[at : at + k], None)
        return Proposal([], None)


class ModelDraft(Draft):
    """Any model as a draft: it draws token by token, from its distribution reshaped like the target's."""

    def __init__(self, model: LanguageModel, pipeline: Pipeline) -> None:
        self._model, self._pipeline = model, pipeline
        self._state: State = None
        self._read = 0  # tokens of the text that the state has read
        self._text: list[int] = []

    def start(self) -> None:
        self._state, self._read, self._text = self._model.start(1), 0, []

    def push(self, tokens: list[int]) -> None:
        self._text.extend(tokens)

    def propose(self, k: int) -> Proposal:
        raise NotImplementedError(
            "a model's guess depends on the past and the constraints: use `propose_sampled`"
        )

    def propose_sampled(
        self,
        k: int,
        past: TokenHistory,
        constraints: AllOf,
        constraint_state: AllOfState,
        generator: np.random.Generator,
    ) -> Proposal:
        """At most k tokens, each drawn after those before it, and the distributions they were drawn from."""
        greedy = self._pipeline.sampling.temperature == 0
        log_probs, self._state = self._model.advance(self._state, np.array([self._text[self._read :]]))
        self._read = len(self._text)
        state = self._state
        tokens: list[int] = []
        rows = []
        while True:
            allowed = constraints.allowed(constraint_state)
            try:
                if greedy:
                    token = int(self._pipeline.sample(log_probs, past, np.empty(0), allowed)[0])
                else:
                    row = self._pipeline.process(log_probs, past, allowed)
                    token = int(sample_tokens(row, generator.random(1))[0])
                    rows.append(np.exp(row[0].astype(np.float64)))
            except UserError:  # it has no token left: the target may have, or never come this way
                break
            tokens.append(token)
            if len(tokens) == k or token == self._model.end:
                break
            column = np.array([token])
            if self._pipeline.needs_history:
                past = past.after(column)
            constraint_state = constraints.advance(constraint_state, column)
            log_probs, state = self._model.advance(state, column)
        return Proposal(tokens, np.stack(rows) if rows else None)


class NGramDraft(Draft):
    """The likeliest token after the last few, and the likeliest after that: an n-gram's path, found once a node.

    The likeliest token after a history h is its likeliest child in the trie, or the likeliest after the shorter h',
    less the backoff, whichever is likelier. That is the argmax of the whole distribution, as in an interpolated model
    no child is less likely than the backed-off path to the same token.

    Where more tokens than the n-gram remembers have stood in the text before, what followed there is proposed: greedy
    texts are full of repetitions.
    """

    def __init__(self, model: NGram) -> None:
        # Arrays mapped from a file are slow to look into one by one.
        arrays = {
            field.name: getattr(model.trie, field.name).view(np.ndarray) for field in fields(BackoffTrie)
        }
        trie = BackoffTrie(**arrays)
        self._trie = trie
        self._end = model.end
        self._n_inner = int(trie.level_start[trie.order])
        self._best_after: dict[int, tuple[int, float, int]] = {}
        self._node = ROOT
        self._lookup = PromptLookupDraft(max(trie.order, 3), max(trie.order, 3))

    def start(self) -> None:
        self._node = ROOT
        self._lookup.start()

    def push(self, tokens: list[int]) -> None:
        self._lookup.push(tokens)
        for token in tokens[-self._trie.order :]:
            self._node = _step(self._trie, self._node, token, self._end, self._n_inner)

    def propose(self, k: int) -> Proposal:
        repeated = self._lookup.propose(k)
        if repeated.tokens:
            return repeated
        node, path_probability = self._node, 1.0
        tokens: list[int] = []
        while len(tokens) < k:
            token, probability, node = self._likeliest(node)
            path_probability *= probability
            if path_probability < MIN_PATH_PROBABILITY and tokens:
                break
            tokens.append(token)
        return Proposal(tokens, None)

    def _likeliest(self, node: int) -> tuple[int, float, int]:
        """The likeliest token after a history, its probability, and the history after it."""
        best = self._best_after.get(node)
        if best is None:
            trie = self._trie
            child, total, backoff, history = -1, -np.inf, 0.0, node
            while True:
                low, high = int(trie.first_child[history]), int(trie.first_child[history + 1])
                if low < high:
                    at = low + int(trie.log_prob[low:high].argmax())
                    if child < 0 or backoff + float(trie.log_prob[at]) > total:
                        child, total = at, backoff + float(trie.log_prob[at])
                if history == ROOT:
                    break
                backoff += float(trie.log_backoff[history])
                if total >= backoff:  # whatever is there would have to be more than certain
                    break
                history = int(trie.suffix[history])
            token = int(trie.words[child])
            after = _state(trie, child, token, self._end, self._n_inner)
            best = self._best_after[node] = token, float(np.exp(total)), after
        return best


def _step(trie: BackoffTrie, node: int, token: int, end: int, n_inner: int) -> int:
    """`BackoffTrie.step` of one history, without arrays."""
    if trie.order == 1:
        return ROOT
    words = trie.words
    while node != ROOT:
        low, high = int(trie.first_child[node]), int(trie.first_child[node + 1])
        at = low + bisect_left(words[low:high], token)  # type: ignore[arg-type]
        if at < high and words[at] == token:
            return _state(trie, at, token, end, n_inner)
        node = int(trie.suffix[node])
    return _state(trie, 1 + token, token, end, n_inner)


def _state(trie: BackoffTrie, child: int, token: int, end: int, n_inner: int) -> int:
    """The history after an n-gram: itself, less its first token if it has the highest order."""
    if trie.order == 1:
        return ROOT
    if token == end:
        child = 1 + end
    return int(trie.suffix[child]) if child >= n_inner else child


def built_in_draft(model: LanguageModel) -> Draft | None:
    """The quick draft that a model has in it, where it has one."""
    if model.rung == "infinigram":
        from rung.models.counting.infinigram import InfiniGram  # loads what compiles its walk

        assert isinstance(model, InfiniGram)
        return NGramDraft(model.ngram)
    return NGramDraft(model) if isinstance(model, NGram) and model.has_probabilities else None
