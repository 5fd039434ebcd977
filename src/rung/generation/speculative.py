"""Speculative decoding: a draft guesses some tokens ahead, the model reads them all at once and keeps what is right.

Leviathan et al. 2023 (arXiv:2211.17192) and Chen et al. 2023 (arXiv:2302.01318). With p the model's distribution at a
place, reshaped by the pipeline, and q the one that the draft drew its token x from, reshaped likewise:

    x is kept with probability min(1, p(x) / q(x));
    if it isn't, the token is drawn from max(p - q, 0), renormalised, and the rest of the guess is dropped;
    if all are kept, one token more is drawn from p: the model has read that far anyway.

Whatever the draft, each token is then distributed exactly as the model's own; at temperature 0 the text is the same. (A
neural rung's logits may differ in their last bits with the number of tokens read at once; a choice that lies that
near to a border may then fall to the other side.)

Samples are made one after the other, as each is accepted to another length; what the prompt costs is shared.

How many tokens to ask for follows what was accepted: LONG_GUESS after a guess that was all right, else SHORT_GUESS. A
small GPT reads four tokens for 1.6 times and eight for 2.5 times the price of one; with such prices this made greedy
Shakespeare 1.56 times as fast, and two more after a success, one less after a failure, up to twelve, 1.44 times.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from rung.errors import UserError
from rung.generation.constraint import Constraint, Every, constraints_of
from rung.generation.drafts import Draft, LookupDraft, Proposal, draft_of
from rung.generation.pipeline import Past, Pipeline, draw, ranking
from rung.generation.sampling import Step
from rung.generation.settings import Sampling
from rung.models.base import LanguageModel, State
from rung.runs import Run, load
from rung.text.tokenizers import Tokenizer

LOOKUP = "lookup"
SHORT_GUESS = 3
LONG_GUESS = 7
TRIED = 5


@dataclass
class Speculation:
    """What became of the guesses.

    Attributes:
        tokens: tokens made.
        drafted: tokens guessed.
        accepted: of those, the ones that the model kept.
        model_calls: how often the model was asked; without a draft that is once a token.
        seconds: what it took, the prompt excepted.
        seconds_alone: what one token takes without a draft, the median of a few; 0 = not tried.
        call_seconds: what each call took, the guess that it judged included.
    """

    tokens: int = 0
    drafted: int = 0
    accepted: int = 0
    model_calls: int = 0
    seconds: float = 0.0
    seconds_alone: float = 0.0
    call_seconds: list[float] = field(default_factory=list)

    @property
    def speed_up(self) -> float | None:
        """How many times as fast as without a draft; None when nobody knows."""
        if not self.call_seconds or self.seconds_alone == 0:
            return None
        # Medians, so that what is compiled or read again now and then weighs on neither side.
        return self.tokens / self.model_calls * self.seconds_alone / statistics.median(self.call_seconds)

    def clear(self) -> Speculation:
        """Begin to count anew; the next text's own time for a token is tried again. Returns itself."""
        self.tokens = self.drafted = self.accepted = self.model_calls = 0
        self.seconds = self.seconds_alone = 0.0
        self.call_seconds = []
        return self


def steps(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: str,
    how: Sampling,
    draft: Draft | LanguageModel,
    constraint: Constraint | None = None,
    report: Speculation | None = None,
) -> Iterator[Step]:
    """As `rung.generation.sampling.steps` of one prompt, sample after sample, with a draft.

    Args:
        draft: a draft, or any model over the same vocabulary.
        report: counts up what became of the guesses.
    """
    pipeline = Pipeline(how, tokenizer)
    limits_of = constraints_of(how, tokenizer)
    if constraint is not None:
        limits_of.parts.append(constraint)
    if isinstance(draft, LanguageModel):
        quick = draft_of(draft) if how.temperature == 0 else None
        draft = quick if quick is not None else ModelDraft(draft, pipeline)
    ids = tokenizer.encode(prompt)
    history = [model.end, *ids.tolist()]
    state = model.start(1)
    if len(history) > 1:
        _, state = model.advance(state, np.array([history[:-1]]))
    one = np.zeros(1, np.int64)
    if report is not None:
        report.seconds_alone = _seconds_alone(model, pipeline, model.select(state, one), history)
    for sample in range(how.samples):
        own = state if how.samples == 1 else model.select(state, one)
        draft.start()
        draft.push(history)
        speculation = report if report is not None else Speculation()
        yield from _Text(model, pipeline, limits_of, draft, own, ids, sample, speculation).steps(history[-1])


