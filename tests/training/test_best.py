"""The lowest loss for the minutes."""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import rung
from rung.errors import Stopped, UserError
from rung.runs import Run
from rung.training import best, clock, counting

TICK = 0.05
"""Seconds; a step asks for the time about six times."""


@pytest.fixture(scope="module", autouse=True)
def _ticking() -> Iterator[None]:
    """A clock that goes on by a tick whenever it is asked, so that how busy the machine is decides nothing."""
    ticks = count()
    with pytest.MonkeyPatch.context() as patch:
        for module in (clock, counting):
            patch.setattr(module, "time", SimpleNamespace(monotonic=lambda: TICK * next(ticks)))
        yield


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "t.txt"
    path.write_text(
        "\n".join(f"the {a} sat on the {b} again" for a in ("cat", "dog", "hen") for b in ("mat", "log") * 80)
    )
    return path


@pytest.fixture(scope="module")
def run(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return rung.train_best(text, out=tmp_path_factory.mktemp("runs") / "best", minutes=0.15)


def test_what_is_kept_is_no_worse_than_anything_that_was_tried(run: Run):
    tried = {entry["name"]: entry["bits_per_byte"] for entry in run.recipe["tried"]}
    assert {"ngram", "infinigram", "gpt", "mix"} <= tried.keys()
    kept = rung.evaluate(run, split="validation").bits_per_byte
    assert kept == pytest.approx(min(tried.values()), rel=1e-5)


def trials(*losses: float) -> list[dict[str, Any]]:
    """Trials of growing sizes, of which the i-th went through 1,000 / i tokens a second."""
    return [
        {"name": f"gpt-{i}", "bits_per_byte": loss, "train_tokens": 9000, "train_seconds": 9.0 * i}
        for i, loss in enumerate(losses, start=1)
    ]


def test_the_largest_that_did_about_as_well_as_the_best_is_trained():
    ((chosen, seconds),) = best.plan(trials(2.03, 2.0, 2.03, 2.09), 100, n_tokens=100_000)
    assert (chosen["name"], seconds) == ("gpt-3", 100)


def test_a_text_that_is_too_short_for_the_time_is_gone_through_eight_times_by_each_of_several():
    """At 1,000, 500 and 333 tokens a second, 8 times 1,000 tokens take 8, 16 and 24 seconds: 16 + 8 + 24 + 16 of 70."""
    members = best.plan(trials(2.03, 2.0, 2.03, 2.09), 70, n_tokens=1000)
    assert [like["name"] for like, _ in members] == ["gpt-2", "gpt-1", "gpt-3", "gpt-2"]
    assert [seconds for _, seconds in members] == pytest.approx(
        [16 * 70 / 64, 8 * 70 / 64, 24 * 70 / 64, 16 * 70 / 64]
    )
    assert len(best.plan(trials(2.0), 10**6, n_tokens=4000)) == best.MAX_NETWORKS


def test_networks_of_different_seeds_are_mixed(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(best, "EPOCHS", 0.01)
    run = rung.train_best(text, out=tmp_path / "best", minutes=0.05)
    names = [entry["name"] for entry in run.recipe["tried"] if entry["name"].startswith("gpt-seed-")]
    assert names == [f"gpt-seed-{i}" for i in range(1, best.MAX_NETWORKS)]
    assert [rung.load(run.folder / best.PARTS / name).recipe["seed"] for name in names] == list(
        range(1, best.MAX_NETWORKS)
    )
    tried = {entry["name"]: entry["bits_per_byte"] for entry in run.recipe["tried"]}
    kept = rung.evaluate(run, split="validation").bits_per_byte
    assert kept == pytest.approx(min(tried.values()), rel=1e-5)


def test_every_part_is_a_run_and_the_whole_needs_none_of_them(run: Run):
    for entry in run.recipe["tried"][:-1]:
        part = rung.load(run.folder / best.PARTS / entry["name"])
        measured = part.recipe["result"]["validation"]["bits_per_byte"]
        assert measured == entry["bits_per_byte"]
    assert json.loads((run.folder / "run.json").read_text())["status"] == "finished"
    assert rung.generate(run, "the ", max_tokens=5)[0].text


def test_a_budget_in_steps_is_refused(text: Path, tmp_path: Path):
    with pytest.raises(UserError, match="give --minutes"):
        rung.train_best(text, out=tmp_path / "x", steps=3)


def test_stopped_in_a_part_says_how_to_go_on(text: Path, tmp_path: Path):
    with pytest.raises(Stopped, match=r"rung train --resume .*parts/gpt-small"):
        rung.train_best(text, out=tmp_path / "x", minutes=0.5, stop=lambda: True)
