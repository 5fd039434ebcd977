"""The multilayer perceptron of Bengio et al.: look the last few tokens up, lay them side by side, think, guess.

    x = [C[w(t-c+1)], ..., C[w(t)]]           each token's row of the embedding table, side by side
    n_layer times:  x = tanh(norm(W x + b))   norm is BatchNorm with --batch-norm, else nothing
    logits = U x + d

Bengio, Ducharme, Vincent, Jauvin 2003, "A Neural Probabilistic Language Model" (JMLR 3), eq. 1 without the direct
connections; in the sizes of Karpathy's makemore, parts 2 and 3: context 3, rows of 10, one layer of 200. Before a
document's beginning the block is filled with the mark. BatchNorm is Ioffe and Szegedy 2015 (arXiv:1502.03167).

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

from rung.models.config_checks import check_bool, check_counts
from rung.models.networks.network import SlidingModel, SlidingNetwork
from rung.models.networks.torch_model import upcast

TANH_GAIN = 5 / 3
"""What a tanh layer's weights are enlarged by, so that layers stacked on it keep their spread (He et al. 2015)."""

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

    def __post_init__(self) -> None:
        check_counts(self, "context", "n_embd", "n_hidden", "n_layer")
        check_bool(self, "batch_norm")


class MLP(SlidingModel["Perceptron"]):
    """A perceptron over the block of the last tokens. A state is the block without its newest token."""

    rung = "mlp"
    config_class = MLPConfig
    training_defaults: ClassVar = {"lr": 1e-2, "weight_decay": 0.01, "batch_size": 32}

    @classmethod
    def build(cls, config: MLPConfig, vocab_size: int) -> Perceptron:
        widths = [config.context * config.n_embd] + [config.n_hidden] * config.n_layer
        layers = [TanhLayer(before, after, config.batch_norm) for before, after in pairwise(widths)]
        return Perceptron(config.context, vocab_size, config.n_embd, layers, config.n_hidden)

    def flops_per_token(self) -> float:
        """6 for each weight of a matrix that multiplies: twice forward, four times backward."""
        matrices = sum(weight.numel() for weight in self.network.parameters() if weight.dim() == 2)
        return 6.0 * (matrices - self.network.embedding.numel())


class TanhNetwork(SlidingNetwork):
    """What ends in a linear head over `TanhLayer`s over an embedding table."""

    embedding: nn.Parameter
    head: nn.Linear

    def logits(self, hidden: Tensor) -> Tensor:
        return self.head(hidden)

    def init_weights(self, generator: torch.Generator) -> None:
        """Table: N(0, 1). Layers: Kaiming's for tanh. Head: small, so that the first loss is near ln V."""
        self.embedding.normal_(generator=generator)
        for module in self.modules():
            if isinstance(module, TanhLayer):
                module.init_weights(generator)
        self.head.weight.normal_(0, HEAD_SCALE / math.sqrt(self.head.in_features), generator=generator)
        self.head.bias.zero_()


class Perceptron(TanhNetwork):
    """Embedding table, hidden layers, head."""

    def __init__(
        self, context: int, vocab_size: int, n_embd: int, layers: list[TanhLayer], n_hidden: int
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


class TanhLayer(nn.Module):
    """(M, I) -> (M, O): a matrix, perhaps BatchNorm, tanh. BatchNorm has a shift of its own and needs no bias."""

    def __init__(self, n_in: int, n_out: int, batch_norm: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_out, bias=not batch_norm)
        self.norm = BatchNorm(n_out) if batch_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.norm(self.linear(x)))

    def init_weights(self, generator: torch.Generator) -> None:
        """N(0, gain^2 / I), by Kaiming: a spread of 1 coming in is kept, through the tanh, layer after layer."""
        self.linear.weight.normal_(0, TANH_GAIN / math.sqrt(self.linear.in_features), generator=generator)
        if self.linear.bias is not None:
            self.linear.bias.zero_()
        if isinstance(self.norm, BatchNorm):
            self.norm.init_weights()


class BatchNorm(nn.Module):
    """(M, O) -> (M, O): each column brought to mean 0 and variance 1 over the M positions, then scaled and shifted.

    y = gamma * (x - mean) / sqrt(variance + 1e-5) + beta

    While training, mean and variance are those of the batch, and running averages of both are kept; afterwards the
    averages are used, so that a prediction does not depend on what else is in its batch.
    """

    MOMENTUM = 0.1
    """Weight of the newest batch in the running averages."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(width))
        self.beta = nn.Parameter(torch.empty(width))
        self.register_buffer("running_mean", torch.empty(width))
        self.register_buffer("running_var", torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        # One position alone has no variance: it is normed by the averages of those before it.
        use_batch_statistics = self.training and len(x) > 1
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.gamma, self.beta, use_batch_statistics, self.MOMENTUM
        )

    def init_weights(self) -> None:
        self.gamma.fill_(1)
        self.beta.zero_()
        self.running_mean.zero_()
        self.running_var.fill_(1)
