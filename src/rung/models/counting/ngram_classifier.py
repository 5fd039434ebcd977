"""Labels by counted n-grams: one Kneser-Ney model a label, and Bayes.

    P(l | text)  ~  P(l) P(text | l)^beta        P(l) = (C(l) + 1) / (N + L)

P(text | l) is the `ngram` rung's, fitted to the texts of label l alone, its closing mark included. A text's tokens are
no independent witnesses, so Bayes makes n-grams far too sure of themselves; beta, one number, says how much each token
counts, and is chosen on validation examples (`rung.models.temperature`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from rung.errors import UserError
from rung.events import Event, Note, Phase
from rung.models.base import CountedClassifier, fitted
from rung.models.config_checks import check_field
from rung.models.counting.ngram import INTERPOLATED, NGram, NGramConfig
from rung.models.temperature import best_scale, log_softmax
from rung.opening import check_array, check_below
from rung.text.stream import LabelledExamples, LabelledStream, TokenStream

SMOOTHINGS = (*INTERPOLATED, "add-k")
"""Those under which nothing is impossible."""


@dataclass(frozen=True)
class NGramClassifierConfig:
    """Settings of each label's model, and of what is made of them."""

    order: int | None = None
    """The longest n-gram, 1 to 16; by default what suits the size of the vocabulary."""
    smoothing: str = "kneser-ney"
    """kneser-ney (interpolated, modified), absolute, witten-bell or add-k."""
    beta: float | None = None
    """How much each token counts, 1 = as if it were independent of the others; by default the best on validation."""

    def __post_init__(self) -> None:
        if self.smoothing not in SMOOTHINGS:
            raise UserError(f"--smoothing {self.smoothing!r} is unknown (known: {', '.join(SMOOTHINGS)})")
        self.of_label()
        check_field(
            self,
            "beta",
            lambda value: type(value) in (int, float) and 0 < value <= 100,
            "a number above 0, up to 100",
            optional=True,
        )

    def of_label(self) -> NGramConfig:
        """The settings of one label's model."""
        return NGramConfig(self.order, self.smoothing)


class NGramClassifier(CountedClassifier):
    """An n-gram model a label.

    Attributes:
        models: L of them, in the order of the labels.
        counts: (L,) how many training examples each label has.
    """

    rung = "ngram"
    config_class = NGramClassifierConfig
    tokenizer = "char"

    def __init__(
        self,
        config: NGramClassifierConfig,
        vocab_size: int,
        end: int,
        labels: Sequence[str],
        models: Sequence[NGram],
        counts: np.ndarray,
        delimiter: int | None = None,
    ) -> None:
        super().__init__(config, vocab_size, end, labels, delimiter)
        self.config: NGramClassifierConfig = config
        self.models = list(models)
        self.counts = counts

    @classmethod
    def fit(
        cls,
        config: NGramClassifierConfig,
        examples: LabelledExamples,
        vocab_size: int,
        end: int,
        labels: Sequence[str],
        delimiter: int | None = None,
    ) -> Iterator[Event | Self]:
        """Count each label's texts. The model's config has the beta chosen where none was given."""
        stream, right = examples.train.stream, np.asarray(examples.train.labels)
        models = []
        for number, label in enumerate(labels):
            own = np.flatnonzero(right == number)
            if not len(own):
                raise UserError(
                    f"no training text has the label {label!r}: ngram has nothing to count for it"
                )
            yield Phase(f"counting label {number + 1} of {len(labels)}: {label}")
            texts = stream.of_documents(own)
            models.append(fitted(NGram.fit(config.of_label(), texts, vocab_size, end)))
        counts = np.bincount(right, minlength=len(labels))
        if examples.weights is not None:
            counts = np.rint(counts * examples.weights).astype(np.int64)
        config = replace(config, order=models[0].order)
        model = cls(config, vocab_size, end, labels, models, counts, delimiter)
        if config.beta is None:
            if examples.validation is None:
                yield Note(
                    "without validation examples each token counts as if it were independent: --beta 1"
                )
                model.config = replace(config, beta=1.0)
            else:
                yield Phase("choosing how much each token counts")
                beta = model.best_beta(examples.validation)
                yield Note(f"--beta {beta:.3g}: how much each token counts, by validation examples")
                model.config = replace(config, beta=beta)
        yield model

    def likelihoods(self, texts: TokenStream) -> np.ndarray:
        """log P(text | label) in nats, (N, L), float64; closing marks included."""
        begins = np.asarray(texts.starts[:-1]) - 1
        return np.stack(
            [np.add.reduceat(model.score_stream(texts).astype(np.float64), begins) for model in self.models],
            axis=1,
        )

    def log_probs(self, texts: TokenStream) -> np.ndarray:
        if not texts.n_documents:
            return np.empty((0, len(self.labels)), np.float32)
        beta = 1.0 if self.config.beta is None else self.config.beta
        return self._posterior(self.likelihoods(texts), beta).astype(np.float32)

    def best_beta(self, held_out: LabelledStream) -> float:
        """The beta under which the right labels of held-out examples cost least."""
        likelihoods = self.likelihoods(held_out.stream)
        return best_scale(lambda beta: self._posterior(likelihoods, beta), np.asarray(held_out.labels))

    def _posterior(self, likelihoods: np.ndarray, beta: float) -> np.ndarray:
        prior = (self.counts + 1) / (self.counts.sum() + len(self.counts))
        return log_softmax(np.log(prior) + beta * likelihoods)

    @property
    def n_parameters(self) -> int:
        return sum(model.n_parameters for model in self.models) + len(self.counts)

    def tensors(self) -> dict[str, np.ndarray]:
        of_models = {
            f"{number}.{name}": tensor
            for number, model in enumerate(self.models)
            for name, tensor in model.tensors().items()
        }
        return {"counts": self.counts, **of_models}

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
        counts = np.array(tensors["counts"])
        check_array("counts", counts, "i8", [len(labels)])
        check_below("counts", counts, 1 << 53)
        of_label: list[dict[str, np.ndarray]] = [{} for _ in labels]
        for name, tensor in tensors.items():
            number, dot, rest = name.partition(".")
            if dot:
                of_label[int(number)][rest] = tensor
        models = [NGram.from_tensors(config.of_label(), vocab_size, end, own) for own in of_label]
        return cls(config, vocab_size, end, labels, models, counts, delimiter)
