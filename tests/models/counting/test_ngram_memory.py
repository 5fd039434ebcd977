"""Counting in bounded memory: the same model to the bit, within the bound."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.errors import UserError
from rung.models.base import fitted
from rung.models.counting import ngram_counts
from rung.models.counting.ngram import NGram, NGramConfig
from rung.models.counting.ngram_counts import count_ngrams
from rung.models.counting.sorted_runs import CountedKeys, SortedRuns, merge_runs
from rung.models.counting.workspace import Workspace, parse_size
from rung.text.stream import TokenStream
from tests.models.corpora import Corpus, corpora


def same(one: NGram, other: NGram) -> None:
    for name, tensor in one.tensors().items():
        np.testing.assert_array_equal(other.tensors()[name], tensor, err_msg=name)


@pytest.mark.parametrize("smoothing", ["kneser-ney", "add-k"])
def test_a_corpus_five_times_its_bound_gives_the_same_model(smoothing: str) -> None:
    rng = np.random.default_rng(0)
    documents = [rng.zipf(1.5, n) % 199 for n in (300_000, 5, 0, 400_000)]
    stream = TokenStream.of(documents, end=199)
    assert stream.ids.nbytes > 5 * parse_size("1M")
    whole = fitted(NGram.fit(NGramConfig(4, smoothing), stream, 200, 199))
    tracemalloc.start()
    bounded = fitted(NGram.fit(NGramConfig(4, smoothing, memory="1M"), stream, 200, 199))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < parse_size("1M")
    same(whole, bounded)


def test_pruned_too() -> None:
    rng = np.random.default_rng(1)
    stream = TokenStream.of([rng.zipf(1.5, 40_000) % 50], end=50)
    whole = fitted(NGram.fit(NGramConfig(4, prune=(0, 0, 1, 2)), stream, 51, 50))
    same(whole, fitted(NGram.fit(NGramConfig(4, prune=(0, 0, 1, 2), memory="1M"), stream, 51, 50)))


@settings(deadline=None, max_examples=30)
@given(corpora(), st.integers(1, 5), st.integers(1, 4000))
def test_pieces_of_any_size_give_the_same_counts(corpus: Corpus, order: int, memory: int) -> None:
    """Down to one token at a time."""
    stream = corpus.stream
    at_once = count_ngrams(stream.ids, corpus.vocab_size, corpus.end, order, Workspace())
    in_pieces = count_ngrams(stream.ids, corpus.vocab_size, corpus.end, order, Workspace(memory))
    for one, other in zip(at_once, in_pieces, strict=True):
        for field in ("words", "parent", "suffix", "counts", "starts_document"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)
        parents = [(part, above) for part, above in ngram_counts.pieces_by_parent(other, Workspace(memory))]
        assert sum(part.stop - part.start for part, _ in parents) == len(other)
        assert sum(above.stop - above.start for _, above in parents) == other.n_parents


@given(
    st.lists(st.dictionaries(st.integers(0, 30), st.integers(1, 9)), min_size=1, max_size=5),
    st.integers(1, 2000),
)
def test_runs_merge_into_one_sorted_row(runs: list[dict[int, int]], memory: int) -> None:
    """A key's tag is its negative."""
    for space in (Workspace(), Workspace(memory)):
        with SortedRuns(space) as collected:
            for run in runs:
                keys = np.array(sorted(run), np.int64)
                collected.add(
                    CountedKeys(keys, np.array([run[key] for key in keys.tolist()], np.int64), -keys)
                )
            merged = merge_runs(collected.all(), space)
        expected: dict[int, int] = {}
        for run in runs:
            for key, count in run.items():
                expected[key] = expected.get(key, 0) + count
        assert merged.keys.tolist() == sorted(expected)
        assert merged.counts.tolist() == [expected[key] for key in sorted(expected)]
        assert merged.tags.tolist() == [-key for key in sorted(expected)]


def test_sizes_are_read_as_people_write_them() -> None:
    assert [parse_size(text) for text in ("1G", "512M", "1.5g", "2 GB", "2GiB", "4194304")] == [
        1 << 30,
        512 << 20,
        3 << 29,
        2 << 30,
        2 << 30,
        4 << 20,
    ]


@pytest.mark.parametrize("text", ["", "much", "-1G", "1X", "100K", "0"])
def test_sizes_that_are_none_or_too_small_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--memory"):
        NGramConfig(memory=text)
