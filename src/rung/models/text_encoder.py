"""The contract of rungs that make vectors of texts, beside those of `rung.models.base`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import numpy as np

from rung.models.base import Model
from rung.text.stream import TokenStream


class TextEncoder(Model):
    """Vectors of texts, such that the vectors of what belongs together point the same way.

    Attributes:
        pooling: how a vector is made of a network's states; None where it is not.
        temperature: what cosines are divided by before their softmax, when partners are told apart.
    """

    @property
    def pooling(self) -> str | None:
        return None

    @property
    @abstractmethod
    def temperature(self) -> float: ...

    @abstractmethod
    def vectors(self, texts: TokenStream) -> np.ndarray:
        """The vectors (N, C), float32, of the N documents; any length. A document may be empty.

        One does not depend on which documents stand beside it, nor on their order.
        """

    @classmethod
    @abstractmethod
    def from_tensors(cls, config: Any, vocab_size: int, end: int, tensors: dict[str, np.ndarray]) -> Self:
        """The model whose `tensors()` these are. The arrays may be read-only and memory-mapped."""
