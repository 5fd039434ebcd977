"""The bridge between a torch network and the contract of taggers: sentences in, log-probabilities of tags out.

A network makes an emission of each word and tag; a softmax over a word's is what it says of it, or a CRF over the whole
sentence (`crf`). Of tags that mark spans the answer is the best path without impossible steps (I-PER behind O), with a
CRF and without.

Shapes: B sentences of up to T words, K tags, W words in all.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rung.batches import Batch, PooledOrder
from rung.models.networks.crf import CRF, best_paths
from rung.models.networks.torch_model import TorchModel, TrainableModule, upcast
from rung.models.tagger import Tagger, sums
from rung.text.spans import allowed_transitions, marks_spans
from rung.text.stream import TokenStream
from rung.text.tagged import TaggedStream, word_counts
from rung.text.windows import PADDING

WORDS_AT_ONCE = 1 << 12
LONGEST = 512
"""The most words of a sentence that are learned from together: the gradient of torch's packed rows takes time that
grows with the square of their length."""


class Sentences(Protocol):
    """Sentences as a network takes them."""

    def arrays(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """What `emissions` of the network is called with, of some sentences, none of them empty."""
        ...


class TaggerNetwork(TrainableModule):
    """A torch module that gives each tag of each word a score.

    Attributes:
        crf: what tags have to do with each other; None = each word is tagged by itself.
    """

    crf: CRF | None

    @abstractmethod
    def emissions(self, *arrays: Tensor) -> Tensor:
        """(B, T, K), from what `Sentences.arrays` makes; behind a sentence's end anything."""

    def loss(self, tags: Tensor, *arrays: Tensor) -> Tensor:
        """The sum of -log p over the tags (B, T), filled up with PADDING on the right."""
        emissions = self.emissions(*arrays)
        if self.crf is not None:
            return self.crf.nll(emissions, tags, (tags != PADDING).sum(1)).sum()
        logits = upcast(emissions.flatten(0, 1))
        return F.cross_entropy(logits, tags.flatten(), ignore_index=PADDING, reduction="sum")


N = TypeVar("N", bound=TaggerNetwork)


