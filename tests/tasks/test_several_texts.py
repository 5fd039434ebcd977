"""Several texts with shares, from the command line to the measure of each."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rung
from rung.cli import main
from rung.errors import UserError

LONG, SHORT = "to be or not to be that is the question\n" * 40, "xyzzy plugh\nfrotz\n" * 30


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("long.txt").write_text(LONG)
    Path("short.txt").write_text(SHORT)
    return tmp_path


def run_cli(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def test_the_measures_of_the_texts_add_up_to_the_whole(here: Path, capsys: pytest.CaptureFixture[str]):
    assert run_cli("train", "ngram", "--data", "long.txt:0.5", "--data", "short.txt:0.5", "--out", "r") == 0
    assert run_cli("evaluate", "r", "--json") == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    parts = said["by_source"]
    assert [one["split"] for one in parts] == ["long.txt", "short.txt"]
    for key in ("bytes", "tokens", "documents"):
        assert sum(one[key] for one in parts) == said[key]
    bits = sum(one["bits_per_byte"] * one["bytes"] for one in parts)
    assert bits == pytest.approx(said["bits_per_byte"] * said["bytes"])


def test_what_is_counted_by_shares_is_counted_in_whole_copies(here: Path):
    sizes = [len(LONG), len(SHORT)]
    shares = [1 / 3 * sizes[0], 2 / 3 * sizes[1]]  # the short text twice
    mixed = rung.train(
        "bigram",
        f"long.txt:{shares[0] / sum(shares):.9f} + short.txt:{shares[1] / sum(shares):.9f}",
        out="m",
        split="100/0/0",
        add_k=1.0,
    )
    told = mixed.recipe["result"]["mixture"]
    assert [one["epochs"] for one in told] == pytest.approx([1, 2])
    ids = mixed.tokenizer.encode("xy")
    x, y = (int(i) for i in ids)
    row, _ = mixed.model.advance(mixed.model.start(), np.array([[mixed.model.end, x]]))
    # "x" stands 30 times in the short text, before "y" each time; counted twice: (60 + 1) / (60 + V).
    assert np.exp(row[0, y]) == pytest.approx(61 / (60 + mixed.model.vocab_size), rel=1e-5)


@pytest.mark.parametrize("rung_name", ["gru", "mlp", "scratch-mlp"])
def test_interrupted_and_resumed_it_is_the_same(here: Path, rung_name: str):
    how: dict[str, Any] = {"steps": 14, "checkpoint_every": 3, "batch_size": 4, "window": 16}
    data = "long.txt:0.7 + short.txt:0.3"
    whole = rung.train(rung_name, data, out="whole", **how)
    asked = count()
    part = rung.train(rung_name, data, out="part", stop=lambda: next(asked) == 7, **how)
    assert part.recipe["status"] == "training"
    part = rung.resume("part")
    weights = [(run.folder / "model.safetensors").read_bytes() for run in (whole, part)]
    assert weights[0] == weights[1]
    shares = [one["share"] for one in part.recipe["result"]["mixture"]]
    assert shares == pytest.approx([0.75, 0.25] if rung_name == "gru" else [0.7, 0.3])


def test_it_can_be_made_anew_and_climbed(here: Path):
    run = rung.train("ngram", "long.txt:2 + short.txt:1", out="a")
    assert "long.txt:2 + short.txt:1" in run.recipe["command"]
    assert rung.api.train_again("a", out="b").same
    report = rung.climb("long.txt + short.txt", rungs=["bigram", "infinigram", "mix"], out="c")
    assert len(report["rungs"]) == 3


def test_texts_named_badly_are_told(here: Path, capsys: pytest.CaptureFixture[str]):
    for arguments, says in (
        (("train", "ngram", "long.txt", "--data", "short.txt"), "name the texts in one way"),
        (
            ("train", "ngram", "--data", "long.txt:0.5", "--data", "nowhere.txt:0.5"),
            "nowhere.txt is not there",
        ),
        (("train", "ngram", "--data", "long.txt:0.5"), "a share is one among several texts"),
        (("climb", "--data", "long.txt", "--data", "short.txt:1"), "long.txt has no share"),
    ):
        assert run_cli(*arguments) == 2
        assert says in capsys.readouterr().err
    with pytest.raises(UserError, match="one file"):
        rung.train("bigram", "long.txt + short.txt", sha256="0" * 64)


def test_the_last_lines_are_held_out_by_time(here: Path, capsys: pytest.CaptureFixture[str]):
    lines = [
        f"2026-11-{day:02d} {hour:02d}:00 event {day * 24 + hour}"
        for day in range(1, 29)
        for hour in range(24)
    ]
    Path("log.txt").write_text("\n".join(lines) + "\n")
    assert run_cli("train", "bigram", "log.txt", "--out", "chance") == 0
    assert "--split-by time holds out the last ones" in capsys.readouterr().err
    assert run_cli("train", "bigram", "log.txt", "--split-by", "time", "--out", "time") == 0
    assert "--split-by" not in capsys.readouterr().err
    corpus = rung.load("time").corpus
    parts = [list(corpus.text(part)) for part in ("train", "validation", "test")]
    assert [line for part in parts for line in part] == lines


def test_runs_in_a_folder_of_texts_are_left_out(here: Path):
    (here / "texts").mkdir()
    Path("long.txt").rename("texts/long.txt")
    rung.train("bigram", "texts/long.txt", out="texts/run")
    again = rung.train("bigram", "texts", out="texts/run2")
    assert again.recipe["data"]["source"]["files"] == ["texts/long.txt"]


def test_a_field_is_of_rows_and_held_out_text_may_be_plain(here: Path):
    Path("rows.jsonl").write_text("".join(json.dumps({"body": f"row {i} of some"}) + "\n" for i in range(20)))
    run = rung.train("bigram", "rows.jsonl", field="body", val="short.txt", out="r")
    assert run.recipe["result"]["validation"]["bytes"] == len(SHORT)
    with pytest.raises(UserError, match="only rows have fields"):
        rung.train("bigram", "short.txt", field="body", out="q")
