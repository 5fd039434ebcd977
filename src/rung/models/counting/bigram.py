"""The first rung: how often did this token follow that one?

    P(w | v) = (C(v, w) + k) / (C(v) + k V)

C counts pairs of neighbouring tokens in the training text, document marks included. Only pairs that occur are
kept, row by row (compressed sparse rows), so a vocabulary of 50,000 costs as much memory as the text has
different pairs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from rung.events import Event
from rung.models.base import CountedModel
from rung.models.counting.add_k import check_add_k, leave_one_out_k, note_of_chosen_k
from rung.models.counting.arrays import concatenated_ranges
from rung.opening import check_array, check_below, check_rising
from rung.text.stream import TokenStream

NO_TOKEN = -1
MAX_COUNT = 1 << 53  # a float tells all below it apart


@dataclass(frozen=True)
class BigramConfig:
    """Settings of the bigram rung."""

    add_k: float | None = None
    """Added to every count; by default the k that suits the training text best (leave-one-out likelihood)."""

    def __post_init__(self) -> None:
        check_add_k(self.add_k)


class Bigram(CountedModel):
    """A table of counted pairs, smoothed by adding k to each.

    The last token is the whole history, however long the document. Before anything was seen, not even the
    document mark, every token is equally likely.

    Attributes:
        add_k: the k in use.
        row_starts: (V + 1,) the pairs whose first token is v are row_starts[v] to row_starts[v + 1].
        words: (G,) the second token of each pair, rising within a row.
        counts: (G,) how often each pair occurs.
    """

    rung = "bigram"
    config_class = BigramConfig
    context = 1

    def __init__(
        self,
        config: BigramConfig,
        vocab_size: int,
        end: int,
        row_starts: np.ndarray,
        words: np.ndarray,
        counts: np.ndarray,
        add_k: float,
    ) -> None:
        super().__init__(config, vocab_size, end)
        self.row_starts = row_starts
        self.words = words
        self.counts = counts
        self.add_k = add_k
        firsts = np.repeat(np.arange(vocab_size), np.diff(row_starts))
        self._pairs = firsts * vocab_size + words  # (G,) rising, so a pair is found by bisection
        self._totals = np.bincount(firsts, counts, minlength=vocab_size)  # (V,) C(v)

    @classmethod
    def fit(
        cls, config: BigramConfig, stream: TokenStream, vocab_size: int, end: int
    ) -> Iterator[Event | Self]:
        """Count the pairs of `stream`. A pair never spans two documents: the mark stands between them."""
        ids = np.asarray(stream.ids).astype(np.int64)
        pairs, counts = np.unique(ids[:-1] * vocab_size + ids[1:], return_counts=True)
        row_starts = np.searchsorted(pairs, np.arange(vocab_size + 1) * vocab_size)
        add_k = config.add_k
        if add_k is None:
            totals = np.bincount(pairs // vocab_size, counts)
            add_k = leave_one_out_k(
                Counter(counts.tolist()), Counter(totals[totals > 0].tolist()), vocab_size
            )
            yield note_of_chosen_k(add_k)
        yield cls(
            replace(config, add_k=add_k), vocab_size, end, row_starts, pairs % vocab_size, counts, add_k
        )

    def start(self, batch: int = 1) -> np.ndarray:
        """The last token of each history, (B,)."""
        return np.full(batch, NO_TOKEN, np.int64)

    def advance(self, state: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tokens = self.check_tokens(tokens)
        last = tokens if tokens.ndim == 1 else tokens[:, -1]
        smoothed = np.full((len(last), self.vocab_size), self.add_k)  # (B, V)
        begin = self.row_starts[last]
        pairs, rows = concatenated_ranges(begin, self.row_starts[last + 1] - begin)
        smoothed[rows, self.words[pairs]] += self.counts[pairs]
        return np.log(smoothed) - self._log_totals(last)[:, None], last

    def select(self, state: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return state[rows]

    def score(self, tokens: np.ndarray) -> np.ndarray:
        tokens = self.check_tokens(tokens)
        before = np.concatenate([np.full_like(tokens[..., :1], self.end), tokens[..., :-1]], axis=-1)
        return self._log_probs(before, tokens)

    def score_stream(self, stream: TokenStream) -> np.ndarray:
        ids = self.check_tokens(stream.ids)
        return self._log_probs(ids[:-1], ids[1:])

    @property
    def n_parameters(self) -> int:
        return len(self.counts)

    def tensors(self) -> dict[str, np.ndarray]:
        return {
            "row_starts": self.row_starts,
            "words": self.words,
            "counts": self.counts,
            "add_k": np.array([self.add_k], np.float64),
        }

    @classmethod
    def from_tensors(
        cls, config: BigramConfig, vocab_size: int, end: int, tensors: dict[str, np.ndarray]
    ) -> Self:
        row_starts, words, counts = tensors["row_starts"], tensors["words"], tensors["counts"]
        check_array("row_starts", row_starts, "i8", [vocab_size + 1])
        check_rising("row_starts", row_starts, 0, len(words))
        check_array("words", words, "i8", [None])
        check_below("words", words, vocab_size)
        check_array("counts", counts, "i8", words.shape)
        check_below("counts", counts, MAX_COUNT)
        check_array("add_k", tensors["add_k"], "f8", [1])
        add_k = float(tensors["add_k"][0])
        check_add_k(add_k)
        return cls(config, vocab_size, end, row_starts, words, counts, add_k)

    def _log_totals(self, first: np.ndarray) -> np.ndarray:
        """log(C(v) + k V) for each v of `first`."""
        return np.log(self._totals[first] + self.add_k * self.vocab_size)

    def _log_probs(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """log P(second | first), element by element."""
        wanted = first * self.vocab_size + second
        smoothed = np.full(wanted.shape, self.add_k)
        if len(self._pairs):
            at = np.minimum(np.searchsorted(self._pairs, wanted), len(self._pairs) - 1)
            smoothed += np.where(self._pairs[at] == wanted, self.counts[at], 0)
        return np.log(smoothed) - self._log_totals(first)
