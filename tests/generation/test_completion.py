"""The likeliest words, found best first, are those that trying every text finds."""

from __future__ import annotations

import re

import numpy as np
import pytest

from rung.errors import UserError
from rung.generation.completion import complete
from rung.models.base import fitted
from rung.models.counting.ngram import NGram, NGramConfig
from rung.text.tokenizers import Tokenizer, train_tokenizer

TEXTS = ["ab ba", "a bab", "abb a", "ab ab", "ba b"] * 4


def trained(kind: str, texts: list[str] = TEXTS, smoothing: str = "kneser-ney") -> tuple[NGram, Tokenizer]:
    tokenizer = train_tokenizer(kind, texts, None)
    stream = tokenizer.encode_many(texts)
    return fitted(
        NGram.fit(NGramConfig(order=5, smoothing=smoothing), stream, tokenizer.vocab_size, tokenizer.end)
    ), tokenizer


@pytest.mark.parametrize("prefix", ["a", "", "b", "ab "])
def test_they_are_those_of_trying_every_text_of_letters(prefix: str):
    """By letters each text has one spelling: the probability of a word is that of its letters and of what ends it."""
    model, tokenizer = trained("char")
    letters = {character: int(tokenizer.encode(character)[0]) for character in "ab "}
    found: dict[str, float] = {}
    begun = [""]
    for _ in range(9):
        longer = []
        for text in begun:
            ids = tokenizer.encode(prefix + text)
            row, _ = model.advance(model.start(), np.array([[tokenizer.end, *ids]]))
            p = np.exp(float(model.score(ids)[len(tokenizer.encode(prefix)) :].sum())) if text else 1.0
            if re.search(r"\w", text):
                word = [letters["a"], letters["b"]]
                halves = [i for i in range(tokenizer.end) if i not in letters.values()]
                ending = (
                    1 - np.exp(row[0, word].astype(float)).sum() - np.exp(row[0, halves].astype(float)).sum()
                )
                found[text] = p * ending
                longer += [text + letter for letter in "ab"]
            else:
                longer += [text + letter for letter in "ab "]
        begun = longer
    best = sorted(found.items(), key=lambda one: -one[1])[:4]
    told = complete(model, tokenizer, prefix, 4)
    assert [one.text for one in told] == [text for text, _ in best]
    np.testing.assert_allclose([one.probability for one in told], [p for _, p in best], rtol=0.02)


def test_a_word_cut_in_its_middle_is_finished():
    texts = ["the roses were red\n", "the roses were white\n", "the rooms were cold\n"] * 6
    for kind in ("word", "bpe", "char"):
        model, tokenizer = trained(kind, texts, smoothing="none")
        told = complete(model, tokenizer, "the ro", 2)
        assert [one.text for one in told] == ["ses", "oms"], kind
        np.testing.assert_allclose([one.probability for one in told], [2 / 3, 1 / 3], rtol=1e-5)


def test_probabilities_are_no_more_than_one_together():
    model, tokenizer = trained("bpe")
    for prefix in ("a", "ab", ""):
        assert 0 < sum(one.probability for one in complete(model, tokenizer, prefix, 50)) <= 1 + 1e-6


def test_none_is_no_number_of_completions():
    model, tokenizer = trained("char")
    with pytest.raises(UserError, match="n = 0"):
        complete(model, tokenizer, "a", 0)
