"""The compiled walks against the array versions, their slow twins in NumPy: the same bits."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.models.base import fitted
from rung.models.counting import ngram
from rung.models.counting.ngram import NGram, NGramConfig
from rung.models.counting.trie_kernels import scan, step
from rung.text.stream import TokenStream
from tests.models.corpora import Corpus, corpora


@settings(deadline=None, max_examples=60)
@given(corpora(), st.integers(1, 6), st.sampled_from(["kneser-ney", "witten-bell", "none"]))
def test_scan_and_arrays_give_the_same_bits(corpus: Corpus, order: int, smoothing: str) -> None:
    model = fitted(NGram.fit(NGramConfig(order, smoothing), corpus.stream, corpus.vocab_size, corpus.end))
    ids = np.random.default_rng(0).integers(0, corpus.vocab_size, 60)
    expected = model.trie.log_probs(ids)
    for function in (scan.py_func, scan):
        np.testing.assert_array_equal(model.trie.scanned_log_probs(ids, corpus.end, function), expected)


@settings(deadline=None, max_examples=60)
@given(corpora(), st.integers(1, 6), st.sampled_from(["kneser-ney", "witten-bell", "none"]))
def test_steps_and_arrays_give_the_same_bits(corpus: Corpus, order: int, smoothing: str) -> None:
    """From several states at once, one token or more at a time, marks among them."""
    model = fitted(NGram.fit(NGramConfig(order, smoothing), corpus.stream, corpus.vocab_size, corpus.end))
    rng = np.random.default_rng(0)
    nodes = model.start(5)
    for n_tokens in (1, 2, 1, 3):
        tokens = rng.integers(0, corpus.vocab_size, (5, n_tokens))
        expected = nodes
        for column in tokens.T:
            expected = model.trie.step(expected, column, corpus.end)
        for function in (step.py_func, step):
            log_probs, after = model.trie.compiled_step(nodes, tokens, corpus.end, function)
            np.testing.assert_array_equal(after, expected)
            np.testing.assert_array_equal(log_probs, model.trie.next_log_probs(expected))
        nodes = expected


def test_without_numba_the_arrays_do_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    for name in ("compiled", "trie_kernels"):
        monkeypatch.delitem(sys.modules, f"rung.models.counting.{name}")
    monkeypatch.setattr(ngram, "trie_kernels", ngram.trie_kernels.__wrapped__)
    monkeypatch.setattr(ngram, "COMPILE_AFTER", 0)
    stream = TokenStream.of([np.array([0, 1, 0, 0, 1])], end=2)
    model = fitted(NGram.fit(NGramConfig(2), stream, 3, 2))
    np.testing.assert_array_equal(model.score_stream(stream), model.trie.log_probs(stream.ids)[1:])


def test_switching_to_the_scan_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than a chunk, ids of another type than the model's, arrays that can't be written to."""
    rng = np.random.default_rng(0)
    stream = TokenStream.of([rng.integers(0, 300, 70_000), rng.integers(0, 40, 90_000)], end=300)
    model = fitted(NGram.fit(NGramConfig(4), stream, 301, 300))
    expected = model.score_stream(stream)
    tensors = {name: tensor.copy() for name, tensor in model.tensors().items()}
    for tensor in tensors.values():
        tensor.flags.writeable = False
    again = NGram.from_tensors(model.config, 301, 300, tensors)
    monkeypatch.setattr(ngram, "COMPILE_AFTER", 0)
    np.testing.assert_array_equal(
        again.score_stream(TokenStream(stream.ids.astype(np.uint16), stream.starts)), expected
    )
    np.testing.assert_array_equal(again.score(stream.document(0)[:1000]), expected[:1000])
