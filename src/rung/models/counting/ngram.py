"""Counted n-grams: how often did this token follow these?

    P(w | h) = (a(h w) - D(a)) / sum of a(h ·) + gamma(h) P(w | h')

A history h of up to n - 1 tokens takes a little off each of its counts and leaves it to the shorter history
h' (Chen and Goodman 1998, "An empirical study of smoothing techniques for language modeling"). Counting is in
`ngram_counts`, the discounts in `discounts`, the formulas in `ngram_estimates`, lookup in `backoff_trie`.

Estimates are those of KenLM's lmplz, but for one thing: what the empty history leaves over is shared by all V
tokens, so no token is unknown, none has probability zero, and every distribution sums to one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Self

import numpy as np

from rung.errors import UserError, nearest
from rung.events import Event, Note
from rung.models.base import CountedModel
from rung.models.counting import ngram_estimates as estimate
from rung.models.counting.add_k import check_add_k, note_of_chosen_k
from rung.models.counting.backoff_trie import ROOT, BackoffTrie, build_trie
from rung.models.counting.ngram_counts import Grams, count_ngrams, pruning_masks
from rung.models.counting.workspace import Workspace, parse_size
from rung.opening import check_array, check_finite
from rung.process_group import SINGLE_PROCESS, ProcessGroup
from rung.text.stream import TokenStream

MAX_ORDER = 16
INTERPOLATED = ("kneser-ney", "absolute", "witten-bell")
SMOOTHINGS = (*INTERPOLATED, "add-k", "stupid-backoff", "none")
IMPORTED = "imported"
STUPID_BACKOFF = 0.4
COMPILE_AFTER = 1 << 19  # tokens; below it, loading numba takes longer than the array version
COMPILE_AFTER_STEPS = 300  # calls of `advance`, for the same reason
IDS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class NGramConfig:
    """Settings of the ngram rung."""

    order: int | None = None
    """The longest n-gram, 1 to 16; by default what suits the size of the vocabulary."""
    smoothing: str = "kneser-ney"
    """kneser-ney (interpolated, modified), absolute, witten-bell, add-k, stupid-backoff or none."""
    prune: tuple[int, ...] = ()
    """For each order, leave out n-grams that occur this often or less: 0 1 drops all longer than 1 that occur once."""
    add_k: float | None = None
    """For add-k smoothing: added to every count; by default the k that makes the training text likeliest."""
    memory: str | None = None
    """The most memory to count in, as in 512M or 2G, the rest in temporary files; by default as much as it takes."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "prune", tuple(self.prune))
        if self.order is not None and not 1 <= self.order <= MAX_ORDER:
            raise UserError(f"--order {self.order} does not fit: it goes from 1 to {MAX_ORDER}")
        if self.smoothing not in (*SMOOTHINGS, IMPORTED):
            hint = nearest(self.smoothing, SMOOTHINGS)
            raise UserError(
                f"--smoothing {self.smoothing!r} is unknown{hint} (known: {', '.join(SMOOTHINGS)})"
            )
        if self.prune and (self.prune[0] != 0 or list(self.prune) != sorted(self.prune)):
            raise UserError(
                f"--prune {' '.join(map(str, self.prune))} does not fit: begin with 0, never fall (0 1 1)"
            )
        if any(self.prune) and self.smoothing not in (*INTERPOLATED, IMPORTED):
            raise UserError(
                f"--prune goes with --smoothing {', '.join(INTERPOLATED)}, not with {self.smoothing}"
            )
        if self.add_k is not None and self.smoothing != "add-k":
            raise UserError(f"--add-k goes with --smoothing add-k, not with {self.smoothing}")
        check_add_k(self.add_k)
        if self.memory is not None:
            parse_size(self.memory)


@cache
def trie_kernels() -> ModuleType | None:
    """`rung.models.counting.trie_kernels`, or None where numba is not installed."""
    try:
        return import_module("rung.models.counting.trie_kernels")
    except ImportError:
        return None


