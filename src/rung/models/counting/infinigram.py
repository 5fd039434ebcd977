"""N-grams of any length: what followed the longest suffix of this history that the training text has?

The training text itself is the model: its prefixes, sorted from their ends backwards, tell what followed any
string, however long (Liu et al. 2024, "Infini-gram: scaling unbounded n-gram language models to a trillion
tokens"). Their model takes the relative frequencies after the longest known suffix of the history. Here these are
mixed into the probabilities of a Kneser-Ney model, suffixes of a few fixed lengths first, the longest last:

    P_0(w | h)  =  P_KN(w | h)
    P_i(w | h)  =  lambda n(e_i w) / n(e_i)  +  (1 - lambda) P_(i-1)(w | h)        e_1, e_2, ... suffixes of h

lambda depends on how long the suffix is, how often it occurs and how many tokens followed it (`infinigram_scan`),
as in Jelinek and Mercer (1980). It is learned where the text is not its own witness: ten segments of the text
are predicted by models counted without them, and every lambda is what makes the segments likeliest
(expectation maximisation, one level after the other). Then all is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from rung.events import Event
from rung.models.base import CountedModel, fitted
from rung.models.counting.arrays import read_only
from rung.models.counting.infinigram_scan import (
    COUNT_BINS,
    DISTINCT_BINS,
    UNUSED,
    TrainingText,
    advance_and_interpolate,
    cumulative_runs,
    n_buckets,
    observe,
)
from rung.models.counting.ngram import NGram, NGramConfig, default_order
from rung.models.counting.suffix_array import BLOCK, SuffixArray, build_suffix_array
from rung.opening import check_array, check_at_most, check_below
from rung.text.stream import TokenStream

N_SEGMENTS = 10
MAX_SEGMENT = 40_000  # tokens; enough in all to tell what several hundred weights should be
MAX_FOLDS = 10  # a tenth of the text is held out at a time, so that what is left is much like the whole
PRIOR_TOKENS = 5.0
EM_ITERATIONS = 40
MAX_WEIGHT = 0.9999  # no lambda above, so nothing becomes impossible
TOKENS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class InfiniGramConfig:
    """Settings of the infinigram rung."""

    order: int | None = None
    """The longest n-gram of the Kneser-Ney model below, 1 to 16; by default what suits the size of the vocabulary."""

    def __post_init__(self) -> None:
        NGramConfig(order=self.order)


class State(NamedTuple):
    """The longest known suffix of each history (B, 3): interval of the suffix array and length; the n-gram's state."""

    matches: np.ndarray
    nodes: np.ndarray