class _Text:
    """One text as it grows."""

    def __init__(
        self,
        model: LanguageModel,
        pipeline: Pipeline,
        limits_of: Every,
        draft: Draft,
        state: State,
        prompt: np.ndarray,
        sample: int,
        report: Speculation,
    ) -> None:
        self._model, self._pipeline, self._limits_of = model, pipeline, limits_of
        self._draft, self._state, self._report = draft, state, report
        self._row = np.array([sample])
        self._past, self._limits = pipeline.start([prompt]), limits_of.start(1)
        self._generator = np.random.default_rng([pipeline.how.seed, sample])

    def steps(self, last: int) -> Iterator[Step]:
        """`last` is the token that the model hasn't read yet."""
        how, end, report = self._pipeline.how, self._model.end, self._report
        made, guess = 0, SHORT_GUESS
        while True:
            begin = time.perf_counter()
            room = how.max_tokens - made - 1  # one token comes from the model itself
            proposal = self._draft_of_many(min(guess, room), made)
            log_probs, states = self._model.advance_all(self._state, np.array([[last, *proposal.tokens]]))
            tokens = self._kept(log_probs[0], proposal)
            accepted = len(tokens) - 1
            self._state = states[accepted]
            del states  # a cache that nobody else reads can be written on in place
            report.drafted += len(proposal.tokens)
            report.accepted += accepted
            report.model_calls += 1
            report.call_seconds.append(time.perf_counter() - begin)
            report.seconds += report.call_seconds[-1]
            guess = LONG_GUESS if accepted == len(proposal.tokens) else SHORT_GUESS
            for place, token in enumerate(tokens):
                made += 1
                report.tokens += 1
                step = self._step(token, log_probs[:, place], made == how.max_tokens, token == end)
                yield step
                if step.over[0]:
                    return
            begin = time.perf_counter()
            self._draft.push(tokens)
            last = tokens[-1]
            report.seconds += time.perf_counter() - begin

    def _draft_of_many(self, k: int, made: int) -> Proposal:
        """A guess that keeps to the constraints."""
        if k <= 0:
            return Proposal([], None)
        draft = self._draft
        if isinstance(draft, ModelDraft):
            return draft.drawn(k, self._past, self._limits_of, self._limits, self._generator)
        proposal = draft.propose(k)
        limits = self._limits
        if not self._limits_of.parts:
            return proposal
        for n, token in enumerate(proposal.tokens):
            allowed = self._limits_of.allowed(limits)
            if allowed is not None and not allowed[0, token]:
                return Proposal(proposal.tokens[:n], None)
            limits = self._limits_of.advance(limits, np.array([token]))
        return proposal

    def _kept(self, log_probs: np.ndarray, proposal: Proposal) -> list[int]:
        """What of the guess stays, and the model's own token after it; (K + 1, V) -> at most K + 1 tokens."""
        pipeline, drafted = self._pipeline, proposal.tokens
        plain = not pipeline.remembers and not self._limits_of.parts
        if plain and pipeline.how.temperature == 0:
            past = _repeated(self._past, len(log_probs))
            choices = pipeline.pick(log_probs, past, np.empty(0)).tolist()
            n = 0
            while n < len(drafted) and choices[n] == drafted[n]:
                n += 1
            self._past = _made(self._past, n + 1)
            return choices[: n + 1]
        rows = pipeline.processed(log_probs, _repeated(self._past, len(log_probs))) if plain else None
        tokens: list[int] = []
        for place in range(len(log_probs)):
            if rows is not None:
                row = rows[place : place + 1]
            else:
                allowed = self._limits_of.allowed(self._limits)
                row = pipeline.processed(log_probs[place : place + 1], self._past, allowed)
            guessed = drafted[place] if place < len(drafted) else None
            q = None if proposal.probs is None or guessed is None else proposal.probs[place]
            token = _judged(row, guessed, q, self._generator)
            tokens.append(token)
            column = np.array([token])
            if pipeline.remembers:
                self._past = self._past.after(column)
            if token != guessed or token == self._model.end:
                if token != self._model.end:
                    self._limits = self._limits_of.advance(self._limits, column)
                break
            self._limits = self._limits_of.advance(self._limits, column)
        return tokens

    def _step(self, token: int, log_probs: np.ndarray, last: bool, mark: bool) -> Step:
        n_top = self._pipeline.how.top_logprobs
        top, top_log_probs = _NO_TOP
        if n_top:
            top = ranking(log_probs, n_top)
            top_log_probs = np.take_along_axis(log_probs, top, -1)
        over = np.array([last or mark])  # whoever reads the step may write to it
        return Step(
            self._row, np.array([token]), log_probs[:, token], top, top_log_probs, np.array([last]), over
        )


