"""The bridge between a torch network and the classifier's contract: texts in, log-probabilities of labels out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from rung.models.base import Classifier
from rung.models.networks.torch_model import TorchModel, TrainableModule, next_log_probs, upcast
from rung.text.stream import TokenStream
from rung.text.windows import padded_documents

TEXT_TOKENS_AT_ONCE = 1 << 14


class ClassifierNetwork(TrainableModule):
    """A torch module that gives every label of a text a logit."""

    @abstractmethod
    def forward(self, tokens: Tensor) -> Tensor:
        """Texts (B, T), int64, filled up with PADDING -> logits (B, L)."""

    def loss(self, tokens: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """The sum of -log p over the right `labels` (B,), each times its weight (B,) where there are some."""
        return label_loss(self(tokens), labels, weights)


def label_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """The sum of -log softmax(logits (B, L)) at `labels` (B,), each times its weight (B,) where there are some."""
    if weights is None:
        return F.cross_entropy(upcast(logits), labels, reduction="sum")
    return (weights * F.cross_entropy(upcast(logits), labels, reduction="none")).sum()


N = TypeVar("N", bound=ClassifierNetwork)


class NeuralClassifier(TorchModel[N], Classifier, Generic[N]):
    """A classifier whose weights are learned by gradient descent, in torch."""

    def __init__(
        self,
        config: Any,
        vocab_size: int,
        end: int,
        labels: Sequence[str],
        network: N,
        delimiter: int | None = None,
    ) -> None:
        super().__init__(config, vocab_size, end, labels, delimiter)
        self.network = network

    @classmethod
    @abstractmethod
    def build(cls, config: Any, vocab_size: int, n_labels: int) -> N:
        """The network. Its weights may hold anything yet. The delimiter is one of the `vocab_size` ids."""

    @classmethod
    def initialise(
        cls,
        config: Any,
        vocab_size: int,
        end: int,
        labels: Sequence[str],
        seed: int,
        delimiter: int | None = None,
    ) -> Self:
        """A new model; the same seed gives the same weights."""
        network = cls.new_network(config, seed, vocab_size, len(labels))
        return cls(config, vocab_size, end, labels, network, delimiter)

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
        network = cls.loaded_network(config, tensors, vocab_size, len(labels))
        return cls(config, vocab_size, end, labels, network, delimiter)

    def log_probs(self, texts: TokenStream) -> np.ndarray:
        """Texts of like length are read together; what fills up the others can't matter."""
        lengths = np.diff(texts.starts)
        found = np.empty((texts.n_documents, len(self.labels)), np.float32)
        order = np.argsort(lengths, kind="stable")
        begin = 0
        with self.inference():
            while begin < len(order):
                at_once = max(1, TEXT_TOKENS_AT_ONCE // int(lengths[order[begin]]))
                rows = order[begin : begin + at_once]
                found[rows] = next_log_probs(self.network(self._tensor(padded_documents(texts, rows))))
                begin += len(rows)
        return found
