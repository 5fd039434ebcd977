"""Labels by n-grams and Bayes: against sums on paper, and the contract."""

from __future__ import annotations

import numpy as np
import pytest

from rung.errors import UserError
from rung.models.base import fitted
from rung.models.counting.ngram import NGram, NGramConfig
from rung.models.counting.ngram_classifier import NGramClassifier, NGramClassifierConfig
from rung.testing import check_classifier
from rung.text.stream import LabelledExamples, LabelledStream, TokenStream

V, END = 7, 6


def drawn(n: int, seed: int) -> LabelledStream:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    texts = [
        rng.choice(END, rng.integers(0, 9), p=np.roll([0.4, 0.2, 0.1, 0.1, 0.1, 0.1], 2 * label))
        for label in labels
    ]
    return LabelledStream(TokenStream.of(texts, END), labels)


def counted(config: NGramClassifierConfig, examples: LabelledExamples, labels: list[str]) -> NGramClassifier:
    return fitted(NGramClassifier.fit(config, examples, V, END, labels))


def test_it_is_bayes_with_a_model_a_label():
    train, new = drawn(300, 0), drawn(50, 1)
    config = NGramClassifierConfig(order=3, beta=0.7)
    model = fitted(NGramClassifier.fit(config, LabelledExamples(train), V, END, ["a", "b", "c"]))
    logits = []
    for label in range(3):
        texts = [train.stream.document(i)[:-1] for i in np.flatnonzero(train.labels == label).tolist()]
        own = fitted(NGram.fit(NGramConfig(order=3), TokenStream.of(texts, END), V, END))
        prior = (len(texts) + 1) / (300 + 3)
        likelihoods = [float(own.score(new.stream.document(i)).sum()) for i in range(50)]
        logits.append(np.log(prior) + 0.7 * np.array(likelihoods))
    rows = np.stack(logits, axis=1)
    expected = rows - np.logaddexp.reduce(rows, axis=1)[:, None]
    np.testing.assert_allclose(model.log_probs(new.stream), expected, atol=1e-4)


def test_the_contract():
    model = counted(
        NGramClassifierConfig(order=2), LabelledExamples(drawn(200, 0), drawn(50, 2)), ["a", "b", "c"]
    )
    check_classifier(model)


def test_beta_is_the_best_on_validation():
    train, held_out = drawn(200, 0), drawn(200, 3)
    model = counted(NGramClassifierConfig(), LabelledExamples(train, held_out), ["a", "b", "c"])
    assert model.config.beta is not None
    costs = {}
    for beta in (model.config.beta * 0.8, model.config.beta, model.config.beta * 1.25):
        model.config = NGramClassifierConfig(model.config.order, beta=beta)
        costs[beta] = -float(model.log_probs(held_out.stream)[np.arange(200), held_out.labels].sum())
    assert min(costs, key=costs.__getitem__) == sorted(costs)[1]


def test_balanced_weights_make_labels_equally_likely_beforehand():
    train = LabelledStream(
        TokenStream.of([np.array([1])] * 9 + [np.array([1])], END), np.array([0] * 9 + [1])
    )
    weights = np.array([10 / 18, 10 / 2])
    model = counted(NGramClassifierConfig(beta=1.0), LabelledExamples(train, None, weights), ["a", "b"])
    assert model.counts.tolist() == [5, 5]


def test_a_label_without_texts_is_told():
    train = LabelledStream(TokenStream.of([np.array([1]), np.array([2])], END), np.array([0, 0]))
    with pytest.raises(UserError, match="no training text has the label 'b'"):
        fitted(NGramClassifier.fit(NGramClassifierConfig(), LabelledExamples(train), V, END, ["a", "b"]))
