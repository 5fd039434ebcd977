"""The first rung of masked language modelling: how often does each token occur, whatever stands around it?

    P(w) = (C(w) + 1) / (N + V)

With add-one smoothing, so that no token is impossible. What reads the text has to be better than this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from rung.events import Event
from rung.models.base import Counted
from rung.models.masked_model import MaskedLanguageModel
from rung.opening import check_array, check_below
from rung.text.masking import HIDDEN
from rung.text.stream import TokenStream


@dataclass(frozen=True)
class UnigramConfig:
    """There is nothing to choose."""


class Unigram(Counted, MaskedLanguageModel):
    """The tokens' frequencies.

    Attributes:
        counts: (V,) how often each token occurs in the training part.
    """

    rung = "unigram"
    config_class = UnigramConfig

    def __init__(self, config: UnigramConfig, vocab_size: int, end: int, counts: np.ndarray) -> None:
        super().__init__(config, vocab_size, end)
        self.counts = counts

    @classmethod
    def fit(
        cls, config: UnigramConfig, stream: TokenStream, vocab_size: int, end: int
    ) -> Iterator[Event | Self]:
        counts = np.bincount(stream.ids, minlength=vocab_size)
        counts[end] = 0  # no mark is ever hidden
        yield cls(config, vocab_size, end, counts)

    @property
    def context(self) -> None:
        return None

    def masked_log_probs(self, texts: np.ndarray) -> np.ndarray:
        row = np.log((self.counts + 1) / (self.counts.sum() + len(self.counts)))
        return np.tile(row, (int((texts == HIDDEN).sum()), 1))

    @property
    def n_parameters(self) -> int:
        return len(self.counts)

    def tensors(self) -> dict[str, np.ndarray]:
        return {"counts": self.counts}

    @classmethod
    def from_tensors(cls, config: Any, vocab_size: int, end: int, tensors: dict[str, np.ndarray]) -> Self:
        counts = np.array(tensors["counts"])
        check_array("counts", counts, "i8", [vocab_size])
        check_below("counts", counts, 1 << 53)
        return cls(config, vocab_size, end, counts)
