"""What tasks have in common whose answer is one of L labels: their models are classifiers."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from math import log
from typing import TypeVar

import numpy as np

from rung.batches import Batch
from rung.measure import Measure
from rung.models.base import Classifier
from rung.tasks.base import Column, Dataset, Pieces, Task

D = TypeVar("D", bound=Dataset)


class LabelTask(Task[D]):
    """One label for each example, measured by what the right ones cost.

    Accuracy and macro-F1 stand beside the bits; macro-F1 is the mean over labels of F1 = 2 TP / (2 TP + FP + FN).
    """

    columns = (
        Column("accuracy", "Accuracy", "accuracy", ".4f"),
        Column("macro_f1", "Macro-F1", "macro-F1", ".4f"),
    )

    @abstractmethod
    def right_labels(self, dataset: D, split: str) -> np.ndarray:
        """The number of each example's label (N,)."""

    def n_classes(self, model: Classifier) -> int:
        return len(model.labels)

    def even_guess(self, model: Classifier) -> float:
        return model.even_guess

    def lowest_loss(self, model: Classifier, batch: Batch) -> float:
        """The entropy of the labels, array 1, given the texts, array 0: zero where no text has two labels."""
        texts = [row.tobytes() for row in batch.arrays[0]]
        pairs = Counter(zip(texts, batch.arrays[1].tolist(), strict=True))
        seen = Counter(texts)
        return sum(-n * log(n / seen[text]) for (text, _), n in pairs.items()) / len(texts)

    def scores(self, model: Classifier, dataset: D, split: str) -> np.ndarray:
        """The log-probability of every label, (N, L)."""
        return model.log_probs(dataset.stream(split))

    def measure_of(self, scores: np.ndarray, dataset: D, split: str) -> Measure:
        return self.measure_labels(scores, self.right_labels(dataset, split), split)

    def measure_labels(self, log_probs: np.ndarray, labels: np.ndarray, split: str) -> Measure:
        """The measure of log-probabilities (N, L), in nats, of N examples whose right labels (N,) are known."""
        guessed = log_probs.argmax(axis=1)
        n_labels = log_probs.shape[1]
        hits = np.bincount(labels[guessed == labels], minlength=n_labels)
        there, said = np.bincount(labels, minlength=n_labels), np.bincount(guessed, minlength=n_labels)
        met = there + said > 0  # of a label that neither occurs nor was guessed there is no F1
        figures = {
            "accuracy": float(hits.sum() / len(labels)) if len(labels) else 0.0,
            "macro_f1": float(np.mean(2 * hits[met] / (there + said)[met])) if met.any() else 0.0,
        }
        nats = 0.0 - float(_log_probs_of(log_probs, labels).sum())  # nothing is 0, not -0
        return self.measure_from(nats, len(labels), len(labels), split, figures, {"labels": n_labels})

    def pieces(self, dataset: D, split: str) -> Pieces:
        right = self.right_labels(dataset, split)
        return Pieces(np.ones(len(right), np.int64), lambda scores: self.pieces_of(scores, right)[1])

    def pieces_of(self, scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Units (N,) and nats (N,) of N examples, each a piece, from log-probabilities (N, L) and right labels (N,)."""
        return np.ones(len(labels), np.int64), -_log_probs_of(scores, labels)


def _log_probs_of(log_probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.take_along_axis(log_probs, labels[:, None], axis=1)[:, 0].astype(np.float64)
