"""`rung scratch` as a contract: what it says and writes, one-line errors, and that torch is never loaded."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rung.cli import main, scratch_classifiers
from rung.scratch import gradcheck
from rung.scratch.activations import Tanh
from tests.test_cli import Shell

ORANGE_ROWS = "130,9,orange\n120,8.5,orange\n200,9.4,orange\n"
FRUIT = "weight,sugar,kind\n150,10.2,apple\n170,11,apple\n140,10.8,apple\n" + ORANGE_ROWS


@pytest.fixture
def rung(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scratch_classifiers, "FRAMES", 3)  # drawing takes most of the time
    Path("fruit.csv").write_text(FRUIT)
    return Shell(capsys)


def of_fruit(weights: list[float], bias: float) -> list[bool]:
    """Which fruit a line, in the file's own units, calls oranges."""
    rows = [line.split(",") for line in FRUIT.splitlines()[1:]]
    return [weights[0] * float(row[0]) + weights[1] * float(row[1]) + bias >= 0 for row in rows]


ORANGES = [False] * 3 + [True] * 3


def test_perceptron(rung: Shell):
    found = rung.json(
        "scratch", "perceptron", "fruit.csv", "--label", "kind", "--scale", "standard", "--out", "p"
    )
    assert (found["finished"], found["accuracy"], found["classes"]) == (True, 1, ["apple", "orange"])
    assert of_fruit(found["weights"], found["bias"]) == ORANGES
    assert Path(found["png"]).read_bytes().startswith(b"\x89PNG")
    assert Path(found["gif"]).read_bytes().startswith(b"GIF89a")
    code, out, err = rung("scratch", "perceptron", "xor", "--epochs", "5")
    assert (code, err) == (0, "")
    assert "no line may separate" in out
    assert Path("runs/scratch-perceptron/boundary.gif").exists()
    assert "--scale" not in out
    assert (
        "--scale standard"
        in rung("scratch", "perceptron", "fruit.csv", "--label", "kind", "--epochs", "5")[1]
    )


def test_logistic(rung: Shell):
    found = rung.json(
        "scratch", "logistic", "fruit.csv", "--label", "kind", "--l2", "0.01", "--epochs", "9999"
    )
    assert (found["converged"], found["accuracy"]) == (True, 1)
    assert of_fruit(found["weights"], found["bias"]) == ORANGES
    _, out, _ = rung("scratch", "logistic", "fruit.csv", "--label", "kind", "--epochs", "50")
    assert "--l2" in out  # separable: the weights would grow for ever
    for method in ("batch", "stochastic", "mini-batch"):
        assert (
            rung.json("scratch", "logistic", "blobs", "--method", method, "--epochs", "5")["accuracy"] > 0.95
        )


def test_network(rung: Shell):
    arguments = ["scratch", "network", "circles", "--points", "80", "--epochs", "150", "--n-hidden", "6"]
    found = rung.json(*arguments)
    assert (found["accuracy"], found["parameters"]) == (1, 2 * 6 + 6 + 6 + 1)
    same = rung.json(*arguments)
    assert found["gif"] != same["gif"]
    assert Path(found["gif"]).read_bytes() == Path(same["gif"]).read_bytes()
    assert rung.json(*arguments, "--seed", "1")["loss"] != found["loss"]
    Path("three.csv").write_text("a,b,y\n0,0,1\n0,1,2\n1,0,3\n1,1,3\n")
    for loss in ("cross-entropy", "squared"):
        three = rung.json(
            "scratch", "network", "three.csv", "--loss", loss, "--activation", "sigmoid", "--lr", "2"
        )
        assert (three["classes"], three["accuracy"]) == (["1", "2", "3"], 1)


def test_pictures_are_not_overwritten_unasked(rung: Shell):
    assert rung("scratch", "graph", "a = 2; a * a", "--out", "mine")[0] == 0
    Path("mine/other.txt").write_text("kept")
    before = Path("mine/graph.svg").read_bytes()
    assert "--force" in rung.refused("scratch", "graph", "a = 3; a * a", "--out", "mine")
    assert Path("mine/graph.svg").read_bytes() == before
    assert rung("scratch", "graph", "a = 3; a * a", "--out", "mine", "--force")[0] == 0
    assert Path("mine/graph.svg").read_bytes() != before
    assert Path("mine/other.txt").read_text() == "kept"


def test_graph(rung: Shell):
    code, out, err = rung("scratch", "graph", "a = 2; b = -3; c = a*b + 10; tanh(c)")
    assert (code, err) == (0, "")
    assert "0.002682" in out
    assert "<svg" in Path("runs/scratch-graph/graph.svg").read_text(encoding="utf-8")
    found = rung.json("scratch", "graph", "gpt")
    assert any(node["operation"] == "CausalAttention" for node in found["nodes"])
    assert Path(found["svg"]).exists()


