"""Text from any rung: a distribution, a few pure functions that reshape it, a draw; again until something stops it.

Distributions are natural log-probabilities (B, V). The order of reshaping is: temperature, top-k, top-p, each followed
by renormalisation. Row i draws from its own generator, seeded by (seed, i), so a sample is the same alone and in a
batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from rung.errors import UserError
from rung.models.base import LanguageModel
from rung.text.tokenizers import TextDecoder, Tokenizer


@dataclass(frozen=True)
class Sampling:
    """How to draw.

    Attributes:
        temperature: divides the log-probabilities; 0 = greedy, below 1 safer, above 1 bolder.
        top_k: draw among the k likeliest tokens only.
        top_p: draw among the likeliest tokens that together hold this much probability (Holtzman et al. 2020).
        max_tokens: the most tokens to make.
        stop: strings that end the text; they are not part of it.
        samples: how many texts to make from the one prompt.
        seed: of the draws.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    max_tokens: int = 200
    stop: tuple[str, ...] = ()
    samples: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", tuple(self.stop))
        for allowed, flag, value, meaning in (
            (0 <= self.temperature < float("inf"), "--temperature", self.temperature, "0 (greedy) or more"),
            (
                self.top_k is None or self.top_k >= 1,
                "--top-k",
                self.top_k,
                "1 or more; leave it out for no limit",
            ),
            (self.top_p is None or 0 < self.top_p <= 1, "--top-p", self.top_p, "above 0 and at most 1"),
            (self.max_tokens >= 1, "--max-tokens", self.max_tokens, "1 or more"),
            (self.samples >= 1, "--samples", self.samples, "1 or more"),
            (self.seed >= 0, "--seed", self.seed, "0 or more"),
            (all(self.stop), "--stop", "''", "text; an empty string would stop everything"),
        ):
            if not allowed:
                raise UserError(f"{flag} {value} is not possible: give {meaning}")


@dataclass(frozen=True)
class Piece:
    """What one step adds to one sample.

    Attributes:
        sample: which sample, from 0.
        text: the characters that can be shown now; whole ones only, perhaps none.
        token: the id drawn.
        log_prob: the model's log-probability of it, nats, before temperature and cuts.
        finish_reason: None while the sample goes on; then end (the document mark), stop, or length.
    """

    sample: int
    text: str
    token: int
    log_prob: float
    finish_reason: str | None


@dataclass
class Sample:
    """A finished text (the prompt is not repeated), how many tokens it took, log P in nats, and why it ended."""

    text: str = ""
    tokens: int = 0
    log_prob: float = 0.0
    finish_reason: str = ""
    token_ids: list[int] = field(default_factory=list)


def stream(
    model: LanguageModel, tokenizer: Tokenizer, prompt: str = "", how: Sampling | None = None
) -> Iterator[Piece]:
    """Make `how.samples` texts that continue `prompt`, side by side, yielding each token as it is drawn.

    An empty prompt starts a document. The prompt is read once, whatever the number of samples.
    """
    how = how if how is not None else Sampling()
    history = np.concatenate([[model.end], tokenizer.encode(prompt)]).astype(np.int64)
    log_probs, state = model.advance(model.start(1), history[None, :])
    alive = list(range(how.samples))
    rows = np.zeros(how.samples, np.int64)
    log_probs, state = log_probs[rows], model.select(state, rows)
    generators = [np.random.default_rng([how.seed, i]) for i in alive]
    texts = [_Text(TextDecoder(tokenizer), how.stop) for _ in alive]
    for made in range(1, how.max_tokens + 1):
        reshaped = reshape(log_probs, how)
        draws = np.array([generators[i].random() for i in alive])
        tokens = draw(reshaped, draws)
        going = []
        for row, sample in enumerate(alive):
            token = int(tokens[row])
            text, reason = texts[sample].push(token, model.end)
            if reason is None and made == how.max_tokens:
                text, reason = text + texts[sample].finish(), "length"
            yield Piece(sample, text, token, float(log_probs[row, token]), reason)
            if reason is None:
                going.append(row)
        if not going:
            return
        if len(going) < len(alive):
            keep = np.array(going)
            alive, state, tokens = [alive[row] for row in going], model.select(state, keep), tokens[keep]
        log_probs, state = model.advance(state, tokens)