class NeuralTagger(TorchModel[N], Tagger, Generic[N]):
    """A tagger whose weights are learned by gradient descent, in torch."""

    def __init__(
        self, config: Any, vocab_size: int, end: int, delimiter: int, tags: Sequence[str], network: N
    ) -> None:
        super().__init__(config, vocab_size, end, delimiter, tags)
        self.network = network

    @abstractmethod
    def read(self, sentences: TokenStream) -> Sentences:
        """Sentences as the network takes them."""

    def batches(self, part: TaggedStream, batch_size: int, seed: int, shard: slice) -> TaggedBatches:
        """The training part: this process's rows of each batch. A sentence longer than LONGEST words is several."""
        part = in_stretches(part, self.delimiter, LONGEST)
        return TaggedBatches(self.read(part.stream), part, self.delimiter, batch_size, seed, shard)

    def log_probs(self, sentences: TokenStream) -> np.ndarray:
        """Sentences of like length are read together; what fills up the others can't matter."""
        found = np.empty((int(word_counts(sentences, self.delimiter).sum()), len(self.tags)), np.float32)
        for emissions, lengths, places in self._emissions(sentences):
            found[places] = _words(self._marginals(emissions, lengths), lengths)
        return found

    def score(self, sentences: TokenStream, tags: np.ndarray) -> np.ndarray:
        counts = word_counts(sentences, self.delimiter)
        if self.network.crf is None:
            return super().score(sentences, tags)
        # Of each sentence what it has is laid on its first word, and added up from there.
        own = np.zeros(int(counts.sum()))
        for emissions, lengths, places in self._emissions(sentences):
            right = np.zeros(emissions.shape[:2], np.int64)
            right[_there(lengths, right.shape[1])] = tags[places]
            nll = self.network.crf.nll(emissions, self._tensor(right), lengths)
            own[places[np.cumsum(lengths.numpy(force=True)) - lengths.numpy(force=True)]] = -nll.numpy(
                force=True
            )
        return sums(own, counts)

    def decode(self, sentences: TokenStream) -> np.ndarray:
        found = np.empty(int(word_counts(sentences, self.delimiter).sum()), np.int64)
        for emissions, lengths, places in self._emissions(sentences):
            found[places] = _words(self._answer(emissions, lengths), lengths)
        return found

    def _marginals(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        if self.network.crf is None:
            return torch.log_softmax(emissions, dim=-1)
        return self.network.crf.marginals(emissions, lengths)

    def _answer(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        allowed = None if self._allowed is None else self._tensor(self._allowed)
        if self.network.crf is not None:
            return self.network.crf.best_paths(emissions, lengths, allowed)
        return emissions.argmax(-1) if allowed is None else best_paths(emissions, lengths, allowed=allowed)

    @cached_property
    def _allowed(self) -> np.ndarray | None:
        return allowed_transitions(self.tags) if marks_spans(self.tags) else None

    def _emissions(self, sentences: TokenStream) -> Iterator[tuple[Tensor, Tensor, np.ndarray]]:
        """Of sentences of like length, batch by batch: emissions (B, T, K), lengths (B,), and the places of their words
        among the W, sentence after sentence."""
        counts = word_counts(sentences, self.delimiter)
        begins = np.cumsum(counts) - counts
        read = self.read(sentences)
        order = np.argsort(counts, kind="stable")
        order = order[counts[order] > 0]
        begin = 0
        with self.inference():
            while begin < len(order):
                stop = begin + 1
                while stop < len(order) and (stop + 1 - begin) * counts[order[stop]] <= WORDS_AT_ONCE:
                    stop += 1
                rows = order[begin:stop]
                emissions = self.network.emissions(*(self._tensor(array) for array in read.arrays(rows)))
                inside = np.arange(counts[rows].sum()) - np.repeat(
                    np.cumsum(counts[rows]) - counts[rows], counts[rows]
                )
                places = inside + np.repeat(begins[rows], counts[rows])
                yield emissions.float(), self._tensor(counts[rows]), places
                begin = stop


class TaggedBatches:
    """Sentences and their tags, shuffled anew each epoch, those of like length together: a function of (seed, t).

    Its arrays: tags (B, T), int64, filled up with PADDING, and what the network reads of the sentences.
    """

    def __init__(
        self,
        read: Sentences,
        part: TaggedStream,
        delimiter: int,
        batch_size: int,
        seed: int,
        shard: slice,
    ) -> None:
        counts = word_counts(part.stream, delimiter)
        self._read = read
        self._tags = part.tags
        self._filled = np.flatnonzero(counts > 0)
        self._counts = counts
        self._begins = np.cumsum(counts) - counts
        self._order = PooledOrder(counts[self._filled], batch_size, seed)
        self._batch_size = batch_size
        self._shard = shard

    @property
    def rows(self) -> int:
        """How many rows of a batch are wanted."""
        return len(range(self._batch_size)[self._shard])

    @property
    def epoch_targets(self) -> int:
        """How many words there are."""
        return len(self._tags)

    def batch(self, t: int) -> Batch:
        """Batch number t."""
        rows = self._filled[self._order.rows(t)]
        own = rows[self._shard]
        lengths = self._counts[own]
        columns = np.arange(max(int(lengths.max(initial=0)), 1))
        there = columns < lengths[:, None]
        places = np.where(there, self._begins[own][:, None] + columns, 0)
        tags = np.where(there, np.asarray(self._tags)[places], PADDING).astype(np.int64)
        return Batch((tags, *self._read.arrays(own)), int(self._counts[rows].sum()))


def in_stretches(part: TaggedStream, delimiter: int, most: int) -> TaggedStream:
    """The same words and tags, each sentence of more than `most` words cut into sentences of at most so many."""
    counts = word_counts(part.stream, delimiter)
    if counts.max(initial=0) <= most:
        return part
    ids = np.array(part.stream.ids, np.int64)
    between = np.flatnonzero(ids == delimiter)
    # The k-th delimiter of a sentence, from 1, stands behind its k-th word.
    inside = np.maximum(counts - 1, 0)
    k = np.arange(len(between)) - np.repeat(np.cumsum(inside) - inside, inside) + 1
    cuts = between[k % most == 0]
    ids[cuts] = ids[0]
    starts = np.sort(np.concatenate([np.asarray(part.stream.starts), cuts + 1]))
    return TaggedStream(TokenStream(ids, starts), part.tags)


def _there(lengths: Tensor, n_words: int) -> np.ndarray:
    return np.arange(n_words) < lengths.numpy(force=True)[:, None]


def _words(values: Tensor, lengths: Tensor) -> np.ndarray:
    """Of (B, T, ...) those of each sentence's words, one sentence after another."""
    return values.numpy(force=True)[_there(lengths, values.shape[1])]
