"""Skip-gram and CBOW: vectors by which a word is told from noise, given what stands near it.

Mikolov et al. 2013, "Efficient estimation of word representations in vector space" (arXiv:1301.3781) and "Distributed
representations of words and phrases and their compositionality" (arXiv:1310.4546). The loss and what is word2vec's own
in it: `kernels`; noise and subsampling: `noise`. Learned by stochastic gradient descent, a pair at a time, at a rate
that falls linearly.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from rung.errors import UserError
from rung.events import Event, Phase
from rung.models.config_checks import check_counts, check_field
from rung.models.vectors.base import WordVectors
from rung.models.vectors.noise import Alias, kept_of, noise_of
from rung.text.stream import TokenStream

LAST_RATE = 1e-4
"""Of the first rate, what the last is: word2vec's."""


@dataclass(frozen=True)
class SkipGramConfig:
    """The shape, and how it is learned."""

    width: int = 100
    """How many numbers stand for a word."""
    window_size: int = 5
    """How many words to each side are neighbours, at most: for each word it is drawn, from 1 to this."""
    negative: int = 5
    """How many noise words each pair is held against."""
    subsample: float = 1e-3
    """Of words more frequent than this share, occurrences are left out by chance; 0 = of none."""
    epochs: int = 5
    """How often the training text is read."""
    rate: float = 0.025
    """The first learning rate; it falls linearly to nearly 0."""

    def __post_init__(self) -> None:
        check_counts(self, "width", "window_size", "negative", "epochs")
        for name, least, allowed in (
            ("subsample", 0.0, "a number from 0 up to, not with, 1"),
            ("rate", math.nextafter(0.0, 1.0), "a number above 0, at most 1"),
        ):
            most = math.nextafter(1.0, 0.0) if name == "subsample" else 1.0
            check_field(self, name, _between(least, most), allowed, optional=False)


@dataclass(frozen=True)
class CBOWConfig(SkipGramConfig):
    """The shape, and how it is learned."""

    rate: float = 0.1
    """The first learning rate; it falls linearly to nearly 0. (Neighbours share the slope of their mean.)"""


class Word2Vec(WordVectors):
    """What the two share: everything but the way through the text."""

    config_class = SkipGramConfig
    seeded = True

    @staticmethod
    @abstractmethod
    def epoch() -> Any:
        """What goes through the text once, of `kernels`."""

    @property
    def window(self) -> int:
        return self.config.window_size  # pyright: ignore[reportAttributeAccessIssue]

    @classmethod
    def warm_up(cls) -> None:
        words = TokenStream.of([np.array([0, 1])], 2)
        vectors, outputs = np.zeros((2, 3, 2), np.float32)
        model = cls(cls.config_class(width=2), 3, 2, vectors, outputs, np.array([1, 1, 0]))
        model.word_costs(words)
        _through(cls.epoch(), model, words, np.ones(3), Alias.of(np.ones(3) / 3), (0, 0), 0)

    @classmethod
    def fit(
        cls, config: Any, stream: TokenStream, vocab_size: int, end: int, seed: int = 0
    ) -> Iterator[Event | Self]:
        """Learn the vectors, an epoch at a time. `stream` holds nothing but words and closing marks.

        Raises UserError where no two words stand in one document, and where the rate was too large.
        """
        counts = np.bincount(stream.ids, minlength=vocab_size).astype(np.int64)
        counts[end] = 0
        if np.count_nonzero(counts) < 2:
            raise UserError(
                "there are no two different words to learn from that occur often enough: lower --min-count, or give "
                "more text"
            )
        if not (np.diff(stream.starts) > 2).any():
            raise UserError(
                "no word has a neighbour: every document has but one word that occurs often enough"
            )
        rng = np.random.default_rng(seed)
        vectors = ((rng.random((vocab_size, config.width), np.float32) - 0.5) / config.width).astype(
            np.float32
        )
        vectors[counts == 0] = 0
        outputs = np.zeros_like(vectors)
        model = cls(config, vocab_size, end, vectors, outputs, counts)
        kept, alias = kept_of(counts, config.subsample), Alias.of(noise_of(counts))
        words = TokenStream(np.asarray(stream.ids).astype(np.int32), np.asarray(stream.starts, np.int64))
        for epoch in range(config.epochs):
            rates = tuple(
                config.rate * (1 - (1 - LAST_RATE) * at / config.epochs) for at in (epoch, epoch + 1)
            )
            chance = int(rng.integers(1 << 62))
            loss, pairs = _through(cls.epoch(), model, words, kept, alias, rates, chance)
            yield Phase(f"epoch {epoch + 1} of {config.epochs}: {loss / max(pairs, 1):.3f} nats per pair")
            if not (np.isfinite(vectors).all() and np.isfinite(outputs).all()):
                raise UserError(f"{cls.rung} diverged at --rate {config.rate:g}: give a smaller one")
        yield model


class SkipGram(Word2Vec):
    """A word is told by each of its neighbours by itself."""

    rung = "skipgram"

    @staticmethod
    def epoch() -> Any:
        from rung.models.vectors.kernels import skipgram_epoch

        return skipgram_epoch


class CBOW(Word2Vec):
    """A word is told by the mean of its neighbours (a continuous bag of words)."""

    rung = "cbow"
    config_class = CBOWConfig
    by_pairs = False

    @staticmethod
    def epoch() -> Any:
        from rung.models.vectors.kernels import cbow_epoch

        return cbow_epoch


def _through(
    epoch: Any,
    model: WordVectors,
    words: TokenStream,
    kept: np.ndarray,
    alias: Alias,
    rates: tuple[float, ...],
    chance: int,
) -> tuple[float, int]:
    config: Any = model.config
    first, last = map(float, rates)
    return epoch(
        words.ids.astype(np.int32, copy=False),
        words.starts,
        kept,
        *alias,
        model.vectors,
        model.outputs,
        config.window_size,
        config.negative,
        first,
        last,
        chance,
    )


def _between(least: float, most: float) -> Any:
    return lambda value: type(value) in (int, float) and least <= value <= most
