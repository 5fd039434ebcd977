"""Neighbours and analogies, by arithmetic on paper."""

from __future__ import annotations

import numpy as np
import pytest

from rung.errors import UserError
from rung.models.vectors.table import WordTable

# Royal, male, female and size; `giant` is long in every direction that `king` has.
WORDS = {
    "king": [1, 1, 0, 0],
    "queen": [1, 0, 1, 0],
    "man": [0, 1, 0, 0],
    "woman": [0, 0, 1, 0],
    "giant": [0, 10, 0, 10],
    "Oslo": [0, 0, 0, 1],
    "nothing": [0, 0, 0, 0],
}
TABLE = WordTable([*WORDS], np.array([*WORDS.values()], np.float32), "made")


def test_cosine_and_dot_differ_by_length():
    by_cosine = TABLE.neighbours("man", 2)
    assert [one.word for one in by_cosine] == ["king", "giant"]
    assert by_cosine[0].score == pytest.approx(1 / 2**0.5)
    by_dot = TABLE.neighbours("man", 2, "dot")
    assert [one.word for one in by_dot] == ["giant", "king"]
    assert [one.score for one in by_dot] == [10, 1]


def test_the_words_of_a_question_are_no_answer():
    assert TABLE.analogies(["man", "king", "woman"], 1, "dot")[0].word != "king"
    assert TABLE.analogies(["man", "king", "woman"], 1)[0].word == "queen"
    # Of king - king + woman = woman the nearest is woman, which was asked with.
    assert TABLE.analogies(["king", "king", "woman"], 1)[0].word == "queen"


def test_a_row_of_zeros_is_near_nothing():
    assert all(one.score == 0 for one in TABLE.neighbours("nothing", 3))


def test_case_is_looked_past_where_the_spelling_is_not_there():
    assert TABLE.find("oslo") == TABLE.find("Oslo") == TABLE.find("OSLO") == 5
    two = WordTable(["Turkey", "turkey"], np.eye(2, dtype=np.float32), "made")
    assert (two.find("turkey"), two.find("Turkey"), two.find("TURKEY")) == (1, 0, 0)


def test_nearest_rows_are_those_of_one_by_one():
    rng = np.random.default_rng(0)
    table = WordTable([str(i) for i in range(40)], rng.normal(size=(40, 5)).astype(np.float32), "made")
    queries = rng.normal(size=(9, 5)).astype(np.float32)
    excluded = rng.integers(0, 40, (9, 3))
    found = np.concatenate(list(table.nearest_rows(queries, excluded, "dot")))
    for query, own, left_out in zip(queries, found, excluded, strict=True):
        best = max((float(query @ row), i) for i, row in enumerate(table.vectors) if i not in left_out)
        assert own == best[1]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: TABLE.neighbours("kind"), "no vector for 'kind'; did you mean 'king'"),
        (lambda: TABLE.neighbours("king", 0), "--n-best 0"),
        (lambda: TABLE.neighbours("king", 1, "cosin"), "--measure cosin is unknown; did you mean 'cosine'"),
        (lambda: TABLE.analogies(["king", "man"]), "three words"),
        (lambda: TABLE.first(0), "--most 0"),
        (lambda: WordTable([], np.zeros((0, 2), np.float32), "made"), "no vector of a word"),
    ],
)
def test_what_can_not_be_asked(ask, message: str):
    with pytest.raises(UserError, match=message):
        ask()


def test_the_first_words_alone():
    assert TABLE.first(2).words == ["king", "queen"]
    assert TABLE.first(None) is TABLE
