"""From a model's distribution to the one that is drawn from: small pure functions over log-probabilities (R, V).

R rows, V tokens, natural logarithms, -inf = impossible. `Pipeline.process` applies them in this order, each
only where it is asked for:

 1. repetition penalty (Keskar et al. 2019), over the tokens of the prompt and those made
 2. presence and frequency penalty (as OpenAI defines them), over the tokens made
 3. bias
 4. what may not come: constraints and bans; the document mark before the least length; all but a forced token
 5. temperature
 6. top-k, top-p (Holtzman et al. 2020), min-p (Nguyen et al. 2024), typical (Meister et al. 2022)

A step need not leave rows that sum to 1, and steps 1 to 4 may leave them anywhere: a bias of 100 or -100 is an ordinary
one. So those reckon in float64, and a row's maximum is taken off before anything takes its exp. Top-p and typical, to
which a share of probability matters, get rows that sum to 1, so their share is one of what is left. Among equals, the
lower id comes first everywhere: "the k likeliest" are k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rung.errors import UserError
from rung.generation.settings import Sampling
from rung.measure import NO_NUMBERS
from rung.text.tokenizers import Tokenizer

NO_TOKEN_LEFT = "no token is left to draw: what is banned, required or constrained excludes them all"


@dataclass(frozen=True)
class TokenHistory:
    """What the penalties and lengths ask of R rows; what nobody asks for is None.

    n_made: (R,) how many tokens each has made.
    counts: (R, V) how often each token was made.
    seen: (R, V) whether a token stands in the prompt or was made.
    begins: (R,) whether the text is to go on where a blank is implied, as at the beginning of a document.
    """

    n_made: np.ndarray
    counts: np.ndarray | None
    seen: np.ndarray | None
    begins: np.ndarray | None = None

    def after(self, tokens: np.ndarray, rows: np.ndarray | None = None) -> TokenHistory:
        """One token more, (R,); if `rows` (n,) are given, only those have made theirs."""
        at = np.arange(len(tokens)) if rows is None else rows
        n_made, counts, seen = self.n_made.copy(), self.counts, self.seen
        n_made[at] += 1
        if counts is not None:
            counts = counts.copy()
            counts[at, tokens[at]] += 1
        if seen is not None:
            seen = seen.copy()
            seen[at, tokens[at]] = True
        return TokenHistory(n_made, counts, seen, self.begins)

    def select(self, rows: np.ndarray) -> TokenHistory:
        """The past whose row i is row `rows[i]` of this."""
        counts, seen = self.counts, self.seen
        return TokenHistory(
            self.n_made[rows],
            None if counts is None else counts[rows],
            None if seen is None else seen[rows],
            None if self.begins is None else self.begins[rows],
        )


class Pipeline:
    """The functions below in their order, by the settings of `sampling`, over the ids of a tokeniser.

    Attributes:
        sampling: the settings.
        needs_history: whether the past matters; where not, any past will do.

    Raises UserError when a setting doesn't go with the vocabulary.
    """

    def __init__(self, sampling: Sampling, tokenizer: Tokenizer) -> None:
        vocab_size = tokenizer.vocab_size
        for flag, value in (("--top-k", sampling.top_k), ("--top-logprobs", sampling.top_logprobs)):
            if value is not None and value > vocab_size:
                raise UserError(
                    f"{flag} {value} is above the vocabulary: give at most {vocab_size}, or leave it out"
                )
        self.sampling = sampling
        self._vocab_size = vocab_size
        self._end = tokenizer.end
        self._bias = _bias(sampling, tokenizer)
        self._implies_blank = tokenizer.implies_blank
        # Where a blank is implied, and where not.
        self._forced = {True: tokenizer.encode(sampling.force), False: tokenizer.encode_rest(sampling.force)}
        self._counts = sampling.presence_penalty != 0 or sampling.frequency_penalty != 0
        self._seen = sampling.repetition_penalty != 1
        self.needs_history = self._counts or self._seen or sampling.min_tokens > 0 or sampling.force != ""

    def start(self, prompts: Sequence[np.ndarray]) -> TokenHistory:
        """The past of rows that have made nothing; the ids of their prompts come without the mark."""
        shape = (len(prompts), self._vocab_size)
        seen = np.zeros(shape, bool) if self._seen else None
        begins = None
        if self.sampling.force:
            begins = self._implies_blank[[prompt[-1] if len(prompt) else self._end for prompt in prompts]]
        if seen is not None:
            for row, prompt in enumerate(prompts):
                seen[row, prompt] = True
        return TokenHistory(
            np.zeros(len(prompts), np.int64),
            np.zeros(shape, np.int32) if self._counts else None,
            seen,
            begins,
        )

    def adjusted(
        self, log_probs: np.ndarray, past: TokenHistory, allowed: np.ndarray | None = None
    ) -> np.ndarray:
        """Steps 1 to 4; the rows need no longer sum to 1, nor have a token left.

        `allowed` (R, V): which tokens a constraint admits, None = all.
        """
        sampling = self.sampling
        if past.seen is not None:
            log_probs = repetition_penalty(log_probs, past.seen, sampling.repetition_penalty)
        if past.counts is not None:
            log_probs = count_penalties(
                log_probs, past.counts, sampling.presence_penalty, sampling.frequency_penalty
            )
        if self._bias is not None:
            log_probs = log_probs + self._bias
        if allowed is not None:
            log_probs = mask(log_probs, allowed)
        if sampling.min_tokens > 0:
            log_probs = mask_early_end(log_probs, past.n_made, sampling.min_tokens, self._end)
        if past.begins is not None:
            for begins, forced in self._forced.items():
                n_made = np.where(past.begins == begins, past.n_made, len(forced))
                log_probs = force_prefix(log_probs, n_made, forced)
        return log_probs

    def process(
        self, log_probs: np.ndarray, past: TokenHistory, allowed: np.ndarray | None = None
    ) -> np.ndarray:
        """All steps: log-probabilities (R, V), summing to 1, of exactly the distribution that is drawn from.

        Raises UserError when a row has no token left.
        """
        return log_softmax(self._reshaped(log_probs, past, allowed))

    def sample(
        self,
        log_probs: np.ndarray,
        past: TokenHistory,
        uniforms: np.ndarray,
        allowed: np.ndarray | None = None,
    ) -> np.ndarray:
        """A token a row (R,), drawn from `process` by `uniforms` (R,) in [0, 1); greedily at temperature 0."""
        if self.sampling.temperature > 0:
            return sample_tokens(self._reshaped(log_probs, past, allowed), uniforms)
        adjusted = self._to_draw(log_probs, past, allowed)
        tokens = adjusted.argmax(axis=-1)  # which no cut removes
        check_possible(adjusted[np.arange(len(tokens)), tokens])
        return tokens

    def top(self, log_probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The ids and log-probabilities (R, N) of the N likeliest tokens, N = `top_logprobs`, likeliest first."""
        n = self.sampling.top_logprobs
        if n == 0:
            nothing = np.empty((len(log_probs), 0), np.int64)
            return nothing, nothing
        ids = top_k_ids(log_probs, n)
        return ids, np.take_along_axis(log_probs, ids, -1)

    def _to_draw(self, log_probs: np.ndarray, past: TokenHistory, allowed: np.ndarray | None) -> np.ndarray:
        """Steps 1 to 4; a text that a constraint lets only end may end below the least length.

        (A search goes on with other texts; what is drawn can't turn back.)
        """
        out, end = self.adjusted(log_probs, past, allowed), self._end
        if self.sampling.min_tokens > 0 and allowed is not None:
            over = allowed[:, end] & (log_probs[:, end] > -np.inf) & (out.max(axis=-1) == -np.inf)
            if over.any():
                out[over, end] = 0
        return out

    def _reshaped(self, log_probs: np.ndarray, past: TokenHistory, allowed: np.ndarray | None) -> np.ndarray:
        """All steps; the rows need not sum to 1."""
        sampling = self.sampling
        out = self._to_draw(log_probs, past, allowed)
        if out is not log_probs:
            likeliest = out.max(axis=-1, keepdims=True)
            check_possible(likeliest)
            out = out - likeliest
        out = temperature(out, sampling.temperature)
        if sampling.top_k is not None:
            out = top_k(out, sampling.top_k)
        if sampling.top_p is not None:
            out = top_p(out if out is log_probs else log_softmax(out), sampling.top_p)
        if sampling.min_p is not None:
            out = min_p(out, sampling.min_p)
        if sampling.typical_p is not None:
            out = typical_p(out if out is log_probs else log_softmax(out), sampling.typical_p)
        return out


