"""Recurrent networks that make vectors of texts, learned by contrast: classifiers without a head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from rung.models.config_checks import check_bool, check_counts, check_fraction
from rung.models.networks.contrastive import Contrast, ContrastiveModel
from rung.models.networks.recurrent_classifier import RecurrentClassifierNetwork, build_core


@dataclass(frozen=True)
class RecurrentEncoderConfig(Contrast):
    """The shape, and how vectors are made."""

    n_embd: int = 64
    """How many numbers stand for a token."""
    n_hidden: int = 128
    """Width of a layer's state, in each direction."""
    n_layer: int = 1
    """Layers, each reading what the one below it has made of the text."""
    bidirectional: bool = True
    """Whether the text is read from both ends. On the command line --bidirectional=false."""
    dropout: float = 0.1
    """The share of activations dropped in training: of embeddings, and between layers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "n_embd", "n_hidden", "n_layer")
        check_fraction(self, "dropout")
        check_bool(self, "bidirectional")


class RecurrentEncoder(ContrastiveModel):
    """What the three share: everything but the cell."""

    config_class = RecurrentEncoderConfig
    training_defaults: ClassVar = {"lr": 2e-3, "weight_decay": 0.01, "batch_size": 64}
    cell: ClassVar[type[nn.RNN | nn.LSTM | nn.GRU]]

    @classmethod
    def build_body(cls, config: RecurrentEncoderConfig, vocab_size: int) -> RecurrentClassifierNetwork:
        return RecurrentClassifierNetwork(vocab_size, build_core(cls.cell, config), 0, "mean", config.dropout)


class RNNEncoder(RecurrentEncoder):
    """Elman's network."""

    rung = "rnn"
    cell = nn.RNN


class LSTMEncoder(RecurrentEncoder):
    """Long short-term memory."""

    rung = "lstm"
    cell = nn.LSTM


class GRUEncoder(RecurrentEncoder):
    """Gated recurrent units."""

    rung = "gru"
    cell = nn.GRU
