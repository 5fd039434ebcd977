"""Sampling from byte and character models: draws, stop strings, whole characters, the mark, settings refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from rung.errors import UserError
from rung.generation.beam import BeamSettings, beam_search
from rung.generation.pipeline import sample_tokens
from rung.generation.sampling import Sampling, generate, stream
from rung.models.base import LanguageModel, fitted
from rung.models.counting.bigram import Bigram, BigramConfig
from rung.models.counting.ngram import NGram, NGramConfig
from rung.text.stream import TokenStream
from rung.text.tokenizers import ByteTokenizer, CharTokenizer, Tokenizer, train_tokenizer


def bigram(text: str, tokenizer: Tokenizer) -> LanguageModel:
    corpus = TokenStream.of([tokenizer.encode(text)], tokenizer.end)
    return fitted(Bigram.fit(BigramConfig(add_k=0.01), corpus, tokenizer.vocab_size, tokenizer.end))


def test_draws_follow_the_distribution():
    probs = np.array([0.5, 0.3, 0.15, 0.05, 0.0])
    with np.errstate(divide="ignore"):
        log_probs = np.log(probs)[None]
    uniforms = np.random.default_rng(0).random(20_000)
    counts = np.bincount(sample_tokens(np.repeat(log_probs, 20_000, 0), uniforms), minlength=5)
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
    tokenizer = CharTokenizer("ab")
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
        {"min_p": 1.5},
        {"min_p": -0.1},
        {"typical_p": 0},
        {"typical_p": 1.1},
        {"repetition_penalty": 0},
        {"repetition_penalty": float("inf")},
        {"presence_penalty": float("nan")},
        {"frequency_penalty": float("inf")},
        {"min_tokens": -1},
        {"min_tokens": 201},
        {"ban": ("",)},
        {"bias": ("a",)},
        {"top_logprobs": -1},
    ],
)
def test_impossible_settings_are_refused_by_name(wrong):
    (name,) = wrong
    with pytest.raises(UserError, match="--" + name.replace("_", "-")):
        Sampling(**wrong)


def test_words_go_on_after_a_prompt_as_they_would_stand_there():
    """At the beginning of a document or a line, or in a bracket, the blank of a word is implied; after a word not."""
    text = 'Cows eat (hay).\nCows eat "hay" (hay).\n' * 3
    tokenizer = train_tokenizer("word", [text])
    ids = tokenizer.encode_many([text])
    model = fitted(NGram.fit(NGramConfig(order=4), ids, tokenizer.vocab_size, tokenizer.end))
    for stops in ((), ("zebra",)):  # gathered at once, and as a stream
        how = Sampling(temperature=0, max_tokens=5, stop=stops)
        for cut in (0, 4, 8, 10, 13, 15, 16, 26):
            made = generate(model, tokenizer, text[:cut], how)[0].text
            assert made
            assert text.startswith(made, cut)
            search = Sampling(max_tokens=5, stop=stops)
            (found,) = beam_search(model, tokenizer, text[:cut], search, BeamSettings(beams=2))
            assert text.startswith(found.text, cut)
    for prompt in ("", "Cows", "Cows eat (", "Cows\n"):
        for force in ("hay", " hay", "(hay", ", hay"):
            made = generate(model, tokenizer, prompt, Sampling(max_tokens=8, force=force))[0].text
            assert made.startswith(force)
    assert "Cows" not in generate(model, tokenizer, "", Sampling(max_tokens=200, ban=("Cows",)))[0].text
    biased = Sampling(temperature=0, max_tokens=1, bias=("hay=50",))
    assert generate(model, tokenizer, "Cows", biased)[0].text == " hay"
