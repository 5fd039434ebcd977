"""Beam search: the likeliest text instead of a random one, as far as W candidates side by side can find it.

At every step each beam is continued by every token, and the best W continuations that don't end go on; those among the
best W that end are finished, with the score

    log P(text) / length ** length_penalty          length in tokens, the document mark counted

Of the finished, the W best are kept. The score of a text can only fall as it grows (but for the division), which tells
when no beam can still get among them. At max_tokens every beam is finished as it is. With W as large as the number of
possible texts this is exhaustive search. All choices, early stopping too, are those of transformers' `generate`.

Diverse beams (Vijayakumar et al. 2016, arXiv:1610.02424): the beams are divided into groups, each searching on its own,
but when a group chooses its tokens, those that earlier groups chose at this step are held against it, the penalty
for each beam that did. The penalty weighs in the choice only; scores remain the model's.

Penalties, bias, bans, least length and constraints (steps 1 to 4 of `rung.generation.pipeline`) are part of the
score, as in transformers. What belongs to drawing (temperature, top-k, ...) has no part in a search.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

import numpy as np

from rung.errors import UserError
from rung.generation.constraint import Constraint, constraints_of
from rung.generation.healing import healed
from rung.generation.pipeline import NO_TOKEN_LEFT, Pipeline, top_k_ids
from rung.generation.sampling import Sample
from rung.generation.settings import LARGEST_PENALTY, MOST_BEAMS, Sampling, check_settings
from rung.generation.text_stream import TextStream
from rung.measure import NO_NUMBERS
from rung.models.base import LanguageModel
from rung.text.tokenizers import Tokenizer

SAMPLING_ONLY = ("samples", "temperature", "top_k", "top_p", "min_p", "typical_p", "top_logprobs")
"""Settings of `Sampling` that a search has no use for."""


@dataclass(frozen=True)
class BeamSettings:
    """How to search.

    Attributes:
        beams: candidates kept at every step; without it, no search but a draw.
        n_best: how many texts to give, best first.
        length_penalty: the score is log P / tokens ** this; 0 favours short texts, above 1 long ones.
        early_stopping: never: go on until no beam can get better than what is finished. heuristic: the same, taking
            the beams' present length for their last (transformers' default). full: stop at `beams` finished texts.
        beam_groups: groups that search different texts.
        diversity_penalty: nats held against a token for every beam of an earlier group that chose it.
    """

    beams: int | None = None
    n_best: int = 1
    length_penalty: float = 1.0
    early_stopping: Literal["never", "heuristic", "full"] = "never"
    beam_groups: int = 1
    diversity_penalty: float = 0.0

    def __post_init__(self) -> None:
        beams = self.beams
        if beams is None:
            for field in fields(self):
                if getattr(self, field.name) != field.default:
                    raise UserError(f"--{field.name.replace('_', '-')} goes with --beams: give how many")
            return
        grouped = self.diversity_penalty == 0 or self.beam_groups > 1
        check_settings(
            self,
            beams=(1 <= beams <= MOST_BEAMS, f"1 to {MOST_BEAMS:,}"),
            n_best=(1 <= self.n_best <= beams, f"1 to --beams, {beams}"),
            length_penalty=(abs(self.length_penalty) <= 10, "a number from -10 to 10"),
            early_stopping=(
                self.early_stopping in ("never", "heuristic", "full"),
                "never, heuristic or full",
            ),
            beam_groups=(
                self.beam_groups >= 1 and beams % self.beam_groups == 0,
                f"a number that divides --beams, {beams}",
            ),
            diversity_penalty=(
                0 <= self.diversity_penalty <= LARGEST_PENALTY and grouped,
                f"0 to {LARGEST_PENALTY:,.0f}, and with it 2 --beam-groups or more",
            ),
        )


class Hypothesis(NamedTuple):
    """A finished text: its score, its ids, and the model's log-probability of each, nats."""

    score: float
    token_ids: list[int]
    log_probs: list[float]


class Beam(NamedTuple):
    """A text on its way: log P after steps 1 to 4, its ids, and the model's log-probability of each, nats."""

    log_prob: float
    token_ids: list[int]
    log_probs: list[float]


@dataclass
class BeamGroup:
    """BeamSettings that compete with each other, and what they have finished; best first, both.

    `after` is the token that all of them go on after; the first `skipped` bytes are the prompt's own, spelled again.
    """

    running: list[Beam]
    finished: list[Hypothesis]
    after: int
    skipped: int


