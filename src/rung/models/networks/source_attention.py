"""How a recurrent network looks at its source: a weighted mean of the source's states, weighed anew at each step.

    additive   score(s, h) = v . tanh(W s + U h)      Bahdanau, Cho and Bengio 2014 (arXiv:1409.0473), appendix A.1.2
    dot        score(s, h) = (W s) . h / sqrt(M)      Luong, Pham and Manning 2015 (arXiv:1508.04025), "general"
    none       the source's last states, whatever is asked: Cho et al. 2014 (arXiv:1406.1078)

    weights = softmax over the source of score;  what is found = sum of weights x h

Shapes: B pairs, T steps that ask with states s (H wide), S states of the source h (M wide), A = H.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

ATTENTIONS = ("additive", "dot", "none")
SCORES_AT_ONCE = 1 << 24
"""Numbers made at once while steps and source are compared: 64 MiB."""


class Source(NamedTuple):
    """A source that was read: its states (B, S, M), what they are compared by (B, S, A or M), which of them are there
    (B, S), and all of it in one vector (B, M)."""

    states: Tensor
    keys: Tensor
    there: Tensor
    summary: Tensor

    def of_rows(self, rows: Tensor) -> Source:
        """Row i is row `rows[i]` of this one."""
        return Source(*(part[rows] for part in self))


class SourceAttention(nn.Module):
    """One head that looks from a text that is written to the text that is read.

    Args:
        kind: of `ATTENTIONS`.
        n_hidden: H.
        n_source: M.
    """

    def __init__(self, kind: str, n_hidden: int, n_source: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "additive":
            self.query = nn.Linear(n_hidden, n_hidden)
            self.key = nn.Linear(n_source, n_hidden, bias=False)
            self.score = nn.Linear(n_hidden, 1, bias=False)
        elif kind == "dot":
            self.query = nn.Linear(n_hidden, n_source, bias=False)

    def keys(self, states: Tensor) -> Tensor:
        """What the source's states are compared by; made once a source."""
        return self.key(states) if self.kind == "additive" else states

    def forward(self, asking: Tensor, source: Source) -> Tensor:
        """(B, T, H) -> what is found, (B, T, M)."""
        if self.kind == "none":
            return source.summary[:, None].expand(-1, asking.shape[1], -1)
        return self.weights(asking, source) @ source.states

    def weights(self, asking: Tensor, source: Source) -> Tensor:
        """(B, T, S), each row a distribution over the source's states that are there."""
        scores = self._additive(asking, source.keys) if self.kind == "additive" else self._dot(asking, source)
        return scores.masked_fill(~source.there[:, None], -torch.inf).softmax(-1)

    def _dot(self, asking: Tensor, source: Source) -> Tensor:
        return self.query(asking) @ source.keys.transpose(1, 2) / math.sqrt(source.keys.shape[2])

    def _additive(self, asking: Tensor, keys: Tensor) -> Tensor:
        """A few steps at a time where there are many, made again on the way back: (B, T, S, A) is never whole."""
        queries = self.query(asking)
        at_once = max(1, SCORES_AT_ONCE // (keys.shape[0] * keys.shape[1] * keys.shape[2]))
        parts = queries.split(at_once, dim=1)
        if len(parts) == 1:
            return self._compare(queries, keys)
        found = [checkpoint(self._compare, part, keys, use_reentrant=False) for part in parts]
        return torch.cat(found, dim=1)

    def _compare(self, queries: Tensor, keys: Tensor) -> Tensor:
        return self.score(torch.tanh(queries[:, :, None] + keys[:, None]))[..., 0]
