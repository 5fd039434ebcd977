"""Optimisers: torch's own by name, decay and penalties on matrices only, states that survive a stop to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import rung
from rung import api
from rung.errors import UserError
from rung.training import config as config_module
from rung.training.config import TrainingConfig
from rung.training.muon import hidden_matrices
from rung.training.optimizers import OPTIMIZERS, Settings, add_penalties
from tests.text_made import sentences

LR, DECAY, BETA2, STEPS = 0.02, 0.1, 0.99, 100


class Small(nn.Module):
    """An embedding, a hidden layer, a head."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.embedding = nn.Embedding(11, 6)
        self.layers = nn.ModuleList([nn.Linear(6, 9)])
        self.head = nn.Linear(9, 11)
        self.double()  # so that what differs is more than rounding
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(0, 0.5, generator=generator)

    def loss(self, step: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1000 + step)
        inputs, targets = torch.randint(11, (2, 8), generator=generator)
        hidden = torch.tanh(self.layers[0](self.embedding(inputs)))
        return nn.functional.cross_entropy(self.head(hidden), targets)


def trained(make: Any) -> list[torch.Tensor]:
    network = Small()
    optimizer = make(network)
    for step in range(STEPS):
        network.loss(step).backward()
        optimizer.step()
        optimizer.zero_grad()
    return [parameter.detach() for parameter in network.parameters()]


def ours(name: str, weight_decay: float) -> list[torch.Tensor]:
    return trained(lambda n: OPTIMIZERS[name](n, LR, Settings(weight_decay, beta2=BETA2)))


def split(network: nn.Module, **matrices: Any) -> list[dict[str, Any]]:
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim == 2], **matrices},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]


THEIRS: dict[str, tuple[float, Any]] = {
    "sgd": (0.0, lambda n: torch.optim.SGD(n.parameters(), lr=LR, foreach=False)),
    "momentum": (0.0, lambda n: torch.optim.SGD(n.parameters(), lr=LR, momentum=0.9, foreach=False)),
    "nesterov": (
        0.0,
        lambda n: torch.optim.SGD(n.parameters(), lr=LR, momentum=0.9, nesterov=True, foreach=False),
    ),
    "adam": (0.0, lambda n: torch.optim.Adam(n.parameters(), lr=LR, betas=(0.9, BETA2), foreach=False)),
    "adamw": (
        DECAY,
        lambda n: torch.optim.AdamW(split(n, weight_decay=DECAY), lr=LR, betas=(0.9, BETA2), foreach=False),
    ),
}


