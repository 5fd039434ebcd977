"""Training: it learns, it tells, it resumes to the very bit, it survives NaN."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rung
from rung import api
from rung.errors import UserError
from rung.events import Checkpoint, Evaluation, Event, Finished, Sample, Step
from rung.training.config import TrainingConfig
from tests.text_made import sentences

TINY: dict[str, Any] = {"n_layer": 1, "n_head": 2, "n_embd": 16, "context": 16, "batch_size": 4}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(sentences(300), encoding="utf-8")
    return path


def test_a_training_is_told_as_events_and_the_best_evaluation_is_kept(text: Path, tmp_path: Path):
    events: list[Event] = []
    run = api.train("gpt", text, out=tmp_path / "run", steps=40, **TINY, on_event=events.append)
    assert [e.step for e in events if isinstance(e, Step)] == list(range(1, 41))
    evaluations = [e for e in events if isinstance(e, Evaluation)]
    assert [e.step for e in evaluations] == [8, 16, 24, 32, 40]
    assert any(isinstance(e, Sample) for e in events)
    assert any(isinstance(e, Checkpoint) for e in events)
    assert sum(isinstance(e, Finished) for e in events) == 1
    assert evaluations[-1].nats_per_token < evaluations[0].nats_per_token
    # What is on disk is the best of the evaluations, measured again by other means.
    best = min(e.bits_per_byte for e in evaluations)
    assert rung.evaluate(run, split="validation").bits_per_byte == pytest.approx(best, rel=1e-5)
    on_disk = [json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]
    assert [e["step"] for e in on_disk if e["kind"] == "evaluation"] == [e.step for e in evaluations]


def test_the_learning_rate_rises_then_falls(text: Path, tmp_path: Path):
    events: list[Event] = []
    api.train(
        "gpt", text, out=tmp_path / "run", steps=40, warmup=0.25, min_lr=0.1, **TINY, on_event=events.append
    )
    rates = [e.learning_rate for e in events if isinstance(e, Step)]
    assert np.argmax(rates) in (9, 10)
    assert all(a < b for a, b in pairwise(rates[:10]))
    assert all(a > b for a, b in pairwise(rates[11:]))
    assert rates[-1] == pytest.approx(0.1 * max(rates), rel=0.05)


def test_accumulating_two_batches_is_one_batch_of_both(text: Path, tmp_path: Path):
    """The gradient of both halves, weighted by tokens, is the gradient of the whole, up to rounding."""
    whole = api.train("gpt", text, out=tmp_path / "a", steps=5, **{**TINY, "batch_size": 8})
    halves = api.train("gpt", text, out=tmp_path / "b", steps=5, accumulate=2, **TINY)
    a, b = whole.model.tensors(), halves.model.tensors()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], atol=2e-4)


def test_rows_of_ngrams_are_dropped_from_the_second_epoch_on(text: Path, tmp_path: Path):
    """One epoch, the same with and without dropout; a little more, not the same."""
    one = api.train("ngram", text, out=tmp_path / "counted").corpus.train.n_tokens
    for tokens, same in ((one - 64, True), (one + 640, False)):
        runs = [
            api.train(
                "gpt", text, out=tmp_path / f"{tokens}-{share}", tokens=tokens, ngram_dropout=share, **TINY
            )
            for share in (0.0, 0.5)
        ]
        a, b = (run.model.tensors() for run in runs)
        assert all(np.array_equal(a[name], b[name]) for name in a) == same


def test_patience_ends_a_training_that_no_longer_gets_better(text: Path, tmp_path: Path):
    events: list[Event] = []
    api.train(
        "neural-bigram",
        text,
        out=tmp_path / "r",
        steps=5000,
        eval_every=20,
        patience=2,
        lr=0.3,
        on_event=events.append,
    )
    finished = next(e for e in events if isinstance(e, Finished))
    assert finished.reason == "patience"
    assert finished.step < 5000
    assert [e.best for e in events if isinstance(e, Evaluation)][-2:] == [False, False]


def test_neural_bigram_reaches_the_counted_one(text: Path, tmp_path: Path):
    counted = api.train("bigram", text, out=tmp_path / "counted", add_k=0.01)
    neural = api.train("neural-bigram", text, out=tmp_path / "neural", steps=300)
    a = rung.evaluate(counted, split="train").bits_per_byte
    b = rung.evaluate(neural, split="train").bits_per_byte
    assert b == pytest.approx(a, rel=0.01)


def test_a_diverged_training_keeps_the_best_model_and_says_so(text: Path, tmp_path: Path):
    """Ten good steps, then a learning rate that no weight survives."""
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps == 10

    run = api.train("gpt", text, out=tmp_path / "r", steps=60, eval_every=5, clip=0, **TINY, stop=stop)
    recipe = json.loads((run.folder / "run.json").read_text())
    recipe["training"]["lr"] = 1e30
    (run.folder / "run.json").write_text(json.dumps(recipe))
    with pytest.raises(UserError, match="diverged"):
        api.resume(run.folder)
    run = rung.load(run.folder)
    assert run.recipe["result"]["reason"] == "diverged"
    assert np.isfinite(rung.evaluate(run).bits_per_byte)


@pytest.mark.parametrize("rung_name", ["neural-bigram", "scratch-bigram"])
def test_a_loss_far_above_an_even_guess_is_divergence(text: Path, tmp_path: Path, rung_name: str):
    """Logits of 1e4 are finite, and so is their loss, thousands of nats; an even guess has ln V, below 6."""
    for number, steps in enumerate((1, 5)):  # found by the last evaluation, and by one on the way
        out = tmp_path / str(number)
        with pytest.raises(UserError, match="diverged"):
            api.train(rung_name, text, out=out, steps=steps, lr=1e4, schedule="constant")


def test_a_training_that_diverges_at_once_keeps_nothing_and_says_so(text: Path, tmp_path: Path):
    with pytest.raises(UserError, match="nothing was kept"):
        api.train("gpt", text, out=tmp_path / "r", steps=60, lr=1e30, clip=0, **TINY)
    assert not (tmp_path / "r").exists()


def test_ctrl_c_saves_a_checkpoint_and_the_rest_is_the_same(text: Path, tmp_path: Path):
    whole = api.train("gpt", text, out=tmp_path / "whole", steps=30, dropout=0.1, **TINY)
    seen = 0

    def stop() -> bool:
        nonlocal seen
        seen += 1
        return seen == 11

    part = api.train("gpt", text, out=tmp_path / "part", steps=30, dropout=0.1, **TINY, stop=stop)
    assert part.recipe["status"] == "training"
    assert not (part.folder / "model.safetensors").exists()
    with pytest.raises(UserError, match="resume"):
        _ = part.model
    api.resume(part.folder)
    assert (part.folder / "model.safetensors").read_bytes() == (
        whole.folder / "model.safetensors"
    ).read_bytes()
    with pytest.raises(UserError, match="finished already"):
        api.resume(part.folder)


def test_killed_at_random_moments_and_resumed_it_ends_with_the_same_weights(text: Path, tmp_path: Path):
    """SIGKILL, several times, wherever it hits; then one that is left alone. Bit for bit."""
    settings = ["--steps", "120", "--checkpoint-every", "3", "--eval-every", "10", "--dropout", "0.1"]
    shape = ["--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--context", "16", "--batch-size", "4"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "rung", "train", *arguments, "--quiet"]

    subprocess.run(
        command("gpt", str(text), "--out", str(tmp_path / "whole"), *settings, *shape),
        check=True,
        env=environment,
    )
    interrupted = tmp_path / "killed"
    rng = random.Random(5)
    first = command("gpt", str(text), "--out", str(interrupted), *settings, *shape)
    kills = 0
    for attempt in range(40):
        process = subprocess.Popen(
            first if attempt == 0 else command("--resume", str(interrupted)),
            env=environment,
            stderr=subprocess.PIPE,
        )
        # Wait for the recipe, then for a checkpoint to change, then a random moment more.
        watched = interrupted / "checkpoints" / "last.safetensors"
        before = watched.stat().st_mtime_ns if watched.exists() else 0
        while process.poll() is None and (not watched.exists() or watched.stat().st_mtime_ns == before):
            time.sleep(0.002)
        time.sleep(rng.random() * 0.1)
        if kills < 3 and process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        _, stderr = process.communicate()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, stderr.decode()
    assert kills == 3
    whole = (tmp_path / "whole" / "model.safetensors").read_bytes()
    assert (interrupted / "model.safetensors").read_bytes() == whole


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("lr", -1.0),
        ("lr", float("nan")),
        ("optimizer", "adamm"),
        ("warmup", 2.0),
        ("batch_size", 0),
    ],
)
def test_impossible_training_settings_are_refused_by_name(name, value):
    with pytest.raises(UserError, match="--" + name.replace("_", "-")):
        TrainingConfig(**{name: value})
