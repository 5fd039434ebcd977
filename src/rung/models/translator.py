"""The contract of rungs that write a text given another, beside those of `rung.models.base`.

P(target | source) is a language model whose state begins from the source: `given` makes one of a model and sources, and
what works on language models (drawing, beams, constraints, drafts, scoring) works on it unchanged.

Shapes: S pairs, N tokens of their targets, closing marks included, V ids of both sides.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from rung.errors import UserError
from rung.models.base import LanguageModel, Model, State
from rung.text.stream import TokenStream

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

TOKENS_AT_ONCE = 1 << 13


class Translator(Model):
    """P(target | source).

    Attributes:
        source_vocab_size: how many ids the sources have, where they are others than the targets'; None = the same.
    """

    def __init__(
        self, config: DataclassInstance, vocab_size: int, end: int, source_vocab_size: int | None = None
    ) -> None:
        super().__init__(config, vocab_size, end)
        self.source_vocab_size = source_vocab_size

    @property
    def shape(self) -> dict[str, Any]:
        own = {} if self.source_vocab_size is None else {"source_vocab_size": self.source_vocab_size}
        return {**super().shape, **own}

    @property
    def source_end(self) -> int:
        """The mark of the sources: the last of their ids."""
        return self.end if self.source_vocab_size is None else self.source_vocab_size - 1

    @abstractmethod
    def given(self, sources: TokenStream) -> LanguageModel:
        """The language model of what follows these sources.

        Of one source any number of texts is begun by `start(batch)`; of S sources `start(S)` begins one of each, and
        `score` takes S targets.
        """

    def score_pairs(self, sources: TokenStream, targets: TokenStream) -> np.ndarray:
        """The log-probabilities (N,) in nats of every token of every target, closing marks included, each after what
        stands before it in the right target (teacher forcing).

        Pairs of like length are read together; what fills up the others can't matter.
        """
        if sources.n_documents != targets.n_documents:
            raise UserError(
                f"{sources.n_documents:,} sources and {targets.n_documents:,} targets are no pairs"
            )
        lengths = np.diff(targets.starts)
        widths = np.diff(sources.starts) + lengths
        found = np.empty(targets.n_tokens, np.float32)
        order = np.lexsort((np.diff(sources.starts), lengths))
        begin = 0
        while begin < len(order):
            end = begin + 1
            widest = int(widths[order[begin]])
            while end < len(order):
                wider = max(widest, int(widths[order[end]]))
                if (end - begin + 1) * wider > TOKENS_AT_ONCE:
                    break
                widest, end = wider, end + 1
            rows = order[begin:end]
            tokens = np.full((len(rows), int(lengths[rows].max())), self.end, np.int64)
            for row, pair in enumerate(rows):
                tokens[row, : lengths[pair]] = targets.document(pair)
            scores = self.given(sources.of_documents(rows)).score(tokens)
            for row, pair in enumerate(rows):
                first = targets.starts[pair] - 1
                found[first : first + lengths[pair]] = scores[row, : lengths[pair]]
            begin = end
        return found

    @classmethod
    @abstractmethod
    def from_tensors(
        cls,
        config: Any,
        vocab_size: int,
        end: int,
        tensors: dict[str, np.ndarray],
        source_vocab_size: int | None = None,
    ) -> Self:
        """The model whose `tensors()` these are. The arrays may be read-only and memory-mapped."""


class GivenSources(LanguageModel):
    """The language model of S sources: what the views of all translators have in common.

    Attributes:
        n_sources: S.
    """

    rung = "given"

    def __init__(self, model: Any, n_sources: int) -> None:
        super().__init__(model.config, model.vocab_size, model.end)
        self.model = model
        self.n_sources = n_sources
        self.context = None

    def rows_of(self, batch: int) -> np.ndarray:
        """Which source each of `batch` rows is of. Raises UserError where they can't be dealt out."""
        if self.n_sources not in (1, batch):
            raise UserError(f"{batch:,} texts can't be begun from {self.n_sources:,} sources")
        return np.zeros(batch, np.int64) if self.n_sources == 1 else np.arange(batch)

    def select(self, state: State, rows: np.ndarray) -> State:
        return state.select(rows)

    def attention(self, tokens: np.ndarray) -> np.ndarray:
        """Of a view of one source with S tokens: where each of the T tokens of a target looks, when it is asked for.

        Returns (A, T, S + 1), A maps of rows that sum to 1 (layers x heads, from the bottom up); the source's closing
        mark comes last. Raises UserError for a rung that does not look at its source.
        """
        raise UserError(f"a {self.model.rung} of translation has no attention to its source to show")

    @property
    def n_parameters(self) -> int:
        return self.model.n_parameters

    def tensors(self) -> dict[str, np.ndarray]:
        raise NotImplementedError("a view of sources is not kept; its model is")

    @classmethod
    def from_tensors(cls, config: Any, vocab_size: int, end: int, tensors: dict[str, np.ndarray]) -> Self:
        raise NotImplementedError("a view of sources is not kept; its model is")
