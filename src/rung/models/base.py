"""The contract every rung answers to: a distribution over the next token given what came before.

NumPy arrays cross this boundary and natural logarithms are the unit: tokens are integers, log-probabilities
float32 or better. Shapes: B rows of a batch, T tokens, V vocabulary.

The document mark. One id, `end`, both ends a document and begins the next. A model is asked for the first
token of a document by advancing a fresh state with the mark; the last thing it predicts is the mark again.
So `score(tokens)` gives log p(tokens[0] | end), log p(tokens[1] | end, tokens[0]), ...

The window policy. A rung whose `context` is None remembers everything. A rung with a finite context states in
its docstring which history counts once a document is longer, and `score` and `advance` follow the same policy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast

import numpy as np

from rung.errors import UserError
from rung.events import Event
from rung.text.stream import TokenStream

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

State = Any
"""What a model remembers of B histories. Opaque; never changed in place by anything public."""

SCORE_TOKENS_AT_ONCE = 1 << 16


class LanguageModel(ABC):
    """A distribution over the next token given what came before.

    Attributes:
        rung: the rung's name on the ladder, as typed after `rung train`.
        config_class: the frozen dataclass of its hyperparameters.
        vocab_size: V, the number of ids, the mark included.
        end: the id of the document mark.
        context: the longest history, in tokens, that can matter; None = unbounded.
        config: the frozen dataclass the model was built from.
    """

    rung: ClassVar[str]
    config_class: ClassVar[type]
    context: int | None

    def __init__(self, config: DataclassInstance, vocab_size: int, end: int) -> None:
        self.config = config
        self.vocab_size = vocab_size
        self.end = end

    @abstractmethod
    def start(self, batch: int = 1) -> State:
        """The state of `batch` histories in which nothing has been seen, not even the document mark."""

    @abstractmethod
    def advance(self, state: State, tokens: np.ndarray) -> tuple[np.ndarray, State]:
        """Take in `tokens`, (B,) or (B, T), T >= 1; return the next token's log-probabilities (B, V) and the new state.

        The old state stays valid: it can be advanced again, with other tokens.
        """

    def advance_all(self, state: State, tokens: np.ndarray) -> tuple[np.ndarray, list[State]]:
        """Take in `tokens` (B, T), T >= 1; after each of them, the next token's log-probabilities and the state.

        Returns (B, T, V), and T states: what T calls of `advance` return, for the price of one where a rung can read
        several tokens at once. Speculative decoding needs it: it learns what the model would have said along a draft,
        and goes on from where the draft was left. Let go of the states behind that place first: a cache
        that nobody else reads is written on in place, one that is still in use has to be copied.
        """
        log_probs, states = [], []
        for column in self.check_tokens(tokens).T:
            after, state = self.advance(state, column)
            log_probs.append(after)
            states.append(state)
        return np.stack(log_probs, axis=1), states

    @abstractmethod
    def select(self, state: State, rows: np.ndarray) -> State:
        """The state whose row i is row `rows[i]` of `state`; rows may repeat (to branch) or be left out."""

    @abstractmethod
    def score(self, tokens: np.ndarray) -> np.ndarray:
        """The log-probability in nats of every token of a document, (T,) -> (T,), or of B documents, (B, T) -> (B, T).

        The history before the first token is the document mark. The closing mark is scored only if it is there.
        """

    def score_stream(self, stream: TokenStream) -> np.ndarray:
        """The log-probabilities (N,) of every token of every document, marks included; each document on its own.

        Documents of like length are scored together, padded at their ends (what comes after cannot matter).
        """
        lengths = np.diff(stream.starts)
        log_probs = np.empty(stream.n_tokens, np.float32)
        for group in _groups_of_like_length(lengths, SCORE_TOKENS_AT_ONCE):
            width = int(lengths[group].max())
            batch = np.full((len(group), width), self.end, np.int64)
            for row, document in enumerate(group):
                batch[row, : lengths[document]] = stream.document(document)
            scores = self.score(batch)
            for row, document in enumerate(group):
                begin = stream.starts[document] - 1
                log_probs[begin : begin + lengths[document]] = scores[row, : lengths[document]]
        return log_probs

    @property
    def has_probabilities(self) -> bool:
        """Whether the scores are log-probabilities; without, a model can't be measured, sampled or mixed."""
        return True

    @property
    @abstractmethod
    def n_parameters(self) -> int:
        """How many numbers the model is made of (counts or probabilities stored, or weights learned)."""

    @abstractmethod
    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays that, with `config`, `vocab_size` and `end`, are the whole model."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, config: Any, vocab_size: int, end: int, tensors: dict[str, np.ndarray]) -> Self:
        """The model whose `tensors()` these are. The arrays may be read-only and memory-mapped."""

    def check_tokens(self, tokens: Any) -> np.ndarray:
        """`tokens` as int64. Raises UserError when an id is outside 0..V-1 or is not an integer."""
        array = np.asarray(tokens)
        if array.dtype.kind not in "iu" and array.size:
            raise UserError(f"tokens must be integers, not {array.dtype}")
        array = array.astype(np.int64, copy=False)
        if array.size and (array.min() < 0 or array.max() >= self.vocab_size):
            bad = int(array.min()) if array.min() < 0 else int(array.max())
            raise UserError(f"token {bad} is outside this model's vocabulary, 0 to {self.vocab_size - 1}")
        return array

    def describe(self) -> dict[str, Any]:
        """What `run.json` says of the model."""
        return {
            "rung": self.rung,
            "vocab_size": self.vocab_size,
            "end": self.end,
            "config": asdict(self.config),
        }


class CountedModel(LanguageModel):
    """A rung that is counted, not descended: one pass over the training tokens, no torch."""

    @classmethod
    def warm_up(cls) -> None:
        """Load and compile what `fit` needs, once an installation, so that it is not taken for training time."""

    @classmethod
    @abstractmethod
    def fit(cls, config: Any, stream: TokenStream, vocab_size: int, end: int) -> Iterator[Event | Self]:
        """Count `stream`. Yields events (notes on fallbacks taken) and, last, the model."""


M = TypeVar("M", bound=CountedModel)


def fitted(events: Iterator[Event | M]) -> M:
    """The model that a `fit` yields last; its events are dropped."""
    *_, model = events
    assert isinstance(model, CountedModel)
    return cast(M, model)


def _groups_of_like_length(lengths: np.ndarray, tokens_at_once: int) -> Iterator[Sequence[int]]:
    """Rows, shortest first, in groups whose padded size stays near `tokens_at_once`."""
    group: list[int] = []
    for row in np.argsort(lengths, kind="stable").tolist():
        if group and (len(group) + 1) * lengths[row] > tokens_at_once:
            yield group
            group = []
        group.append(row)
    if group:
        yield group
