"""Token healing: a prompt that ends inside a word goes on as if the word had never been cut.

Tokens of learned vocabularies are long. A prompt that ends in `... RO` ends with the token `RO`, after which a model
that met `ROMEO` as one token has never seen `MEO`. So the prompt's last tokens are given back, as many as some longer
token begins with, and what is drawn first has to spell their bytes again: by a token that begins with all of them, or
by those tokens themselves and whatever begins with the rest.

With g_1 ... g_k the tokens given back and s_j the bytes that g_j ... g_k spell, the ways on are

    g_1 ... g_(j-1) t        t any token that begins with s_j, j = 1 ... k

Each is as likely as the model says, divided by what all of them have together: W_1, where

    W_j = sum of p(t | g_1 ... g_(j-1)) over the t that begin with s_j  +  p(g_j | ...) W_(j+1),  the second for j < k

So drawing token after token draws ways with their very probabilities, nothing is decided at the first token that only
the second can tell, and log-probabilities are those of the text given the whole prompt.

`HealedModel` is the model under that condition; whoever draws, searches or speculates with it needs to know no more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rung.generation.settings import Sampling
from rung.models.base import LanguageModel, State
from rung.text.tokenizers import Tokenizer

MOST_GIVEN_BACK = 32
"""Tokens: words of an open vocabulary may be spelled in bytes, one a token."""


@dataclass(frozen=True)
class Healing:
    """What a prompt is read as.

    Attributes:
        ids: its tokens, less those given back.
        given_back: g_1 ... g_k; none where nothing is to be healed.
        ways: for each of them the ids that begin with what is still to be spelled.
        n_bytes: how many bytes are spelled again.
    """

    ids: np.ndarray
    given_back: np.ndarray
    ways: tuple[np.ndarray, ...]
    n_bytes: int


class HealedState(NamedTuple):
    """Of R rows: the model's own state; whose prompt each row is, and how many of its tokens it has read (-1 = what it
    owed is spelled); for those that spell again, log p of each given-back token's way on, W_(j+1) (R, k)."""

    inner: State
    prompt: np.ndarray
    read: np.ndarray
    rest: dict[int, list[float]]


class HealedModel:
    """A language model under the condition that what it says after each prompt spells what was given back.

    It has of `LanguageModel` what generation asks for.
    """

    def __init__(self, model: LanguageModel, prompts: Sequence[Healing]) -> None:
        self._model, self._prompts = model, prompts
        self.end, self.vocab_size = model.end, model.vocab_size

    def start(self, batch: int = 1, prompts: np.ndarray | None = None) -> HealedState:
        """Rows that have seen nothing, each of one of the `prompts` by number; all of the first if none are told."""
        which = np.zeros(batch, np.int64) if prompts is None else np.asarray(prompts)
        return HealedState(self._model.start(batch), which, np.zeros(batch, np.int64), {})

    def select(self, state: HealedState, rows: np.ndarray) -> HealedState:
        return state._replace(
            inner=self._model.select(state.inner, rows), prompt=state.prompt[rows], read=state.read[rows]
        )

    def advance(self, state: HealedState, tokens: np.ndarray) -> tuple[np.ndarray, HealedState]:
        columns = np.asarray(tokens).reshape(len(state.read), -1)
        log_probs, inner = self._model.advance(state.inner, tokens)
        read = np.array(
            [self._read(*row) for row in zip(state.prompt, state.read, columns, strict=True)], np.int64
        )
        state = HealedState(inner, state.prompt, read, state.rest)
        owing = [row for row in range(len(read)) if self._owes(state, row)]
        if owing:
            log_probs = log_probs.copy()
            for row in owing:
                log_probs[row] = self._healed(log_probs[row], state, row)
        return log_probs, state

    def advance_all(self, state: HealedState, tokens: np.ndarray) -> tuple[np.ndarray, list[Any]]:
        if (state.read < 0).all():
            log_probs, inner = self._model.advance_all(state.inner, tokens)
            return log_probs, [state._replace(inner=own) for own in inner]
        found, states = [], []
        for column in np.asarray(tokens).T:
            after, state = self.advance(state, column)
            found.append(after)
            states.append(state)
        return np.stack(found, axis=1), states

    def _read(self, prompt: int, read: int, tokens: np.ndarray) -> int:
        """How many tokens of prompt and given-back tokens a row has read after `tokens`, marks before it included."""
        if read < 0:
            return -1
        healing = self._prompts[prompt]
        n_prompt = 1 + len(healing.ids)
        for token in tokens.tolist():
            place = read - n_prompt
            if place >= len(healing.given_back) - 1 or (place >= 0 and token != healing.given_back[place]):
                return -1  # the last of them, or a way of its own: nothing is owed any more
            read += 1
        return read

    def _owes(self, state: HealedState, row: int) -> bool:
        healing = self._prompts[state.prompt[row]]
        return bool(len(healing.given_back)) and state.read[row] >= 1 + len(healing.ids)

    def _healed(self, log_probs: np.ndarray, state: HealedState, row: int) -> np.ndarray:
        """Log-probabilities (V,) of one row that owes some bytes."""
        number = int(state.prompt[row])
        healing = self._prompts[number]
        place = int(state.read[row]) - 1 - len(healing.ids)
        if number not in state.rest:
            state.rest[number] = self._ways_on(state, row)
        ways = healing.ways[place]
        out = np.full_like(log_probs, -np.inf)
        out[ways] = log_probs[ways]
        if place < len(healing.given_back) - 1:
            token = healing.given_back[place]
            out[token] = log_probs[token] + state.rest[number][place]
        if out.max() == -np.inf:  # the model rules out what the prompt says: then as the prompt has it
            out[healing.given_back[place]] = 0
            return out
        return out - np.logaddexp.reduce(out)

    def _ways_on(self, state: HealedState, row: int) -> list[float]:
        """ln W_(j+1) for j = 1 ... k - 1, seen from the first token that is owed."""
        healing = self._prompts[state.prompt[row]]
        tokens = healing.given_back[:-1]
        if not len(tokens):
            return []
        own = self._model.select(state.inner, np.array([row]))
        log_probs, _ = self._model.advance_all(own, tokens[None])  # (1, k - 1, V)
        rest = float(np.logaddexp.reduce(log_probs[0, -1][healing.ways[-1]].astype(np.float64)))
        found = [rest]
        for place in range(len(tokens) - 1, 0, -1):
            row_of = log_probs[0, place - 1].astype(np.float64)
            longer = row_of[healing.ways[place]]
            rest = float(np.logaddexp.reduce(np.append(longer, row_of[tokens[place]] + rest)))
            found.append(rest)
        return found[::-1]


