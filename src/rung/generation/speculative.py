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
from rung.generation.constraint import AllOf, Constraint, constraints_of
from rung.generation.drafts import Draft, ModelDraft, PromptLookupDraft, Proposal, built_in_draft
from rung.generation.healing import Healing, healed
from rung.generation.pipeline import Pipeline, TokenHistory, sample_tokens
from rung.generation.sampling import Step
from rung.generation.settings import Sampling
from rung.models.base import LanguageModel, State
from rung.runs import Run, load_language_model
from rung.text.tokenizers import Tokenizer

LOOKUP = "lookup"
SHORT_DRAFT = 3
LONG_DRAFT = 7
TIMED_STEPS = 5


@dataclass
class SpeculationReport:
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

    def clear(self) -> SpeculationReport:
        """Begin to count anew; the next text's own time for a token is tried again. Returns itself."""
        self.tokens = self.drafted = self.accepted = self.model_calls = 0
        self.seconds = self.seconds_alone = 0.0
        self.call_seconds = []
        return self


def speculative_steps(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: str,
    sampling: Sampling,
    draft: Draft | LanguageModel,
    constraint: Constraint | None = None,
    report: SpeculationReport | None = None,
) -> Iterator[Step]:
    """As `rung.generation.sampling.sample_steps` of one prompt, sample after sample, with a draft.

    Args:
        draft: a draft, or any model over the same vocabulary.
        report: counts up what became of the guesses.
    """
    pipeline = Pipeline(sampling, tokenizer)
    constraints = constraints_of(sampling, tokenizer, constraint)
    if isinstance(draft, LanguageModel):
        quick = built_in_draft(draft) if sampling.temperature == 0 else None
        draft = quick if quick is not None else ModelDraft(draft, pipeline)
    model, (healing,) = healed(model, tokenizer, [prompt], sampling, constraint is not None)
    ids = healing.ids
    history = [model.end, *ids.tolist()]
    state = model.start(1)
    if len(history) > 1:
        _, state = model.advance(state, np.array([history[:-1]]))
    one = np.zeros(1, np.int64)
    if report is not None:
        report.seconds_alone = _seconds_per_token(model, pipeline, model.select(state, one), history)
    for sample in range(sampling.samples):
        own = state if sampling.samples == 1 else model.select(state, one)
        draft.start()
        draft.push(history)
        own_report = report if report is not None else SpeculationReport()
        text = _SpeculativeText(model, pipeline, constraints, draft, own, healing, sample, own_report)
        yield from text.steps(history[-1])