def default_order(vocab_size: int) -> int:
    """The order when none is given: what measured best on all of Shakespeare, by characters and by words."""
    return 7 if vocab_size < 400 else 5


class NGram(CountedModel):
    """A backoff model over n-grams.

    The last n - 1 tokens, back to the document mark at most, are the whole history, however long the
    document. With smoothing "none" some probabilities are zero (-inf). With "stupid-backoff" there are only
    scores: `raw_scores`.

    Attributes:
        trie: the n-grams with their log-probabilities and backoff weights.
        discounts: (N, 3) what was taken off counts of 1, 2, and 3 and more, an order; 0 where nothing was.
    """

    rung = "ngram"
    config_class = NGramConfig
    distributed = True

    def __init__(
        self, config: NGramConfig, vocab_size: int, end: int, trie: BackoffTrie, discounts: np.ndarray
    ) -> None:
        super().__init__(config, vocab_size, end)
        self.config: NGramConfig = config
        self.trie = trie
        self.discounts = discounts
        self.context = trie.order - 1
        self._n_scored = 0
        self._n_stepped = 0

    @property
    def order(self) -> int:
        return self.trie.order

    @classmethod
    def fit(
        cls,
        config: NGramConfig,
        stream: TokenStream,
        vocab_size: int,
        end: int,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> Iterator[Event | Self]:
        """Count `stream`. The model's config has the order and the k chosen where none was given.

        The processes of a group count it together, and only the first makes a model of it: the others yield nothing.
        """
        if config.smoothing == IMPORTED:
            raise UserError(f"--smoothing {IMPORTED} can't be trained (known: {', '.join(SMOOTHINGS)})")
        space = Workspace(None if config.memory is None else parse_size(config.memory))
        order = default_order(vocab_size) if config.order is None else config.order
        levels = count_ngrams(stream.ids, vocab_size, end, order, space, group)
        if group.rank:
            return
        add_k = config.add_k
        if config.smoothing == "add-k" and add_k is None:
            add_k = estimate.best_k(levels, space)
            yield note_of_chosen_k(add_k)
        kept = pruning_masks(levels, config.prune, space)
        estimates = _estimates(config.smoothing, levels, kept, add_k, space)
        if estimates.fallback_orders:
            yield _note_of_fallbacks(estimates, config.smoothing)
        trie = build_trie(levels, estimates.log_prob, estimates.log_backoff, kept, space)
        yield cls(replace(config, order=order, add_k=add_k), vocab_size, end, trie, estimates.discounts)

    def start(self, batch: int = 1) -> np.ndarray:
        """The node of the longest known end of each history, (B,)."""
        return np.full(batch, ROOT, np.int64)

    def advance(self, state: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._require_probabilities()
        tokens = self.check_tokens(tokens)
        columns = tokens[:, None] if tokens.ndim == 1 else tokens
        nodes = state
        history = self.trie.order - 1
        if columns.shape[1] > history:  # all that can matter is among the new tokens
            nodes = np.full_like(state, ROOT)
            columns = columns[:, columns.shape[1] - history :]
        self._n_stepped += 1
        kernels = trie_kernels() if self._n_stepped > COMPILE_AFTER_STEPS else None
        if kernels is not None:
            return self.trie.compiled_step(nodes, columns, self.end, kernels.step)
        for column in columns.T:
            nodes = self.trie.step(nodes, column, self.end)
        return self.trie.next_log_probs(nodes), nodes

    def select(self, state: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return state[rows]

    def score(self, tokens: np.ndarray) -> np.ndarray:
        self._require_probabilities()
        tokens = self.check_tokens(tokens)
        marked = np.concatenate([np.full((*tokens.shape[:-1], 1), self.end), tokens], axis=-1)
        return self._log_probs(marked.reshape(-1)).reshape(marked.shape)[..., 1:]

    def score_stream(self, stream: TokenStream) -> np.ndarray:
        self._require_probabilities()
        for begin in range(0, len(stream.ids), IDS_AT_ONCE):
            self.check_tokens(stream.ids[begin : begin + IDS_AT_ONCE])
        return self._log_probs(stream.ids)[1:]

    def raw_scores(self, tokens: np.ndarray) -> np.ndarray:
        """Stupid backoff's scores of a document's tokens, natural logarithms, (T,) -> (T,).

        The relative frequency after the longest history the token was seen after, times 0.4 for every token
        of history (n - 1 at most, the document mark counted) given up to get there. They do not sum to one.
        (Brants et al. 2007)
        A token never seen scores -inf.
        """
        if self.config.smoothing != "stupid-backoff":
            raise UserError(
                f"raw scores belong to stupid-backoff; {self.config.smoothing} has probabilities: use score"
            )
        marked = np.append(self.end, self.check_tokens(tokens))
        longest = self.trie.longest_matches(marked)
        history = self.trie.lengths(longest) - 1  # of the n-gram that was found
        marks = np.maximum.accumulate(np.where(marked == self.end, np.arange(len(marked)), 0))
        available = np.minimum(np.arange(1, len(marked)) - marks[:-1], self.trie.order - 1)
        return self.trie.log_prob[longest][1:] + np.log(STUPID_BACKOFF) * (available - history[1:])

    @property
    def has_probabilities(self) -> bool:
        return self.config.smoothing != "stupid-backoff"

    @property
    def n_parameters(self) -> int:
        return len(self.trie.log_prob) + len(self.trie.log_backoff) - 2  # the root has neither

    def tensors(self) -> dict[str, np.ndarray]:
        return {
            "level_start": self.trie.level_start,
            "words": self.trie.words,
            "log_prob": self.trie.log_prob,
            "suffix": self.trie.suffix,
            "first_child": self.trie.first_child,
            "log_backoff": self.trie.log_backoff,
            "discounts": self.discounts,
        }

    @classmethod
    def from_tensors(
        cls, config: NGramConfig, vocab_size: int, end: int, tensors: dict[str, np.ndarray]
    ) -> Self:
        arrays = {name: array for name, array in tensors.items() if name != "discounts"}
        trie = BackoffTrie(**arrays)
        trie.check(vocab_size, MAX_ORDER)
        check_array("discounts", tensors["discounts"], "f8", [trie.order, 3])
        check_finite("discounts", tensors["discounts"])
        return cls(config, vocab_size, end, trie, tensors["discounts"])

    def _log_probs(self, ids: np.ndarray) -> np.ndarray:
        """Short work goes by array operations; once there is much of it, numba is worth loading."""
        self._n_scored += len(ids)
        kernels = trie_kernels() if self._n_scored >= COMPILE_AFTER else None
        if kernels is None:
            return self.trie.log_probs(ids)
        return self.trie.scanned_log_probs(ids, self.end, kernels.scan)

    def _require_probabilities(self) -> None:
        if not self.has_probabilities:
            raise UserError(
                "stupid-backoff gives scores, not probabilities, so it can't be measured or sampled; use "
                f"raw_scores, or train with --smoothing {', '.join(INTERPOLATED)}"
            )


def _estimates(
    smoothing: str, levels: list[Grams], kept: list[np.ndarray] | None, add_k: float | None, space: Workspace
) -> estimate.Estimates:
    if smoothing == "add-k":
        assert add_k is not None
        return estimate.add_k(levels, add_k, space)
    if smoothing == "none":
        return estimate.maximum_likelihood(levels, space)
    if smoothing == "stupid-backoff":
        return estimate.stupid_backoff(levels, space)
    interpolated = {
        "kneser-ney": estimate.kneser_ney,
        "absolute": estimate.absolute,
        "witten-bell": estimate.witten_bell,
    }
    return interpolated[smoothing](levels, kept, space)


def _note_of_fallbacks(estimates: estimate.Estimates, smoothing: str) -> Note:
    orders = ", ".join(map(str, estimates.fallback_orders))
    values = ", ".join(f"{d:g}" for d in estimates.discounts[estimates.fallback_orders[0] - 1])
    return Note(
        f"{smoothing} discounts for n-grams of length {orders} can't be computed from this text (too few of them "
        f"are rare); the usual {values} are used"
    )