def heal(tokenizer: Tokenizer, prompt: str) -> Healing:
    """The longest end of a prompt that is the beginning of a longer token is given back."""
    ids = tokenizer.encode(prompt)
    whole = Healing(ids, ids[:0], (), 0)
    if not tokenizer.lossless:
        return whole
    longest = max(map(len, tokenizer.spellings))
    before = np.concatenate([[tokenizer.end], ids])
    most, owed = 0, b""
    for n in range(1, min(MOST_GIVEN_BACK, len(ids)) + 1):
        owed = tokenizer.spelling(int(ids[-n]), int(before[-n - 1])) + owed
        if len(owed) > longest:
            break
        if owed and beginning_with(tokenizer, owed, int(before[-n - 1]), longer=True).size:
            most = n
    if not most:
        return whole
    ways, n_bytes = [], 0
    for place in range(len(ids) - most, len(ids)):
        after = int(before[place])
        left = tokenizer.decode_bytes(ids[place:], after)
        n_bytes = max(n_bytes, len(left))
        ways.append(beginning_with(tokenizer, left, after, longer=place < len(ids) - 1))
    return Healing(ids[: len(ids) - most], ids[len(ids) - most :], tuple(ways), n_bytes)


def healed(
    model: LanguageModel, tokenizer: Tokenizer, prompts: Sequence[str], sampling: Sampling, constrained: bool
) -> tuple[LanguageModel, list[Healing]]:
    """What the prompts are read as, and the model to go on with.

    Under `--force`, which says what comes first, and under bans and constraints on the text made, which know nothing
    of the prompt, prompts stand as they are.
    """
    if sampling.heal and not (sampling.force or sampling.ban or constrained):
        found = [heal(tokenizer, prompt) for prompt in prompts]
    else:
        found = [Healing(ids, ids[:0], (), 0) for ids in map(tokenizer.encode, prompts)]
    if not any(len(one.given_back) for one in found):
        return model, found
    return HealedModel(model, found), found  # pyright: ignore[reportReturnType]


def start(model: LanguageModel, prompts: Sequence[int]) -> State:
    """The state of rows that have seen nothing, each of a prompt, by its number."""
    own: Any = model
    if isinstance(own, HealedModel):
        return own.start(len(prompts), np.array(prompts, np.int64))
    return model.start(len(prompts))


def beginning_with(tokenizer: Tokenizer, text: bytes, after: int, *, longer: bool) -> np.ndarray:
    """The ids (n,), rising, that begin with `text` where they stand after another; `longer` = and go on."""
    in_order, places = tokenizer.spellings_in_order
    begin, found = bisect_left(in_order, text), []
    for place, spelled in zip(places[begin:], in_order[begin:], strict=True):
        if not spelled.startswith(text):
            break
        if not longer or len(spelled) > len(text):
            found.append(place)
    if not tokenizer.by_neighbour:
        return np.sort(np.array(found, np.int64))
    ids = np.arange(tokenizer.vocab_size)
    return ids[np.isin(tokenizer.spelled(ids, np.full(len(ids), after)), found)]