class _SpeculativeText:
    """One text as it grows."""

    def __init__(
        self,
        model: LanguageModel,
        pipeline: Pipeline,
        constraints: AllOf,
        draft: Draft,
        state: State,
        healing: Healing,
        sample: int,
        report: SpeculationReport,
    ) -> None:
        prompt, self._skipped = healing.ids, np.array([healing.n_bytes])
        self._model, self._pipeline, self._constraints = model, pipeline, constraints
        self._draft, self._state, self._report = draft, state, report
        self._row = np.array([sample])
        self._past, self._constraint_state = pipeline.start([prompt]), constraints.start(1, [prompt])
        self._generator = np.random.default_rng([pipeline.sampling.seed, sample])

    def steps(self, last: int) -> Iterator[Step]:
        """`last` is the token that the model hasn't read yet."""
        sampling, end, report = self._pipeline.sampling, self._model.end, self._report
        n_made, n_drafted = 0, SHORT_DRAFT
        while True:
            begin = time.perf_counter()
            room = sampling.max_tokens - n_made - 1  # one token comes from the model itself
            proposal = self._propose(min(n_drafted, room))
            log_probs, states = self._model.advance_all(self._state, np.array([[last, *proposal.tokens]]))
            tokens = self._verify(log_probs[0], proposal)
            accepted = len(tokens) - 1
            self._state = states[accepted]
            del states  # a cache that nobody else reads can be written on in place
            report.drafted += len(proposal.tokens)
            report.accepted += accepted
            report.model_calls += 1
            report.call_seconds.append(time.perf_counter() - begin)
            report.seconds += report.call_seconds[-1]
            n_drafted = LONG_DRAFT if accepted == len(proposal.tokens) else SHORT_DRAFT
            for place, token in enumerate(tokens):
                n_made += 1
                report.tokens += 1
                before = tokens[place - 1] if place else last
                step = self._step(
                    before, token, log_probs[:, place], n_made == sampling.max_tokens, token == end
                )
                yield step
                if step.over[0]:
                    return
            begin = time.perf_counter()
            self._draft.push(tokens)
            last = tokens[-1]
            report.seconds += time.perf_counter() - begin

    def _propose(self, k: int) -> Proposal:
        """A guess that keeps to the constraints."""
        if k <= 0:
            return Proposal([], None)
        draft = self._draft
        if isinstance(draft, ModelDraft):
            return draft.propose_sampled(
                k, self._past, self._constraints, self._constraint_state, self._generator
            )
        proposal = draft.propose(k)
        constraint_state = self._constraint_state
        if not self._constraints.parts:
            return proposal
        for n, token in enumerate(proposal.tokens):
            allowed = self._constraints.allowed(constraint_state)
            if allowed is not None and not allowed[0, token]:
                return Proposal(proposal.tokens[:n], None)
            constraint_state = self._constraints.advance(constraint_state, np.array([token]))
        return proposal

    def _verify(self, log_probs: np.ndarray, proposal: Proposal) -> list[int]:
        """What of the guess stays, and the model's own token after it; (K + 1, V) -> at most K + 1 tokens."""
        pipeline, drafted = self._pipeline, proposal.tokens
        plain = not pipeline.needs_history and not self._constraints.parts
        if plain and pipeline.sampling.temperature == 0:
            past = _repeat_history(self._past, len(log_probs))
            choices = pipeline.sample(log_probs, past, np.empty(0)).tolist()
            n = 0
            while n < len(drafted) and choices[n] == drafted[n]:
                n += 1
            self._past = _extend_history(self._past, n + 1)
            return choices[: n + 1]
        rows = pipeline.process(log_probs, _repeat_history(self._past, len(log_probs))) if plain else None
        tokens: list[int] = []
        for place in range(len(log_probs)):
            if rows is not None:
                row = rows[place : place + 1]
            else:
                allowed = self._constraints.allowed(self._constraint_state)
                row = pipeline.process(log_probs[place : place + 1], self._past, allowed)
            guessed = drafted[place] if place < len(drafted) else None
            q = None if proposal.probs is None or guessed is None else proposal.probs[place]
            token = _accept_or_resample(row, guessed, q, self._generator)
            tokens.append(token)
            column = np.array([token])
            if pipeline.needs_history:
                self._past = self._past.after(column)
            if token == self._model.end:
                break
            self._constraint_state = self._constraints.advance(self._constraint_state, column)
            if token != guessed:
                break
        return tokens

    def _step(self, before: int, token: int, log_probs: np.ndarray, last: bool, mark: bool) -> Step:
        top = self._pipeline.top(log_probs)
        over = np.array([last or mark])  # whoever reads the step may write to it
        return Step(
            self._row,
            np.array([before]),
            np.array([token]),
            log_probs[:, token],
            *top,
            np.array([last]),
            over,
            self._skipped,
        )


def _seconds_per_token(model: LanguageModel, pipeline: Pipeline, state: State, read: list[int]) -> float:
    """What a token takes without a draft, the median of a few."""
    past, uniforms = pipeline.start([np.array(read[1:], np.int64)]), np.full(1, 0.5)
    token = np.array(read[-1:])
    seconds = []
    for _ in range(TIMED_STEPS):
        begin = time.perf_counter()
        log_probs, state = model.advance(state, token)
        pipeline.sample(log_probs, past, uniforms)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def open_draft(name: str, run: Run) -> Draft | LanguageModel:
    """What `--draft` names: `lookup`, or the folder of a run with the same tokeniser.

    Raises UserError for another tokeniser and for a run without probabilities.
    """
    if name == LOOKUP:
        return PromptLookupDraft()
    other = load_language_model(name)
    if not other.tokenizer.spells_like(run.tokenizer):
        raise UserError(
            f"--draft {name} has another tokeniser than {run.folder}; a draft must be trained on the same text with "
            f"the same --tokenizer; --draft {LOOKUP} goes with every run"
        )
    if not other.model.has_probabilities:
        raise UserError(f"--draft {name} gives scores, not probabilities; it can't draft")
    return other.model


def _accept_or_resample(
    row: np.ndarray, guessed: int | None, q: np.ndarray | None, generator: np.random.Generator
) -> int:
    """The token of one place: `guessed` if it is accepted, or one drawn from what is left; row (1, V)."""
    if guessed is None:
        return int(sample_tokens(row, generator.random(1))[0])
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
    if cumulative[-1] == 0:  # p and q differ by rounding alone
        cumulative = np.cumsum(p)
    return int(np.count_nonzero(cumulative <= generator.random() * cumulative[-1]))


def _repeat_history(past: TokenHistory, n: int) -> TokenHistory:
    """Any past of n rows: nothing asks for it."""
    return TokenHistory(np.repeat(past.n_made, n), None, None)


def _extend_history(past: TokenHistory, n: int) -> TokenHistory:
    return TokenHistory(past.n_made + n, past.counts, past.seen)
