"""Vectors of files and what is nearest: order, bad records, both kinds of file, the same as asked one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import rung
from rung.cli import main
from rung.errors import UserError
from rung.evaluation.embedding import MADE_BY
from rung.runs import Run
from tests.text_made import sentences

SMALL: dict[str, Any] = {"n_layer": 1, "n_embd": 16, "context": 16, "tokenizer": "word", "documents": "lines"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vectors")
    (folder / "text.txt").write_text(sentences(200), encoding="utf-8")
    rung.train("bert", folder / "text.txt", out=folder / "bert", steps=3, **SMALL)
    rung.train("bert", folder / "text.txt", out=folder / "other", steps=3, seed=1, **SMALL)
    rung.train("bigram", folder / "text.txt", out=folder / "bigram")
    rung.train("tf-idf", folder / "text.txt", out=folder / "tf-idf", documents="lines", tokenizer="word")
    return folder


@pytest.fixture
def run(folder: Path) -> Run:
    return rung.load(folder / "bert")


def typed(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_a_file_is_its_texts_one_by_one(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, whichever blocks it is read in, into both kinds of file and as JSON lines."""
    monkeypatch.setattr("rung.evaluation.embedding.NEURAL_BATCH_BYTES", 64)
    texts = ["the cows eat grass", "hay", "", "Romeo forgets the moon " * 9, "naïve 🙂"] * 5
    (tmp_path / "t.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    expected = np.concatenate([rung.embed(run, [text]) for text in texts])
    np.testing.assert_allclose(rung.embed(run, iter(texts)), expected, atol=1e-5)
    for out in ("v.npy", "v.parquet"):
        assert typed(capsys, "embed", run.folder, tmp_path / "t.txt", "--out", tmp_path / out) == (0, "", "")
    np.testing.assert_allclose(np.load(tmp_path / "v.npy"), expected, atol=1e-5)
    table = pq.read_table(tmp_path / "v.parquet")
    assert table["text"].to_pylist() == texts
    np.testing.assert_allclose(np.array(table["vector"].to_pylist()), expected, atol=1e-5)
    code, out, _ = typed(capsys, "embed", run.folder, tmp_path / "t.txt", "--normalize")
    assert code == 0
    found = np.array([json.loads(line)["vector"] for line in out.splitlines()])
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected, axis=1)[:, None], atol=1e-5)
    code, out, _ = typed(capsys, "embed", run.folder, "--text", texts[0], "--pooling", "first")
    assert json.loads(out)["vector"] == pytest.approx(
        rung.embed(run, texts[:1], pooling="first")[0].tolist(), abs=1e-5
    )


