"""A bag of words: which words a text holds, whatever their order, and how loudly each speaks for a label.

    P(label | text) = softmax(W x + b)          x: the text's words and runs of words, weighted (`words`)

Multinomial logistic regression (`logistic`), whose one minimum is found, with a penalty on W whose strength is chosen
on validation examples. It cuts texts itself, so it reads bytes. The baseline that a network has to be better than.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from rung.errors import UserError, nearest
from rung.events import Event, Note
from rung.models.base import CountedClassifier
from rung.models.config_checks import check_bool, check_counts, check_field
from rung.models.linear import logistic
from rung.models.linear.logistic import Weights
from rung.models.linear.token_bag import TokenBag
from rung.models.linear.words import UNITS, WEIGHTINGS, Cutting, Vocabulary
from rung.opening import check_array, check_finite
from rung.text.stream import LabelledExamples, TokenStream

if TYPE_CHECKING:
    from scipy.sparse import csr_array

LONGEST_RUN = 5
LONGEST_BY_DEFAULT = {"words": 2, "letters": 5}
WORDS_A_TEXT = 2
"""From so many words a text on, on average, words are what is counted; below, letters."""
LARGEST = 1 << 29
"""The most weights: 4 GiB while they are learned."""
MOST_ANSWERS = 1 << 27
"""The most texts times labels: 1 GiB a copy while weights are learned, and minutes."""
TEXTS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class BagOfWordsConfig:
    """Which features, and how strong the penalty."""

    weighting: str = "tf-idf"
    """tf-idf, counts or binary: what a word in a text counts by."""
    ngrams: int | None = None
    """The longest run that is a feature; by default 2 words, or 5 letters."""
    lowercase: bool = True
    """Whether capitals are made small. On the command line --lowercase=false."""
    stop_words: bool = False
    """Whether English words that say little by themselves are left out (the, of, with)."""
    min_count: int = 1
    """In how many training texts a feature must occur."""
    unit: str | None = None
    """words or letters; by default letters where texts are single words."""
    penalty: float | None = None
    """What half the squared weights cost beside the loss of all examples: 1 / C of scikit-learn; by default the best on
    validation."""

    def __post_init__(self) -> None:
        for name, allowed in (("weighting", WEIGHTINGS), ("unit", tuple(UNITS))):
            value = getattr(self, name)
            if value not in (*allowed, *([None] if name == "unit" else [])):
                near = nearest(value, allowed) if isinstance(value, str) else ""
                raise UserError(f"--{name} {value!r} is unknown{near} (known: {', '.join(allowed)})")
        check_field(
            self,
            "ngrams",
            lambda value: type(value) is int and 1 <= value <= LONGEST_RUN,
            f"1 to {LONGEST_RUN}",
            optional=True,
        )
        check_bool(self, "lowercase", "stop_words")
        check_counts(self, "min_count")
        check_field(
            self,
            "penalty",
            lambda value: type(value) in (int, float) and 0 < value < math.inf,
            "a number above 0",
            optional=True,
        )


class BagOfWords(CountedClassifier):
    """Logistic regression over the words of a text.

    Attributes:
        vocabulary: the features.
        weights: (K, F) and (K,), float32; K = 1 for two labels, else one row a label.
    """

    rung = "bag-of-words"
    config_class = BagOfWordsConfig
    tokenizer = "byte"
    reads_bytes = True

    def __init__(
        self,
        config: BagOfWordsConfig,
        vocab_size: int,
        end: int,
        labels: Sequence[str],
        vocabulary: Vocabulary,
        weights: Weights,
        delimiter: int | None = None,
    ) -> None:
        super().__init__(config, vocab_size, end, labels, delimiter)
        self.config: BagOfWordsConfig = config
        self.vocabulary = vocabulary
        self.weights = weights

    @classmethod
    def fit(
        cls,
        config: BagOfWordsConfig,
        examples: LabelledExamples,
        vocab_size: int,
        end: int,
        labels: Sequence[str],
        delimiter: int | None = None,
    ) -> Iterator[Event | Self]:
        """Find the weights. The model's config has the unit, the runs and the penalty chosen where none was given."""
        texts = texts_of(examples.train.stream, delimiter)
        unit = _fitting_unit(texts) if config.unit is None else config.unit
        config = replace(config, unit=unit, ngrams=config.ngrams or LONGEST_BY_DEFAULT[unit])
        vocabulary, counts = Vocabulary.of(texts, _cutting(config), config.min_count)
        n_weights = len(labels) * len(vocabulary.features)
        if n_weights > LARGEST:
            raise UserError(
                f"{len(labels):,} labels times {len(vocabulary.features):,} features are {n_weights:,} weights, more "
                f"than bag-of-words keeps ({LARGEST:,}): give a larger --min-count or --ngrams 1, or take bag-of-ngrams"
            )
        if len(labels) > 2 and len(labels) * len(texts) > MOST_ANSWERS:
            raise UserError(
                f"{len(labels):,} labels of {len(texts):,} texts are more than bag-of-words weighs at once "
                f"({MOST_ANSWERS:,} of both multiplied): take bag-of-ngrams, or ngram, or fewer texts"
            )
        x = vocabulary.weighted(counts, config.weighting)
        right = np.asarray(examples.train.labels)
        each = None if examples.weights is None else examples.weights[right]
        start = None
        if config.penalty is None:
            if examples.validation is None:
                config = replace(config, penalty=1.0)
                yield Note("without validation examples the penalty is not chosen: --penalty 1")
            else:
                held_out, held_out_labels = examples.validation
                seen = vocabulary.weighted(vocabulary.counts(texts_of(held_out, delimiter)), config.weighting)
                l2, start = logistic.best_strength(
                    x, right, len(labels), seen, np.asarray(held_out_labels), each
                )
                config = replace(config, penalty=l2)
                yield Note(f"--penalty {l2:.3g}: the penalty under which validation labels cost least")
        assert config.penalty is not None
        found = logistic.fit(x, right, len(labels), config.penalty, each, start)
        weights = Weights(found.rows.astype(np.float32), found.biases.astype(np.float32))
        yield cls(config, vocab_size, end, labels, vocabulary, weights, delimiter)

    def log_probs(self, texts: TokenStream) -> np.ndarray:
        found = np.empty((texts.n_documents, len(self.labels)), np.float32)
        for begin in range(0, texts.n_documents, TEXTS_AT_ONCE):
            rows = range(begin, min(begin + TEXTS_AT_ONCE, texts.n_documents))
            found[rows] = logistic.log_probs(
                self.weights, self.features(texts_of(texts, self.delimiter, rows))
            )
        return found

    def features(self, texts: Sequence[tuple[str, ...]]) -> csr_array:
        """What the texts hold, (N, F), weighted."""
        return self.vocabulary.weighted(self.vocabulary.counts(texts), self.config.weighting)

    def loudest(self, n: int) -> dict[str, list[tuple[str, float]]]:
        """For each label the `n` features that speak for it most, and their weights, loudest first."""
        rows = self.weights.rows
        if len(rows) == 1:
            rows = np.stack([-rows[0], rows[0]])
        return {
            label: [
                (self.vocabulary.name(feature), float(row[feature]))
                for feature in np.argsort(-row, kind="stable")[:n].tolist()
                if row[feature] > 0
            ]
            for label, row in zip(self.labels, rows, strict=True)
        }

    @property
    def n_parameters(self) -> int:
        return self.weights.rows.size + self.weights.biases.size

    def tensors(self) -> dict[str, np.ndarray]:
        return {**self.vocabulary.tensors(), "weight": self.weights.rows, "bias": self.weights.biases}

    @classmethod
    def from_tensors(
        cls,
        config: Any,
        vocab_size: int,
        end: int,
        labels: Sequence[str],
        tensors: dict[str, np.ndarray],
        delimiter: int | None = None,
    ) -> Self | TokenBag:
        if "words" not in tensors:
            return TokenBag.from_tensors(config, vocab_size, end, labels, tensors)
        vocabulary = Vocabulary.from_tensors(_cutting(config), tensors)
        rows, biases = np.array(tensors["weight"]), np.array(tensors["bias"])
        n_rows = 1 if len(labels) == 2 else len(labels)
        check_array("weight", rows, "f4", [n_rows, len(vocabulary.features)])
        check_array("bias", biases, "f4", [n_rows])
        check_finite("weight", rows)
        check_finite("bias", biases)
        return cls(config, vocab_size, end, labels, vocabulary, Weights(rows, biases), delimiter)


def texts_of(
    stream: TokenStream, delimiter: int | None, rows: Sequence[int] | None = None
) -> list[tuple[str, ...]]:
    """The texts of examples, one or two each, from their bytes."""
    found = []
    for row in range(stream.n_documents) if rows is None else rows:
        ids = stream.document(row)[:-1]
        if delimiter is None:
            found.append((_decoded(ids),))
        else:
            cut = int(np.flatnonzero(ids == delimiter)[0])
            found.append((_decoded(ids[:cut]), _decoded(ids[cut + 1 :])))
    return found


def _cutting(config: BagOfWordsConfig) -> Cutting:
    unit = config.unit or "words"
    return Cutting(unit, config.lowercase, config.stop_words, config.ngrams or LONGEST_BY_DEFAULT[unit])


def _fitting_unit(texts: Sequence[tuple[str, ...]]) -> str:
    """Letters where a text is hardly more than a word."""
    n_words = sum(len(UNITS["words"].findall(part)) for text in texts for part in text)
    return "words" if n_words >= WORDS_A_TEXT * len(texts) else "letters"


def _decoded(ids: np.ndarray) -> str:
    return ids.astype(np.uint8).tobytes().decode("utf-8", "replace")
