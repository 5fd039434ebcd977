"""Recurrent networks as translators: one reads the source from both ends, one writes the target and looks back at it.

    h_1 ... h_S = cells over the source, from both ends           the source ends in the mark, so none is empty
    s_t = cell(y_(t-1), s_(t-1))                                  y_0 is the mark; s_0 is made of the source's ends
    c_t = what the attention finds in h when s_t asks             (`source_attention`)
    u_t = cells over [s_t; c_t]
    logits = table . tanh(W [u_t; c_t])                           the inputs' own table (Press and Wolf 2017)

Bahdanau, Cho and Bengio 2014 (arXiv:1409.0473), but for the order of a step: there the state before it asks, and what
is found goes into the one cell, so that a text can only be read a token at a time, in training too. Here the first of
two layers asks and the others take in what is found (Wu et al. 2016, arXiv:1609.08144, section 3.2), so a known target
is read in one go. With `attention = "none"` what is found is always the source's last states (Cho et al. 2014).

There is no window: source and target may have any length. What fills up a batch is never read.

Shapes: B pairs, S tokens of the sources, T of the targets, E = n_embd, H = n_hidden, M = 2 H, V ids.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rung.errors import UserError, nearest
from rung.models.base import State
from rung.models.config_checks import check_counts, check_fraction
from rung.models.networks.recurrent import HEAD_SCALE
from rung.models.networks.recurrent_classifier import init_core
from rung.models.networks.source_attention import ATTENTIONS, Source, SourceAttention
from rung.models.networks.target_loss import target_loss
from rung.models.networks.torch_model import TrainableModule, next_log_probs, upcast
from rung.models.networks.translator import NeuralTranslator, ended
from rung.models.translator import GivenSources
from rung.text.stream import TokenStream
from rung.text.windows import padded_documents

Cell = type[nn.RNN | nn.LSTM | nn.GRU]
Core = nn.RNN | nn.LSTM | nn.GRU


@dataclass(frozen=True)
class RecurrentTranslatorConfig:
    """The shape."""

    n_embd: int = 256
    """How many numbers stand for a token."""
    n_hidden: int = 256
    """Width of a layer's state, in each direction."""
    n_layer: int = 1
    """Layers that read the source, and as many that write what was found in it, above the one that asks."""
    attention: str = "additive"
    """How it looks at the source: additive (Bahdanau's), dot (Luong's, faster), or none: its last states are all."""
    dropout: float = 0.2
    """The share of activations dropped in training: of embeddings, between layers, before the head."""
    label_smoothing: float = 0.1
    """The share of a target's weight that is spread over all tokens in training. No loss that is told has it."""

    def __post_init__(self) -> None:
        check_counts(self, "n_embd", "n_hidden", "n_layer")
        check_fraction(self, "dropout", "label_smoothing")
        if self.attention not in ATTENTIONS:
            near = nearest(self.attention, ATTENTIONS) if isinstance(self.attention, str) else ""
            raise UserError(
                f"--attention {self.attention!r} is unknown{near} (known: {', '.join(ATTENTIONS)})"
            )


