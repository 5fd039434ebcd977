"""Several count a text together: the very model that one makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from typing import Any, TypeVar, final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.models.base import fitted
from rung.models.counting.ngram import NGram, NGramConfig
from rung.models.counting.ngram_counts import count_ngrams
from rung.models.counting.workspace import Workspace
from rung.process_group import SINGLE_PROCESS
from rung.text.stream import TokenStream
from tests.models.corpora import Corpus, corpora

SECONDS = 20  # a thread that waits longer waits for one that has failed

R = TypeVar("R")


class Threads:
    """One of several threads that count together. What is put into a queue is a copy, as a message is."""

    def __init__(self, rank: int, up: list[Queue[Any]], down: list[Queue[Any]]) -> None:
        self.rank = rank
        self.world_size = len(up)
        self._up = up
        self._down = down

    def gather_to_first(self, *rows: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
        if self.rank:
            self._up[self.rank].put(tuple(row.copy() for row in rows))
            return
        yield rows
        for queue in self._up[1:]:
            found = queue.get(timeout=SECONDS)
            assert [row.dtype for row in found] == [row.dtype for row in rows]
            yield found

    def broadcast(self, row: np.ndarray) -> None:
        if self.rank:
            found = self._down[self.rank].get(timeout=SECONDS)
            assert (found.dtype, found.shape) == (row.dtype, row.shape)
            row[:] = found
            return
        for queue in self._down[1:]:
            queue.put(row.copy())


def together(size: int, work: Callable[[Any], R], kind: type[Threads] = Threads) -> list[R]:
    """What each of `size` threads makes of its share of the work."""
    up, down = ([Queue() for _ in range(size)] for _ in range(2))
    with ThreadPoolExecutor(size) as pool:
        jobs = [pool.submit(work, kind(rank, up, down)) for rank in range(size)]
        results = [job.result() for job in jobs]
    assert all(queue.empty() for queue in (*up, *down))
    return results


@settings(deadline=None, max_examples=60)
@given(corpora(), st.integers(1, 7), st.integers(1, 4), st.none() | st.integers(1, 4000))
def test_n_shares_count_what_one_does(corpus: Corpus, order: int, size: int, memory: int | None) -> None:
    """In memory, or in chunks down to one token at a time; fewer tokens than shares too."""
    what = corpus.stream.ids, corpus.vocab_size, corpus.end, order
    alone = count_ngrams(*what, Workspace())
    first, *others = together(size, lambda group: count_ngrams(*what, Workspace(memory), group))
    assert others == [[]] * (size - 1)
    for one, other in zip(alone, first, strict=True):
        assert (one.order, one.n_parents) == (other.order, other.n_parents)
        for field in ("words", "parent", "suffix", "counts", "starts_document"):
            a, b = getattr(one, field), getattr(other, field)
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b, err_msg=field)


@pytest.mark.parametrize("documents", [[], [[]], [[0]], [[0], [0], [1]], [[0, 1, 0, 1, 0, 1, 0]]])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_handful_of_tokens_is_shared_too(documents: list[list[int]], size: int) -> None:
    stream = TokenStream.of([np.array(document, np.int64) for document in documents], 2)
    config = NGramConfig(order=5)

    def fit(group: Any) -> list[dict[str, np.ndarray]]:
        made = list(NGram.fit(config, stream, 3, 2, group))
        return [model.tensors() for model in made if isinstance(model, NGram)]

    (shared,), *others = together(size, fit)
    assert others == [[]] * (size - 1)
    alone = fitted(NGram.fit(config, stream, 3, 2, SINGLE_PROCESS)).tensors()
    assert {name: row.tobytes() for name, row in shared.items()} == {
        name: row.tobytes() for name, row in alone.items()
    }


def test_everyone_hands_in_the_pairs_of_a_quarter_of_the_tokens() -> None:
    """There are 1,001 after the first mark. All end a 2-gram; of the 3-grams the first token ends none."""
    handed: list[tuple[int, int, int]] = []

    @final
    class Noting(Threads):
        def gather_to_first(self, *rows: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
            if len(rows) == 3:
                _, counts, _ = rows
                handed.append((self.rank, len(counts), int(counts.sum())))
            return super().gather_to_first(*rows)

    stream = TokenStream.of([np.random.default_rng(0).integers(0, 9, 1000)], 9)
    together(4, lambda group: count_ngrams(stream.ids, 10, 9, 3, Workspace(), group), Noting)
    of_each = [[occur for rank, _, occur in handed if rank == wanted] for wanted in range(4)]
    assert of_each == [[251, 250], [251, 251], [251, 251], [248, 248]]
    assert all(different <= occur for _, different, occur in handed)
