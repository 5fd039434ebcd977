"""Labels for files: order, whole records, bad ones, pairs; the same as asked one by one."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

import rung
from rung.cli import main
from rung.errors import UserError
from rung.runs import Run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predictions")
    rng = np.random.default_rng(0)
    rows = [
        {"body": " ".join(rng.choice([word, "the", "film"], 4)), "other": word, "mood": mood}
        for word, mood in [("good", "yes"), ("bad", "no")] * 60
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rung.train("bag-of-words", folder / "rows.jsonl", label="mood", field="body", out=folder / "one")
    rung.train(
        "bag-of-words", folder / "rows.jsonl", label="mood", field="body", second="other", out=folder / "two"
    )
    return folder


@pytest.fixture
def one(folder: Path) -> Run:
    return rung.load(folder / "one")


def predicted(run: Run, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(run.folder), *map(str, arguments)])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_a_file_is_answered_as_its_texts_are_one_by_one(
    one: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    texts = ["good film", "the bad", "", "bad bad good", "naïve 🙂"] * 300
    (tmp_path / "t.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    code, out, _ = predicted(one, capsys, tmp_path / "t.txt")
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    alone = {text: next(rung.predict(one, [text])) for text in set(texts)}
    assert [row["label"] for row in found] == [alone[text].label for text in texts]
    for row, text in zip(found[:5], texts, strict=False):
        assert row["probabilities"] == pytest.approx(alone[text].probabilities, abs=1e-6)
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-6)
        assert row["label"] == max(row["probabilities"], key=row["probabilities"].__getitem__)


def test_records_come_out_whole_and_bad_ones_are_told(
    one: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    lines = ['{"body": "good", "label": "mine", "n": 1.50}', "nope", '{"body": 5}', '{"body": "bad"}']
    (tmp_path / "r.jsonl").write_text("\n".join(lines) + "\n")
    code, _, err = predicted(one, capsys, tmp_path / "r.jsonl", "--out", tmp_path / "o.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert code == 0
    assert "2 of 4 records have no label" in err
    assert (rows[0]["label"], rows[0]["rung_label"], rows[0]["n"]) == ("mine", "yes", 1.5)
    assert "error" in rows[1]
    assert rows[2]["body"] == 5
    assert rows[3]["label"] == "no"


def test_rows_of_a_table_come_out_as_rows(one: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "r.csv").write_text('body,id\n"good, really",1\nbad,2\ntorn\n')
    code, _, err = predicted(one, capsys, tmp_path / "r.csv", "--out", tmp_path / "o.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "o.csv").read_text())))
    assert code == 0
    assert [row["label"] for row in rows] == ["yes", "no", ""]
    assert rows[0]["body"] == "good, really"
    assert 0.5 < float(rows[0]["probability"]) <= 1
    assert "1 column, but the header has 2" in rows[2]["error"]
    assert "1 of 3 records" in err


def test_of_a_table_without_rows_the_header_comes_out(
    one: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "r.csv").write_text("body,id\n")
    code, _, _ = predicted(one, capsys, tmp_path / "r.csv", "--out", tmp_path / "o.csv")
    assert (code, (tmp_path / "o.csv").read_text()) == (0, "body,id,label,probability,error\n")


def test_labelled_lines_lose_their_label(one: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "t.txt").write_text("__label__no good\ngood\n")
    _, out, _ = predicted(one, capsys, tmp_path / "t.txt")
    first, second = out.splitlines()
    assert first == second


def test_two_texts_an_example(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    two = rung.load(folder / "two")
    (tmp_path / "r.jsonl").write_text(
        '{"body": "the film", "other": "good"}\n{"body": "the film", "other": "bad"}\n{"body": "the film"}\n'
    )
    code, out, err = predicted(two, capsys, tmp_path / "r.jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [row.get("label") for row in rows] == ["yes", "no", None]
    assert "record 3 has no text in 'other'" in err
    asked = list(rung.predict(two, ["the film"] * 2, ["good", "bad"]))
    assert [one.label for one in asked] == ["yes", "no"]
    with pytest.raises(UserError, match="trained on two texts an example"):
        next(rung.predict(two, ["the film"]))
    code, out, _ = predicted(two, capsys, "--text", "the film", "--second-text", "bad")
    assert json.loads(out)["label"] == "no"


def test_what_does_not_fit_is_told(
    one: Run, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "t.txt").write_text("good\n")
    rung.train("bigram", tmp_path / "t.txt", split="100/0/0", out=tmp_path / "bigram")
    for run, arguments, says in (
        (rung.load(tmp_path / "bigram"), [tmp_path / "t.txt"], "it has no labels to predict"),
        (one, [], "name a file"),
        (one, [tmp_path / "t.txt", "--text", "x"], "FILE does not go with --text"),
        (one, [tmp_path / "t.txt", "--out", tmp_path / "o.csv"], "is no .csv or .tsv"),
        (one, [tmp_path / "t.txt", "--out", tmp_path / "o.xyz"], "does not say what it is to hold"),
        (one, [tmp_path / "t.txt", "--second", "other"], "leave the second one out"),
        (one, [folder / "rows.jsonl", "--field", "bodie"], "body"),
    ):
        code, _, err = predicted(run, capsys, *arguments)
        assert code in (0, 2)
        assert says in err