def beam_search(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: str,
    sampling: Sampling,
    search: BeamSettings,
    constraint: Constraint | None = None,
) -> list[Sample]:
    """The `n_best` texts of the search, best first; fewer when no more are possible or groups found the same.

    Raises UserError when `sampling` asks for a draw or no text is possible.
    """
    assert search.beams is not None
    sampling_only = [name for name in SAMPLING_ONLY if getattr(sampling, name) != getattr(Sampling, name)]
    if sampling_only:
        raise UserError(
            f"--{sampling_only[0].replace('_', '-')} does not go with --beams: a search draws nothing"
        )
    pipeline = Pipeline(sampling, tokenizer)
    constraints = constraints_of(sampling, tokenizer, constraint)
    model, (healing,) = healed(model, tokenizer, [prompt], sampling, constraint is not None)
    ids = healing.ids
    prompt_ids = np.concatenate([[model.end], ids]).astype(np.int64)
    log_probs, state = model.advance(model.start(1), prompt_ids[None])
    first = np.zeros(search.beam_groups, np.int64)
    log_probs, state = log_probs[first], model.select(state, first)
    past, constraint_state = (
        pipeline.start([ids] * len(first)),
        constraints.start(len(first), [ids] * len(first)),
    )
    after = int(prompt_ids[-1])
    groups = [BeamGroup([Beam(0.0, [], [])], [], after, healing.n_bytes) for _ in range(search.beam_groups)]
    for length in range(1, sampling.max_tokens + 1):
        adjusted = pipeline.adjusted(log_probs, past, constraints.allowed(constraint_state))
        chosen = np.zeros(model.vocab_size)  # how many beams of earlier groups chose each token
        rows: list[int] = []  # which row each beam that goes on continues
        begin = 0
        for group in groups:
            own = slice(begin, begin + len(group.running))
            parents = advance_group(
                group, adjusted[own], log_probs[own], chosen, length, model.end, tokenizer, sampling, search
            )
            rows.extend(begin + parent for parent in parents)
            begin = own.stop
        if not rows:
            break
        at = np.array(rows)
        tokens = np.array([beam.token_ids[-1] for group in groups for beam in group.running])
        past, constraint_state = past.select(at), constraints.select(constraint_state, at)
        if pipeline.needs_history:
            past = past.after(tokens)
        constraint_state = constraints.advance(constraint_state, tokens)
        log_probs, state = model.advance(model.select(state, at), tokens)
    texts = sorted((text for group in groups for text in group.finished), key=lambda text: -text.score)
    if not texts:
        raise UserError(NO_TOKEN_LEFT)
    distinct = {tuple(text.token_ids): text for text in reversed(texts)}
    best = sorted(distinct.values(), key=lambda text: -text.score)[: search.n_best]
    return [to_sample(text, after, healing.n_bytes, tokenizer, sampling) for text in best]


def advance_group(
    group: BeamGroup,
    adjusted: np.ndarray,
    log_probs: np.ndarray,
    chosen: np.ndarray,
    length: int,
    end: int,
    tokenizer: Tokenizer,
    sampling: Sampling,
    search: BeamSettings,
) -> list[int]:
    """One token more for the beams of a group, (W, V); `length` counts it. Which row each of the new beams continues.

    `chosen` takes in the tokens that were chosen.
    """
    if not group.running:
        return []
    assert search.beams is not None
    width = search.beams // search.beam_groups
    before = np.array([beam.log_prob for beam in group.running])
    totals = before[:, None] + adjusted.astype(np.float64)  # (W, V)
    if np.isnan(totals.max()):
        raise UserError(NO_NUMBERS)
    ranked = totals - search.diversity_penalty * chosen if search.diversity_penalty else totals
    # At most one continuation of a beam is the mark: twice as many as beams leave enough that go on.
    best = top_k_ids(ranked.reshape(1, -1), min(2 * width, ranked.size))[0]
    parents: list[int] = []
    running: list[Beam] = []
    tokens: list[int] = []
    for rank, (row, token) in enumerate(
        zip(*(part.tolist() for part in np.divmod(best, adjusted.shape[1])), strict=True)
    ):
        total = float(totals[row, token])
        if total == -math.inf:
            continue
        parent = group.running[row]
        token_ids, scores = [*parent.token_ids, token], [*parent.log_probs, float(log_probs[row, token])]
        stops = _has_stop_string(token_ids, group, tokenizer, sampling)
        if token == end or length == sampling.max_tokens or stops:
            if rank < width:
                group.finished.append(Hypothesis(total / length**search.length_penalty, token_ids, scores))
                tokens.append(token)
        elif len(running) < width:
            parents.append(row)
            running.append(Beam(total, token_ids, scores))
            tokens.append(token)
    np.add.at(chosen, tokens, 1)
    group.finished.sort(key=lambda text: -text.score)
    del group.finished[width:]
    if running and len(group.finished) == width:
        never = search.early_stopping == "never" and search.length_penalty > 0
        bound = running[0].log_prob / (sampling.max_tokens if never else length) ** search.length_penalty
        if search.early_stopping == "full" or bound <= group.finished[-1].score:
            parents, running = [], []
    group.running = running
    return parents


def _has_stop_string(
    token_ids: list[int], group: BeamGroup, tokenizer: Tokenizer, sampling: Sampling
) -> bool:
    """Whether the last token completes a stop string."""
    if not sampling.stop:
        return False
    text = tokenizer.decode_bytes(token_ids, group.after)[group.skipped :].decode("utf-8", "replace")
    return any(stop in text for stop in sampling.stop)


def to_sample(
    found: Hypothesis, after: int, skipped: int, tokenizer: Tokenizer, sampling: Sampling
) -> Sample:
    """The text cut before a stop string, as `stream` cuts it."""
    stream = TextStream(tokenizer, sampling.stop, after, skipped)
    text, n_tokens, reason = "", 0, None
    for place, token in enumerate(found.token_ids, start=1):
        mark, last = token == tokenizer.end, place == len(found.token_ids)
        shown, n_settled, reason = stream.take(token, mark=mark, last=last)
        text, n_tokens = text + shown, n_tokens + n_settled
    log_probs = found.log_probs[:n_tokens]
    return Sample(
        text=text,
        tokens=n_tokens,
        log_prob=sum(log_probs),
        finish_reason=reason or "",
        token_ids=found.token_ids[:n_tokens],
        token_log_probs=log_probs,
        top=[()] * n_tokens,
        score=found.score,
        after=after,
    )
