"""The ranking is that of scoring every whole text; every shortcut leaves it as it is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rung.errors import UserError
from rung.generation.masked import accuracy, fill, wilson_interval
from rung.models.base import LanguageModel, fitted
from rung.models.counting.bigram import Bigram, BigramConfig
from rung.models.counting.ngram import NGram, NGramConfig
from rung.models.networks.recurrent import GRU, RecurrentConfig
from rung.models.transformer.decoder import GPT, GPTConfig
from rung.text.stream import TokenStream
from rung.text.tokenizers import Tokenizer, train_tokenizer
from tests.generation.letters import Letters

ABC = Letters("a", "b", "c", "d", " e", "fg")


def loud(model: GPT | GRU) -> LanguageModel:
    """Far from uniform, as if trained."""
    return model.from_tensors(
        model.config,
        model.vocab_size,
        model.end,
        {name: 8 * tensor for name, tensor in model.tensors().items()},
    )


def models() -> dict[str, LanguageModel]:
    rng = np.random.default_rng(0)
    stream = TokenStream.of([rng.integers(0, 6, 12) for _ in range(30)], ABC.end)
    return {
        "bigram": fitted(Bigram.fit(BigramConfig(), stream, 7, 6)),
        "ngram": fitted(NGram.fit(NGramConfig(order=4, smoothing="witten-bell"), stream, 7, 6)),
        "gpt": loud(GPT.initialise(GPTConfig(context=5, n_layer=1, n_head=2, n_embd=8), 7, 6, 0)),
        "gru": loud(GRU.initialise(RecurrentConfig(n_hidden=6), 7, 6, 0)),
    }


MODELS = models()


def by_hand(model: LanguageModel, text: str) -> list[tuple[float, str]]:
    """Every way to fill the masks, likeliest first."""
    parts = text.split("[MASK]")
    ways = []
    for tokens in itertools.product(range(6), repeat=len(parts) - 1):
        ids = ABC.encode(parts[0])
        for token, part in zip(tokens, parts[1:], strict=True):
            ids = np.concatenate([ids, [token], ABC.encode(part)])
        total = float(model.score(np.append(ids, ABC.end)).astype(np.float64).sum())
        ways.append((total, ABC.decode(ids)))
    return sorted(ways, reverse=True)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "text", ["[MASK]", "ab[MASK]", "[MASK]ca", "abcd[MASK]ab", "a[MASK]bcdabcdfgabcda e"]
)
def test_one_mask_is_ranked_as_by_scoring_every_text(name: str, text: str) -> None:
    found = fill(MODELS[name], ABC, text, n_best=6)
    expected = by_hand(MODELS[name], text)
    assert [filling.text for filling in found] == [way for _, way in expected]
    np.testing.assert_allclose([f.log_prob for f in found], [total for total, _ in expected], rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("text", ["[MASK][MASK]", "a[MASK]bc[MASK]d", "[MASK]dabcdabcd[MASK][MASK]a"])
def test_several_masks_are_exact_where_the_beam_is_as_wide_as_the_space(name: str, text: str) -> None:
    found = fill(MODELS[name], ABC, text, n_best=5, beams=36)
    expected = by_hand(MODELS[name], text)[:5]
    assert [filling.text for filling in found] == [way for _, way in expected]
    np.testing.assert_allclose([f.log_prob for f in found], [total for total, _ in expected], rtol=1e-4)
    assert all(len(filling.tokens) == text.count("[MASK]") for filling in found)


def test_words_take_the_space_before_the_mask_with_them() -> None:
    texts = ["the cows eat grass", "the cows eat hay", "the dogs eat meat", "the cows like grass"] * 5
    tokenizer = train_tokenizer("word", texts)
    model = fitted(
        NGram.fit(NGramConfig(order=3), tokenizer.encode_many(texts), tokenizer.vocab_size, tokenizer.end)
    )
    found = fill(model, tokenizer, "the cows [MASK] grass", n_best=3)
    assert {found[0].text, found[1].text} == {"the cows eat grass", "the cows like grass"}
    assert {found[0].tokens, found[1].tokens} == {(" eat",), (" like",)}
    # The number is that of the text as `rung score` gives it.
    ids = np.append(tokenizer.encode(found[0].text), tokenizer.end)
    assert found[0].log_prob == pytest.approx(float(model.score(ids).sum()), rel=1e-5)


def test_of_a_character_tokeniser_a_mask_is_a_character() -> None:
    tokenizer = train_tokenizer("char", ["the cäts"] * 5)
    model = fitted(
        NGram.fit(
            NGramConfig(order=3),
            tokenizer.encode_many(["the cäts"] * 5),
            tokenizer.vocab_size,
            tokenizer.end,
        )
    )
    assert fill(model, tokenizer, "the[MASK]cäts")[0].tokens == (" ",)
    assert fill(model, tokenizer, "the c[MASK]ts")[0].tokens == ("ä",)
    # Pieces of characters are no text, so they are no candidates.
    assert all("\ufffd" not in filling.text for filling in fill(model, tokenizer, "t[MASK]e", n_best=200))


@pytest.mark.parametrize("name", MODELS)
def test_ranks_are_those_of_scoring_every_text(name: str) -> None:
    model = MODELS[name]
    texts = ["abcdfgab e", "dcba", "aaa e eaa", "", "fgfgcd"]
    ranks = []
    for text in texts:
        ids = ABC.encode(text)
        for place in range(len(ids)):
            rows = np.tile(np.append(ids, ABC.end), (6, 1))
            rows[:, place] = np.arange(6)
            totals = model.score(rows).astype(np.float64).sum(axis=1)
            ranks.append(1 + int((totals > totals[ids[place]]).sum()))
    found = accuracy(model, ABC, texts, mask_rate=1.0)
    assert found.masked == found.tokens == len(ranks)
    assert found.candidates == 6
    assert found.mean_rank == pytest.approx(np.mean(ranks))
    assert found.top1 == pytest.approx(np.mean(np.array(ranks) == 1))
    assert found.top5 == pytest.approx(np.mean(np.array(ranks) <= 5))
    assert found.median_rank == np.median(ranks)


def test_the_same_seed_masks_the_same_places_for_every_model() -> None:
    texts = ["abcdfgab e" * 5] * 3
    counts = {accuracy(model, ABC, texts, mask_rate=0.3, seed=4).masked for model in MODELS.values()}
    assert len(counts) == 1
    first = accuracy(MODELS["bigram"], ABC, texts, mask_rate=0.3, seed=4)
    assert first == accuracy(MODELS["bigram"], ABC, texts, mask_rate=0.3, seed=4)
    assert accuracy(MODELS["bigram"], ABC, texts, mask_rate=0.3, seed=4, most=7).masked == 7


def test_only_words_of_a_word_tokeniser_are_masked() -> None:
    texts = ["the cows eat, and eat!", "the cows, the cows"] * 5
    tokenizer: Tokenizer = train_tokenizer("word", texts)
    model = fitted(
        NGram.fit(NGramConfig(order=2), tokenizer.encode_many(texts), tokenizer.vocab_size, tokenizer.end)
    )
    assert accuracy(model, tokenizer, ["the cows eat, and eat!"], mask_rate=1.0).masked == 5


def test_what_has_probability_zero_ranks_last() -> None:
    stream = TokenStream.of([np.array([0, 1])] * 3, ABC.end)  # "ab" and nothing else
    model = fitted(NGram.fit(NGramConfig(order=2, smoothing="none"), stream, 7, 6))
    assert accuracy(model, ABC, ["ab"], mask_rate=1.0).mean_rank == 1
    assert accuracy(model, ABC, ["cd"], mask_rate=1.0).mean_rank == 6


def test_wilson_s_interval() -> None:
    # Wilson 1927, by hand for z = 1.96: 0 of 10, 5 of 10, 81 of 263 (Newcombe 1998, table I).
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)


def test_what_cannot_be_done_is_told_in_one_line() -> None:
    model = MODELS["bigram"]
    with pytest.raises(UserError, match=r"no \[MASK\]"):
        fill(model, ABC, "abc")
    with pytest.raises(UserError, match="--n-best 0"):
        fill(model, ABC, "[MASK]", n_best=0)
    with pytest.raises(UserError, match="--beams 1000000000 is not possible: give 1 to 10,000"):
        fill(model, ABC, "[MASK]", beams=10**9)
    with pytest.raises(UserError, match="--mask-rate 0"):
        accuracy(model, ABC, ["ab"], mask_rate=0)
    with pytest.raises(UserError, match="nothing was masked"):
        accuracy(model, ABC, [""])


def test_the_text_around_the_masks_stays_as_it_is() -> None:
    texts = ["cows (red cows) eat", "(cows\n eat) grass", 'a "cow" eats (grass)'] * 5
    tokenizer = train_tokenizer("word", texts)
    model = fitted(
        NGram.fit(NGramConfig(order=3), tokenizer.encode_many(texts), tokenizer.vocab_size, tokenizer.end)
    )
    for text in ("[MASK] eat", "cows ( [MASK] cows", "(cows\n [MASK])", "the [MASK] eat", "([MASK]) eat"):
        before, after = text.split("[MASK]")
        for filling in fill(model, tokenizer, text, n_best=400):
            assert filling.text.startswith(before)
            assert filling.text.endswith(filling.tokens[0] + after)
