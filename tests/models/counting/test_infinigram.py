"""The infinigram against a textbook twin, arithmetic on paper, and the contract."""

from __future__ import annotations

from bisect import bisect
from itertools import pairwise
from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.errors import UserError
from rung.models.base import fitted
from rung.models.counting.infinigram import InfiniGram, InfiniGramConfig, hold_out, learn_weights
from rung.models.counting.infinigram_scan import COUNT_BINS, DISTINCT_BINS, UNUSED, count_next_tokens
from rung.models.counting.ngram import NGram, NGramConfig
from rung.testing import language_model as contract
from rung.text.stream import TokenStream
from tests import text_made
from tests.models.corpora import Corpus, corpora

TIMES_FROM = [1, 2, 3, 4, 5, 6, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096]
VARIETIES_FROM = [1, 2, 3, 4, 8, 16, 32, 64, 128, 256]


def fit(corpus: Corpus, order: int | None = None) -> InfiniGram:
    return fitted(InfiniGram.fit(InfiniGramConfig(order=order), corpus.stream, corpus.vocab_size, corpus.end))


def weighted(model: InfiniGram, seed: int = 0) -> InfiniGram:
    """The model with weights it did not learn: small texts hold out nothing to learn from."""
    weights = np.random.default_rng(seed).uniform(0, 0.95, len(model.weights)).astype(np.float32)
    tensors = model.tensors() | {"weights": weights}
    return InfiniGram.from_tensors(model.config, model.vocab_size, model.end, tensors)


def twin(model: InfiniGram, stream: TokenStream, history: list[int]) -> np.ndarray:
    """P(w | history) for every w, from the Kneser-Ney model's and what a plain search finds."""
    ids = stream.ids.tolist()
    below, _ = model.ngram.advance(model.ngram.start(), np.array([history]))
    probs = np.exp(below[0].astype(np.float64))

    def places(n: int) -> list[int]:
        return [i for i in range(n - 1, len(ids) - 1) if ids[i - n + 1 : i + 1] == history[-n:]]

    longest = max((n for n in range(1, len(history) + 1) if places(n)), default=0)
    order = model.ngram.order
    fixed = [n for n in (order - 3, order, order + 2, order + 5) if n >= 1]
    if longest < fixed[0]:
        return probs
    ends = [(row, n) for row, n in enumerate(fixed) if n < longest]
    depth = bisect([*fixed, 2 * fixed[-1], 4 * fixed[-1]], longest) - 1
    ends.append((len(fixed) + depth, longest))
    for i, (row, n) in enumerate(ends):
        found = places(n)
        if i + 1 < len(ends) and len(places(ends[i + 1][1])) == len(found):
            continue
        followers = [ids[p + 1] for p in sorted(found, key=lambda p: ids[p::-1])]
        variety = len(set(followers))
        if len(found) > 64:
            variety = 1 + sum(a != b for a, b in pairwise(followers))
        times_class = bisect(TIMES_FROM, len(found)) - 1
        variety_class = bisect(VARIETIES_FROM, variety) - 1
        weight = float(model.weights[(row * 16 + times_class) * 10 + variety_class])
        share = np.bincount(followers, minlength=model.vocab_size) / len(followers)
        probs = weight * share + (1 - weight) * probs
    return probs


@settings(deadline=None, max_examples=25)
@given(corpus=corpora(), order=st.integers(1, 5))
def test_it_keeps_the_contract(corpus: Corpus, order: int) -> None:
    contract.check_model(weighted(fit(corpus, order)))


def test_it_keeps_the_contract_with_weights_it_learned() -> None:
    rng = np.random.default_rng(5)
    stream = TokenStream.of([rng.integers(0, 3, 3000), rng.integers(0, 2, 500)], end=3)
    model = fitted(InfiniGram.fit(InfiniGramConfig(order=3), stream, 4, 3))
    assert model.weights.any()
    contract.check_model(model)


@settings(deadline=None, max_examples=60)
@given(corpora(longest=60), st.integers(1, 4), st.data())
def test_it_is_the_textbooks(corpus: Corpus, order: int, data: st.DataObject) -> None:
    model = weighted(fit(corpus, order))
    copied = data.draw(st.sampled_from([[], *corpus.documents]))
    history = [corpus.end, *copied[: data.draw(st.integers(0, 30))]]
    history += data.draw(st.lists(st.integers(0, max(corpus.end - 1, 0)), max_size=6))
    if corpus.end > 0:
        log_probs, _ = model.advance(model.start(), np.array([history]))
        np.testing.assert_allclose(np.exp(log_probs[0]), twin(model, corpus.stream, history), rtol=1e-4)


