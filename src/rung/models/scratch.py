"""The glass-box engine on the ladder: language models in NumPy alone, trained by their own tape.

    scratch-bigram   neural-bigram's table of logits       scratch-rnn   rnn's Elman network, one layer
    scratch-mlp      mlp, without BatchNorm                scratch-gpt   gpt in GPT-2's shape

The networks are in `rung.scratch.language`; here they get the contract. Tensors have the names and shapes of the
torch rung's: what `tensors()` gives in one is what
`from_tensors` takes in the other. Everything runs on the CPU, whatever `--device` says.

Window policies. scratch-bigram and scratch-mlp read a block of exactly the last C inputs, marks filling it before a
document's beginning. scratch-rnn has no window. scratch-gpt has that of `gpt` (`rung.models.networks.network`): with
stride S = C - C // 2, window k sees the inputs k S to k S + C - 1 and answers for those that no earlier one holds.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np

from rung.errors import UserError
from rung.models.base import GradientLanguageModel, State, check_size, check_tensors
from rung.models.config_checks import check_counts
from rung.scratch.language import MLP, RNN, Bigram, Transformer
from rung.scratch.losses import CrossEntropy, LogSoftmax
from rung.scratch.tape import Module, Value

TOKENS_AT_ONCE = 1 << 12
"""Inputs read in one forward while scoring."""

MAX_TABLE = 200_000_000

N = TypeVar("N", bound=Module)


class ScratchModel(GradientLanguageModel, Generic[N]):
    """A rung made of the scratch engine's modules.

    Attributes:
        network: the modules.
        carried: in training, what each row of a batch has reached and the next batch goes on from; None = nothing.
    """

    trained_by = "scratch"
    carried: np.ndarray | None = None

    def __init__(self, config: Any, vocab_size: int, end: int, network: N) -> None:
        super().__init__(config, vocab_size, end)
        self.network = network
        self.context = self.context_of(config)

    @classmethod
    @abstractmethod
    def context_of(cls, config: Any) -> int | None:
        """The longest history, in tokens, that can matter; None = unbounded."""

    @classmethod
    @abstractmethod
    def build(cls, config: Any, vocab_size: int, rng: np.random.Generator, dtype: Any) -> N:
        """The network with its first weights."""

    @abstractmethod
    def loss(self, inputs: np.ndarray, targets: np.ndarray) -> Value:
        """The mean -log p, in nats, of `targets` (B, T), which follow the last T of `inputs` (B, H + T); -1 is none.

        Recurrent ones are told third which rows (B,) begin anew.
        """

    @classmethod
    def initialise(cls, config: Any, vocab_size: int, end: int, seed: int, dtype: Any = np.float32) -> Self:
        """A new model; the same seed gives the same weights."""
        return cls(config, vocab_size, end, cls.build(config, vocab_size, np.random.default_rng(seed), dtype))

    @classmethod
    def from_tensors(cls, config: Any, vocab_size: int, end: int, tensors: dict[str, np.ndarray]) -> Self:
        """The model whose `tensors()` these are. Raises UserError when names or shapes don't fit `config`."""
        check_size(config, tensors, vocab_size, getattr(config, "context", None))
        dtype = next((tensor.dtype for tensor in tensors.values()), np.dtype(np.float32))
        if dtype.kind != "f":
            raise UserError(f"the weights don't fit the model: they hold {dtype}")
        model = cls.initialise(config, vocab_size, end, 0, dtype)
        model.load_tensors(tensors)
        return model

    def load_tensors(self, tensors: dict[str, np.ndarray]) -> None:
        """Take over the weights of `tensors()`, in place."""
        weights = self.weights()
        check_tensors({name: weight.data.shape for name, weight in weights.items()}, tensors)
        for name, weight in weights.items():
            weight.data[...] = tensors[name]

    def tensors(self) -> dict[str, np.ndarray]:
        """Copies of the weights."""
        return {name: weight.data.copy() for name, weight in self.weights().items()}

    def weights(self) -> dict[str, Value]:
        """The weights by the names that the torch rung has for them."""
        # torch numbers the layers of its recurrent core within a name.
        weights = self.network.parameters().items()
        return {name + "_l0" if name.startswith("core.") else name: weight for name, weight in weights}

    @property
    def n_parameters(self) -> int:
        return sum(weight.data.size for weight in self.weights().values())

    def score(self, tokens: np.ndarray) -> np.ndarray:
        tokens = self.check_tokens(tokens)
        documents = tokens if tokens.ndim == 2 else tokens[None]  # (B, T)
        scores = np.empty(documents.shape, np.float32)
        if documents.size:
            inputs = np.insert(documents[:, :-1], 0, self.end, axis=1)  # input t is followed by token t
            self._score(inputs, documents, scores)
        return scores.reshape(tokens.shape)

    @abstractmethod
    def _score(self, inputs: np.ndarray, targets: np.ndarray, scores: np.ndarray) -> None:
        """Fill `scores` (B, T) with log p of `targets` (B, T), each after its input and those before."""


