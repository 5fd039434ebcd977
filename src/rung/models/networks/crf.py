"""A linear-chain conditional random field: what the tags of a sentence have to do with each other.

    score(y) = start[y_1] + sum_t emit[t, y_t] + sum_t move[y_t-1, y_t] + end[y_T]
    log p(y | x) = score(y) - log sum over all paths y' of e^score(y')

Lafferty, McCallum and Pereira 2001; over a recurrent network Huang, Xu and Yu 2015 (arXiv:1508.01991). The sum over
paths is the forward algorithm, the best path Viterbi's, the marginals p(y_t | x) forward and backward together.

How far a sentence reaches is told by its length; what stands behind it, tags or emissions, has no part in anything.
Every sum is kept near 1 from word to word, so a sentence of ten thousand words is as exact as one of three.

Forbidden transitions (I-PER behind O) never come out of `best_paths`. In the sums they stay: data that have one, as
some do, would else have the probability zero.

Shapes: B sentences, T words, K tags, all scores in nats.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rung.errors import UserError
from rung.models.networks.torch_model import upcast

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
                f"--crf learns which tag follows which: the data have {n_tags} tag, which leaves it nothing; "
                "leave --crf out"
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
        with torch.autocast(emissions.device.type, enabled=False):  # sums of e^score need all their digits
            emissions = upcast(emissions).log_softmax(-1)  # the same probabilities, and nothing grows
            return self._log_sum(emissions, lengths) - self._score(emissions, tags, lengths)

    def marginals(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """log p(y_t | x), (B, T, K); behind a sentence's end anything."""
        with torch.autocast(emissions.device.type, enabled=False):
            emissions = upcast(emissions).log_softmax(-1)
            forward, _ = self._forward(emissions, lengths)
            return (forward + self._backward(emissions, lengths)).log_softmax(-1)

    def best_paths(self, emissions: Tensor, lengths: Tensor, allowed: Tensor | None = None) -> Tensor:
        """The likeliest tags (B, T), of paths with `allowed` transitions alone (as of `best_paths` below)."""
        bounded = (weight.clamp(-BOUND, BOUND) for weight in (self.start, self.moves, self.end))
        return best_paths(emissions, lengths, *bounded, allowed=allowed)

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
        first, *others = emissions.unbind(
            1
        )  # not cut word by word: each cut's gradient would be as large as all
        alpha, scale = _scaled(self.start.clamp(-BOUND, BOUND) + first)
        alphas, scales = [alpha], [scale]
        for emitted in others:
            alpha, scale = _scaled((alpha.exp() @ moves).log() + emitted)
            alphas.append(alpha)
            scales.append(scale)
        divided = torch.stack(scales, 1).masked_fill(~_there(lengths, len(scales)), 0).sum(1)
        return torch.stack(alphas, 1), divided

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


def best_paths(
    emissions: Tensor,
    lengths: Tensor,
    start: Tensor | None = None,
    moves: Tensor | None = None,
    end: Tensor | None = None,
    *,
    allowed: Tensor | None = None,
) -> Tensor:
    """Viterbi's best path (B, T) under emissions (B, T, K); behind a sentence's end anything.

    start, end: (K,), moves: (K, K), from row to column; None = 0 everywhere.
    allowed: what may follow what, (K + 1, K + 1), the last row the beginning of a sentence, the last column its end;
        None = everything.
    """
    n_words, n_tags = emissions.shape[1:]
    start = emissions.new_zeros(n_tags) if start is None else start
    moves = emissions.new_zeros(n_tags, n_tags) if moves is None else moves
    end = emissions.new_zeros(n_tags) if end is None else end
    if allowed is not None:
        start = start.masked_fill(~allowed[-1, :-1], -torch.inf)
        moves = moves.masked_fill(~allowed[:-1, :-1], -torch.inf)
        end = end.masked_fill(~allowed[:-1, -1], -torch.inf)
    into = moves.T.contiguous()  # what is looked through lies side by side
    best = start + emissions[:, 0]
    bests = [best]
    for t in range(1, n_words):
        reached = (best[:, None, :] + into).amax(2) + emissions[:, t]
        reached = reached - reached.amax(-1, keepdim=True)
        best = torch.where((t < lengths)[:, None], reached, best)
        bests.append(best)
    tag = (best + end).argmax(-1)
    path = [tag]
    for t in range(n_words - 1, 0, -1):
        # From where a tag was best reached is asked of those on the path alone.
        tag = torch.where(t < lengths, (bests[t - 1] + into[tag]).argmax(-1), tag)
        path.append(tag)
    return torch.stack(path[::-1], 1)


def _there(lengths: Tensor, n_words: int) -> Tensor:
    return torch.arange(n_words, device=lengths.device) < lengths[:, None]


def _scaled(x: Tensor) -> tuple[Tensor, Tensor]:
    """`x` (B, K) less the log of the sum of its exponentials, (B,), and that."""
    total = x.logsumexp(-1)
    return x - total[:, None], total
