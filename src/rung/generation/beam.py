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
from rung.generation.pipeline import NOTHING_LEFT, Pipeline, ranking
from rung.generation.sampling import Sample
from rung.generation.settings import Sampling
from rung.generation.text_stream import TextStream
from rung.models.base import LanguageModel
from rung.text.tokenizers import Tokenizer

DRAWING = ("samples", "temperature", "top_k", "top_p", "min_p", "typical_p", "top_logprobs")
"""Settings of `Sampling` that a search has no use for."""


@dataclass(frozen=True)
class Beams:
    """How to search.

    Attributes:
        beams: candidates kept at every step; None = no search, draw.
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
        for allowed, flag, value, meaning in (
            (beams >= 1, "--beams", beams, "1 or more"),
            (1 <= self.n_best <= beams, "--n-best", self.n_best, f"1 to --beams, {beams}"),
            (
                abs(self.length_penalty) <= 10,
                "--length-penalty",
                self.length_penalty,
                "a number from -10 to 10",
            ),
            (
                self.early_stopping in ("never", "heuristic", "full"),
                "--early-stopping",
                repr(self.early_stopping),
                "never, heuristic or full",
            ),
            (
                self.beam_groups >= 1 and beams % self.beam_groups == 0,
                "--beam-groups",
                self.beam_groups,
                f"a number that divides --beams, {beams}",
            ),
            (
                0 <= self.diversity_penalty < math.inf
                and (self.diversity_penalty == 0 or self.beam_groups > 1),
                "--diversity-penalty",
                self.diversity_penalty,
                "0 or more, and with it 2 --beam-groups or more",
            ),
        ):
            if not allowed:
                raise UserError(f"{flag} {value} is not possible: give {meaning}")


class Text(NamedTuple):
    """A finished text: its score, its ids, and the model's log-probability of each, nats."""

    score: float
    token_ids: list[int]
    log_probs: list[float]


class Beam(NamedTuple):
    """A text on its way: log P after steps 1 to 4, its ids, and the model's log-probability of each, nats."""

    total: float
    token_ids: list[int]
    log_probs: list[float]


@dataclass
class Group:
    """Beams that compete with each other, and what they have finished; best first, both."""

    running: list[Beam]
    finished: list[Text]


def beam_search(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: str,
    how: Sampling,
    beams: Beams,
    constraint: Constraint | None = None,
) -> list[Sample]:
    """The `n_best` texts of the search, best first; fewer when no more are possible or groups found the same.

    Raises UserError when `how` asks for a draw or no text is possible.
    """
    assert beams.beams is not None
    drawing = [name for name in DRAWING if getattr(how, name) != getattr(Sampling, name)]
    if drawing:
        raise UserError(f"--{drawing[0].replace('_', '-')} does not go with --beams: a search draws nothing")
    pipeline = Pipeline(how, tokenizer)
    limits_of = constraints_of(how, tokenizer)
    if constraint is not None:
        limits_of.parts.append(constraint)
    ids = tokenizer.encode(prompt)
    history = np.concatenate([[model.end], ids]).astype(np.int64)
    log_probs, state = model.advance(model.start(1), history[None])
    first = np.zeros(beams.beam_groups, np.int64)
    log_probs, state = log_probs[first], model.select(state, first)
    past, limits = pipeline.start([ids] * len(first)), limits_of.start(len(first))
    groups = [Group([Beam(0.0, [], [])], []) for _ in range(beams.beam_groups)]
    for length in range(1, how.max_tokens + 1):
        adjusted = pipeline.adjusted(log_probs, past, limits_of.allowed(limits))
        chosen = np.zeros(model.vocab_size)  # how many beams of earlier groups chose each token
        rows: list[int] = []  # which row each beam that goes on continues
        begin = 0
        for group in groups:
            own = slice(begin, begin + len(group.running))
            parents = _step(
                group, adjusted[own], log_probs[own], chosen, length, model.end, tokenizer, how, beams
            )
            rows.extend(begin + parent for parent in parents)
            begin = own.stop
        if not rows:
            break
        at = np.array(rows)
        tokens = np.array([beam.token_ids[-1] for group in groups for beam in group.running])
        past, limits = past.select(at), limits_of.select(limits, at)
        if pipeline.remembers:
            past = past.after(tokens)
        limits = limits_of.advance(limits, tokens)
        log_probs, state = model.advance(model.select(state, at), tokens)
    texts = sorted((text for group in groups for text in group.finished), key=lambda text: -text.score)
    if not texts:
        raise UserError(NOTHING_LEFT)
    unlike = {tuple(text.token_ids): text for text in reversed(texts)}
    best = sorted(unlike.values(), key=lambda text: -text.score)[: beams.n_best]
    return [_sample(text, tokenizer, how) for text in best]