@pytest.mark.parametrize("name", THEIRS)
def test_a_hundred_steps_are_those_of_torch(name: str):
    weight_decay, make = THEIRS[name]
    for a, b in zip(ours(name, weight_decay), trained(make), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_plain_descent_with_decay_is_torch_s_where_the_two_kinds_of_decay_agree():
    """Without momentum w - lr (g + d w) is (1 - lr d) w - lr g: decay through the gradient is decoupled decay."""
    theirs = trained(lambda n: torch.optim.SGD(split(n, weight_decay=DECAY), lr=LR, foreach=False))
    for a, b in zip(ours("sgd", DECAY), theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adamw", "muon"])
def test_decay_alone_shrinks_matrices_and_leaves_vectors(name: str):
    """With a gradient of zero: w (1 - lr d) a step, and nothing else."""
    network = Small()
    before = [p.detach().clone() for p in network.parameters()]
    optimizer = OPTIMIZERS[name](network, 0.5, Settings(0.2, beta2=BETA2))
    for _ in range(3):
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    for parameter, old in zip(network.parameters(), before, strict=True):
        expected = old * 0.9**3 if old.ndim == 2 else old
        torch.testing.assert_close(parameter.detach(), expected)


def test_two_steps_of_nesterov_on_paper():
    """g = 1 both times, lr 0.1: v = 1, then 1.9; w falls by 0.1 (1 + 0.9), then by 0.1 (1 + 0.9 * 1.9)."""
    network = nn.ParameterDict({"w": nn.Parameter(torch.ones(1, 1))})
    optimizer = OPTIMIZERS["nesterov"](network, 0.1, Settings())
    for expected in (1 - 0.19, 1 - 0.19 - 0.271):
        network["w"].grad = torch.ones(1, 1)
        optimizer.step()
        assert network["w"].item() == pytest.approx(expected, abs=1e-6)


def test_muon_moves_every_direction_alike():
    """A gradient whose singular values span 1 to 30 becomes an update whose are all near 1 (Jordan et al.: the
    iteration ends between 0.7 and 1.2, or a little beyond), times lr * 0.2 * sqrt(longer side)."""
    layer = nn.Linear(24, 40)
    network = nn.Sequential(layer)
    generator = torch.Generator().manual_seed(0)
    u, _ = torch.linalg.qr(torch.randn(40, 24, generator=generator))
    v, _ = torch.linalg.qr(torch.randn(24, 24, generator=generator))
    before = layer.weight.detach().clone()
    optimizer = OPTIMIZERS["muon"](network, 0.1, Settings())
    layer.bias.grad = torch.zeros(40)
    layer.weight.grad = u @ torch.diag(torch.linspace(1, 30, 24)) @ v.T
    optimizer.step()
    update = (before - layer.weight.detach()) / (0.1 * 0.2 * 40**0.5)
    singular = torch.linalg.svdvals(update)
    assert singular.min() > 0.6
    assert singular.max() < 1.3
    # The directions are the gradient's own.
    torch.testing.assert_close(torch.diag(u.T @ update @ v), singular.new_ones(24), atol=0.4, rtol=0)


def test_muon_takes_hidden_matrices_and_adamw_the_rest():
    network = Small()
    assert hidden_matrices(network) == [network.layers[0].weight]

    def theirs(network: Any) -> Any:
        hidden = network.layers[0].weight
        groups = [
            {"params": [p for p in group["params"] if p is not hidden], "weight_decay": group["weight_decay"]}
            for group in split(network, weight_decay=DECAY)
        ]
        parts = [
            torch.optim.Muon([hidden], lr=LR, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(groups, lr=LR, betas=(0.9, BETA2), foreach=False),
        ]

        class Pair:
            def step(self) -> None:
                for part in parts:
                    part.step()

            def zero_grad(self) -> None:
                network.zero_grad()

        return Pair()

    for a, b in zip(ours("muon", DECAY), trained(theirs), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_penalties_on_paper():
    """l1 sign(w) + l2 w is added to a matrix's gradient: 0.5 * (1, -1, 0) + 0.25 * (2, -4, 0) = (1, -1.5, 0)."""
    matrix = nn.Parameter(torch.tensor([[2.0, -4.0, 0.0]]))
    vector = nn.Parameter(torch.tensor([2.0, -4.0]))
    unused = nn.Parameter(torch.ones(1, 1))
    matrix.grad, vector.grad = torch.full((1, 3), 10.0), torch.full((2,), 10.0)
    add_penalties([matrix, vector, unused], l1=0.5, l2=0.25)
    assert matrix.grad.tolist() == [[11.0, 8.5, 10.0]]
    assert vector.grad.tolist() == [10.0, 10.0]
    assert unused.grad is None


def test_penalties_are_the_derivative_of_what_they_say():
    generator = torch.Generator().manual_seed(3)
    matrix = nn.Parameter(torch.randn(4, 5, generator=generator, dtype=torch.float64))
    penalty = 0.3 * matrix.abs().sum() + 0.7 / 2 * matrix.square().sum()
    (expected,) = torch.autograd.grad(penalty, matrix)
    matrix.grad = torch.zeros_like(matrix)
    add_penalties([matrix], l1=0.3, l2=0.7)
    torch.testing.assert_close(matrix.grad, expected)


def test_names_are_the_same_at_the_door_and_inside():
    assert set(config_module.OPTIMIZERS) == set(OPTIMIZERS)


def test_the_rung_s_learning_rate_is_fitted_to_the_optimiser():
    choices = {"lr": 0.002, "weight_decay": 0.1, "batch_size": 8}
    plain = TrainingConfig(optimizer="sgd").resolved(choices)
    assert (plain.lr, plain.weight_decay) == (pytest.approx(0.2), pytest.approx(0.001))
    assert TrainingConfig(optimizer="sgd", lr=3.0).resolved(choices).lr == 3.0
    assert TrainingConfig(optimizer="adam").resolved(choices).weight_decay == 0
    with pytest.raises(UserError, match="--weight-decay"):
        TrainingConfig(optimizer="adam", weight_decay=0.1)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_interrupted_training_ends_with_the_same_bytes(name: str, tmp_path: Path):
    text = tmp_path / "text.txt"
    text.write_text(sentences(120), encoding="utf-8")
    settings: dict[str, Any] = {
        "n_layer": 1, "n_head": 2, "n_embd": 8, "context": 8, "batch_size": 4, "dropout": 0.1,
        "steps": 12, "eval_every": 5, "optimizer": name, "l1": 1e-4, "l2": 1e-3,
    }  # fmt: skip
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps == 7

    whole = api.train("gpt", text, out=tmp_path / "whole", **settings)
    part = api.train("gpt", text, out=tmp_path / "part", **settings, stop=stop)
    assert part.recipe["status"] == "training"
    api.resume(part.folder)
    weights = [(run.folder / "model.safetensors").read_bytes() for run in (whole, rung.load(part.folder))]
    assert weights[0] == weights[1]
    last = [(run.folder / "checkpoints/last.safetensors").stat().st_size for run in (whole, part)]
    assert abs(last[0] - last[1]) < 200  # the numbers of the clock may be spelled longer
