"""What is in a folder is listed whatever state it is in; one run is told whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import rung
from rung.cli import main
from rung.evaluation.inventory import age, inventory
from rung.evaluation.summary import in_words, summary
from tests.text_made import sentences


def typed(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inventory")
    (folder / "text.txt").write_text(sentences(400), encoding="utf-8")
    rung.train("ngram", folder / "text.txt", order=3, out=folder / "runs" / "ngram", split="60/20/20")
    return folder


def test_damaged_runs_are_listed_as_such_and_cost_the_others_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    runs = tmp_path / "runs"
    shutil.copytree(folder / "runs" / "ngram", runs / "inside" / "good")
    recipe = json.loads((runs / "inside" / "good" / "run.json").read_text(encoding="utf-8"))
    damaged = {
        "cut": json.dumps(recipe)[:200],
        "list": "[]",
        "measure": json.dumps(
            {**recipe, "result": {**recipe["result"], "validation": {"bits_per_byte": "x"}}}
        ),
        "none": json.dumps({**recipe, "result": {**recipe["result"], "validation": {}}}),
        "escape\x1b[31m": "{",
    }
    for name, text in damaged.items():
        (runs / name).mkdir()
        (runs / name / "run.json").write_text(text, encoding="utf-8")
    (runs / "nameless").mkdir()
    (runs / "nameless" / "model.safetensors").write_bytes(b"")
    (runs / "no run").mkdir()
    found = {Path(entry.name).name: entry for entry in inventory(runs)}
    assert {name for name, entry in found.items() if entry.status == "damaged"} == {*damaged, "nameless"}
    good = found["good"]
    assert (good.rung, good.status, good.unit) == ("ngram", "finished", "byte")
    assert good.bits == recipe["result"]["validation"]["bits_per_byte"]
    assert good.bytes == sum(
        path.stat().st_size for path in (runs / "inside" / "good").rglob("*") if path.is_file()
    )
    assert typed("runs", runs) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert all(str(Path(entry.name).name).split("\x1b")[0] in shown for entry in found.values())
    assert typed("runs", runs, "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == len(found)


def test_a_run_that_was_stopped_is_told_from_one_that_has_finished(folder: Path, tmp_path: Path):
    rung.train("neural-bigram", folder / "text.txt", steps=50, out=tmp_path / "it", stop=lambda: True)
    assert [entry.status for entry in inventory(tmp_path)] == ["stopped"]
    assert "rung train --resume" in in_words(summary(rung.load(tmp_path / "it")))
    rung.resume(tmp_path / "it")
    assert [entry.status for entry in inventory(tmp_path)] == ["finished"]


def test_an_empty_folder_has_none_and_a_missing_one_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert typed("runs", tmp_path) == 0
    assert "no runs" in capsys.readouterr().out
    assert typed("runs", tmp_path / "nowhere") == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (100_000, "27 h"), (172_800, "2 days")],
)
def test_ages(seconds: float, said: str):
    assert age(seconds) == said


def test_one_run_is_told_whole(folder: Path, capsys: pytest.CaptureFixture[str]):
    place = folder / "runs" / "ngram"
    assert typed("show", place) == 0
    shown = capsys.readouterr().out
    run = rung.load(place)
    measure = rung.evaluate(run, split="validation")
    assert measure.ci95 is not None
    for fact in (
        f"{measure.bits_per_byte:.4f} bits per byte",
        f"{measure.ci95[0]:.4f} to {measure.ci95[1]:.4f}",
        run.recipe["data"]["source"]["sha256"],
        "order 3",
        run.recipe["command"],
        "model.safetensors",
    ):
        assert fact in shown
    assert typed("show", place, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["asked"] == {"order": 3, "split": "60/20/20"}
    assert told["data"]["parts"] == run.recipe["data"]["parts"]


def test_a_damaged_run_is_refused_in_a_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shutil.copytree(folder / "runs" / "ngram", tmp_path / "bad")
    recipe = json.loads((tmp_path / "bad" / "run.json").read_text(encoding="utf-8"))
    recipe["result"]["validation"] = {"bits_per_byte": "x"}
    (tmp_path / "bad" / "run.json").write_text(json.dumps(recipe), encoding="utf-8")
    assert typed("show", tmp_path / "bad") == 2
    assert capsys.readouterr().err.count("\n") == 1