def _step(
    group: Group,
    adjusted: np.ndarray,
    log_probs: np.ndarray,
    chosen: np.ndarray,
    length: int,
    end: int,
    tokenizer: Tokenizer,
    how: Sampling,
    beams: Beams,
) -> list[int]:
    """One token more for the beams of a group, (W, V); `length` counts it. Which row each of the new beams continues.

    `chosen` takes in the tokens that were chosen.
    """
    if not group.running:
        return []
    assert beams.beams is not None
    width = beams.beams // beams.beam_groups
    totals = np.array([beam.total for beam in group.running])[:, None] + adjusted.astype(np.float64)  # (W, V)
    ranked = totals - beams.diversity_penalty * chosen if beams.diversity_penalty else totals
    # At most one continuation of a beam is the mark: twice as many as beams leave enough that go on.
    best = ranking(ranked.reshape(1, -1), min(2 * width, ranked.size))[0]
    parents: list[int] = []
    running: list[Beam] = []
    tokens: list[int] = []
    for rank, (row, token) in enumerate(
        zip(*(part.tolist() for part in np.divmod(best, adjusted.shape[1])), strict=True)
    ):
        total = float(totals[row, token])
        if total == -math.inf:
            continue
        before = group.running[row]
        token_ids, scores = [*before.token_ids, token], [*before.log_probs, float(log_probs[row, token])]
        if token == end or length == how.max_tokens or _stopped(token_ids, tokenizer, how):
            if rank < width:
                group.finished.append(Text(total / length**beams.length_penalty, token_ids, scores))
                tokens.append(token)
        elif len(running) < width:
            parents.append(row)
            running.append(Beam(total, token_ids, scores))
            tokens.append(token)
    np.add.at(chosen, tokens, 1)
    group.finished.sort(key=lambda text: -text.score)
    del group.finished[width:]
    if running and len(group.finished) == width:
        never = beams.early_stopping == "never" and beams.length_penalty > 0
        bound = running[0].total / (how.max_tokens if never else length) ** beams.length_penalty
        if beams.early_stopping == "full" or bound <= group.finished[-1].score:
            parents, running = [], []
    group.running = running
    return parents


def _stopped(token_ids: list[int], tokenizer: Tokenizer, how: Sampling) -> bool:
    """Whether the last token completes a stop string."""
    if not how.stop:
        return False
    text = tokenizer.decode_bytes(token_ids).decode("utf-8", "replace")
    return any(stop in text for stop in how.stop)


def _sample(text: Text, tokenizer: Tokenizer, how: Sampling) -> Sample:
    """The text cut before a stop string, as `stream` cuts it."""
    marked = text.token_ids[-1] == tokenizer.end
    stream = TextStream(tokenizer, how.stop)
    shown, n_tokens, stopped = "", 0, False
    for token in text.token_ids[: len(text.token_ids) - marked]:
        settled = stream.push(token)
        shown, n_tokens, stopped = shown + settled.text, n_tokens + settled.n_tokens, settled.stopped
    if not stopped:
        settled = stream.finish(marked=marked)
        shown, n_tokens, stopped = shown + settled.text, n_tokens + settled.n_tokens, settled.stopped
    log_probs = text.log_probs[:n_tokens]
    return Sample(
        text=shown,
        tokens=n_tokens,
        log_prob=sum(log_probs),
        finish_reason="stop" if stopped else "end" if marked else "length",
        token_ids=text.token_ids[:n_tokens],
        token_log_probs=log_probs,
        top=[()] * n_tokens,
        score=text.score,
    )