class InfiniGram(CountedModel):
    """Kneser-Ney, corrected by what followed longer suffixes of the history in the training text.

    The whole document so far is the history, its mark included, but nothing before it. (Where the training text
    repeats 65,535 tokens or more, a history that leaves the repetition is followed no further back than that.)

    Attributes:
        ngram: the Kneser-Ney model.
        text: the suffix array of the training text, and what followed each prefix.
        weights: (buckets,) lambda for each kind of evidence.
    """

    rung = "infinigram"
    counts_copies = False  # it tests itself on parts of its text, and would know a copy by heart
    config_class = InfiniGramConfig
    context = None

    def __init__(
        self,
        config: InfiniGramConfig,
        vocab_size: int,
        end: int,
        ngram: NGram,
        text: TrainingText,
        weights: np.ndarray,
    ) -> None:
        super().__init__(config, vocab_size, end)
        self.config: InfiniGramConfig = config
        self.ngram = ngram
        self.text = text
        self.weights = weights

    @classmethod
    def warm_up(cls) -> None:
        rows = [np.arange(n) % 7 for n in (50, 400, 700)]
        for event in cls.fit(InfiniGramConfig(order=2), TokenStream.of(rows, 7), 8, 7):
            if isinstance(event, cls):
                event.score(rows[0])
                event.advance(event.start(), rows[0][:1])

    @classmethod
    def fit(
        cls, config: InfiniGramConfig, stream: TokenStream, vocab_size: int, end: int
    ) -> Iterator[Event | Self]:
        """Count `stream`, twice. The model's config has the order chosen where none was given."""
        order = default_order(vocab_size) if config.order is None else config.order
        ngram_config = NGramConfig(order=order)

        def counted(ngram: NGram, ids: np.ndarray, weights: np.ndarray) -> Self:
            index, positions = build_suffix_array(ids, vocab_size)
            next_tokens = np.asarray(ids)[positions + 1].astype(np.min_scalar_type(vocab_size - 1))
            text = _training_text(index, next_tokens, cumulative_runs(next_tokens), order)
            return cls(replace(config, order=order), vocab_size, end, ngram, text, weights)

        weights = np.zeros(n_buckets(*_lengths(order)), np.float32)
        observed = []
        for kept, held_out in hold_out(stream, end):
            ngram = fitted(NGram.fit(ngram_config, kept, vocab_size, end))
            part = counted(ngram, kept.ids, weights)
            observed += [part._evidence(ids) for ids in held_out]
            del ngram, part
        if observed:
            below, frequencies, buckets = (np.concatenate(parts) for parts in zip(*observed, strict=True))
            weights = learn_weights(below, frequencies, buckets, len(weights))
        ngram = None
        for event in NGram.fit(ngram_config, stream, vocab_size, end):
            if isinstance(event, NGram):
                ngram = event
            else:
                yield event
        assert ngram is not None
        yield counted(ngram, stream.ids, weights)

    def start(self, batch: int = 1) -> State:
        return State(np.tile(self._empty_match(), (batch, 1)), self.ngram.start(batch))

    def advance(self, state: State, tokens: np.ndarray) -> tuple[np.ndarray, State]:
        tokens = self.check_tokens(tokens)
        columns = tokens[:, None] if tokens.ndim == 1 else tokens
        log_probs, nodes = self.ngram.advance(state.nodes, columns)
        probs = np.exp(log_probs.astype(np.float64))
        matches = state.matches.copy()
        columns = np.ascontiguousarray(columns)
        advance_and_interpolate(self.text, read_only(self.weights), columns, self.end, matches, probs)
        return np.log(probs).astype(np.float32), State(matches, nodes)

    def select(self, state: State, rows: np.ndarray) -> State:
        return State(state.matches[rows], self.ngram.select(state.nodes, rows))

    def score(self, tokens: np.ndarray) -> np.ndarray:
        tokens = self.check_tokens(tokens)
        marked = np.concatenate([np.full((*tokens.shape[:-1], 1), self.end), tokens], axis=-1)
        log_probs = np.zeros(marked.shape, np.float32)
        log_probs[..., 1:] = self.ngram.score(tokens)
        return self._interpolated(marked.reshape(-1), log_probs.reshape(-1)).reshape(marked.shape)[..., 1:]

    def score_stream(self, stream: TokenStream) -> np.ndarray:
        log_probs = np.concatenate([np.zeros(1, np.float32), self.ngram.score_stream(stream)])
        return self._interpolated(stream.ids, log_probs)[1:]

    @property
    def n_parameters(self) -> int:
        return self.ngram.n_parameters + len(self.text.next_tokens) + len(self.weights)

    def tensors(self) -> dict[str, np.ndarray]:
        ngram = {f"ngram.{name}": array for name, array in self.ngram.tensors().items()}
        text = {"following": self.text.next_tokens, "stretches": self.text.runs}
        return self.text.suffix_array.tensors() | ngram | text | {"weights": self.weights}

    @classmethod
    def from_tensors(
        cls, config: InfiniGramConfig, vocab_size: int, end: int, tensors: dict[str, np.ndarray]
    ) -> Self:
        settings = NGramConfig(order=config.order)
        parts = {k.removeprefix("ngram."): array for k, array in tensors.items() if k.startswith("ngram.")}
        ngram = NGram.from_tensors(settings, vocab_size, end, parts)
        index = SuffixArray.from_tensors(tensors, vocab_size)
        following, stretches, weights = tensors["following"], tensors["stretches"], tensors["weights"]
        check_array("following", following, "u1 u2 u4", [index.size])
        check_below("following", following, vocab_size)
        check_array("stretches", stretches, "i4 i8", [-(-max(index.size, 1) // BLOCK) + 1])
        check_array("weights", weights, "f4", [n_buckets(*_lengths(ngram.order))])
        check_at_most("weights", weights, MAX_WEIGHT)
        check_at_most("weights, their signs changed,", -weights, 0)
        return cls(
            config, vocab_size, end, ngram, _training_text(index, following, stretches, ngram.order), weights
        )

    def _empty_match(self) -> np.ndarray:
        return np.array([0, self.text.suffix_array.size, 0])

    def _interpolated(self, ids: np.ndarray, log_probs: np.ndarray) -> np.ndarray:
        """The log-probability of every token of `ids` given those before it, (T,), from the Kneser-Ney model's."""
        out = np.empty(len(ids), np.float32)
        state = self._empty_match()
        for begin in range(0, len(ids), TOKENS_AT_ONCE):
            chunk = slice(begin, begin + TOKENS_AT_ONCE)
            probs = np.exp(log_probs[chunk].astype(np.float64))
            frequencies, buckets = self._observe(ids[chunk], state)
            for frequency, bucket in zip(frequencies.T, buckets.T, strict=True):
                weight = np.where(bucket == UNUSED, 0, self.weights[bucket])
                probs += weight * (frequency - probs)
            out[chunk] = np.log(probs)
        return out

    def _observe(self, ids: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Relative frequencies and buckets (T, K + 1) before each of `ids`; `state` moves on."""
        frequencies = np.empty((len(ids), len(self.text.lengths) + 1), np.float32)
        buckets = np.empty(frequencies.shape, np.int32)
        observe(self.text, np.asarray(ids).astype(np.int64), self.end, state, frequencies, buckets)
        return frequencies, buckets

    def _evidence(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What `learn_weights` takes, from ids that begin with a mark and were not counted."""
        frequencies, buckets = self._observe(ids, self._empty_match())
        below = self.ngram.score(ids[1:].astype(np.int64))
        return np.exp(below.astype(np.float64)), frequencies[1:], buckets[1:]


def hold_out(stream: TokenStream, end: int) -> Iterator[tuple[TokenStream, list[np.ndarray]]]:
    """A stream without some segments of it, and these, each after a mark; several times, for all ten segments.

    Ends of segments are ends of documents where these are shorter. What is left of a longer document on
    either side counts as two.
    """
    ids = np.asarray(stream.ids)
    tenths = 1 + np.arange(N_SEGMENTS + 1) * stream.n_tokens // N_SEGMENTS
    spare = np.maximum(np.diff(tenths) - MAX_SEGMENT, 0)
    cuts = np.stack([tenths[:-1] + spare // 2, tenths[1:] - (spare + 1) // 2], axis=1)
    next_start = stream.starts[np.searchsorted(stream.starts, cuts)]
    # One bound for all, so that where one segment ends the next begins.
    cuts = np.where(next_start - cuts < np.diff(cuts).max(), next_start, cuts)
    cuts = cuts[cuts[:, 0] < cuts[:, 1]]
    n_folds = -(-MAX_FOLDS * int(np.diff(cuts).sum()) // max(stream.n_tokens, 1))
    mark = np.full(1, end, ids.dtype)
    for fold in range(n_folds):
        kept, held_out, done = [mark], [], 1
        for begin, stop in cuts[fold::n_folds].tolist():
            kept += [ids[done:begin], mark[: int(ids[begin - 1] != end)]]
            held_out.append(np.concatenate([mark, ids[begin:stop]]))
            done = stop
        rest = np.concatenate([*kept, ids[done:]])
        if held_out:
            yield TokenStream(rest, np.flatnonzero(rest == end) + 1), held_out


def learn_weights(
    probs: np.ndarray, frequencies: np.ndarray, buckets: np.ndarray, n_buckets: int
) -> np.ndarray:
    """Lambda for every bucket, (n_buckets,) float32, level after level, by expectation maximisation.

    Each bucket's is drawn to that of its level and distinct bin, and this to 0, as if PRIOR_TOKENS more had said so.

    Args:
        probs: (T,) what the model below gives each token.
        frequencies, buckets: (T, K + 1), as from `observe`.
    """
    weights = np.zeros(n_buckets)
    probs = probs.copy()
    for level in range(buckets.shape[1]):
        used = np.flatnonzero(buckets[:, level] != UNUSED)
        bucket, frequency, below = (
            buckets[used, level],
            frequencies[used, level].astype(np.float64),
            probs[used],
        )
        coarse = _expectation_maximisation(bucket % DISTINCT_BINS, frequency, below, np.zeros(DISTINCT_BINS))
        first = level * COUNT_BINS * DISTINCT_BINS
        last = first + COUNT_BINS * DISTINCT_BINS if level < buckets.shape[1] - 1 else n_buckets
        prior = np.zeros(n_buckets)
        prior[first:last] = np.tile(coarse, (last - first) // DISTINCT_BINS)
        learned = _expectation_maximisation(bucket, frequency, below, prior)
        weights[first:last] = learned[first:last]
        probs[used] += learned[bucket] * (frequency - below)
    return weights.astype(np.float32)


def _expectation_maximisation(
    group: np.ndarray, frequency: np.ndarray, below: np.ndarray, prior: np.ndarray
) -> np.ndarray:
    """For each group g the weight that makes its tokens likeliest, with PRIOR_TOKENS more for which it is prior[g]."""
    n = np.bincount(group, minlength=len(prior))
    weight = np.full(len(prior), 0.5)
    for _ in range(EM_ITERATIONS):
        own = weight[group] * frequency
        responsibility = own / (own + (1 - weight[group]) * below)
        total = np.bincount(group, responsibility, minlength=len(prior))
        weight = np.minimum((total + PRIOR_TOKENS * prior) / (n + PRIOR_TOKENS), MAX_WEIGHT)
    return weight


def _lengths(order: int) -> tuple[np.ndarray, np.ndarray]:
    """The fixed lengths of suffixes to look at, and the lengths that part the longest ones into rows."""
    lengths = np.array([length for length in (order - 3, order, order + 2, order + 5) if length >= 1])
    return lengths, np.append(lengths, lengths[-1] * np.array([2, 4]))


def _training_text(index: SuffixArray, next_tokens: np.ndarray, runs: np.ndarray, order: int) -> TrainingText:
    return TrainingText(index, read_only(next_tokens), read_only(runs), *_lengths(order))
