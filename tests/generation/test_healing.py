"""A prompt cut in mid-word goes on as the model, asked for every way of spelling it, says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rung.generation.beam import BeamSettings, beam_search
from rung.generation.healing import heal, healed, start
from rung.generation.sampling import Sampling, generate, generate_many
from rung.generation.speculative import speculative_steps
from rung.models.base import fitted
from rung.models.counting.bigram import Bigram, BigramConfig
from rung.models.counting.ngram import NGram, NGramConfig
from rung.text.tokenizers import Tokenizer, train_tokenizer

TEXTS = [
    "ROMEO: the rose was romantic\n",
    "the roses of Rome were red\n",
    "ROMEO rose, and the other roses rose\n",
    "there they were: the three Romans\n",
] * 5
KINDS = ["bpe", "wordpiece", "unigram", "word"]


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: Any) -> Tokenizer:
    return train_tokenizer(request.param, TEXTS, None if request.param == "word" else 700)


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> NGram:
    stream = tokenizer.encode_many(TEXTS)
    return fitted(NGram.fit(NGramConfig(order=3), stream, tokenizer.vocab_size, tokenizer.end))


def ways_by_hand(model: NGram, tokenizer: Tokenizer, prompt: str) -> dict[tuple[int, ...], float]:
    """log p of every way on: the canonical tokens up to a place, and there one that begins with the rest."""
    ids = tokenizer.encode(prompt).tolist()
    healing = heal(tokenizer, prompt)
    kept, given = ids[: len(healing.ids)], ids[len(healing.ids) :]
    assert given == healing.given_back.tolist()
    found = {}
    for place in range(len(given)):
        before = [*kept, *given[:place]]
        rest = tokenizer.decode_bytes(given[place:], before[-1] if before else None)
        log_probs, _ = model.advance(model.start(), np.array([[model.end, *before]]))
        scores = model.score(np.array(before, np.int64)) if before else np.zeros(0)
        so_far = float(scores[len(kept) :].sum())
        for token in range(tokenizer.end):
            spelled = tokenizer.spelling(token, before[-1] if before else None)
            if spelled.startswith(rest) and (place == len(given) - 1 or len(spelled) > len(rest)):
                found[(*given[:place], token)] = so_far + float(log_probs[0, token])
    return found


@pytest.mark.parametrize(
    "prompt", ["RO", "the ro", "the r", "ROMEO: th", "wer", "the roses of Rom", "xq", "the xq"]
)
def test_each_way_on_is_as_likely_as_the_model_says(model: NGram, tokenizer: Tokenizer, prompt: str):
    ways = ways_by_hand(model, tokenizer, prompt)
    if not ways:
        assert not len(heal(tokenizer, prompt).given_back)
        return
    total = np.logaddexp.reduce(list(ways.values()))
    condition, (healing,) = healed(model, tokenizer, [prompt], Sampling(), constrained=False)
    for way, log_prob in ways.items():
        row, state = condition.advance(start(condition, [0]), np.array([[model.end, *healing.ids]]))
        told = 0.0
        for token in way:
            told += float(row[0, token])
            np.testing.assert_allclose(np.exp(row.astype(float)).sum(), 1, rtol=1e-5)
            row, state = condition.advance(state, np.array([token]))
        assert told == pytest.approx(log_prob - total, abs=1e-4)
        after, _ = model.advance(model.start(), np.array([[model.end, *healing.ids, *way]]))
        np.testing.assert_allclose(row, after, atol=1e-6)  # and then the model alone


def test_no_byte_of_the_prompt_is_lost_or_doubled(model: NGram, tokenizer: Tokenizer):
    for prompt in ("RO", "the ro", "ROMEO: th", "x", "the roses ", "é", "the é"):
        for sampling in (Sampling(max_tokens=8, samples=3), Sampling(max_tokens=8, top_logprobs=2)):
            for made in generate(model, tokenizer, prompt, sampling):
                healing = heal(tokenizer, prompt)
                whole = tokenizer.decode_bytes([*healing.ids, *made.token_ids])
                assert whole.startswith(prompt.encode())
                assert whole.decode("utf-8", "replace") == prompt + made.text


def test_the_word_is_finished_where_the_prompt_alone_would_not_let_it():
    tokenizer = train_tokenizer("word", TEXTS, None)
    stream = tokenizer.encode_many(TEXTS)
    model = fitted(NGram.fit(NGramConfig(order=3), stream, tokenizer.vocab_size, tokenizer.end))
    greedy = Sampling(max_tokens=1, temperature=0)
    assert generate(model, tokenizer, "ROMEO: the ro", greedy)[0].text == "se"
    without = generate(model, tokenizer, "ROMEO: the ro", Sampling(max_tokens=1, temperature=0, heal=False))
    assert without[0].text != "se"


def test_many_prompts_are_healed_each_as_alone(model: NGram, tokenizer: Tokenizer):
    prompts = ["RO", "the", "the roses of R", "", "wer", "there th"]
    how = Sampling(max_tokens=6, samples=2, seed=3)
    together = generate_many(model, tokenizer, prompts, how)
    for prompt, texts in zip(prompts, together, strict=True):
        assert [one.text for one in texts] == [one.text for one in generate(model, tokenizer, prompt, how)]


def test_searched_the_best_way_is_found(model: NGram, tokenizer: Tokenizer):
    """With as many beams as there are ways the first tokens are those of the likeliest text, by trying all."""
    prompt, n = "the ro", 2
    found = beam_search(
        model, tokenizer, prompt, Sampling(max_tokens=n), BeamSettings(beams=600, length_penalty=0.0)
    )
    healing = heal(tokenizer, prompt)
    ways = ways_by_hand(model, tokenizer, prompt)
    total = np.logaddexp.reduce(list(ways.values()))
    best = -np.inf
    for way, log_prob in ways.items():
        if len(way) > n:
            continue
        row, _ = model.advance(model.start(), np.array([[model.end, *healing.ids, *way]]))
        best = max(best, log_prob - total + (float(row.max()) if len(way) < n else 0.0))
    assert found[0].score == pytest.approx(best, abs=1e-4)


def test_guessed_ahead_the_text_is_the_same(model: NGram, tokenizer: Tokenizer):
    stream = tokenizer.encode_many(TEXTS)
    draft = fitted(Bigram.fit(BigramConfig(), stream, tokenizer.vocab_size, tokenizer.end))
    how = Sampling(max_tokens=8, temperature=0)
    for prompt in ("RO", "the ro", "wer"):
        plain = generate(model, tokenizer, prompt, how)[0]
        steps = list(speculative_steps(model, tokenizer, prompt, how, draft))
        assert [int(step.tokens[0]) for step in steps] == plain.token_ids


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_letters_need_no_healing(kind: str):
    tokenizer = train_tokenizer(kind, TEXTS, None)
    for prompt in ("RO", "the ro", "é", ""):
        assert not len(heal(tokenizer, prompt).given_back)


def test_what_is_forced_or_constrained_stands_behind_the_whole_prompt(model: NGram, tokenizer: Tokenizer):
    made = generate(model, tokenizer, "ROM", Sampling(max_tokens=6, force="xx"))[0]
    assert made.text.startswith("xx")
