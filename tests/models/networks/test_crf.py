"""The field's sums and best paths are those of all paths, written down one by one."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.errors import UserError
from rung.models.networks.crf import CRF


def field_and_sentences(seed: int, n_tags: int, lengths: list[int], spread: float) -> tuple:
    rng = np.random.default_rng(seed)
    field = CRF(n_tags).double()
    with torch.no_grad():
        for weight in field.parameters():
            weight.copy_(torch.from_numpy(rng.normal(0, spread, weight.shape)))
    emissions = torch.from_numpy(rng.normal(0, spread, (len(lengths), max(lengths), n_tags)))
    tags = torch.from_numpy(rng.integers(0, n_tags, (len(lengths), max(lengths))))
    return field, emissions, tags, torch.tensor(lengths)


def all_paths(field: CRF, emissions: np.ndarray) -> dict[tuple[int, ...], float]:
    """The score of every path of one sentence (T, K), by the definition."""
    start, moves, end = (w.detach().numpy() for w in (field.start, field.moves, field.end))
    n_words, n_tags = emissions.shape
    return {
        path: start[path[0]]
        + sum(emissions[t, tag] for t, tag in enumerate(path))
        + sum(moves[a, b] for a, b in pairwise(path))
        + end[path[-1]]
        for path in product(range(n_tags), repeat=n_words)
    }


@given(
    st.integers(0, 10**6),
    st.integers(2, 4),
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.sampled_from([0.1, 1.0, 6.0]),
)
@settings(max_examples=40, deadline=None)
def test_sums_and_best_path_are_those_of_all_paths(seed, n_tags, lengths, spread):
    field, emissions, tags, n_words = field_and_sentences(seed, n_tags, lengths, spread)
    with torch.no_grad():
        nll = field.nll(emissions, tags, n_words)
        marginals = field.marginals(emissions, n_words).exp()
        best = field.best_paths(emissions, n_words)
    for row, length in enumerate(lengths):
        paths = all_paths(field, emissions[row, :length].numpy())
        total = np.logaddexp.reduce(list(paths.values()))
        right = tuple(tags[row, :length].tolist())
        assert nll[row].item() == pytest.approx(total - paths[right], abs=1e-9)
        assert tuple(best[row, :length].tolist()) == max(paths, key=lambda path: paths[path])
        for t, tag in product(range(length), range(n_tags)):
            through = [np.exp(score - total) for path, score in paths.items() if path[t] == tag]
            assert marginals[row, t, tag].item() == pytest.approx(sum(through), abs=1e-9)


@given(st.integers(0, 10**6), st.lists(st.integers(1, 5), min_size=1, max_size=3))
@settings(max_examples=20, deadline=None)
def test_the_best_path_is_the_best_of_the_allowed(seed, lengths):
    field, emissions, _, n_words = field_and_sentences(seed, 3, lengths, 2.0)
    rng = np.random.default_rng(seed)
    allowed = rng.random((4, 4)) < 0.5
    allowed[:, 0] = allowed[0] = True  # some path is left
    best = field.best_paths(emissions, n_words, torch.from_numpy(allowed))
    for row, length in enumerate(lengths):
        paths = all_paths(field, emissions[row, :length].numpy())
        possible = [
            path
            for path in paths
            if all(allowed[a, b] for a, b in zip((-1, *path), (*path, -1), strict=True))
        ]
        assert tuple(best[row, :length].tolist()) == max(possible, key=lambda path: paths[path])


def test_what_stands_behind_a_sentence_has_no_part_in_it():
    field, emissions, tags, _ = field_and_sentences(3, 4, [9, 9], 1.0)
    lengths = torch.tensor([4, 9])
    other, tagged = emissions.clone(), tags.clone()
    other[0, 4:], tagged[0, 4:] = 1e3, -1
    with torch.no_grad():
        torch.testing.assert_close(
            field.nll(other, tagged, lengths), field.nll(emissions, tags, lengths), rtol=0, atol=0
        )
        alone = field.marginals(emissions[:1, :4], lengths[:1])
        torch.testing.assert_close(field.marginals(other, lengths)[0, :4], alone[0])
        assert torch.equal(
            field.best_paths(other, lengths)[0, :4], field.best_paths(emissions[:1, :4], lengths[:1])[0]
        )


def test_probabilities_of_all_taggings_sum_to_one():
    field, emissions, _, _ = field_and_sentences(0, 3, [4], 3.0)
    paths = torch.tensor(list(product(range(3), repeat=4)))
    with torch.no_grad():
        nll = field.nll(emissions.expand(len(paths), -1, -1), paths, torch.full((len(paths),), 4))
    assert (-nll).exp().sum().item() == pytest.approx(1)


def test_ten_thousand_words_in_single_precision_are_as_exact_as_in_double():
    field, emissions, tags, lengths = field_and_sentences(1, 3, [10_000], 3.0)
    with torch.no_grad():
        exact = field.marginals(emissions, lengths), field.nll(emissions, tags, lengths)
        field = field.float()
        found = field.marginals(emissions.float(), lengths), field.nll(emissions.float(), tags, lengths)
    torch.testing.assert_close(found[0].double(), exact[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1].double(), exact[1], rtol=1e-5, atol=0)


def test_without_learned_transitions_each_word_stands_alone():
    _, emissions, _, lengths = field_and_sentences(2, 4, [5], 1.0)
    field = CRF(4).double()
    with torch.no_grad():
        torch.testing.assert_close(field.marginals(emissions, lengths), emissions.log_softmax(-1))
        assert torch.equal(field.best_paths(emissions, lengths), emissions.argmax(-1))


def test_one_tag_leaves_nothing_to_learn():
    with pytest.raises(UserError, match=r"--crf .* 1 tag"):
        CRF(1)
