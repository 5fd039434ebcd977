"""N-grams of any length: what followed the longest end of this history that the training text has?

The training text itself is the model: its places, sorted by what comes before them, tell what followed any
string, however long (Liu et al. 2024, "Infini-gram: scaling unbounded n-gram language models to a trillion
tokens"). Their model takes the relative frequencies after the longest known end of the history. Here these are
mixed into the probabilities of a Kneser-Ney model, the ends of a few fixed lengths first, the longest last:

    P_0(w | h)  =  P_KN(w | h)
    P_i(w | h)  =  lambda n(e_i w) / n(e_i)  +  (1 - lambda) P_(i-1)(w | h)        e_1, e_2, ... ends of h

lambda depends on how long the end is, how often it occurs and how many tokens followed it (`infinigram_scan`),
as in Jelinek and Mercer (1980). It is learned where the text is not its own witness: ten stretches of the text
are predicted by models counted without them, and every lambda is what makes the stretches likeliest
(expectation maximisation, one level after the other). Then all is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from rung.events import Event
from rung.models.base import CountedModel, fitted
from rung.models.counting.infinigram_scan import (
    TIMES,
    UNUSED,
    VARIETIES,
    KnownText,
    advance_and_mix,
    n_cells,
    observe,
    stretches_before,
)
from rung.models.counting.ngram import NGram, NGramConfig, default_order
from rung.models.counting.suffix_array import PlaceIndex, build_index, read_only
from rung.text.stream import TokenStream

STRETCHES = 10
LONGEST_STRETCH = 40_000  # tokens; enough in all to tell what several hundred weights should be
AT_ONCE = 10  # so that a tenth of the text is held out at a time, and what is left is much like the whole
PRIOR = 5.0  # tokens
ROUNDS = 40
MOST = 0.9999  # no lambda above, so nothing becomes impossible
TOKENS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class InfiniGramConfig:
    """Settings of the infinigram rung."""

    order: int | None = None
    """The longest n-gram of the Kneser-Ney model below, 1 to 16; None = what suits the size of the vocabulary."""

    def __post_init__(self) -> None:
        NGramConfig(order=self.order)


class State(NamedTuple):
    """The places (B, 3) that follow the longest known end of each history: range and length; the n-gram's state."""

    places: np.ndarray
    nodes: np.ndarray


