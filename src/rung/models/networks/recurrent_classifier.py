"""Recurrent networks as classifiers: read the text token by token, pool the states, one linear layer.

    h_t = cell(x_t, h_t-1)  (and from right to left, if bidirectional, each at the text's own end)
    logits = V pool(h_0 ... h_n) + d

A mark of its own stands before every text, so an empty one has a state too. Pooled by each text's length: what fills up
a batch is never read (packed sequences), so a text costs the same alone and beside longer ones. Of a text longer than
`longest` the beginning is read. The cells are those of
`recurrent`. Shapes: B texts, T tokens, H = n_hidden, D = 1 or 2 directions, L labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rung.errors import UserError, nearest
from rung.models.config_checks import check_bool, check_counts, check_fraction
from rung.models.networks.classifier import ClassifierNetwork, NeuralClassifier
from rung.models.networks.recurrent import HEAD_SCALE
from rung.models.networks.states import HasStates, States, to_the_left

POOLS = ("mean", "max", "last")


@dataclass(frozen=True)
class RecurrentClassifierConfig:
    """The shape."""

    n_embd: int = 64
    """How many numbers stand for a token."""
    n_hidden: int = 128
    """Width of a layer's state, in each direction."""
    n_layer: int = 1
    """Layers, each reading what the one below it has made of the text."""
    bidirectional: bool = True
    """Whether the text is read from both ends. On the command line --bidirectional=false."""
    pool: str = "max"
    """What is told of the states: their mean, the max of each number, or the last (of each direction)."""
    dropout: float = 0.3
    """The share of activations dropped in training: of embeddings, between layers, before the head."""
    longest: int = 4096
    """How many tokens of a text are read, from its beginning; what is beyond is told of, and left."""

    def __post_init__(self) -> None:
        check_counts(self, "n_embd", "n_hidden", "n_layer", "longest")
        check_fraction(self, "dropout")
        check_bool(self, "bidirectional")
        if self.pool not in POOLS:
            near = nearest(self.pool, POOLS) if isinstance(self.pool, str) else ""
            raise UserError(f"--pool {self.pool!r} is unknown{near} (known: {', '.join(POOLS)})")


class RecurrentClassifierNetwork(ClassifierNetwork):
    """Embedding table (its last row the mark before a text), one of torch's recurrent cores, head if it has labels."""

    heads = ("head.",)
    tables = ("embedding",)

    def __init__(
        self,
        vocab_size: int,
        core: nn.RNN | nn.LSTM | nn.GRU,
        n_labels: int,
        pool: str,
        dropout: float,
        longest: int | None = None,
    ):
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(vocab_size + 1, core.input_size))
        self.core = core
        width = core.hidden_size * (2 if core.bidirectional else 1)
        self.head = nn.Linear(width, n_labels) if n_labels else None
        self.dropout = nn.Dropout(dropout)
        self.pool = pool
        self.room = longest

    @property
    def token_embedding(self) -> nn.Parameter:
        return self.embedding

    first_knows = False
    room: int | None

    @property
    def with_states(self) -> HasStates:
        return self

    def forward(self, tokens: Tensor) -> Tensor:
        states = self.states(tokens)
        if self.pool == "max":
            vectors = states.values.masked_fill(~states.there[..., None], -torch.inf).amax(1)
        else:
            vectors = states.pooled(self.pool)
        assert self.head is not None
        return self.head(self.dropout(vectors))

    def states(self, texts: Tensor, mark: int | None = None) -> States:
        """(B, 1 + T, D H): of the mark before a text, which is its own, and of each token; of D directions."""
        tokens = to_the_left(texts)[:, : self.room]
        lengths = (tokens >= 0).sum(1) + 1  # (B,), the mark included
        marked = F.pad(tokens.clamp(min=0), (1, 0), value=len(self.embedding) - 1)  # (B, 1 + T)
        x = self.dropout(F.embedding(marked, self.embedding))
        packed, _ = self.core(pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False))
        values, _ = pad_packed_sequence(packed, batch_first=True)  # 0 beyond a text's end
        there = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
        return States(values, there, self.core.hidden_size if self.core.bidirectional else 0)

    def init_weights(self, generator: torch.Generator) -> None:
        """As of the language models (`recurrent`); the first loss is near ln L."""
        self.embedding.normal_(generator=generator)
        init_core(self.core, generator)
        if self.head is not None:
            init_head(self.head, self.core.hidden_size, generator)


def init_core(core: nn.RNN | nn.LSTM | nn.GRU, generator: torch.Generator) -> None:
    """Orthogonal from state to state, uniform from inputs; an LSTM forgets nothing at first."""
    width = core.hidden_size
    for name, weight in core.named_parameters():
        if name.startswith("weight_hh"):
            for gate in weight.split(width):
                nn.init.orthogonal_(gate, generator=generator)
        elif weight.dim() == 2:
            weight.uniform_(-1 / math.sqrt(width), 1 / math.sqrt(width), generator=generator)
        else:
            weight.zero_()
            if isinstance(core, nn.LSTM) and name.startswith("bias_ih"):
                weight[width : 2 * width] = 1


def init_head(head: nn.Linear, width: int, generator: torch.Generator) -> None:
    """Nearly equal logits, of states `width` wide."""
    head.weight.normal_(0, HEAD_SCALE / math.sqrt(width), generator=generator)
    head.bias.zero_()


def build_core(cell: type[nn.RNN | nn.LSTM | nn.GRU], config: Any) -> nn.RNN | nn.LSTM | nn.GRU:
    """One of torch's, of a configuration with the sizes of one."""
    return cell(
        config.n_embd,
        config.n_hidden,
        config.n_layer,
        batch_first=True,
        bidirectional=config.bidirectional,
        dropout=config.dropout if config.n_layer > 1 else 0.0,
    )


class RecurrentClassifier(NeuralClassifier[RecurrentClassifierNetwork]):
    """What the three share: everything but the cell."""

    config_class = RecurrentClassifierConfig
    training_defaults: ClassVar = {"lr": 2e-3, "weight_decay": 0.01, "batch_size": 64}
    cell: ClassVar[type[nn.RNN | nn.LSTM | nn.GRU]]

    @classmethod
    def build(
        cls, config: RecurrentClassifierConfig, vocab_size: int, n_labels: int
    ) -> RecurrentClassifierNetwork:
        core = build_core(cls.cell, config)
        return RecurrentClassifierNetwork(
            vocab_size, core, n_labels, config.pool, config.dropout, config.longest
        )


class RNNClassifier(RecurrentClassifier):
    """Elman's network."""

    rung = "rnn"
    cell = nn.RNN


class LSTMClassifier(RecurrentClassifier):
    """Long short-term memory."""

    rung = "lstm"
    cell = nn.LSTM


class GRUClassifier(RecurrentClassifier):
    """Gated recurrent units."""

    rung = "gru"
    cell = nn.GRU
