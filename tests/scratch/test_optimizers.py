"""The optimisers against torch.optim, 200 steps on a loss with a valley."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rung.scratch.optimizers import OPTIMIZERS
from rung.scratch.tape import Value

THEIRS: dict[str, Any] = {
    "gd": lambda groups: torch.optim.SGD(groups, lr=0.01),
    "momentum": lambda groups: torch.optim.SGD(groups, lr=0.01, momentum=0.9),
    "nesterov": lambda groups: torch.optim.SGD(groups, lr=0.01, momentum=0.9, nesterov=True),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.01),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_two_hundred_steps(name: str) -> None:
    rng = np.random.default_rng(0)
    first = [rng.standard_normal((3, 4)), rng.standard_normal(4)]
    decay = 0.1 if name == "adamw" else 0.0
    ours = [Value(w.copy()) for w in first]
    theirs = [torch.tensor(w, requires_grad=True) for w in first]
    optimizer = OPTIMIZERS[name](ours, 0.01, decay=decay)
    reference = THEIRS[name](
        [{"params": [w], **({"weight_decay": decay * (w.ndim > 1)} if decay else {})} for w in theirs]
    )
    for step in range(200):
        noise = [rng.standard_normal(w.shape) for w in first]
        for mine, other, n in zip(ours, theirs, noise, strict=True):
            slope = np.arange(1, mine.data.shape[-1] + 1) * mine.data + n
            mine.grad = slope
            other.grad = torch.tensor(np.arange(1, n.shape[-1] + 1) * other.detach().numpy() + n)
        optimizer.lr = reference.param_groups[0]["lr"] = reference.param_groups[1]["lr"] = 0.01 / (1 + step)
        optimizer.step()
        reference.step()
        assert all(w.grad is None for w in ours)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.data, other.detach().numpy(), rtol=0, atol=1e-10)


def test_a_weight_without_a_gradient_stays() -> None:
    weight = Value(np.ones((2, 2)))
    OPTIMIZERS["adamw"]([weight], 0.1, decay=0.5).step()
    np.testing.assert_array_equal(weight.data, 1)
