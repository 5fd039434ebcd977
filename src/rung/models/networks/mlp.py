"""The multilayer perceptron of Bengio et al.: look the last few tokens up, lay them side by side, think, guess.

    x = [C[w(t-c+1)], ..., C[w(t)]]           each token's row of the embedding table, side by side
    n_layer times:  x = f(norm(W x + b))      f is tanh unless told; norm is BatchNorm with --batch-norm, else nothing
    logits = U x + d

Bengio, Ducharme, Vincent, Jauvin 2003, "A Neural Probabilistic Language Model" (JMLR 3), eq. 1 without the direct
connections; in the sizes of Karpathy's makemore, parts 2 and 3: context 3, rows of 10, one layer of 200. Before a
document's beginning the block is filled with the mark. The layers are those of `hidden_layer`.

Shapes: B rows of a batch, T positions, M positions of all rows, c = context, E = n_embd, H = n_hidden, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rung.models.config_checks import check_bool, check_counts, check_fraction
from rung.models.networks.hidden_layer import HiddenLayer, check_layer_names
from rung.models.networks.network import SlidingModel, SlidingNetwork
from rung.models.networks.torch_model import upcast

HEAD_SCALE = 0.1
"""What the head's first weights are scaled by: nearly equal logits, and so a first loss near ln V."""


@dataclass(frozen=True)
class MLPConfig:
    """The shape; the defaults are makemore's."""

    context: int = 3
    """How many tokens a prediction sees, always the last ones."""
    n_embd: int = 10
    """How many numbers stand for a token."""
    n_hidden: int = 200
    """Width of a hidden layer."""
    n_layer: int = 1
    """Hidden layers."""
    batch_norm: bool = False
    """Whether each hidden layer's input is normalised over the batch."""
    activation: str = "tanh"
    """tanh, sigmoid, relu, leaky-relu, elu, selu or gelu."""
    init: str = "kaiming"
    """The hidden layers' first weights: kaiming, xavier, lecun, normal, orthogonal or zeros."""
    dropout: float = 0.0
    """The share of the hidden layers' activations dropped in training."""

    def __post_init__(self) -> None:
        check_counts(self, "context", "n_embd", "n_hidden", "n_layer")
        check_bool(self, "batch_norm")
        check_fraction(self, "dropout")
        check_layer_names(self.activation, self.init)


class MLP(SlidingModel["Perceptron"]):
    """A perceptron over the block of the last tokens. A state is the block without its newest token."""

    rung = "mlp"
    config_class = MLPConfig
    training_defaults: ClassVar = {"lr": 1e-2, "weight_decay": 0.01, "batch_size": 32}

    @classmethod
    def build(cls, config: MLPConfig, vocab_size: int) -> Perceptron:
        widths = [config.context * config.n_embd] + [config.n_hidden] * config.n_layer
        kinds = config.batch_norm, config.activation, config.init, config.dropout
        layers = [HiddenLayer(before, after, *kinds) for before, after in pairwise(widths)]
        return Perceptron(config.context, vocab_size, config.n_embd, layers, config.n_hidden)

    def flops_per_token(self) -> float:
        """6 for each weight of a matrix that multiplies: twice forward, four times backward."""
        matrices = sum(weight.numel() for weight in self.network.parameters() if weight.dim() == 2)
        return 6.0 * (matrices - self.network.embedding.numel())


class HiddenLayerNetwork(SlidingNetwork):
    """What ends in a linear head over `HiddenLayer`s over an embedding table."""

    embedding: nn.Parameter
    head: nn.Linear

    @property
    def token_embedding(self) -> nn.Parameter:
        return self.embedding

    def logits(self, hidden: Tensor) -> Tensor:
        return self.head(hidden)

    def init_weights(self, generator: torch.Generator) -> None:
        """Table: N(0, 1). Layers: by their scheme. Head: small, so that the first loss is near ln V."""
        self.embedding.normal_(generator=generator)
        for module in self.modules():
            if isinstance(module, HiddenLayer):
                module.init_weights(generator)
        self.head.weight.normal_(0, HEAD_SCALE / math.sqrt(self.head.in_features), generator=generator)
        self.head.bias.zero_()


class Perceptron(HiddenLayerNetwork):
    """Embedding table, hidden layers, head."""

    def __init__(
        self, context: int, vocab_size: int, n_embd: int, layers: list[HiddenLayer], n_hidden: int
    ) -> None:
        super().__init__()
        self._context = context
        self.embedding = nn.Parameter(torch.empty(vocab_size, n_embd))
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(n_hidden, vocab_size)

    @property
    def context(self) -> int:
        return self._context

    def hidden(self, tokens: Tensor) -> Tensor:
        blocks = tokens.unfold(1, self._context, 1)  # (B, c - 1 + T) -> (B, T, c)
        return self.encode(blocks.flatten(0, 1)).unflatten(0, blocks.shape[:2])

    def encode(self, blocks: Tensor) -> Tensor:
        """(M, c) -> (M, H): what each block of tokens comes to."""
        x = F.embedding(blocks, self.embedding).flatten(1)  # (M, c * E)
        for layer in self.layers:
            x = layer(x)
        return x

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Reads the blocks that a target follows and no others: they alone may enter BatchNorm's statistics."""
        is_target = targets >= 0
        logits = self.logits(self.encode(tokens.unfold(1, self._context, 1)[is_target]))
        return F.cross_entropy(upcast(logits), targets[is_target], reduction="sum")