class SlidingScratch(ScratchModel[N]):
    """Reads a block of the last C inputs. A state is the last C - 1."""

    context: int

    @property
    def history(self) -> int:
        return self.context - 1

    def read(self, blocks: np.ndarray) -> Value:
        """(M, C) -> logits (M, V)."""
        return self.network(blocks)

    def loss(self, inputs: np.ndarray, targets: np.ndarray) -> Value:
        real = targets >= 0
        blocks = np.lib.stride_tricks.sliding_window_view(inputs, self.context, axis=1)[real]
        return CROSS_ENTROPY(self.read(blocks), targets[real])

    def start(self, batch: int = 1) -> State:
        return np.full((batch, self.history), self.end, np.int64)

    def advance(self, state: State, tokens: np.ndarray) -> tuple[np.ndarray, State]:
        new = self.check_tokens(tokens).reshape(len(state), -1)
        block = np.concatenate([state, new], axis=1)[:, -self.context :]
        return _log_probs(self.read(block)), block[:, 1:]

    def select(self, state: State, rows: np.ndarray) -> State:
        return state[rows]

    def _score(self, inputs: np.ndarray, targets: np.ndarray, scores: np.ndarray) -> None:
        inputs = np.pad(inputs, ((0, 0), (self.history, 0)), constant_values=self.end)
        blocks = np.lib.stride_tricks.sliding_window_view(inputs, self.context, axis=1)  # (B, T, C)
        for begin in range(0, targets.size, TOKENS_AT_ONCE):
            places = np.divmod(np.arange(begin, min(begin + TOKENS_AT_ONCE, targets.size)), targets.shape[1])
            scores[places] = _picked(self.read(blocks[places]), targets[places])


@dataclass(frozen=True)
class ScratchBigramConfig:
    """There is nothing to choose."""


class ScratchBigram(SlidingScratch[Bigram]):
    """The table of logits, neural-bigram's."""

    rung = "scratch-bigram"
    reads_blocks = True
    config_class = ScratchBigramConfig
    training_defaults: ClassVar = {"lr": 0.1, "weight_decay": 0.0, "batch_size": 64, "steps": 3000}

    @classmethod
    def context_of(cls, config: Any) -> int:
        return 1

    @classmethod
    def build(cls, config: Any, vocab_size: int, rng: np.random.Generator, dtype: Any) -> Bigram:
        if vocab_size**2 > MAX_TABLE:
            raise UserError(
                f"scratch-bigram needs {vocab_size:,} x {vocab_size:,} weights, more than {MAX_TABLE:,};"
                f" use --vocab-size {int(MAX_TABLE**0.5)} or less, or the counted rung, bigram"
            )
        return Bigram(vocab_size, rng, dtype)


@dataclass(frozen=True)
class ScratchMLPConfig:
    """The shape; the defaults are makemore's."""

    context: int = 3
    """How many tokens a prediction sees, always the last ones."""
    n_embd: int = 10
    """How many numbers stand for a token."""
    n_hidden: int = 200
    """Width of a hidden layer."""
    n_layer: int = 1
    """Hidden layers."""

    def __post_init__(self) -> None:
        check_counts(self, *asdict(self))


