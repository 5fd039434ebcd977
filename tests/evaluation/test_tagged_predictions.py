"""`rung predict` of taggers: words in, words with tags out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import rung
from rung.cli import main
from rung.errors import UserError
from rung.evaluation.tagged_predictions import cut
from rung.text.tagged_formats import TagColumns, read_sentences
from tests.tagged_made import slashed, tagged_sentences


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tags")
    (folder / "a.txt").write_text(slashed(tagged_sentences(80)), encoding="utf-8")
    return rung.train("hmm", folder / "a.txt", out=folder / "run").folder


def typed(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_words_and_punctuation_are_cut():
    assert cut("The cows didn't eat, 3.5 kg!") == ["The", "cows", "didn't", "eat", ",", "3.5", "kg", "!"]
    assert cut("The cows, eat", words=True) == ["The", "cows,", "eat"]


def test_files_are_answered_in_order_in_each_form(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    """What a form holds is read again as what was answered."""
    lines = tmp_path / "plain.txt"
    lines.write_text("The red cows eat grass\n\nThe 牛 ran\n", encoding="utf-8")
    assert typed("predict", run, lines) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["tokens"] for answer in answers] == [
        ["The", "red", "cows", "eat", "grass"],
        [],
        ["The", "牛", "ran"],
    ]
    assert answers[2]["tags"] == ["DT", "NN", "VB"]
    for suffix in (".conll", ".conllu", ".conllu.gz"):
        out = tmp_path / ("out" + suffix)
        assert typed("predict", run, lines, "--out", out, "--quiet") == 0
        found = read_sentences(out, TagColumns())
        assert list(zip(found.words, found.tags, strict=True)) == [
            (answers[0]["tokens"], answers[0]["tags"]),
            (answers[2]["tokens"], answers[2]["tags"]),
        ]
    again = tmp_path / "again.jsonl"
    assert typed("predict", run, tmp_path / "out.conllu", "--out", again, "--quiet") == 0
    assert [json.loads(line) for line in again.read_text().splitlines()] == [answers[0], answers[2]]


def test_a_record_keeps_its_fields_and_a_bad_one_is_told(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        '{"text": "The cows ran", "id": 1}\n{"id": 2}\n{"text": "The 牛", "tags": 0}\n', encoding="utf-8"
    )
    assert typed("predict", run, rows, "--out", tmp_path / "out.jsonl") == 0
    first, bad, last = (json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines())
    assert first == {
        "text": "The cows ran",
        "id": 1,
        "tokens": ["The", "cows", "ran"],
        "tags": ["DT", "NN", "VB"],
    }
    assert bad["id"] == 2
    assert "no field 'text'" in bad["error"]
    assert last["tags"] == 0
    assert last["rung_tags"] == ["DT", "NN"]
    assert "1 of 3 records have no tags" in capsys.readouterr().err


def test_from_python_a_sentence_is_text_or_words(run: Path):
    texts = ["The cows ran", ["The", "cows", "ran"]]
    first, second = rung.predict(run, texts)
    assert first == second
    assert first.tags == ["DT", "NN", "VB"]


def test_flags_that_do_not_fit_are_told(run: Path, tmp_path: Path):
    (tmp_path / "a.txt").write_text("x\n")
    assert typed("predict", run, tmp_path / "a.txt", "--second", "b") == 2
    assert typed("predict", run, tmp_path / "a.txt", "--out", tmp_path / "b.csv") == 2
    assert typed("predict", run, tmp_path / "none.conllu") == 2
    assert typed("score", run, tmp_path / "a.txt") == 2
    (tmp_path / "b.txt").write_text("the/XX cows/NN ran/VB\n")
    with pytest.raises(UserError, match="the tag 'XX' was not there in training"):
        rung.evaluate(run, tmp_path / "b.txt")


def test_rows_that_hold_words_are_tagged_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A word with a blank in it stays one; a row of a text is cut; what is neither is told, in its place."""
    pairs = [(["the", "big dog", "saw"], ["D", "N", "V"]), (["a", "cat"], ["D", "N"])] * 10
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"tokens": w, "tags": t}) + "\n" for w, t in pairs))
    run = rung.train("hmm", data, out=tmp_path / "run")
    rows = [
        {"tokens": ["the", "big dog", "saw"], "id": 1},
        {"text": "the cat"},
        {"tokens": ["a", 3]},
        {"tokens": []},
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(run.folder), str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out.jsonl")])
    assert ended.value.code == 0
    words, text, bad, empty = (json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines())
    assert words == {"tokens": ["the", "big dog", "saw"], "id": 1, "tags": ["D", "N", "V"]}
    assert (text["tokens"], len(text["tags"])) == (["the", "cat"], 2)
    assert "'tokens' is list, not text" in bad["error"]
    assert empty == {"tokens": [], "tags": []}
    assert "1 of 4 records have no tags" in capsys.readouterr().err
    (one,) = rung.predict(run, [["the", "big dog", "saw"]])
    assert one.tags == words["tags"]