def test_check_passes_and_names_what_fails(rung: Shell, monkeypatch: pytest.MonkeyPatch):
    def few(rng: np.random.Generator) -> dict[str, Any]:
        return {"Tanh": (Tanh(), [rng.normal(size=3)])}

    monkeypatch.setattr(gradcheck, "modules_to_check", few)
    code, out, err = rung("scratch", "check")
    assert (code, err) == (0, "")
    assert "pass" in out
    monkeypatch.setattr(Tanh, "backward", lambda self, saved, grad: (2 * grad,))
    code, out, err = rung("scratch", "check")
    assert code == 1
    assert "FAIL" in out
    assert "input 0[0]" in err
    code, out, _ = rung("scratch", "check", "--json")
    assert code == 1
    assert json.loads(out)["passed"] is False


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["perceptron", "moon"], "did you mean 'moons'"),
        (["perceptron", "nothing.csv"], "nothing.csv"),
        (["perceptron", "--bogus"], "--bogus"),
        (["perceptron", "fruit.csv"], "--label"),
        (["perceptron", "fruit.csv", "--label", "kin"], "did you mean 'kind'"),
        (["perceptron", "fruit.csv", "--label", "sugar"], "line 2, column 'kind'"),
        (["perceptron", "blobs", "--label", "y"], "--label"),
        (["perceptron", "three.csv"], "3 (1, 2, 3)"),
        (["perceptron", "three.csv"], "'rung scratch logistic' and 'network' take any number"),
        (["perceptron", "."], "directory"),
        (["perceptron", "empty.csv"], "empty"),
        (["perceptron", "--out", "fruit.csv"], "fruit.csv is a file"),
        (["perceptron", "--lr", "0"], "--lr 0"),
        (["logistic", "--lr", "1e300"], "--lr"),
        (["logistic", "--l2", "-1"], "--l2"),
        (["logistic", "--method", "newton"], "mini-batch"),
        (["network", "--epochs", "0"], "--epochs 0"),
        (["network", "--n-hidden", "0"], "--n-hidden 0"),
        (["network", "--points", "3"], "--points 3"),
        (["network", "--noise", "-1"], "--noise"),
        (["network", "--seed", "-1"], "--seed"),
        (["check", "--seed", "-1"], "--seed"),
        (["graph"], "needs WHAT"),
        (["graph", "gtp"], "did you mean 'gpt'"),
        (["graph", "-a"], "a has no value yet"),
        (["paint"], "paint"),
    ],
)
def test_bad_input_gets_one_line_that_names_it(rung: Shell, arguments: list[str], says: str):
    Path("three.csv").write_text("a,b,y\n0,0,1\n0,1,2\n1,0,3\n")
    Path("empty.csv").touch()
    assert says in rung.refused("scratch", *arguments)
    assert not Path("runs").exists()


def test_torch_is_never_loaded(tmp_path: Path):
    script = """
import sys
from rung.cli import scratch as cli_scratch
from rung.cli import main
for line in ("graph gpt", "perceptron", "network --epochs 2"):
    try:
        main(["scratch", *line.split()])
    except SystemExit as end:
        assert not end.code, end.code
print("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"


def test_help_is_quick_and_has_examples(rung: Shell, capsys: pytest.CaptureFixture[str]):
    for verb in ("perceptron", "logistic", "network", "check", "graph"):
        with pytest.raises(SystemExit) as end:
            main(["scratch", verb, "--help"])
        assert not end.value.code
        assert f"Example: rung scratch {verb}" in capsys.readouterr().out


PAGE = (Path(__file__).parents[1] / "docs" / "scratch.md").read_text(encoding="utf-8")


def test_the_learners_page_says_what_the_commands_say(rung: Shell):
    """In the page's order, as the folders count up; what takes long or ends in many small steps is left out."""
    blocks = re.findall(r"```console\n\$ rung (.*)\n([^`]*)```", PAGE)
    quick = [
        (command, said)
        for command, said in blocks
        if command.startswith(("scratch p", "scratch l", "scratch g"))
    ]
    assert len(quick) == 5
    for command, said in quick:
        assert rung(*shlex.split(command)) == (0, said, "")


@pytest.mark.parametrize("block", range(2))
def test_the_learners_page_computes_what_it_says(block: int, capsys: pytest.CaptureFixture[str]):
    code, said = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)[block]
    exec(compile(code, "scratch.md", "exec"), {"__name__": "page"})
    assert capsys.readouterr().out == said
