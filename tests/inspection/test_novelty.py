"""What is told of a text agrees with looking for every part of it in every document."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung import api
from rung.errors import UserError
from rung.generation.sampling import Sample
from rung.inspection.novelty import Novelty, NoveltyIndex, describe
from rung.runs import Run


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("names")
    rng = np.random.default_rng(0)
    lines = ["".join(rng.choice(list("anné"), rng.integers(2, 7))) for _ in range(150)]
    (folder / "names.txt").write_text("\n".join(lines), encoding="utf-8")
    return api.train("bigram", folder / "names.txt", out=folder / "run", documents="lines")


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("play")
    (folder / "play.txt").write_text("to be or not to be, that is the question\n" * 60, encoding="utf-8")
    return api.train("bigram", folder / "play.txt", out=folder / "run", documents="files")


def by_hand(text: str, documents: list[str]) -> tuple[int, bool]:
    """The longest shared passage, in bytes, and whether it is the whole."""
    parts = {text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)}
    shared = [part for part in parts if any(part in document for document in documents)]
    return max((len(part.encode()) for part in shared), default=0), bool(text) and text in shared


@given(st.text("anéxy", max_size=9))
@settings(deadline=None, max_examples=60)
def test_the_longest_passage_is_that_of_trying_every_part(names: Run, text: str) -> None:
    documents = list(names.corpus.text("train"))
    found = NoveltyIndex(names).novelty(text)
    assert (found.longest_bytes, found.whole) == by_hand(text, documents)
    assert found.longest in text
    assert len(found.longest.encode()) == found.longest_bytes
    if found.longest:
        assert found.training_document is not None
        assert found.training_character is not None
        at = documents[found.training_document][found.training_character :]
        assert at.startswith(found.longest)


def test_a_name_is_in_training_in_validation_or_new(names: Run) -> None:
    known = NoveltyIndex(names)
    training, validation = set(names.corpus.text("train")), set(names.corpus.text("validation"))
    assert all(known.find_document(name) == "training" for name in training)
    assert all(known.find_document(name) == "validation" for name in validation - training)
    assert validation - training
    assert known.find_document("xyz") == "new"
    # A part of a name is no name.
    assert known.find_document("") == "new"


def test_samples_that_were_cut_off_are_no_documents(names: Run) -> None:
    name = next(iter(names.corpus.text("train")))
    whole = Sample(text=name[1:], finish_reason="end")
    cut = Sample(text=name[1:], finish_reason="length")
    first, second = NoveltyIndex(names).novelties(name[:1], [whole, cut])
    assert first.document == "training"
    assert second.document is None
    assert first.whole
    assert second.whole


def test_of_long_documents_only_passages_are_told(play: Run) -> None:
    found = NoveltyIndex(play).novelty("be or not to do", document="be or not to do")
    assert found.document is None
    assert found.longest == "be or not to "
    assert not found.whole
    assert NoveltyIndex(play).novelty("or not to be, that").whole


@pytest.mark.parametrize(
    ("novelty", "said"),
    [
        (Novelty("ann", 3, 2, 0, 0, True, "training"), "stands in training"),
        (Novelty("ann", 3, 2, 0, 0, True, "validation"), "validation"),
        (Novelty("ann", 3, 2, 0, 0, True, "new"), "new; the whole of it"),
        (Novelty("ann", 3, 1, 0, 0, False, None), "3 bytes (once): 'ann'"),
        (Novelty("", 0, 0, None, None, False, None), "shares nothing"),
    ],
)
def test_what_a_person_is_told(novelty: Novelty, said: str) -> None:
    assert said in describe(novelty)
    assert "\n" not in describe(novelty)


def test_without_the_data_it_cannot_be_told(play: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no training text"):
        NoveltyIndex(Run(tmp_path, play.recipe))
