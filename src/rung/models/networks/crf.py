"""A linear-chain conditional random field: what the tags of a sentence have to do with each other.

    score(y) = start[y_1] + sum_t emit[t, y_t] + sum_t move[y_t-1, y_t] + end[y_T]
    log p(y | x) = score(y) - log sum over all paths y' of e^score(y')

Lafferty, McCallum and Pereira 2001; over a recurrent network Huang, Xu and Yu 2015 (arXiv:1508.01991). The sum over
paths is the forward algorithm, the best path Viterbi's, the marginals p(y_t | x) forward and backward together.

How far a sentence reaches is told by its length; what stands behind it, tags or emissions, has no part in anything.
Every sum is kept near 1 from word to word, so a sentence of ten thousand words is as exact as one of three.

Forbidden transitions (I-PER behind O) never come out of `best_paths`. In the sums they stay: data that have one, as some
do, would else have the probability zero.

Shapes: B sentences, T words, K tags, all scores in nats.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rung.errors import UserError

BOUND = 30.0
"""The largest score of a transition, either way: e^30. Sums of products of e^score stay within float32's range."""


class CRF(nn.Module):
    """The scores of transitions, and what follows from them and from the emissions.

    Raises UserError for fewer than two tags.
    """

    def __init__(self, n_tags: int) -> None:
        super().__init__()
        if n_tags < 2:
            raise UserError(
                f"--crf learns what tag follows which: the data have {n_tags} tag, which leaves it nothing; leave --crf out"
            )
        self.start = nn.Parameter(torch.zeros(n_tags))
        self.moves = nn.Parameter(torch.zeros(n_tags, n_tags))
        self.end = nn.Parameter(torch.zeros(n_tags))

    def init_weights(self) -> None:
        """All zero: each word's tag by its own emissions."""
        for weight in self.parameters():
            weight.zero_()

    def nll(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """-log p of each sentence's `tags` (B, T), (B,); `emissions` (B, T, K), `lengths` (B,), each 1 or more."""
        emissions = emissions.log_softmax(-1)  # the same probabilities, and nothing grows
        return self._log_sum(emissions, lengths) - self._score(emissions, tags, lengths)

    def marginals(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """log p(y_t | x), (B, T, K); behind a sentence's end anything."""
        emissions = emissions.log_softmax(-1)
        forward, _ = self._forward(emissions, lengths)
        return (forward + self._backward(emissions, lengths)).log_softmax(-1)

    def best_paths(self, emissions: Tensor, lengths: Tensor, allowed: Tensor | None = None) -> Tensor:
        """The likeliest tags (B, T), of paths with allowed transitions alone; behind a sentence's end anything.

        allowed: (K + 1, K), of each tag, and last of a sentence's beginning, which may follow; None = all.
        """
        start, moves = self.start.clamp(-BOUND, BOUND), self.moves.clamp(-BOUND, BOUND)
        if allowed is not None:
            start = start.masked_fill(~allowed[-1], -torch.inf)
            moves = moves.masked_fill(~allowed[:-1], -torch.inf)
        return viterbi(emissions, lengths, start, moves, self.end.clamp(-BOUND, BOUND))

    def _score(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """score(y), (B,)."""
        there = _there(lengths, emissions.shape[1])
        tags = tags.clamp(min=0)
        emitted = emissions.gather(2, tags[..., None])[..., 0].masked_fill(~there, 0).sum(1)
        moves = self.moves.clamp(-BOUND, BOUND)[tags[:, :-1], tags[:, 1:]].masked_fill(~there[:, 1:], 0)
        last = tags.gather(1, lengths[:, None] - 1)[:, 0]
        return (
            self.start.clamp(-BOUND, BOUND)[tags[:, 0]]
            + emitted
            + moves.sum(1)
            + self.end.clamp(-BOUND, BOUND)[last]
        )

    def _log_sum(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """The logarithm of the sum of e^score over all paths, (B,)."""
        forward, scale = self._forward(emissions, lengths)
        last = forward.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, forward.shape[2]))[:, 0]
        return scale + (last + self.end.clamp(-BOUND, BOUND)).logsumexp(-1)

    def _forward(self, emissions: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Of each word and tag the log of the sum over paths up to it, (B, T, K), each word's summing to 1; and what
        was divided out up to a sentence's end, (B,)."""
        moves = self.moves.clamp(-BOUND, BOUND).exp()
        there = _there(lengths, emissions.shape[1])
        alpha, scale = _scaled(self.start.clamp(-BOUND, BOUND) + emissions[:, 0])
        alphas = [alpha]
        for t in range(1, emissions.shape[1]):
            alpha, more = _scaled((alpha.exp() @ moves).log() + emissions[:, t])
            alphas.append(alpha)
            scale = scale + more.masked_fill(~there[:, t], 0)
        return torch.stack(alphas, 1), scale

    def _backward(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """Of each word and tag the log of the sum over paths on from it, (B, T, K), up to a factor a word."""
        moves = self.moves.clamp(-BOUND, BOUND).exp().T
        end = self.end.clamp(-BOUND, BOUND).expand(len(emissions), -1)
        beta, betas = end, [end]
        for t in range(emissions.shape[1] - 2, -1, -1):
            after, _ = _scaled(beta + emissions[:, t + 1])
            beta = torch.where((t + 1 < lengths)[:, None], (after.exp() @ moves).log(), end)
            betas.append(beta)
        return torch.stack(betas[::-1], 1)


def viterbi(
    emissions: Tensor,
    lengths: Tensor,
    start: Tensor,
    moves: Tensor,
    end: Tensor,
) -> Tensor:
    """The best path (B, T) under emissions (B, T, K), start (K,), moves (K, K) from row to column, and end (K,).

    Of paths that are equally good, that of the lower tags from the end on. Behind a sentence's end anything.
    """
    n_words = emissions.shape[1]
    best = start + emissions[:, 0]
    pointers = []
    for t in range(1, n_words):
        reached, pointer = (best[:, :, None] + moves).max(1)
        reached = reached + emissions[:, t]
        reached = reached - reached.amax(-1, keepdim=True)
        best = torch.where((t < lengths)[:, None], reached, best)
        pointers.append(pointer)
    tag = (best + end).argmax(-1)
    path = [tag]
    for t in range(n_words - 1, 0, -1):
        back = pointers[t - 1].gather(1, tag[:, None])[:, 0]
        tag = torch.where(t < lengths, back, tag)
        path.append(tag)
    return torch.stack(path[::-1], 1)


def _there(lengths: Tensor, n_words: int) -> Tensor:
    return torch.arange(n_words, device=lengths.device) < lengths[:, None]


def _scaled(x: Tensor) -> tuple[Tensor, Tensor]:
    """`x` (B, K) less the log of the sum of its exponentials, (B,), and that."""
    total = x.logsumexp(-1)
    return x - total[:, None], total
