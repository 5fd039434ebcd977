"""The ngram rung against lmplz's numbers, a textbook twin, nltk, paper arithmetic and the contract."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.lm import Lidstone
from nltk.lm.preprocessing import padded_everygram_pipeline

from rung.errors import UserError
from rung.events import Note
from rung.models.base import fitted
from rung.models.counting.discounts import kneser_ney_discounts
from rung.models.counting.ngram import NGram, NGramConfig
from rung.testing import language_model as contract
from rung.text.stream import TokenStream
from tests.models import cows, textbook
from tests.models.corpora import Corpus, corpora

PROPER = ["kneser-ney", "absolute", "witten-bell", "add-k"]


def fit(corpus: Corpus, config: NGramConfig) -> NGram:
    return fitted(NGram.fit(config, corpus.stream, corpus.vocab_size, corpus.end))


def cow_model(config: NGramConfig) -> NGram:
    return fitted(NGram.fit(config, cows.STREAM, cows.VOCAB_SIZE, cows.END))


def after(model: NGram, history: str, *, at_start: bool = False) -> dict[str, float]:
    """P(word | history) for every word, the history inside a document or at its start."""
    tokens = np.append([cows.END] if at_start else np.array([], np.int64), cows.ids(history))
    log_probs, _ = model.advance(model.start(), tokens[None])
    return dict(zip(cows.WORDS, np.exp(log_probs[0]).tolist(), strict=True))


@pytest.mark.parametrize("smoothing", PROPER)
@settings(deadline=None, max_examples=12)
@given(corpus=corpora(), order=st.integers(1, 6))
def test_it_keeps_the_contract(corpus: Corpus, order: int, smoothing: str) -> None:
    contract.check_model(fit(corpus, NGramConfig(order, smoothing)))


@settings(deadline=None, max_examples=12)
@given(corpora(), st.integers(1, 4), st.sampled_from([(0, 1), (0, 0, 1), (0, 1, 2), (0, 3)]))
def test_pruned_it_keeps_the_contract(corpus: Corpus, order: int, prune: tuple[int, ...]) -> None:
    for smoothing in ("kneser-ney", "absolute", "witten-bell"):
        contract.check_model(fit(corpus, NGramConfig(order, smoothing, prune)))


@settings(deadline=None, max_examples=12)
@given(corpora(), st.integers(1, 4))
def test_without_smoothing_all_but_possibility_is_kept(corpus: Corpus, order: int) -> None:
    model = fit(corpus, NGramConfig(order, "none"))
    rows = np.random.default_rng(0).integers(0, corpus.vocab_size, (3, 12))
    contract.sums_to_one(model, rows, 1e-4)
    contract.score_equals_the_walk(model, rows, 1e-4)
    contract.prompt_at_once_equals_token_by_token(model, rows, 1e-4)
    contract.saved_is_the_same(model, rows, 1e-4)


def agree(model: NGram, twin: textbook.Probability, corpus: Corpus, order: int) -> None:
    """Score a training document and a random one, token by token; the twin sees n - 1 tokens of history."""
    random = np.random.default_rng(0).integers(0, max(corpus.vocab_size - 1, 1), 12).tolist()
    for document in [*corpus.documents[:1], random]:
        expected = [
            twin(token, history) for history, token in textbook.histories(document, corpus.end, order)
        ]
        scores = model.score(np.append(document, corpus.end).astype(np.int64))
        np.testing.assert_allclose(np.exp(scores), expected, rtol=1e-5)


@settings(deadline=None, max_examples=40)
@given(corpora(longest=60), st.integers(1, 5), st.sampled_from([(), (0, 1), (0, 1, 2)]))
def test_kneser_ney_is_the_textbooks(corpus: Corpus, order: int, prune: tuple[int, ...]) -> None:
    model = fit(corpus, NGramConfig(order, prune=prune))
    agree(
        model,
        textbook.kneser_ney(corpus.documents, corpus.vocab_size, corpus.end, order, prune),
        corpus,
        order,
    )


@settings(deadline=None, max_examples=25)
@given(corpora(), st.integers(1, 4))
def test_absolute_and_witten_bell_are_the_textbooks(corpus: Corpus, order: int) -> None:
    for name, smoothing in (("absolute", textbook.absolute), ("witten-bell", textbook.witten_bell)):
        twin = smoothing(corpus.documents, corpus.vocab_size, corpus.end, order)
        agree(fit(corpus, NGramConfig(order, name)), twin, corpus, order)


@settings(deadline=None, max_examples=25)
@given(corpora(), st.integers(1, 4))
def test_stupid_backoff_is_the_textbooks(corpus: Corpus, order: int) -> None:
    model = fit(corpus, NGramConfig(order, "stupid-backoff"))
    twin = textbook.stupid_backoff(corpus.documents, corpus.end, order)
    for document in [*corpus.documents[:1], [0] * 9]:
        expected = [
            twin(token, history) for history, token in textbook.histories(document, corpus.end, order)
        ]
        if corpus.documents:
            scores = model.raw_scores(np.append(document, corpus.end).astype(np.int64))
            np.testing.assert_allclose(np.exp(scores), expected, rtol=1e-5)


def test_kneser_ney_on_the_cows_is_lmplzs() -> None:
    """`lmplz -o 3 --discount_fallback` on the same eleven lines; log10, from the ARPA file it wrote."""
    model = cow_model(NGramConfig(order=3))
    inside = {word: np.log10(p) for word, p in after(model, "cows eat").items()}
    written = {
        "corn": -0.5539621,
        "grass": -0.7296929,
        "hay": -0.85113245,
        "if": -1.011171,
        "which": -1.011171,
    }
    for word, log10 in written.items():
        assert inside[word] == pytest.approx(log10, abs=1e-6)
    # Not written as trigrams: the backoff weights of "cows eat" and "eat", and then the 1-gram.
    assert inside["</s>"] == pytest.approx(-0.34242266 - 0.30103 - 0.8960567, abs=1e-6)
    assert inside["<unk>"] == pytest.approx(-0.34242266 - 0.30103 - 1.9598176, abs=1e-6)
    first = {word: np.log10(p) for word, p in after(model, "", at_start=True).items()}
    assert first["cows"] == pytest.approx(-0.867226, abs=1e-6)
    assert first["our"] == pytest.approx(-1.2564626, abs=1e-6)
    assert first["<unk>"] == pytest.approx(-0.30103 - 1.9598176, abs=1e-6)
    np.testing.assert_array_equal(model.discounts, [[0.5, 1.0, 1.5]] * 3)


@pytest.mark.parametrize(
    ("counts_of_counts", "discounts"),
    [
        ((5287, 921, 356, 208), (0.741619, 1.14001, 1.26678)),
        ((19799, 1430, 454, 203), (0.873781, 1.16777, 1.4372)),
        ((25304, 516, 107, 44), (0.960814, 1.40228, 1.4196)),
        ((23230, 133, 21, 12), (0.988679, 1.53168, 0.740162)),
    ],
)
def test_discounts_are_those_lmplz_printed_for_hamlet(
    counts_of_counts: tuple[int, ...], discounts: tuple[float, ...]
) -> None:
    computed = kneser_ney_discounts(counts_of_counts)
    assert computed is not None
    np.testing.assert_allclose(computed, discounts, rtol=5e-6)


def test_without_smoothing_cows_eat_what_they_were_seen_to_eat() -> None:
    model = cow_model(NGramConfig(order=3, smoothing="none"))
    times = {"corn": 4, "grass": 3, "hay": 2, "if": 1, "which": 1}
    expected = {word: times.get(word, 0) / 11 for word in cows.WORDS}
    assert after(model, "cows eat") == pytest.approx(expected, abs=1e-7)


def test_stupid_backoff_on_paper() -> None:
    """ "cows eat corn" 4 times of 11; "eat foods" never, foods once among 76 tokens, two tokens given up."""
    model = cow_model(NGramConfig(order=3, smoothing="stupid-backoff"))
    scores = np.exp(model.raw_scores(cows.ids("the cows eat corn")))
    np.testing.assert_allclose(scores, [1 / 11, 1, 1, 4 / 11], rtol=1e-6)
    n_tokens = sum(len(sentence.split()) + 1 for sentence in cows.SENTENCES)
    assert np.exp(model.raw_scores(cows.ids("cows eat foods")))[2] == pytest.approx(0.4**2 / n_tokens)


def test_stupid_backoff_is_refused_where_probabilities_are_needed() -> None:
    model = cow_model(NGramConfig(order=3, smoothing="stupid-backoff"))
    for use in (
        lambda: model.score(cows.ids("cows")),
        lambda: model.score_stream(cows.STREAM),
        lambda: model.advance(model.start(), cows.ids("cows")),
    ):
        with pytest.raises(UserError, match="scores, not probabilities"):
            use()
    with pytest.raises(UserError, match="use score"):
        cow_model(NGramConfig(order=2)).raw_scores(cows.ids("cows"))


@pytest.mark.parametrize(("order", "k"), [(2, 1.0), (3, 1.0), (3, 0.1)])
def test_add_k_is_nltks_lidstone(order: int, k: float) -> None:
    sentences = [sentence.split() for sentence in cows.SENTENCES]
    peer = Lidstone(k, order)
    peer.fit(*padded_everygram_pipeline(order, sentences))
    model = fitted(NGram.fit(NGramConfig(order, "add-k", add_k=k), cows.STREAM, len(peer.vocab), cows.END))
    for text in ("the cows eat corn", "eat cows the corn", "which foods do cows eat"):
        marked = ["<s>"] * (order - 1) + [*text.split(), "</s>"]
        expected = [peer.score(marked[i], marked[i - order + 1 : i]) for i in range(order - 1, len(marked))]
        np.testing.assert_allclose(
            np.exp(model.score(np.append(cows.ids(text), cows.END))), expected, rtol=1e-6
        )


def test_what_never_occurred_has_its_share_of_the_uniform() -> None:
    """Two ids that no document has are equally likely everywhere, and never impossible."""
    stream = TokenStream.of([np.array([0, 1, 0, 0, 1]), np.array([1, 1, 0])], end=4)
    model = fitted(NGram.fit(NGramConfig(order=3), stream, 5, 4))
    log_probs, _ = model.advance(model.start(), np.array([[4, 0]]))
    assert log_probs[0, 2] == log_probs[0, 3] > -10


@pytest.mark.parametrize("smoothing", [*PROPER, "none"])
@pytest.mark.parametrize("documents", [[], [[]], [[0]], [[], []], [[0] * 50], [[0, 1]]])
def test_tiny_texts_never_fail(documents: list[list[int]], smoothing: str) -> None:
    """No text, an empty document, one token, one token over and over; the order longer than the text."""
    corpus = Corpus(documents, 3)
    model = fit(corpus, NGramConfig(order=9, smoothing=smoothing))
    contract.sums_to_one(model, np.array([[0, 0, 1, 2, 0, 0]]), 1e-5)
    assert model.order == 9


def test_a_fallback_is_announced_once() -> None:
    events = list(NGram.fit(NGramConfig(order=3), cows.STREAM, cows.VOCAB_SIZE, cows.END))
    assert [type(event) for event in events] == [Note, NGram]
    assert isinstance(events[0], Note)
    assert "1, 2, 3" in events[0].text


def test_a_text_longer_than_a_chunk_scores_as_its_documents_do() -> None:
    """A text longer than the pieces it is scored in scores as its documents do one by one."""
    rng = np.random.default_rng(1)
    documents = [rng.integers(0, 20, 30_000), rng.integers(0, 20, 50_000), rng.integers(0, 20, 7)]
    stream = TokenStream.of(documents, end=20)
    model = fitted(NGram.fit(NGramConfig(order=4), stream, 21, 20))
    whole = model.score_stream(stream)
    pieces = np.concatenate([model.score(stream.document(i)) for i in range(3)])
    np.testing.assert_allclose(whole, pieces, atol=1e-6)
    around = model.score(documents[1][39_000:41_000])[10:]  # what came long before does not matter
    np.testing.assert_allclose(model.score(documents[1])[39_010:41_000], around, atol=1e-6)


def test_defaults_are_resolved_in_the_config() -> None:
    model = cow_model(NGramConfig(smoothing="add-k"))
    assert model.config.order == model.order
    assert model.config.add_k is not None
    assert model.context == model.order - 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"order": 0}, "--order 0"),
        ({"order": 17}, "--order 17"),
        ({"smoothing": "kneser-nay"}, "did you mean 'kneser-ney'"),
        ({"prune": (1, 1)}, "--prune 1 1"),
        ({"prune": (0, 2, 1)}, "--prune 0 2 1"),
        ({"prune": (0, 1), "smoothing": "none"}, "--prune goes with"),
        ({"add_k": 1.0}, "--add-k goes with"),
        ({"add_k": 0.0, "smoothing": "add-k"}, "--add-k 0"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        NGramConfig(**settings)  # pyright: ignore[reportArgumentType]


def test_the_imported_smoothing_is_not_for_training() -> None:
    with pytest.raises(UserError, match="can't be trained"):
        cow_model(NGramConfig(smoothing="imported"))
