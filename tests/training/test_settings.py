"""What a training can be told: of optimisers, presets, restarts near the best, one batch, sweeps, samples."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rung
from rung.cli import main
from rung.errors import UserError
from rung.events import Note, Step
from rung.models.transformer.decoder import GPT
from rung.training.config import TrainingConfig
from rung.training.optimizers import make_optimizer
from rung.training.sweep_options import SweepOptions
from tests.text_made import sentences

SMALL: dict[str, Any] = {"n_embd": 4, "n_hidden": 8, "batch_size": 4}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text(sentences(150), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "how", "theirs"),
    [
        ("momentum", {"momentum": 0.5}, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.5)),
        ("nesterov", {"momentum": 0.7}, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.7, nesterov=True)),
        ("nesterov", {"momentum": 0.0}, lambda p: torch.optim.SGD(p, lr=0.1)),
        (
            "adamw",
            {"beta1": 0.5, "beta2": 0.7, "eps": 1e-2},
            lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.5, 0.7), eps=1e-2, weight_decay=0.0),
        ),
        (
            "adam",
            {"beta1": 0.3, "beta2": 0.999, "eps": 1e-4},
            lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.3, 0.999), eps=1e-4),
        ),
    ],
)
def test_what_optimisers_are_told_is_what_torchs_are_told(name: str, how: dict[str, float], theirs: Any):
    def trained(make: Any) -> torch.Tensor:
        layer = nn.Linear(3, 2, bias=False)
        with torch.no_grad():
            layer.weight.copy_(torch.arange(6).reshape(2, 3) / 6)
        optimizer = make(layer)
        for step in range(20):
            optimizer.zero_grad()
            (layer(torch.full((1, 3), 1.0 + step % 3)) ** 2).sum().backward()
            optimizer.step()
        return layer.weight.detach()

    ours = trained(lambda layer: make_optimizer(name, layer, lr=0.1, weight_decay=0.0, **how))
    torch.testing.assert_close(ours, trained(lambda layer: theirs(layer.parameters())), atol=1e-6, rtol=0)


@pytest.mark.parametrize("rung_name", ["mlp", "scratch-mlp"])
def test_settings_reach_the_training(here: Path, rung_name: str):
    plain = rung.train(rung_name, "t.txt", out="a", steps=3)
    other = rung.train(rung_name, "t.txt", out="b", steps=3, beta1=0.2, eps=0.1)
    assert any(
        not np.array_equal(tensor, other.model.tensors()[name])
        for name, tensor in plain.model.tensors().items()
    )
    assert other.recipe["training"]["beta1"] == 0.2
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"momentum": 0.5}, "--momentum does not go with --optimizer adamw"),
        ({"eps": -1.0}, "--eps"),
    ]
    for how, says in wrong:
        with pytest.raises(UserError, match=says):
            rung.train(rung_name, "t.txt", out="c", steps=1, **how)
    with pytest.raises(UserError, match="--beta1 does not go with --optimizer sgd"):
        TrainingConfig(optimizer="sgd", beta1=0.5)


def test_a_published_preset_is_trained_as_published_unless_told(here: Path):
    shape: dict[str, Any] = {"preset": "gpt1", "context": 8, "n_layer": 1, "n_head": 2, "n_embd": 8}
    run = rung.train("gpt", "t.txt", out="a", steps=1, **shape)
    training = run.recipe["training"]
    assert (training["lr"], training["batch_size"], training["schedule"]) == (2.5e-4, 64, "cosine")
    assert (training["weight_decay"], training["beta2"], run.config.dropout) == (0.01, 0.999, 0.1)
    told = rung.train("gpt", "t.txt", out="b", steps=1, lr=1e-3, schedule="constant", batch_size=2, **shape)
    training = told.recipe["training"]
    assert (training["lr"], training["batch_size"], training["schedule"]) == (1e-3, 2, "constant")
    ours = rung.train("gpt", "t.txt", out="c", steps=1, **{**shape, "preset": "plain"})
    assert ours.recipe["training"]["lr"] == GPT.training_defaults["lr"]
    assert ours.recipe["training"]["schedule"] == "linear"


@pytest.mark.parametrize("rung_name", ["mlp", "scratch-mlp"])
def test_restarts_near_the_best_begin_there(here: Path, rung_name: str):
    """With a rate of nearly nothing each restart ends where it began: near the first, at the distance of the noise."""
    how: dict[str, Any] = {"steps": 1, "lr": 1e-12, "restarts": 2, "restart_noise": 0.25, **SMALL}
    near = rung.train(rung_name, "t.txt", out="near", **how)
    first = rung.train(rung_name, "t.txt", out="first", **{**how, "restarts": 1, "restart_noise": None})
    entries = near.recipe["restarts"]
    assert [entry["seed"] for entry in entries] == [0, 1]
    if entries[1]["kept"]:
        apart = np.concatenate(
            [(near.model.tensors()[name] - tensor).ravel() for name, tensor in first.model.tensors().items()]
        )
        assert float(apart.std()) == pytest.approx(0.25, rel=0.1)
    with pytest.raises(UserError, match="--restart-noise goes with --restarts"):
        rung.train(rung_name, "t.txt", out="x", restart_noise=0.1)


def test_restarts_near_the_best_go_on_as_they_were(here: Path):
    how: dict[str, Any] = {"steps": 12, "restarts": 3, "restart_noise": 0.1, "checkpoint_every": 2, **SMALL}
    whole = rung.train("mlp", "t.txt", out="whole", **how)
    asked = count()
    rung.train("mlp", "t.txt", out="part", stop=lambda: next(asked) == 19, **how)
    part = rung.resume("part")
    weights = [(run.folder / "model.safetensors").read_bytes() for run in (whole, part)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("rung_name", ["mlp", "gru", "scratch-mlp", "gpt"])
def test_one_batch_of_so_many_examples_is_learned_and_nothing_is_kept(here: Path, rung_name: str):
    told: list[str] = []
    seen: list[int] = []

    def watch(event: Any) -> None:
        if isinstance(event, Note):
            told.append(event.text)
        if isinstance(event, Step) and not seen:
            seen.append(event.tokens)

    small: dict[str, Any] = {"gpt": {"n_layer": 1, "n_head": 2, "n_embd": 16, "context": 16}}.get(
        rung_name, {}
    )
    run = rung.train(rung_name, "t.txt", steps=2, overfit_one_batch=5, on_event=watch, **small)
    assert run.recipe["training"]["batch_size"] == 5
    if rung_name in ("mlp", "scratch-mlp"):
        assert seen == [5]  # a token and the block before it is an example
    assert run.model.n_parameters
    assert not Path("runs").exists()
    assert not run.folder.exists()


def test_one_batch_from_the_command_line(here: Path, capsys: pytest.CaptureFixture[str]):
    for flag in (["--overfit-one-batch"], ["--overfit-one-batch", "8"], ["--overfit-one-batch=8"]):
        with pytest.raises(SystemExit) as ended:
            main(["train", "mlp", "t.txt", *flag, "--steps", "2", "--json"])
        assert ended.value.code == 0
        assert json.loads(capsys.readouterr().out)["run"] is None
        assert not Path("runs").exists()


def test_a_sweep_goes_from_where_to_where_it_is_told(here: Path, capsys: pytest.CaptureFixture[str]):
    found = rung.find_lr("mlp", "t.txt", out="lr", lr_from=1e-3, lr_to=1.0, lr_steps=40)
    assert found is not None
    np.testing.assert_allclose(found.rates, np.geomspace(1e-3, 1.0, 41)[1 : 1 + len(found.rates)], rtol=0.2)
    assert len(found.rates) <= 40
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"lr_from": 1.0, "lr_to": 0.1}, "--lr-from 1 --lr-to 0.1"),
        ({"lr_steps": 2}, "--lr-steps 2"),
    ]
    for how, says in wrong:
        with pytest.raises(UserError, match=says):
            SweepOptions(**how)
    with pytest.raises(SystemExit) as ended:
        main(
            ["train", "mlp", "t.txt", "--find-lr", "--n-hidden", "8", "--vocabulary", "closed", "--out", "x"]
        )
    assert ended.value.code == 0
    assert "next: rung train mlp t.txt --n-hidden 8 --lr" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["train", "mlp", "t.txt", "--lr-from", "0.1"])
    assert ended.value.code == 2
    assert "--lr-from goes with --find-lr" in capsys.readouterr().err


def test_samples_begin_with_what_they_are_told(here: Path):
    rung.train("mlp", "t.txt", out="a", steps=10, sample_prompt="The qu", **SMALL)
    events = [json.loads(line) for line in Path("a/events.jsonl").read_text().splitlines()]
    samples = [event["text"] for event in events if event["kind"] == "sample"]
    assert samples
    assert all(text.startswith("The qu") for text in samples)
