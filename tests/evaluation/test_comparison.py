"""Runs beside each other: the same pieces of text whatever the tokens, texts apart, seeds apart from text."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rung
from rung.cli import main
from rung.evaluation.comparison import to_json
from rung.evaluation.tables import Table, as_latex, as_markdown, as_text, latex
from tests.text_made import sentences

SPLIT: dict[str, Any] = {"split": "60/20/20", "documents": "files"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs on one text: two orders, two tokenisers, two seeds; and two other texts."""
    folder = tmp_path_factory.mktemp("runs")
    text = folder / "text.txt"
    text.write_text(sentences(400), encoding="utf-8")
    for name, seed in (("a.txt", 1), ("b.txt", 2)):
        (folder / name).write_text(sentences(60, seed=seed), encoding="utf-8")
    rung.train("bigram", text, out=folder / "bigram", **SPLIT)
    rung.train("ngram", text, order=3, out=folder / "ngram", **SPLIT)
    rung.train("ngram", text, order=3, tokenizer="word", out=folder / "words", **SPLIT)
    for seed in (0, 1, 2):
        rung.train("neural-bigram", text, steps=3, seed=seed, out=folder / f"neural-{seed}", **SPLIT)
    return folder


def typed(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_each_run_has_the_measure_that_evaluate_gives(folder: Path):
    for data in ((), [folder / "a.txt", folder / "b.txt"]):
        found = rung.compare([folder / "ngram", folder / "words"], data)
        for text, source in zip(found.texts, data or [None], strict=True):
            for row in text.rows:
                measured = rung.evaluate(row.name, source)
                assert row.mean == pytest.approx(measured.bits_per_byte, rel=1e-6)
                assert text.units == measured.bytes
                # The pieces are the whole, in words as in letters.
                assert row.nats.sum() == pytest.approx(measured.nats, rel=1e-6)


def test_the_difference_is_that_of_the_measures_and_turns_with_the_order(folder: Path):
    there = rung.compare([folder / "ngram", folder / "words"], folder / "a.txt").texts[0].pairs[0]
    back = rung.compare([folder / "words", folder / "ngram"], folder / "a.txt").texts[0].pairs[0]
    assert there.found.difference == pytest.approx(there.second.mean - there.first.mean, abs=1e-9)
    assert back.found.difference == pytest.approx(-there.found.difference, abs=1e-12)
    assert there.p == back.p
    assert there.found.ci95 is not None
    assert back.found.ci95 is not None
    np.testing.assert_allclose(there.found.ci95, [-end for end in reversed(back.found.ci95)], atol=1e-12)


def test_a_run_and_its_copy_are_the_same(folder: Path, tmp_path: Path):
    rung.train("ngram", folder / "text.txt", order=3, out=tmp_path / "copy", **SPLIT)
    pair = rung.compare([folder / "ngram", tmp_path / "copy"]).texts[0].pairs[0]
    assert pair.found.difference == 0
    assert pair.p == 1
    assert not pair.found.larger_than_noise


def test_seeds_are_one_row_and_their_noise_is_theirs(folder: Path):
    names = [folder / f"neural-{seed}" for seed in (0, 1, 2)]
    text = rung.compare([folder / "bigram", *names]).texts[0]
    assert [len(row.runs) for row in text.rows] == [1, 3]
    row = text.rows[1]
    assert row.seeds == (0, 1, 2)
    bits = [rung.evaluate(name).bits_per_byte for name in names]
    assert row.mean == pytest.approx(np.mean(bits))
    assert row.spread == pytest.approx(np.std(bits, ddof=1))
    pair = text.pairs[0]
    assert pair.seeds is not None
    # What only counts is the same whatever the seed, so the error is that of one mean.
    assert pair.seeds.standard_error == pytest.approx(np.std(bits, ddof=1) / np.sqrt(3))
    alone = rung.compare([folder / "bigram", names[0]]).texts[0].pairs[0]
    assert alone.seeds is None


def test_runs_without_a_text_in_common_are_told_to_name_one(folder: Path, tmp_path: Path):
    rung.train("bigram", folder / "a.txt", out=tmp_path / "other", **SPLIT)
    with pytest.raises(rung.UserError, match=r"other test text.*--data FILE"):
        rung.compare([folder / "bigram", tmp_path / "other"])
    assert len(rung.compare([folder / "bigram", tmp_path / "other"], folder / "b.txt").texts) == 1
    # Held-out text that was given is the same wherever the rest came from.
    for name in ("a", "b"):
        data, out = folder / f"{name}.txt", tmp_path / name
        rung.train("bigram", data, test=str(folder / "text.txt"), out=out, documents="files")
    assert rung.compare([tmp_path / "a", tmp_path / "b"]).texts[0].units == len(sentences(400).encode())


def test_labels_are_compared_in_bits_per_example(tmp_path: Path):
    rows = [f"{text}\t{'long' if len(text) > 25 else 'short'}" for text in sentences(300).split("\n") if text]
    (tmp_path / "rows.tsv").write_text("text\tsize\n" + "\n".join(rows) + "\n", encoding="utf-8")
    steps: dict[str, Any] = {"steps": 20}
    for name, more in (("majority", {}), ("bag-of-words", steps)):
        rung.train(name, tmp_path / "rows.tsv", label="size", split="60/20/20", out=tmp_path / name, **more)
    for data in ((), tmp_path / "rows.tsv"):
        found = rung.compare([tmp_path / "majority", tmp_path / "bag-of-words"], data)
        assert found.unit == "example"
        assert found.texts[0].pieces == found.texts[0].units
        for row in found.texts[0].rows:
            measured = rung.evaluate(row.name, data or None)
            assert row.mean == pytest.approx(measured.bits_per_unit)
            assert row.figures["accuracy"] == measured.figures["accuracy"]


def test_runs_of_two_tasks_have_no_measure_in_common(folder: Path, tmp_path: Path):
    (tmp_path / "rows.csv").write_text("text,label\n" + "a,x\nb,y\n" * 40, encoding="utf-8")
    rung.train("majority", tmp_path / "rows.csv", out=tmp_path / "majority")
    with pytest.raises(rung.UserError, match="no measure in common"):
        rung.compare([folder / "bigram", tmp_path / "majority"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["ngram"], "two runs"),
        (["ngram", "ngram"], "named twice"),
        (["ngram", "bigram", "--format", "tex"], "--format 'tex' is unknown"),
        (["ngram", "bigram", "--split", "tset"], "did you mean 'test'"),
        (["ngram", "bigram", "--curves", "x.pdf"], "--curves x.pdf"),
        (["ngram", "bigram", "--curves", "x.csv"], "only counts has none"),
        (["ngram", "bigram", "--data=-", "--data=-"], "read only once"),
    ],
)
def test_what_is_at_fault_is_told_in_a_line(
    folder: Path,
    arguments: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(folder)
    assert typed("compare", *arguments) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_every_format_has_the_same_numbers(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(folder)
    arguments = ("compare", "ngram", "words", "neural-0", "neural-1", "--data", "a.txt", "b.txt")
    shown = {}
    for format in ("text", "markdown", "csv", "latex", "json"):
        assert typed(*arguments, "--format", format) == 0
        shown[format] = capsys.readouterr().out
    told = json.loads(shown["json"])
    assert typed(*arguments, "--json") == 0
    assert json.loads(capsys.readouterr().out) == told
    assert told == to_json(rung.compare(["ngram", "words", "neural-0", "neural-1"], ["a.txt", "b.txt"]))
    assert [text["text"] for text in told["texts"]] == ["a.txt", "b.txt"]  # never pooled
    rows = list(csv.DictReader(io.StringIO(shown["csv"])))
    said = [row for text in told["texts"] for row in text["rows"]]
    assert [float(row["bits_per_byte"]) for row in rows] == [row["bits_per_byte"] for row in said]
    for text in told["texts"]:
        for row in text["rows"]:
            for format in ("text", "markdown", "latex"):
                assert f"{row['bits_per_byte']:.4f}" in shown[format]
        first = text["differences"][0]
        assert any(row["difference"] and float(row["difference"]) == first["difference"] for row in rows)


def test_curves_are_a_table_and_a_picture(folder: Path, tmp_path: Path):
    names = [str(folder / "neural-0"), str(folder / "neural-1"), str(folder / "bigram")]
    table, drawing, picture = (tmp_path / f"curves.{kind}" for kind in ("csv", "svg", "png"))
    assert typed("compare", *names, "--curves", table, drawing, picture) == 0
    points = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))
    assert {(point["run"], point["part"]) for point in points} == {
        (name, part) for name in names[:2] for part in ("train", "validation")
    }
    last = [point for point in points if point["run"] == names[0] and point["part"] == "validation"][-1]
    result = rung.load(names[0]).recipe["result"]
    assert float(last["bits_per_byte"]) == pytest.approx(result["validation"]["bits_per_byte"])
    assert drawing.read_text(encoding="utf-8").count("<svg") == 1
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_evaluate_takes_several_texts(folder: Path, capsys: pytest.CaptureFixture[str]):
    texts = [folder / "a.txt", folder / "b.txt"]
    assert typed("evaluate", folder / "ngram", *texts, "--json") == 0
    several = json.loads(capsys.readouterr().out)["measures"]
    for text, measured in zip(texts, several, strict=True):
        assert typed("evaluate", folder / "ngram", text, "--json") == 0
        assert json.loads(capsys.readouterr().out) == {"run": str(folder / "ngram"), **measured}
        low, high = measured["ci95"]
        assert low < measured["bits_per_byte"] < high
    assert typed("evaluate", folder / "ngram", *texts) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_cells_are_written_as_each_format_wants_them():
    table = Table("a_b", ["run", "50%"], [["x|y", "−1"], ["日本", "2"]], strong=[1])
    assert as_text(table).splitlines()[2:] == ["run   50%", "x|y    −1", "日本    2"]
    assert as_markdown(table).splitlines()[2:] == [
        "| run | 50% |",
        "|---|---:|",
        "| x\\|y | −1 |",
        "| **日本** | **2** |",
    ]
    assert r"a\_b" in as_latex([table])
    assert r"x|y & $-$1 \\" in as_latex([table])
    assert latex(r"\{~^&") == r"\textbackslash{}\{\textasciitilde{}\textasciicircum{}\&"
