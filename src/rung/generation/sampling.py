"""Text from any rung: a distribution, reshaped by the pipeline, a draw; again until something stops it.

Rows are (prompt, sample) pairs and go side by side. What a row writes depends on its prompt, on the seed and on the
sample's number, and on nothing else: sample i draws from its own generator, seeded by (seed, i), so a text is the
same alone, among other samples and among other prompts. (A neural rung's logits may differ in their last bits with
the number of rows; a draw that lies this near to a border may then fall to the other side.)

Prompts of different lengths share a batch without padding: all rows are read up to the length of the shortest; from
there on a row that still has prompt left is fed that, while the others draw. All rows have seen equally many tokens at
any time, so every rung's own state and window policy serve. Prompts of very different lengths go one group after the
other. A prompt is read once, whatever the number of samples.

Log-probabilities told are the model's own, before the pipeline.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from rung.generation.constraint import AllOf, Constraint, constraints_of
from rung.generation.healing import healed, start
from rung.generation.pipeline import Pipeline
from rung.generation.settings import Sampling
from rung.generation.text_stream import TextStream
from rung.models.base import LanguageModel, State
from rung.text.tokenizers import Tokenizer

__all__ = ["Piece", "Sample", "Sampling", "Token", "generate", "generate_many", "sample_steps", "stream"]

ROWS_AT_ONCE = 64
MAX_UNREAD = 64
"""Tokens by which the prompts of one batch may differ in length: those are read one by one."""


class Token(NamedTuple):
    """A token made: its id, the model's log-probability of it in nats, the likeliest (id, log-probability) instead."""

    id: int
    log_prob: float
    top: tuple[tuple[int, float], ...] = ()


class Piece(NamedTuple):
    """What one step adds to one text.

    Attributes:
        prompt: which prompt, from 0.
        sample: which of its samples, from 0.
        text: the characters that can be shown now; whole ones only, perhaps none.
        tokens: those that are now known to be part of the text, perhaps none, perhaps several.
        finish_reason: None while the text goes on; then end (the document mark), stop, or length.
    """

    prompt: int
    sample: int
    text: str
    tokens: tuple[Token, ...]
    finish_reason: str | None


@dataclass
class Sample:
    """A finished text; the prompt is not repeated.

    Attributes:
        text: what was made, less a stop string.
        tokens: how many tokens it took: those that spell it, and the document mark if that ended it.
        log_prob: the model's log-probability of those tokens, nats, before any reshaping.
        finish_reason: end (the document mark), stop (a stop string) or length (max_tokens).
        token_ids: the ids.
        token_log_probs: log_prob, token by token.
        top: for each token the likeliest (id, log-probability) in its place, as many as asked for.
        score: what a beam search ranked it by; None where it was drawn.
        after: the token that the first one stands after: the prompt's last, or, where the prompt was healed
            (`rung.generation.healing`), the last that was not given back.
    """

    text: str = ""
    tokens: int = 0
    log_prob: float = 0.0
    finish_reason: str = ""
    token_ids: list[int] = field(default_factory=list)
    token_log_probs: list[float] = field(default_factory=list)
    top: list[tuple[tuple[int, float], ...]] = field(default_factory=list)
    score: float | None = None
    after: int | None = None


class Step(NamedTuple):
    """One token more in each of R rows.

    rows: (R,) which row, prompt * samples + sample.
    before: (R,) the token that stands before.
    tokens: (R,) what was drawn.
    log_probs: (R,) what the model gave it.
    top_ids, top_log_probs: (R, N) the model's N likeliest, likeliest first.
    last: (R,) whether max_tokens are made.
    over: (R,) whether the row ends here. Whoever consumes the steps may set more of them to True.
    skipped: (R,) how many bytes that the row's tokens spell first are the prompt's own, spelled again.
    """

    rows: np.ndarray
    before: np.ndarray
    tokens: np.ndarray
    log_probs: np.ndarray
    top_ids: np.ndarray
    top_log_probs: np.ndarray
    last: np.ndarray
    over: np.ndarray
    skipped: np.ndarray


