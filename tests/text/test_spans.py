"""Spans: conlleval's rules, by cases that can be read, and what may follow what."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rung.text.spans import allowed_transitions, marks_spans, span_counts, spans_of


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("O O O B-MISC I-MISC I-MISC O", [("MISC", 3, 6)]),
        ("B-PER I-PER O", [("PER", 0, 2)]),
        ("B-PER B-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("B-PER I-LOC", [("PER", 0, 1), ("LOC", 1, 2)]),
        ("O I-PER I-PER", [("PER", 1, 3)]),  # without its B- it begins one too
        ("S-LOC B-PER E-PER", [("LOC", 0, 1), ("PER", 1, 3)]),
        ("B-PER I-PER E-PER I-PER", [("PER", 0, 3), ("PER", 3, 4)]),
        ("O", []),
        ("", []),
    ],
)
def test_spans_are_conllevals(tags: str, spans: list[tuple[str, int, int]]):
    assert spans_of(tags.split()) == spans


def test_f1_is_the_published_example_of_seqeval():
    """Its README: one of two spans is right, F1 0.50; its borders are what is wrong with the other."""
    right = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    said = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    found, there, told = span_counts(right, said).sum(axis=0)
    assert 2 * found / (there + told) == 0.5


def test_allowed_steps_are_those_that_keep_every_mark_in_place():
    """A sequence has only allowed steps exactly where each I- follows a B- or I- of its kind."""
    tags = ["O", "B-A", "I-A", "B-C", "I-C"]
    allowed = allowed_transitions(tags)
    border = len(tags)
    for path in itertools.product(range(len(tags)), repeat=3):
        steps = zip((border, *path), (*path, border), strict=True)
        names = ["O", *(tags[i] for i in path)]
        proper = all(
            after[0] != "I" or (before[0] in "BI" and before[2:] == after[2:])
            for before, after in itertools.pairwise(names)
        )
        assert all(allowed[a, b] for a, b in steps) == proper


def test_with_ends_what_is_begun_is_ended():
    tags = ["O", "B-A", "I-A", "E-A", "S-A"]
    allowed = allowed_transitions(tags)
    can = {(a, b) for a, b in np.argwhere(allowed).tolist()}
    assert {(1, 2), (1, 3), (2, 2), (2, 3)} == {(a, b) for a, b in can if a in (1, 2)}


def test_other_tags_mark_no_spans():
    assert marks_spans(["O", "B-X"])
    assert not marks_spans(["NN", "O"])
    assert not marks_spans(["O"])
    assert not marks_spans(["B", "I", "O"])
