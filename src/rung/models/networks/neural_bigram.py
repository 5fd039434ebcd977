"""The bigram learned by gradient descent: a one-layer network that ends where counting ends.

The previous token as a one-hot row x (V,), one matrix W (V, V), a softmax: p(next | previous) = softmax(xW).
A one-hot row picks one row of W, so W is a table of logits and nothing is multiplied. Where the loss is
lowest, softmax(W[previous]) is the share of each next token in the counts: W is the table of log-counts, up
to a constant a row. Weight decay pulls a row towards the uniform distribution, as adding k to each count
does.
Source: Karpathy's makemore, part 1, second half.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from rung.errors import UserError
from rung.models.networks.network import SlidingModel, SlidingNetwork

MAX_WEIGHTS = 200_000_000


@dataclass(frozen=True)
class NeuralBigramConfig:
    """There is nothing to choose."""


class NeuralBigram(SlidingModel["BigramTable"]):
    """A table of logits. Only the last token counts, so a state is no more than its batch: an array (B, 0)."""

    rung = "neural-bigram"
    reads_blocks = True
    config_class = NeuralBigramConfig
    # A table of zeros has a long way to go to log-counts, and no depth that a large step could upset. The loss is
    # convex: 3,000 steps bring it to its floor, and a longer budget would buy nothing.
    training_defaults: ClassVar = {
        "lr": 0.1,
        "weight_decay": 0.0,
        "batch_size": 64,
        "steps": 3000,
    }

    @classmethod
    def build(cls, config: NeuralBigramConfig, vocab_size: int) -> BigramTable:
        """Raises UserError when the table would be larger than `MAX_WEIGHTS`."""
        if vocab_size**2 > MAX_WEIGHTS:
            raise UserError(
                f"neural-bigram needs {vocab_size:,} x {vocab_size:,} weights, more than {MAX_WEIGHTS:,};"
                f" use --vocab-size {int(MAX_WEIGHTS**0.5)} or less, or the counted rung, bigram"
            )
        return BigramTable(vocab_size)

    def flops_per_token(self) -> float:
        """6V: 6 operations a weight touched (Kaplan et al. 2020, arXiv:2001.08361, section 2.1)."""
        return 6.0 * self.vocab_size


class BigramTable(SlidingNetwork):
    """W (V, V): row = the token before, column = the token after."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, vocab_size))

    @property
    def context(self) -> int:
        return 1

    @property
    def with_states(self) -> None:
        """None: it goes from tokens to logits at once."""

    def hidden(self, tokens: Tensor) -> Tensor:
        return tokens

    def logits(self, hidden: Tensor) -> Tensor:
        return nn.functional.embedding(hidden, self.weight)  # (..., V)

    def init_weights(self, generator: torch.Generator) -> None:
        """Zeros. The loss is convex in W, so there is no symmetry for chance to break: the first loss is ln V
        exactly, and pairs never seen stay equally likely."""
        self.weight.zero_()
