"""Recurrent networks: read one token at a time and keep what matters in a state of fixed size.

    rnn   h' = tanh(W x + U h)                                               Elman 1990, "Finding structure in time"
    lstm  c' = f * c + i * tanh(W_g x + U_g h),  h' = o * tanh(c')           Hochreiter and Schmidhuber 1997; f is
          i, f, o = sigmoid(W x + U h), each with weights of its own         Gers, Schmidhuber and Cummins 2000
    gru   h' = z * h + (1 - z) * tanh(W_n x + r * (U_n h))                   Cho et al. 2014 (arXiv:1406.1078)
          r, z = sigmoid(W x + U h), each with weights of its own

    logits = V h' + d;  with n_layer > 1 the h' of one layer are the x of the next. x is the token's row in a table; or
    one-hot, which is the same with a table that W has taken in.
    Every product has a bias (W x + b, U h + d), as in torch, whose nn.RNN, nn.LSTM and nn.GRU do the work.

There is no window: a prediction rests on the whole document before it, and a document of any length is scored in
constant memory. Training carries the state from each row to the row that goes on with the same document; gradients
end at a row's beginning (truncated backpropagation through time; Mikolov et al. 2010).

Shapes: B rows of a batch, T inputs, E = n_embd, H = n_hidden, L = n_layer, V vocabulary; S parts of a state, 1, or 2
for the LSTM's h and c.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rung.errors import UserError, nearest
from rung.models.base import State
from rung.models.config_checks import check_counts, check_fraction
from rung.models.networks.network import HIDDEN_TOKENS_AT_ONCE, NeuralModel, RecurrentNetwork
from rung.models.networks.torch_model import next_log_probs

INPUTS = ("learned", "one-hot")
DEFAULT_WIDTH = 64

HEAD_SCALE = 0.1
"""What the head's first weights are scaled by: nearly equal logits, and so a first loss near ln V."""


@dataclass(frozen=True)
class RecurrentConfig:
    """The shape."""

    n_embd: int = DEFAULT_WIDTH
    """How many numbers stand for a token whose row is learned."""
    n_hidden: int = 128
    """Width of a layer's state."""
    n_layer: int = 1
    """Layers, each reading what the one below it has made of the text so far."""
    dropout: float = 0.0
    """The share of activations dropped in training: of embeddings, between layers, before the head."""
    inputs: str = "learned"
    """How a token comes in: learned (a row of n_embd numbers), or one-hot (V numbers, all 0 but its own)."""

    def __post_init__(self) -> None:
        if self.inputs == "one-hot":
            if self.n_embd not in (0, DEFAULT_WIDTH):
                raise UserError(f"--n-embd {self.n_embd} does not go with --inputs one-hot, which are V wide")
            object.__setattr__(self, "n_embd", 0)  # there are no rows
        else:
            check_counts(self, "n_embd")
        check_counts(self, "n_hidden", "n_layer")
        check_fraction(self, "dropout")
        if self.inputs not in INPUTS:
            near = nearest(self.inputs, INPUTS) if isinstance(self.inputs, str) else ""
            raise UserError(f"--inputs {self.inputs!r} is unknown{near} (known: {', '.join(INPUTS)})")


class Recurrent(NeuralModel["RNNNetwork"]):
    """What the three share: everything but the cell. A state is the tensor (S, L, B, H) that the network carries."""

    config_class = RecurrentConfig
    recurrent = True
    training_defaults: ClassVar = {"lr": 5e-3, "weight_decay": 0.01, "batch_size": 32}
    cell: ClassVar[type[nn.RNN | nn.LSTM | nn.GRU]]

    @classmethod
    def build(cls, config: RecurrentConfig, vocab_size: int) -> RNNNetwork:
        core = cls.cell(
            config.n_embd if config.inputs == "learned" else vocab_size,
            config.n_hidden,
            config.n_layer,
            batch_first=True,
            dropout=config.dropout if config.n_layer > 1 else 0.0,
        )
        return RNNNetwork(vocab_size, core, config.dropout, learned=config.inputs == "learned")

    def flops_per_token(self) -> float:
        """6 for each weight of a matrix: twice forward, four times backward."""
        matrices = sum(weight.numel() for weight in self.network.parameters() if weight.dim() == 2)
        table = self.network.embedding
        return 6.0 * (matrices - (0 if table is None else table.numel()))

    def start(self, batch: int = 1) -> State:
        return self.network.initial_state(batch)

    def advance(self, state: State, tokens: np.ndarray) -> tuple[np.ndarray, State]:
        inputs = self.check_tokens(tokens).reshape(state.shape[2], -1).copy()  # (B, T)
        with self.inference():
            while inputs.shape[1] > HIDDEN_TOKENS_AT_ONCE:
                _, state = self.network.run(self._tensor(inputs[:, :HIDDEN_TOKENS_AT_ONCE]), state)
                inputs = inputs[:, HIDDEN_TOKENS_AT_ONCE:]
            hidden, state = self.network.run(self._tensor(inputs), state)
            return next_log_probs(self.network.logits(hidden[:, -1])), state

    def select(self, state: State, rows: np.ndarray) -> State:
        return state[:, :, torch.as_tensor(np.array(rows), device=state.device)]

    def score(self, tokens: np.ndarray) -> np.ndarray:
        """The log-probabilities, in nats, of a document (T,) or B documents (B, T), each read in one go."""
        tokens = self.check_tokens(tokens)
        documents = tokens if tokens.ndim == 2 else tokens[None]  # (B, T)
        scores = np.empty(documents.shape, np.float32)
        if documents.size == 0:
            return scores.reshape(tokens.shape)
        inputs = np.insert(documents[:, :-1], 0, self.end, axis=1)  # input t is followed by token t
        with self.inference():
            for first in range(0, len(inputs), HIDDEN_TOKENS_AT_ONCE):
                rows = slice(first, first + HIDDEN_TOKENS_AT_ONCE)
                state = self.network.initial_state(len(inputs[rows]))
                width = HIDDEN_TOKENS_AT_ONCE // len(inputs[rows])
                for begin in range(0, inputs.shape[1], width):
                    columns = slice(begin, begin + width)
                    hidden, state = self.network.run(self._tensor(inputs[rows, columns]), state)
                    scores[rows, columns] = self._log_probs(hidden, documents[rows, columns])
        return scores.reshape(tokens.shape)


