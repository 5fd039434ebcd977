"""The bigram rung against paper arithmetic, nltk's Laplace and the contract."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.lm import Laplace
from nltk.lm.preprocessing import padded_everygram_pipeline

from rung.errors import UserError
from rung.events import Note
from rung.models.base import fitted
from rung.models.counting.add_k import K_GRID
from rung.models.counting.bigram import Bigram, BigramConfig
from rung.testing import check_model
from rung.text.stream import TokenStream
from tests.models import cows
from tests.models.corpora import Corpus, corpora


def fit(corpus: Corpus, add_k: float | None = None) -> Bigram:
    return fitted(Bigram.fit(BigramConfig(add_k), corpus.stream, corpus.vocab_size, corpus.end))


@settings(deadline=None, max_examples=25)
@given(corpora(), st.sampled_from([None, 0.01, 1, 30.0]))
def test_it_keeps_the_contract(corpus: Corpus, add_k: float | None) -> None:
    check_model(fit(corpus, add_k))


def test_add_one_on_the_cows_is_paper_arithmetic() -> None:
    """Eat occurs 11 times, eat corn 4 times, eat foods never; V counts the mark and the unseen word."""
    model = fitted(Bigram.fit(BigramConfig(1.0), cows.STREAM, cows.VOCAB_SIZE, cows.END))
    log_probs, _ = model.advance(model.start(), cows.ids("eat"))
    assert np.exp(log_probs[0, cows.ID["corn"]]) == pytest.approx((4 + 1) / (11 + cows.VOCAB_SIZE))
    assert np.exp(log_probs[0, cows.ID["foods"]]) == pytest.approx(1 / (11 + cows.VOCAB_SIZE))


def test_add_one_is_nltks_laplace() -> None:
    sentences = [sentence.split() for sentence in cows.SENTENCES]
    peer = Laplace(2)
    peer.fit(*padded_everygram_pipeline(2, sentences))
    # nltk's vocabulary holds <s>, </s> and <UNK>; ours one mark and one unseen word. One more evens it.
    assert len(peer.vocab) == cows.VOCAB_SIZE + 1
    model = fitted(Bigram.fit(BigramConfig(1.0), cows.STREAM, len(peer.vocab), cows.END))
    for sentence in sentences:
        marked = ["<s>", *sentence, "</s>"]
        expected = [peer.score(word, [before]) for before, word in pairwise(marked)]
        scores = model.score(np.append(cows.ids(" ".join(sentence)), cows.END))
        np.testing.assert_allclose(np.exp(scores), expected, rtol=1e-9)


@settings(deadline=None, max_examples=25)
@given(corpora())
def test_the_chosen_k_makes_every_token_likeliest_from_all_the_others(corpus: Corpus) -> None:
    """The likelihood is computed by really taking each token out of the counts and predicting it."""
    events = list(Bigram.fit(BigramConfig(), corpus.stream, corpus.vocab_size, corpus.end))
    ids = corpus.stream.ids
    pairs = list(zip(ids[:-1].tolist(), ids[1:].tolist(), strict=True))

    def left_out(k: float) -> float:
        total = 0.0
        for i, (before, word) in enumerate(pairs):
            others = pairs[:i] + pairs[i + 1 :]
            numerator = others.count((before, word)) + k
            total += np.log(numerator / (sum(v == before for v, _ in others) + k * corpus.vocab_size))
        return total

    assert isinstance(events[0], Note)
    model = events[-1]
    assert isinstance(model, Bigram)
    if pairs:
        best = left_out(model.add_k)
        assert all(left_out(k) <= best + 1e-9 for k in K_GRID[::50])


def test_the_chosen_k_stands_in_the_config() -> None:
    model = fitted(Bigram.fit(BigramConfig(), cows.STREAM, cows.VOCAB_SIZE, cows.END))
    assert model.config == BigramConfig(model.add_k)


def test_no_document_touches_the_next() -> None:
    """Two documents "0 1" and "2": the pair (1, 2) never occurs, (1, mark) and (mark, 2) do."""
    stream = TokenStream.of([np.array([0, 1]), np.array([2])], end=3)
    model = fitted(Bigram.fit(BigramConfig(0.5), stream, 4, 3))
    after_one, _ = model.advance(model.start(), np.array([1]))
    np.testing.assert_allclose(np.exp(after_one[0]), [0.5 / 3, 0.5 / 3, 0.5 / 3, 1.5 / 3])
    after_mark, _ = model.advance(model.start(), np.array([3]))
    np.testing.assert_allclose(np.exp(after_mark[0]), [1.5 / 4, 0.5 / 4, 1.5 / 4, 0.5 / 4])


def test_fifty_thousand_tokens_need_no_square_table() -> None:
    rng = np.random.default_rng(0)
    stream = TokenStream.of([rng.integers(0, 49_999, 20_000)], end=49_999)
    model = fitted(Bigram.fit(BigramConfig(1.0), stream, 50_000, 49_999))
    assert sum(tensor.nbytes for tensor in model.tensors().values()) < 2e6
    log_probs, _ = model.advance(model.start(), stream.ids[100:101])
    assert np.exp(log_probs).sum() == pytest.approx(1)


@pytest.mark.parametrize("k", [0.0, -1.0, float("nan"), float("inf")])
def test_k_must_be_positive(k: float) -> None:
    with pytest.raises(UserError, match="--add-k"):
        BigramConfig(k)
