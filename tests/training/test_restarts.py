"""Random restarts: as many trainings as asked for, the best one kept, the others told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rung
from rung import api
from rung.errors import UserError
from rung.events import Event, Finished, Note
from rung.text.corpus import prepare
from rung.training import restarts
from rung.training.config import TrainingConfig
from tests.text_made import sentences

TINY: dict[str, Any] = {"n_layer": 1, "n_head": 2, "n_embd": 8, "context": 8, "batch_size": 4, "steps": 6}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(sentences(200), encoding="utf-8")
    return path


def test_the_best_of_three_seeds_is_kept(text: Path, tmp_path: Path):
    alone = {seed: api.train("gpt", text, out=tmp_path / str(seed), seed=seed, **TINY) for seed in (5, 6, 7)}
    losses = {seed: run.recipe["result"]["validation"]["nats_per_token"] for seed, run in alone.items()}
    best = min(losses, key=losses.__getitem__)
    events: list[Event] = []
    run = api.train("gpt", text, out=tmp_path / "r", seed=5, restarts=3, **TINY, on_event=events.append)
    told = {entry["seed"]: entry["validation"]["nats_per_token"] for entry in run.recipe["restarts"]}
    assert told == pytest.approx(losses)
    assert [entry["seed"] for entry in run.recipe["restarts"] if entry["kept"]] == [best]
    kept = (run.folder / "model.safetensors").read_bytes()
    assert kept == (alone[best].folder / "model.safetensors").read_bytes()
    assert run.recipe["result"]["validation"]["nats_per_token"] == pytest.approx(losses[best])
    assert run.recipe["result"]["train_tokens"] == sum(
        other.recipe["result"]["train_tokens"] for other in alone.values()
    )
    assert sum(isinstance(event, Finished) for event in events) == 3
    lines = [json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]
    for seed in losses:
        said = f"seed {seed} has {losses[seed]:.4f} nats"
        assert any(said in event.text for event in events if isinstance(event, Note))
        assert any(said in line["text"] for line in lines if line["kind"] == "note")
    assert sum(line["kind"] == "finished" for line in lines) == 1
    assert not (run.folder / "restarts").exists()
    with pytest.raises(UserError, match="finished already"):
        api.resume(run.folder)


def test_stopped_in_the_second_restart_and_gone_on_with_ends_the_same(text: Path, tmp_path: Path):
    whole = api.train("gpt", text, out=tmp_path / "whole", restarts=3, **TINY)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 8  # five times a training of six steps, so in the second

    part = api.train("gpt", text, out=tmp_path / "part", restarts=3, **TINY, stop=stop)
    assert part.recipe["status"] == "training"
    part = api.resume(part.folder)
    for ours, theirs in zip(part.recipe["restarts"], whole.recipe["restarts"], strict=True):
        assert (ours["seed"], ours["kept"]) == (theirs["seed"], theirs["kept"])
        assert ours["validation"]["nats_per_token"] == pytest.approx(theirs["validation"]["nats_per_token"])
    assert (part.folder / "model.safetensors").read_bytes() == (
        whole.folder / "model.safetensors"
    ).read_bytes()
    assert rung.load(part.folder).recipe["status"] == "finished"


def test_restarts_that_cannot_be(text: Path, tmp_path: Path):
    corpus = prepare(str(text), tmp_path / "data")
    parts = {part: counts for part, counts in corpus.facts["parts"].items() if part != "validation"}
    corpus = replace(corpus, streams={"train": corpus.train}, facts={**corpus.facts, "parts": parts})
    with pytest.raises(UserError, match="--restarts keeps the best by validation text"):
        next(restarts.start("neural-bigram", corpus, tmp_path / "a", training=TrainingConfig(restarts=2)))
    with pytest.raises(UserError, match="--restarts 0"):
        api.train("gpt", text, out=tmp_path / "b", restarts=0, **TINY)
    with pytest.raises(UserError, match="all 2 restarts"):
        api.train("gpt", text, out=tmp_path / "c", restarts=2, lr=1e30, clip=0, **TINY)


def test_restarts_take_an_older_runs_place(text: Path, tmp_path: Path):
    """With the first checkpoint of the first, the data move to where the older run's were."""
    api.train("bigram", text, out=tmp_path / "r")
    run = api.train("gpt", text, out=tmp_path / "r", force=True, restarts=2, **TINY)
    anew = api.train("gpt", text, out=tmp_path / "anew", restarts=2, **TINY)
    assert (run.folder / "model.safetensors").read_bytes() == (anew.folder / "model.safetensors").read_bytes()
    assert run.corpus.facts == anew.corpus.facts
