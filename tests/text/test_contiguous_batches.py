"""Contiguous batches: every token once an epoch, rows that go on where they stopped, in any order of asking."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.text.stream import TokenStream
from rung.text.windows import PADDING, ContiguousBatches, WindowBatches

END = 10_000
lengths = st.lists(st.integers(0, 40), min_size=1, max_size=8)


def numbered(lengths: list[int]) -> TokenStream:
    """Documents in which no token occurs twice, so that a token tells its place."""
    begins = np.cumsum([0, *lengths])
    return TokenStream.of([np.arange(a, b) for a, b in pairwise(begins)], END)


@settings(deadline=None, max_examples=60)
@given(lengths, st.integers(1, 9), st.integers(1, 5), st.integers(0, 3))
def test_a_batch_is_the_same_whenever_it_is_asked_for(lengths, window, batch_size, seed):
    stream = numbered(lengths)
    batches = ContiguousBatches(stream, window, batch_size, seed)
    in_order = [batches.batch(t).arrays for t in range(12)]
    batches = ContiguousBatches(stream, window, batch_size, seed)
    for t in (11, 0, 7, 7, 1):
        for ours, theirs in zip(batches.batch(t).arrays, in_order[t], strict=True):
            np.testing.assert_array_equal(ours, theirs)


@settings(deadline=None, max_examples=60)
@given(lengths, st.integers(1, 9), st.integers(1, 5), st.integers(0, 3))
def test_every_token_is_a_target_once_an_epoch(lengths, window, batch_size, seed):
    stream = numbered(lengths)
    batches = ContiguousBatches(stream, window, batch_size, seed)
    everything = sorted(stream.ids[1:].tolist())
    seen: list[int] = []
    t = 0
    for _ in range(3):
        seen.clear()
        while len(seen) < len(everything):
            inputs, targets, _ = batches.batch(t).arrays
            assert inputs.shape == targets.shape
            assert len(inputs) == batch_size
            assert targets.shape[1] <= window
            seen += targets[targets != PADDING].tolist()
            t += 1
        assert sorted(seen) == everything


@settings(deadline=None, max_examples=60)
@given(lengths, st.integers(1, 9), st.integers(1, 5), st.integers(0, 3))
def test_a_row_that_is_not_fresh_goes_on_where_the_row_before_it_stopped(lengths, window, batch_size, seed):
    batches = ContiguousBatches(numbered(lengths), window, batch_size, seed)
    assert batches.batch(0).arrays[2].all()
    inputs, targets, _ = batches.batch(0).arrays
    for t in range(1, 15):
        before, (inputs, targets) = targets, batches.batch(t).arrays[:2]
        for row in np.flatnonzero(~batches.batch(t).arrays[2]):
            # The row before is full (nothing that pads it was read), and its last target is this one's first input.
            assert before[row, -1] != PADDING
            assert inputs[row, 0] == before[row, -1] != END


def test_a_row_reads_a_document_from_its_beginning_to_its_end():
    stream = numbered([300])
    batches = ContiguousBatches(stream, 16, 1, 0)
    read: list[int] = []
    t = 0
    while len(read) < 301:
        read += batches.batch(t).arrays[1][0].tolist()
        assert batches.batch(t).arrays[2][0] == (t == 0)
        t += 1
    assert read == [*range(300), END]


def test_the_cuts_of_a_long_document_fall_elsewhere_each_epoch():
    batches = ContiguousBatches(numbered([200]), 16, 1, 0)
    widths = {batches.batch(t).arrays[1].shape[1] for t in range(200) if batches.batch(t).arrays[2][0]}
    assert len(widths) > 1
    assert min(widths) >= 12
    assert max(widths) <= 16


@settings(deadline=None, max_examples=60)
@given(lengths, st.integers(1, 9), st.integers(1, 5), st.integers(1, 12))
def test_history_is_what_stands_before_in_the_document_and_marks_before_that(
    lengths, window, batch_size, history
):
    stream = numbered(lengths)
    documents = [stream.document(i).tolist() for i in range(stream.n_documents)]
    batches, bare = (WindowBatches(stream, window, batch_size, 0, h) for h in (history, 0))
    for t in range(5):
        inputs, targets = batches.batch(t).arrays
        np.testing.assert_array_equal(targets, bare.batch(t).arrays[1])
        np.testing.assert_array_equal(inputs[:, history:], bare.batch(t).arrays[0])
        for row, target in zip(inputs.tolist(), targets.tolist(), strict=True):
            if (
                target[0] == END
            ):  # a document of one token more than windows, or an empty one: which is not told
                continue
            document = next(d for d in documents if target[0] in d)
            padded = [END] * (history + 1) + document
            at = document.index(target[0])
            assert row[: history + 1] == padded[at : at + history + 1]