class InfiniGram(CountedModel):
    """Kneser-Ney, corrected by what followed longer ends of the history in the training text.

    The whole document so far is the history, its mark included, but nothing before it. (Where the training text
    repeats 65,535 tokens or more, a history that leaves the repetition is followed no further back than that.)

    Attributes:
        ngram: the Kneser-Ney model.
        known: the places of the training text, sorted by what comes before them, and what followed.
        weights: (cells,) lambda for each kind of evidence.
    """

    rung = "infinigram"
    config_class = InfiniGramConfig
    context = None

    def __init__(
        self,
        config: InfiniGramConfig,
        vocab_size: int,
        end: int,
        ngram: NGram,
        known: KnownText,
        weights: np.ndarray,
    ) -> None:
        super().__init__(config, vocab_size, end)
        self.config: InfiniGramConfig = config
        self.ngram = ngram
        self.known = known
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
            index, last = build_index(ids, vocab_size)
            following = np.asarray(ids)[last + 1].astype(np.min_scalar_type(vocab_size - 1))
            known = _known(index, following, stretches_before(following), order)
            return cls(replace(config, order=order), vocab_size, end, ngram, known, weights)

        weights = np.zeros(n_cells(*_lengths(order)), np.float32)
        observed = []
        for kept, held_out in hold_out(stream, end):
            ngram = fitted(NGram.fit(ngram_config, kept, vocab_size, end))
            part = counted(ngram, kept.ids, weights)
            observed += [part._evidence(ids) for ids in held_out]
            del ngram, part
        if observed:
            below, shares, cells = (np.concatenate(parts) for parts in zip(*observed, strict=True))
            weights = learn_weights(below, shares, cells, len(weights))
        ngram = None
        for event in NGram.fit(ngram_config, stream, vocab_size, end):
            if isinstance(event, NGram):
                ngram = event
            else:
                yield event
        assert ngram is not None
        yield counted(ngram, stream.ids, weights)

    def start(self, batch: int = 1) -> State:
        return State(np.tile(self._nothing_seen(), (batch, 1)), self.ngram.start(batch))

    def advance(self, state: State, tokens: np.ndarray) -> tuple[np.ndarray, State]:
        tokens = self.check_tokens(tokens)
        columns = tokens[:, None] if tokens.ndim == 1 else tokens
        log_probs, nodes = self.ngram.advance(state.nodes, columns)
        probs = np.exp(log_probs.astype(np.float64))
        places = state.places.copy()
        columns = np.ascontiguousarray(columns)
        advance_and_mix(self.known, read_only(self.weights), columns, self.end, places, probs)
        return np.log(probs).astype(np.float32), State(places, nodes)

    def select(self, state: State, rows: np.ndarray) -> State:
        return State(state.places[rows], self.ngram.select(state.nodes, rows))

    def score(self, tokens: np.ndarray) -> np.ndarray:
        tokens = self.check_tokens(tokens)
        marked = np.concatenate([np.full((*tokens.shape[:-1], 1), self.end), tokens], axis=-1)
        log_probs = np.zeros(marked.shape, np.float32)
        log_probs[..., 1:] = self.ngram.score(tokens)
        return self._mixed(marked.reshape(-1), log_probs.reshape(-1)).reshape(marked.shape)[..., 1:]

    def score_stream(self, stream: TokenStream) -> np.ndarray:
        log_probs = np.concatenate([np.zeros(1, np.float32), self.ngram.score_stream(stream)])
        return self._mixed(stream.ids, log_probs)[1:]

    @property
    def n_parameters(self) -> int:
        return self.ngram.n_parameters + len(self.known.following) + len(self.weights)

    def tensors(self) -> dict[str, np.ndarray]:
        parts = {f"places.{name}": array for name, array in self.known.places._asdict().items()}
        parts |= {f"ngram.{name}": array for name, array in self.ngram.tensors().items()}
        known = {"following": self.known.following, "stretches": self.known.stretches}
        return parts | known | {"weights": self.weights}

    @classmethod
    def from_tensors(
        cls, config: InfiniGramConfig, vocab_size: int, end: int, tensors: dict[str, np.ndarray]
    ) -> Self:
        settings = NGramConfig(order=config.order)
        ngram = NGram.from_tensors(settings, vocab_size, end, _below("ngram.", tensors))
        index = PlaceIndex(**_below("places.", tensors))
        known = _known(index, tensors["following"], tensors["stretches"], ngram.order)
        return cls(config, vocab_size, end, ngram, known, tensors["weights"])

    def _nothing_seen(self) -> np.ndarray:
        return np.array([0, self.known.places.n_places, 0])

    def _mixed(self, ids: np.ndarray, log_probs: np.ndarray) -> np.ndarray:
        """The log-probability of every token of `ids` given those before it, (T,), from the Kneser-Ney model's."""
        out = np.empty(len(ids), np.float32)
        state = self._nothing_seen()
        for begin in range(0, len(ids), TOKENS_AT_ONCE):
            chunk = slice(begin, begin + TOKENS_AT_ONCE)
            probs = np.exp(log_probs[chunk].astype(np.float64))
            shares, cells = self._observed(ids[chunk], state)
            for share, cell in zip(shares.T, cells.T, strict=True):
                weight = np.where(cell == UNUSED, 0, self.weights[cell])
                probs += weight * (share - probs)
            out[chunk] = np.log(probs)
        return out

    def _observed(self, ids: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Relative frequencies and cells (T, K + 1) before each of `ids`; `state` moves on."""
        shares = np.empty((len(ids), len(self.known.lengths) + 1), np.float32)
        cells = np.empty(shares.shape, np.int32)
        observe(self.known, np.asarray(ids).astype(np.int64), self.end, state, shares, cells)
        return shares, cells

    def _evidence(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What `learn_weights` takes, from ids that begin with a mark and were not counted."""
        shares, cells = self._observed(ids, self._nothing_seen())
        below = self.ngram.score(ids[1:].astype(np.int64))
        return np.exp(below.astype(np.float64)), shares[1:], cells[1:]


def hold_out(stream: TokenStream, end: int) -> Iterator[tuple[TokenStream, list[np.ndarray]]]:
    """A stream without some stretches of it, and these, each after a mark; several times, for all ten stretches.

    Ends of stretches are ends of documents where these are shorter. What is left of a longer document on
    either side counts as two.
    """
    ids = np.asarray(stream.ids)
    tenths = 1 + np.arange(STRETCHES + 1) * stream.n_tokens // STRETCHES
    spare = np.maximum(np.diff(tenths) - LONGEST_STRETCH, 0)
    cuts = np.stack([tenths[:-1] + spare // 2, tenths[1:] - (spare + 1) // 2], axis=1)
    next_start = stream.starts[np.searchsorted(stream.starts, cuts)]
    # One bound for all, so that where one stretch ends the next begins.
    cuts = np.where(next_start - cuts < np.diff(cuts).max(), next_start, cuts)
    cuts = cuts[cuts[:, 0] < cuts[:, 1]]
    n_times = -(-AT_ONCE * int(np.diff(cuts).sum()) // max(stream.n_tokens, 1))
    mark = np.full(1, end, ids.dtype)
    for turn in range(n_times):
        kept, held_out, done = [mark], [], 1
        for begin, stop in cuts[turn::n_times].tolist():
            kept += [ids[done:begin], mark[: int(ids[begin - 1] != end)]]
            held_out.append(np.concatenate([mark, ids[begin:stop]]))
            done = stop
        rest = np.concatenate([*kept, ids[done:]])
        if held_out:
            yield TokenStream(rest, np.flatnonzero(rest == end) + 1), held_out


def learn_weights(probs: np.ndarray, shares: np.ndarray, cells: np.ndarray, n_cells: int) -> np.ndarray:
    """Lambda for every cell, (n_cells,) float32, level after level, by expectation maximisation.

    Each cell's is drawn to that of its level and variety, and this to 0, as if PRIOR more tokens had said so.

    Args:
        probs: (T,) what the model below gives each token.
        shares, cells: (T, K + 1), as from `observe`.
    """
    weights = np.zeros(n_cells)
    probs = probs.copy()
    for level in range(cells.shape[1]):
        used = np.flatnonzero(cells[:, level] != UNUSED)
        cell, share, below = cells[used, level], shares[used, level].astype(np.float64), probs[used]
        variety = cell % VARIETIES
        coarse = _maximised(variety, share, below, np.zeros(VARIETIES))
        first, last = (
            (level * TIMES * VARIETIES, (level + 1) * TIMES * VARIETIES)
            if level < cells.shape[1] - 1
            else (level * TIMES * VARIETIES, n_cells)
        )
        prior = np.zeros(n_cells)
        prior[first:last] = np.tile(coarse, (last - first) // VARIETIES)
        learned = _maximised(cell, share, below, prior)
        weights[first:last] = learned[first:last]
        probs[used] += learned[cell] * (share - below)
    return weights.astype(np.float32)


def _maximised(group: np.ndarray, share: np.ndarray, below: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """For each group g the weight that makes its tokens likeliest, with PRIOR more for which it is prior[g]."""
    n = np.bincount(group, minlength=len(prior))
    weight = np.full(len(prior), 0.5)
    for _ in range(ROUNDS):
        own = weight[group] * share
        responsible = own / (own + (1 - weight[group]) * below)
        total = np.bincount(group, responsible, minlength=len(prior))
        weight = np.minimum((total + PRIOR * prior) / (n + PRIOR), MOST)
    return weight


def _lengths(order: int) -> tuple[np.ndarray, np.ndarray]:
    """The fixed lengths of ends to look at, and the lengths that part the longest ends into rows."""
    lengths = np.array([length for length in (order - 3, order, order + 2, order + 5) if length >= 1])
    return lengths, np.append(lengths, lengths[-1] * np.array([2, 4]))


def _known(index: PlaceIndex, following: np.ndarray, stretches: np.ndarray, order: int) -> KnownText:
    index = PlaceIndex(*map(read_only, index))
    return KnownText(index, read_only(following), read_only(stretches), *_lengths(order))


def _below(prefix: str, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
