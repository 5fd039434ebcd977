"""The first rung of translation: an n-gram model of the targets, whatever the source says.

What a source is worth to a model is what it does better than this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from rung.events import Event
from rung.models.base import Counted, LanguageModel, State
from rung.models.counting.ngram import NGram, NGramConfig
from rung.models.translator import GivenSources, Translator
from rung.text.stream import TokenStream


class NGramTranslator(Counted, Translator):
    """Counted n-grams of the targets, interpolated Kneser-Ney.

    Attributes:
        targets: the n-gram model.
    """

    rung = "ngram"
    config_class = NGramConfig

    def __init__(
        self,
        config: NGramConfig,
        vocab_size: int,
        end: int,
        targets: NGram,
        source_vocab_size: int | None = None,
    ) -> None:
        super().__init__(config, vocab_size, end, source_vocab_size)
        self.targets = targets

    @classmethod
    def fit(
        cls,
        config: NGramConfig,
        examples: tuple[TokenStream, TokenStream],
        vocab_size: int,
        end: int,
        source_vocab_size: int | None = None,
    ) -> Iterator[Event | Self]:
        """Count the targets. Yields events and, last, the model."""
        for event in NGram.fit(config, examples[1], vocab_size, end):
            if isinstance(event, NGram):
                yield cls(event.config, vocab_size, end, event, source_vocab_size)
            else:
                yield event

    def given(self, sources: TokenStream) -> LanguageModel:
        return _Whatever(self, sources.n_documents)

    @property
    def n_parameters(self) -> int:
        return self.targets.n_parameters

    def tensors(self) -> dict[str, np.ndarray]:
        return self.targets.tensors()

    @classmethod
    def from_tensors(
        cls,
        config: Any,
        vocab_size: int,
        end: int,
        tensors: dict[str, np.ndarray],
        source_vocab_size: int | None = None,
    ) -> Self:
        targets = NGram.from_tensors(config, vocab_size, end, tensors)
        return cls(config, vocab_size, end, targets, source_vocab_size)


class _Whatever(GivenSources):
    """The targets' own model: sources say how many rows there are, and nothing else."""

    model: NGramTranslator

    def __init__(self, model: NGramTranslator, n_sources: int) -> None:
        super().__init__(model, n_sources)
        self.context = model.targets.context

    def start(self, batch: int = 1) -> State:
        return self.model.targets.start(len(self.rows_of(batch)))

    def advance(self, state: State, tokens: np.ndarray) -> tuple[np.ndarray, State]:
        return self.model.targets.advance(state, tokens)

    def select(self, state: State, rows: np.ndarray) -> State:
        return self.model.targets.select(state, rows)

    def score(self, tokens: np.ndarray) -> np.ndarray:
        return self.model.targets.score(tokens)