class RecurrentTranslatorNetwork(TrainableModule):
    """One table of tokens, three cores, an attention."""

    above = ("readout.",)
    tables = ("tokens", "source_tokens")

    def __init__(
        self,
        vocab_size: int,
        cell: Cell,
        config: RecurrentTranslatorConfig,
        source_vocab_size: int | None = None,
    ) -> None:
        super().__init__()
        width, depth = config.n_hidden, config.n_layer
        between = config.dropout if depth > 1 else 0.0
        self.end = vocab_size - 1
        self.label_smoothing = config.label_smoothing
        self.tokens = nn.Parameter(torch.empty(vocab_size, config.n_embd))
        self.source_tokens = (
            None if source_vocab_size is None else nn.Parameter(torch.empty(source_vocab_size, config.n_embd))
        )
        self.dropout = nn.Dropout(config.dropout)
        self.encoder: Core = cell(
            config.n_embd, width, depth, batch_first=True, bidirectional=True, dropout=between
        )
        self.bridge = nn.Linear(2 * width, self.n_parts * (1 + depth) * width)
        self.asking: Core = cell(config.n_embd, width, batch_first=True)
        self.attention = SourceAttention(config.attention, width, 2 * width)
        self.writing: Core = cell(3 * width, width, depth, batch_first=True, dropout=between)
        self.readout = nn.Linear(3 * width, config.n_embd)

    @property
    def n_parts(self) -> int:
        """Parts of a state: 1, or 2 for the LSTM's h and c."""
        return 2 if isinstance(self.encoder, nn.LSTM) else 1

    @property
    def token_embedding(self) -> nn.Parameter:
        return self.tokens

    def embed(self, tokens: Tensor, table: Tensor | None = None) -> Tensor:
        """(B, T) -> (B, T, E)."""
        table = self.tokens if table is None else table
        return self.dropout(F.embedding(tokens, table) * math.sqrt(table.shape[1]))

    def encode(self, sources: Tensor) -> Source:
        """Sources (B, S), filled up with PADDING, as they are read with the mark behind each."""
        table = self.tokens if self.source_tokens is None else self.source_tokens
        tokens, lengths = ended(sources, len(table) - 1)
        x = self.embed(tokens, table)
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        read, last = self.encoder(packed)
        states, _ = pad_packed_sequence(read, batch_first=True, total_length=tokens.shape[1])
        ends = last[0] if isinstance(last, tuple) else last
        there = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
        states = self.dropout(states)
        return Source(states, self.attention.keys(states), there, torch.cat([ends[-2], ends[-1]], dim=1))

    def begin(self, source: Source) -> Tensor:
        """The state before the first token, (parts, 1 + n_layer, B, H)."""
        rows = len(source.summary)
        made = torch.tanh(self.bridge(source.summary)).view(rows, self.n_parts, -1, self.asking.hidden_size)
        return made.permute(1, 2, 0, 3).contiguous()

    def read(self, source: Source, state: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (B, T) behind a state -> what the head reads (B, T, E), and the state after them."""
        asking, below = _run(self.asking, self.embed(inputs), state[:, :1])
        found = self.attention(asking, source)
        written, above = _run(self.writing, torch.cat([self.dropout(asking), found], dim=2), state[:, 1:])
        hidden = torch.tanh(self.readout(torch.cat([self.dropout(written), found], dim=2)))
        return hidden, torch.cat([below, above], dim=1)

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.tokens)

    def forward(self, sources: Tensor, inputs: Tensor) -> Tensor:
        """Sources (B, S) and inputs (B, T), the mark first -> logits (B, T, V)."""
        source = self.encode(sources)
        return self.logits(self.read(source, self.begin(source), inputs)[0])

    def loss(self, sources: Tensor, targets: Tensor) -> Tensor:
        """The sum of -log p over `targets` (B, T), each ending in the mark, filled up with PADDING."""
        inputs = F.pad(targets[:, :-1].clamp(min=0), (1, 0), value=self.end)
        return target_loss(self(sources, inputs), targets, self.label_smoothing if self.training else 0.0)

    def init_weights(self, generator: torch.Generator) -> None:
        """Cores as of the language models (`recurrent`), the table N(0, 1 / E), other matrices uniform within
        1 / sqrt(fan-in), the readout small: the first loss is near ln V."""
        for table in (self.tokens, self.source_tokens):
            if table is not None:
                table.normal_(0, 1 / math.sqrt(table.shape[1]), generator=generator)
        for core in (self.encoder, self.asking, self.writing):
            init_core(core, generator)
        for name, weight in (*self.bridge.named_parameters(), *self.attention.named_parameters()):
            if name.endswith("bias"):
                weight.zero_()
            else:
                bound = 1 / math.sqrt(weight.shape[1])
                weight.uniform_(-bound, bound, generator=generator)
        self.readout.weight.normal_(0, HEAD_SCALE / math.sqrt(self.readout.in_features), generator=generator)
        self.readout.bias.zero_()


def _run(core: Core, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """A core over (B, T, ...) behind a state (parts, layers, B, H)."""
    if isinstance(core, nn.LSTM):
        states, (h, c) = core(x, (state[0].contiguous(), state[1].contiguous()))
        return states, torch.stack([h, c])
    states, h = core(x, state[0].contiguous())
    return states, h[None]


class RecurrentTranslator(NeuralTranslator[RecurrentTranslatorNetwork]):
    """What the three share: everything but the cell."""

    config_class = RecurrentTranslatorConfig
    training_defaults: ClassVar = {"lr": 2e-3, "batch_size": 64, "weight_decay": 0.01}
    cell: ClassVar[Cell]

    @classmethod
    def build(
        cls, config: RecurrentTranslatorConfig, vocab_size: int, source_vocab_size: int | None
    ) -> RecurrentTranslatorNetwork:
        return RecurrentTranslatorNetwork(vocab_size, cls.cell, config, source_vocab_size)

    def given(self, sources: TokenStream) -> Given:
        return Given(self, sources)


class RNNTranslator(RecurrentTranslator):
    """Elman's network."""

    rung = "rnn"
    cell = nn.RNN


class LSTMTranslator(RecurrentTranslator):
    """Long short-term memory."""

    rung = "lstm"
    cell = nn.LSTM


class GRUTranslator(RecurrentTranslator):
    """Gated recurrent units."""

    rung = "gru"
    cell = nn.GRU


class _Written:
    """B texts so far: which source each is of, and the cores' state."""

    def __init__(self, rows: np.ndarray, state: Tensor) -> None:
        self.rows = rows
        self.state = state

    def select(self, rows: np.ndarray) -> _Written:
        at = np.asarray(rows, np.int64)
        return _Written(self.rows[at], self.state[:, :, torch.from_numpy(at).to(self.state.device)])


class Given(GivenSources):
    """The cores that write, over sources that are read once."""

    model: RecurrentTranslator

    def __init__(self, model: RecurrentTranslator, sources: TokenStream) -> None:
        super().__init__(model, sources.n_documents)
        with model.inference():
            tokens = model._tensor(padded_documents(sources, np.arange(sources.n_documents)))
            self.source = model.network.encode(tokens)

    def start(self, batch: int = 1) -> State:
        rows = self.rows_of(batch)
        with self.model.inference():
            return _Written(rows, self.model.network.begin(self._of_rows(rows)))

    def advance(self, state: State, tokens: np.ndarray) -> tuple[np.ndarray, State]:
        tokens = self.check_tokens(tokens)
        columns = tokens[:, None] if tokens.ndim == 1 else tokens
        network = self.model.network
        with self.model.inference():
            hidden, after = network.read(self._of_rows(state.rows), state.state, self._columns(columns))
            return next_log_probs(network.logits(hidden[:, -1])), _Written(state.rows, after)

    def score(self, tokens: np.ndarray) -> np.ndarray:
        tokens = self.check_tokens(tokens)
        rows = tokens if tokens.ndim == 2 else tokens[None]
        if not rows.size:
            return np.zeros(tokens.shape, np.float32)
        inputs = np.concatenate([np.full((len(rows), 1), self.end), rows[:, :-1]], axis=1)
        network = self.model.network
        with self.model.inference():
            begun = self.start(len(rows))
            hidden, _ = network.read(self._of_rows(begun.rows), begun.state, self._columns(inputs))
            log_probs = upcast(network.logits(hidden)).log_softmax(-1)
            found = log_probs.gather(2, self._columns(rows)[..., None])[..., 0]
        return found.numpy(force=True).reshape(tokens.shape)

    def attention(self, tokens: np.ndarray) -> np.ndarray:
        if self.model.network.attention.kind == "none":
            return super().attention(tokens)
        inputs = np.concatenate([[self.end], self.check_tokens(tokens)[:-1]])[None]
        network = self.model.network
        with self.model.inference():
            begun = self.start(1)
            asking, _ = _run(network.asking, network.embed(self._columns(inputs)), begun.state[:, :1])
            return network.attention.weights(asking, self.source).numpy(force=True)

    def _columns(self, tokens: np.ndarray) -> Tensor:
        return self.model._tensor(np.ascontiguousarray(tokens, np.int64))

    def _of_rows(self, rows: np.ndarray) -> Source:
        """What belongs to each row's source; copied only where rows are not the sources themselves."""
        if self.n_sources == len(rows) and (rows == np.arange(len(rows))).all():
            return self.source
        return self.source.of_rows(torch.from_numpy(rows).to(self.source.states.device))
