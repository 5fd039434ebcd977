"""Sampling: still a distribution, small cases by hand, stop strings, the same alone and in a batch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from rung.errors import UserError
from rung.generation.pipeline import draw, temperature, top_k, top_p
from rung.generation.sampling import Sampling, generate, stream
from rung.models.base import LanguageModel, fitted
from rung.models.bigram import Bigram, BigramConfig
from rung.text.stream import TokenStream
from rung.text.tokenizers import ByteTokenizer, CharTokenizer, Tokenizer, train_tokenizer

rows = st.lists(st.floats(-20, 0), min_size=1, max_size=12)


def normalised(values: list[float]) -> np.ndarray:
    weights = np.exp(np.array([values], np.float64))
    return np.log(weights / weights.sum())


def bigram(text: str, tokenizer: Tokenizer) -> LanguageModel:
    corpus = TokenStream.of([tokenizer.encode(text)], tokenizer.end)
    return fitted(Bigram.fit(BigramConfig(add_k=0.01), corpus, tokenizer.vocab_size, tokenizer.end))


@settings(deadline=None)
@given(rows, st.integers(1, 15))
def test_top_k_keeps_exactly_k_under_ties(values, k):
    assert np.isfinite(top_k(normalised(values), k)).sum() == min(k, len(values))
    assert np.isfinite(top_k(np.full((1, 6), -np.log(6)), 2)).tolist() == [
        [True, True, False, False, False, False]
    ]


def test_top_p_keeps_the_fewest_that_reach_p():
    log_probs = np.log([[0.1, 0.5, 0.25, 0.15]])
    np.testing.assert_allclose(np.exp(top_p(log_probs, 0.5)), [[0, 1, 0, 0]])
    np.testing.assert_allclose(np.exp(top_p(log_probs, 0.6)), [[0, 2 / 3, 1 / 3, 0]])
    np.testing.assert_allclose(np.exp(top_p(log_probs, 1.0)), np.exp(log_probs))


def test_temperature_by_hand():
    log_probs = np.log([[0.8, 0.2]])
    np.testing.assert_allclose(np.exp(temperature(log_probs, 0.5)), [[0.64 / 0.68, 0.04 / 0.68]])
    np.testing.assert_allclose(np.exp(temperature(log_probs, 0)), [[1, 0]])
    np.testing.assert_allclose(np.exp(temperature(log_probs, 1e-6)), [[1, 0]])
    np.testing.assert_allclose(np.exp(temperature(log_probs, 1e9)), [[0.5, 0.5]], atol=1e-6)


def test_draws_follow_the_distribution():
    probs = np.array([0.5, 0.3, 0.15, 0.05, 0.0])
    with np.errstate(divide="ignore"):
        log_probs = np.log(probs)[None]
    uniforms = np.random.default_rng(0).random(20_000)
    counts = np.bincount(draw(np.repeat(log_probs, 20_000, 0), uniforms), minlength=5)
    assert counts[4] == 0
    assert chisquare(counts[:4], probs[:4] * 20_000).pvalue > 1e-4


def test_greedy_is_deterministic_and_takes_the_likeliest():
    tokenizer = ByteTokenizer()
    model = bigram("abcabcabcabd", tokenizer)
    first = generate(model, tokenizer, "a", Sampling(temperature=0, max_tokens=6, seed=1))[0]
    second = generate(model, tokenizer, "a", Sampling(temperature=0, max_tokens=6, seed=2))[0]
    assert first.text == second.text == "bcabca"
    assert (first.tokens, first.finish_reason) == (6, "length")


def test_a_sample_is_the_same_alone_and_in_a_batch():
    tokenizer = ByteTokenizer()
    model = bigram("the cows eat grass and hay and corn", tokenizer)
    many = generate(model, tokenizer, "th", Sampling(max_tokens=30, samples=5, seed=3))
    alone = generate(model, tokenizer, "th", Sampling(max_tokens=30, samples=1, seed=3))
    assert many[0].text == alone[0].text
    assert len({sample.text for sample in many}) > 1
    assert [s.text for s in generate(model, tokenizer, "th", Sampling(max_tokens=30, samples=5, seed=3))] == [
        sample.text for sample in many
    ]


def test_log_prob_is_the_models_own_whatever_the_temperature():
    tokenizer = ByteTokenizer()
    model = bigram("the cows eat grass and hay and corn", tokenizer)
    sample = generate(model, tokenizer, "", Sampling(temperature=0.5, top_k=3, max_tokens=20, seed=1))[0]
    np.testing.assert_allclose(sample.log_prob, model.score(np.array(sample.token_ids)).sum(), rtol=1e-5)


@pytest.mark.parametrize("stop", ["ca", "abca", "c", "bcabc"])
def test_stop_strings_across_tokens_are_not_part_of_the_text(stop):
    tokenizer = ByteTokenizer()
    model = bigram("abcabcabcabcabc", tokenizer)
    how = Sampling(temperature=0, max_tokens=30, stop=(stop,))
    whole = "bc" + "abc" * 10
    pieces = list(stream(model, tokenizer, "a", how))
    assert "".join(piece.text for piece in pieces) == whole[: whole.index(stop)]
    assert pieces[-1].finish_reason == "stop"


def test_what_looked_like_a_stop_string_is_shown_after_all():
    tokenizer = ByteTokenizer()
    model = bigram("abcabcabcabcabc", tokenizer)
    how = Sampling(temperature=0, max_tokens=5, stop=("bcx",))
    assert generate(model, tokenizer, "a", how)[0].text == "bcabc"


def test_characters_are_never_broken():
    """Made byte by byte, shown character by character."""
    tokenizer = ByteTokenizer()
    text = "äöü€😀" * 40
    model = bigram(text, tokenizer)
    for piece in stream(model, tokenizer, "ä", Sampling(max_tokens=200, top_k=1, samples=1)):
        assert "�" not in piece.text or piece.finish_reason is not None


def test_the_end_mark_ends_a_text():
    tokenizer = CharTokenizer("")
    corpus = TokenStream.of([tokenizer.encode(name) for name in ["ab"] * 20], tokenizer.end)
    model = fitted(Bigram.fit(BigramConfig(add_k=1e-6), corpus, tokenizer.vocab_size, tokenizer.end))
    samples = generate(model, tokenizer, "", Sampling(samples=4, max_tokens=50))
    assert Counter((sample.text, sample.finish_reason, sample.tokens) for sample in samples) == {
        ("ab", "end", 3): 4
    }


def test_a_prompt_of_unseen_characters_works():
    tokenizer = train_tokenizer("char", ["only ascii here"])
    model = bigram("only ascii here", tokenizer)
    assert generate(model, tokenizer, "👩‍👩‍👧 здравствуй", Sampling(max_tokens=5))[0].tokens <= 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_k": 0},
        {"top_p": 0},
        {"top_p": 1.5},
        {"max_tokens": 0},
        {"samples": 0},
        {"stop": ("",)},
        {"seed": -1},
    ],
)
def test_impossible_settings_are_refused_by_name(wrong):
    (name,) = wrong
    with pytest.raises(UserError, match="--" + name.replace("_", "-")):
        Sampling(**wrong)
