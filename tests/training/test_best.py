"""The lowest loss for the minutes."""

import json
from pathlib import Path

import pytest

import rung
from rung.errors import Stopped, UserError
from rung.runs import Run
from rung.training import best


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


def test_the_largest_that_did_about_as_well_as_the_best_is_trained(run: Run):
    trials = [entry for entry in run.recipe["tried"] if entry["name"].startswith("gpt-")]
    final = next(entry for entry in run.recipe["tried"] if entry["name"] == "gpt")
    chosen = next(entry for entry in trials if entry["settings"] == final["settings"])
    lowest = min(entry["bits_per_byte"] for entry in trials)
    assert chosen["bits_per_byte"] <= 1.02 * lowest
    assert all(entry["bits_per_byte"] > 1.02 * lowest for entry in trials[trials.index(chosen) + 1 :])


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
