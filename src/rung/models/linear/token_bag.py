"""What `bag-of-words` was before it cut texts itself: a row of label weights a token, averaged. Old runs open as it.

logits = b + mean over the text's tokens of W[token]         W: (V, L)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from rung.models.base import Classifier, check_tensors
from rung.models.temperature import log_softmax
from rung.text.stream import TokenStream


class TokenBag(Classifier):
    """Logistic regression over a bag of tokens: it can be read and measured, no longer trained."""

    rung = "bag-of-words"
    trained_by = "counting"

    def __init__(
        self, config: Any, vocab_size: int, end: int, labels: Sequence[str], tensors: dict[str, np.ndarray]
    ) -> None:
        super().__init__(config, vocab_size, end, labels)
        self._tensors = tensors

    def log_probs(self, texts: TokenStream) -> np.ndarray:
        weight, bias = (self._tensors[name].astype(np.float64) for name in ("weight", "bias"))
        rows = [weight[texts.document(i)[:-1]] for i in range(texts.n_documents)]
        logits = np.stack([row.sum(axis=0) / max(1, len(row)) for row in rows]) + bias
        return log_softmax(logits).astype(np.float32)

    @property
    def n_parameters(self) -> int:
        return sum(tensor.size for tensor in self._tensors.values())

    def tensors(self) -> dict[str, np.ndarray]:
        return dict(self._tensors)

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
        check_tensors({"weight": (vocab_size, len(labels)), "bias": (len(labels),)}, tensors)
        return cls(config, vocab_size, end, labels, {name: np.array(t) for name, t in tensors.items()})
