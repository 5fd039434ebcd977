"""Files of analogies and of pairs: what is asked, what is right, what is told of the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rung.errors import UserError
from rung.inspection.word_questions import analogies, similarity, total
from rung.models.vectors.table import WordTable

WORDS = {
    "king": [1, 1, 0],
    "queen": [1, 0, 1],
    "man": [0, 1, 0],
    "woman": [0, 0, 1],
    "crown": [1, 0, 0],
}
TABLE = WordTable([*WORDS], np.array([*WORDS.values()], np.float32), "made")


def test_sections_coverage_and_right_answers(tmp_path: Path):
    path = tmp_path / "questions.txt"
    path.write_text(
        ": family\nman king woman queen\nMan King Woman Crown\n: capitals\nAthens Greece Oslo Norway\n",
        encoding="utf-8",
    )
    family, capitals = analogies(TABLE, path)
    assert (family.name, family.questions, family.asked, family.right) == ("family", 2, 2, 1)
    assert (capitals.questions, capitals.asked, capitals.accuracy) == (1, 0, None)
    every = total([family, capitals])
    assert (every.questions, every.asked, every.accuracy) == (3, 2, 0.5)


def test_pairs_against_people(tmp_path: Path):
    path = tmp_path / "pairs.tsv"
    pairs = (
        "# a comment\nWord 1\tWord 2\tHuman\nking\tcrown\t9\nking\twoman\t1\nqueen\tking\t{}\nking\tcat\t3\n"
    )
    # Cosines 0.71, 0 and 0.5: in the order that people gave, and in another, ranks 2 1 3 beside 3 1 2.
    path.write_text(pairs.format(5), encoding="utf-8")
    found = similarity(TABLE, path)
    assert (found.pairs, found.asked) == (4, 3)
    assert found.spearman == pytest.approx(1)
    path.write_text(pairs.format(9.5), encoding="utf-8")
    assert similarity(TABLE, path).spearman == pytest.approx(1 - 6 * 2 / (3 * 8))


def test_simlex_has_the_kind_of_word_before_the_number(tmp_path: Path):
    path = tmp_path / "simlex.txt"
    path.write_text(
        "word1\tword2\tPOS\tSimLex999\nking\tcrown\tN\t8.1\nking\twoman\tN\t1\n", encoding="utf-8"
    )
    assert similarity(TABLE, path).spearman == pytest.approx(1)


@pytest.mark.parametrize("text", ["", "king crown\n", ": family\n", "king, crown, nan\nman, woman, nan\n"])
def test_files_of_nothing(text: str, tmp_path: Path):
    path = tmp_path / "file.txt"
    path.write_text(text, encoding="utf-8")
    for ask in (analogies, similarity):
        with pytest.raises(UserError, match=r"file\.txt"):
            ask(TABLE, path)
    path.write_bytes(b"\xff\xfe\0\0")
    with pytest.raises(UserError, match="damaged"):
        analogies(TABLE, path)
    with pytest.raises(UserError, match="there is no file"):
        similarity(TABLE, tmp_path / "none")