def test_bad_records_keep_their_places(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ['{"text": "hay"}', "{broken", '{"text": 3}', '{"text": "corn"}']
    (tmp_path / "r.jsonl").write_text("\n".join(rows) + "\n")
    good = rung.embed(run, ["hay", "corn"])
    for out in ("v.npy", "v.parquet"):
        code, _, err = typed(capsys, "embed", run.folder, tmp_path / "r.jsonl", "--out", tmp_path / out)
        assert code == 0
        assert "2 of 4 records have no vector" in err
    vectors = np.load(tmp_path / "v.npy")
    np.testing.assert_allclose(vectors[[0, 3]], good, atol=1e-5)
    assert np.isnan(vectors[1:3]).all()
    assert [one is None for one in pq.read_table(tmp_path / "v.parquet")["vector"].to_pylist()] == [
        False,
        True,
        True,
        False,
    ]
    for file in ("r.jsonl", "v.npy", "v.parquet"):
        found = rung.nearest(run, "hay", tmp_path / file)
        assert [one.row for one in found] == [1, 4]
        assert found[0].cosine == pytest.approx(1, abs=1e-6)
    _, out, err = typed(capsys, "nearest", run.folder, "hay", "--in", tmp_path / "v.parquet")
    assert out.splitlines()[0].split() == ["1.0000", "1", "hay"]
    assert "2 of 4 records have no vector" in err


def test_the_nearest_are_those_of_all_cosines(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against NumPy over everything at once; of equal ones the first; in blocks."""
    for name in ("nearest.ROWS", "embedding.NEURAL_BATCH_BYTES"):
        monkeypatch.setattr(f"rung.evaluation.{name}", 50)
    texts = [line for line in sentences(160, seed=3).split("\n") if line]
    (tmp_path / "t.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    query = "the old king wants bread"
    vectors = rung.embed(run, [query, *texts], normalize=True).astype(np.float64)
    cosines = (vectors[1:] @ vectors[0]).round(5)
    expected = np.argsort(-cosines, kind="stable")[:12]
    for out in ("v.npy", "v.parquet"):
        typed(capsys, "embed", run.folder, tmp_path / "t.txt", "--out", tmp_path / out)
    for file in ("t.txt", "v.npy", "v.parquet"):
        found = rung.nearest(run, query, tmp_path / file, n=12)
        np.testing.assert_allclose([one.cosine for one in found], cosines[expected], atol=2e-5)
        assert {texts[one.row - 1] for one in found[:6]} == {texts[i] for i in expected[:6]}
        assert [one.text for one in found] == (
            [None] * 12 if file == "v.npy" else [texts[one.row - 1] for one in found]
        )
    code, out, _ = typed(capsys, "nearest", run.folder, query, "--in", tmp_path / "t.txt", "-n", 3, "--json")
    said = json.loads(out)
    assert (code, said["records"], len(said["nearest"])) == (0, len(texts), 3)
    assert said["nearest"][0]["cosine"] == pytest.approx(cosines[expected[0]], abs=2e-5)


def test_what_counts_makes_vectors_too(folder: Path, tmp_path: Path) -> None:
    """tf-idf of one word is along that word's own axis."""
    run = rung.load(folder / "tf-idf")
    vectors = rung.embed(run, ["hay", "hay hay", "corn", ""])
    assert np.count_nonzero(vectors[0]) == 1
    assert vectors[0] @ vectors[2] == 0
    assert not vectors[3].any()
    (tmp_path / "t.txt").write_text("corn\nour cows eat hay\n\n")
    assert rung.nearest(run, "some hay", tmp_path / "t.txt", n=1)[0].text == "our cows eat hay"


def test_bad_input(folder: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, parquet = tmp_path / "t.txt", tmp_path / "v.parquet"
    text.write_text("hay\ncorn\n")
    typed(capsys, "embed", run.folder, text, "--out", parquet)
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY nothing")
    np.save(tmp_path / "wide.npy", np.zeros((2, 17), np.float32))
    np.save(tmp_path / "flat.npy", np.zeros(17, np.float32))
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)) * 9)
    other, counted = folder / "other", folder / "bigram"
    for arguments, said in (
        (["embed", counted, text], "is a bigram, which makes no vectors of texts"),
        (["embed", run.folder, text, "--pooling", "max"], "--pooling 'max' is unknown"),
        (["embed", run.folder, text, "--out", tmp_path / "v.txt"], "end its name in .npy or .parquet"),
        (["embed", run.folder, text, "--out", tmp_path], "is a folder"),
        (["embed", run.folder], "name a file"),
        (["embed", run.folder, tmp_path / "non.txt"], "there is no file"),
        (["embed", run.folder, tmp_path / "binary.txt"], "binary"),
        (["embed", run.folder, text, "--text", "hay"], "FILE does not go with --text"),
        (["nearest", run.folder, "hay", "--in", tmp_path / "empty.txt"], "holds no texts"),
        (["nearest", run.folder, "hay", "--in", tmp_path / "broken.npy"], "broken.npy"),
        (["nearest", run.folder, "hay", "--in", tmp_path / "wide.npy"], "vectors of 17 numbers"),
        (["nearest", run.folder, "hay", "--in", tmp_path / "flat.npy"], "has the shape (17,)"),
        (["nearest", run.folder, "hay", "--in", text, "-n", 0], "-n 0 is not possible"),
        (["nearest", run.folder, " ", "--in", text], "the query is empty"),
        (["nearest", other, "hay", "--in", parquet], "holds vectors of another run"),
        (["nearest", run.folder, "hay", "--in", parquet, "--pooling", "first"], "vectors pooled by mean"),
        (["embed", folder / "tf-idf", text, "--pooling", "mean"], "are not pooled from states"),
    ):
        code, out, err = typed(capsys, *arguments)
        assert (code, out) == (2, ""), err
        assert said in err
        assert err.count("\n") == 1
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    with pytest.raises(UserError, match="makes no vectors"):
        rung.embed(counted, ["hay"])
    made = json.loads(pq.read_schema(parquet).metadata[MADE_BY])
    assert (made["pooling"], made["normalize"]) == ("mean", False)
