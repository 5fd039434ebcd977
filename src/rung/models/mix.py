"""A mixture: several models of one tokeniser, each probability a weighted sum of theirs.

    P(w | h) = sum over parts i of  weight[c(h), i] * P_i(w | h)

Linear interpolation (Jelinek & Mercer 1980). The weights maximise the likelihood of held-out text, by expectation
maximisation: the share of each token that each part explains, averaged. That likelihood is concave in the weights, so
the maximum found is the only one, and no worse than giving all weight to the best part.

c(h) is how sure the counts are: which of a few classes the longest history that an n-gram part has seen falls into.
Where counting knows a long history it earns more weight, where it has to guess the others do. Without an n-gram part
there is one class. Classes are smoothed towards the weights of all held-out text, as if `PRIOR_TOKENS` tokens
more had been seen in each, so that a class met rarely can't do harm.

A part whose weight is nowhere above `MIN_WEIGHT` is left out.

A mixture is saved whole: its parts' tensors lie in its own file, under their number, and the runs it was made from
are not needed any more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from rung.errors import UserError
from rung.models.base import LanguageModel, State
from rung.models.counting.backoff_trie import BackoffTrie
from rung.models.counting.ngram import NGram
from rung.opening import check_array, from_json, is_finite
from rung.text.stream import TokenStream

PRIOR_TOKENS = 100.0
ITERATIONS = 500
TOLERANCE = 1e-9
MIN_WEIGHT = 1e-3


@dataclass(frozen=True)
class MixConfig:
    """What to mix, and how.

    Attributes:
        runs: folders of the runs to mix, two or more of one tokeniser.
        weights: by "confidence", a set of weights for each class of how long a history an n-gram part has seen; or
            "one" set for every token.
    """

    runs: tuple[str, ...] = ()
    weights: str = "confidence"

    def __post_init__(self) -> None:
        object.__setattr__(self, "runs", tuple(self.runs))
        if self.weights not in ("confidence", "one"):
            raise UserError(f"--weights {self.weights!r} is unknown (known: confidence, one)")


class Mix(LanguageModel):
    """Parts and their weights.

    A state is the parts' states, and each history's class where there are classes. `context` is the longest of the
    parts' (None when one of them remembers everything).

    Attributes:
        parts: the models, of one vocabulary.
        weights: (C, K), a row a class, each summing to 1.
    """

    rung = "mix"
    config_class = MixConfig
    trained_by = "mixing"

    def __init__(
        self,
        config: MixConfig,
        vocab_size: int,
        end: int,
        parts: Sequence[LanguageModel],
        weights: np.ndarray,
    ) -> None:
        super().__init__(config, vocab_size, end)
        self.parts = list(parts)
        self.weights = weights
        contexts = [part.context for part in parts]
        self.context = None if None in contexts else max(c for c in contexts if c is not None)
        self._classifier = _history_classifier(self.parts) if len(weights) > 1 else None
        with np.errstate(divide="ignore"):
            self._log_weights = np.log(weights)

    @classmethod
    def fit(cls, config: MixConfig, parts: Sequence[LanguageModel], held_out: TokenStream) -> Self:
        """Learn the weights on text that no part was trained on.

        Raises UserError when the parts' vocabularies differ or there are fewer than two.
        """
        if len(parts) < 2:
            raise UserError("a mixture needs two runs or more: name them with --runs")
        sizes = {(part.vocab_size, part.end) for part in parts}
        if len(sizes) > 1:
            raise UserError(
                f"the runs to mix have different vocabularies: {', '.join(str(v) for v, _ in sizes)} ids"
            )
        log_probs = np.stack([part.score_stream(held_out) for part in parts], axis=1)  # (N, K)
        for part, own in zip(parts, log_probs.T, strict=True):
            if not is_finite(own):
                raise UserError(f"the {part.rung} run gives probabilities that are no numbers; leave it out")
        classifier = _history_classifier(parts) if config.weights == "confidence" else None
        weights = _fit_weights(log_probs, classifier, held_out)
        # Parts that explain nothing would only cost time and space; the others' weights are learned anew.
        used = [i for i in range(len(parts)) if weights[:, i].max() >= MIN_WEIGHT]
        if len(used) < len(parts):
            parts, log_probs = [parts[i] for i in used], log_probs[:, used]
            classifier = _history_classifier(parts) if config.weights == "confidence" else None
            weights = _fit_weights(log_probs, classifier, held_out)
        vocab_size, end = sizes.pop()
        return cls(config, vocab_size, end, parts, weights)

    def start(self, batch: int = 1) -> State:
        return [part.start(batch) for part in self.parts]

    def advance(self, state: State, tokens: np.ndarray) -> tuple[np.ndarray, State]:
        moved = [part.advance(own, tokens) for part, own in zip(self.parts, state, strict=True)]
        states = [own for _, own in moved]
        # The class is that of the history the next token follows: the states after these tokens.
        classes = self._classifier.classes_of_state(states) if self._classifier is not None else 0
        weights = np.broadcast_to(self._log_weights[classes], (len(moved[0][0]), len(self.parts)))
        return _log_sum([(weights[:, i, None], log_probs) for i, (log_probs, _) in enumerate(moved)]), states

    def select(self, state: State, rows: np.ndarray) -> State:
        return [part.select(own, rows) for part, own in zip(self.parts, state, strict=True)]

    def score(self, tokens: np.ndarray) -> np.ndarray:
        tokens = self.check_tokens(tokens)
        rows = tokens if tokens.ndim == 2 else tokens[None]
        # Documents of the stream end with a mark that nobody asked about; it is cut off again.
        stream = TokenStream.of(list(rows), self.end)
        return self.score_stream(stream).reshape(len(rows), -1)[:, :-1].reshape(tokens.shape)

    def score_stream(self, stream: TokenStream) -> np.ndarray:
        classes = self._classifier.classes_of(stream) if self._classifier is not None else 0
        weights = np.broadcast_to(self._log_weights[classes], (stream.n_tokens, len(self.parts)))
        return _log_sum([(weights[:, i], part.score_stream(stream)) for i, part in enumerate(self.parts)])

    @property
    def n_parameters(self) -> int:
        return sum(part.n_parameters for part in self.parts) + self.weights.size

    def tensors(self) -> dict[str, np.ndarray]:
        """The parts' tensors as `0.name`, `1.name`, ...; `parts`, what they are, as the bytes of a JSON list."""
        described = json.dumps([part.describe() for part in self.parts]).encode()
        tensors = {"weights": self.weights, "parts": np.frombuffer(described, np.uint8)}
        for i, part in enumerate(self.parts):
            tensors |= {f"{i}.{name}": tensor for name, tensor in part.tensors().items()}
        return tensors

    @classmethod
    def from_tensors(
        cls, config: MixConfig, vocab_size: int, end: int, tensors: dict[str, np.ndarray]
    ) -> Self:
        from rung.models import class_described

        parts = []
        for i, described in enumerate(json.loads(tensors["parts"].tobytes())):
            own = {name.removeprefix(f"{i}."): t for name, t in tensors.items() if name.startswith(f"{i}.")}
            part = class_described(described, of="a part of the mixture")
            part_config = from_json(part.config_class, described["config"])
            parts.append(part.from_tensors(part_config, vocab_size, end, own))
        weights = np.array(tensors["weights"])
        check_array("weights", weights, "f8", [None, len(parts)])
        classifier = _history_classifier(parts)
        if len(weights) not in (1, classifier.n_classes if classifier is not None else 1):
            raise ValueError(f"weights has {len(weights)} rows")
        if not ((weights >= 0).all() and np.allclose(weights.sum(axis=1), 1)):
            raise ValueError("a row of weights does not sum to 1")
        return cls(config, vocab_size, end, parts, weights)

    def summary(self) -> str:
        """The weights in words."""
        rows = [
            f"{part.rung} {' '.join(f'{weight:.2f}' for weight in weights)}"
            for part, weights in zip(self.parts, self.weights.T, strict=True)
        ]
        by = "" if len(self.weights) == 1 else " after a known history of 0, 1, 2, ... tokens"
        return f"weights{by}: {'; '.join(rows)}"


