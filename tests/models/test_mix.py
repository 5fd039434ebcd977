"""Mixtures: the contract, the weights against an optimiser that knows no EM, never behind the best part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from rung.errors import UserError
from rung.models.base import LanguageModel, fitted
from rung.models.counting.bigram import Bigram, BigramConfig
from rung.models.counting.ngram import NGram, NGramConfig
from rung.models.mix import Mix, MixConfig, expectation_maximisation
from rung.models.networks.neural_bigram import NeuralBigram, NeuralBigramConfig
from rung.testing import check_model
from rung.text.stream import TokenStream

V, END = 7, 6
corpora = st.lists(st.lists(st.integers(0, V - 2), max_size=30), min_size=1, max_size=6)


def stream_of(documents: list[list[int]]) -> TokenStream:
    return TokenStream.of([np.array(document, np.int64) for document in documents], END)


def parts_of(documents: list[list[int]]) -> list[LanguageModel]:
    stream = stream_of(documents)
    return [
        fitted(Bigram.fit(BigramConfig(add_k=0.5), stream, V, END)),
        fitted(NGram.fit(NGramConfig(order=3), stream, V, END)),
        fitted(NGram.fit(NGramConfig(order=1), stream, V, END)),
    ]


def nats(model: LanguageModel, stream: TokenStream) -> float:
    return -float(model.score_stream(stream).astype(np.float64).sum())


@settings(deadline=None, max_examples=15)
@given(corpora, corpora, st.sampled_from(["confidence", "one"]))
def test_a_mixture_is_a_rung(documents, held_out, weights):
    check_model(Mix.fit(MixConfig(weights=weights), parts_of(documents), stream_of(held_out)))


def test_a_mixture_of_counts_and_a_network_is_a_rung():
    documents = [[0, 1, 2, 3] * 8, [4, 5, 1, 2]]
    network = NeuralBigram.initialise(NeuralBigramConfig(), V, END, seed=0)
    mix = Mix.fit(MixConfig(), [*parts_of(documents), network], stream_of([[0, 1, 2, 3, 1, 5]]))
    check_model(mix)
    assert mix.n_parameters > network.n_parameters


@settings(deadline=None, max_examples=40)
@given(corpora, corpora, st.sampled_from(["confidence", "one"]))
def test_on_the_held_out_text_it_is_never_behind_its_best_part(documents, held_out, weights):
    parts = parts_of(documents)
    stream = stream_of(held_out)
    mix = Mix.fit(MixConfig(weights=weights), parts, stream)
    np.testing.assert_allclose(mix.weights.sum(axis=1), 1)
    best = min(nats(part, stream) for part in parts)
    assert nats(mix, stream) <= best + 1e-3 * max(1.0, best)


@pytest.mark.parametrize("seed", range(4))
def test_the_weights_are_the_maximum_that_a_general_optimiser_finds(seed):
    log_probs = np.log(np.random.default_rng(seed).dirichlet(np.full(5, 0.3), 400)[:, :3])

    def loss(free: np.ndarray) -> float:
        weights = np.exp(np.append(free, 0) - np.logaddexp.reduce(np.append(free, 0)))
        return -float(np.log(np.exp(log_probs) @ weights).sum())

    expected = minimize(loss, np.zeros(2), method="BFGS", options={"gtol": 1e-6})
    weights = expectation_maximisation(log_probs)
    assert -np.log(np.exp(log_probs) @ weights).sum() == pytest.approx(expected.fun, rel=1e-6)


def test_by_hand():
    """Part one is right half the time and hopeless otherwise, part two the other half: equal weights."""
    log_probs = np.log([[0.9, 1e-9], [1e-9, 0.9]] * 50)
    np.testing.assert_allclose(expectation_maximisation(log_probs), [0.5, 0.5], atol=1e-6)
    log_probs = np.log([[0.9, 1e-9], [1e-9, 0.9], [0.9, 1e-9]] * 50)
    np.testing.assert_allclose(expectation_maximisation(log_probs), [2 / 3, 1 / 3], atol=1e-6)
    # One hundred tokens' worth of leaning the other way.
    leaning = expectation_maximisation(log_probs, np.array([0.0, 1.0]) * 1.0 + [1e-12, 0], 150)
    np.testing.assert_allclose(leaning, [1 / 3, 2 / 3], atol=1e-6)


def test_a_mixture_of_mixtures_works():
    documents = [[0, 1, 2, 3] * 8]
    parts = parts_of(documents)
    inner = Mix.fit(MixConfig(weights="one"), parts[:2], stream_of(documents))
    check_model(Mix.fit(MixConfig(), [inner, parts[2]], stream_of(documents)))


def test_what_cannot_be_mixed():
    part = parts_of([[0, 1]])[0]
    other = fitted(Bigram.fit(BigramConfig(add_k=1), TokenStream.of([np.array([1])], 3), 4, 3))
    with pytest.raises(UserError, match="two runs"):
        Mix.fit(MixConfig(), [part], stream_of([[0]]))
    with pytest.raises(UserError, match="vocabularies"):
        Mix.fit(MixConfig(), [part, other], stream_of([[0]]))
    with pytest.raises(UserError, match="--weights"):
        MixConfig(weights="both")