class ScratchMLP(SlidingScratch[MLP]):
    """Bengio's perceptron, mlp's."""

    rung = "scratch-mlp"
    reads_blocks = True
    config_class = ScratchMLPConfig
    training_defaults: ClassVar = {"lr": 1e-2, "weight_decay": 0.01, "batch_size": 32}

    @classmethod
    def context_of(cls, config: ScratchMLPConfig) -> int:
        return config.context

    @classmethod
    def build(cls, config: ScratchMLPConfig, vocab_size: int, rng: np.random.Generator, dtype: Any) -> MLP:
        shape = config.context, config.n_embd, config.n_hidden, config.n_layer
        return MLP(vocab_size, *shape, rng, dtype)


@dataclass(frozen=True)
class ScratchRNNConfig:
    """The shape."""

    n_embd: int = 64
    """How many numbers stand for a token."""
    n_hidden: int = 128
    """Width of the state."""

    def __post_init__(self) -> None:
        check_counts(self, *asdict(self))


class ScratchRNN(ScratchModel[RNN]):
    """Elman's network, rnn's with one layer. A state is the array (B, H) that the cell carries."""

    rung = "scratch-rnn"
    config_class = ScratchRNNConfig
    recurrent = True
    training_defaults: ClassVar = {"lr": 5e-3, "weight_decay": 0.01, "batch_size": 32}

    @classmethod
    def context_of(cls, config: ScratchRNNConfig) -> None:
        return None

    @classmethod
    def build(cls, config: ScratchRNNConfig, vocab_size: int, rng: np.random.Generator, dtype: Any) -> RNN:
        return RNN(vocab_size, config.n_embd, config.n_hidden, rng, dtype)

    def loss(self, inputs: np.ndarray, targets: np.ndarray, fresh: np.ndarray | None = None) -> Value:
        state = self.start(len(inputs)) if self.carried is None else self.carried
        if fresh is not None:
            state = np.where(fresh[:, None], 0, state)
        logits, self.carried = self.network(inputs, state)
        return CROSS_ENTROPY(logits, targets)

    def start(self, batch: int = 1) -> State:
        return np.zeros((batch, len(self.network.core.weight_ih.data)), self.network.embedding.data.dtype)

    def advance(self, state: State, tokens: np.ndarray) -> tuple[np.ndarray, State]:
        inputs = self.check_tokens(tokens).reshape(len(state), -1)
        logits, state = self.network(inputs, state)
        return _log_probs(logits)[:, -1], state

    def select(self, state: State, rows: np.ndarray) -> State:
        return state[rows]

    def _score(self, inputs: np.ndarray, targets: np.ndarray, scores: np.ndarray) -> None:
        for first in range(0, len(inputs), TOKENS_AT_ONCE):
            rows = slice(first, first + TOKENS_AT_ONCE)
            state = self.start(len(inputs[rows]))
            width = TOKENS_AT_ONCE // len(state)
            for begin in range(0, inputs.shape[1], width):
                columns = slice(begin, begin + width)
                logits, state = self.network(inputs[rows, columns], state)
                scores[rows, columns] = _picked(logits, targets[rows, columns])


@dataclass(frozen=True)
class ScratchGPTConfig:
    """The shape. `ScratchGPT.resolve_config` fits an open context to the data."""

    context: int | None = None
    """The most inputs seen at once; by default 64, or the longest document if that is shorter."""
    n_layer: int = 4
    """Blocks."""
    n_head: int = 4
    """Attention heads a block, a divisor of n_embd."""
    n_embd: int = 128
    """Width."""

    def __post_init__(self) -> None:
        check_counts(self, "context", optional=True)
        check_counts(self, "n_layer", "n_head", "n_embd")
        if self.n_embd % self.n_head:
            raise UserError(
                f"--n-head {self.n_head} does not divide --n-embd {self.n_embd}: heads share the width equally"
            )