def _fit_weights(
    log_probs: np.ndarray, classifier: _HistoryClassifier | None, held_out: TokenStream
) -> np.ndarray:
    """The weights (C, K): a row a class, or one row where there is no classifier or classes don't pay."""
    everywhere = expectation_maximisation(log_probs)
    if classifier is None:
        return everywhere[None]
    classes = classifier.classes_of(held_out)
    rows = [
        expectation_maximisation(log_probs[classes == c], everywhere, PRIOR_TOKENS)
        for c in range(classifier.n_classes)
    ]
    by_class = np.stack(rows)
    paid = _negative_log_likelihood(log_probs, by_class[classes]) <= _negative_log_likelihood(
        log_probs, everywhere[None]
    )
    return by_class if paid else everywhere[None]


def expectation_maximisation(
    log_probs: np.ndarray, prior: np.ndarray | None = None, strength: float = 0.0
) -> np.ndarray:
    """The weights (K,) that maximise the sum over tokens of log(sum over parts of weight * p).

    Args:
        log_probs: log p of each token under each part, nats.
        prior: weights to lean towards, as if `strength` tokens more had been explained in these shares.
        strength: how many.
    """
    n, k = log_probs.shape
    weights = np.full(k, 1 / k) if prior is None else prior
    if n == 0:
        return weights
    # Only the ratios within a token matter; scaled so, nothing underflows.
    likelihoods = np.exp(log_probs - log_probs.max(axis=1, keepdims=True), dtype=np.float64)
    leaning = 0.0 if prior is None else strength * prior
    for _ in range(ITERATIONS):
        explained = likelihoods @ weights
        shares = weights * (likelihoods.T @ (1 / explained))
        updated = (shares + leaning) / (n + strength)
        moved = np.abs(updated - weights).max()
        weights = updated
        if moved < TOLERANCE:
            break
    return weights / weights.sum()