def generate(
    model: LanguageModel, tokenizer: Tokenizer, prompt: str = "", how: Sampling | None = None
) -> list[Sample]:
    """`stream`, gathered: one `Sample` each."""
    how = how if how is not None else Sampling()
    samples = [Sample() for _ in range(how.samples)]
    for piece in stream(model, tokenizer, prompt, how):
        sample = samples[piece.sample]
        sample.text += piece.text
        sample.tokens += 1
        sample.log_prob += piece.log_prob
        sample.token_ids.append(piece.token)
        if piece.finish_reason is not None:
            sample.finish_reason = piece.finish_reason
    return samples


def reshape(log_probs: np.ndarray, how: Sampling) -> np.ndarray:
    """Temperature, then top-k, then top-p; (B, V) log-probabilities in float64, still a distribution."""
    out = np.asarray(log_probs, np.float64)
    out = temperature(out, how.temperature)
    if how.top_k is not None:
        out = top_k(out, how.top_k)
    if how.top_p is not None:
        out = top_p(out, how.top_p)
    return out


def temperature(log_probs: np.ndarray, value: float) -> np.ndarray:
    """p ** (1 / value), renormalised; at 0, all probability on the likeliest token (the lowest id among equals)."""
    if value == 0:
        return top_k(log_probs, 1)
    if value == 1:
        return log_probs
    # Shifted by the maximum first, so that what overflows near 0 is only the unlikely, to -inf.
    with np.errstate(over="ignore"):
        return _normalised((log_probs - log_probs.max(axis=-1, keepdims=True)) / value)


def top_k(log_probs: np.ndarray, k: int) -> np.ndarray:
    """Keep exactly the k likeliest tokens, the lower id among equals; all of them when k is V or more."""
    if k >= log_probs.shape[-1]:
        return log_probs
    order = np.argsort(-log_probs, axis=-1, kind="stable")[..., :k]
    out = np.full_like(log_probs, -np.inf)
    np.put_along_axis(out, order, np.take_along_axis(log_probs, order, -1), -1)
    return _normalised(out)


def top_p(log_probs: np.ndarray, p: float) -> np.ndarray:
    """Keep the fewest likeliest tokens whose probabilities reach p; at least one."""
    order = np.argsort(-log_probs, axis=-1, kind="stable")
    ranked = np.take_along_axis(log_probs, order, -1)
    before = np.cumsum(np.exp(ranked), axis=-1) - np.exp(ranked)
    ranked = np.where(before < p, ranked, -np.inf)
    ranked[..., 0] = np.take_along_axis(log_probs, order[..., :1], -1)[..., 0]
    out = np.empty_like(log_probs)
    np.put_along_axis(out, order, ranked, -1)
    return _normalised(out)


def draw(log_probs: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """One token a row (B,), by inverting the cumulative distribution at `uniforms` (B,), each in [0, 1)."""
    cumulative = np.cumsum(np.exp(log_probs), axis=-1)
    # Scaled by the row's own sum, so that rounding can't push a draw past the last possible token.
    return (cumulative <= uniforms[:, None] * cumulative[:, -1:]).sum(axis=-1)


def _normalised(log_probs: np.ndarray) -> np.ndarray:
    highest = log_probs.max(axis=-1, keepdims=True)
    return log_probs - highest - np.log(np.exp(log_probs - highest).sum(axis=-1, keepdims=True))


class _Text:
    """One sample's text as it grows; what could be the beginning of a stop string is held back."""

    def __init__(self, decoder: TextDecoder, stops: Sequence[str]) -> None:
        self._decoder = decoder
        self._stops = stops
        self._held = ""

    def push(self, token: int, end: int) -> tuple[str, str | None]:
        """What can be shown after `token`, and why the text ends here, if it does."""
        if token == end:
            self._held += self._decoder.finish()
            shown, reason = self._cut()
            return (shown, reason) if reason is not None else (shown + self.finish(), "end")
        self._held += self._decoder.push(token)
        return self._cut()

    def finish(self) -> str:
        """Everything held back."""
        shown, self._held = self._held + self._decoder.finish(), ""
        return shown

    def _cut(self) -> tuple[str, str | None]:
        found = [at for at in (self._held.find(stop) for stop in self._stops) if at >= 0]
        if found:
            return self._held[: min(found)], "stop"
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown, None


def _overlap(text: str, stop: str) -> int:
    """How many of `text`'s last characters are the beginning of `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
