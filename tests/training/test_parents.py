"""Learning on from another run: counts are added up, weights are taken over, what is forgotten is measured."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rung
from rung import api
from rung.errors import UserError
from rung.events import Event, Note, Step
from tests.text_made import sentences

GPT: dict[str, Any] = {"n_layer": 1, "n_head": 2, "n_embd": 8, "context": 8, "ngrams": 0}
RUNGS: dict[str, dict[str, Any]] = {
    "gpt": GPT,
    "lstm": {"n_embd": 8, "n_hidden": 8},
    "scratch-bigram": {},
    "mlp": {"n_embd": 4, "n_hidden": 8, "batch_norm": True},
}
BYTES: dict[str, Any] = {"tokenizer": "byte", "documents": "lines", "split": "100/0/0"}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.txt"
    path.write_text(sentences(150), encoding="utf-8")
    return path


@pytest.fixture
def new(tmp_path: Path) -> Path:
    path = tmp_path / "new.txt"
    path.write_text(sentences(150).upper(), encoding="utf-8")
    return path


def joined(tmp_path: Path, *texts: Path) -> Path:
    path = tmp_path / "joined.txt"
    path.write_text("".join(text.read_text(encoding="utf-8") for text in texts), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("ngram", {"order": 4}),
        ("ngram", {"order": 3, "smoothing": "witten-bell", "prune": (0, 0, 1)}),
        ("ngram", {"order": 2, "smoothing": "add-k"}),
        ("bigram", {}),
        ("infinigram", {"order": 3}),
    ],
)
def test_counts_of_two_texts_are_those_of_both_in_one(
    name: str, how: dict[str, Any], old: Path, new: Path, tmp_path: Path
):
    first = api.train(name, old, out=tmp_path / "first", **BYTES, **how)
    second = api.train(
        name, new, out=tmp_path / "second", from_=first.folder, documents="lines", split="100/0/0"
    )
    both = api.train(name, joined(tmp_path, old, new), out=tmp_path / "both", **BYTES, **how)
    ours, theirs = second.model.tensors(), both.model.tensors()
    assert ours.keys() == theirs.keys()
    for key in theirs:
        np.testing.assert_array_equal(ours[key], theirs[key])


@pytest.mark.parametrize(("weight", "times"), [(3, (1, 3)), (0.5, (2, 1)), (1 / 3, (3, 1))])
def test_a_weighted_text_counts_as_if_it_were_there_so_often(
    weight: float, times: tuple[int, int], old: Path, new: Path, tmp_path: Path
):
    first = api.train("ngram", old, out=tmp_path / "first", order=3, **BYTES)
    second = api.train(
        "ngram", new, out=tmp_path / "second", from_=first.folder, weight=weight, split="100/0/0"
    )
    copies = joined(tmp_path, *[old] * times[0], *[new] * times[1])
    both = api.train("ngram", copies, out=tmp_path / "both", order=3, **BYTES)
    text = second.tokenizer.encode(new.read_text(encoding="utf-8")[:200])
    np.testing.assert_allclose(second.model.score(text), both.model.score(text), rtol=1e-6)


def test_a_third_text_counts_beside_both_before_it(old: Path, new: Path, tmp_path: Path):
    api.train("bigram", old, out=tmp_path / "1", **BYTES)
    api.train("bigram", new, out=tmp_path / "2", from_=tmp_path / "1", weight=0.5, split="100/0/0")
    third = api.train("bigram", old, out=tmp_path / "3", from_=tmp_path / "2", weight=2, split="100/0/0")
    both = api.train("bigram", joined(tmp_path, old, old, new, old, old), out=tmp_path / "all", **BYTES)
    np.testing.assert_array_equal(third.model.counts, both.model.counts)


@pytest.mark.parametrize("name", RUNGS)
def test_weights_shape_and_tokeniser_are_the_parent_s(name: str, old: Path, new: Path, tmp_path: Path):
    """A step at a rate of next to nothing leaves it what it was, on the old text and the new one."""
    parent = api.train(name, old, out=tmp_path / "old", steps=6, batch_size=4, **RUNGS[name])
    events: list[Event] = []
    how = {"steps": 1, "batch_size": 4, "lr": 1e-12, "weight_decay": 0.0}
    child = api.train(name, new, out=tmp_path / "new", from_=parent.folder, on_event=events.append, **how)
    assert child.recipe["model"] == parent.recipe["model"]
    assert child.tokenizer.vocab_size == parent.tokenizer.vocab_size
    old_text, new_text = child.recipe["result"]["old_text"], child.recipe["result"]["new_text"]
    close = pytest.approx(old_text["before"]["bits_per_byte"], rel=2e-3)
    assert old_text["after"]["bits_per_byte"] == close  # statistics of BatchNorm are of the text
    assert rung.evaluate(parent).bits_per_byte == pytest.approx(old_text["before"]["bits_per_byte"])
    assert rung.evaluate(child).bits_per_byte == pytest.approx(new_text["after"]["bits_per_byte"])
    told = child.recipe["parent"]
    assert told["run"] == parent.folder.as_posix()
    assert told["sha256"] == hashlib.sha256((parent.folder / "model.safetensors").read_bytes()).hexdigest()
    assert not any("untrained" in event.text for event in events if isinstance(event, Note))


def test_the_new_text_is_learned_and_the_old_one_forgotten_and_both_are_told(
    old: Path, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    from rung.cli.app import main

    api.train("neural-bigram", old, out=tmp_path / "a", steps=60)
    new.write_text(
        old.read_text(encoding="utf-8")[::-1], encoding="utf-8"
    )  # the same letters, in other pairs
    words = ["train", "neural-bigram", str(new), "--from", str(tmp_path / "a"), "--out", str(tmp_path / "b")]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--steps", "60", "--json"])
    assert ended.value.code == 0
    said = json.loads(capsys.readouterr().out)
    assert said["new_text"]["after"]["bits_per_byte"] < said["new_text"]["before"]["bits_per_byte"]
    assert said["old_text"]["after"]["bits_per_byte"] > said["old_text"]["before"]["bits_per_byte"]


def test_the_rate_is_a_share_of_the_parent_s(old: Path, new: Path, tmp_path: Path):
    parent = api.train("lstm", old, out=tmp_path / "a", steps=2, lr=0.01, **RUNGS["lstm"])
    same = api.train("lstm", new, out=tmp_path / "b", steps=2, from_=parent.folder)
    assert same.recipe["training"]["lr"] == pytest.approx(0.003)
    given = api.train("lstm", new, out=tmp_path / "c", steps=2, from_=parent.folder, lr=0.02)
    assert given.recipe["training"]["lr"] == 0.02
    sgd = api.train("lstm", new, out=tmp_path / "d", steps=2, from_=parent.folder, optimizer="sgd")
    assert sgd.recipe["training"]["lr"] == pytest.approx(0.3)


def test_stopped_and_gone_on_with_it_needs_no_parent_any_more(old: Path, new: Path, tmp_path: Path):
    parent = api.train("gpt", old, out=tmp_path / "a", steps=4, **GPT)
    whole = api.train("gpt", new, out=tmp_path / "whole", from_=parent.folder, steps=12)
    stops = iter([False, False, True])
    part = api.train(
        "gpt", new, out=tmp_path / "part", from_=parent.folder, steps=12, stop=lambda: next(stops)
    )
    shutil.rmtree(parent.folder)
    part = api.resume(part.folder)
    assert (part.folder / "model.safetensors").read_bytes() == (
        whole.folder / "model.safetensors"
    ).read_bytes()
    assert "old_text" in whole.recipe["result"]
    assert "old_text" not in part.recipe["result"]
    assert part.recipe["result"]["new_text"] == whole.recipe["result"]["new_text"]


def test_a_parent_without_its_text_teaches_too(old: Path, new: Path, tmp_path: Path):
    parent = api.train("gpt", old, out=tmp_path / "a", steps=4, **GPT)
    shutil.rmtree(parent.folder / "data")
    events: list[Event] = []
    child = api.train("gpt", new, out=tmp_path / "b", from_=parent.folder, steps=4, on_event=events.append)
    assert any("came without its text" in event.text for event in events if isinstance(event, Note))
    assert child.recipe["result"].keys() >= {"new_text"}
    assert "old_text" not in child.recipe["result"]
    counted = api.train("bigram", old, out=tmp_path / "c")
    shutil.rmtree(counted.folder / "data")
    with pytest.raises(UserError, match="came without its own text"):
        api.train("bigram", new, out=tmp_path / "d", from_=counted.folder)


def test_dropout_is_one_s_own_affair(old: Path, new: Path, tmp_path: Path):
    parent = api.train("gpt", old, out=tmp_path / "a", steps=4, **GPT)
    child = api.train("gpt", new, out=tmp_path / "b", steps=4, from_=parent.folder, dropout=0.2)
    assert child.recipe["model"]["config"] == parent.recipe["model"]["config"] | {"dropout": 0.2}


def test_what_cannot_be_says_so_in_one_line(old: Path, new: Path, tmp_path: Path):
    gpt = api.train("gpt", old, out=tmp_path / "gpt", steps=2, **GPT)
    counted = api.train("ngram", old, out=tmp_path / "ngram", order=2)
    infinite = api.train("infinigram", old, out=tmp_path / "infinigram", order=2)
    cases: list[tuple[str, dict[str, Any], str]] = [
        (
            "gpt",
            {"n_layer": 2},
            r"--n-layer 2 does not go with --from .*: its weights have 1|whose weights have 1",
        ),
        ("gpt", {"tokenizer": "bpe"}, r"--tokenizer bpe does not go with --from"),
        ("gpt", {"vocab_size": 7}, r"--vocab-size 7 does not go with --from"),
        ("gpt", {"weight": 2}, r"--weight is for what is counted"),
        ("lstm", {}, r"is a gpt, not a lstm: rung train gpt DATA --from"),
        ("ngram", {"from_": counted.folder, "weight": 1.5}, r"--weight 1.5 is not possible"),
        ("ngram", {"from_": counted.folder, "weight": -1}, r"--weight -1 is not possible"),
        ("ngram", {"from_": None, "weight": 2}, r"give --from RUN"),
        ("infinigram", {"from_": infinite.folder, "weight": 2}, r"--weight does not go with infinigram"),
        ("gpt", {"from_": tmp_path / "none"}, r"there is no run folder"),
        ("gpt", {"out": gpt.folder, "force": True}, r"would overwrite"),
    ]
    for name, how, says in cases:
        with pytest.raises(UserError, match=says):
            api.train(name, new, **{"from_": gpt.folder, "out": tmp_path / "x", **how})
        assert not (tmp_path / "x").exists()
    assert rung.evaluate(gpt.folder).bits_per_byte > 0


def test_a_parent_that_is_another_by_now_is_refused(old: Path, new: Path, tmp_path: Path):
    parent = api.train("gpt", old, out=tmp_path / "a", steps=2, **GPT)

    def fail(event: Event) -> None:
        if isinstance(event, Step):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        api.train("gpt", new, out=tmp_path / "b", steps=9, from_=parent.folder, on_event=fail)
    # Nothing was kept of a run that had no checkpoint.
    assert not (tmp_path / "b").exists()
    stops = iter([True])
    part = api.train("gpt", new, out=tmp_path / "b", steps=9, from_=parent.folder, stop=lambda: next(stops))
    shutil.rmtree(part.folder / "checkpoints")
    api.train("gpt", old, out=parent.folder, steps=3, force=True, **GPT)
    with pytest.raises(UserError, match="not the run any more"):
        api.resume(part.folder)