def test_where_strings_occur_hundreds_of_times_it_is_the_textbooks() -> None:
    rng = np.random.default_rng(6)
    stream = TokenStream.of([rng.choice(3, 1500, p=[0.7, 0.2, 0.1]), rng.integers(0, 3, 800)], end=3)
    model = weighted(fitted(InfiniGram.fit(InfiniGramConfig(order=2), stream, 4, 3)))
    for _ in range(30):
        history = [3, *rng.choice(3, rng.integers(0, 12), p=[0.8, 0.1, 0.1]).tolist()]
        log_probs, _ = model.advance(model.start(), np.array([history]))
        np.testing.assert_allclose(np.exp(log_probs[0]), twin(model, stream, history), rtol=1e-4)


def test_counting_by_search_is_counting() -> None:
    rng = np.random.default_rng(7)
    corpus = Corpus([rng.integers(0, 5, 400).tolist()], 6)
    model = fit(corpus, 2)
    for begin, end in ((0, 400), (17, 18), (50, 333), (5, 5)):
        counts = np.empty(6, np.int64)
        count_next_tokens(model.text.suffix_array, begin, end, counts)
        np.testing.assert_array_equal(counts, np.bincount(model.text.next_tokens[begin:end], minlength=6))


def test_a_weight_is_how_often_the_evidence_was_right() -> None:
    """The model below is certain of 7 tokens of 10, the evidence of the other 3: lambda is 0.3, less the prior."""
    right = np.arange(10_000) % 10 < 3
    buckets = np.full((10_000, 1), 4 * DISTINCT_BINS + 2, np.int32)
    weights = learn_weights(
        np.where(right, 0.0, 1.0), right.astype(np.float32)[:, None], buckets, COUNT_BINS * DISTINCT_BINS
    )
    assert weights[4 * DISTINCT_BINS + 2] == pytest.approx(0.3, abs=1e-3)
    assert not weights[[9, 19, 45]].any()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000))
def test_learned_weights_never_make_what_they_were_learned_from_less_likely(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 400))
    probs = rng.uniform(0.01, 1, n)
    frequencies = (rng.integers(0, 4, (n, 3)) / 3).astype(np.float32)
    buckets = rng.integers(0, 12, (n, 3)) + np.arange(3) * COUNT_BINS * DISTINCT_BINS
    buckets[rng.random((n, 3)) < 0.3] = UNUSED
    weights = learn_weights(probs, frequencies, buckets, 3 * COUNT_BINS * DISTINCT_BINS)
    assert 0 <= weights.min() <= weights.max() < 1
    mixed = probs.copy()
    for level in range(3):
        weight = np.where(buckets[:, level] == UNUSED, 0, weights[buckets[:, level]])
        mixed = weight * frequencies[:, level] + (1 - weight) * mixed
    assert np.log(mixed).sum() >= np.log(probs).sum() - 1e-3


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 60), st.integers(1, 400), st.integers(0, 9))
def test_every_token_of_a_small_text_is_held_out_once(n_documents: int, longest: int, seed: int) -> None:
    """Tokens are numbered, so that what is held out and what is kept can be told apart and put together again."""
    lengths = np.random.default_rng(seed).integers(0, longest, n_documents)
    n = int(lengths.sum())
    documents = np.split(np.arange(n), np.cumsum(lengths)[:-1]) if n_documents else []
    stream = TokenStream.of(documents, n)
    predicted: list[int] = []
    for kept, held_out in hold_out(stream, n):
        assert all(ids[0] == n and len(ids) > 1 for ids in held_out)
        out = [token for ids in held_out for token in ids.tolist() if token < n]
        assert sorted(out + [token for token in kept.ids.tolist() if token < n]) == list(range(n))
        assert [kept.document(i)[-1] for i in range(kept.n_documents)] == [n] * kept.n_documents
        for i in range(kept.n_documents):
            assert (np.diff(kept.document(i)[:-1]) == 1).all()
        predicted += out
    assert sorted(predicted) == list(range(n))