def _negative_log_likelihood(log_probs: np.ndarray, weights: np.ndarray) -> float:
    highest = log_probs.max(axis=1, keepdims=True)
    mixed = (np.exp(log_probs - highest, dtype=np.float64) * weights).sum(axis=1)
    return -float((np.log(mixed) + highest[:, 0]).sum())


def _log_sum(terms: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """log of the sum of exp(log-weight + log-probability), float32."""
    total = terms[0][0] + terms[0][1]
    for log_weight, log_probs in terms[1:]:
        total = np.logaddexp(total, log_weight + log_probs)
    return total.astype(np.float32)


class _HistoryClassifier:
    """Tells the class of a history from an n-gram part: how many of its last tokens, as one n-gram, were seen."""

    def __init__(self, part: int, trie: BackoffTrie, end: int) -> None:
        self._part = part
        self._trie = trie
        self._end = end
        self.n_classes = trie.order

    def classes_of(self, stream: TokenStream) -> np.ndarray:
        """The class (N,) of the history of every token that `score_stream` scores."""
        return self._trie.lengths(self._trie.histories(np.asarray(stream.ids), self._end)[:-1])

    def classes_of_state(self, states: list[Any]) -> np.ndarray:
        return self._trie.lengths(states[self._part])


def _history_classifier(parts: Sequence[LanguageModel]) -> _HistoryClassifier | None:
    """From the n-gram part of the highest order; None when there is none, or none that looks back."""
    found = [
        (part.order, i, part) for i, part in enumerate(parts) if isinstance(part, NGram) and part.order > 1
    ]
    if not found:
        return None
    _, i, part = max(found, key=lambda item: item[0])
    return _HistoryClassifier(i, part.trie, part.end)
