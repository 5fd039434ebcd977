"""What a network makes of a text, token by token, and one vector of all that.

    states    (B, S, C) of B texts: a vector a place, of the tokens and of what marks the network puts around them
    pooled    (B, C): their mean; the first, of what stands before a text; or the last

How far a text reaches is told by its length, never by an id: what fills up a batch has no part in it, on whichever
side it stands, and neither have the texts beside it. A text longer than a network reads at once is read in pieces of
equal length, and the mean is that of all their states; its first state is the first piece's, its last that of its last
tokens.

With the weights of transformers' BertModel the means are those of its `last_hidden_state` under the attention mask,
[CLS] and [SEP] among them, as Reimers and Gurevych 2019 (arXiv:1908.10084) have them. In a network that reads from left
to right the mark before a text, which has seen nothing of it, counts only where the text is empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from rung.errors import UserError, nearest
from rung.text.stream import TokenStream
from rung.text.windows import PADDING

POOLINGS = ("mean", "first", "last")
PIECE = 1 << 14
"""The most tokens of one text that are read at once, and of all texts that are read together."""


class States(NamedTuple):
    """Of B texts.

    values: (B, S, C); there: (B, S), which are a text's own, to the left, one at least; backward: how many numbers, the
    last of the C, come from reading from right to left, so that their last state is the first.
    """

    values: Tensor
    there: Tensor
    backward: int = 0

    def pooled(self, pooling: str) -> Tensor:
        """(B, C)."""
        if pooling == "mean":
            return self.sums() / self.there.sum(1)[:, None]
        if pooling == "first":
            return self.values[:, 0]
        rows = torch.arange(len(self.values), device=self.values.device)
        last = self.values[rows, self.there.sum(1) - 1]
        if not self.backward:
            return last
        return torch.cat([last[:, : -self.backward], self.values[:, 0, -self.backward :]], dim=1)

    def sums(self) -> Tensor:
        """(B, C): of the states that are there."""
        return self.values.masked_fill(~self.there[..., None], 0).sum(1)


class HasStates(Protocol):
    """A network whose states are vectors.

    Attributes:
        room: the most tokens of a text that it reads at once; None = any number.
        first_knows: whether its first state has seen the text.
    """

    @property
    def room(self) -> int | None: ...
    @property
    def first_knows(self) -> bool: ...
    def states(self, texts: Tensor, mark: int) -> States:
        """Of texts (B, T), filled up with PADDING on either side; `mark` ends documents."""
        ...


def to_the_left(texts: Tensor) -> Tensor:
    """Texts (B, T) whose PADDING stands on their right."""
    there = texts != PADDING
    if bool((there[:, :-1] >= there[:, 1:]).all()):
        return texts
    return texts.gather(1, torch.argsort((~there).long(), dim=1, stable=True))


def check_pooling(pooling: str, network: HasStates | None = None) -> str:
    """The pooling. Raises UserError for one that is none, and for the first state where it knows nothing."""
    if pooling not in POOLINGS:
        near = nearest(pooling, POOLINGS) if isinstance(pooling, str) else ""
        raise UserError(f"--pooling {pooling!r} is unknown{near} (known: {', '.join(POOLINGS)})")
    if pooling == "first" and network is not None and not network.first_knows:
        raise UserError(
            "--pooling first does not go with a network that reads from left to right: its first state has seen "
            "nothing of the text; give mean or last"
        )
    return pooling


def pooled_vectors(model: Any, network: HasStates, texts: TokenStream, pooling: str) -> np.ndarray:
    """The vectors (N, C), float32, of the documents of a stream, by a `TorchModel` and its network that has states.

    Pieces of like length are read together. Raises UserError for a network whose states are no vectors.
    """
    check_pooling(pooling, network)
    room = PIECE if network.room is None else min(network.room, PIECE)
    owners, pieces = _pieces(texts, room, pooling)
    lengths = np.array([len(piece) for piece in pieces], np.int64)
    counts = np.bincount(owners, minlength=texts.n_documents)
    vectors: np.ndarray | None = None
    n_states = np.zeros(texts.n_documents, np.int64)
    with model.inference():
        for rows in _batches(lengths):
            batch = np.full((len(rows), max(int(lengths[rows].max()), 1)), PADDING, np.int64)
            for row, piece in enumerate(rows):
                batch[row, : lengths[piece]] = pieces[piece]
            states = network.states(torch.from_numpy(batch).to(model.device), model.end)
            own = owners[rows]
            if vectors is None:
                vectors = np.zeros((texts.n_documents, states.values.shape[2]), np.float32)
            alone = counts[own] == 1
            found = states.pooled(pooling).float().numpy(force=True)
            vectors[own[alone]] = found[alone]
            if not alone.all():  # a mean of several pieces
                sums = states.sums().float().numpy(force=True)
                np.add.at(vectors, own[~alone], sums[~alone])
                np.add.at(n_states, own[~alone], states.there.sum(1).numpy(force=True)[~alone])
    if vectors is None:  # how wide they would be, one knows
        empty = torch.full((1, 1), PADDING, device=model.device)
        with model.inference():
            return np.empty((0, network.states(empty, model.end).values.shape[2]), np.float32)
    several = n_states > 0
    vectors[several] /= n_states[several, None]
    return vectors


def _pieces(texts: TokenStream, room: int, pooling: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """Of each piece whose it is, and its tokens: each text, without its mark, in as few as fit."""
    owners: list[int] = []
    pieces: list[np.ndarray] = []
    for i in range(texts.n_documents):
        ids = np.asarray(texts.document(i)[:-1]).astype(np.int64)
        if len(ids) <= room:
            own = [ids]
        elif pooling == "mean":
            own = np.array_split(ids, -(-len(ids) // room))
        else:
            own = [ids[:room] if pooling == "first" else ids[-room:]]
        owners += [i] * len(own)
        pieces += own
    return np.array(owners, np.int64), pieces


def _batches(lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Rows, shortest first, about PIECE tokens at a time."""
    order = np.argsort(lengths, kind="stable")
    begin = 0
    while begin < len(order):
        end = begin + 1
        while end < len(order) and (end + 1 - begin) * (lengths[order[end]] + 1) <= PIECE:
            end += 1
        yield order[begin:end]
        begin = end
