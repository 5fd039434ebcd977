"""The learned bigram against the contract and against counting."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.errors import UserError
from rung.models.networks.neural_bigram import NeuralBigram, NeuralBigramConfig
from rung.testing import check_model


@given(vocab_size=st.integers(1, 40), seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_contract(vocab_size: int, seed: int) -> None:
    model = NeuralBigram.initialise(NeuralBigramConfig(), vocab_size, seed % vocab_size, seed)
    with torch.no_grad():
        model.network.weight.normal_(0, 2, generator=torch.Generator().manual_seed(seed))
    check_model(model, seed=seed)


def test_the_first_loss_is_ln_v() -> None:
    model = NeuralBigram.initialise(NeuralBigramConfig(), 50, 49, seed=0)
    np.testing.assert_allclose(model.score(np.arange(50)), -math.log(50), rtol=1e-6)


def test_it_learns_what_counting_knows() -> None:
    """The loss has its only minimum at the frequencies (Gibbs' inequality): W becomes the log-counts,
    up to a constant a row. Full batches, no weight decay; every pair occurs, so it is finite."""
    vocab_size, end = 6, 5
    rng = np.random.default_rng(0)
    pairs = [(a, b) for a in range(vocab_size) for b in range(vocab_size)]
    pairs += [(int(a), int(b)) for a, b in rng.integers(0, vocab_size, (300, 2)) ** 2 // 5 % vocab_size]
    counts = np.zeros((vocab_size, vocab_size))
    for a, b in pairs:
        counts[a, b] += 1
    assert counts.max() > 5 * counts.min()

    model = NeuralBigram.initialise(NeuralBigramConfig(), vocab_size, end, seed=0)
    batch = torch.tensor(pairs)
    optimizer = torch.optim.AdamW(model.network.parameters(), lr=0.2, weight_decay=0)
    for _ in range(200):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model.network(batch[:, :1])[:, 0], batch[:, 1])
        loss.backward()
        optimizer.step()

    counted = counts / counts.sum(axis=1, keepdims=True)
    learned, _ = model.advance(model.start(vocab_size), np.arange(vocab_size))
    np.testing.assert_allclose(np.exp(learned), counted, atol=1e-3)
    weights = model.tensors()["weight"]
    shift = (weights - np.log(counts)).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(weights - shift, np.log(counts), atol=0.02)


def test_only_the_last_token_counts() -> None:
    model = NeuralBigram.initialise(NeuralBigramConfig(), 5, 4, seed=0)
    with torch.no_grad():
        model.network.weight.copy_(torch.arange(25.0).view(5, 5).sin())
    expected = torch.log_softmax(torch.arange(15.0, 20.0).sin(), dim=0).numpy()
    log_probs, _ = model.advance(model.start(2), np.array([[1, 2, 3], [0, 0, 3]]))
    np.testing.assert_allclose(log_probs, [expected, expected], atol=1e-6)


def test_size() -> None:
    model = NeuralBigram.initialise(NeuralBigramConfig(), 27, 26, seed=0)
    assert model.n_parameters == 27 * 27 == 729  # makemore's table
    assert model.context == 1


def test_a_vocabulary_too_large_for_a_table() -> None:
    with pytest.raises(UserError, match="--vocab-size 14142 or less"):
        NeuralBigram.initialise(NeuralBigramConfig(), 50257, 50256, seed=0)
