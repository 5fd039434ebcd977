"""A mixture of classifiers: the probability of each label a weighted sum of theirs.

    P(l | text) = sum over parts i of  weight[i] * P_i(l | text)

Linear interpolation; the weights maximise the likelihood of the right labels of the validation part, by expectation
maximisation (`rung.models.mix`), whose one maximum is no worse there than the best part alone. A part whose weight is
below `MIN_WEIGHT` is left out. Parts may cut texts differently: what comes in are bytes, and each part gets them in its
own tokens.

Like a mixture of language models it is saved whole, its parts and their tokenisers in its own file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from rung.errors import UserError
from rung.models.base import Classifier
from rung.models.mix import MIN_WEIGHT, expectation_maximisation
from rung.opening import check_array, check_kind, from_json
from rung.text.labelled import decode_examples, encode_examples
from rung.text.stream import LabelledStream, TokenStream
from rung.text.tokenizers import Tokenizer, tokenizer_from
from rung.text.tokenizers.characters import ByteTokenizer

BYTES = ByteTokenizer()


@dataclass(frozen=True)
class LabelMixConfig:
    """What to mix.

    Attributes:
        runs: folders of the runs to mix, two or more with the same labels.
    """

    runs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "runs", tuple(self.runs))


class LabelPart(NamedTuple):
    """A classifier, and how it cuts texts."""

    model: Classifier
    tokenizer: Tokenizer


class LabelMix(Classifier):
    """Parts and their weights.

    Attributes:
        parts: classifiers of the same labels.
        weights: (K,), their sum 1.
    """

    rung = "mix"
    config_class = LabelMixConfig
    trained_by = "mixing"
    tokenizer: ClassVar[str | None] = "byte"
    reads_bytes: ClassVar[bool] = True

    def __init__(
        self,
        config: LabelMixConfig,
        vocab_size: int,
        end: int,
        labels: Sequence[str],
        parts: Sequence[LabelPart],
        weights: np.ndarray,
        delimiter: int | None = None,
    ) -> None:
        super().__init__(config, vocab_size, end, labels, delimiter)
        self.parts = list(parts)
        self.weights = weights

    @classmethod
    def fit(
        cls,
        config: LabelMixConfig,
        parts: Sequence[LabelPart],
        held_out: LabelledStream,
        vocab_size: int,
        end: int,
        labels: Sequence[str],
        delimiter: int | None = None,
    ) -> Self:
        """Learn the weights on examples that no part was trained on.

        Raises UserError when there are fewer than two parts, or they answer with other labels.
        """
        if len(parts) < 2:
            raise UserError("a mixture needs two runs or more: name them with --runs")
        for part in parts:
            if part.model.labels != list(labels) or (part.model.delimiter is None) != (delimiter is None):
                raise UserError(
                    f"the {part.model.rung} to mix was trained on other labels or columns than these data have"
                )
        whole = cls(config, vocab_size, end, labels, parts, np.full(len(parts), 1 / len(parts)), delimiter)
        rows = np.arange(len(held_out.labels))
        right = np.stack(
            [scores[rows, held_out.labels] for scores in whole.scores_of(held_out.stream)], axis=1
        )
        weights = expectation_maximisation(right)
        used = np.flatnonzero(weights >= MIN_WEIGHT)
        weights = expectation_maximisation(right[:, used])
        return cls(config, vocab_size, end, labels, [parts[int(i)] for i in used], weights, delimiter)

    def scores_of(self, texts: TokenStream) -> list[np.ndarray]:
        """Of each part the log-probabilities (N, L)."""
        own, seconds = decode_examples(BYTES, texts, self.delimiter)
        return [part.model.log_probs(encode_examples(part.tokenizer, own, seconds)) for part in self.parts]

    def log_probs(self, texts: TokenStream) -> np.ndarray:
        mixed = np.full((texts.n_documents, len(self.labels)), -np.inf)
        for weight, scores in zip(self.weights, self.scores_of(texts), strict=True):
            mixed = np.logaddexp(mixed, np.log(weight) + scores)
        return mixed.astype(np.float32)

    @property
    def n_parameters(self) -> int:
        return sum(part.model.n_parameters for part in self.parts) + self.weights.size

    def tensors(self) -> dict[str, np.ndarray]:
        """The parts' tensors as `0.name`, `1.name`, ...; `parts`, what they are, as the bytes of a JSON list."""
        told = [
            {
                "model": part.model.describe(),
                "tokenizer": {"kind": part.tokenizer.kind, **part.tokenizer.to_json()},
            }
            for part in self.parts
        ]
        tensors = {"weights": self.weights, "parts": np.frombuffer(json.dumps(told).encode(), np.uint8)}
        for i, part in enumerate(self.parts):
            tensors |= {f"{i}.{name}": tensor for name, tensor in part.model.tensors().items()}
        return tensors

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
        from rung.models import class_described

        parts = []
        for i, told in enumerate(json.loads(tensors["parts"].tobytes())):
            check_kind("a part", told, dict)
            described, tokenizer = told["model"], tokenizer_from(told["tokenizer"])
            own = {name.removeprefix(f"{i}."): t for name, t in tensors.items() if name.startswith(f"{i}.")}
            part = class_described(described, "classification", "a part of the mixture")
            if part.trained_by == cls.trained_by:
                raise ValueError("a part of a mixture is none itself")
            shape = {name: described[name] for name in described.keys() - {"rung", "code", "config"}}
            wanted = tokenizer.vocab_size + (delimiter is not None)
            if (
                shape["vocab_size"] != wanted
                or shape["end"] != tokenizer.end
                or shape["labels"] != list(labels)
            ):
                raise ValueError(f"part {i} does not fit its tokeniser or the labels")
            model = part.from_tensors(from_json(part.config_class, described["config"]), tensors=own, **shape)
            parts.append(LabelPart(model, tokenizer))
        weights = np.array(tensors["weights"])
        check_array("weights", weights, "f8", [len(parts)])
        if not ((weights > 0).all() and np.isclose(weights.sum(), 1)):
            raise ValueError("the weights don't sum to 1")
        return cls(config, vocab_size, end, labels, parts, weights, delimiter)

    def summary(self) -> str:
        """The weights in words."""
        rows = [
            f"{part.model.rung} {weight:.2f}" for part, weight in zip(self.parts, self.weights, strict=True)
        ]
        return f"weights: {'; '.join(rows)}"