_NO_TOP = np.empty((1, 0), np.int64), np.empty((1, 0), np.float32)


class ModelDraft(Draft):
    """Any model as a draft: it draws token by token, from its distribution reshaped like the target's."""

    def __init__(self, model: LanguageModel, pipeline: Pipeline) -> None:
        self._model, self._pipeline = model, pipeline
        self._state: State = None
        self._read = 0  # tokens of the text that the state has read
        self._text: list[int] = []
        self._ahead: list[
            tuple[State, int]
        ] = []  # states after the tokens guessed, and how much each has read

    def start(self) -> None:
        self._state, self._read, self._text = self._model.start(1), 0, []

    def push(self, tokens: list[int]) -> None:
        self._text.extend(tokens)

    def propose(self, k: int) -> Proposal:
        raise NotImplementedError("a model's guess depends on the past and the constraints: use `drawn`")

    def drawn(
        self, k: int, past: Past, limits_of: Every, limits: list, generator: np.random.Generator
    ) -> Proposal:
        """At most k tokens, each drawn after those before it, and the distributions they were drawn from."""
        greedy = self._pipeline.how.temperature == 0
        log_probs, self._state = self._model.advance(self._state, np.array([self._text[self._read :]]))
        self._read = len(self._text)
        state = self._state
        tokens: list[int] = []
        rows = []
        while True:
            allowed = limits_of.allowed(limits)
            if allowed is not None and not allowed.any():
                break
            if greedy:
                token = int(self._pipeline.pick(log_probs, past, np.empty(0), allowed)[0])
            else:
                row = self._pipeline.processed(log_probs, past, allowed)
                token = int(draw(row, generator.random(1))[0])
                rows.append(np.exp(row[0].astype(np.float64)))
            tokens.append(token)
            if len(tokens) == k or token == self._model.end:
                break
            column = np.array([token])
            if self._pipeline.remembers:
                past = past.after(column)
            limits = limits_of.advance(limits, column)
            log_probs, state = self._model.advance(state, column)
        return Proposal(tokens, np.stack(rows) if rows else None)


def _seconds_alone(model: LanguageModel, pipeline: Pipeline, state: State, history: list[int]) -> float:
    """What a token takes without a draft, the median of a few."""
    past, uniforms = pipeline.start([np.array(history[1:], np.int64)]), np.full(1, 0.5)
    token = np.array(history[-1:])
    seconds = []
    for _ in range(TRIED):
        begin = time.perf_counter()
        log_probs, state = model.advance(state, token)
        pipeline.pick(log_probs, past, uniforms)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def open_draft(name: str, run: Run) -> Draft | LanguageModel:
    """What `--draft` names: `lookup`, or the folder of a run with the same tokeniser.

    Raises UserError for another tokeniser and for a run without probabilities.
    """
    if name == LOOKUP:
        return LookupDraft()
    other = load(name)
    if other.tokenizer.token_bytes != run.tokenizer.token_bytes:
        raise UserError(
            f"--draft {name} has another tokeniser than {run.folder}; a draft must be trained on the same text with "
            f"the same --tokenizer; --draft {LOOKUP} goes with every run"
        )
    if not other.model.has_probabilities:
        raise UserError(f"--draft {name} gives scores, not probabilities; it can't draft")
    return other.model


def _judged(
    row: np.ndarray, guessed: int | None, q: np.ndarray | None, generator: np.random.Generator
) -> int:
    """The token of one place: `guessed` if it is accepted, or one drawn from what is left; row (1, V)."""
    if guessed is None:
        return int(draw(row, generator.random(1))[0])
    p = np.exp(row[0].astype(np.float64))
    p /= p.sum()
    q_guessed, rest = 1.0, p.copy()
    if q is None:
        rest[guessed] = 0
    else:
        q = np.asarray(q / q.sum())
        q_guessed, rest = float(q[guessed]), np.maximum(p - q, 0)
    if generator.random() * q_guessed < p[guessed]:
        return guessed
    cumulative = np.cumsum(rest)
    return int(np.count_nonzero(cumulative <= generator.random() * cumulative[-1]))


def _repeated(past: Past, n: int) -> Past:
    """Any past of n rows: nothing asks for it."""
    return Past(np.repeat(past.made, n), None, None)


def _made(past: Past, n: int) -> Past:
    return Past(past.made + n, past.counts, past.seen)
