"""The learning-rate sweep: its rates, its suggestion, its picture."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from rung import api
from rung.errors import UserError
from rung.events import Event, Step
from rung.training import lr_finder
from rung.training.sweep_options import SweepOptions
from tests.text_made import sentences

TINY: dict[str, Any] = {"n_layer": 1, "n_head": 2, "n_embd": 16, "context": 16, "batch_size": 4}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(sentences(200), encoding="utf-8")
    return path


def test_rates_rise_by_equal_factors_from_a_millionth_to_ten():
    """Seven decades: half-way is the geometric mean, sqrt(1e-6 * 10)."""
    factors = [SweepOptions().share(p, warmup=0.0, floor=0.0) for p in (0.0, 0.5, 1.0)]
    assert [10 * factor for factor in factors] == pytest.approx([1e-6, math.sqrt(1e-5), 10.0])


def test_the_suggestion_is_where_a_made_up_loss_falls_fastest():
    """Loss 4 - 2 / (1 + (3e-3 / lr)^2) falls fastest per factor of lr at 3e-3; beyond 0.3 it blows up."""
    rates = np.geomspace(1e-6, 10, 141)
    losses = 4 - 2 / (1 + (3e-3 / rates) ** 2) + (rates / 0.3) ** 2
    assert lr_finder.suggest(rates.tolist(), losses.tolist()) == pytest.approx(3e-3)
    noisy = losses + np.random.default_rng(0).normal(0, 0.05, len(rates))
    suggested = lr_finder.suggest(rates.tolist(), lr_finder.smooth(noisy.tolist()))
    assert 1e-3 <= suggested <= 9e-3


def test_smoothing_leaves_a_line_and_its_place_alone():
    line = [5.0 - 0.1 * i for i in range(60)]
    assert lr_finder.smooth(line)[10:50] == pytest.approx(line[10:50])
    assert lr_finder.smooth([3.0] * 9) == pytest.approx([3.0] * 9)


def test_a_loss_that_never_falls_has_no_suggestion():
    with pytest.raises(UserError, match="--overfit-one-batch"):
        lr_finder.suggest([1e-6, 1e-3, 1.0], [3.0, 3.1, 9.0])


def test_a_sweep_of_a_real_rung(text: Path, tmp_path: Path):
    events: list[Event] = []
    found = api.find_lr("gpt", text, out=tmp_path / "r", **TINY, on_event=events.append)
    assert found is not None
    assert len(found.rates) == len(found.losses) == len(found.smoothed) <= 100
    ratios = [b / a for a, b in pairwise(found.rates)]
    assert ratios == pytest.approx([10**0.07] * len(ratios))
    assert [e.loss for e in events if isinstance(e, Step)] == found.losses
    assert 1e-5 < found.suggestion < 1
    # No training happened: there is a picture, and no run.
    assert not (tmp_path / "r" / "run.json").exists()
    picture = (tmp_path / "r" / "lr_finder.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert f"{found.suggestion:g}" in picture
    again = api.find_lr("gpt", text, out=tmp_path / "r2", **TINY)
    assert again is not None
    assert again == found
    assert (tmp_path / "r2" / "lr_finder.svg").read_text(encoding="utf-8") == picture


def test_what_is_suggested_trains_well(text: Path, tmp_path: Path):
    """The convex rung: a short training at the suggestion beats one at a tenth of it."""
    found = api.find_lr("neural-bigram", text, out=tmp_path / "lr")
    assert found is not None
    loss = {}
    for factor in (0.1, 1.0):
        run = api.train(
            "neural-bigram", text, out=tmp_path / str(factor), steps=60, lr=found.suggestion * factor
        )
        loss[factor] = run.recipe["result"]["validation"]["nats_per_token"]
    assert loss[1.0] < loss[0.1]


def test_it_can_be_stopped_and_counting_rungs_have_none(text: Path, tmp_path: Path):
    assert api.find_lr("neural-bigram", text, out=tmp_path / "r", stop=lambda: True) is None
    with pytest.raises(UserError, match="no learning rate"):
        api.find_lr("ngram", text, out=tmp_path / "n")
    assert not (tmp_path / "n").exists()
