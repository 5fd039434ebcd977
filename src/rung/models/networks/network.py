"""The bridge between a torch network and the contract: tokens in, log-probabilities out, NumPy on both sides.

A network has two halves: `hidden` reads tokens (B, T), and `logits` turns what came of them into (..., V).
`forward` is one after the other; a trainer needs nothing else. Inference needs the halves apart: a prompt of
a thousand tokens wants the logits of its last position only, and scoring wants them a slice at a time,
because (B, T, V) is by far the largest array a language model makes.

The window policy of a finite context C, the same for `score` and `advance`. Inputs are the document mark,
then the document's tokens, numbered from 0. With stride S = C - C // 2, window k sees the inputs k*S to
k*S + C - 1, at positions 0 to C - 1. Window 0 answers for all its inputs, every later window for those that
no earlier one holds, its last S. Put otherwise: when a window is full and one more input comes, a new window
begins with the last C // 2 inputs and the new one. So no prediction of a long document rests on fewer than
C // 2 + 1 inputs, and a walk computes about two inputs a token instead of C. With C = 1 a window is the last
input alone.

Networks that read a block of the last C inputs (`SlidingModel`) need no such compromise: every prediction sees
exactly the last C, marks filling the block before a document's beginning. Recurrent ones (`RecurrentNetwork`)
have no window at all.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rung.models.base import GradientLanguageModel, State
from rung.models.networks.states import HasStates, States, to_the_left
from rung.models.networks.torch_model import TorchModel, TrainableModule, next_log_probs, upcast
from rung.text.windows import PADDING

HIDDEN_TOKENS_AT_ONCE = 1 << 12
"""Tokens read in one forward while scoring: more, and what passes between layers no longer fits the cache."""

LOGITS_AT_ONCE = 1 << 22
"""Logits made at once while scoring: 16 MiB of float32."""


class Network(TrainableModule):
    """A torch module that predicts the token after each input."""

    @property
    @abstractmethod
    def context(self) -> int | None:
        """The most inputs it can read at once; None = any number."""

    @property
    def history(self) -> int:
        """H, how many inputs it wants to the left of the first that it is to answer; a trainer's rows have them."""
        return 0

    @abstractmethod
    def hidden(self, tokens: Tensor) -> Tensor:
        """What `tokens` (B, H + T), int64, come to: (B, T) or (B, T, C), whatever `logits` takes."""

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """Unnormalised log-probabilities (..., V) of the next token, at any choice of positions."""

    first_knows = False

    @property
    def with_states(self) -> HasStates | None:
        return None if self.context == 1 else self

    @property
    def room(self) -> int | None:
        """The most tokens of a text that it reads at once behind a mark."""
        return None if self.context is None or self.history else self.context - 1

    def states(self, texts: Tensor, mark: int) -> States:
        """What `hidden` makes of each token; of the mark before them where there is none."""
        texts = to_the_left(texts)
        there = texts != PADDING
        inputs = F.pad(texts.masked_fill(~there, mark), (1 + self.history, 0), value=mark)
        hidden = self.hidden(inputs)  # (B, 1 + T, C)
        empty = ~there.any(1)
        values = torch.where(empty[:, None, None], hidden[:, :1], hidden[:, 1:])
        return States(values, there | F.pad(empty[:, None], (0, there.shape[1] - 1)))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, H + T) int64 -> logits (B, T, V); position t predicts the token after `tokens[:, H + t]`."""
        return self.logits(self.hidden(tokens))

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """The sum of -log p over `targets` (B, T), which follow the last T of `tokens` (B, H + T); -1 is no target.

        Networks override it where the places without a target must not be seen.
        """
        logits = self(tokens)  # (B, T, V)
        return F.cross_entropy(
            upcast(logits.flatten(0, 1)), targets.flatten(), ignore_index=-1, reduction="sum"
        )


N = TypeVar("N", bound=Network)


class NeuralModel(TorchModel[N], GradientLanguageModel):
    """A language model whose weights are learned by gradient descent, in torch."""

    def __init__(self, config: Any, vocab_size: int, end: int, network: N) -> None:
        super().__init__(config, vocab_size, end)
        self.network = network
        self.context = network.context

    @classmethod
    @abstractmethod
    def build(cls, config: Any, vocab_size: int) -> N:
        """The network. Its weights may hold anything yet: `init_weights` or a checkpoint fills them."""

    @classmethod
    def initialise(cls, config: Any, vocab_size: int, end: int, seed: int) -> Self:
        """A new model; the same seed gives the same weights. torch's global generator is left alone."""
        return cls(config, vocab_size, end, cls.new_network(config, seed, vocab_size))

    @classmethod
    def from_tensors(cls, config: Any, vocab_size: int, end: int, tensors: dict[str, np.ndarray]) -> Self:
        """The model whose `tensors()` these are. Raises UserError when names or shapes don't fit `config`."""
        return cls(config, vocab_size, end, cls.loaded_network(config, tensors, vocab_size))

    @property
    def history(self) -> int:
        return self.network.history

    @property
    def max_window(self) -> int | None:
        return self.network.context

    @property
    def window(self) -> int:
        return self.network.context if self.network.context is not None else 64

    def flops_per_token(self) -> float:
        """Floating-point operations, forward and backward, that training costs a token of a full window.

        Unless a rung knows better, 6 a weight (Kaplan et al. 2020, arXiv:2001.08361, section 2.1).
        """
        return 6.0 * self.n_parameters

    def start(self, batch: int = 1) -> State:
        """The inputs of the present window, none: all that a rung remembers which has nothing better to remember."""
        return np.empty((batch, 0), np.int64)

    def advance(self, state: State, tokens: np.ndarray) -> tuple[np.ndarray, State]:
        """The present window is read anew, by the policy above."""
        inputs = np.concatenate([state, self.check_tokens(tokens).reshape(len(state), -1)], axis=1)
        if self.context is not None and inputs.shape[1] > self.context:
            stride = self.context - self.context // 2
            inputs = inputs[:, -(-(inputs.shape[1] - self.context) // stride) * stride :].copy()
        with self.inference():
            hidden = self.network.hidden(self._tensor(inputs))[:, -1:]
            return next_log_probs(self.network.logits(hidden)[:, 0]), inputs

    def select(self, state: State, rows: np.ndarray) -> State:
        return state[rows]

    def score(self, tokens: np.ndarray) -> np.ndarray:
        """The log-probabilities, in nats, of a document (T,) or B documents (B, T), by the policy above."""
        tokens = self.check_tokens(tokens)
        documents = tokens if tokens.ndim == 2 else tokens[None]  # (B, T)
        length = documents.shape[1]
        context = length if self.context is None else min(self.context, length)
        log_probs = np.empty(documents.shape, np.float32)
        if documents.size == 0:
            return log_probs.reshape(tokens.shape)
        inputs = np.insert(documents[:, :-1], 0, self.end, axis=1)  # input t is followed by token t
        first = self._score_windows(inputs[:, None, :context], documents[:, None, :context])
        log_probs[:, :context] = first[:, 0]
        if length > context:
            stride = context - context // 2
            later = -(-(length - context) // stride)  # windows after the first
            # What pads the last window stands after every input that counts.
            inputs = np.pad(inputs, ((0, 0), (0, later * stride + context - length)))
            windows = np.lib.stride_tricks.sliding_window_view(inputs, context, axis=1)[:, stride::stride]
            targets = documents[:, context:]
            targets = np.pad(targets, ((0, 0), (0, later * stride - targets.shape[1])))
            scores = self._score_windows(windows, targets.reshape(len(documents), later, stride))
            log_probs[:, context:] = scores.reshape(len(documents), -1)[:, : length - context]
        return log_probs.reshape(tokens.shape)

    def _score_windows(self, windows: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """log p of `targets` (B, W, K), which follow the last K inputs of each of the `windows` (B, W, T)."""
        rows, n_windows, kept = targets.shape
        width = windows.shape[2]
        scores = np.empty((rows, n_windows, kept), np.float32)
        at_once = max(1, HIDDEN_TOKENS_AT_ONCE // width)
        with self.inference():
            for begin in range(0, rows * n_windows, at_once):
                # Fancy indexing copies these windows only, not every overlap of a long document.
                chunk = np.divmod(np.arange(begin, min(begin + at_once, rows * n_windows)), n_windows)
                hidden = self.network.hidden(self._tensor(windows[chunk]))[:, -kept:]
                scores[chunk] = self._log_probs(hidden, targets[chunk])
        return scores

    def _log_probs(self, hidden: Tensor, targets: np.ndarray) -> np.ndarray:
        """log p of `targets` (B, T) under `hidden` (B, T, ...), a bounded number of logits at a time."""
        wanted = self._tensor(targets).flatten()
        slice_size = max(1, LOGITS_AT_ONCE // self.vocab_size)
        parts = [
            _log_prob(self.network.logits(h), t)
            for h, t in zip(hidden.flatten(0, 1).split(slice_size), wanted.split(slice_size), strict=True)
        ]
        return torch.cat(parts).view(targets.shape).numpy(force=True)


class SlidingNetwork(Network):
    """A network whose answer at each position is a function of the last `context` inputs and of nothing else.

    It takes C - 1 inputs more than it gives answers: (B, C - 1 + T) -> (B, T).
    """

    @property
    @abstractmethod
    def context(self) -> int:
        """C, how many inputs an answer rests on."""

    @property
    def history(self) -> int:
        return self.context - 1


S = TypeVar("S", bound=SlidingNetwork)


class SlidingModel(NeuralModel[S]):
    """A rung that reads a block of exactly the last C inputs, filled with marks before a document's beginning.

    Score and advance see the same blocks, however long the document. A state is the last C - 1 inputs.
    """

    context: int
    reads_blocks = True

    @property
    def max_window(self) -> None:
        return None

    @property
    def window(self) -> int:
        """Every position is an example of its own, so rows may be longer than the context."""
        return 64

    def start(self, batch: int = 1) -> State:
        return np.full((batch, self.network.history), self.end, np.int64)

    def advance(self, state: State, tokens: np.ndarray) -> tuple[np.ndarray, State]:
        new = self.check_tokens(tokens).reshape(len(state), -1)
        # Only the last block counts, however many tokens are taken in.
        inputs = np.concatenate([state, new], axis=1)[:, -self.context :].copy()  # (B, C)
        with self.inference():
            logits = self.network(self._tensor(inputs))[:, 0]
            return next_log_probs(logits), inputs[:, 1:]

    def advance_all(self, state: State, tokens: np.ndarray) -> tuple[np.ndarray, list[State]]:
        """One forward, all blocks side by side."""
        inputs = np.concatenate([state, self.check_tokens(tokens)], axis=1)  # (B, C - 1 + T)
        width = state.shape[1]
        with self.inference():
            log_probs = next_log_probs(self.network(self._tensor(inputs)))
        return log_probs, [inputs[:, t : t + width] for t in range(1, inputs.shape[1] - width + 1)]

    def select(self, state: State, rows: np.ndarray) -> State:
        return state[rows]

    def score(self, tokens: np.ndarray) -> np.ndarray:
        """The log-probabilities, in nats, of a document (T,) or B documents (B, T), in pieces of bounded size."""
        tokens = self.check_tokens(tokens)
        documents = tokens if tokens.ndim == 2 else tokens[None]  # (B, T)
        if documents.size == 0:
            return np.empty(tokens.shape, np.float32)
        length, history = documents.shape[1], self.network.history
        piece = min(length, HIDDEN_TOKENS_AT_ONCE)
        n_pieces = -(-length // piece)
        beyond = n_pieces * piece - length
        inputs = np.pad(documents[:, :-1], ((0, 0), (history + 1, beyond)), constant_values=self.end)
        windows = np.lib.stride_tricks.sliding_window_view(inputs, history + piece, axis=1)[:, ::piece]
        targets = np.pad(documents, ((0, 0), (0, beyond))).reshape(len(documents), n_pieces, piece)
        scores = self._score_windows(windows, targets).reshape(len(documents), -1)
        return scores[:, :length].reshape(tokens.shape)


class RecurrentNetwork(Network):
    """A network that remembers: what it has made of all inputs so far is a state, a tensor of a fixed size.

    In training each row of a batch goes on where that row stopped in the batch before (`ContiguousBatches` of
    `rung.text.windows`), so the state is carried along, cut off from its gradient: backpropagation through time,
    truncated at the row's beginning.
    """

    @abstractmethod
    def initial_state(self, batch: int) -> Tensor:
        """The state (S, L, B, H) of `batch` rows that have seen nothing."""

    @abstractmethod
    def run(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Read `tokens` (B, T) on from `state`: what `logits` takes, (B, T, C), and the state after."""

    def hidden(self, tokens: Tensor) -> Tensor:
        return self.run(tokens, self.initial_state(len(tokens)))[0]

    def start_carrying(self, batch: int) -> None:
        self.carried = self.initial_state(batch)

    def loss(self, tokens: Tensor, targets: Tensor, fresh: Tensor | None = None) -> Tensor:
        """As of any network, but after `start_carrying` each row goes on from `carried`, which it brings up to date.

        Rows that are `fresh` (B,) begin anew.
        """
        if self.carried is not None and fresh is not None:
            self.carried[:, :, fresh] = 0
        hidden, state = self.run(
            tokens, self.initial_state(len(tokens)) if self.carried is None else self.carried
        )
        if self.carried is not None:
            self.carried = upcast(state.detach())
        real = targets >= 0
        if not real.all():  # picking rows costs more than it saves where nothing is left out
            hidden, targets = hidden[real], targets[real]
        logits = self.logits(hidden).flatten(0, -2)
        return F.cross_entropy(upcast(logits), targets.flatten(), reduction="sum")


def _log_prob(logits: Tensor, targets: Tensor) -> Tensor:
    """log p of `targets` (M,) under `logits` (M, V), in float32."""
    logits = logits.float()
    return logits.gather(-1, targets[:, None])[:, 0] - logits.logsumexp(-1)
