"""What to look at beside a tagger's table: words it knew and words it didn't, which tags it takes for which, and the
spans it found, missed and got wrong.

    accuracy = words whose tag is right / words, with a 95 % interval from sentences drawn again
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import log
from typing import Any

import numpy as np

from rung.evaluation.label_report import per_label
from rung.evaluation.statistics import bootstrap_interval
from rung.tasks.tagging import known_words, sentences_of
from rung.text.spans import marks_spans, spans_of
from rung.text.tagged import TaggedCorpus, decode_sentences, word_counts

MOST_TAGS = 50
CONFUSIONS = 15
EXAMPLES = 12
AROUND = 4
"""Words shown on each side of one that is spoken of."""


def tag_report(model: Any, corpus: TaggedCorpus, split: str, scores: np.ndarray) -> dict[str, Any]:
    """The facts, as JSON has them.

    Args:
        model: the tagger.
        corpus: as it reads it.
        split: what was measured.
        scores: of every word (W, 2), the task's: the second is the tag that was answered.
    """
    stream, tags = corpus.tagged(split)
    right, guessed = np.asarray(tags), scores[:, 1].astype(np.int64)
    counts, known = word_counts(stream, corpus.delimiter), known_words(corpus, split)
    names = list(model.tags)
    words = [word for sentence in decode_sentences(corpus.tokenizer, stream) for word in sentence]
    hits = right == guessed
    sentence = np.repeat(np.arange(len(counts)), counts)
    return {
        "split": split,
        "accuracies": [
            {"of": of, "words": int(chosen.sum()), **_accuracy(hits[chosen], sentence[chosen])}
            for of, chosen in (
                ("all words", np.ones_like(known)),
                ("words of the training part", known),
                ("words it does not have", ~known),
            )
            if chosen.any()
        ],
        "per_tag": per_label(right, guessed, names)[:MOST_TAGS],
        "n_tags": len(names),
        "confusions": _confusions(right, guessed, words, names),
        "n_wrong": int((~hits).sum()),
        **({"spans": _spans(right, guessed, counts, words, names)} if marks_spans(names) else {}),
    }


def _accuracy(hits: np.ndarray, sentence: np.ndarray) -> dict[str, Any]:
    _, place = np.unique(sentence, return_inverse=True)
    of = np.bincount(place, hits), np.bincount(place)
    interval = bootstrap_interval(of[0] * log(2), of[1])  # the bits per unit of so many bits are their share
    return {"accuracy": float(hits.mean()), "ci95": None if interval is None else list(interval)}


def _confusions(
    right: np.ndarray, guessed: np.ndarray, words: list[str], names: list[str]
) -> list[dict[str, Any]]:
    """The commonest mistakes: what for what, how often, the words they were made with most."""
    wrong = np.flatnonzero(right != guessed)
    pairs = Counter(zip(right[wrong].tolist(), guessed[wrong].tolist(), strict=True))
    made: dict[tuple[int, int], Counter[str]] = {}
    for place in wrong.tolist():
        made.setdefault((int(right[place]), int(guessed[place])), Counter())[words[place]] += 1
    return [
        {
            "right": names[pair[0]],
            "answered": names[pair[1]],
            "words": n,
            "examples": [word for word, _ in made[pair].most_common(5)],
        }
        for pair, n in pairs.most_common(CONFUSIONS)
    ]


def _spans(
    right: np.ndarray, guessed: np.ndarray, counts: np.ndarray, words: list[str], names: list[str]
) -> dict[str, Any]:
    """Spans by kind, and some that were missed, or said where there are none or others."""
    kinds: dict[str, Counter[str]] = {}
    missed, wrong = list[dict[str, Any]](), list[dict[str, Any]]()
    borders = [0, *np.cumsum(counts).tolist()]
    for (begin, end), own, said in zip(
        pairwise(borders),
        sentences_of(right, counts, names),
        sentences_of(guessed, counts, names),
        strict=True,
    ):
        there, told = set(spans_of(own)), set(spans_of(said))
        for span in there | told:
            of = "found" if span in there & told else "missed" if span in there else "wrong"
            kinds.setdefault(span[0], Counter())[of] += 1
            shown = missed if of == "missed" else wrong
            if of != "found" and len(shown) < EXAMPLES:
                shown.append(_shown(span, words[begin:end]))
    return {
        "kinds": [
            {
                "kind": kind,
                "found": n["found"],
                "missed": n["missed"],
                "wrong": n["wrong"],
                "f1": 2 * n["found"] / (2 * n["found"] + n["missed"] + n["wrong"]),
            }
            for kind, n in sorted(kinds.items())
        ],
        "missed": missed,
        "wrong": wrong,
    }


def _shown(span: tuple[str, int, int], words: list[str]) -> dict[str, Any]:
    kind, begin, end = span
    return {
        "kind": kind,
        "before": " ".join(words[max(0, begin - AROUND) : begin]),
        "span": " ".join(words[begin:end]),
        "after": " ".join(words[end : end + AROUND]),
    }
