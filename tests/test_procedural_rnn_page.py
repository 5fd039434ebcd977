"""docs/procedural_rnn.py, which docs/scratch.md shows, against torch and against what the page says."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

DOCS = Path(__file__).parent.parent / "docs"
PAGE: dict[str, Any] = runpy.run_path(str(DOCS / "procedural_rnn.py"))
CORE = {"weight_ih_l0": "W_x", "weight_hh_l0": "W_h", "bias_ih_l0": "b"}


def test_loss_and_gradients_are_torchs():
    n, steps, d, h, v = 3, 7, 5, 6, 4
    rng = np.random.default_rng(0)
    w = PAGE["first_weights"](d, h, v, rng)
    x, targets = rng.standard_normal((n, steps, d)), rng.integers(0, v, (n, steps))
    loss, grad = PAGE["backward"](x, targets, w)

    core, head = nn.RNN(d, h, batch_first=True).double(), nn.Linear(h, v).double()
    theirs = {own: core.get_parameter(name) for name, own in CORE.items()}
    theirs |= {"W_y": head.weight, "b_y": head.bias}
    with torch.no_grad():
        for name, parameter in theirs.items():
            parameter.copy_(torch.tensor(w[name]))
        core.get_parameter("bias_hh_l0").zero_()
    logits = head(core(torch.tensor(x))[0])
    cost = nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(targets).flatten())
    cost.backward()
    np.testing.assert_allclose(loss, cost.item())
    for name, parameter in theirs.items():
        assert parameter.grad is not None
        np.testing.assert_allclose(grad[name], parameter.grad.numpy(), atol=1e-12)


def test_the_page_says_what_it_does():
    losses, said = PAGE["learned"]("hello, world")
    page = (DOCS / "scratch.md").read_text()
    assert f"{losses[0]:.3f} -> {losses[-1]:.3f} nats a letter: {said}" in page
    assert said == "hello, world"


def test_drawing_with_and_without_replacement_is_as_the_page_says():
    """Two of three letters with probabilities 1/2, 1/3, 1/6: without replacement the second is drawn among the rest."""
    p, n = np.array([1 / 2, 1 / 3, 1 / 6]), 200_000
    rng = np.random.default_rng(0)
    with_it = rng.choice(3, (n, 2), p=p)
    assert abs((with_it[:, 0] == with_it[:, 1]).mean() - (p**2).sum()) < 0.005
    without = np.argsort(-(np.log(p) + rng.gumbel(size=(n, 3))), axis=1)[
        :, :2
    ]  # the two largest: Gumbel's trick
    assert (without[:, 0] != without[:, 1]).all()
    second_is_last = sum(p[i] * p[2] / (1 - p[i]) for i in (0, 1))
    assert abs((without[:, 1] == 2).mean() - second_is_last) < 0.005
    page = (DOCS / "scratch.md").read_text()
    assert f"{(p**2).sum():.0%} of pairs" in page
    assert f"{second_is_last:.1%}" in page