def stream(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: str | Sequence[str] = "",
    sampling: Sampling | None = None,
    constraint: Constraint | None = None,
) -> Iterator[Piece]:
    """Make `sampling.samples` texts that continue each prompt, yielding each piece of text as soon as it is certain.

    An empty prompt starts a document. `constraint` comes on top of those that `sampling` asks for.
    """
    sampling = sampling if sampling is not None else Sampling()
    return text_pieces(sample_steps(model, tokenizer, prompts, sampling, constraint), tokenizer, sampling)


def text_pieces(steps: Iterable[Step], tokenizer: Tokenizer, sampling: Sampling) -> Iterator[Piece]:
    """The text of steps, as soon as it is certain; says of each step which rows a stop string ends."""
    texts: dict[int, TextStream] = {}
    pending_by_row: dict[int, list[Token]] = {}
    for step in steps:
        rows, tokens, log_probs = step.rows.tolist(), step.tokens.tolist(), step.log_probs.tolist()
        are_last, end = step.last.tolist(), tokenizer.end
        for i, row in enumerate(rows):
            if row not in texts:
                texts[row] = TextStream(tokenizer, sampling.stop, int(step.before[i]), int(step.skipped[i]))
                pending_by_row[row] = []
            top = ()
            if sampling.top_logprobs:
                top = tuple(zip(step.top_ids[i].tolist(), step.top_log_probs[i].tolist(), strict=True))
            pending = pending_by_row[row]
            pending.append(Token(tokens[i], log_probs[i], top))
            text, n_tokens, reason = texts[row].take(tokens[i], mark=tokens[i] == end, last=are_last[i])
            settled = tuple(pending[:n_tokens])
            del pending[:n_tokens]
            if reason is not None:
                step.over[i] = True
                del texts[row], pending_by_row[row]
            if text or settled or reason is not None:
                yield Piece(row // sampling.samples, row % sampling.samples, text, settled, reason)


def generate(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: str = "",
    sampling: Sampling | None = None,
    constraint: Constraint | None = None,
) -> list[Sample]:
    """`stream` of one prompt, gathered: `sampling.samples` texts."""
    return generate_many(model, tokenizer, [prompt], sampling, constraint)[0]


def generate_many(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    sampling: Sampling | None = None,
    constraint: Constraint | None = None,
) -> list[list[Sample]]:
    """`stream`, gathered: for each prompt, in order, `sampling.samples` texts."""
    sampling = sampling if sampling is not None else Sampling()
    samples = collect_samples(
        sample_steps(model, tokenizer, prompts, sampling, constraint), tokenizer, sampling
    )
    return [samples[begin : begin + sampling.samples] for begin in range(0, len(samples), sampling.samples)]


def collect_samples(steps: Iterable[Step], tokenizer: Tokenizer, sampling: Sampling) -> list[Sample]:
    """The finished texts of steps, in the order of their rows."""
    if not sampling.stop and sampling.top_logprobs == 0:
        return _collect_without_stops(list(steps), tokenizer)
    samples: dict[int, Sample] = {}
    first: dict[int, int] = {}  # the token that each row's first stands after
    for piece in text_pieces(_noting_first(steps, first), tokenizer, sampling):
        row = piece.prompt * sampling.samples + piece.sample
        sample = samples.setdefault(row, Sample(after=first[row]))
        sample.text += piece.text
        for token in piece.tokens:
            sample.token_ids.append(token.id)
            sample.token_log_probs.append(token.log_prob)
            sample.top.append(token.top)
        sample.finish_reason = piece.finish_reason or ""
    for sample in samples.values():
        sample.tokens = len(sample.token_ids)
        sample.log_prob = sum(sample.token_log_probs)
    return [samples[row] for row in sorted(samples)]


def _noting_first(steps: Iterable[Step], first: dict[int, int]) -> Iterator[Step]:
    for step in steps:
        for row, before in zip(step.rows.tolist(), step.before.tolist(), strict=True):
            first.setdefault(row, before)
        yield step


def sample_steps(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: str | Sequence[str],
    sampling: Sampling,
    constraint: Constraint | None = None,
) -> Iterator[Step]:
    """The tokens alone, as arrays: what `stream` makes text of."""
    texts = [prompts] if isinstance(prompts, str) else prompts
    model, healings = healed(model, tokenizer, texts, sampling, constraint is not None)
    ids, skipped = [one.ids for one in healings], np.array([one.n_bytes for one in healings])
    pipeline = Pipeline(sampling, tokenizer)
    constraints = constraints_of(sampling, tokenizer, constraint)
    # A row that still reads its prompt takes no part in a constraint: let there be none.
    max_spread = 0 if constraints.parts else MAX_UNREAD
    lengths = np.array([len(prompt) for prompt in ids])
    for group in _groups(lengths, max(1, ROWS_AT_ONCE // sampling.samples), max_spread):
        histories = [np.concatenate([[model.end], ids[prompt]]).astype(np.int64) for prompt in group]
        common = min(map(len, histories))
        log_probs, state = model.advance(
            start(model, group), np.stack([history[:common] for history in histories])
        )
        prompt_of_row = np.repeat(np.arange(len(group)), sampling.samples)  # of the group
        rows = (np.array(group)[:, None] * sampling.samples + np.arange(sampling.samples)).reshape(-1)
        for begin in range(0, len(rows), ROWS_AT_ONCE):
            chunk = slice(begin, begin + ROWS_AT_ONCE)
            at = prompt_of_row[chunk]
            alone = len(rows) == len(group)
            yield from _sample_rows(
                model,
                pipeline,
                constraints,
                log_probs if alone else log_probs[at],
                state if alone else model.select(state, at),
                rows[chunk],
                [ids[group[place]] for place in at],
                skipped[np.array(group)[at]],
                common - 1,
            )


def _sample_rows(
    model: LanguageModel,
    pipeline: Pipeline,
    constraints: AllOf,
    log_probs: np.ndarray,
    state: State,
    rows: np.ndarray,
    prompts: list[np.ndarray],
    skipped: np.ndarray,
    n_read: int,
) -> Iterator[Step]:
    """Draw for some rows until all have ended. The first `n_read` tokens of each prompt are in `state`."""
    sampling = pipeline.sampling
    past, constraint_state = pipeline.start(prompts), constraints.start(len(rows), prompts)
    n_unread = np.array([len(prompt) - n_read for prompt in prompts])  # of the prompt, for each row to read
    unread = np.zeros((len(rows), int(n_unread.max())), np.int64)
    for row, prompt in enumerate(prompts):
        unread[row, : n_unread[row]] = prompt[n_read:]
    uniforms = None
    if sampling.temperature > 0:
        uniforms = _Uniforms(sampling.seed, (rows % sampling.samples).tolist())
    at, t = np.arange(len(rows)), -1
    newest = np.array([prompt[n_read - 1] if n_read else model.end for prompt in prompts])
    while True:
        t += 1
        if t >= unread.shape[1]:
            drawing, now, before = at, log_probs, past
            allowed = constraints.allowed(constraint_state)
        else:  # no constraints here
            drawing = np.flatnonzero(n_unread <= t)
            now, before, allowed = log_probs[drawing], past.select(drawing), None
        numbers = uniforms.take(t - n_unread[drawing], drawing) if uniforms is not None else _NO_UNIFORMS
        drawn = pipeline.sample(now, before, numbers, allowed)
        last = t - n_unread[drawing] == sampling.max_tokens - 1
        step = Step(
            rows[drawing],
            newest[drawing],
            drawn,
            now[np.arange(len(drawing)), drawn],
            *pipeline.top(now),
            last,
            last | (drawn == model.end),
            skipped[drawing],
        )
        if len(drawing):
            yield step
        if len(drawing) == len(at):
            tokens = drawn
        else:
            tokens = unread[:, t].copy()
            tokens[drawing] = drawn
        if pipeline.needs_history:
            past = past.after(tokens, drawing)
        if step.over.any():
            goes_on = np.ones(len(at), bool)
            goes_on[drawing[step.over]] = False
            keep = np.flatnonzero(goes_on)
            if not len(keep):
                return
            rows, n_unread, unread, tokens, skipped, at = (
                rows[keep],
                n_unread[keep],
                unread[keep],
                tokens[keep],
                skipped[keep],
                at[: len(keep)],
            )
            state, past, constraint_state = (
                model.select(state, keep),
                past.select(keep),
                constraints.select(constraint_state, keep),
            )
            if uniforms is not None:
                uniforms.select(keep)
        constraint_state = constraints.advance(constraint_state, tokens)
        newest = tokens
        log_probs, state = model.advance(state, tokens)


class _Uniforms:
    """Numbers in [0, 1) for the draws, from a generator a row, made many at a time."""

    AT_ONCE = 64

    def __init__(self, seed: int, samples: list[int]) -> None:
        self._generators = [np.random.default_rng([seed, sample]) for sample in samples]
        self._numbers = np.empty((len(samples), 0))

    def take(self, draws: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Draw number `draws[i]` of row `rows[i]`, (n,)."""
        while len(draws) and draws.max() >= self._numbers.shape[1]:
            more = [generator.random(self.AT_ONCE) for generator in self._generators]
            self._numbers = np.concatenate([self._numbers, np.stack(more)], axis=1)
        return self._numbers[rows, draws]

    def select(self, rows: np.ndarray) -> None:
        self._generators = [self._generators[row] for row in rows.tolist()]
        self._numbers = self._numbers[rows]


_NO_UNIFORMS = np.empty(0)


def _collect_without_stops(steps: list[Step], tokenizer: Tokenizer) -> list[Sample]:
    """The same samples as by `text_pieces` where no stop string has to be looked for: text is made once, at the end."""
    if not steps:
        return []
    rows = np.concatenate([step.rows for step in steps])
    order = np.argsort(rows, kind="stable")
    borders = np.cumsum(np.bincount(rows))[:-1]
    first = order[np.append(0, borders)]
    before = np.concatenate([step.before for step in steps])[first].tolist()
    skipped = np.concatenate([step.skipped for step in steps])[first].tolist()
    tokens = np.concatenate([step.tokens for step in steps])[order]
    log_probs = np.concatenate([step.log_probs for step in steps])[order]
    samples = []
    for after, n_skipped, ids, scores in zip(
        before, skipped, np.split(tokens, borders), np.split(log_probs, borders), strict=True
    ):
        token_ids, token_log_probs = ids.tolist(), scores.tolist()
        samples.append(
            Sample(
                text=tokenizer.decode_bytes(token_ids, after)[n_skipped:].decode("utf-8", "replace"),
                tokens=len(token_ids),
                log_prob=sum(token_log_probs),
                finish_reason="end" if token_ids[-1] == tokenizer.end else "length",
                token_ids=token_ids,
                token_log_probs=token_log_probs,
                top=[()] * len(token_ids),
                after=after,
            )
        )
    return samples


def _groups(lengths: np.ndarray, most: int, spread: int) -> Iterator[list[int]]:
    """Prompts, shortest first, in groups of at most so many, whose lengths differ by at most `spread`."""
    group: list[int] = []
    for prompt in np.argsort(lengths, kind="stable").tolist():
        if group and (len(group) == most or lengths[prompt] - lengths[group[0]] > spread):
            yield group
            group = []
        group.append(prompt)
    if group:
        yield group