class RNN(Recurrent):
    """Elman's network: the state is squashed anew at every step, so what was long ago fades."""

    rung = "rnn"
    cell = nn.RNN


class LSTM(Recurrent):
    """Long short-term memory: a second state, c, is only added to and partly forgotten, so it can last."""

    rung = "lstm"
    cell = nn.LSTM


class GRU(Recurrent):
    """Gated recurrent units: each number of the state is kept or replaced, in proportion."""

    rung = "gru"
    cell = nn.GRU


class RNNNetwork(RecurrentNetwork):
    """Embedding table, unless inputs are one-hot, one of torch's recurrent cores, head."""

    heads = ("head.",)
    tables = ("embedding",)

    def __init__(
        self, vocab_size: int, core: nn.RNN | nn.LSTM | nn.GRU, dropout: float, *, learned: bool = True
    ) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(vocab_size, core.input_size)) if learned else None
        self.core = core
        self.head = nn.Linear(core.hidden_size, vocab_size)
        self.dropout = nn.Dropout(dropout)

    @property
    def context(self) -> None:
        return None

    @property
    def token_embedding(self) -> nn.Parameter | None:
        return self.embedding

    def initial_state(self, batch: int) -> Tensor:
        parts = 2 if isinstance(self.core, nn.LSTM) else 1
        return self.head.weight.new_zeros(parts, self.core.num_layers, batch, self.core.hidden_size)

    def run(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        x = self.dropout(self._inputs(tokens))  # (B, T, E)
        if isinstance(self.core, nn.LSTM):
            hidden, (h, c) = self.core(x, (state[0], state[1]))
            state = torch.stack([h, c])
        else:
            hidden, h = self.core(x, state[0])
            state = h[None]
        return self.dropout(hidden), state  # (B, T, H), (S, L, B, H)

    def _inputs(self, tokens: Tensor) -> Tensor:
        """(B, T) -> (B, T, E), or one-hot (B, T, V)."""
        if self.embedding is not None:
            return F.embedding(tokens, self.embedding)
        return F.one_hot(tokens, self.core.input_size).to(self.head.weight.dtype)

    def logits(self, hidden: Tensor) -> Tensor:
        return self.head(hidden)

    def init_weights(self, generator: torch.Generator) -> None:
        """Table: N(0, 1). Core: what reads x uniform within 1 / sqrt(H), as torch has it; what reads h orthogonal, so
        that it neither grows nor fades by itself (Saxe et al. 2014, arXiv:1312.6120); biases 0, but for the LSTM's
        forgetting 1, so that it begins by remembering (Jozefowicz et al. 2015). Head: small, for a loss near ln V.
        """
        if self.embedding is not None:
            self.embedding.normal_(generator=generator)
        width = self.core.hidden_size
        for name, weight in self.core.named_parameters():
            if name.startswith("weight_hh"):
                for gate in weight.split(width):
                    nn.init.orthogonal_(gate, generator=generator)
            elif weight.dim() == 2:
                weight.uniform_(-1 / math.sqrt(width), 1 / math.sqrt(width), generator=generator)
            else:
                weight.zero_()
                if isinstance(self.core, nn.LSTM) and name.startswith("bias_ih"):
                    weight[width : 2 * width] = 1
        self.head.weight.normal_(0, HEAD_SCALE / math.sqrt(width), generator=generator)
        self.head.bias.zero_()
