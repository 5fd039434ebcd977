"""From a torch network over pairs to the contract of translators."""

from __future__ import annotations

from typing import Any, Self, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rung.models.networks.torch_model import TorchModel, TrainableModule
from rung.models.translator import Translator
from rung.text.masking import PADDING

M = TypeVar("M", bound=TrainableModule)


def ended(sources: Tensor, end: int) -> tuple[Tensor, Tensor]:
    """Sources (B, S), filled up with PADDING, with the mark behind each (B, S + 1), and how long they are now (B,)."""
    lengths = (sources != PADDING).sum(1)
    tokens = F.pad(sources.clamp(min=0), (0, 1), value=0)
    tokens[torch.arange(len(tokens), device=tokens.device), lengths] = end
    return tokens, lengths + 1


class NeuralTranslator(TorchModel[M], Translator):
    """A translator whose weights are learned by gradient descent: `build(config, vocab_size, source_vocab_size)`."""

    def __init__(
        self, config: Any, vocab_size: int, end: int, network: M, source_vocab_size: int | None = None
    ) -> None:
        super().__init__(config, vocab_size, end, source_vocab_size)
        self.network = network

    @classmethod
    def initialise(
        cls, config: Any, vocab_size: int, end: int, seed: int, source_vocab_size: int | None = None
    ) -> Self:
        """A new model; the same seed gives the same weights."""
        network = cls.new_network(config, seed, vocab_size, source_vocab_size)
        return cls(config, vocab_size, end, network, source_vocab_size)

    @classmethod
    def from_tensors(
        cls,
        config: Any,
        vocab_size: int,
        end: int,
        tensors: dict[str, np.ndarray],
        source_vocab_size: int | None = None,
    ) -> Self:
        network = cls.loaded_network(config, tensors, vocab_size, source_vocab_size)
        return cls(config, vocab_size, end, network, source_vocab_size)
