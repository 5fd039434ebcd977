"""`rung sample` and `rung.generate`: what comes out, in which order, and one line for each mistake."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import rung
from rung.cli import main
from tests.text_made import sentences

Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(sentences(200), encoding="utf-8")
    return rung.train("bigram", folder / "text.txt", out=folder / "run").folder


@pytest.fixture
def sample(run: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main(["sample", str(run), *arguments])
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    return call


def test_prompts_of_a_file_give_a_line_each_in_order(sample: Shell, run: Path, tmp_path: Path) -> None:
    prompts = ["the cow", "", "a", "zebras and 牛", "the cow"] * 20
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(prompts), encoding="utf-8")
    code, out, err = sample("--prompts", str(path), "--samples", "2", "--max-tokens", "12", "--seed", "4")
    assert (code, err) == (0, "")
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["prompt"] for record in records] == prompts
    alone = json.loads(
        sample("zebras and 牛", "--samples", "2", "--max-tokens", "12", "--seed", "4", "--json")[1]
    )
    assert records[3] == records[8] == alone
    called = list(rung.generate_many(run, prompts, samples=2, max_tokens=12, seed=4))
    assert [[one.text for one in samples] for samples in called] == [
        [one["text"] for one in record["samples"]] for record in records
    ]


def test_prompts_from_standard_input(sample: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\ntwo\n")))
    code, out, _ = sample("--prompts", "-", "--max-tokens", "3", "--beams", "2")
    assert code == 0
    assert [json.loads(line)["prompt"] for line in out.splitlines()] == ["one", "two"]


def test_top_logprobs_in_json_and_for_the_eye(sample: Shell) -> None:
    plain = json.loads(sample("the", "--max-tokens", "5", "--json")[1])["samples"][0]
    assert plain.keys() == {"text", "tokens", "log_prob", "finish_reason"}
    told = json.loads(sample("the", "--max-tokens", "5", "--json", "--top-logprobs", "3")[1])["samples"][0]
    rows = told.pop("top_logprobs")
    assert told == pytest.approx(plain)
    assert "".join(row["text"] for row in rows) == plain["text"]
    assert sum(row["log_prob"] for row in rows) == pytest.approx(plain["log_prob"])
    for row in rows:
        assert [one.keys() for one in row["top"]] == [{"id", "text", "log_prob"}] * 3
        assert row["top"] == sorted(row["top"], key=lambda one: -one["log_prob"])
    code, out, _ = sample("the", "--max-tokens", "5", "--top-logprobs", "3")
    assert code == 0
    assert out.startswith("the" + plain["text"] + "\n")
    assert out.count("%") == 5 * 4


def test_beams_in_json_and_for_the_eye(sample: Shell, run: Path) -> None:
    found = json.loads(sample("the ", "--beams", "4", "--n-best", "3", "--max-tokens", "8", "--json")[1])[
        "samples"
    ]
    scores = [one["score"] for one in found]
    assert len(found) == 3
    assert scores == sorted(scores, reverse=True)
    for one in found:
        assert one["score"] == pytest.approx(one["log_prob"] / one["tokens"])
    _, out, _ = sample("the ", "--beams", "4", "--n-best", "3", "--max-tokens", "8")
    assert out == "---\n".join(f"the {one['text']}\n" for one in found)
    called = rung.generate(run, "the ", beams=4, n_best=3, max_tokens=8)
    assert [one.text for one in called] == [one["text"] for one in found]


def test_lists_bans_and_biases_as_flags(sample: Shell) -> None:
    _, out, _ = sample(
        "the", "--ban", "e", "--ban", " t", "--bias", "w=20", "--max-tokens", "30", "--force", "ab"
    )
    text = out.removeprefix("the")
    assert text.startswith("ab")
    assert "e" not in text
    assert " t" not in text
    assert text.count("w") > 15


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--top-k", "100000"], "--top-k 100000 is above the vocabulary"),
        (["--top-p", "0"], "--top-p"),
        (["--top-p", "1.01"], "--top-p"),
        (["--min-tokens", "20", "--max-tokens", "10"], "--min-tokens 20"),
        (["--stop="], "--stop"),
        (["--ban="], "--ban"),
        (["--bias", "the"], "TEXT=NUMBER"),
        (["--bias", "the=1"], "3 tokens"),
        (["--beams", "0"], "--beams"),
        (["--beams", "2", "--temperature", "0.5"], "--temperature does not go with --beams"),
        (["--n-best", "2"], "--beams"),
        (["--prompts", "none.txt"], "none.txt"),
        (["the", "--prompts", "none.txt"], "PROMPT"),
        (["\udcff"], "not UTF-8"),
    ],
)
def test_each_mistake_gets_one_line(sample: Shell, arguments: list[str], words: str) -> None:
    code, out, err = sample(*arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert err.startswith("rung: ")
    assert err.count("\n") == 1


def test_an_unknown_setting_is_named(run: Path) -> None:
    with pytest.raises(rung.UserError, match=r"temprature.*did you mean 'temperature'"):
        rung.generate(run, "a", temprature=1)


def test_a_prompt_may_begin_with_a_dash(sample: Shell) -> None:
    code, out, _ = sample("--max-tokens", "3", "--", "-the")
    assert code == 0
    assert out.startswith("-the")
