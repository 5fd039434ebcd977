"""Several texts as one: names and shares, whole copies, rows of batches by share."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.errors import UserError
from rung.text.mixed_windows import MixedContiguousBatches, MixedWindowBatches
from rung.text.mixture import allotted, components_of, copies_of
from rung.text.stream import TokenStream
from rung.text.windows import PADDING

END = 0
shares_of = st.lists(st.floats(0.05, 1), min_size=2, max_size=4).map(lambda xs: [x / sum(xs) for x in xs])


def test_names_and_shares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert [(one.data, one.share) for one in components_of("a.txt:3 + b:1")] == [("a.txt", 0.75), ("b", 0.25)]
    assert [(one.data, one.share) for one in components_of("a + b")] == [("a", None), ("b", None)]
    assert [one.data for one in components_of("https://host/x.txt:0.5 + hf://a/b:0.5")] == [
        "https://host/x.txt",
        "hf://a/b",
    ]
    assert components_of("C:\\texts\\a.txt")[0].data == "C:\\texts\\a.txt"
    for name in ("a:1", "a + b"):
        (tmp_path / name).write_text("x")  # a file that is really called so
        assert [(one.data, one.share) for one in components_of(name)] == [(name, None)]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("a:0.5 + b", "b has no share"),
        ("a:0 + b:1", "a share of 0"),
        ("a:nan + b:1", "nan has no share|no share|shares are numbers"),
        ("a:1e999 + b:1", "shares are numbers"),
        ("a:0.5", "a share is one among several"),
        ("a + ", "empty name"),
    ],
)
def test_shares_at_fault_are_told(data: str, says: str):
    with pytest.raises(UserError, match=says):
        components_of(data)


@given(shares_of, st.data())
def test_things_are_dealt_out_by_shares(shares: list[float], data: st.DataObject):
    n = data.draw(st.integers(len(shares), 200))
    dealt = allotted(shares, n)
    assert sum(dealt) == n
    assert min(dealt) >= 1
    assert all(abs(has - n * share) <= len(shares) for has, share in zip(dealt, shares, strict=True))


def test_whole_copies_come_near_to_the_shares():
    assert copies_of([0.5, 0.5], [1000, 1000]) == [1, 1]
    assert copies_of([0.75, 0.25], [1000, 1000]) == [3, 1]
    assert copies_of([0.6, 0.4], [1000, 1000]) == [3, 2]
    assert copies_of([0.5, 0.5], [1000, 500]) == [1, 2]
    assert copies_of([0.99, 0.01], [10, 100_000]) == [10, 1]  # no nearer: told by the share that came out


def corpus(sizes: list[int], length: int = 40) -> tuple[TokenStream, list[int]]:
    """Texts of documents; text i is of tokens 1000 i + 1, ..., each once."""
    documents, borders = [], [0]
    for text, n in enumerate(sizes):
        ids = 1000 * text + 1 + np.arange(n * length)
        documents += list(ids.reshape(n, length))
        borders.append(borders[-1] + n)
    return TokenStream.of(documents, END), borders


@settings(deadline=None, max_examples=25)
@given(shares_of, st.integers(1, 12), st.integers(3, 50), st.integers(0, 5))
def test_rows_are_drawn_by_share_of_tokens(shares: list[float], batch_size: int, window: int, seed: int):
    stream, borders = corpus([3 + 4 * i for i in range(len(shares))])
    batches = MixedWindowBatches(stream, window, batch_size, seed, borders=borders, shares=shares)
    counts = Counter[int]()
    for t in range(3000 // batch_size):
        _, targets = batches.batch(t).arrays
        real = targets[(targets != PADDING) & (targets != END)]
        counts.update((real // 1000).tolist())
    for text, share in enumerate(shares):
        assert counts[text] / counts.total() == pytest.approx(share, abs=0.02)
    # A batch is a function of its number alone, whatever was asked for before.
    anew = MixedWindowBatches(stream, window, batch_size, seed, borders=borders, shares=shares)
    for t in (7, 2, 200):
        for one, other in zip(batches.batch(t).arrays, anew.batch(t).arrays, strict=True):
            np.testing.assert_array_equal(one, other)


def test_each_text_is_read_once_an_epoch_of_its_own():
    stream, borders = corpus([4, 4])
    shares = [0.75, 0.25]
    batches = MixedWindowBatches(stream, 16, 4, 0, borders=borders, shares=shares)
    seen = Counter[int]()
    small, large = [0], [0]
    for t in range(60):
        targets = batches.batch(t).arrays[1]
        seen.update(targets[targets > 0].tolist())
        small = [seen[token] for token in range(1001, 1161)]
        large = [seen[token] for token in range(1, 161)]
        assert max(small) - min(small) <= 1
        assert max(large) - min(large) <= 1
    assert 2.4 < np.mean(large) / np.mean(small) < 3.6


def test_rows_that_go_on_keep_to_their_text():
    stream, borders = corpus([6, 3], length=50)
    batches = MixedContiguousBatches(stream, 12, 8, 0, borders=borders, shares=[0.6, 0.4])
    last = None
    for t in range(40):
        inputs, targets, fresh = batches.batch(t).arrays
        for row in range(8):
            real = targets[row][(targets[row] != PADDING) & (targets[row] != END)]
            assert set((real // 1000).tolist()) <= {0 if row < 5 else 1}
        if last is not None:
            going_on = ~fresh & (last[1] != PADDING).all(axis=1) & (targets[:, 0] != PADDING)
            np.testing.assert_array_equal(inputs[going_on, 0], last[1][going_on, -1])
        last = inputs, targets
    with pytest.raises(UserError, match="--batch-size 1 has no row for each of 2 texts"):
        MixedContiguousBatches(stream, 12, 1, 0, borders=borders, shares=[0.6, 0.4])
    whole = MixedContiguousBatches(stream, 12, 8, 0, borders=borders, shares=[0.6, 0.4])
    halves = [
        MixedContiguousBatches(stream, 12, 8, 0, 0, slice(*pair), borders=borders, shares=[0.6, 0.4])
        for pair in pairwise([0, 4, 8])
    ]
    for t in range(5):
        for i, array in enumerate(whole.batch(t).arrays):
            parts = [half.batch(t).arrays[i] for half in halves]
            np.testing.assert_array_equal(np.concatenate(parts), array)
