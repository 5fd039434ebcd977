"""The first rung of classification: how often does each label occur, whatever the text says?

    P(l) = (C(l) + 1) / (N + L)

With add-one smoothing, so that no label is impossible. Every other classifier has to be better than this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from rung.events import Event
from rung.models.base import CountedClassifier
from rung.opening import check_array, check_below
from rung.text.stream import LabelledExamples, TokenStream


@dataclass(frozen=True)
class MajorityConfig:
    """There is nothing to choose."""


class Majority(CountedClassifier):
    """The labels' frequencies.

    Attributes:
        counts: (L,) how often each label occurs in the training part.
    """

    rung = "majority"
    config_class = MajorityConfig

    def __init__(
        self,
        config: MajorityConfig,
        vocab_size: int,
        end: int,
        labels: Sequence[str],
        counts: np.ndarray,
        delimiter: int | None = None,
    ) -> None:
        super().__init__(config, vocab_size, end, labels, delimiter)
        self.counts = counts

    @classmethod
    def fit(
        cls,
        config: MajorityConfig,
        examples: LabelledExamples,
        vocab_size: int,
        end: int,
        labels: Sequence[str],
        delimiter: int | None = None,
    ) -> Iterator[Event | Self]:
        counts = np.bincount(examples.train.labels, minlength=len(labels))
        yield cls(config, vocab_size, end, labels, counts, delimiter)

    def log_probs(self, texts: TokenStream) -> np.ndarray:
        row = np.log((self.counts + 1) / (self.counts.sum() + len(self.counts)))
        return np.tile(row, (texts.n_documents, 1))

    @property
    def n_parameters(self) -> int:
        return len(self.counts)

    def tensors(self) -> dict[str, np.ndarray]:
        return {"counts": self.counts}

    @classmethod
    def from_tensors(
        cls,
        config: Any,
        vocab_size: int,
        end: int,
        labels: Sequence[str],
        tensors: dict[str, np.ndarray],
        delimiter: int | None = None,
    ) -> Self:
        counts = np.array(tensors["counts"])
        check_array("counts", counts, "i8", [len(labels)])
        check_below("counts", counts, 1 << 53)
        return cls(config, vocab_size, end, labels, counts, delimiter)
