"""What goes into the first block: what a token is, and perhaps where it stands, (B, T) -> (B, T, C).

    learned     a row of a table for each position, added: GPT-2's
    sinusoidal  waves of growing length, added; nothing to learn: Vaswani et al. 2017 (arXiv:1706.03762), section 3.5

Where attention tells positions (`positions`) or nothing does, tokens alone go in; `hashed_ngrams` has an embedding that
looks at the tokens before, too. `past` is how many inputs of the window stand before those given.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rung.models.transformer.positions import sinusoids


class TokenEmbedding(nn.Module):
    """What a token is, and nothing about where it stands."""

    def __init__(self, vocab_size: int, n_embd: int, dropout: float) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(vocab_size, n_embd))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, past: int = 0) -> Tensor:
        return self.dropout(F.embedding(tokens, self.tokens))  # (B, T, C)


class LearnedPositionEmbedding(TokenEmbedding):
    """What a token is, plus where it stands."""

    def __init__(self, vocab_size: int, context: int, n_embd: int, dropout: float) -> None:
        super().__init__(vocab_size, n_embd, dropout)
        self.positions = nn.Parameter(torch.empty(context, n_embd))

    def forward(self, tokens: Tensor, past: int = 0) -> Tensor:
        x = F.embedding(tokens, self.tokens)
        return self.dropout(x + self.positions[past : past + tokens.shape[1]])  # (B, T, C) + (T, C)


class SinusoidalPositionEmbedding(TokenEmbedding):
    """What a token is, times sqrt(C) as in section 3.4 (else the waves drown it), plus the waves of its position."""

    def forward(self, tokens: Tensor, past: int = 0) -> Tensor:
        x = F.embedding(tokens, self.tokens) * math.sqrt(self.tokens.shape[1])
        return self.dropout(x + sinusoids(past, tokens.shape[1], x))  # (B, T, C) + (T, C)