class ScratchGPT(ScratchModel[Transformer]):
    """The transformer, gpt's. A state is the inputs (B, n) of the window; every advance reads them all anew."""

    rung = "scratch-gpt"
    config_class = ScratchGPTConfig
    training_defaults: ClassVar = {"lr": 2e-3, "weight_decay": 0.1, "batch_size": 12}
    context: int

    @classmethod
    def context_of(cls, config: ScratchGPTConfig) -> int:
        assert config.context is not None
        return config.context

    @classmethod
    def build(
        cls, config: ScratchGPTConfig, vocab_size: int, rng: np.random.Generator, dtype: Any
    ) -> Transformer:
        assert config.context is not None
        shape = config.context, config.n_layer, config.n_head, config.n_embd
        return Transformer(vocab_size, *shape, rng, dtype)

    @classmethod
    def resolve_config(
        cls, config: ScratchGPTConfig, *, vocab_size: int, train_tokens: int, longest_document: int
    ) -> ScratchGPTConfig:
        """Raises UserError when the context is longer than the whole training text."""
        if config.context is None:
            return replace(config, context=max(1, min(64, longest_document)))
        if config.context > train_tokens:
            raise UserError(
                f"--context {config.context} is longer than the training text, {train_tokens} tokens;"
                f" use --context {max(1, min(64, train_tokens))} or less, or give more text"
            )
        return config

    @property
    def max_window(self) -> int:
        return self.context

    @property
    def window(self) -> int:
        return self.context

    @property
    def stride(self) -> int:
        """How far a window lies from the one before."""
        return self.context - self.context // 2

    def loss(self, inputs: np.ndarray, targets: np.ndarray) -> Value:
        return CROSS_ENTROPY(self.network(inputs), targets)

    def start(self, batch: int = 1) -> State:
        return np.empty((batch, 0), np.int64)

    def advance(self, state: State, tokens: np.ndarray) -> tuple[np.ndarray, State]:
        inputs = np.concatenate([state, self.check_tokens(tokens).reshape(len(state), -1)], axis=1)
        over = max(0, inputs.shape[1] - self.context)
        inputs = inputs[:, -(-over // self.stride) * self.stride :]
        return _log_probs(self.network(inputs))[:, -1], inputs

    def select(self, state: State, rows: np.ndarray) -> State:
        return state[rows]

    def _score(self, inputs: np.ndarray, targets: np.ndarray, scores: np.ndarray) -> None:
        length, context, stride = inputs.shape[1], self.context, self.stride
        first, rows = min(context, length), max(1, TOKENS_AT_ONCE // context)
        for begin in range(0, len(inputs), rows):
            part = slice(begin, begin + rows)
            scores[part, :first] = _picked(self.network(inputs[part, :first]), targets[part, :first])
        # Every later window answers for its last S inputs; what fills up a document's last one comes after them.
        later = -(-(length - first) // stride)
        filled = np.pad(inputs, ((0, 0), (0, first + later * stride - length)))
        wanted = np.pad(targets, ((0, 0), (0, first + later * stride - length)))
        places = [(row, first + k * stride) for row in range(len(inputs)) for k in range(later)]
        for begin in range(0, len(places), rows):
            chunk = places[begin : begin + rows]
            windows = np.stack([filled[row, at + stride - context : at + stride] for row, at in chunk])
            follow = np.stack([wanted[row, at + stride - context : at + stride] for row, at in chunk])
            found = _picked(self.network(windows), follow)[:, -stride:]
            for (row, at), answer in zip(chunk, found, strict=True):
                scores[row, at : at + stride] = answer[: length - at]


def _log_probs(logits: Value) -> np.ndarray:
    """Logits (..., V) as log-probabilities."""
    return LogSoftmax().forward(logits.data)[0]


def _picked(logits: Value, targets: np.ndarray) -> np.ndarray:
    """log p of `targets` (...) under `logits` (..., V)."""
    return np.take_along_axis(_log_probs(logits), targets[..., None], axis=-1)[..., 0]


CROSS_ENTROPY = CrossEntropy()
