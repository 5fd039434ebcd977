"""The torch network of a transformer that reads from left to right: embedding, blocks, head.

    x = embedding(tokens)
    n_layer times:  x = block(x)
    logits = norm(x) @ token embedding, transposed, unless the head has weights of its own

Shapes: B rows of a batch, T inputs, C = n_embd, V vocabulary, L = n_layer.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rung.models.networks.network import Network
from rung.models.transformer.blocks import Block, build_block, build_norm
from rung.models.transformer.config import Shape
from rung.models.transformer.embeddings import (
    LearnedPositionEmbedding,
    SinusoidalPositionEmbedding,
    TokenEmbedding,
)
from rung.models.transformer.hashed_ngrams import NgramEmbedding


class Transformer(Network):
    """Embedding, blocks, a norm, and a head: the token embedding again, unless it has weights of its own."""

    heads = ("free_head",)
    above = ("norm.",)
    tables = ("embedding.tokens", "free_head")

    def __init__(
        self,
        context: int,
        embedding: TokenEmbedding,
        blocks: list[Block],
        norm: nn.Module,
        head: nn.Parameter | None,
    ) -> None:
        super().__init__()
        self._context = context
        self.embedding = embedding
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.free_head = head

    @property
    def context(self) -> int:
        return self._context

    @property
    def token_embedding(self) -> nn.Parameter:
        return self.embedding.tokens

    @property
    def head(self) -> Tensor:
        """(V, C): what the logits are made with."""
        return self.embedding.tokens if self.free_head is None else self.free_head

    def hidden(self, tokens: Tensor) -> Tensor:
        """(B, T) -> (B, T, C)."""
        x = self.embedding(tokens)  # (B, T, C)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.head)  # (..., C) -> (..., V)

    def blocks_of(self) -> tuple[str, int]:
        return "blocks.", len(self.blocks)

    def set_epochs(self, epochs: float) -> None:
        if isinstance(self.embedding, NgramEmbedding):
            self.embedding.ngrams.dropout_active = epochs >= 1

    def init_weights(self, generator: torch.Generator) -> None:
        if isinstance(self.embedding, NgramEmbedding):
            _init_zero_residual(self, generator)
        else:
            _init_gpt2(self, generator)


T = TypeVar("T", bound=Transformer)


def build_network(shape: Shape, vocab_size: int, kind: type[T] = Transformer) -> T:
    blocks = [build_block(shape) for _ in range(shape.n_layer)]
    norm = build_norm(shape) if shape.norm_first else nn.Identity()
    head = None if shape.tied else nn.Parameter(torch.empty(vocab_size, shape.n_embd))
    return kind(shape.context, _build_embedding(shape, vocab_size), blocks, norm, head)


def _build_embedding(shape: Shape, vocab_size: int) -> TokenEmbedding:
    if shape.ngrams:
        assert shape.ngram_rows is not None
        return NgramEmbedding(
            vocab_size, shape.ngrams, shape.ngram_rows, shape.n_embd, shape.dropout, shape.ngram_dropout
        )
    if shape.positions == "learned":
        return LearnedPositionEmbedding(vocab_size, shape.context, shape.n_embd, shape.dropout)
    embedding = SinusoidalPositionEmbedding if shape.positions == "sinusoidal" else TokenEmbedding
    return embedding(vocab_size, shape.n_embd, shape.dropout)


def _init_gpt2(network: Transformer, generator: torch.Generator) -> None:
    """N(0, 0.02), and 1/sqrt(2L) of that where a block writes to the residual stream, so that its 2L contributions
    add up to no more than one. Norms begin as the identity. The first loss is near ln V."""
    residual = 0.02 / math.sqrt(2 * len(network.blocks))
    for name, weight in network.named_parameters():
        if weight.dim() == 2:
            weight.normal_(0, residual if name.endswith("project.weight") else 0.02, generator=generator)
        elif name.endswith("bias"):
            weight.zero_()
        else:
            weight.fill_(1)


def _init_zero_residual(network: Transformer, generator: torch.Generator) -> None:
    """First weights for a stream that is normed at its beginning and before every part.

    Tokens N(0, 0.02), n-grams 0; matrices N(0, 1 / 3 fan-in), and 0 where a block writes to the stream, so that it
    begins as the identity (Zhang et al. 2019, arXiv:1901.09321); norms 1. The first loss is near ln V.
    """
    for name, weight in network.named_parameters():
        if name.endswith(("project.weight", "ngrams.table", "bias")):
            weight.zero_()
        elif name.startswith("blocks.") and weight.dim() == 2:
            weight.normal_(0, 1 / math.sqrt(3 * weight.shape[1]), generator=generator)
        elif weight.dim() == 2:
            weight.normal_(0, 0.02, generator=generator)
        else:
            weight.fill_(1)