def test_of_much_text_a_tenth_is_held_out_at_a_time_and_documents_stay_whole() -> None:
    n = 400_000  # documents of two tokens
    twice = np.stack([np.arange(n), np.arange(n), np.full(n, n)], axis=1).reshape(-1)
    stream = TokenStream(np.append(n, twice), 1 + 3 * np.arange(n + 1))
    turns = list(hold_out(stream, n))
    assert [len(held_out) for _, held_out in turns] == [3, 3, 2, 2]
    for kept, held_out in turns:
        assert [len(ids) - 1 for ids in held_out] == pytest.approx([40_000] * len(held_out), abs=3)
        assert kept.n_tokens + sum(len(ids) - 1 for ids in held_out) == stream.n_tokens
        for ids in (kept.ids, *held_out):
            assert set(np.bincount(ids)[:-1].tolist()) == {0, 2}


def bits_per_byte(model: InfiniGram | NGram, stream: TokenStream) -> float:
    return -float(model.score_stream(stream).sum(dtype=np.float64)) / stream.n_tokens / np.log(2)


def byte_stream(texts: list[str]) -> TokenStream:
    return TokenStream.of([np.frombuffer(text.encode(), np.uint8) for text in texts], end=256)


def test_it_gains_where_text_repeats_and_loses_nothing_where_it_does_not() -> None:
    """A licence that stands in every file after some random letters; and random letters alone."""
    rng = np.random.default_rng(8)

    def letters(n: int) -> str:
        return "".join(rng.choice(list("abcdefgh"), n))

    licence = letters(300)
    files = [letters(80) + licence + letters(80) for _ in range(40)]
    for texts, held_out, gain in (
        (files, [letters(80) + licence], 0.2),
        ([letters(20_000)], [letters(2000)], -0.01),
    ):
        stream, test = byte_stream(texts), byte_stream(held_out)
        model = fitted(InfiniGram.fit(InfiniGramConfig(order=2), stream, 257, 256))
        assert bits_per_byte(model.ngram, test) - bits_per_byte(model, test) > gain
        assert bits_per_byte(model, test) < log2(9) + 0.2


def test_the_kneser_ney_model_below_is_the_ngram_rungs() -> None:
    stream = byte_stream([text_made.sentences(300)])
    model = fitted(InfiniGram.fit(InfiniGramConfig(order=4), stream, 257, 256))
    alone = fitted(NGram.fit(NGramConfig(order=4), stream, 257, 256))
    for name, tensor in alone.tensors().items():
        np.testing.assert_array_equal(model.ngram.tensors()[name], tensor)


def test_nothing_is_remembered_across_documents() -> None:
    """abc begins a document after "xy", and only there: a fresh document's history is its mark."""
    corpus = Corpus([[3, 4], [0, 1, 2], [3, 4], [0, 1, 2]] * 5, 7)
    model = weighted(fit(corpus, 2))
    fresh, state = model.advance(model.start(), np.array([corpus.end]))
    later, longer = model.advance(model.start(), np.array([[corpus.end, 3, 4, corpus.end]]))
    np.testing.assert_array_equal(later, fresh)
    after, after_longer = (model.advance(s, np.array([[0, 1]]))[0] for s in (state, longer))
    np.testing.assert_array_equal(after, after_longer)


@pytest.mark.parametrize("documents", [[], [[]], [[0]], [[], []], [[0] * 50], [[0, 1]], [[0] * 3000]])
def test_tiny_texts_never_fail(documents: list[list[int]]) -> None:
    model = fit(Corpus(documents, 3), 9)
    contract.sums_to_one(model, np.array([[0, 0, 1, 2, 0, 0]]), 1e-5)
    contract.score_equals_the_walk(model, np.array([[0, 0, 1, 2, 0, 0]]), 1e-5)


def test_a_text_longer_than_a_chunk_scores_as_its_documents_do() -> None:
    rng = np.random.default_rng(1)
    documents = [rng.integers(0, 20, 30_000), rng.integers(0, 20, 50_000), rng.integers(0, 20, 7)]
    stream = TokenStream.of(documents, end=20)
    model = weighted(fitted(InfiniGram.fit(InfiniGramConfig(order=3), stream, 21, 20)))
    pieces = np.concatenate([model.score(stream.document(i)) for i in range(3)])
    np.testing.assert_allclose(model.score_stream(stream), pieces, atol=1e-6)


def test_the_order_is_checked_and_resolved() -> None:
    with pytest.raises(UserError, match="--order 17"):
        InfiniGramConfig(order=17)
    model = fit(Corpus([[0, 1, 0]], 3))
    assert model.config.order == model.ngram.order
    assert model.context is None
