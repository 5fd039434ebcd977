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

from rung.generation.constraint import Constraint, Every, constraints_of
from rung.generation.pipeline import Pipeline, ranking
from rung.generation.settings import Sampling
from rung.generation.text_stream import TextStream
from rung.models.base import LanguageModel, State
from rung.text.tokenizers import Tokenizer

__all__ = ["Piece", "Sample", "Sampling", "Token", "generate", "generate_many", "steps", "stream"]

ROWS_AT_ONCE = 64
LONGEST_TAIL = 64
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
    """

    text: str = ""
    tokens: int = 0
    log_prob: float = 0.0
    finish_reason: str = ""
    token_ids: list[int] = field(default_factory=list)
    token_log_probs: list[float] = field(default_factory=list)
    top: list[tuple[tuple[int, float], ...]] = field(default_factory=list)
    score: float | None = None


class Step(NamedTuple):
    """One token more in each of R rows.

    rows: (R,) which row, prompt * samples + sample.
    tokens: (R,) what was drawn.
    log_probs: (R,) what the model gave it.
    top_ids, top_log_probs: (R, N) the model's N likeliest, likeliest first.
    last: (R,) whether max_tokens are made.
    over: (R,) whether the row ends here. Whoever consumes the steps may set more of them to True.
    """

    rows: np.ndarray
    tokens: np.ndarray
    log_probs: np.ndarray
    top_ids: np.ndarray
    top_log_probs: np.ndarray
    last: np.ndarray
    over: np.ndarray


def stream(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: str | Sequence[str] = "",
    how: Sampling | None = None,
    constraint: Constraint | None = None,
) -> Iterator[Piece]:
    """Make `how.samples` texts that continue each prompt, yielding each piece of text as soon as it is certain.

    An empty prompt starts a document. `constraint` comes on top of those that `how` asks for.
    """
    how = how if how is not None else Sampling()
    return pieces(steps(model, tokenizer, prompts, how, constraint), tokenizer, how)


def pieces(made: Iterable[Step], tokenizer: Tokenizer, how: Sampling) -> Iterator[Piece]:
    """The text of steps, as soon as it is certain; says of each step which rows a stop string ends."""
    texts: dict[int, TextStream] = {}
    waiting: dict[int, list[Token]] = {}
    for step in made:
        rows, tokens, log_probs = step.rows.tolist(), step.tokens.tolist(), step.log_probs.tolist()
        lasts, end = step.last.tolist(), tokenizer.end
        for i, row in enumerate(rows):
            if row not in texts:
                texts[row], waiting[row] = TextStream(tokenizer, how.stop), []
            top = ()
            if how.top_logprobs:
                top = tuple(zip(step.top_ids[i].tolist(), step.top_log_probs[i].tolist(), strict=True))
            mine = waiting[row]
            mine.append(Token(tokens[i], log_probs[i], top))
            text, n_tokens, reason = _settled(texts[row], tokens[i], tokens[i] == end, lasts[i])
            settled = tuple(mine[:n_tokens])
            del mine[:n_tokens]
            if reason is not None:
                step.over[i] = True
                del texts[row], waiting[row]
            if text or settled or reason is not None:
                yield Piece(row // how.samples, row % how.samples, text, settled, reason)


def generate(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: str = "",
    how: Sampling | None = None,
    constraint: Constraint | None = None,
) -> list[Sample]:
    """`stream` of one prompt, gathered: `how.samples` texts."""
    return generate_many(model, tokenizer, [prompt], how, constraint)[0]


def generate_many(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    how: Sampling | None = None,
    constraint: Constraint | None = None,
) -> list[list[Sample]]:
    """`stream`, gathered: for each prompt, in order, `how.samples` texts."""
    how = how if how is not None else Sampling()
    flat = gathered(steps(model, tokenizer, prompts, how, constraint), tokenizer, how)
    return [flat[begin : begin + how.samples] for begin in range(0, len(flat), how.samples)]


def gathered(made: Iterable[Step], tokenizer: Tokenizer, how: Sampling) -> list[Sample]:
    """The finished texts of steps, in the order of their rows."""
    if not how.stop and how.top_logprobs == 0:
        return _gathered_at_once(list(made), tokenizer)
    flat: dict[int, Sample] = {}
    for piece in pieces(made, tokenizer, how):
        sample = flat.setdefault(piece.prompt * how.samples + piece.sample, Sample())
        sample.text += piece.text
        for token in piece.tokens:
            sample.token_ids.append(token.id)
            sample.token_log_probs.append(token.log_prob)
            sample.top.append(token.top)
        sample.finish_reason = piece.finish_reason or ""
    for sample in flat.values():
        sample.tokens = len(sample.token_ids)
        sample.log_prob = sum(sample.token_log_probs)
    return [flat[row] for row in sorted(flat)]


def steps(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: str | Sequence[str],
    how: Sampling,
    constraint: Constraint | None = None,
) -> Iterator[Step]:
    """The tokens alone, as arrays: what `stream` makes text of."""
    texts = [prompts] if isinstance(prompts, str) else prompts
    ids = [tokenizer.encode(text) for text in texts]
    pipeline = Pipeline(how, tokenizer)
    constraints = constraints_of(how, tokenizer)
    if constraint is not None:
        constraints.parts.append(constraint)
    # A row that still reads its prompt takes no part in a constraint: let there be none.
    longest_tail = 0 if constraints.parts else LONGEST_TAIL
    lengths = np.array([len(prompt) for prompt in ids])
    for group in _groups(lengths, max(1, ROWS_AT_ONCE // how.samples), longest_tail):
        histories = [np.concatenate([[model.end], ids[prompt]]).astype(np.int64) for prompt in group]
        common = min(map(len, histories))
        log_probs, state = model.advance(
            model.start(len(group)), np.stack([history[:common] for history in histories])
        )
        places = np.repeat(np.arange(len(group)), how.samples)  # which prompt of the group each row continues
        rows = (np.array(group)[:, None] * how.samples + np.arange(how.samples)).reshape(-1)
        for begin in range(0, len(rows), ROWS_AT_ONCE):
            chunk = slice(begin, begin + ROWS_AT_ONCE)
            at = places[chunk]
            alone = len(rows) == len(group)
            yield from _walk(
                model,
                pipeline,
                constraints,
                log_probs if alone else log_probs[at],
                state if alone else model.select(state, at),
                rows[chunk],
                [ids[group[place]] for place in at],
                common - 1,
            )


def _walk(
    model: LanguageModel,
    pipeline: Pipeline,
    constraints: Every,
    log_probs: np.ndarray,
    state: State,
    rows: np.ndarray,
    prompts: list[np.ndarray],
    n_read: int,
) -> Iterator[Step]:
    """Draw for some rows until all have ended. The first `n_read` tokens of each prompt are in `state`."""
    how = pipeline.how
    past, limits = pipeline.start(prompts), constraints.start(len(rows))
    left = np.array([len(prompt) - n_read for prompt in prompts])  # of the prompt, for each row to read
    tails = np.zeros((len(rows), int(left.max())), np.int64)
    for row, prompt in enumerate(prompts):
        tails[row, : left[row]] = prompt[n_read:]
    uniforms = _Uniforms(how.seed, (rows % how.samples).tolist()) if how.temperature > 0 else None
    no_top = np.empty((len(rows), 0), np.int64)
    at, t = np.arange(len(rows)), -1
    while True:
        t += 1
        if t >= tails.shape[1]:
            drawing, now, before = at, log_probs, past
            allowed = constraints.allowed(limits)
        else:  # no constraints here
            drawing = np.flatnonzero(left <= t)
            now, before, allowed = log_probs[drawing], past.select(drawing), None
        numbers = uniforms.take(t - left[drawing], drawing) if uniforms is not None else _NONE
        drawn = pipeline.pick(now, before, numbers, allowed)
        if how.top_logprobs:
            top_ids = ranking(now, how.top_logprobs)
            top_log_probs = np.take_along_axis(now, top_ids, -1)
        else:
            top_ids = top_log_probs = no_top[: len(drawing)]
        last = t - left[drawing] == how.max_tokens - 1
        step = Step(
            rows[drawing],
            drawn,
            now[np.arange(len(drawing)), drawn],
            top_ids,
            top_log_probs,
            last,
            last | (drawn == model.end),
        )
        if len(drawing):
            yield step
        if len(drawing) == len(at):
            tokens = drawn
        else:
            tokens = tails[:, t].copy()
            tokens[drawing] = drawn
        if pipeline.remembers:
            past = past.after(tokens, drawing)
        if step.over.any():
            going = np.ones(len(at), bool)
            going[drawing[step.over]] = False
            keep = np.flatnonzero(going)
            if not len(keep):
                return
            rows, left, tails, tokens, at = rows[keep], left[keep], tails[keep], tokens[keep], at[: len(keep)]
            state, past, limits = (
                model.select(state, keep),
                past.select(keep),
                constraints.select(limits, keep),
            )
            if uniforms is not None:
                uniforms.select(keep)
        limits = constraints.advance(limits, tokens)
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


_NONE = np.empty(0)


def _settled(text: TextStream, token: int, mark: bool, last: bool) -> tuple[str, int, str | None]:
    """What one token more decides: text to show, tokens settled, and why the text ends here, if it does."""
    shown, n_tokens, stopped = ("", 0, False) if mark else text.push(token)
    if not stopped and (mark or last):
        more, n_more, stopped = text.finish(marked=mark)
        shown, n_tokens = shown + more, n_tokens + n_more
    if stopped:
        return shown, n_tokens, "stop"
    return shown, n_tokens, "end" if mark else "length" if last else None


def _gathered_at_once(made: list[Step], tokenizer: Tokenizer) -> list[Sample]:
    """The same samples as by `pieces`, where no stop string has to be looked for: text is made once, at the end."""
    if not made:
        return []
    rows = np.concatenate([step.rows for step in made])
    order = np.argsort(rows, kind="stable")
    borders = np.cumsum(np.bincount(rows))[:-1]
    tokens = np.concatenate([step.tokens for step in made])[order]
    log_probs = np.concatenate([step.log_probs for step in made])[order]
    samples = []
    for ids, scores in zip(np.split(tokens, borders), np.split(log_probs, borders), strict=True):
        token_ids, token_log_probs = ids.tolist(), scores.tolist()
        samples.append(
            Sample(
                text=tokenizer.decode_bytes(token_ids).decode("utf-8", "replace"),
                tokens=len(token_ids),
                log_prob=sum(token_log_probs),
                finish_reason="end" if token_ids[-1] == tokenizer.end else "length",
                token_ids=token_ids,
                token_log_probs=token_log_probs,
                top=[()] * len(token_ids),
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
