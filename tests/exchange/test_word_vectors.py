"""Vectors of other programs as runs, and those of any run as a file, at the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rung
from rung.cli import main
from rung.embeddings import open_vectors
from rung.models.vectors.files import read_vectors
from tests.text_made import sentences


def typed(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def glove(tmp_path: Path) -> Path:
    path = tmp_path / "glove.txt"
    path.write_text(
        "king 1 1 0\nqueen 1 0 1\nman 0 1 0\nwoman 0 0 1\n<unk> 0 0 0.5\nman 9 9 9\n", encoding="utf-8"
    )
    return path


def test_a_file_becomes_a_run_and_a_file_again(
    glove: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert typed("import", "vectors", glove, "--out", tmp_path / "run") == 0
    assert "5 words of 3 numbers (1 words were there twice" in capsys.readouterr().out
    run = rung.load(tmp_path / "run")
    assert (run.task.name, run.rung, run.model.has_probabilities) == ("vectors", "imported-vectors", False)
    assert typed("vectors", "analogy", run.folder, "man", "king", "woman", "--json") == 0
    answers = json.loads(capsys.readouterr().out)["answers"]
    assert answers[0]["word"] == "queen"
    for name in ("back.txt", "back.bin"):
        assert typed("export", run.folder, "--format", "word2vec", "--out", tmp_path / name) == 0
        again, first = read_vectors(tmp_path / name), read_vectors(glove)
        kept = [i for i, word in enumerate(first.words) if word != "<unk>"]  # no word
        assert again.words == [first.words[i] for i in kept]
        np.testing.assert_array_equal(again.vectors, first.vectors[kept])
    assert typed("evaluate", run.folder, glove) == 2
    assert "can't be measured" in capsys.readouterr().err


def test_verbs_over_files_runs_and_embeddings(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    text = tmp_path / "text.txt"
    text.write_text(sentences(300), encoding="utf-8")
    rung.train("cbow", text, out=tmp_path / "cbow", width=8, documents="lines")
    how: dict[str, Any] = {"steps": 2, "n_hidden": 8}
    rung.train("mlp", text, out=tmp_path / "mlp", tokenizer="word", documents="lines", **how)
    (tmp_path / "pairs.txt").write_text("cows goats 9\ncows moon 1\nhay grass 8\n", encoding="utf-8")
    (tmp_path / "questions.txt").write_text("cows eat goats eats\ncows eat Paris France\n", encoding="utf-8")
    for name in ("cbow", "mlp"):
        run = tmp_path / name
        assert typed("vectors", "neighbours", run, "cows", "hay", "--n-best", 2) == 0
        assert capsys.readouterr().out.count("\n") == 6
        assert typed("vectors", "similarity", run, tmp_path / "pairs.txt", "--measure", "dot") == 0
        assert "3 of 3 pairs (100.0%)" in capsys.readouterr().out
        assert typed("vectors", "analogy", run, "--questions", tmp_path / "questions.txt") == 0
        assert "coverage: 1 of 2 questions (50.0%)" in capsys.readouterr().out
        for method in ("pca", "t-sne"):
            out = tmp_path / f"{name}-{method}.svg"
            assert typed("vectors", "picture", run, "--method", method, "--out", out) == 0
            assert ">cows<" in out.read_text(encoding="utf-8")
        assert typed("vectors", "picture", run, "--out", out) == 2
        assert "is there already" in capsys.readouterr().err
    # An embedding's rows are called by their words, a whole word before a part of one.
    run = rung.load(tmp_path / "mlp")
    table = open_vectors(run.folder)
    row = run.model.network.token_embedding.numpy(force=True)[run.tokenizer.encode("the cows")[-1]]
    np.testing.assert_array_equal(table.vectors[table.row("cows")], row)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("neighbours", "nowhere", "king"), "there is no file nowhere"),
        (("neighbours", "{glove}"), "name a word"),
        (("neighbours", "{glove}", "kin"), "no vector for 'kin'; did you mean 'king'"),
        (("analogy", "{glove}", "king"), "three words"),
        (("analogy", "{glove}"), "give three words, or a file"),
        (("picture", "{glove}", "king", "--out", "a.svg"), "three words or more"),
        (("picture", "{glove}", "--out", "a.jpg"), "a picture ends in"),
        (("picture", "{glove}", "--method", "umap", "--out", "a.svg"), "--method umap is unknown"),
        (("picture", "{glove}", "--near", "-1"), "--near -1"),
    ],
)
def test_errors_are_one_line(
    arguments: tuple[str, ...],
    message: str,
    glove: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    assert typed("vectors", *(part.format(glove=glove) for part in arguments)) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_what_has_no_vectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    text = tmp_path / "text.txt"
    text.write_text(sentences(50), encoding="utf-8")
    rung.train("bigram", text, out=tmp_path / "bigram")
    assert typed("vectors", "neighbours", tmp_path / "bigram", "a") == 2
    assert "is a bigram: it has no table of vectors" in capsys.readouterr().err
    rung.train("skipgram", text, out=tmp_path / "sg", width=2, epochs=1)
    assert typed("sample", tmp_path / "sg") == 2
    assert "rung vectors neighbours" in capsys.readouterr().err
    assert typed("train", "imported-vectors", text, "--out", tmp_path / "no", "--quiet") == 2
    assert "rung import vectors FILE" in capsys.readouterr().err
    assert typed("train", "skipgram", text, "--min-count", 1000, "--out", tmp_path / "no", "--quiet") == 2
    assert "lower --min-count" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
