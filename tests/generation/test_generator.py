"""Every rung through the one generator: batches are their rows, caches equal no cache, prompts are read once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.errors import UserError
from rung.generation.beam import BeamSettings
from rung.generation.constraint import BannedText, Constraint
from rung.generation.prompts import generate_each, read_prompts
from rung.generation.sampling import Sample, Sampling, generate, generate_many, stream
from rung.models import LANGUAGE, rung_class
from rung.models.base import CountedModel, LanguageModel, State, fitted
from rung.models.counting.bigram import Bigram, BigramConfig
from rung.models.mix import Mix, MixConfig
from rung.models.networks.network import NeuralModel
from rung.text.stream import TokenStream
from tests.generation.letters import Letters

LETTERS = Letters(*"abcdefgh")
V, END = LETTERS.vocab_size, LETTERS.end
SMALL = {
    "gpt": {"context": 12, "n_layer": 2, "n_head": 2, "n_embd": 8},
    "mlp": {"n_hidden": 8},
    "wavenet": {"context": 4, "n_embd": 4, "n_hidden": 8},
    "rnn": {"n_embd": 4, "n_hidden": 8},
    "lstm": {"n_embd": 4, "n_hidden": 8, "n_layer": 2},
    "gru": {"n_embd": 4, "n_hidden": 8},
    "ngram": {"order": 4},
    "scratch-mlp": {"n_hidden": 8},
    "scratch-rnn": {"n_hidden": 8},
    "scratch-gpt": {"context": 12, "n_layer": 1, "n_head": 2, "n_embd": 8},
}
PROMPTS = ["abc", "", "h", "abcdefgh" * 3, "abd", "hgfedcba", "abcdefgh" * 12, "abc"]


def random_text(seed: int, n: int = 12) -> TokenStream:
    rng = np.random.default_rng(seed)
    return TokenStream.of([rng.integers(0, V - 1, rng.integers(1, 25)) for _ in range(n)], END)


def small(name: str) -> LanguageModel:
    """A rung with weights so large that every input shows in the output."""
    if name == "mix":
        parts = [small("ngram"), small("lstm")]
        return Mix.fit(MixConfig(), parts, random_text(1))
    cls: Any = rung_class(name)
    config = cls.config_class(**SMALL.get(name, {}))
    if issubclass(cls, CountedModel):
        return fitted(cls.fit(config, random_text(0), V, END))
    model = cls.initialise(config, V, END, 0)
    if isinstance(model, NeuralModel):
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in model.network.parameters():
                weight.normal_(0, 0.6, generator=generator)
    return model


def bigram(seed: int = 0) -> LanguageModel:
    return fitted(Bigram.fit(BigramConfig(add_k=0.1), random_text(seed), V, END))


@pytest.mark.parametrize("name", LANGUAGE)
def test_prompts_of_all_lengths_together_give_what_each_gives_alone(name: str) -> None:
    """Past the context of those that have one; rows end at different times."""
    model, how = small(name), Sampling(max_tokens=20, samples=3, seed=5, top_p=0.95)
    together = generate_many(model, LETTERS, PROMPTS, how)
    for prompt, samples in zip(PROMPTS, together, strict=True):
        alone = generate(model, LETTERS, prompt, how)
        assert [sample.token_ids for sample in samples] == [sample.token_ids for sample in alone]
        assert [sample.finish_reason for sample in samples] == [sample.finish_reason for sample in alone]
        for one, other in zip(samples, alone, strict=True):
            np.testing.assert_allclose(one.token_log_probs, other.token_log_probs, atol=1e-5)


@pytest.mark.parametrize("name", LANGUAGE)
def test_what_the_states_remember_is_what_reading_anew_gives(name: str) -> None:
    """Log-probabilities told along the way equal a score of all from the beginning, past the context too."""
    model, how = small(name), Sampling(max_tokens=30, samples=4, seed=2)
    for prompt, samples in zip(PROMPTS, generate_many(model, LETTERS, PROMPTS, how), strict=True):
        ids = LETTERS.encode(prompt)
        for sample in samples:
            anew = model.score(np.concatenate([ids, sample.token_ids]))[len(ids) :]
            np.testing.assert_allclose(sample.token_log_probs, anew, atol=1e-5)


class Counting(Bigram):
    """A bigram that counts how many tokens it was given to read."""

    n_read = 0

    def advance(self, state: State, tokens: np.ndarray) -> tuple[np.ndarray, State]:
        self.n_read += np.size(tokens)
        return super().advance(state, tokens)


def test_samples_share_the_reading_of_their_prompt() -> None:
    model = fitted(Counting.fit(BigramConfig(add_k=0.1), random_text(0), V, END))
    assert isinstance(model, Counting)
    prompt = "abcdefgh" * 50
    generate(model, LETTERS, prompt, Sampling(samples=150, max_tokens=1))
    assert model.n_read == 1 + len(prompt)  # the mark, then the prompt, once


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.text("abcdefgh", max_size=90), min_size=1, max_size=6),
    st.integers(0, 3),
    st.sampled_from([{}, {"temperature": 0.0}, {"top_k": 3, "repetition_penalty": 1.3}, {"force": "ab"}]),
    st.lists(st.text("abcdefgh", min_size=1, max_size=2), max_size=2),
    st.integers(1, 70),
)
def test_streaming_gathering_and_each_alone_agree(
    prompts: list[str], seed: int, chosen: dict[str, Any], stops: list[str], samples: int
) -> None:
    """The quick path without stop strings, the streamed one, and one row at a time."""
    model = bigram(seed)
    how = Sampling(max_tokens=8, samples=samples, seed=seed, stop=tuple(stops), min_tokens=1, **chosen)
    collect_samples = generate_many(model, LETTERS, prompts, how)
    texts: dict[tuple[int, int], Sample] = {}
    for piece in stream(model, LETTERS, prompts, how):
        sample = texts.setdefault((piece.prompt, piece.sample), Sample())
        assert sample.finish_reason == ""
        sample.text += piece.text
        sample.token_ids += [token.id for token in piece.tokens]
        sample.token_log_probs += [token.log_prob for token in piece.tokens]
        sample.finish_reason = piece.finish_reason or ""
    assert len(texts) == len(prompts) * samples
    for (prompt, number), sample in texts.items():
        other = collect_samples[prompt][number]
        assert (sample.text, sample.token_ids, sample.finish_reason) == (
            other.text,
            other.token_ids,
            other.finish_reason,
        )
        assert sample.token_log_probs == other.token_log_probs
        assert other.tokens == len(other.token_ids)
        assert other.log_prob == pytest.approx(sum(other.token_log_probs))
    one = len(prompts) // 2
    assert generate(model, LETTERS, prompts[one], how) == collect_samples[one]


def test_more_samples_leave_the_first_as_they_were() -> None:
    model = bigram()
    few = generate(model, LETTERS, "a", Sampling(samples=3, max_tokens=20))
    many = generate(model, LETTERS, "a", Sampling(samples=130, max_tokens=20))
    assert many[:3] == few
    assert generate(model, LETTERS, "a", Sampling(samples=3, max_tokens=20, seed=1)) != few


def test_tokens_of_a_stop_string_are_not_counted() -> None:
    """A model that says abcabc...; by letters, and by tokens that hold more than the stop string."""
    text = TokenStream.of([LETTERS.encode("abc" * 30)], END)
    model = fitted(Bigram.fit(BigramConfig(add_k=1e-9), text, V, END))
    for stop, kept in (("ca", "b"), ("a", "bc"), ("bca", ""), ("cabc", "b")):
        (sample,) = generate(model, LETTERS, "a", Sampling(temperature=0, stop=(stop,), max_tokens=50))
        assert (sample.text, sample.tokens, sample.finish_reason) == (kept, len(kept), "stop")
        np.testing.assert_allclose(
            sample.log_prob, model.score(LETTERS.encode("a" + kept))[1:].sum(), atol=1e-5
        )


def test_the_likeliest_are_told_before_anything_is_cut() -> None:
    model = bigram()
    how = Sampling(top_k=1, max_tokens=12, top_logprobs=3, temperature=0.5)
    (sample,) = generate(model, LETTERS, "ab", how)
    (plain,) = generate(model, LETTERS, "ab", Sampling(top_k=1, max_tokens=12))
    assert (sample.text, sample.token_log_probs) == (plain.text, plain.token_log_probs)
    history = [END, *LETTERS.encode("ab").tolist()]
    for token, top in zip(sample.token_ids, sample.top, strict=True):
        log_probs = model.advance(model.start(1), np.array([history]))[0][0]
        order = np.argsort(-log_probs, kind="stable")[:3]
        assert [other for other, _ in top] == order.tolist()
        np.testing.assert_allclose([log_prob for _, log_prob in top], log_probs[order], atol=1e-6)
        assert token == top[0][0]  # top-k 1
        history.append(token)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3), st.integers(0, 50))
def test_banned_texts_never_appear(bans: list[str], seed: int) -> None:
    """However tokens spell them."""
    pieces = Letters("a", "b", "c", "d", "ab", "bca", "cd")
    rng = np.random.default_rng(seed)
    text = TokenStream.of([rng.integers(0, 7, 40)], pieces.end)
    model = fitted(Bigram.fit(BigramConfig(add_k=0.5), text, pieces.vocab_size, pieces.end))
    how = Sampling(ban=tuple(bans), samples=20, max_tokens=20, seed=seed)
    prompts = ["", "abca", "ab", "bcd"]
    for samples in generate_many(model, pieces, prompts, how):
        for sample in samples:
            assert not any(ban in sample.text for ban in bans)


def test_bans_leave_the_rest_in_proportion() -> None:
    """One step: the model's own probabilities, but for what the ban excludes."""
    model, n = bigram(3), 4000
    log_probs = model.advance(model.start(1), np.array([[END]]))[0][0]
    kept = np.exp(log_probs)
    kept[LETTERS.encode("a")[0]] = 0
    samples = generate(model, LETTERS, "", Sampling(ban=("a",), samples=n, max_tokens=1))
    counts = np.bincount([sample.token_ids[0] for sample in samples], minlength=V)
    np.testing.assert_allclose(counts / n, kept / kept.sum(), atol=4 / np.sqrt(n))


