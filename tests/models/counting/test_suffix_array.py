"""Sorted prefixes against Python's own sorting and searching, and NumPy's; the walk against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.models.counting import matching_statistics
from rung.models.counting.suffix_array import MAX_LCP, block_minima, build_suffix_array, sort_suffixes
from tests.models.corpora import Corpus, corpora

SMALL = settings(deadline=None, max_examples=60)


def doubled(values: np.ndarray) -> np.ndarray:
    """The suffix array by sorting 1, 2, 4, ... tokens deep (Manber and Myers), with NumPy's sort alone."""
    ranks = np.unique(values, return_inverse=True)[1]
    depth = 1
    while True:
        later = np.full(len(values), -1)
        later[: max(len(values) - depth, 0)] = ranks[depth:]
        order = np.lexsort([later, ranks])
        pairs = np.stack([ranks[order], later[order]])
        ranks = np.empty_like(ranks)
        ranks[order] = np.concatenate([[0], np.cumsum((pairs[:, 1:] != pairs[:, :-1]).any(axis=0))])
        if len(values) == 0 or ranks.max() == len(values) - 1:
            return order
        depth *= 2


def walked(
    corpus_index: matching_statistics.SuffixArray, tokens: list[int], mark: int
) -> list[tuple[int, int, int]]:
    state = np.array([0, corpus_index.size, 0])
    intervals, lengths = np.empty((len(tokens), 2), np.int64), np.empty(len(tokens), np.int64)
    matching_statistics.matching_statistics(
        corpus_index, np.array(tokens, np.int64), mark, state, intervals, lengths
    )
    return [(low, high, n) for (low, high), n in zip(intervals.tolist(), lengths.tolist(), strict=True)]


def ends_of_matches(text: list[int], string: list[int]) -> list[int]:
    """Where `string` ends in `text`, its last token left out, as that has nothing after it."""
    n = len(string)
    return [i + n - 1 for i in range(len(text) - n) if text[i : i + n] == string]


@SMALL
@given(st.lists(st.integers(0, 3), max_size=60), st.sampled_from([np.uint8, np.uint16, np.uint32]))
def test_suffixes_are_sorted_as_python_sorts_them(values: list[int], dtype: type[np.unsignedinteger]) -> None:
    scale = np.iinfo(dtype).max // 3
    array = np.array([value * scale for value in values], dtype)
    order, shared = sort_suffixes(array)
    expected = sorted(range(len(values)), key=lambda i: values[i:])
    assert order.tolist() == expected
    for a, b, n in zip(expected, expected[1:], shared.tolist(), strict=False):
        assert values[a : a + n] == values[b : b + n]
        assert n in (len(values) - a, len(values) - b) or values[a + n] != values[b + n]


def test_suffixes_of_a_longer_text_are_sorted_as_numpy_sorts_them() -> None:
    rng = np.random.default_rng(0)
    phrases = [rng.integers(0, 400, 30) for _ in range(20)]
    text = np.concatenate([phrases[i] for i in rng.integers(0, 20, 1000)]).astype(np.uint16)
    for values in (text, (text % 5).astype(np.uint8), np.zeros(5000, np.uint8)):
        np.testing.assert_array_equal(sort_suffixes(values)[0], doubled(values))


@SMALL
@given(corpora(), st.lists(st.integers(0, 6), max_size=5))
def test_a_string_is_found_as_often_as_it_occurs(corpus: Corpus, string: list[int]) -> None:
    text = corpus.stream.ids.tolist()
    index, last = build_suffix_array(corpus.stream.ids, corpus.vocab_size)
    string = [
        token for i, token in enumerate(string) if token < corpus.end or (i == 0 and token == corpus.end)
    ]
    low, high = index.find(np.array(string, np.int64))
    if string:
        assert sorted(last[low:high].tolist()) == ends_of_matches(text, string)
    else:
        assert (low, high) == (0, len(text) - 1)


