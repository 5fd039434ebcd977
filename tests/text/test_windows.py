"""Batches: a function of (seed, t), every token once an epoch, no row across a border between documents."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.text.stream import TokenStream
from rung.text.windows import PADDING, WindowBatches

END = 9
corpora = st.lists(st.lists(st.integers(0, 8), max_size=20), min_size=1, max_size=8)


def stream_of(documents: list[list[int]]) -> TokenStream:
    return TokenStream.of([np.array(document, np.int64) for document in documents], END)


@settings(deadline=None, max_examples=60)
@given(corpora, st.integers(1, 7), st.integers(1, 5), st.integers(0, 3))
def test_a_batch_is_the_same_whenever_it_is_asked_for(documents, window, batch_size, seed):
    stream = stream_of(documents)
    in_order = [WindowBatches(stream, window, batch_size, seed).batch(t) for t in range(6)]
    batches = WindowBatches(stream, window, batch_size, seed)
    for t in (5, 0, 3, 3, 1):
        for ours, theirs in zip(batches.batch(t).arrays, in_order[t].arrays, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@settings(deadline=None, max_examples=60)
@given(corpora, st.integers(1, 7), st.integers(0, 3))
def test_every_token_is_a_target_once_an_epoch_with_the_token_before_it_as_input(documents, window, seed):
    """Rows of one: an epoch is over when every (token before, token) pair of the corpus was seen once."""
    stream = stream_of(documents)
    batches = WindowBatches(stream, window, 1, seed)
    pairs = sorted(zip(stream.ids[:-1].tolist(), stream.ids[1:].tolist(), strict=True))
    seen: list[tuple[int, int]] = []
    t = 0
    while len(seen) < 2 * len(pairs):
        inputs, targets = batches.batch(t).arrays
        assert 1 <= targets.shape[1] <= window
        real = targets[0] != PADDING
        assert real.all()
        seen += zip(inputs[0].tolist(), targets[0].tolist(), strict=True)
        t += 1
        if len(seen) == len(pairs):
            assert sorted(seen) == pairs
    assert sorted(seen) == sorted(pairs * 2)


@settings(deadline=None, max_examples=60)
@given(corpora, st.integers(1, 7), st.integers(1, 5))
def test_no_row_crosses_a_border_between_documents(documents, window, batch_size):
    batches = WindowBatches(stream_of(documents), window, batch_size, 0)
    for t in range(5):
        inputs, targets = batches.batch(t).arrays
        for row in range(len(inputs)):
            real = targets[row] != PADDING
            # The mark is a target only at a row's end and an input only at its beginning.
            assert END not in targets[row][real][:-1]
            assert END not in inputs[row][real][1:]


def test_the_cuts_of_a_long_document_fall_elsewhere_each_epoch():
    stream = stream_of([list(range(9)) * 20])
    batches = WindowBatches(stream, 16, 1, 0)
    begins = []
    seen = 0
    t = 0
    while seen < 4 * stream.n_tokens:
        inputs, targets = batches.batch(t).arrays
        if inputs[0, 0] == END:
            begins.append(targets.shape[1])
        seen += targets.shape[1]
        t += 1
    assert len(set(begins)) > 1
