"""Closed vocabularies: the numbers of makemore's letters, and KenLM's `query` on closed words."""

from __future__ import annotations

import json
import math
from pathlib import Path

import kenlm
import numpy as np
import pytest

import rung
from rung.errors import UserError
from rung.exchange.arpa import export_arpa
from rung.text.builtin import BUILT_IN
from tests.text_made import sentences

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 2,000 of the names, a list."""
    path = tmp_path_factory.mktemp("names") / "names.txt"
    path.write_text("".join(BUILT_IN["names"].path().read_text().splitlines(keepends=True)[:2000]))
    return path


def test_the_bigram_table_of_letters_is_27_by_27_and_add_one(names: Path, tmp_path: Path) -> None:
    run = rung.train(
        "bigram", names, out=tmp_path / "run", vocabulary="closed", add_k=1.0, split="100/0/0", force=True
    )
    counts = np.zeros((27, 27))
    for name in names.read_text().split():
        row = [26, *(LETTERS.index(letter) for letter in name), 26]
        np.add.at(counts, (row[:-1], row[1:]), 1)
    expected = (counts + 1) / (counts.sum(axis=1, keepdims=True) + 27)
    found, _ = run.model.advance(run.model.start(27), np.arange(27)[:, None])
    assert found.shape == (27, 27)
    np.testing.assert_allclose(np.exp(found.astype(np.float64)), expected, rtol=0, atol=1e-7)
    # At the accuracy of the arithmetic itself, each count and each row's total.
    firsts = np.repeat(np.arange(27), np.diff(run.model.row_starts))
    table = np.zeros((27, 27))
    table[firsts, run.model.words] = run.model.counts
    ours = (table + run.model.add_k) / (table.sum(axis=1, keepdims=True) + 27 * run.model.add_k)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


def test_letters_of_names_begin_at_ln_27_and_stay_letters(names: Path, tmp_path: Path) -> None:
    """makemore's MLP: 27 x 2 embeddings, 6 to 100 and 100 to 27 with biases, 3,481 numbers."""
    losses: list[float] = []
    mlp = rung.train(
        "mlp",
        names,
        out=tmp_path / "mlp",
        vocabulary="closed",
        context=3,
        n_embd=2,
        n_hidden=100,
        steps=1,
        on_event=lambda event: losses.append(getattr(event, "loss", math.nan)),
    )
    assert mlp.recipe["model"]["vocab_size"] == 27
    assert mlp.model.n_parameters == 3481 == 27 * 2 + (6 + 1) * 100 + (100 + 1) * 27
    assert next(loss for loss in losses if not math.isnan(loss)) == pytest.approx(math.log(27), abs=0.1)
    for sample in rung.generate(mlp, samples=20, max_tokens=20, temperature=3.0):
        assert set(sample.text) <= set(LETTERS)


def test_what_the_training_text_has_not_is_refused_wherever_it_is_met(names: Path, tmp_path: Path) -> None:
    run = rung.train("bigram", names, out=tmp_path / "run", vocabulary="closed")
    with pytest.raises(UserError, match=r"'É' \(U\+00C9\) in 'Éva' is none of the 26 characters"):
        list(rung.score(run, ["Éva"]))
    with pytest.raises(UserError, match="none of the 26"):
        rung.generate(run, "É")
    other = tmp_path / "other.txt"
    other.write_text("anna\neva\né\n" * 40)
    with pytest.raises(UserError, match=r"other.txt, document 3: 'é'"):
        rung.evaluate(run, other)
    with pytest.raises(UserError, match=r"validation document 3: 'é'"):
        rung.train("bigram", names, val=str(other), out=tmp_path / "no", vocabulary="closed")
    assert not (tmp_path / "no").exists()


@pytest.fixture(scope="module")
def closed_words(tmp_path_factory: pytest.TempPathFactory) -> rung.api.Run:  # pyright: ignore
    folder = tmp_path_factory.mktemp("words")
    (folder / "text.txt").write_text(sentences(400) + "a hapax here\n")
    return rung.train(
        "ngram",
        folder / "text.txt",
        out=folder / "run",
        order=3,
        tokenizer="word",
        vocabulary="closed",
        unknown=True,
    )


def test_perplexity_of_closed_words_is_that_of_kenlms_query(closed_words, tmp_path: Path) -> None:
    export_arpa(closed_words, tmp_path / "model.arpa")
    theirs = kenlm.Model(str(tmp_path / "model.arpa"))
    text = "the cows eat\n\n a\tzebra  Romeo wants <unk>\nthe hay\n"
    (tmp_path / "text.txt").write_text(text)
    words = [word for line in text.removesuffix("\n").split("\n") for word in theirs.full_scores(line)]
    known = [log10 for log10, _, is_unknown in words if not is_unknown]
    measure = rung.evaluate(closed_words, tmp_path / "text.txt")
    assert measure.perplexity == pytest.approx(10 ** -(sum(w[0] for w in words) / len(words)), rel=1e-6)
    assert measure.perplexity_of_known == pytest.approx(10 ** -(sum(known) / len(known)), rel=1e-6)
    assert (measure.words, measure.unknown) == (len(words), len(words) - len(known))
    assert measure.unknown_rate == measure.unknown / (len(words) - 4)
    # What an unknown word was is lost, so there are no bits per byte to tell.
    assert measure.bits_per_word == pytest.approx(math.log2(measure.perplexity))
    assert "bits_per_byte" not in measure.to_json()


def test_closed_words_measured_on_their_own_split_are_measured_on_its_lines(
    closed_words, tmp_path: Path
) -> None:
    lines = list(closed_words.corpus.text("test"))
    (tmp_path / "test.txt").write_text("\n".join(lines))
    own, again = rung.evaluate(closed_words), rung.evaluate(closed_words, tmp_path / "test.txt")
    assert own.unknown == again.unknown
    assert own.perplexity == pytest.approx(again.perplexity)


def test_open_words_say_how_many_tokens_a_word_has(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the cows eat.\n" * 120)
    run = rung.train("ngram", text, out=tmp_path / "run", tokenizer="word")
    for measure in (rung.evaluate(run), rung.evaluate(run, text)):
        assert measure.words == 3 * measure.documents
        assert measure.tokens == (4 + 1) * measure.documents
        assert measure.bits_per_byte > 0


def test_the_published_recipes_are_closed() -> None:
    from rung.training.recipes import load_recipe, recipe_names

    for name in recipe_names():
        if load_recipe(name).figure == "nats_per_token":  # what was published are nats over so many symbols
            assert load_recipe(name).settings["vocabulary"] == "closed", name


def test_a_climb_over_closed_words_is_told_in_words(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(sentences(300))
    report = rung.climb(
        text,
        rungs=["bigram", "ngram"],
        tokenizer="word",
        vocabulary="closed",
        unknown=True,
        out=tmp_path / "climb",
    )
    assert all("bits_per_word" in row for row in report["rungs"])
    assert "bits per word" in (tmp_path / "climb" / "report.html").read_text()
    json.dumps(report, allow_nan=False)
