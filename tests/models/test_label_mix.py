"""A mixture of classifiers: the weighted sum of theirs, no worse on what it was weighed by than the best of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rung
from rung import api
from rung.errors import UserError
from rung.runs import Run
from rung.tensors import load_tensors, save_tensors
from rung.testing import check_classifier
from tests.text_made import sentences

PARTS: dict[str, dict[str, Any]] = {
    "majority": {},
    "bag-of-words": {},
    "ngram": {"order": 3},
    "gru": {"n_embd": 4, "n_hidden": 8, "steps": 20, "tokenizer": "word"},
}
SPLIT = "60/20/20"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    lines = sentences(150).splitlines()
    wrong = np.random.default_rng(0).random(len(lines)) < 0.2
    rows = [
        {"text": line, "and": other, "label": "ny"[("cow" in line) != flip], "size": "abc"[len(line) % 3]}
        for line, other, flip in zip(lines, lines[::-1], wrong.tolist(), strict=True)
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def runs(data: Path) -> dict[str, Run]:
    return {
        name: api.train(name, data, label="label", split=SPLIT, out=data.parent / name, **how)
        for name, how in PARTS.items()
    }


@pytest.fixture(scope="module")
def mix(data: Path, runs: Mapping[str, Run]) -> Run:
    folders = [run.folder.as_posix() for run in runs.values()]
    return api.train("mix", data, label="label", split=SPLIT, runs=folders, out=data.parent / "mix")


def test_it_is_the_weighted_sum_of_what_its_parts_say_of_the_same_texts(mix: Run, runs: Mapping[str, Run]):
    texts = ["the cow saw a horse", "", "an owl", "é 日 cow"]
    by_rung = {
        part.model.rung: weight for part, weight in zip(mix.model.parts, mix.model.weights, strict=True)
    }
    assert sum(by_rung.values()) == pytest.approx(1)
    assert len({part.tokenizer.kind for part in mix.model.parts}) > 1 or len(by_rung) == 1
    for i, found in enumerate(rung.predict(mix, texts)):
        for label, p in found.probabilities.items():
            expected = sum(
                weight * list(rung.predict(runs[name], texts))[i].probabilities[label]
                for name, weight in by_rung.items()
            )
            assert p == pytest.approx(expected, abs=1e-5)


def test_on_what_it_was_weighed_by_it_is_no_worse_than_the_best_part(mix: Run, runs: Mapping[str, Run]):
    bits = {name: rung.evaluate(run, split="validation").bits_per_unit for name, run in runs.items()}
    assert rung.evaluate(mix, split="validation").bits_per_unit <= min(bits.values()) + 1e-6


def test_the_contract(mix: Run):
    check_classifier(mix.model)


def test_pairs_of_texts_are_mixed_too(data: Path, tmp_path: Path):
    parts = [
        api.train(name, data, label="label", second="and", split=SPLIT, out=tmp_path / name).folder.as_posix()
        for name in ("majority", "bag-of-words")
    ]
    mixed = api.train("mix", data, label="label", second="and", split=SPLIT, runs=parts, out=tmp_path / "mix")
    check_classifier(mixed.model)


def test_what_cannot_be_mixed_says_so(data: Path, runs: Mapping[str, Run], tmp_path: Path):
    one = runs["majority"].folder.as_posix()
    other = api.train("majority", data, label="size", split=SPLIT, out=tmp_path / "other").folder.as_posix()
    text = api.train("bigram", data, split=SPLIT, out=tmp_path / "text").folder.as_posix()
    for given, says in (
        ([], "needs two runs or more"),
        ([one], "needs two runs or more"),
        ([one, other], "was trained on other labels"),
        ([one, text], "is a bigram of language; mix runs of classification"),
    ):
        with pytest.raises(UserError, match=says):
            api.train("mix", data, label="label", split=SPLIT, runs=given, out=tmp_path / "x")
    with pytest.raises(UserError, match="learns its weights on validation"):
        api.train("mix", data, label="label", split="80/0/20", runs=[one, one], out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_damaged_one_ends_in_one_line(mix: Run, tmp_path: Path):
    copy = tmp_path / "copy"
    for name, value in (
        ("weights", np.array([0.7, 0.7, 0.7])),
        ("parts", np.frombuffer(b"[1]", np.uint8)),
        ("parts", np.frombuffer(b'[{"model": {}, "tokenizer": {"kind": "none"}}]', np.uint8)),
    ):
        shutil.copytree(mix.folder, copy)
        tensors, told = load_tensors(copy / "model.safetensors")
        save_tensors(copy / "model.safetensors", {**tensors, name: value}, told)
        with pytest.raises(UserError, match=r"model\.safetensors"):
            _ = rung.load(copy).model
        shutil.rmtree(copy)
