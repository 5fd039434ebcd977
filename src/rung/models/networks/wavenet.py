"""The hierarchy of WaveNet on text: fuse neighbours, then fuse what came of them, until the context is one vector.

    8 tokens -> 4 pairs -> 2 pairs of pairs -> 1
    level k:  x(t) = tanh(norm(W_k [x(t - 2^k), x(t)]))     k = 0, 1, ..., log2(context) - 1
    logits = U x + d

A perceptron squashes its whole block in one layer; here information is fused slowly. Written once for each position
and not once for each block, a level is a causal convolution of width 2 with dilation 2^k, and two neighbouring
blocks share almost all their work. The numbers are those of fusing the pairs of every block by itself.
Sources: van den Oord et al. 2016, "WaveNet" (arXiv:1609.03499), section 2.1, without gates, residuals and skips;
Karpathy's makemore, part 5, for the sizes (context 8, rows of 24, 128 hidden) and tanh with BatchNorm.

While training with BatchNorm, each pair of a batch counts once in the statistics of its level, however many blocks
it lies in. Before a document's beginning the context is filled with the mark.

Shapes: B rows of a batch, T positions, E = n_embd, H = n_hidden, V vocabulary, H or E = C.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rung.errors import UserError
from rung.models.config_checks import check_bool, check_counts, check_fraction
from rung.models.networks.hidden_layer import HiddenLayer
from rung.models.networks.mlp import HiddenLayerNetwork
from rung.models.networks.network import SlidingModel
from rung.models.networks.torch_model import upcast


@dataclass(frozen=True)
class WaveNetConfig:
    """The shape; the defaults are makemore's."""

    context: int = 8
    """How many tokens a prediction sees, always the last ones: a power of 2."""
    n_embd: int = 24
    """How many numbers stand for a token."""
    n_hidden: int = 128
    """Width of every level."""
    batch_norm: bool = True
    """Whether each level's input is normalised over the batch."""
    dropout: float = 0.0
    """The share of each level's activations dropped in training."""

    def __post_init__(self) -> None:
        check_counts(self, "context", "n_embd", "n_hidden")
        check_bool(self, "batch_norm")
        check_fraction(self, "dropout")
        if self.context < 2 or self.context & (self.context - 1):
            below = 1 << max(1, self.context.bit_length() - 1)
            near = f"{below}" if self.context < 2 else f"{below} or {2 * below}"
            raise UserError(
                f"--context {self.context} is not allowed: pairs are fused until one is left, so it is to be a"
                f" power of 2; try --context {near}"
            )


class WaveNet(SlidingModel["DilatedConvNetwork"]):
    """Pairs, fused level by level. A state is the context without its newest token."""

    rung = "wavenet"
    config_class = WaveNetConfig
    training_defaults: ClassVar = {"lr": 1e-2, "weight_decay": 0.01, "batch_size": 32}

    @classmethod
    def build(cls, config: WaveNetConfig, vocab_size: int) -> DilatedConvNetwork:
        levels = [
            HiddenLayer(
                2 * (config.n_hidden if level else config.n_embd),
                config.n_hidden,
                config.batch_norm,
                dropout=config.dropout,
            )
            for level in range(config.context.bit_length() - 1)
        ]
        return DilatedConvNetwork(vocab_size, config.n_embd, levels, config.n_hidden)

    def flops_per_token(self) -> float:
        """6 for each weight of a matrix: every level is computed once a position."""
        matrices = sum(weight.numel() for weight in self.network.parameters() if weight.dim() == 2)
        return 6.0 * (matrices - self.network.embedding.numel())


class DilatedConvNetwork(HiddenLayerNetwork):
    """Embedding table, levels with twice the receptive field each, head."""

    def __init__(self, vocab_size: int, n_embd: int, levels: list[HiddenLayer], n_hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(vocab_size, n_embd))
        self.levels = nn.ModuleList(levels)
        self.head = nn.Linear(n_hidden, vocab_size)

    @property
    def context(self) -> int:
        return 1 << len(self.levels)

    def hidden(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, context - 1 + T) -> (B, T, H). `mask` (B, context - 1 + T): which inputs count; None = all."""
        x = F.embedding(tokens, self.embedding)  # (B, context - 1 + T, E)
        for k, level in enumerate(self.levels):
            dilation = 1 << k
            pairs = torch.cat([x[:, :-dilation], x[:, dilation:]], dim=-1)  # shorter by the dilation; 2C wide
            if mask is None:
                x = level(pairs.flatten(0, 1)).unflatten(0, pairs.shape[:2])
            else:
                mask = mask[:, dilation:]
                fused = level(pairs[mask])
                x = fused.new_zeros(*pairs.shape[:2], fused.shape[-1]).masked_scatter(mask[..., None], fused)
        return x

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """What stands behind a short row's end is not fused: it may not enter BatchNorm's statistics."""
        is_target = targets >= 0
        if is_target.all():
            hidden = self.hidden(tokens)
        else:
            hidden = self.hidden(tokens, F.pad(is_target, (self.history, 0), value=True))
        return F.cross_entropy(upcast(self.logits(hidden[is_target])), targets[is_target], reduction="sum")
