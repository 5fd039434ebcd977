"""The contract of rungs that tag words, beside those of `rung.models.base`.

Shapes: S sentences of W words in all, K tags. A sentence is a document whose words stand apart by a delimiter, an id of
its own (`rung.text.tagged`); what is said of words is said word after word.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from rung.events import Event
from rung.models.base import Counted, Model
from rung.text.stream import TokenStream
from rung.text.tagged import TaggedExamples, word_counts

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class Tagger(Model):
    """P(tags | words): a distribution over the tags of a sentence.

    Attributes:
        tags: what they are called, K of them.
        delimiter: the id, V - 1, between two words.
        reads_bytes: whether it reads words byte by byte; else in the pieces of a tokeniser.
        tokenizer: the kind that suits it.
    """

    reads_bytes: ClassVar[bool] = True
    tokenizer: ClassVar[str] = "byte"

    def __init__(
        self, config: DataclassInstance, vocab_size: int, end: int, delimiter: int, tags: Sequence[str]
    ) -> None:
        super().__init__(config, vocab_size, end)
        self.delimiter = delimiter
        self.tags = list(tags)

    @property
    def shape(self) -> dict[str, Any]:
        return {**super().shape, "delimiter": self.delimiter, "tags": self.tags}

    @abstractmethod
    def log_probs(self, sentences: TokenStream) -> np.ndarray:
        """The log-probability in nats of each tag of each word, (W, K), whatever the other words' tags are.

        It does not depend on which sentences stand beside one, nor on their order.
        """

    def score(self, sentences: TokenStream, tags: np.ndarray) -> np.ndarray:
        """The log-probability in nats of the tags (W,) of each sentence, all of them together: (S,).

        Where words are tagged one by one, the sum of their own.
        """
        own = np.take_along_axis(self.log_probs(sentences), tags[:, None], axis=1)[:, 0].astype(np.float64)
        return sums(own, word_counts(sentences, self.delimiter))

    def decode(self, sentences: TokenStream) -> np.ndarray:
        """The tags (W,) of the answer: of the likeliest path, or of each word its likeliest tag."""
        return self.log_probs(sentences).argmax(axis=1)

    @classmethod
    @abstractmethod
    def from_tensors(
        cls,
        config: Any,
        vocab_size: int,
        end: int,
        delimiter: int,
        tags: Sequence[str],
        tensors: dict[str, np.ndarray],
    ) -> Self:
        """The model whose `tensors()` these are. The arrays may be read-only and memory-mapped."""


class CountedTagger(Counted, Tagger):
    """A tagger that is counted."""

    @classmethod
    @abstractmethod
    def fit(
        cls,
        config: Any,
        examples: TaggedExamples,
        vocab_size: int,
        end: int,
        delimiter: int,
        tags: Sequence[str],
    ) -> Iterator[Event | Self]:
        """Count the training part; what is to be chosen is chosen on validation. Yields events and, last, the model."""


def sums(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Of W values, word after word, the sum over each sentence of `counts` (S,) words: (S,)."""
    upto = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    borders = np.concatenate([[0], np.cumsum(counts)])
    return upto[borders[1:]] - upto[borders[:-1]]
