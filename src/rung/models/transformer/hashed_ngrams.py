"""What the last few tokens are together, looked up: a row for every n-gram, found by its hash.

    x(t) = E[w(t)] + sum over n = 2 ... N of  T[n, hash(w(t-n+1), ..., w(t)) mod R]

A transformer spends its first layers finding out which tokens stand next to each other. Counting models know that at
once, from a table; so does this. Each order n has R rows of the embedding's width; n-grams that meet in one row share
it, and learn to live with it. A step touches only the rows of its batch, so tables of any size cost the same time.

Sources: feature hashing, Weinberger et al. 2009 (arXiv:0902.2206); hashed n-gram rows as input, Joulin et al. 2017,
"Bag of tricks" (arXiv:1607.01759), section 2.1, and for transformers over bytes Pagnoni et al. 2024 (arXiv:2412.09871),
section 3.2.1. Tables begin at zero, so an untrained model doesn't know they are there.

An n-gram that would reach beyond the window's first input is of fewer tokens there, and has a row of its own.

Shapes: B rows of a batch, P inputs before, T inputs, C width, K = N - 1 orders, R rows an order.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rung.models.transformer.embeddings import TokenEmbedding
from rung.models.transformer.norms import rms_norm

MULTIPLIER = 6364136223846793005
"""Knuth's, of his linear congruential generator MMIX: odd, and its bits look random."""


class NgramEmbedding(TokenEmbedding):
    """What a token is and what it is together with those before it, normed, so that the stream begins at one size.

    Args:
        vocab_size: V.
        max_n: N, 2 or more.
        rows: R, a power of two.
        n_embd: C.
        dropout: share of the sum that is dropped in training.
        ngram_dropout: share of the n-grams' rows that are from the second epoch on.
    """

    def __init__(
        self, vocab_size: int, max_n: int, rows: int, n_embd: int, dropout: float, ngram_dropout: float
    ) -> None:
        super().__init__(vocab_size, n_embd, dropout)
        self.ngrams = HashedNgrams(max_n, rows, n_embd, ngram_dropout)

    def forward(self, tokens: Tensor, past: int = 0) -> Tensor:
        """(B, P + T) int64, the whole window so far -> (B, T, C), for the T inputs from `past` = P on."""
        x = F.embedding(tokens[:, past:], self.tokens) + self.ngrams(tokens, past)
        return self.dropout(rms_norm(x, x.new_ones(x.shape[-1]), torch.finfo(x.dtype).eps))


class HashedNgrams(nn.Module):
    """Rows for the n-grams of orders 2 to N that end in each input.

    Args:
        max_n: N, 2 or more.
        rows: R, a power of two.
        n_embd: C.
        dropout: share of the rows that are left out in training, row by row, while `dropout_active`.

    Attributes:
        dropout_active: whether rows are left out in training now. In a text's first epoch there is no need: a row has
            never seen what follows here. From the second on, that of a rare n-gram has; a network that can't count on
            it learns to do without (docs/log.md).
    """

    def __init__(self, max_n: int, rows: int, n_embd: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.max_n, self.rows, self.dropout = max_n, rows, dropout
        self.dropout_active = False
        self.table = nn.Parameter(torch.empty((max_n - 1) * rows, n_embd))

    def forward(self, tokens: Tensor, past: int = 0) -> Tensor:
        """(B, P + T) int64, the whole window so far -> (B, T, C), for the T inputs from `past` = P on."""
        row_ids = self.row_ids(tokens, past)
        bags, kept = row_ids.flatten(0, 1), None
        if self.training and self.dropout and self.dropout_active:
            kept = (torch.rand(bags.shape, device=bags.device) >= self.dropout).to(self.table.dtype)
            kept /= 1 - self.dropout
        # A sum of rows in one call, whose gradient is the rows that were touched and not the whole table.
        sums = F.embedding_bag(bags, self.table, mode="sum", sparse=self.training, per_sample_weights=kept)
        return sums.unflatten(0, row_ids.shape[:2])

    def row_ids(self, tokens: Tensor, past: int = 0) -> Tensor:
        """Which rows of the table, by their hashes: (B, P + T) -> (B, T, K)."""
        begin = max(0, past - self.max_n + 1)
        tokens = tokens[:, begin:]
        shifted = F.pad(tokens + 1, (self.max_n - 1, 0))  # 0 stands for what is before the window
        length = tokens.shape[1]
        hashed = shifted[:, self.max_n - 1 :]
        bits = self.rows.bit_length() - 1
        row_ids = []
        for n in range(2, self.max_n + 1):
            first = self.max_n - n
            hashed = hashed * MULTIPLIER + shifted[:, first : first + length]  # modulo 2^64
            mixed = (hashed ^ (hashed >> 29)) * MULTIPLIER
            row_ids.append(((mixed >> (63 - bits)) & (self.rows - 1)) + (n - 2) * self.rows)
        return torch.stack([ids[:, past - begin :] for ids in row_ids], dim=-1)


def default_ngram_rows(train_tokens: int) -> int:
    """How many rows a table has if nobody says: a power of two, about one for every sixteen tokens of training text."""
    return 1 << min(15, max(10, (train_tokens // 16).bit_length()))


def default_ngram_dropout(train_tokens: int) -> float:
    """What share of the rows is dropped if nobody says: 0.75 up to 200,000 tokens, 0.4 from 4,500,000 on.

    Both were found by experiment (docs/log.md); between them it falls with the logarithm.
    """
    little, much = 2e5, 4.5e6
    progress = math.log(train_tokens / little) / math.log(much / little)
    return round(0.75 - 0.35 * min(max(progress, 0.0), 1.0), 2)
