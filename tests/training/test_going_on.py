"""Going on past a budget: left alone or cut short, it ends the same, and nothing that was good is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rung
from rung import api
from rung.errors import UserError
from rung.events import Checkpoint, Evaluation, Event, Note, Step
from rung.training.config import TrainingConfig
from rung.training.going_on import Continuation, schedule_of
from rung.training.schedules import SCHEDULES
from tests.text_made import sentences

GPT: dict[str, Any] = {"n_layer": 1, "n_head": 2, "n_embd": 8, "context": 8, "batch_size": 4, "ngrams": 0}
RUNGS: dict[str, dict[str, Any]] = {
    "gpt": {**GPT, "dropout": 0.1, "average": 0.9},
    "lstm": {"n_embd": 8, "n_hidden": 8, "batch_size": 4},
    "scratch-rnn": {"n_embd": 8, "n_hidden": 8, "batch_size": 4},
}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(sentences(200), encoding="utf-8")
    return path


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def after(n: int):
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == n

    return stop


@pytest.mark.parametrize("name", RUNGS)
def test_with_a_constant_rate_two_budgets_are_the_one_they_come_to(name: str, text: Path, tmp_path: Path):
    how = {**RUNGS[name], "schedule": "constant", "warmup": 0.0, "eval_every": 4}
    whole = api.train(name, text, out=tmp_path / "whole", steps=16, **how)
    parts = api.train(name, text, out=tmp_path / "parts", steps=8, **how)
    parts = api.resume(parts.folder, steps=16)
    assert weights(parts.folder) == weights(whole.folder)
    assert parts.recipe["result"]["steps"] == 16
    assert parts.recipe["training"]["steps"] == 16
    assert parts.recipe["continued"][0]["budget"] == {"steps": 8, "tokens": None, "minutes": None}


@pytest.mark.parametrize("name", RUNGS)
def test_stopped_past_its_budget_and_gone_on_with_it_ends_the_same(name: str, text: Path, tmp_path: Path):
    how = {**RUNGS[name], "warmup": 0.3, "checkpoint_every": 3}
    api.train(name, text, out=tmp_path / "whole", steps=8, **how)
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    whole = api.resume(tmp_path / "whole", steps=24)
    stopped = api.resume(tmp_path / "parts", steps=24, stop=after(5))
    assert stopped.recipe["status"] == "training"
    parts = api.resume(stopped.folder)
    assert weights(parts.folder) == weights(whole.folder)
    lines = [json.loads(line) for line in (parts.folder / "events.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if line["kind"] == "step"]
    assert steps == sorted(set(steps))


def test_killed_past_its_budget_and_gone_on_with_it_ends_the_same(text: Path, tmp_path: Path):
    """SIGKILL: before the first new checkpoint the run is what it was; after it, it goes on. Bit for bit."""
    api.train("gpt", text, out=tmp_path / "whole", steps=8, checkpoint_every=5, **RUNGS["gpt"])
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    finished = weights(tmp_path / "killed")
    api.resume(tmp_path / "whole", steps=20)
    child = (
        "import os, signal, sys\nfrom rung import api\nfrom rung.events import Step\n"
        "def die(event):\n"
        "    if isinstance(event, Step) and event.step == int(sys.argv[2]):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "api.resume(sys.argv[1], steps=int(sys.argv[3]) or None, on_event=die)\n"
    )
    for at, steps in ((9, 20), (13, 20), (17, 0)):
        command = [sys.executable, "-c", child, str(tmp_path / "killed"), str(at), str(steps)]
        assert subprocess.run(command, env=os.environ, check=False).returncode == -signal.SIGKILL
        if at == 9:
            assert weights(tmp_path / "killed") == finished
            assert rung.load(tmp_path / "killed").recipe["status"] == "finished"
    killed = api.resume(tmp_path / "killed")
    assert weights(killed.folder) == weights(tmp_path / "whole")


def test_a_checkpoint_without_its_recipe_makes_no_difference(text: Path, tmp_path: Path):
    """Killed between the two: the same command goes on from the checkpoint as if it had gone through."""
    run = api.train("gpt", text, out=tmp_path / "r", steps=8, checkpoint_every=5, **GPT)
    recipe, model = (run.folder / "run.json").read_bytes(), weights(run.folder)
    api.resume(run.folder, steps=20, stop=after(4))
    (run.folder / "run.json").write_bytes(recipe)
    (run.folder / "model.safetensors").write_bytes(model)
    shutil.copytree(run.folder, tmp_path / "again")
    first = api.resume(run.folder, steps=20)
    assert first.recipe["continued"][0]["step"] == 8
    whole = api.train("gpt", text, out=tmp_path / "whole", steps=8, **GPT)
    assert weights(api.resume(whole.folder, steps=20).folder) == weights(first.folder)


def test_what_fails_past_the_budget_leaves_the_run_as_it_was(text: Path, tmp_path: Path):
    run = api.train("gpt", text, out=tmp_path / "r", steps=8, **GPT)
    before = {name: (run.folder / name).read_bytes() for name in ("run.json", "model.safetensors")}

    def fail(event: Event) -> None:
        if isinstance(event, Step) and event.step == 10:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        api.resume(run.folder, steps=40, on_event=fail)
    assert {name: (run.folder / name).read_bytes() for name in before} == before
    assert rung.evaluate(run.folder).bits_per_byte > 0


@pytest.mark.parametrize("name", ["gpt", "scratch-rnn"])
def test_a_stopped_run_is_closed_as_it_is(name: str, text: Path, tmp_path: Path):
    events: list[Event] = []
    how = {**RUNGS[name], "steps": 40, "eval_every": 10}
    run = api.train(name, text, out=tmp_path / "r", stop=after(24), on_event=events.append, **how)
    with pytest.raises(UserError, match=r"resume .*--finish"):
        rung.evaluate(run)
    run = api.resume(run.folder, finish=True, on_event=events.append)
    evaluations = [event for event in events if isinstance(event, Evaluation)]
    assert [event.step for event in evaluations] == [10, 20, 24]
    best = min(evaluations, key=lambda event: event.nats_per_target)
    assert rung.evaluate(run, split="validation").bits_per_byte == pytest.approx(best.bits_per_unit, rel=1e-5)
    told = [event.text for event in events if isinstance(event, Note)]
    assert any(
        f"closed at step 24, before its budget was spent: the model is that of step {best.step}" in t
        for t in told
    )
    assert (run.recipe["result"]["reason"], run.recipe["result"]["steps"]) == ("closed", 24)
    # And it can still be opened again.
    assert api.resume(run.folder, steps=30).recipe["result"]["steps"] == 30


def test_a_stopped_run_gets_another_budget(text: Path, tmp_path: Path):
    run = api.train("gpt", text, out=tmp_path / "r", steps=1000, stop=after(5), **GPT)
    run = api.resume(run.folder, steps=12)
    assert (run.recipe["status"], run.recipe["result"]["steps"]) == ("finished", 12)


def test_patience_is_new_and_evaluations_are_due_by_the_new_budget(text: Path, tmp_path: Path):
    run = api.train("gpt", text, out=tmp_path / "r", steps=10, **GPT)
    events: list[Event] = []
    api.resume(run.folder, steps=20, on_event=events.append)
    assert [event.step for event in events if isinstance(event, Evaluation)] == [12, 16, 20]
    assert sum(isinstance(event, Checkpoint) for event in events) == 3


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_gone_on_with_has_no_jump_and_ends_where_it_should(name: str):
    """From the rate at which training stood; the stretched ones then are those of a run with this budget."""
    training = TrainingConfig(steps=300, schedule=name, warmup=0.1, min_lr=0.2)
    first = SCHEDULES[name]
    rate = first(1.0, warmup=0.1, floor=0.2)
    factor = schedule_of(training, Continuation(100, 0, 0.0, {}, share=1 / 3, rate=rate, at=1.0))
    at = [factor(p, warmup=0.1, floor=0.2) for p in np.linspace(1 / 3, 1, 2001)]
    assert at[0] == pytest.approx(rate)
    if name != "step":
        assert max(abs(np.diff(at))) < 0.02
    if name in ("constant", "inverse-root"):
        # A shorter budget's warm-up is over; a longer one doesn't bring it back.
        assert all(a >= b for a, b in pairwise(at))
        assert at[-1] == pytest.approx(1 if name == "constant" else max(0.2, 1 / np.sqrt(1 + 2.9 / 0.1)))
    else:
        assert at[-1] == pytest.approx(first(1.0, warmup=0.1, floor=0.2))
        assert at[1000] == pytest.approx(first(2 / 3, warmup=0.1, floor=0.2))


def test_what_cannot_go_on_says_so(text: Path, tmp_path: Path):
    counted = api.train("bigram", text, out=tmp_path / "bigram")
    with pytest.raises(UserError, match=r"not trained step by step.*--from"):
        api.resume(counted.folder, steps=10)
    with pytest.raises(UserError, match="not trained step by step"):
        api.resume(counted.folder, finish=True)
    run = api.train("gpt", text, out=tmp_path / "gpt", steps=8, **GPT)
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "--steps 16"),
        ({"finish": True}, "finished already"),
        ({"steps": 8}, "has spent that already: 8 steps"),
        ({"steps": 0}, "--steps 0 is not possible"),
        ({"steps": 20, "finish": True}, "leave out --steps"),
    ]
    for how, says in cases:
        with pytest.raises(UserError, match=says):
            api.resume(run.folder, **how)
    shutil.rmtree(run.folder / "checkpoints")
    with pytest.raises(UserError, match=r"no checkpoint.*--from"):
        api.resume(run.folder, steps=20)
    best = api.train("gpt", text, out=tmp_path / "best", steps=8, restarts=2, **GPT)
    with pytest.raises(UserError, match="--restarts"):
        api.resume(best.folder, steps=20)