class Alternating(Constraint):
    """Even steps take a letter of the first half, odd ones of the second; the text may end after an even number."""

    def start(self, rows: int) -> np.ndarray:
        return np.zeros(rows, np.int64)

    def allowed(self, state: np.ndarray) -> np.ndarray:
        ids = np.arange(V)
        even = (ids < 4) | (ids == END)
        return np.where(state[:, None] == 0, even, (ids >= 4) & (ids != END))

    def advance(self, state: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        assert ((tokens >= 4) == (state == 1)).all()
        return 1 - state

    def select(self, state: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return state[rows]


def test_a_constraint_rules_every_row_of_a_batch_from_its_own_beginning() -> None:
    how = Sampling(samples=5, max_tokens=11, ban=("ae",))
    for samples in generate_many(bigram(), LETTERS, PROMPTS, how, Alternating()):
        for sample in samples:
            ids = LETTERS.encode(sample.text)
            assert (ids[::2] < 4).all()
            assert (ids[1::2] >= 4).all()
            assert "ae" not in sample.text
            assert sample.finish_reason == "length" or len(ids) % 2 == 0


def test_where_everything_is_banned_a_text_ends_whatever_its_least_length() -> None:
    everything = tuple("abcdefgh")
    for temperature in (0.0, 1.0):
        for least in (0, 2):
            how = Sampling(ban=everything, min_tokens=least, temperature=temperature)
            (made,) = generate(bigram(), LETTERS, "a", how)
            assert (made.text, made.finish_reason) == ("", "end")


class Impossible(Alternating):
    """Admits nothing after the first token, not even the end."""

    def allowed(self, state: np.ndarray) -> np.ndarray:
        return super().allowed(state) & (state == 0)[:, None] & (np.arange(V) != END)


def test_a_dead_end_is_said() -> None:
    for temperature in (0.0, 1.0):
        how = Sampling(min_tokens=2, temperature=temperature)
        with pytest.raises(UserError, match="no token is left"):
            generate(bigram(), LETTERS, "a", how, Impossible())


def test_force_and_least_length() -> None:
    samples = generate(
        bigram(), LETTERS, "a", Sampling(force="hhgg", min_tokens=9, max_tokens=15, samples=30)
    )
    assert all(sample.text.startswith("hhgg") for sample in samples)
    assert min(sample.tokens for sample in samples) >= 10  # the mark is the tenth at the earliest
    assert all(sample.log_prob < -5 for sample in samples)  # what is forced has the model's own probability


def test_a_banned_text_is_followed_byte_by_byte() -> None:
    """Every prefix state of Knuth, Morris and Pratt's example, against looking at the text itself."""
    pieces = Letters("a", "b", "ab", "ba", "aab")
    ban = BannedText("abaab", pieces)
    rng = np.random.default_rng(0)
    for _ in range(200):
        state, text = ban.start(1), ""
        for _ in range(12):
            allowed = ban.allowed(state)[0]
            expected = ["abaab" not in text + piece for piece in ("a", "b", "ab", "ba", "aab", "")]
            assert allowed.tolist() == expected
            token = int(rng.choice(np.flatnonzero(allowed[:-1])))
            state, text = ban.advance(state, np.array([token])), text + pieces.decode([token])


def test_prompts_from_a_file_in_order(tmp_path: Any) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"abc\r\n\nhhh\n" + b"a\n" * 100 + b"d")
    prompts = list(read_prompts(str(path)))
    assert prompts == ["abc", "", "hhh", *["a"] * 100, "d"]
    how = Sampling(max_tokens=5, samples=2)
    found = list(generate_each(bigram(), LETTERS, prompts, how, BeamSettings()))
    assert found == [generate(bigram(), LETTERS, prompt, how) for prompt in prompts]
    path.write_bytes(b"abc\n\xff\n")
    with pytest.raises(UserError, match="line 2 is not UTF-8"):
        list(read_prompts(str(path)))
    with pytest.raises(UserError, match="can't be read"):
        list(read_prompts(str(tmp_path / "none.txt")))
