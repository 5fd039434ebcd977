"""The pipeline: distributions stay distributions, supports shrink, small cases by hand, transformers as authority."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from rung.errors import UserError
from rung.generation import pipeline
from rung.generation.pipeline import Pipeline, sample_tokens
from rung.generation.settings import Sampling
from tests.generation.letters import Letters

LETTERS = Letters(*"abcdefghijk")
V = LETTERS.vocab_size


def shares(log_probs: np.ndarray) -> np.ndarray:
    """Probabilities in proportion, summing to 1."""
    return np.exp(pipeline.log_softmax(log_probs))


@st.composite
def distributions(draw: st.DrawFn) -> np.ndarray:
    """(R, V) log-probabilities; small whole numbers as weights make ties and impossible tokens likely."""
    n_rows = draw(st.integers(1, 4))
    weights = [draw(st.lists(st.integers(0, 9), min_size=V, max_size=V)) for _ in range(n_rows)]
    probs = np.array(weights, np.float64) + np.eye(n_rows, V)  # no row without a token
    with np.errstate(divide="ignore"):
        return np.log(probs / probs.sum(axis=-1, keepdims=True))


settings_drawn = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0, 0.3, 1.0, 4.0]),
        "top_k": st.none() | st.integers(1, V),
        "top_p": st.none() | st.floats(0.01, 1),
        "min_p": st.none() | st.floats(0, 1),
        "typical_p": st.none() | st.floats(0.01, 1),
        "repetition_penalty": st.sampled_from([1.0, 1.5, 0.5]),
        "presence_penalty": st.sampled_from([0.0, 1.0, -0.5]),
        "frequency_penalty": st.sampled_from([0.0, 0.7]),
        "min_tokens": st.sampled_from([0, 2]),
        "bias": st.sampled_from([(), ("a=2.5",), ("b=-3", "c=1")]),
        "force": st.sampled_from(["", "dad"]),
    }
)


@settings(deadline=None)
@given(distributions(), settings_drawn, st.lists(st.integers(0, V - 2), max_size=5))
def test_what_is_drawn_from_is_a_distribution_and_nothing_impossible_becomes_possible(
    log_probs: np.ndarray, chosen: dict[str, Any], made: list[int]
) -> None:
    pipe = Pipeline(Sampling(**chosen), LETTERS)
    past = pipe.start([LETTERS.encode("abba")] * len(log_probs))
    for token in made:
        past = past.after(np.full(len(log_probs), token))
    before = log_probs.copy()
    try:
        out = pipe.process(log_probs, past)
    except UserError:  # the mark alone was possible, too early
        return
    np.testing.assert_array_equal(log_probs, before)
    np.testing.assert_allclose(np.exp(out).sum(axis=-1), 1, atol=1e-9)
    if len(made) >= len(chosen["force"]):
        assert (out[~np.isfinite(log_probs)] == -np.inf).all()
    alone = [
        pipe.process(log_probs[row : row + 1], past.select(np.array([row]))) for row in range(len(log_probs))
    ]
    np.testing.assert_array_equal(out, np.concatenate(alone))


@settings(deadline=None)
@given(distributions(), st.integers(1, V), st.floats(0.01, 1), st.floats(0, 1))
def test_cuts_keep_the_proportions_of_what_they_keep(
    log_probs: np.ndarray, k: int, p: float, share: float
) -> None:
    cuts: list[np.ndarray] = [
        pipeline.top_k(log_probs, k),
        pipeline.top_p(log_probs, p),
        pipeline.min_p(log_probs, share),
        pipeline.typical_p(log_probs, p),
    ]
    for out in cuts:
        for before, after in zip(log_probs, out, strict=True):
            kept = np.isfinite(after)
            assert kept.any()
            np.testing.assert_array_equal(after[kept], before[kept])
    for before, after in zip(log_probs, cuts[0], strict=True):
        assert np.isfinite(after).sum() == min(k, np.isfinite(before).sum())
    for before, after in zip(log_probs, cuts[1], strict=True):  # the fewest that reach p
        kept = np.exp(before[np.isfinite(after)])
        assert kept.sum() >= p - 1e-9
        assert kept.sum() - kept.min() < p + 1e-9


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 30), st.floats(0.05, 0.95), st.floats(0.3, 3.0))
def test_each_cut_is_that_of_transformers(seed: int, k: int, p: float, warmth: float) -> None:
    """On random logits, where nothing is tied."""
    log_probs = pipeline.log_softmax(np.random.default_rng(seed).normal(0, 2, (3, 30)))
    scores = torch.from_numpy(log_probs)
    ids: Any = torch.zeros((3, 1), dtype=torch.int64)
    pairs: list[tuple[Callable[[], np.ndarray], Any]] = [
        (lambda: pipeline.top_k(log_probs, k), TopKLogitsWarper(k)),
        (lambda: pipeline.top_p(log_probs, p), TopPLogitsWarper(p)),
        (lambda: pipeline.min_p(log_probs, p), MinPLogitsWarper(p)),
        (lambda: pipeline.typical_p(log_probs, p), TypicalLogitsWarper(p)),
        (lambda: pipeline.temperature(log_probs, warmth), TemperatureLogitsWarper(warmth)),
    ]
    for ours, theirs in pairs:
        expected = torch.softmax(theirs(ids, scores.clone()), dim=-1).numpy()
        np.testing.assert_allclose(shares(ours()), expected, atol=1e-9)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.floats(0.2, 4.0))
def test_repetition_penalty_is_that_of_transformers(seed: int, penalty: float) -> None:
    rng = np.random.default_rng(seed)
    log_probs = pipeline.log_softmax(rng.normal(0, 2, (3, V)))
    prompt, made = rng.integers(0, V, (3, 4)), rng.integers(0, V, (3, 3))
    pipe = Pipeline(Sampling(repetition_penalty=penalty), LETTERS)
    past = pipe.start(list(prompt))
    for column in made.T:
        past = past.after(column)
    theirs = RepetitionPenaltyLogitsProcessor(penalty)
    history: Any = torch.from_numpy(np.concatenate([prompt, made], axis=1))
    expected = theirs(history, torch.from_numpy(log_probs.copy()))
    np.testing.assert_allclose(pipe.adjusted(log_probs, past), np.asarray(expected), atol=1e-12)


def test_the_cuts_follow_each_other_as_in_transformers() -> None:
    rng = np.random.default_rng(3)
    log_probs = pipeline.log_softmax(rng.normal(0, 2, (5, V)))
    how = Sampling(temperature=0.7, top_k=9, top_p=0.9, min_p=0.03, typical_p=0.8)
    scores: Any = torch.from_numpy(log_probs)
    ids: Any = torch.zeros((5, 1), dtype=torch.int64)
    for warper in (
        TemperatureLogitsWarper(0.7),
        TopKLogitsWarper(9),
        TopPLogitsWarper(0.9),
        MinPLogitsWarper(0.03),
        TypicalLogitsWarper(0.8),
    ):
        scores = warper(ids, scores)
    pipe = Pipeline(how, LETTERS)
    out = pipe.process(log_probs, pipe.start([np.empty(0, np.int64)] * 5))
    np.testing.assert_allclose(np.exp(out), torch.softmax(scores, dim=-1).numpy(), atol=1e-9)


def test_temperature_by_hand() -> None:
    log_probs = np.log([[0.8, 0.2]])
    np.testing.assert_allclose(shares(pipeline.temperature(log_probs, 0.5)), [[0.64 / 0.68, 0.04 / 0.68]])
    np.testing.assert_allclose(shares(pipeline.temperature(log_probs, 0)), [[1, 0]])
    np.testing.assert_allclose(shares(pipeline.temperature(log_probs, 1e-6)), [[1, 0]])
    np.testing.assert_allclose(shares(pipeline.temperature(log_probs, 1e9)), [[0.5, 0.5]], atol=1e-6)


def test_cuts_by_hand() -> None:
    log_probs = np.log([[0.1, 0.5, 0.25, 0.15]])
    for cut, kept in (
        (pipeline.top_k(log_probs, 2), [0, 2 / 3, 1 / 3, 0]),
        (pipeline.top_p(log_probs, 0.5), [0, 1, 0, 0]),
        (pipeline.top_p(log_probs, 0.6), [0, 2 / 3, 1 / 3, 0]),
        (pipeline.top_p(log_probs, 1.0), [0.1, 0.5, 0.25, 0.15]),
        (pipeline.min_p(log_probs, 0.4), [0, 2 / 3, 1 / 3, 0]),
        (pipeline.min_p(log_probs, 0.0), [0.1, 0.5, 0.25, 0.15]),
        # The entropy is 1.208 nats; the surprises 2.30, 0.69, 1.39, 1.90 lie 1.09, 0.51, 0.18, 0.69 from it.
        (pipeline.typical_p(log_probs, 0.2), [0, 0, 1, 0]),
        (pipeline.typical_p(log_probs, 0.7), [0, 2 / 3, 1 / 3, 0]),
        (pipeline.typical_p(log_probs, 0.8), [0, 5 / 9, 2.5 / 9, 1.5 / 9]),
    ):
        np.testing.assert_allclose(shares(cut), [kept], atol=1e-12)


def test_among_equals_the_lower_ids_are_kept() -> None:
    equal = np.full((1, 6), -np.log(6))
    for cut in (pipeline.top_k(equal, 2), pipeline.top_p(equal, 0.3), pipeline.typical_p(equal, 0.3)):
        assert np.isfinite(cut).tolist() == [[True, True, False, False, False, False]]
    assert pipeline.top_k_ids(equal, 3).tolist() == [[0, 1, 2]]
    mixed = np.log([[0.1, 0.2, 0.1, 0.4, 0.2]])
    assert pipeline.top_k_ids(mixed, 4).tolist() == [[3, 1, 4, 0]]


def test_penalties_on_counts_by_hand() -> None:
    """OpenAI: mu[j] - c[j] * frequency - (1 if c[j] > 0 else 0) * presence."""
    log_probs = np.log([[0.5, 0.3, 0.2]])
    counts = np.array([[3, 1, 0]])
    out = pipeline.count_penalties(log_probs, counts, presence=0.5, frequency=0.25)
    np.testing.assert_allclose(out - log_probs, [[-1.25, -0.75, 0]])


def test_counts_are_of_what_was_made_and_seen_is_the_prompt_too() -> None:
    pipe = Pipeline(Sampling(repetition_penalty=2, presence_penalty=1), LETTERS)
    past = (
        pipe.start([LETTERS.encode("ab"), LETTERS.encode("")]).after(np.array([2, 2])).after(np.array([2, 0]))
    )
    assert past.counts is not None
    assert past.seen is not None
    assert past.counts[:, :3].tolist() == [[0, 0, 2], [1, 0, 1]]
    assert past.seen[:, :3].tolist() == [[True, True, True], [True, False, True]]
    assert past.n_made.tolist() == [2, 2]


def test_bias_least_length_and_force() -> None:
    log_probs = pipeline.log_softmax(np.zeros((1, V)))
    pipe = Pipeline(Sampling(bias=("a=1.5",), min_tokens=3, force="ca"), LETTERS)
    past = pipe.start([np.empty(0, np.int64)])
    for letter in "ca":  # forced, one after the other
        assert np.exp(pipe.process(log_probs, past))[0].argmax() == LETTERS.encode(letter)[0]
        assert np.exp(pipe.process(log_probs, past)).max() == 1
        past = past.after(LETTERS.encode(letter))
    probs = np.exp(pipe.process(log_probs, past))[0]
    assert probs[LETTERS.end] == 0  # two tokens are made
    np.testing.assert_allclose(probs[0], np.exp(1.5) / (np.exp(1.5) + V - 2))
    probs = np.exp(pipe.process(log_probs, past.after(np.array([1]))))[0]
    np.testing.assert_allclose(probs[LETTERS.end], 1 / (np.exp(1.5) + V - 1))


EXTREMES = st.sampled_from([-1e6, -1e3, -100.0, -1.0, 0.0, 1.0, 100.0, 1e3, 1e6]) | st.floats(-1e6, 1e6)


@settings(deadline=None)
@given(
    distributions(),
    st.sampled_from([np.float32, np.float64]),
    st.lists(EXTREMES, min_size=3, max_size=3),
    st.sampled_from([1e-300, 1e-46, 1e-6, 0.5, 1.0, 1e6, 1e300]),
    st.sampled_from([1e-6, 1.0, 1e6]),
    st.sets(st.integers(0, V - 1), min_size=1),
    st.floats(0, 1, exclude_max=True),
)
def test_extreme_settings_give_the_exact_softmax(
    log_probs: np.ndarray,
    dtype: Any,
    adds: list[float],
    warmth: float,
    repetition: float,
    admitted: set[int],
    uniform: float,
) -> None:
    log_probs = log_probs.astype(dtype)
    bias, presence, frequency = adds
    how = Sampling(
        bias=(f"a={bias!r}", f"b={bias!r}"),
        presence_penalty=presence,
        frequency_penalty=frequency,
        repetition_penalty=repetition,
        temperature=warmth,
    )
    pipe = Pipeline(how, LETTERS)
    past = pipe.start([LETTERS.encode("c")] * len(log_probs))
    for token in LETTERS.encode("abac"):
        past = past.after(np.full(len(log_probs), token))
    allowed = np.zeros(log_probs.shape, bool)
    allowed[:, sorted(admitted)] = True
    counts, seen = [2, 1, 1] + [0] * (V - 3), [True] * 3 + [False] * (V - 3)
    possible = allowed & np.isfinite(log_probs)
    if not possible.any(axis=-1).all():
        with pytest.raises(UserError, match="no token is left"):
            pipe.process(log_probs, past, allowed)
        return
    out = np.exp(pipe.process(log_probs, past, allowed))
    with mpmath.workdps(60):
        for row, made in zip(log_probs.tolist(), out, strict=True):
            logits = {}
            for v in admitted:
                if np.isfinite(row[v]):
                    logit = mpmath.mpf(row[v]) * (repetition if seen[v] else 1)
                    logit -= presence * mpmath.mpf(counts[v] > 0) + frequency * mpmath.mpf(counts[v])
                    logits[v] = (logit + (bias if v < 2 else 0)) / warmth
            top = max(logits.values())
            weights = {v: mpmath.exp(logit - top) for v, logit in logits.items()}
            expected = [float(weights.get(v, 0) / mpmath.fsum(weights.values())) for v in range(V)]
            if warmth >= 0.5:  # below, the last bit of a sum decides
                np.testing.assert_allclose(made, expected, atol=1e-6)
            behind = top - logits[int(np.argmax(made))]
            assert min(behind, behind * warmth) <= 1e-9  # of those that differ by rounding any may win
            assert made.max() >= 1 / V - 1e-6
    tokens = pipe.sample(log_probs, past, np.full(len(log_probs), uniform), allowed)
    assert possible[np.arange(len(tokens)), tokens].all()
    assert (out[np.arange(len(tokens)), tokens] > 0).all()


def test_a_bias_of_100_is_certain_and_a_temperature_near_0_greedy() -> None:
    """OpenAI: a bias goes from -100 to 100, which are as good as a ban and as certainty."""
    log_probs = pipeline.log_softmax(np.linspace(0, 5, V))[None].astype(np.float32)
    nothing = [np.empty(0, np.int64)]
    for how, expected in (
        (Sampling(bias=("a=100",)), 0),
        (Sampling(bias=tuple(f"{letter}=-100" for letter in "bcdefghijk"), min_tokens=1), 0),
        (Sampling(temperature=1e-46), V - 1),
    ):
        pipe = Pipeline(how, LETTERS)
        past = pipe.start(nothing)
        for uniform in (0.0, 0.5, np.nextafter(1, 0)):
            assert pipe.sample(log_probs, past, np.array([uniform])).tolist() == [expected]


def test_what_is_no_number_is_never_drawn() -> None:
    log_probs = np.full((1, V), np.nan, np.float32)
    for how in (Sampling(), Sampling(temperature=0), Sampling(bias=("a=1",)), Sampling(temperature=0.5)):
        pipe = Pipeline(how, LETTERS)
        with pytest.raises(UserError, match="nan"):
            pipe.sample(log_probs, pipe.start([np.empty(0, np.int64)]), np.array([0.5]))


def test_a_bias_may_hold_an_equals_sign() -> None:
    assert Sampling(bias=("==2", "a=-1e1")).biases() == [("=", 2.0), ("a", -10.0)]


def test_picking_is_drawing_from_what_is_processed() -> None:
    probs = np.array([0.4, 0.3, 0.15, 0.1, 0.05, *[0.0] * (V - 5)])
    with np.errstate(divide="ignore"):
        log_probs = np.tile(np.log(probs), (20_000, 1))
    pipe = Pipeline(Sampling(top_k=4, temperature=0.5), LETTERS)
    past = pipe.start([np.empty(0, np.int64)])
    expected = np.exp(pipe.process(log_probs[:1], past))[0]
    np.testing.assert_allclose(expected[:4], np.array([0.16, 0.09, 0.0225, 0.01]) / 0.2825)
    tokens = pipe.sample(log_probs, past, np.random.default_rng(0).random(20_000))
    counts = np.bincount(tokens, minlength=V)
    assert counts[4:].sum() == 0
    assert chisquare(counts[:4], expected[:4] * 20_000).pvalue > 1e-4


@settings(deadline=None)
@given(distributions(), settings_drawn)
def test_greedy_takes_the_likeliest_of_what_is_processed(
    log_probs: np.ndarray, chosen: dict[str, Any]
) -> None:
    pipe = Pipeline(replace(Sampling(**chosen), temperature=0), LETTERS)
    past = pipe.start([LETTERS.encode("abba")] * len(log_probs))
    try:
        expected = pipe.process(log_probs, past).argmax(axis=-1)
    except UserError:
        with pytest.raises(UserError, match="no token is left"):
            pipe.sample(log_probs, past, np.empty(0))
        return
    assert pipe.sample(log_probs, past, np.empty(0)).tolist() == expected.tolist()


@settings(deadline=None)
@given(distributions(), st.floats(0, 1, exclude_max=True))
def test_a_draw_is_never_impossible(log_probs: np.ndarray, uniform: float) -> None:
    for numbers in (np.full(len(log_probs), uniform), np.full(len(log_probs), np.nextafter(1, 0))):
        tokens = sample_tokens(log_probs, numbers)
        assert np.isfinite(log_probs[np.arange(len(tokens)), tokens]).all()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"top_k": V + 1}, f"--top-k {V + 1} is above the vocabulary: give at most {V}"),
        ({"top_logprobs": V + 1}, "--top-logprobs"),
        ({"bias": ("abc=1",)}, "3 tokens"),
        ({"bias": ("=1",)}, "TEXT=NUMBER"),
        ({"bias": ("a=much",)}, "TEXT=NUMBER"),
        ({"bias": ("a",)}, "TEXT=NUMBER"),
        ({"bias": ("a=inf",)}, "TEXT=NUMBER"),
        ({"bias": ("a=1e7",)}, "1,000,000"),
    ],
)
def test_what_does_not_go_with_the_vocabulary_is_said(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Pipeline(Sampling(**wrong), LETTERS)
