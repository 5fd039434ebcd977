"""Checks of a training's health, the mean of its weights, and what its curves are called."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import rung
from rung import api
from rung.errors import UserError
from rung.events import Evaluation, Event, Note
from rung.tasks.language import lowest_loss
from rung.tensors import load_tensors
from rung.training import health
from rung.training.averaging import Average
from rung.training.config import TrainingConfig
from rung.training.diagnosis import diagnose
from tests.text_made import sentences

TINY: dict[str, Any] = {"n_layer": 1, "n_head": 2, "n_embd": 16, "context": 16, "batch_size": 4}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(sentences(200), encoding="utf-8")
    return path


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Note)]


def test_the_first_loss_is_that_of_an_even_guess_or_something_is_wrong():
    assert health.first_loss(math.log(27), 27) is None
    assert health.first_loss(1.09 * math.log(27), 27) is None
    # makemore's first MLP, before its initialisation was mended, began at 27 where ln 27 = 3.296.
    said = health.first_loss(27.0, 27)
    assert said is not None
    assert "3.296" in said
    assert "too large" in said
    assert "leak" in (health.first_loss(2.0, 27) or "")


def test_a_fresh_rung_begins_as_it_should(text: Path, tmp_path: Path):
    for name, shape in (("gpt", TINY), ("neural-bigram", {})):
        events: list[Event] = []
        api.train(name, text, out=tmp_path / name, steps=1, **shape, on_event=events.append)
        assert not any("first loss" in note for note in notes(events))


def test_a_head_that_begins_too_large_is_told(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from rung.models.networks.neural_bigram import BigramTable

    monkeypatch.setattr(
        BigramTable, "init_weights", lambda self, generator: self.weight.normal_(0, 10, generator=generator)
    )
    events: list[Event] = []
    api.train("neural-bigram", text, out=tmp_path / "r", steps=2, on_event=events.append)
    assert sum("too large" in note for note in notes(events)) == 1


def test_the_lowest_loss_on_paper():
    """Rows ab, ab, ac, bc with mark 9: after 9 comes a, a, a, b; after 9a comes b, b, c; after 9b comes c."""
    inputs = np.array([[9, 0], [9, 0], [9, 0], [9, 1]])
    targets = np.array([[0, 1], [0, 1], [0, 2], [1, 2]])
    first = 3 * math.log(4 / 3) + math.log(4)
    second = 2 * math.log(3 / 2) + math.log(3)
    assert lowest_loss(inputs, targets, None) == pytest.approx((first + second) / 8)
    # Padding is no target: without the last of the third row, b is certain after 9a.
    targets[2, 1] = -1
    assert lowest_loss(inputs, targets, None) == pytest.approx(first / 7)
    # Seen with one input of history before each, the firsts differ: 5, 6, 7, 8 tell the rows apart.
    longer = np.concatenate([np.array([[5], [6], [7], [8]]), inputs], axis=1)
    assert lowest_loss(longer, targets, 2) == pytest.approx(0.0)
    assert lowest_loss(longer, targets, 1) == pytest.approx(first / 7)


def test_one_batch_is_learnt_by_heart_and_the_run_says_what_it_is(text: Path, tmp_path: Path):
    events: list[Event] = []
    shape = {**TINY, "n_embd": 32}
    run = api.train(
        "gpt",
        text,
        out=tmp_path / "a",
        steps=150,
        lr=0.01,
        overfit_one_batch=True,
        **shape,
        on_event=events.append,
    )
    assert any("learnt by heart, so the model can learn" in note for note in notes(events))
    assert run.recipe["training"]["overfit_one_batch"] == run.recipe["training"]["batch_size"] == 4
    assert not any(isinstance(event, Evaluation) for event in events)
    events.clear()
    api.train(
        "gpt", text, out=tmp_path / "b", steps=5, overfit_one_batch=True, **TINY, on_event=events.append
    )
    assert any("not learnt by heart" in note and "--find-lr" in note for note in notes(events))


def test_a_table_reaches_the_lowest_loss_there_is(text: Path, tmp_path: Path):
    """A bigram cannot get near zero on a batch, only to the entropy of its pairs, and is not blamed for it."""
    events: list[Event] = []
    api.train(
        "neural-bigram", text, out=tmp_path / "r", steps=300, overfit_one_batch=True, on_event=events.append
    )
    assert any("learnt by heart, so the model can learn" in note for note in notes(events))


def test_memory_that_is_not_there_is_one_line(text: Path, tmp_path: Path):
    """4 x 10^14 weights a matrix are beyond any address space."""
    with pytest.raises(UserError, match="out of memory: lower --batch-size"):
        api.train("gpt", text, out=tmp_path / "r", steps=1, n_layer=1, n_head=2, n_embd=20_000_000, context=8)
    with pytest.raises(UserError, match="out of memory: lower --batch-size"):
        api.train("neural-bigram", text, out=tmp_path / "b", steps=1, batch_size=10**12)
    with (
        pytest.raises(UserError, match="--batch-size"),
        health.explaining_out_of_memory(TrainingConfig(batch_size=7)),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
    with pytest.raises(RuntimeError, match="another"), health.explaining_out_of_memory(TrainingConfig()):
        raise RuntimeError("another fault")


def test_the_mean_of_the_weights_on_paper():
    """Decays 2/11 after the first step and, with 0.2 asked for, 0.2 after the second."""
    network = nn.Linear(1, 1, bias=False)
    weight = network.weight
    with torch.no_grad():
        weight.fill_(5.0)
    average = Average(network, 0.2)
    with torch.no_grad():
        weight.fill_(1.0)
    average.update(1)
    first = 2 / 11 * 5.0 + 9 / 11 * 1.0
    assert average.tensors["weight"].item() == pytest.approx(first)
    with torch.no_grad():
        weight.fill_(3.0)
    average.update(2)
    assert average.tensors["weight"].item() == pytest.approx(0.2 * first + 0.8 * 3.0)
    with average.in_place():
        assert weight.item() == pytest.approx(0.2 * first + 0.8 * 3.0)
    assert weight.item() == 3.0


def test_the_mean_is_evaluated_kept_and_survives_a_stop(text: Path, tmp_path: Path):
    settings_: dict[str, Any] = {**TINY, "steps": 20, "eval_every": 8, "average": 0.9}
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps == 11

    events: list[Event] = []
    whole = api.train("gpt", text, out=tmp_path / "whole", **settings_, on_event=events.append)
    part = api.train("gpt", text, out=tmp_path / "part", **settings_, stop=stop)
    part = api.resume(part.folder)
    assert (whole.folder / "model.safetensors").read_bytes() == (
        part.folder / "model.safetensors"
    ).read_bytes()
    best = min(event.bits_per_byte for event in events if isinstance(event, Evaluation))
    assert rung.evaluate(whole, split="validation").bits_per_byte == pytest.approx(best, rel=1e-5)
    # The last evaluation was the best, so what was kept is the last mean, not the last weights.
    last, _ = load_tensors(whole.folder / "checkpoints/last.safetensors")
    kept = whole.model.tensors()
    for name, tensor in kept.items():
        np.testing.assert_array_equal(tensor, last[f"average.{name}"])
    assert any(not np.array_equal(tensor, last[f"model.{name}"]) for name, tensor in kept.items())


@pytest.mark.parametrize(
    ("train", "validation", "says"),
    [
        (
            [3.0, 2.0, 1.5, 1.2],
            [3.0, 2.4, 2.5, 2.7],
            "overfit: validation loss was lowest at evaluation 2 of 4",
        ),
        ([3.0, 2.5, 2.3, 2.2], [3.1, 2.6, 2.45, 2.35], "underfit: training and validation loss"),
        ([3.0, 2.451, 2.450, 2.450], [3.0, 2.44, 2.439, 2.439], "underfit: training loss (2.450"),
        # It has learnt what it can, and what it learnt carries over.
        ([3.0, 2.2, 2.100, 2.099], [3.0, 2.3, 2.250, 2.249], None),
        # Validation rose, but so did training: a learning rate that is too high; not overfitting.
        ([3.0, 2.0, 2.6, 2.7], [3.0, 2.1, 2.7, 2.8], "diverged: training loss rose from 2.000 to 2.700"),
        # Both still fall, from far above an even guess among 55: that is said first.
        ([9.0, 8.0, 7.0], [9.0, 8.0, 7.0], "diverged: validation loss ended at 7.000"),
        ([3.0, 1.0], [3.0, 4.0], None),
        ([], [], None),
    ],
)
def test_curves_are_named(train: list[float], validation: list[float], says: str | None):
    said = diagnose(train, validation, even=4.0)
    assert said is None if says is None else said is not None and said.startswith(says)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 20)), max_size=8))
def test_any_curves_get_one_name_or_none(curves: list[tuple[float, float]]):
    said = diagnose([a for a, _ in curves], [b for _, b in curves])
    assert said is None or said.split(":")[0] in ("diverged", "overfit", "underfit")


def test_an_overfit_run_is_called_one(tmp_path: Path):
    """Letters drawn at random: there is nothing to learn but the training text itself."""
    path = tmp_path / "text.txt"
    path.write_text("".join(random.Random(0).choices("abcdefgh", k=1500)), encoding="utf-8")
    events: list[Event] = []
    run = api.train(
        "gpt", path, out=tmp_path / "r", steps=120, lr=0.01, **{**TINY, "n_embd": 64}, on_event=events.append
    )
    assert any(note.startswith("overfit") for note in notes(events))
    said = [json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]
    assert any(event["kind"] == "note" and event["text"].startswith("overfit") for event in said)


def test_batch_norms_statistics_are_averaged_as_torchs_own_averaging_does_it():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    decay = 2 / 11  # below what the first steps' warm-up allows, so that it is the decay of every step
    ours = Average(network, decay)
    theirs = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(decay), use_buffers=True
    )
    theirs.n_averaged += 1  # ours begins from the first weights, theirs would from the first update
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for step in range(1, 6):
        network(torch.randn(8, 3)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        ours.update(step)
        theirs.update_parameters(network)
    with ours.in_place():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                torch.testing.assert_close(tensor, theirs.module.state_dict()[name])
