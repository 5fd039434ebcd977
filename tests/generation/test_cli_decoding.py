"""`rung fill`, and the drafts, forms and novelty of `rung sample`: what comes out, and one line for each mistake."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import rung
from rung.cli import main
from rung.evaluation.token_scores import score_text
from rung.generation.masked import fill
from tests.text_made import sentences

Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(sentences(200), encoding="utf-8")
    kinds = {"word": ("ngram", "word"), "char": ("ngram", "char"), "other": ("bigram", "char")}
    return {"text": str(folder / "text.txt")} | {
        name: str(rung.train(kind, folder / "text.txt", out=folder / name, tokenizer=tokenizer).folder)
        for name, (kind, tokenizer) in kinds.items()
    }


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main([*arguments])
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    return call


def test_a_draft_leaves_the_greedy_text_as_it_is_and_tells_what_it_did(
    shell: Shell, runs: dict[str, str]
) -> None:
    how = ("sample", runs["char"], "the ", "--temperature", "0", "--max-tokens", "60")
    _, alone, _ = shell(*how)
    for draft in (runs["other"], "lookup"):
        code, text, err = shell(*how, "--draft", draft)
        assert (code, text) == (0, alone)
        assert re.fullmatch(
            r"rung: draft: \d+ of \d+ tokens accepted; \d+ calls of the model for \d+.*\n", err
        )
    _, out, err = shell(*how, "--draft", "lookup", "--json", "--samples", "2")
    told = json.loads(out)
    assert err == ""
    report, made = told["draft"], sum(sample["tokens"] for sample in told["samples"])
    assert report["tokens"] == made
    assert report["model_calls"] + report["accepted"] >= made
    assert report["accepted"] <= report["drafted"]


def test_log_probabilities_are_the_same_with_a_draft(runs: dict[str, str]) -> None:
    plain = rung.generate(runs["char"], "the ", temperature=0, max_tokens=30)
    drafted = rung.generate(runs["char"], "the ", temperature=0, max_tokens=30, draft=runs["other"])
    assert [one.text for one in plain] == [one.text for one in drafted]
    assert drafted[0].token_log_probs == pytest.approx(plain[0].token_log_probs, abs=1e-4)


@pytest.mark.parametrize("name", ["word", "char"])
def test_forms(shell: Shell, runs: dict[str, str], tmp_path: Path, name: str) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text(
        '{"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"],'
        ' "additionalProperties": false}'
    )
    for flag, value, fits in (
        ("--regex", "(cow|horse)s? [0-9]{2}", lambda text: re.fullmatch("(cow|horse)s? [0-9]{2}", text)),
        ("--choices", "yes|no|maybe", lambda text: text in ("yes", "no", "maybe")),
        ("--json-schema", str(schema), lambda text: json.loads(text) in ({"n": 1}, {"n": 2})),
    ):
        code, out, _ = shell("sample", runs[name], "the ", flag, value, "--samples", "3", "--json")
        assert code == 0
        for sample in json.loads(out)["samples"]:
            assert sample["finish_reason"] == "end"
            assert fits(sample["text"]), sample["text"]
    assert rung.generate(runs[name], choices="yes")[0].text == "yes"


def test_novelty(shell: Shell, runs: dict[str, str]) -> None:
    code, out, _ = shell("sample", runs["word"], "--novelty", "--samples", "3", "--max-tokens", "12")
    assert code == 0
    assert out.count("\n(") == 3
    _, out, _ = shell("sample", runs["word"], "--novelty", "--samples", "3", "--max-tokens", "12", "--json")
    text = Path(runs["text"]).read_text(encoding="utf-8")
    for sample in json.loads(out)["samples"]:
        found = sample["novelty"]
        assert found["longest"] in sample["text"]
        assert found["longest"] in text
        assert found["whole"] == (found["longest"] == sample["text"])


def test_fill_ranks_by_what_score_says(shell: Shell, runs: dict[str, str]) -> None:
    text = " ".join(Path(runs["text"]).read_text(encoding="utf-8").split("\n")[0].split()[:4])
    words = text.split()
    masked = " ".join([words[0], "[MASK]", *words[2:]])
    code, out, _ = shell("fill", runs["word"], masked, "--n-best", "3", "--json")
    assert code == 0
    fillings = json.loads(out)["fillings"]
    assert len(fillings) == 3
    assert [f["log_prob"] for f in fillings] == sorted((f["log_prob"] for f in fillings), reverse=True)
    for filling in fillings:
        told = score_text(rung.load(runs["word"]), filling["text"])
        assert told["log_prob"] == pytest.approx(filling["log_prob"], rel=1e-4)
        assert sum(step["log_prob"] for step in told["steps"]) == pytest.approx(told["log_prob"])
    _, out, _ = shell("fill", runs["word"], masked, "--n-best", "3")
    assert len(out.splitlines()) == 3
    assert out.split()[0] == f"{fillings[0]['log_prob']:.3f}"
    assert fill(rung.load(runs["word"]).model, rung.load(runs["word"]).tokenizer, masked) == rung.fill(
        runs["word"], masked
    )


def test_fill_measures_a_file(shell: Shell, runs: dict[str, str]) -> None:
    found = {}
    for name in ("char", "other"):
        code, out, _ = shell(
            "fill", runs[name], "--file", runs["text"], "--most", "60", "--seed", "3", "--json"
        )
        assert code == 0
        found[name] = json.loads(out)
        low, high = found[name]["top1_ci95"]
        assert low <= found[name]["top1"] <= high
        assert found[name]["top1"] <= found[name]["top5"]
        assert found[name]["mean_rank"] >= 1
    assert found["char"]["masked"] == found["other"]["masked"] == 60
    assert found["char"]["top1"] > found["other"]["top1"]  # more letters of context
    code, out, _ = shell("fill", runs["word"], "--file", runs["text"], "--most", "20")
    assert code == 0
    assert "20 word tokens masked" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fill", "char", "no mask here"), "no [MASK]"),
        (("fill", "char"), "give one text"),
        (("fill", "char", "[MASK]", "--file", "text"), "give one text"),
        (("fill", "char", "--file", "text", "--mask-rate", "2"), "--mask-rate 2"),
        (("sample", "char", "--draft", "word"), "another tokeniser"),
        (("sample", "char", "--draft", "nowhere"), "there is no run folder"),
        (("sample", "char", "--draft", "lookup", "--beams", "2"), "--draft does not go with --beams"),
        (("sample", "char", "--regex", "a(b"), "unclosed group"),
        (("sample", "char", "--regex", "[^\\s\\S]"), "no text can match it"),
        (("sample", "char", "--regex", "a", "--choices", "b"), "do not go together"),
        (("sample", "char", "--choices", ""), "empty choice"),
        (("sample", "char", "--json-schema", "text"), "JSON"),
        (("sample", "char", "--regex", "abc", "--ban", "b"), "no token is left"),
    ],
)
def test_mistakes(shell: Shell, runs: dict[str, str], arguments: tuple[str, ...], message: str) -> None:
    code, _, err = shell(*(runs.get(argument, argument) for argument in arguments))
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert err.startswith("rung: ")


def test_a_text_that_only_looks_finished_is_told(shell: Shell, runs: dict[str, str]) -> None:
    """`n` is no choice; `yes`, cut at its last letter, is one."""
    for tokens, words in (("1", "not finished: --max-tokens cut it at 1"), ("3", None)):
        code, _, err = shell("sample", runs["char"], "--choices", "yes|yea", "--max-tokens", tokens)
        assert code == 0
        assert (words in err) if words else err == ""
    begins = score_text(rung.load(runs["word"]), "the")["steps"][0]["text"]
    code, out, err = shell(
        "sample", runs["word"], "--choices", f"{begins}|{begins}{begins}", "--max-tokens", "1"
    )
    assert (code, out, err) == (0, f"{begins}\n", "")
    code, out, err = shell("sample", runs["char"], "--regex", "ab", "--min-tokens", "5")
    assert (code, out) == (0, "ab\n")
    assert "after 2 tokens, below --min-tokens 5" in err
