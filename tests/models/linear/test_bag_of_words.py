"""A bag of words against scikit-learn's vectorisers and logistic regression."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from rung.errors import UserError
from rung.events import Note
from rung.models.base import fitted
from rung.models.linear import logistic
from rung.models.linear.bag_of_words import BagOfWords, BagOfWordsConfig, texts_of
from rung.models.linear.words import UNITS, Cutting, Vocabulary
from rung.testing import check_classifier
from rung.text.labelled import encode_examples
from rung.text.stream import LabelledExamples, LabelledStream
from rung.text.tokenizers import ByteTokenizer

BYTES = ByteTokenizer()
LABELS = ["bad", "good", "so-so"]
TEXTS = [
    "A good, good film! I don't regret it.",
    "Not good at all: dull",
    "so so; it is what it is",
    "the best film I saw",
    "bad bad BAD",
    "电影很好 really",
    "",
    "it's fine, so-so",
]


def labelled(texts: list[str], labels: list[int], seconds: list[str] | None = None) -> LabelledStream:
    return LabelledStream(encode_examples(BYTES, texts, seconds), np.array(labels))


def trained(config: BagOfWordsConfig | None = None, labels: list[str] = LABELS, **more: Any) -> BagOfWords:
    train = labelled(TEXTS * 3, [i % len(labels) for i in range(len(TEXTS))] * 3)
    examples = LabelledExamples(train, **more)
    return fitted(BagOfWords.fit(config or BagOfWordsConfig(), examples, 257, 256, labels))


def theirs(cutting: Cutting) -> dict[str, Any]:
    return {
        "tokenizer": UNITS["words"].findall,
        "token_pattern": None,
        "lowercase": cutting.lowercase,
        "ngram_range": (1, cutting.longest),
    }


@pytest.mark.parametrize("longest", [1, 2, 3])
@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("weighting", ["counts", "binary", "tf-idf"])
def test_features_are_scikit_learns(longest: int, lowercase: bool, weighting: str):
    cutting = Cutting("words", lowercase, stop_words=False, longest=longest)
    vocabulary, counts = Vocabulary.of([(text,) for text in TEXTS], cutting, 1)
    names = [vocabulary.name(i) for i in range(len(vocabulary.features))]
    if weighting == "tf-idf":
        made: Any = TfidfVectorizer(sublinear_tf=True, **theirs(cutting))
    else:
        made = CountVectorizer(binary=weighting == "binary", **theirs(cutting))
    expected = made.fit_transform(TEXTS).toarray()
    columns = [made.vocabulary_[name] for name in names]
    assert sorted(columns) == list(range(expected.shape[1]))
    ours = vocabulary.weighted(counts, weighting).toarray()
    np.testing.assert_allclose(ours, expected[:, columns], atol=1e-6)
    new = ["good so so never seen", "film film I", ""]
    seen = vocabulary.weighted(vocabulary.counts([(text,) for text in new]), weighting).toarray()
    np.testing.assert_allclose(seen, made.transform(new).toarray()[:, columns], atol=1e-6)


@settings(deadline=None, max_examples=15)
@given(st.integers(2, 4), st.sampled_from([0.05, 0.3, 2.0]), st.booleans(), st.integers(0, 99))
def test_weights_are_scikit_learns(n_labels: int, l2: float, weighted: bool, seed: int):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((60, 7)) * (rng.random((60, 7)) < 0.5)
    y = np.concatenate([np.arange(n_labels), rng.integers(0, n_labels, 60 - n_labels)])
    each = rng.random(60) + 0.5 if weighted else None
    ours = logistic.fit(csr_array(x), y, n_labels, l2, each, tolerance=1e-14)
    model = LogisticRegression(C=1 / l2, tol=1e-10, max_iter=10_000).fit(x, y, sample_weight=each)
    np.testing.assert_allclose(ours.rows, model.coef_, atol=2e-4)
    np.testing.assert_allclose(ours.biases - ours.biases.mean() * (n_labels > 2), model.intercept_, atol=2e-4)
    np.testing.assert_allclose(logistic.log_probs(ours, csr_array(x)), model.predict_log_proba(x), atol=1e-3)


@pytest.mark.parametrize(
    "config",
    [
        BagOfWordsConfig(),
        BagOfWordsConfig(weighting="counts", ngrams=1, stop_words=True, lowercase=False),
        BagOfWordsConfig(unit="letters", ngrams=3, penalty=0.1),
    ],
)
def test_the_contract(config: BagOfWordsConfig):
    check_classifier(trained(config))
    check_classifier(trained(config, labels=["a", "b"]))


def test_the_penalty_is_the_best_of_those_tried_on_validation():
    rng = np.random.default_rng(0)
    words = np.array(["good", "bad", "the", "film", "a", "was"])

    def drawn(n: int) -> LabelledStream:
        labels = rng.integers(0, 2, n)
        p = np.array([[0.3, 0.1, 0.2, 0.2, 0.1, 0.1], [0.1, 0.3, 0.2, 0.2, 0.1, 0.1]])
        return labelled([" ".join(rng.choice(words, 6, p=p[label])) for label in labels], labels.tolist())

    train, held_out = drawn(200), drawn(300)
    *events, model = BagOfWords.fit(
        BagOfWordsConfig(), LabelledExamples(train, held_out), 257, 256, ["yes", "no"]
    )
    assert isinstance(model, BagOfWords)
    assert any(isinstance(event, Note) and "--penalty" in event.text for event in events)

    def cost(penalty: float | None) -> float:
        config = BagOfWordsConfig(penalty=penalty)
        one = fitted(BagOfWords.fit(config, LabelledExamples(train, held_out), 257, 256, ["yes", "no"]))
        found = one.log_probs(held_out.stream)
        return -float(found[np.arange(300), held_out.labels].sum())

    costs = {penalty: cost(penalty) for penalty in logistic.STRENGTHS}
    assert model.config.penalty == pytest.approx(min(costs, key=costs.__getitem__))


def test_the_words_that_speak_loudest():
    loud = trained(labels=["a", "b"]).loudest(3)
    assert set(loud) == {"a", "b"}
    weights = [weight for _, weight in loud["a"]]
    assert weights == sorted(weights, reverse=True)


def test_of_two_texts_each_has_words_of_its_own():
    texts, seconds = ["a cat", "a dog", "a cat", "a dog"] * 5, ["a cat", "a cat", "a dog", "a dog"] * 5
    train = labelled(texts, [1, 0, 0, 1] * 5, seconds)
    model = fitted(
        BagOfWords.fit(BagOfWordsConfig(penalty=0.01), LabelledExamples(train), 258, 256, ["no", "yes"], 257)
    )
    assert texts_of(train.stream, 257)[1] == ("a dog", "a cat")
    names = {model.vocabulary.name(i) for i in range(len(model.vocabulary.features))}
    assert {"cat", "2: cat", "a dog", "2: a dog"} <= names
    loaded = BagOfWords.from_tensors(model.config, 258, 256, ["no", "yes"], model.tensors(), 257)
    np.testing.assert_array_equal(loaded.log_probs(train.stream), model.log_probs(train.stream))


def test_letters_are_counted_where_texts_are_single_words():
    train = labelled(["anna", "otto", "maria", "karl"] * 3, [0, 1, 0, 1] * 3)
    model = fitted(
        BagOfWords.fit(BagOfWordsConfig(penalty=0.1), LabelledExamples(train), 257, 256, ["f", "m"])
    )
    assert model.config.unit == "letters"


def test_what_cannot_be_is_told():
    for texts, config, says in (
        (["", "!"], BagOfWordsConfig(unit="words"), "the texts hold none"),
        (["a b", "c d"], BagOfWordsConfig(min_count=9), "--min-count 9 leaves none"),
    ):
        examples = LabelledExamples(labelled(texts, [0, 1]))
        with pytest.raises(UserError, match=says):
            fitted(BagOfWords.fit(config, examples, 257, 256, ["a", "b"]))
    with pytest.raises(UserError, match="did you mean 'counts'"):
        BagOfWordsConfig(weighting="count")


def test_runs_of_the_earlier_bag_open():
    """Their logits are the mean of the tokens' rows, and a bias."""
    rng = np.random.default_rng(0)
    tensors = {
        "weight": rng.standard_normal((9, 3)).astype(np.float32),
        "bias": rng.standard_normal(3).astype(np.float32),
    }
    model = BagOfWords.from_tensors(BagOfWordsConfig(), 9, 8, LABELS, tensors)
    from rung.text.stream import TokenStream

    stream = TokenStream.of([np.array([1, 2, 2]), np.array([], np.int64)], 8)
    logits = np.stack([tensors["weight"][[1, 2, 2]].mean(axis=0) + tensors["bias"], tensors["bias"]])
    expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(model.log_probs(stream), expected, atol=1e-6)
