"""The contract of rungs that say what is hidden in a text, beside those of `rung.models.base`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import numpy as np

from rung.models.base import Model


class MaskedLanguageModel(Model):
    """A distribution over hidden tokens given what stands on both sides of them.

    What it says of all tokens of a text, each hidden in turn, is no probability of the text: their product over all
    texts does not add up to one.

    Attributes:
        context: the most tokens of a text that it reads at once; None = any number.
    """

    @property
    @abstractmethod
    def context(self) -> int | None: ...

    @abstractmethod
    def masked_log_probs(self, texts: np.ndarray) -> np.ndarray:
        """The log-probabilities (M, V), in nats, of what is hidden in texts (B, T), T no more than the context.

        A hidden token is `rung.text.masking.HIDDEN`, what fills up a row PADDING, on either side; M hidden ones, row by
        row. It does not depend on which rows stand beside one.
        """

    @classmethod
    @abstractmethod
    def from_tensors(cls, config: Any, vocab_size: int, end: int, tensors: dict[str, np.ndarray]) -> Self:
        """The model whose `tensors()` these are. The arrays may be read-only and memory-mapped."""
