"""The noise distribution, by its published formula; and what the alias method draws, exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.models.vectors.kernels import chance, draw
from rung.models.vectors.noise import Alias, kept_of, noise_of


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=50).filter(any))
def test_the_alias_method_draws_counts_to_three_quarters(counts: list[int]):
    """Mikolov et al. 2013 (arXiv:1310.4546): U(w)^(3/4) / Z."""
    weights = [n**0.75 if n else 0.0 for n in counts]
    published = np.array(weights) / math.fsum(weights)
    alias = Alias.of(noise_of(np.array(counts)))
    np.testing.assert_allclose(alias.probabilities, published, atol=1e-12)
    assert (alias.stay >= 0).all()
    assert (alias.stay <= 1).all()


def test_a_word_that_never_occurs_is_never_drawn():
    alias = Alias.of(noise_of(np.array([3, 0, 1, 0, 200, 7])))
    state, seen = np.uint64(5), np.zeros(6, np.int64)
    for _ in range(6000):
        state, bits = map(np.uint64, chance(state))
        seen[draw(bits, *alias)] += 1
    assert not seen[[1, 3]].any()
    expected = 6000 * alias.probabilities
    spread = np.sqrt(np.maximum(expected, 1))
    assert (np.abs(seen - expected) < 5 * spread).all()


def test_splitmix64_is_the_published_one():
    """The first three numbers from seed 1234567, as Rosetta Code's task of that name has them."""
    state, found = np.uint64(1234567), []
    for _ in range(3):
        state, bits = map(np.uint64, chance(state))
        found.append(int(bits))
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_what_is_kept_of_frequent_words():
    """word2vec's (sqrt(f / t) + 1) t / f, by hand: f = 1/4 with t = 1/100."""
    kept = kept_of(np.array([25, 74, 1, 0]), 0.01)
    assert kept[0] == pytest.approx((math.sqrt(25) + 1) / 25)
    assert kept[2] == 1  # as frequent as the threshold, or less
    assert kept_of(np.array([25, 75]), 0).tolist() == [1, 1]
