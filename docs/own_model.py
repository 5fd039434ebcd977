"""Two models of one's own, one that counts and one that torch trains: docs/own-model.md walks through them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from rung.events import Event
from rung.models.base import CountedModel
from rung.text.stream import TokenStream


@dataclass(frozen=True)
class UnigramConfig:
    """What can be set, each field a flag.

    Attributes:
        k: how many times more than it was seen each token is counted.
    """

    k: float = 1.0


class Unigram(CountedModel):
    """How often each token occurs, whatever stands before it: P(token) = (count + k) / (N + k V)."""

    rung = "own-unigram"
    config_class = UnigramConfig
    context = 0  # no history matters

    def __init__(self, config: UnigramConfig, vocab_size: int, end: int, counts: np.ndarray) -> None:
        super().__init__(config, vocab_size, end)
        self.counts = counts
        smoothed = counts + config.k
        self.log_probs = np.log(smoothed / smoothed.sum()).astype(np.float32)  # (V,)

    @classmethod
    def fit(
        cls, config: UnigramConfig, stream: TokenStream, vocab_size: int, end: int
    ) -> Iterator[Event | Self]:
        counts = np.bincount(np.asarray(stream.ids)[1:], minlength=vocab_size)  # without the first mark
        yield cls(config, vocab_size, end, counts)

    # What it answers: a state is a row for each history, with nothing in it.

    def start(self, batch: int = 1) -> np.ndarray:
        return np.empty((batch, 0))

    def advance(self, state: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.check_tokens(tokens)
        return np.tile(self.log_probs, (len(state), 1)), state

    def select(self, state: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return state[rows]

    def score(self, tokens: np.ndarray) -> np.ndarray:
        return self.log_probs[self.check_tokens(tokens)]

    # What it is made of: what a run's folder keeps.

    @property
    def n_parameters(self) -> int:
        return self.vocab_size

    def tensors(self) -> dict[str, np.ndarray]:
        return {"counts": self.counts}

    @classmethod
    def from_tensors(
        cls, config: UnigramConfig, vocab_size: int, end: int, tensors: dict[str, np.ndarray]
    ) -> Self:
        return cls(config, vocab_size, end, tensors["counts"])


@dataclass(frozen=True)
class ConvolutionConfig:
    """Its shape.

    Attributes:
        width: how many numbers stand for a token.
        context: how many tokens it looks back.
    """

    width: int = 32
    context: int = 8


class Convolution(nn.Module):
    """One convolution over the last few tokens: any module from tokens (B, T) to logits (B, T, V) will do."""

    training_defaults: ClassVar = {"lr": 3e-3, "batch_size": 32}

    def __init__(self, config: ConvolutionConfig, vocab_size: int) -> None:
        super().__init__()
        self.left = config.context - 1
        self.embedding = nn.Embedding(vocab_size, config.width)
        self.convolution = nn.Conv1d(config.width, config.width, config.context)
        self.head = nn.Linear(config.width, vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens).transpose(1, 2)  # (B, C, T)
        x = nn.functional.pad(x, (self.left, 0))  # on the left only: place t sees nothing that comes later
        x = torch.relu(self.convolution(x)).transpose(1, 2)  # (B, T, C)
        return self.head(x)
