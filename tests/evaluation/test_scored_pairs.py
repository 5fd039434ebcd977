"""Pairs scored as a filter: what comes out is the model's own answer, whatever the file is like."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import rung
from rung.cli import main

ROWS = [("abc", "cba"), ("ab", "ba"), ("cab", "bac"), ("b", "b"), ("ccab", "bacc"), ("ba", "ab")] * 4


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    path = folder / "pairs.tsv"
    path.write_text("source\ttarget\n" + "".join(f"{a}\t{b}\n" for a, b in ROWS), encoding="utf-8")
    rung.train("gru", path, out=folder / "run", tokenizer="char", steps=2, n_embd=4, n_hidden=4)
    return folder / "run"


def typed(*arguments: object) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def test_scores_of_rows(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With and without a header, as JSON, in Python and token by token: the same numbers, those of the targets."""
    texts, targets = (list(side) for side in zip(*ROWS[:5], strict=True))
    own = list(rung.score(trained, texts, targets))
    run = rung.load(trained)
    stream = run.tokenizer.encode_many(targets)
    by_hand = run.model.score_pairs(run.tokenizer.encode_many(texts), stream)
    sums = np.add.reduceat(by_hand.astype(float), np.asarray(stream.starts)[:-1] - 1)
    np.testing.assert_allclose([one.log_prob for one in own], sums, rtol=1e-5)
    for name, lines in {
        "header.tsv": ["source\ttarget", *(f"{a}\t{b}" for a, b in ROWS[:5])],
        "bare.tsv": [f"{a}\t{b}" for a, b in ROWS[:5]],
        "rows.jsonl": [json.dumps({"n": 1, "target": b, "source": a}) for a, b in ROWS[:5]],
    }.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        assert typed("score", trained, tmp_path / name, "--quiet") == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        for row, one, (_, target) in zip(found, own, ROWS[:5], strict=True):
            assert row["log_prob"] == pytest.approx(one.log_prob, rel=1e-5)
            assert row["bytes"] == len(target)
            bits = -one.log_prob / (math.log(2) * len(target))
            assert row["bits_per_byte"] == pytest.approx(bits, rel=1e-5)
    assert typed("score", trained, "--text", texts[0], "--target-text", targets[0]) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert sum(step["log_prob"] for step in steps) == pytest.approx(own[0].log_prob, rel=1e-5)
    assert "".join(step["text"] for step in steps) == targets[0]


def test_a_filter_keeps_whole_records_by_rank(trained: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "pairs.tsv", tmp_path / "good.tsv"
    path.write_text("source\ttarget\n" + "".join(f"{a}\t{b}\n" for a, b in ROWS[:6]), encoding="utf-8")
    assert typed("score", trained, path, "--keep", "top 50%", "--out", out, "--quiet") == 0
    kept = [line.split("\t")[:2] for line in out.read_text("utf-8").splitlines()[1:]]
    bits = {pair: one.bits_per_byte for pair, one in zip(ROWS[:6], _scored(trained, ROWS[:6]), strict=True)}
    assert [tuple(pair) for pair in kept] == [
        pair for pair in ROWS[:6] if pair in sorted(bits, key=lambda pair: bits[pair] or 0.0)[:3]
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pairs.tsv", "--target", "nix"], "no column 'nix'"),
        (["--text", "ab"], "--target-text"),
        (["pairs.tsv", "--target-text", "ab"], "--text"),
        (["pairs.tsv", "--survey"], "no language model"),
    ],
)
def test_what_is_missing_is_said(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    (tmp_path / "pairs.tsv").write_text("source\ttarget\na\tb\n", encoding="utf-8")
    filled = [str(tmp_path / one) if one.endswith(".tsv") else one for one in arguments]
    assert typed("score", trained, *filled) == 2
    assert said in capsys.readouterr().err


def _scored(run: Path, pairs: list[tuple[str, str]]):
    return rung.score(run, [a for a, _ in pairs], [b for _, b in pairs])
