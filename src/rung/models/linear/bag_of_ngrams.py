"""A bag of hashed n-grams, averaged, and one linear layer: fastText's model (Joulin et al. 2016, arXiv:1607.01759).

    P(label | text) = softmax(s W mean of E[f])      over the text's features f (`hashed`)        E: (R, d), W: (L, d)

Learned by stochastic gradient descent, an example at a time, at a rate that falls linearly to 0 (`sgd_kernels`), by one
thread, so the same seed gives the same model. Only buckets that the training texts fill have rows. s, how sure it may
be, is chosen on validation examples (`rung.models.temperature`). A text without features gets the labels' frequencies.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from rung.errors import UserError
from rung.events import Event, Note, Phase
from rung.models.base import CountedClassifier
from rung.models.config_checks import check_bool, check_counts, check_field
from rung.models.linear.bag_of_words import texts_of
from rung.models.linear.hashed import Bags, Hashing
from rung.models.temperature import best_scale, log_softmax
from rung.models.vectors.table import WordTable
from rung.opening import check_array, check_below, check_finite, check_rising
from rung.text.stream import LabelledExamples, TokenStream

TEXTS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class BagOfNgramsConfig:
    """Which features, and how they are learned."""

    width: int = 32
    """How many numbers stand for a feature."""
    ngrams: int = 2
    """The longest run of words that is a feature."""
    letters: int = 5
    """The longest run of letters of a word that is a feature; 0 = none."""
    shortest_letters: int = 2
    """The shortest such run."""
    buckets: int = 1 << 21
    """How many numbers features are hashed to."""
    lowercase: bool = True
    """Whether capitals are made small. On the command line --lowercase=false."""
    epochs: int = 10
    """How often the training texts are read."""
    rate: float = 0.5
    """The first learning rate; it falls linearly to 0."""

    def __post_init__(self) -> None:
        check_counts(self, "width", "ngrams", "shortest_letters", "buckets", "epochs")
        check_bool(self, "lowercase")
        check_field(
            self,
            "letters",
            lambda value: type(value) is int and value >= 0,
            "a whole number, 0 = none",
            optional=False,
        )
        check_field(
            self,
            "rate",
            lambda value: type(value) in (int, float) and 0 < value < math.inf,
            "a number above 0",
            optional=False,
        )
        if self.letters and self.shortest_letters > self.letters:
            raise UserError(
                f"--shortest-letters {self.shortest_letters} is more than --letters {self.letters}: give a smaller one"
            )

    def hashing(self) -> Hashing:
        return Hashing(self.lowercase, self.ngrams, (self.shortest_letters, self.letters), self.buckets)


class BagOfNgrams(CountedClassifier):
    """Averaged rows of hashed n-grams, and a linear layer.

    Attributes:
        buckets: (R,) int64, rising: those that have a row.
        table: (R, d) float32.
        head: (L, d) float32.
        counts: (L,) how many training examples each label has.
        scale: what logits are multiplied by.
    """

    rung = "bag-of-ngrams"
    config_class = BagOfNgramsConfig
    tokenizer = "byte"
    reads_bytes = True
    seeded = True
    starts_from_vectors = True

    def __init__(
        self,
        config: BagOfNgramsConfig,
        vocab_size: int,
        end: int,
        labels: Sequence[str],
        arrays: dict[str, np.ndarray],
        delimiter: int | None = None,
    ) -> None:
        super().__init__(config, vocab_size, end, labels, delimiter)
        self.config: BagOfNgramsConfig = config
        self.buckets, self.table, self.head = arrays["buckets"], arrays["table"], arrays["head"]
        self.counts, self.scale = arrays["counts"], float(arrays["scale"][0])

    @classmethod
    def warm_up(cls) -> None:
        from rung.models.linear import sgd_kernels

        one = np.zeros(1, np.int64)
        table, head = np.zeros((1, 1), np.float32), np.zeros((2, 1), np.float32)
        starts = np.array([0, 1])
        sgd_kernels.sgd_epoch(one, starts, one, one, np.ones(2), table, head, 0.0, 0.0)
        sgd_kernels.average_rows(starts, one, table)

    @classmethod
    def fit(
        cls,
        config: BagOfNgramsConfig,
        examples: LabelledExamples,
        vocab_size: int,
        end: int,
        labels: Sequence[str],
        delimiter: int | None = None,
        seed: int = 0,
        vectors: WordTable | None = None,
    ) -> Iterator[Event | Self]:
        """Learn the weights, an epoch at a time; words begin with their `vectors`, scaled to the others' spread."""
        from rung.models.linear.sgd_kernels import sgd_epoch

        starts, hashed = config.hashing().bags(texts_of(examples.train.stream, delimiter))
        buckets, features = np.unique(hashed, return_inverse=True)
        right = np.asarray(examples.train.labels)
        importance = np.ones(len(labels)) if examples.weights is None else examples.weights
        rng = np.random.default_rng(seed)
        table = ((2 * rng.random((len(buckets), config.width), np.float32) - 1) / config.width).astype(
            np.float32
        )
        if vectors is not None:
            words, found = np.unique(config.hashing().of_words(vectors.words), return_index=True)
            rows = np.searchsorted(buckets, words[np.isin(words, buckets)])
            own = vectors.vectors[found[np.isin(words, buckets)]]
            spread = float(np.sqrt(np.square(own, dtype=np.float64).mean())) if len(own) else 0.0
            if spread:
                table[rows] = own / (spread * math.sqrt(3) * config.width)
            yield Note(f"{len(rows):,} of {len(buckets):,} features are words that begin with a vector")
        head = np.zeros((len(labels), config.width), np.float32)
        for epoch in range(config.epochs):
            rates = (config.rate * (1 - at / config.epochs) for at in (epoch, epoch + 1))
            order = rng.permutation(len(right))
            loss = sgd_epoch(order, starts, features, right, importance, table, head, *rates)
            yield Phase(f"epoch {epoch + 1} of {config.epochs}: {loss:.3f} nats per example")
        arrays = {
            "buckets": buckets,
            "table": table,
            "head": head,
            "counts": np.bincount(right, minlength=len(labels)),
            "scale": np.ones(1),
        }
        if not np.isfinite(table).all():
            raise UserError(f"bag-of-ngrams diverged at --rate {config.rate:g}: give a smaller one")
        model = cls(config, vocab_size, end, labels, arrays, delimiter)
        if examples.validation is None:
            yield Note("without validation examples it stays as sure as training left it")
        else:
            held_out, held_out_labels = examples.validation
            hidden = model._hidden(held_out)
            model.scale = best_scale(lambda scale: model._scaled(hidden, scale), np.asarray(held_out_labels))
        yield model

    def log_probs(self, texts: TokenStream) -> np.ndarray:
        found = np.empty((texts.n_documents, len(self.labels)), np.float32)
        for begin in range(0, texts.n_documents, TEXTS_AT_ONCE):
            rows = np.arange(begin, min(begin + TEXTS_AT_ONCE, texts.n_documents))
            found[rows] = self._scaled(self._hidden(texts.of_documents(rows)), self.scale)
        return found

    def _hidden(self, texts: TokenStream) -> tuple[np.ndarray, np.ndarray]:
        """Each text's averaged row (N, d), and whether it has a feature that is known (N,)."""
        from rung.models.linear.sgd_kernels import average_rows

        starts, hashed = self.config.hashing().bags(texts_of(texts, self.delimiter))
        places = np.searchsorted(self.buckets, hashed)
        known = places < len(self.buckets)
        known[known] = self.buckets[places[known]] == hashed[known]
        kept = Bags(np.concatenate([[0], np.cumsum(known)])[starts], places[known])
        return average_rows(*kept, self.table), np.diff(kept.starts) > 0

    def _scaled(self, hidden: tuple[np.ndarray, np.ndarray], scale: float) -> np.ndarray:
        rows, known = hidden
        logits = scale * np.einsum("nd,ld->nl", rows, self.head, dtype=np.float64)
        logits[~known] = np.log((self.counts + 1) / (self.counts.sum() + len(self.counts)))
        return log_softmax(logits)

    @property
    def n_parameters(self) -> int:
        return self.table.size + self.head.size

    def tensors(self) -> dict[str, np.ndarray]:
        return {
            "buckets": self.buckets,
            "table": self.table,
            "head": self.head,
            "counts": self.counts,
            "scale": np.array([self.scale]),
        }

    @classmethod
    def from_tensors(
        cls,
        config: Any,
        vocab_size: int,
        end: int,
        labels: Sequence[str],
        tensors: dict[str, np.ndarray],
        delimiter: int | None = None,
    ) -> Self:
        arrays = {name: np.array(tensors[name]) for name in ("buckets", "table", "head", "counts", "scale")}
        buckets = arrays["buckets"]
        check_array("buckets", buckets, "i8", [None])
        check_below("buckets", buckets, config.buckets)
        if len(buckets):
            check_rising("buckets", buckets, buckets[0], buckets[-1], strictly=True)
        check_array("table", arrays["table"], "f4", [len(buckets), config.width])
        check_array("head", arrays["head"], "f4", [len(labels), config.width])
        check_array("counts", arrays["counts"], "i8", [len(labels)])
        check_below("counts", arrays["counts"], 1 << 53)
        check_array("scale", arrays["scale"], "f8", [1])
        for name in ("table", "head", "scale"):
            check_finite(name, arrays[name])
        return cls(config, vocab_size, end, labels, arrays, delimiter)
