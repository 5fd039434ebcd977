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

from rung.models.transformer.norms import rms_norm

MULTIPLIER = 6364136223846793005
"""Knuth's, of his linear congruential generator MMIX: odd, and its bits look random."""


class NgramEmbedding(nn.Module):
    """What a token is and what it is together with those before it, normed, so that the stream begins at one size.

    Args:
        vocab_size: V.
        longest: N, 2 or more.
        rows: R, a power of two.
        n_embd: C.
        dropout: share of the sum that is dropped in training.
        ngram_dropout: share of the n-grams' rows that are from the second epoch on.
    """

    def __init__(
        self, vocab_size: int, longest: int, rows: int, n_embd: int, dropout: float, ngram_dropout: float
    ) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(vocab_size, n_embd))
        self.ngrams = HashedNgrams(longest, rows, n_embd, ngram_dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, past: int = 0) -> Tensor:
        """(B, P + T) int64, the whole window so far -> (B, T, C), for the T inputs from `past` = P on."""
        x = F.embedding(tokens[:, past:], self.tokens) + self.ngrams(tokens, past)
        return self.dropout(rms_norm(x, x.new_ones(x.shape[-1]), torch.finfo(x.dtype).eps))


class HashedNgrams(nn.Module):
    """Rows for the n-grams of orders 2 to N that end in each input.

    Args:
        longest: N, 2 or more.
        rows: R, a power of two.
        n_embd: C.
        dropout: share of the rows that are left out in training, row by row, while `dropping`.

    Attributes:
        dropping: whether rows are left out in training now. In a text's first epoch there is no need: a row has never
            seen what follows here. From the second on, that of a rare n-gram has; a network that can't count on it
            learns to do without (docs/log.md).
    """

    def __init__(self, longest: int, rows: int, n_embd: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.longest, self.rows, self.dropout = longest, rows, dropout
        self.dropping = False
        self.table = nn.Parameter(torch.empty((longest - 1) * rows, n_embd))

    def forward(self, tokens: Tensor, past: int = 0) -> Tensor:
        """(B, P + T) int64, the whole window so far -> (B, T, C), for the T inputs from `past` = P on."""
        places = self.places(tokens, past)
        bags, kept = places.flatten(0, 1), None
        if self.training and self.dropout and self.dropping:
            kept = (torch.rand(bags.shape, device=bags.device) >= self.dropout).to(self.table.dtype)
            kept /= 1 - self.dropout
        # A sum of rows in one call, whose gradient is the rows that were touched and not the whole table.
        sums = F.embedding_bag(bags, self.table, mode="sum", sparse=self.training, per_sample_weights=kept)
        return sums.unflatten(0, places.shape[:2])

    def places(self, tokens: Tensor, past: int = 0) -> Tensor:
        """Which rows of the table: (B, P + T) -> (B, T, K)."""
        begin = max(0, past - self.longest + 1)
        tokens = tokens[:, begin:]
        shifted = F.pad(tokens + 1, (self.longest - 1, 0))  # 0 stands for what is before the window
        length = tokens.shape[1]
        hashed = shifted[:, self.longest - 1 :]
        bits = self.rows.bit_length() - 1
        found = []
        for n in range(2, self.longest + 1):
            first = self.longest - n
            hashed = hashed * MULTIPLIER + shifted[:, first : first + length]  # modulo 2^64
            mixed = (hashed ^ (hashed >> 29)) * MULTIPLIER
            found.append(((mixed >> (63 - bits)) & (self.rows - 1)) + (n - 2) * self.rows)
        return torch.stack([places[:, past - begin :] for places in found], dim=-1)


def rows_for(train_tokens: int) -> int:
    """How many rows a table has if nobody says: a power of two, about one for every sixteen tokens of training text."""
    return 1 << min(15, max(10, (train_tokens // 16).bit_length()))


def init_normed_weights(network: nn.Module, generator: torch.Generator) -> None:
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


def dropout_for(train_tokens: int) -> float:
    """What share of the rows is dropped if nobody says: 0.75 up to 200,000 tokens, 0.4 from 4,500,000 on.

    Both were found by experiment (docs/log.md); between them it falls with the logarithm.
    """
    little, much = 2e5, 4.5e6
    way = math.log(train_tokens / little) / math.log(much / little)
    return round(0.75 - 0.35 * min(max(way, 0.0), 1.0), 2)
