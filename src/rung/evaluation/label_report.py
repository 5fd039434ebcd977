"""What to look at beside a classifier's table: which labels it takes for which, whether it may be as sure as it is,
what it got wrong while it was sure, and which words speak loudest.

    precision = TP / (TP + FP), recall = TP / (TP + FN), F1 = 2 TP / (2 TP + FP + FN), each label against the rest
    calibration error = sum over bins of (n / N) |accuracy - mean confidence|     ten bins of equal width of the
                        likeliest label's probability (Guo et al. 2017, arXiv:1706.04599: ECE)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rung.text.labelled import LabelledCorpus, decode_examples

BINS = 10
MOST_LABELS = 20
"""Of a confusion matrix; of more labels the commonest."""
MOST_ROWS = 50
"""Labels that are told of one by one."""
MISTAKES = 10
LOUDEST = 12
LONGEST = 300
"""Characters of a text that are shown."""


def label_report(model: Any, corpus: LabelledCorpus, split: str, log_probs: np.ndarray) -> dict[str, Any]:
    """The facts, as JSON has them.

    Args:
        model: the classifier.
        corpus: in its tokens.
        split: what was measured.
        log_probs: of every label, nats (N, L), for the split.
    """
    right = np.asarray(corpus.labelled(split).labels)
    probs = np.exp(log_probs.astype(np.float64))
    guessed, sure = probs.argmax(axis=1), probs.max(axis=1)
    names = list(model.labels)
    shown = np.sort(np.argsort(-np.bincount(right, minlength=len(names)), kind="stable")[:MOST_LABELS])
    loudest = model.loudest(LOUDEST) if hasattr(model, "loudest") else None
    return {
        "split": split,
        "per_label": per_label(right, guessed, names)[:MOST_ROWS],
        "n_labels": len(names),
        "confusion": {
            "labels": [names[i] for i in shown],
            "counts": confusion(right, guessed, len(names))[np.ix_(shown, shown)].tolist(),
        },
        "reliability": reliability(guessed == right, sure),
        "calibration_error": calibration_error(guessed == right, sure),
        "mistakes": _mistakes(corpus, split, right, guessed, sure, names),
        **(
            {}
            if loudest is None
            else {"loudest": [[name, words] for name, words in loudest.items()][:MOST_LABELS]}
        ),
    }


def confusion(right: np.ndarray, guessed: np.ndarray, n_labels: int) -> np.ndarray:
    """How often each label (row) was taken for each (column), (L, L)."""
    return np.bincount(right * n_labels + guessed, minlength=n_labels**2).reshape(n_labels, n_labels)


def per_label(right: np.ndarray, guessed: np.ndarray, names: list[str]) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each label, the commonest first; None where it was never guessed, or is not there."""
    counts = confusion(right, guessed, len(names))
    there, said, hits = counts.sum(axis=1), counts.sum(axis=0), counts.diagonal()
    return [
        {
            "label": names[i],
            "examples": int(there[i]),
            "precision": float(hits[i] / said[i]) if said[i] else None,
            "recall": float(hits[i] / there[i]) if there[i] else None,
            "f1": float(2 * hits[i] / (there[i] + said[i])) if there[i] + said[i] else None,
        }
        for i in np.argsort(-there, kind="stable").tolist()
    ]


def reliability(hits: np.ndarray, sure: np.ndarray) -> list[dict[str, Any]]:
    """For each bin that holds an example: how many, how sure on average, how often right."""
    places = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    return [
        {
            "from": place / BINS,
            "examples": int((places == place).sum()),
            "confidence": float(sure[places == place].mean()),
            "accuracy": float(hits[places == place].mean()),
        }
        for place in range(BINS)
        if (places == place).any()
    ]


def calibration_error(hits: np.ndarray, sure: np.ndarray) -> float:
    """The mean distance between how sure and how often right, over the bins."""
    bins = reliability(hits, sure)
    return float(
        sum(one["examples"] * abs(one["accuracy"] - one["confidence"]) for one in bins) / max(len(hits), 1)
    )


def _mistakes(
    corpus: LabelledCorpus,
    split: str,
    right: np.ndarray,
    guessed: np.ndarray,
    sure: np.ndarray,
    names: list[str],
) -> list[dict[str, Any]]:
    """What was wrong while it was surest."""
    wrong = np.flatnonzero(guessed != right)
    rows = wrong[np.argsort(-sure[wrong], kind="stable")][:MISTAKES]
    texts, seconds = decode_examples(
        corpus.tokenizer, corpus.stream(split).of_documents(rows), corpus.delimiter
    )
    shown = (
        texts if seconds is None else [f"{one} ‖ {other}" for one, other in zip(texts, seconds, strict=True)]
    )
    return [
        {
            "text": text if len(text) <= LONGEST else text[:LONGEST] + " …",
            "label": names[right[row]],
            "guessed": names[guessed[row]],
            "probability": float(sure[row]),
        }
        for row, text in zip(rows.tolist(), shown, strict=True)
    ]