@SMALL
@given(corpora(), st.data())
def test_the_walk_keeps_the_longest_known_end_of_the_document(corpus: Corpus, data: st.DataObject) -> None:
    text = corpus.stream.ids.tolist()
    index, last = build_suffix_array(corpus.stream.ids, corpus.vocab_size)
    tokens = data.draw(st.lists(st.integers(0, corpus.end), max_size=30))
    for i, (low, high, length) in enumerate(walked(index, tokens, corpus.end)):
        history = tokens[: i + 1]
        marks = [at for at, token in enumerate(history) if token == corpus.end]
        document = history[marks[-1] :] if marks else history
        known = [n for n in range(len(document) + 1) if n == 0 or ends_of_matches(text, document[-n:])]
        assert length == max(known)
        ends = ends_of_matches(text, document[-length:]) if length else list(range(len(text) - 1))
        assert sorted(last[low:high].tolist()) == ends


def test_the_walk_crosses_blocks_of_every_size() -> None:
    """Much of one text over few tokens: ranges of thousands of places, and of one, narrowed and upcast."""
    rng = np.random.default_rng(3)
    text = np.concatenate([[2], rng.integers(0, 2, 20_000), np.zeros(9000, int), [2]]).astype(np.uint8)
    index, last = build_suffix_array(text, 3)
    letters = text.tobytes()
    tokens = np.concatenate([text[500:600], rng.integers(0, 2, 100), np.zeros(12_000, int), text[7:99]])
    for i, (low, high, length) in enumerate(walked(index, tokens.tolist(), matching_statistics.NO_MARK)):
        string = tokens[i + 1 - length : i + 1].astype(np.uint8).tobytes()
        longer = tokens[i - length : i + 1].astype(np.uint8).tobytes()
        assert length > i or longer not in letters[:-1]
        if i % 97 == 0:
            ends = [at + length - 1 for at in range(len(letters) - length) if letters.startswith(string, at)]
            assert sorted(last[low:high].tolist()) == ends


def test_intervals_end_where_a_plain_search_finds_them() -> None:
    rng = np.random.default_rng(4)
    shared = np.minimum(rng.geometric(0.002, 20_000), 9999).astype(np.uint16)
    shared[[0, -1]] = 0
    blocks = block_minima(shared)
    index = matching_statistics.SuffixArray(
        np.zeros(1, np.int64), shared[1:], shared, blocks, block_minima(blocks)
    )
    for _ in range(200):
        length, at = int(rng.geometric(0.02)), int(rng.integers(0, len(shared) - 1))
        below = np.flatnonzero(shared < length)
        assert matching_statistics.interval_begin(index, at, length) == below[below <= at].max()
        assert matching_statistics.interval_end(index, at + 1, length) == below[below > at].min()
        begin, end = sorted(rng.integers(0, len(shared), 2).tolist())
        assert matching_statistics.lcp_range_min(index, begin, end) == shared[begin:end].min(initial=MAX_LCP)


def test_repetitions_longer_than_the_count_goes() -> None:
    """70,000 a's and a b: the b after more a's than that is known after as many as are told apart."""
    text = np.concatenate([[2], np.zeros(70_000, int), [1, 2]]).astype(np.uint8)
    index, last = build_suffix_array(text, 3)
    *_, before, after = walked(index, [0] * 70_001 + [1], 2)
    assert before[2] == MAX_LCP
    assert after[2] == MAX_LCP + 1
    assert last[slice(*after[:2])].tolist() == [70_001]


@pytest.mark.parametrize("ids", [[1], [1, 1], [1, 1, 1], [1, 0, 1]])
def test_tiny_texts(ids: list[int]) -> None:
    index, last = build_suffix_array(np.array(ids, np.uint8), 2)
    assert len(last) == len(ids) - 1
    low, high = index.find(np.array([0]))
    assert high - low == ids.count(0)
    (low, high, length), *_ = walked(index, [0, 1, 0], 1)
    assert length == (1 if 0 in ids else 0)
    assert high - low == (ids.count(0) if 0 in ids else len(ids) - 1)
