"""A run made anew is the same, byte for byte; and where it isn't, that is said."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

import rung
from rung.cli import main
from tests.text_made import sentences


def typed(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("ngram", {"order": 4, "prune": (0, 0, 1), "tokenizer": "word", "documents": "lines"}),
    ("neural-bigram", {"steps": 4, "lr": 0.02, "seed": 5, "window": 16, "split": "80/20/0"}),
    ("neural-bigram", {"steps": 3, "restarts": 2}),
    ("scratch-bigram", {"steps": 3}),
]


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_the_same_bytes_come_out(text: Path, name: str, settings: dict[str, Any]):
    first = rung.train(name, text, out="first", **settings)
    found = rung.train_again("first", out="second")
    weights = Path("second/model.safetensors").read_bytes()
    assert found.same
    assert found.sha256 == hashlib.sha256(weights).hexdigest()
    assert weights == Path("first/model.safetensors").read_bytes()
    # The recipe by itself is enough, and so is the command that it holds.
    shutil.copyfile("first/run.json", "alone.json")
    shutil.rmtree("first")
    assert rung.train_again("alone.json", out="third").same
    _, *words = shlex.split(first.recipe["command"])
    assert typed(*words, "--out", "fourth", "--quiet") == 0
    assert Path("fourth/model.safetensors").read_bytes() == weights


def test_a_mixture_comes_out_the_same(text: Path):
    for order in (1, 3):
        rung.train("ngram", text, order=order, out=f"order-{order}")
    rung.train("mix", text, runs=("order-1", "order-3"), out="first")
    assert rung.train_again("first", out="second").same


def test_a_rung_of_a_climb_comes_out_the_same_by_itself(text: Path):
    rung.climb(text, rungs=["bigram", "neural-bigram"], steps=3, seed=2, out="climb")
    assert rung.train_again("climb/neural-bigram", out="second").same


def test_labels_come_out_the_same(text: Path):
    Path("rows.csv").write_text("words,sort\n" + "a b,x\nb c,y\nc a,x\n" * 40, encoding="utf-8")
    rung.train("bag-of-words", "rows.csv", label="sort", field="words", steps=5, out="first")
    assert rung.train_again("first", out="second").same


def test_another_seed_is_another_run(text: Path, capsys: pytest.CaptureFixture[str]):
    rung.train("neural-bigram", text, steps=3, out="first")
    assert typed("train", "--again", "first", "--seed", 1, "--out", "second", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["again"]["same"] is None
    assert rung.load("second").recipe["seed"] == 1
    assert typed("train", "--again", "first", "--out", "third", "--quiet") == 0
    assert "byte for byte" in capsys.readouterr().out
    assert rung.load("third").recipe["seed"] == 0


def test_weights_that_differ_are_told_with_what_else_does(text: Path, capsys: pytest.CaptureFixture[str]):
    rung.train("neural-bigram", text, steps=3, out="first")
    recipe = json.loads(Path("first/run.json").read_text(encoding="utf-8"))
    recipe["result"]["sha256"]["model.safetensors"] = "0" * 64
    recipe["versions"]["torch"] = "1.0"
    Path("first/run.json").write_text(json.dumps(recipe), encoding="utf-8")
    found = rung.train_again("first", out="second")
    assert found.same is False
    assert any("torch 1.0 then" in reason for reason in found.reasons)


def test_a_text_that_has_changed_is_refused_and_nothing_is_left(
    text: Path, capsys: pytest.CaptureFixture[str]
):
    rung.train("bigram", text, out="first")
    text.write_text(sentences(201), encoding="utf-8")
    assert typed("train", "--again", "first", "--out", "second") == 2
    error = capsys.readouterr().err
    assert "is not the text" in error
    assert "damaged" not in error
    assert error.count("\n") == 1
    assert not Path("second").exists()


def test_a_recipe_that_does_not_say_is_refused(text: Path):
    rung.train("bigram", text, out="first")
    recipe = json.loads(Path("first/run.json").read_text(encoding="utf-8"))
    del recipe["asked"]
    Path("first/run.json").write_text(json.dumps(recipe), encoding="utf-8")
    with pytest.raises(rung.UserError, match="does not hold what was asked for"):
        rung.train_again("first", out="second")


DAMAGED = [
    [],
    {"rung": "bigram"},
    {"rung": 1, "data": "text.txt", "settings": {}},
    {"rung": "bigram", "data": 3},
]
DAMAGED += [
    {"rung": "bigram", "data": "text.txt", "settings": settings}
    for settings in ([], {"steps": "x"}, {"no such": 1}, {"tokenizer": {}}, {"split": 3}, {"add_k": []})
]


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_recipe_is_refused_in_a_line(
    text: Path, damage: object, capsys: pytest.CaptureFixture[str]
):
    rung.train("bigram", text, out="first")
    recipe = json.loads(Path("first/run.json").read_text(encoding="utf-8"))
    Path("first/run.json").write_text(json.dumps(recipe | {"asked": damage}), encoding="utf-8")
    assert typed("train", "--again", "first", "--out", "second") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not Path("second").exists()


def test_again_goes_with_no_other_training(text: Path, capsys: pytest.CaptureFixture[str]):
    rung.train("bigram", text, out="first")
    assert typed("train", "--again", "first", "--recipe", "names-mlp") == 2
    assert "one of them" in capsys.readouterr().err


def test_every_run_has_its_page(text: Path):
    run = rung.train("neural-bigram", text, steps=30, eval_every=10, lr=0.02, out="run")
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert "://" not in page
    assert "<script" not in page
    assert page.count("<svg") == 1
    assert f"{run.recipe['result']['validation']['bits_per_byte']:.3f}" in page
    for fact in (run.recipe["data"]["source"]["sha256"], "lr 0.02", "rung train neural-bigram", "in the end"):
        assert fact in page
    rung.train("bigram", text, out="counted")
    assert "<svg" not in Path("counted/report.html").read_text(encoding="utf-8")
    Path("rows.csv").write_text("text,label\n" + "a b,x\nb c,y\n" * 40, encoding="utf-8")
    rung.train("majority", "rows.csv", out="labels")
    assert "bits per example" in Path("labels/report.html").read_text(encoding="utf-8")
    rung.train(
        "ngram", text, smoothing="none", order=5, out="infinite"
    )  # what it gives no probability costs inf
    assert "inf bits per byte" in Path("infinite/report.html").read_text(encoding="utf-8")
    rung.train("bigram", text, split="100/0/0", out="all")
    assert "nothing was held out" in Path("all/report.html").read_text(encoding="utf-8")
