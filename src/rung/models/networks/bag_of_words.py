"""A linear model of the words of a text, whatever their order: multinomial logistic regression.

    logits = b + mean over the text's tokens of W[token]         W: (V, L)

Learned by gradient descent on -log softmax(logits)[label], weight decay in the part of an L2 penalty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from rung.models.networks.classifier import ClassifierNetwork, NeuralClassifier


@dataclass(frozen=True)
class BagOfWordsConfig:
    """There is nothing to choose."""


class LinearBag(ClassifierNetwork):
    """A row of label weights for each token, averaged, and a bias."""

    def __init__(self, vocab_size: int, n_labels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, n_labels))
        self.bias = nn.Parameter(torch.empty(n_labels))

    def forward(self, tokens: Tensor) -> Tensor:
        there = tokens >= 0  # (B, T)
        rows = self.weight[tokens.clamp(min=0)] * there[..., None]  # (B, T, L)
        return rows.sum(1) / there.sum(1, keepdim=True).clamp(min=1) + self.bias

    def init_weights(self, generator: torch.Generator) -> None:
        self.weight.zero_()
        self.bias.zero_()


class BagOfWords(NeuralClassifier[LinearBag]):
    """Logistic regression over a bag of tokens."""

    rung = "bag-of-words"
    config_class = BagOfWordsConfig
    training_defaults: ClassVar = {"lr": 0.3, "weight_decay": 0.001, "batch_size": 64}

    @classmethod
    def build(cls, config: BagOfWordsConfig, vocab_size: int, n_labels: int) -> LinearBag:
        return LinearBag(vocab_size, n_labels)
