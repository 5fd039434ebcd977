"""The training flags of the command line: the sweep's answer, what counting rungs refuse, one line for no memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rung.cli import main

TINY = ["--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--context", "16", "--steps", "5"]


def rung(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


def test_find_lr_prints_a_rate_and_leaves_the_run_s_name_free(text: Path, capsys):
    code, out, err = rung(capsys, "train", "neural-bigram", text, "--find-lr")
    assert code == 0
    assert "word for word in the training text" in err  # these sentences are few
    assert out.startswith("suggested learning rate: ")
    rate = out.split()[3].rstrip(",")
    assert f"next: rung train neural-bigram {text} --lr {rate}" in out
    assert Path("runs/neural-bigram-lr/lr_finder.svg").exists()
    assert not Path("runs/neural-bigram").exists()
    code, out, _ = rung(capsys, "train", "neural-bigram", text, "--find-lr", "--json", "--out", "x")
    assert code == 0
    assert json.loads(out) == {"run": "x", "suggestion": float(rate), "picture": "x/lr_finder.svg"}


def test_what_counts_has_no_such_flags(text: Path, capsys):
    code, _, err = rung(capsys, "train", "ngram", text, "--find-lr")
    assert code == 2
    assert "no learning rate" in err
    assert err.count("\n") == 1
    assert rung(capsys, "train", "ngram", text, "--restarts", "2")[0] == 2
    code, out, _ = rung(capsys, "train", "ngram", "--help")
    assert code == 0
    assert "--find-lr" not in out
    _, out, _ = rung(capsys, "train", "gpt", "--help")
    for flag in ("--find-lr", "--overfit-one-batch", "--restarts", "--average", "--l1", "--optimizer"):
        assert flag in out


def test_a_resumed_run_keeps_its_settings_and_says_so(text: Path, capsys):
    assert rung(capsys, "train", "neural-bigram", text, "--steps", "2", "--out", "r")[0] == 0
    for flags in (
        ["--batch-size", "9"],
        ["--lr=1"],
        ["--out", "x"],
        ["--order", "3", "--seed", "1"],
        ["--find-lr"],
    ):
        code, _, err = rung(capsys, "train", "--resume", "r", *flags)
        assert code == 2
        if flags[0] != "--order":  # no setting of this rung
            assert err.startswith(
                f"rung: {flags[0].split('=')[0]} does not go with --resume: a resumed run keeps"
            )
        assert err.count("\n") == 1
    assert "give rung train --resume RUN alone" in rung(capsys, "train", "gpt", text, "--resume", "r")[2]
    assert "finished already" in rung(capsys, "train", "--resume", "r", "--quiet")[2]


def test_flags_reach_the_recipe(text: Path, capsys):
    flags = [
        "--optimizer",
        "muon",
        "--schedule",
        "wsd",
        "--l1",
        "1e-5",
        "--average",
        "0.9",
        "--restarts",
        "2",
    ]
    code, out, _ = rung(capsys, "train", "gpt", text, *TINY, *flags, "--json", "--out", "r")
    assert code == 0
    assert json.loads(out)["run"] == "r"
    recipe = json.loads(Path("r/run.json").read_text())
    expected = {"optimizer": "muon", "schedule": "wsd", "l1": 1e-5, "average": 0.9, "restarts": 2}
    assert {key: recipe["training"][key] for key in expected} == expected
    assert [entry["seed"] for entry in recipe["restarts"]] == [0, 1]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--optimizer", "muonn"], "did you mean 'muon'"),
        (["--schedule", "cosin"], "did you mean 'cosine'"),
        (["--optimizer", "adam", "--weight-decay", "0.1"], "--optimizer adamw"),
        (["--average", "1"], "--average"),
        (["--l1", "-1"], "--l1"),
        (["--n-hidden", "200000000000000"], "out of memory: lower --batch-size"),
    ],
)
def test_one_line_says_what_is_wrong(text: Path, capsys, flags: list[str], says: str):
    code, out, err = rung(capsys, "train", "gpt", text, *TINY, *flags, "--out", "r")
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