def repetition_penalty(log_probs: np.ndarray, seen: np.ndarray, penalty: float) -> np.ndarray:
    """The log-probability of every token seen (R, V) times the penalty: p becomes p ** penalty.

    Keskar et al. 2019 (CTRL) divide logits, which have no natural zero; here the logits are log-probabilities, at most
    0, so times is what makes a token less likely, as in their implementation and in transformers.
    """
    return np.where(seen, log_probs.astype(np.float64) * penalty, log_probs)


def count_penalties(
    log_probs: np.ndarray, counts: np.ndarray, presence: float, frequency: float
) -> np.ndarray:
    """Less `presence` for every token made at least once, less `frequency` for each time."""
    return log_probs - (presence * (counts > 0) + frequency * counts)


def mask(log_probs: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """What is not allowed, (R, V) or (V,), becomes impossible."""
    return np.where(allowed, log_probs, log_probs.dtype.type(-np.inf))


def mask_early_end(log_probs: np.ndarray, n_made: np.ndarray, least: int, end: int) -> np.ndarray:
    """The mark becomes impossible in rows that have made fewer than `least` tokens."""
    early = n_made < least
    if not early.any():
        return log_probs
    out = log_probs.copy()
    out[early, end] = -np.inf
    return out


def force_prefix(log_probs: np.ndarray, n_made: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """In rows that have made fewer tokens than `tokens` (F,), the next of those has all the probability."""
    rows = np.flatnonzero(n_made < len(tokens))
    if not len(rows):
        return log_probs
    out = log_probs.copy()
    out[rows] = -np.inf
    out[rows, tokens[n_made[rows]]] = 0
    return out


def temperature(log_probs: np.ndarray, value: float) -> np.ndarray:
    """p ** (1 / value), in proportion to the likeliest token's; at 0 only that is left (the lowest id among equals)."""
    if value == 0:
        return top_k(log_probs, 1)
    if value == 1:
        return log_probs
    # Shifted by the maximum first, so that what overflows near 0 is only the unlikely, to -inf. A value that the rows'
    # type would take for 0 or infinity divides like the nearest that it has.
    kind = np.finfo(log_probs.dtype)
    value = min(max(value, float(kind.tiny)), float(kind.max))
    with np.errstate(over="ignore"):
        return (log_probs - log_probs.max(axis=-1, keepdims=True)) / value


def top_k(log_probs: np.ndarray, k: int) -> np.ndarray:
    """Keep exactly the k likeliest tokens; all of them when k is V or more."""
    if k >= log_probs.shape[-1]:
        return log_probs
    return mask(log_probs, top_k_mask(log_probs, k))


def top_p(log_probs: np.ndarray, p: float) -> np.ndarray:
    """Keep the fewest likeliest tokens whose probabilities reach p, at least one. The rows must sum to 1."""
    if p >= 1:
        return log_probs
    surprise = np.sort(-log_probs, axis=-1)
    probs = np.exp(-surprise)
    n_kept = (np.cumsum(probs, axis=-1, dtype=np.float64) - probs < p).sum(axis=-1)
    return mask(log_probs, _smallest(-log_probs, surprise, np.maximum(n_kept, 1)))


def min_p(log_probs: np.ndarray, share: float) -> np.ndarray:
    """Keep the tokens that have at least this share of the likeliest one's probability."""
    if share == 0:
        return log_probs
    least = log_probs.max(axis=-1, keepdims=True) + np.log(share)
    return mask(log_probs, log_probs >= least.astype(log_probs.dtype))


def typical_p(log_probs: np.ndarray, p: float) -> np.ndarray:
    """Keep the fewest tokens that reach p, those first whose surprise -log p is nearest to its mean, the entropy.

    The rows must sum to 1.
    """
    if p >= 1:
        return log_probs
    probs = np.exp(log_probs)
    possible = probs > 0
    surprise = -np.where(possible, log_probs, 0)
    entropy = (probs * surprise).sum(axis=-1, keepdims=True)
    distance = np.where(possible, np.abs(surprise - entropy), np.inf)
    order = np.argsort(distance, axis=-1)
    ranked = np.take_along_axis(probs, order, -1)
    n_kept = (np.cumsum(ranked, axis=-1, dtype=np.float64) - ranked < p).sum(axis=-1)
    border = np.take_along_axis(distance, np.take_along_axis(order, n_kept[..., None] - 1, -1), -1)
    return mask(log_probs, _up_to(distance, border, n_kept))


def log_softmax(log_probs: np.ndarray) -> np.ndarray:
    """Shifted so that the probabilities of each row sum to 1."""
    shifted = log_probs - log_probs.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def top_k_mask(log_probs: np.ndarray, k: int) -> np.ndarray:
    """Which k tokens of each row are the likeliest, (R, V) booleans."""
    surprise = -log_probs
    border = np.partition(surprise, k - 1, axis=-1)[..., k - 1 : k]
    return _up_to(surprise, border, np.full(surprise.shape[:-1], k))


def top_k_ids(log_probs: np.ndarray, n: int) -> np.ndarray:
    """The ids (R, n) of the n likeliest tokens of each row, likeliest first."""
    ids = np.nonzero(top_k_mask(log_probs, n))[-1].reshape(-1, n)
    order = np.argsort(-np.take_along_axis(log_probs, ids, -1), axis=-1, kind="stable")
    return np.take_along_axis(ids, order, -1)


def sample_tokens(log_probs: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """One token a row (R,), by inverting the cumulative distribution at `uniforms` (R,), each in [0, 1)."""
    cumulative = np.cumsum(np.exp(log_probs), axis=-1, dtype=np.float64)
    check_possible(cumulative[:, -1], least=0)
    # Scaled by the row's own sum, so that rounding can't push a draw past the last possible token.
    return (cumulative > uniforms[:, None] * cumulative[:, -1:]).argmax(axis=-1)


def check_possible(best: np.ndarray, least: float = -np.inf) -> None:
    """Raise UserError where the best that a row has is `least`, which is nothing, or no number."""
    if not (best > least).all():
        raise UserError(NO_NUMBERS if np.isnan(best).any() else NO_TOKEN_LEFT)


def _smallest(keys: np.ndarray, in_order: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Which n (R,) keys of each row (R, V) are the smallest; `in_order` holds them sorted."""
    return _up_to(keys, np.take_along_axis(in_order, n[..., None] - 1, -1), n)


def _up_to(keys: np.ndarray, border: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Which keys come before the border (R, 1) or are equal to it, n (R,) in all."""
    kept = keys <= border
    if (kept.sum(axis=-1) == n).all():
        return kept
    equal = keys == border
    room = n - (keys < border).sum(axis=-1)
    return kept & ~(equal & (np.cumsum(equal, axis=-1) > room[..., None]))


def _bias(sampling: Sampling, tokenizer: Tokenizer) -> np.ndarray | None:
    if not sampling.bias:
        return None
    bias = np.zeros(tokenizer.vocab_size)
    for text, value in sampling.biases():
        # A word is meant with the blank that is implied before it; "," is meant as it stands after a word.
        ids = tokenizer.encode(text) if text[0].isalnum() else tokenizer.encode_rest(text)
        if len(ids) != 1:
            raise UserError(f"--bias {text!r} is {len(ids)} tokens of this run: give a text that is one")
        bias[ids[0]] += value
    return bias
