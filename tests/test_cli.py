"""The command line as a contract: outputs, exit codes, one-line errors, and what is never imported."""

from __future__ import annotations

import io
import json
import math
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rung.cli import main
from rung.models.counting.bigram import Bigram
from tests.models.cows import SENTENCES
from tests.text_made import names, sentences

TINY = ["--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--context", "16", "--steps", "5"]


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "text.txt"
    path.write_text(sentences(300), encoding="utf-8")
    return path


class Shell:
    """Run commands in this process: exit code, stdout, stderr."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        out, err = self._capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    def json(self, *arguments: str | Path) -> dict:
        code, out, err = self(*arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    def refused(self, *arguments: str | Path) -> str:
        """Exit code 2 and one line."""
        code, out, err = self(*arguments)
        assert code == 2, err
        assert out == ""
        assert err.startswith("rung: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err


@pytest.fixture
def rung(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def test_ctrl_c_while_the_program_is_loaded_is_answered_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    class Pressed:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "rung.cli.app":
                raise KeyboardInterrupt

    monkeypatch.delattr("rung.cli.app", raising=False)
    monkeypatch.delitem(sys.modules, "rung.cli.app", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Pressed, *sys.meta_path])
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "rung: stopped\n"


def test_ctrl_c_where_python_drops_exceptions_is_answered_all_the_same():
    """A callback of a weak reference, as import locks have them; what is raised there goes nowhere."""
    program = """
import weakref
from rung.interrupts import heard

class Thing: pass

def pressed(_): raise KeyboardInterrupt

with heard():
    try:
        thing = Thing()
        watched = weakref.ref(thing, pressed)
        del thing
        while True: pass
    except KeyboardInterrupt:
        print("stopped")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("stopped\n", "")


def test_what_cows_eat_counted_as_on_paper(rung: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of eleven times "cows eat", corn comes after four, grass three, hay two, if and which one each, wherever
    the words stand in a line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cows.txt").write_text("\n".join(SENTENCES) + "\n")
    counted = ["--tokenizer", "word", "--documents", "lines", "--smoothing", "none", "--order", "3"]
    rung.json("train", "ngram", "cows.txt", *counted, "--val", "cows.txt", "--test", "cows.txt")
    for prompt in ("cows eat", "the cows eat", "(cows eat", "if they let\ncows eat"):
        sampled = rung.json("sample", "runs/ngram", prompt, "--max-tokens", "1", "--top-logprobs", "5")
        top = sampled["samples"][0]["top_logprobs"][0]["top"]
        shares = {one["text"]: round(11 * math.exp(one["log_prob"]), 4) for one in top}
        assert shares == {" corn": 4, " grass": 3, " hay": 2, " if": 1, " which": 1}
    begun = rung.json("sample", "runs/ngram", "", "--max-tokens", "4", "--top-logprobs", "1")["samples"][0]
    assert "".join(token["text"] for token in begun["top_logprobs"]) == begun["text"]


def test_train_evaluate_score_sample(rung: Shell, text: Path, tmp_path: Path):
    trained = rung.json("train", "ngram", text, "--order", "4")
    assert trained.keys() == {"run", "validation", "train_seconds", "parameters"}
    assert trained["run"] == "runs/ngram"
    measured = rung.json("evaluate", "runs/ngram", "--split", "validation")
    keys = ("bits_per_byte", "nats_per_token", "perplexity", "tokens", "bytes", "documents", "split")
    assert {key: measured[key] for key in keys} == trained["validation"]

    lines = tmp_path / "lines.txt"
    lines.write_bytes(b"the cows eat grass.\n\n\xff\xfe\nRomeo sees the moon.\r\n")
    code, out, err = rung("score", "runs/ngram", lines)
    scores = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert len(scores) == 4
    assert (scores[0]["bytes"], scores[0]["tokens"]) == (19, 20)
    assert scores[1] == {"log_prob": 0, "tokens": 0, "bytes": 0, "bits_per_byte": None}
    assert "lines.txt:3" in scores[2]["error"]
    assert scores[3]["bytes"] == 20
    assert "1 of 4 records" in err

    sampled = rung.json(
        "sample", "runs/ngram", "the ", "--samples", "2", "--max-tokens", "10", "--temperature", "0"
    )
    assert [s.keys() for s in sampled["samples"]] == [{"text", "tokens", "log_prob", "finish_reason"}] * 2
    assert sampled["samples"][0] == sampled["samples"][1]
    code, out, _ = rung("sample", "runs/ngram", "the ", "--max-tokens", "10", "--temperature", "0")
    assert out == "the " + sampled["samples"][0]["text"] + "\n"


def test_scores_of_the_lines_add_up_to_the_measure(rung: Shell, text: Path, tmp_path: Path):
    listed = tmp_path / "names.txt"
    listed.write_text("\n".join(names(400)) + "\n")
    rung("train", "ngram", listed, "--order", "3", "--out", "r")
    measured = rung.json("evaluate", "r", listed)
    _, out, _ = rung("score", "r", listed)
    scores = [json.loads(line) for line in out.splitlines()]
    assert sum(s["tokens"] for s in scores) == measured["tokens"]
    assert sum(s["bytes"] for s in scores) == measured["bytes"]
    total = -sum(s["log_prob"] for s in scores) / measured["tokens"]
    assert total == pytest.approx(measured["nats_per_token"], rel=1e-6)
    # A list too short to be known for one is still read as the run's own text was.
    Path("few.txt").write_text("anna\njose\n")
    assert rung.json("evaluate", "r", "few.txt")["documents"] == 2


def test_all_for_training_measures_nothing(rung: Shell, text: Path):
    code, out, _ = rung("train", "ngram", text, "--split", "100/0/0", "--out", "r")
    assert (code, out.splitlines()[0]) == (0, "ngram: not measured, as no validation text was held out")
    again = rung.json("train", "neural-bigram", text, "--split", "100/0/0", "--steps", "2", "--out", "n")
    assert again["validation"] is None
    assert "no part 'test' (it has: train)" in rung.refused("evaluate", "r")
    assert rung.json("evaluate", "r", text)["bytes"] == len(text.read_bytes())
    for place, (command, says) in enumerate(
        (
            (("climb", text, "--rungs", "bigram,ngram"), "--test FILE"),
            (("climb", text, "--test", text), "mix learns its weights on validation text"),
            (("train", "best", text), "--val FILE"),
            (("train", "mix", text, "--runs", "r", "n"), "--val FILE"),
            (("train", "gpt", text, "--patience", "2"), "--val FILE"),
            (("train", "gpt", text, "--restarts", "2"), "--val FILE"),
        )
    ):
        assert says in rung.refused(*command, "--split", "100/0/0", "--out", f"x{place}")


def test_held_out_text_that_is_the_training_text_is_told(rung: Shell, text: Path):
    says = "100% of the validation text stands word for word in the training text (lines compared)"
    code, _, err = rung("train", "ngram", text, "--val", text, "--out", "r")
    assert (code, says in err) == (0, True)
    assert rung.json("evaluate", "r", "--split", "validation")["notes"][0].startswith(says)
    assert says in rung("evaluate", "r", "--split", "validation")[1]
    report = rung.json("climb", text, "--val", text, "--test", text, "--rungs", "bigram,ngram", "--out", "c")
    assert report["data"]["notes"][0].startswith(f"{text}: 3 documents, each a file")
    assert report["data"]["notes"][1].startswith(says)
    assert says in Path("c/report.html").read_text()


def test_climb_writes_one_report_and_shows_the_same(rung: Shell, text: Path):
    report = rung.json("climb", text, "--steps", "5", "--rungs", "bigram,ngram,neural-bigram", "--out", "c")
    assert [row["name"] for row in report["rungs"]] == ["bigram", "ngram", "neural-bigram"]
    keys = {"name", "run", "bits_per_byte", "ci95", "nats_per_token", "parameters", "train_seconds"}
    assert keys | {"tokens_per_second", "bytes_on_disk", "sample"} <= report["rungs"][0].keys()
    assert report["best"] == min(report["rungs"], key=lambda row: row["bits_per_byte"])["name"]
    assert json.loads(Path("c/report.json").read_text()) == report
    page = Path("c/report.html").read_text()
    for row in report["rungs"]:
        assert row["name"] in page
        assert f"{row['bits_per_byte']:.3f}" in page
        # Each rung's run stands by itself, and its own measure is the table's.
        assert rung.json("evaluate", row["run"])["bits_per_byte"] == pytest.approx(
            row["bits_per_byte"], rel=1e-6
        )
    assert len(report["steps"]) == 2


def test_count_and_trace_look_into_the_training_text(rung: Shell, text: Path):
    rung("train", "ngram", text, "--order", "3")
    train = "".join(Path("text.txt").read_text()[: int(0.9 * len(text.read_text())) - 100])
    found = rung.json("count", "runs/ngram", "the cows eat")
    assert found["count"] >= train.count("the cows eat") > 0
    assert len(found["places"]) == min(5, found["count"])
    code, out, _ = rung("count", "runs/ngram", "zebra")
    assert (code, out) == (0, "0 times\n")
    copied = train[50:150]
    Path("made.txt").write_text("XYZXYZ " + copied + " ZYXZYX")
    traced = rung.json("trace", "runs/ngram", "made.txt", "--min", "20")
    assert traced["longest"] >= len(copied)
    assert 0.8 < traced["share"] < 1
    assert "XYZ" not in "".join(passage["text"] for passage in traced["passages"])
    code, out, _ = rung("trace", "runs/ngram", "made.txt")
    assert "stand in training passages of 32 bytes or more" in out
    rung.refused("count", "runs/ngram", "")
    rung.refused("trace", "runs/ngram", "nothing.txt")


def test_mix_learns_weights_over_runs(rung: Shell, text: Path):
    rung("train", "bigram", text)
    rung("train", "ngram", text, "--order", "3")
    mixed = rung.json("train", "mix", text, "--runs", "runs/bigram", "runs/ngram")["validation"][
        "bits_per_byte"
    ]
    best = min(
        rung.json("evaluate", f"runs/{name}", "--split", "validation")["bits_per_byte"]
        for name in ("bigram", "ngram")
    )
    assert mixed <= best + 1e-6
    assert rung.json("sample", "runs/mix", "the ", "--max-tokens", "5")["samples"][0]["tokens"] == 5
    report = rung.json("climb", text, "--rungs", "mix,bigram,ngram", "--out", "c")
    assert [row["name"] for row in report["rungs"]] == ["bigram", "ngram", "mix"]
    assert (
        report["rungs"][2]["train_seconds"] > report["rungs"][1]["train_seconds"]
    )  # a part's time is its own too
    rung("train", "bigram", text, "--tokenizer", "byte", "--out", "bytes")
    assert "tokeniser" in rung.refused("train", "mix", text, "--runs", "runs/bigram", "bytes")
    assert "--runs" in rung.refused("train", "mix", text)


def test_a_run_is_never_overwritten_unasked(rung: Shell, text: Path):
    rung("train", "bigram", text, "--out", "mine")
    before = Path("mine/model.safetensors").read_bytes()
    assert "--force" in rung.refused("train", "ngram", text, "--out", "mine")
    assert Path("mine/model.safetensors").read_bytes() == before
    assert rung("train", "ngram", text, "--out", "mine", "--force")[0] == 0
    assert rung.json("train", "bigram", text)["run"] == "runs/bigram"
    assert rung.json("train", "bigram", text)["run"] == "runs/bigram-2"


def test_a_run_works_without_its_data_and_says_what_is_missing(rung: Shell, text: Path):
    rung("train", "ngram", text, "--out", "r", "--order", "3")
    for file in Path("r/data").iterdir():
        file.unlink()
    Path("r/data").rmdir()
    assert rung("sample", "r", "--max-tokens", "5")[0] == 0
    assert rung.json("evaluate", "r", text)["documents"] == 1
    rung.refused("evaluate", "r")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "gtp", "text.txt"], "did you mean 'gpt'"),
        (["train", "ngram", "txet.txt"], "text.txt"),
        (["train", "ngram"], "needs DATA"),
        (["train"], "rung train gpt my.txt"),
        (["train", "ngram", "empty.txt"], "empty"),
        (["train", "ngram", "binary.bin"], "binary"),
        (["train", "ngram", "latin1.txt"], "UTF-8"),
        (["train", "ngram", "one-character.txt"], "--split"),
        (["train", "ngram", "table.csv", "--field", "body"], "text"),
        (["train", "ngram", "text.txt", "--vocab-size", "1"], "--vocab-size"),
        (["train", "ngram", "text.txt", "--split", "100/0/0/3"], "--split"),
        (["train", "ngram", "text.txt", "--order", "0"], "--order"),
        (["train", "ngram", "text.txt", "--order", "many"], "--order"),
        (["train", "ngram", "text.txt", "--n-layer", "2"], "--n-layer"),
        (["train", "ngram", "text.txt", "--tokenizer", "chars"], "char"),
        (["train", "gpt", "text.txt", "--n-head", "3", "--n-embd", "16"], "--n-head"),
        (["train", "gpt", "text.txt", "--device", "tpu"], "--device"),
        (["train", "--resume", "nothing"], "nothing"),
        (["evaluate", "nothing"], "nothing"),
        (["evaluate", "."], "run.json"),
        (["sample", "half"], "half"),
        (["climb", "text.txt", "--rungs", "bigram,trigram"], "trigram"),
        (["climb", "text.txt", "--split", "95/5/0", "--steps", "2"], "test"),
        (["fly"], "fly"),
        (["train", "ngram", "text.txt", "--seed", "-1"], "--seed"),
        (["train", "ngram", "text.txt", "--device", "gpu"], "--device"),
        (["climb", "text.txt", "--rungs", "bigram,mix"], "mix needs"),
        (["train", "ngram", "quote.csv"], "quote.csv"),
        (["train", "ngram", "text.txt", "--bogus", "3"], "--bogus"),
        (["train", "ngram", "--bogus"], "--bogus"),
        (["train", "ngram", "text.txt", "--out", "text.txt"], "text.txt"),
    ],
)
def test_bad_input_gets_one_line_that_names_it(rung: Shell, text: Path, arguments, says):
    Path("empty.txt").touch()
    Path("binary.bin").write_bytes(bytes(range(256)) * 40)
    Path("latin1.txt").write_bytes("naïve café\n".encode("latin-1") * 50)
    Path("one-character.txt").write_text("a")
    Path("table.csv").write_text("id,text\n1,hello\n2,world\n")
    Path("quote.csv").write_text('id,text\n1,"never closed\n2,world\n')
    Path("half").mkdir()
    Path("half/run.json").write_text('{"model": {"rung"')
    assert says in rung.refused(*arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sample", "r", "--novely"], "did you mean '--novelty'"),
        (["sample", "r", "--temprature", "0.5"], "did you mean '--temperature'"),
        (["score", "r", "--text", "T", "--steps"], "unknown option --steps"),
        (["count", "r", "--place", "5"], "did you mean '--places'"),
        (["fill", "r", "a[MASK]", "--nbest", "2"], "did you mean '--n-best'"),
        (["evaluate", "r", "--splt=test"], "did you mean '--split'"),
        (["trace", "r", "--mn"], "did you mean '--min'"),
        (["climb", "--step", "3", "text.txt"], "did you mean '--steps'"),
        (["train", "ngram", "--ordr", "3", "text.txt"], "did you mean '--order'"),
        (["scratch", "perceptron", "--sed", "3"], "did you mean '--seed'"),
        (["sample", "r", "two", "words"], "'words' is one argument too many"),
        (["sample", "r", "--temperature"], "--temperature needs a value"),
        (["sample"], "rung sample needs RUN"),
        (
            ["train", "ngram", "text.txt", "--order", "2.9"],
            "--order '2.9' is not possible: give a whole number",
        ),
        (["train", "ngram", "text.txt", "--seed", "0.5"], "whole number"),
        (["train", "gpt", "text.txt", "--steps", "1e-3"], "whole number"),
        (["train", "gpt", "text.txt", "--lr", "nan"], "--lr 'nan'"),
        (["train", "gpt", "text.txt", "--lr", "1e400"], "finite"),
        (["train", "gpt", "text.txt", "--shard=maybe"], "true or false"),
        (["train", "ngram", "text.txt", "--prune", "0", "0.5"], "--prune '0.5'"),
        (["train", "ngram", "text.txt", "--steps", "-1"], "--steps -1"),
        (["count", "r", "the", "--places", "-1"], "--places -1"),
        (["train", "gtp"], "rungs of classification: majority"),
        (["trace", "r", "--foo"], "unknown option --foo (rung trace --help lists them)"),
        (["trace", "r", "text.txt", "--no-json"], "did you mean '--json'"),
        (["train", "--resume"], "--resume needs a value"),
        (["train", "ngram", "text.txt", "--out", ""], "--out is empty"),
        (["export", "r", "--format", "arpa", "--out="], "--out is empty"),
        (["recipes", "--markdown", ""], "--markdown is empty"),
        (["train", "gpt", "text.txt", "--l2", "1e300"], "--l2 1e+300 is not possible: give from 0 to 1e+30"),
        (["train", "gpt", "text.txt", "--lr", "1e300"], "at most 1e+30"),
        (["train", "ngram", "text.txt", "--tokenizer", "bpe", "--vocab-size", "1e9"], "at most 10,000,000"),
        (["sample", "r", "--beams", "1e9"], "--beams 1000000000 is not possible: give 1 to 10,000"),
        (["sample", "r", "--samples", "1e9"], "give 1 to 1,000,000"),
    ],
)
def test_a_misread_option_is_told_with_what_was_meant(rung: Shell, text: Path, arguments, says):
    assert says in rung.refused(*arguments)


def test_numbers_as_people_write_them_and_prompts_that_look_like_options(rung: Shell, text: Path):
    rung("train", "bigram", text, "--out", "r", "--vocab-size", "1e3")
    made = rung("sample", "r", "--max-tokens", "0.003k", "--seed", "1_0", "--", "--novely")
    assert made[0] == 0
    assert len(made[1]) == len("--novely") + 4
    assert rung("count", "r", "- the")[1] == "0 times\n"
    rung("train", "bigram", text, "--out", "none", "--vocab-size", "none")
    assert Path("none", "run.json").exists()


@pytest.mark.parametrize(
    ("encoding", "set_by_user", "shown"),
    [
        ("ascii", True, b"\\u725b \\ud83d\\ude00\\u00e9"),
        ("latin-1", True, b"\\u725b \\ud83d\\ude00\xe9"),
        ("ascii", False, "牛 😀é".encode()),
    ],
)
def test_output_of_any_encoding_says_everything(
    text: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, set_by_user: bool, shown: bytes
):
    """What an encoding lacks is escaped as in JSON, so JSON still says the same; a pipe that nobody set gets UTF-8."""
    Path("u.txt").write_text("héllo 牛 😀 wörld\n" * 40, encoding="utf-8")
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    if set_by_user:
        monkeypatch.setenv("PYTHONIOENCODING", encoding)
    sampled = ["sample", "r", "牛 😀é", "--max-tokens", "1"]
    outputs = []
    for arguments in (["train", "bigram", "u.txt", "--out", "r"], [*sampled, "--json"], sampled):
        pipe = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe, encoding))
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        assert not exit_.value.code
        outputs.append(pipe.getvalue())
    assert json.loads(outputs[1].decode(encoding if set_by_user else "utf-8"))["prompt"] == "牛 😀é"
    assert outputs[2].startswith(shown)


def test_a_file_name_that_is_no_utf8_is_a_name_and_a_text_that_is_none_is_refused(rung: Shell, text: Path):
    name = os.fsdecode(b"caf\xe9.txt")  # as old archives have them
    Path(name).write_text(text.read_text())
    assert rung("climb", name, "--rungs", "bigram", "--out", "c")[0] == 0
    data = Path("c/bigram/run.json").read_bytes()
    assert json.loads(data.decode("utf-8"))["data"]["source"]["data"] == name
    assert json.loads(Path("c/report.json").read_bytes().decode("utf-8"))["data"]["name"] == name
    assert "caf" in Path("c/report.html").read_bytes().decode("utf-8")
    for arguments in (("count", "\udce9"), ("fill", "\udce9[MASK]"), ("sample", "--ban=\udce9")):
        assert "not UTF-8" in rung.refused(arguments[0], "c/bigram", *arguments[1:])


def test_standard_input_is_a_text(text: Path):
    done = subprocess.run(
        [sys.executable, "-m", "rung", "train", "ngram", "-", "--order", "3", "--json"],
        input=text.read_bytes(),
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)["validation"]["bytes"] > 0


def test_force_never_touches_a_folder_that_is_no_run(rung: Shell, text: Path):
    Path("site/checkpoints").mkdir(parents=True)
    Path("site/report.html").write_text("mine")
    Path("site/checkpoints/weights").write_text("mine too")
    assert "no run" in rung.refused("train", "bigram", text, "--out", "site", "--force")
    assert Path("site/report.html").read_text() == "mine"
    assert Path("site/checkpoints/weights").read_text() == "mine too"


def test_json_stays_json_when_a_number_is_infinite(rung: Shell, text: Path):
    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is not JSON")

    code, out, _ = rung("train", "ngram", text, "--smoothing", "none", "--order", "5", "--json", "--out", "r")
    assert code == 0
    for made in (
        out,
        Path("r/run.json").read_text(),
        rung("evaluate", "r", "--split", "validation", "--json")[1],
    ):
        json.loads(made, parse_constant=refuse)
    assert json.loads(out)["validation"]["bits_per_byte"] is None
    assert "inf bits per byte" in rung("evaluate", "r", "--split", "validation")[1]
    assert (
        rung("train", "ngram", text, "--smoothing", "none", "--order", "5", "--out", "r", "--force")[0] == 0
    )
    code, out, _ = rung("score", "r", "--text", "the xylophone")
    scored = json.loads(out, parse_constant=refuse)
    assert (code, scored["log_prob"], scored["bits_per_byte"]) == (0, None, None)


def test_what_is_no_number_is_no_measure(rung: Shell, text: Path, monkeypatch: pytest.MonkeyPatch):
    rung("train", "bigram", text, "--out", "r")
    monkeypatch.setattr(Bigram, "_log_totals", lambda self, first: np.full(np.shape(first), np.nan))
    for arguments in (
        ["evaluate", "r"],
        ["evaluate", "r", "--json"],
        ["score", "r", "text.txt"],
        ["score", "r", "--text", "the"],
        ["sample", "r", "the"],
        ["sample", "r", "the", "--beams", "2"],
        ["fill", "r", "the [MASK]"],
    ):
        assert "nan" in rung.refused(*arguments), arguments


def test_a_run_or_its_folder_in_python(text: Path):
    import rung

    run = rung.train("ngram", text, order=3, out="r")
    assert rung.evaluate("r") == rung.evaluate(run)
    assert rung.generate("r", "the", seed=1)[0].text == rung.generate(run, "the", seed=1)[0].text


def test_stupid_backoff_trains_and_is_refused_where_probabilities_are_needed(rung: Shell, text: Path):
    trained = rung.json("train", "ngram", text, "--smoothing", "stupid-backoff", "--prune", "0", "--out", "r")
    assert trained["validation"] is None
    assert "scores, not probabilities" in rung.refused("evaluate", "r")
    assert "scores, not probabilities" in rung.refused("sample", "r")
    assert rung("train", "ngram", text, "--order", "3", "--prune", "0", "1", "1", "--out", "p")[0] == 0


def test_a_mistyped_text_costs_no_run(rung: Shell, text: Path):
    rung("train", "bigram", text, "--out", "mine")
    before = {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()}
    rung.refused("train", "bigram", "txet.txt", "--out", "mine", "--force")
    assert {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()} == before
    rung.refused("train", "bigram", "txet.txt", "--out", "other")
    assert not Path("other").exists()


def test_settings_of_sampling_are_checked(rung: Shell, text: Path):
    rung("train", "bigram", text, "--out", "r")
    assert "--temperature" in rung.refused("sample", "r", "--temperature", "-1")
    assert "--top-k" in rung.refused("sample", "r", "--top-k", "0")
    assert rung("sample", "r", "👩‍👩‍👧 здравствуй 你好", "--max-tokens", "5")[0] == 0


def test_one_line_one_document_and_ten_megabytes_on_one_line(rung: Shell, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("line.txt").write_text("to be or not to be, that is the question, whether it is nobler in the mind")
    assert rung("train", "ngram", "line.txt")[0] == 0
    Path("long.txt").write_text("to be or not to be " * 550_000)
    assert rung("train", "bigram", "long.txt")[0] == 0


def test_a_context_longer_than_the_text_is_named_and_the_default_fits(rung: Shell, text: Path):
    Path("short.txt").write_text(sentences(12))
    assert "--context 5000" in rung.refused("train", "gpt", "short.txt", "--context", "5000", "--out", "a")
    assert rung("train", "gpt", "short.txt", "--n-layer", "1", "--steps", "2", "--out", "b")[0] == 0
    assert rung("sample", "b", "--max-tokens", "5")[0] == 0


def test_an_unwritable_folder_is_named(rung: Shell, text: Path):
    Path("file").write_text("")
    assert "file/run" in rung.refused("train", "bigram", text, "--out", "file/run")


def run_python(code: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_counting_never_imports_torch(text: Path, tmp_path: Path):
    code = f"""
import sys
from rung.cli import main
from rung.models.counting.bigram import Bigram
def rung(*arguments):
    try:
        main([*arguments])
    except SystemExit as exit_:
        assert not exit_.code, arguments
rung("train", "ngram", {str(text)!r}, "--out", "r", "--quiet")
rung("train", "bigram", {str(text)!r}, "--out", "b", "--quiet")
rung("evaluate", "r"); rung("score", "r", {str(text)!r}); rung("sample", "r", "--max-tokens", "5")
rung("climb", {str(text)!r}, "--rungs", "bigram,ngram", "--out", "c", "--quiet")
rung("--help")
print("torch" in sys.modules)
"""
    assert run_python(code, tmp_path).splitlines()[-1] == "False"


def test_importing_rung_imports_little(tmp_path: Path):
    heavy = "{'torch', 'numpy', 'matplotlib', 'pyarrow', 'tokenizers', 'rich', 'jinja2'}"
    assert run_python(f"import sys, rung; print(sorted({heavy} & set(sys.modules)))", tmp_path) == "[]\n"


def test_help_has_an_example_a_verb(rung: Shell):
    for verb in ("climb", "train", "evaluate", "score", "sample"):
        code, out, _ = rung(verb, "--help")
        assert code == 0
        assert f"Example: rung {verb}" in out
    code, out, _ = rung("train", "ngram", "--help")
    assert "--order" in out
    assert "--n-layer" not in out
    code, out, _ = rung("train", "gpt", "--help")
    headings = [line.split()[1] for line in out.splitlines() if line.startswith("╭─")]
    assert headings == [
        "Parameters",
        "Shape",
        "Budget",
        "Optimiser",
        "Training",
        "Text",
        "Run",
        "Start",
        "Sweep",
    ]
    assert "None" not in out
    assert re.search("fill +Which token stands behind", rung("--help")[1])
    assert "Example: rung fill" in rung("fill", "--help")[1]


@pytest.mark.parametrize("verb", [["score"], ["fill"], ["train", "gpt"], ["scratch", "graph"]])
def test_help_fills_its_lines(rung: Shell, monkeypatch: pytest.MonkeyPatch, verb: list[str]):
    """No line ends, within a paragraph, where the first word of the next would have found room."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.strip("│").rstrip() for line in rung(*verb, "--help")[1].splitlines()]
    for line, after in pairwise(lines):
        goes_on = len(after) - len(after.lstrip()) == len(line) - len(line.lstrip()) == 0 and line and after
        if goes_on and not after.startswith(("╭", "Example")):
            assert len(line) + 1 + len(after.split()[0]) > 80, line


def test_ctrl_c_saves_and_says_how_to_go_on(text: Path, tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-m", "rung", "train", "gpt", str(text), "--out", "r", *TINY[:-1], "1000000"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    events = tmp_path / "r" / "events.jsonl"
    while process.poll() is None and not (events.exists() and events.stat().st_size > 500):
        pass
    process.send_signal(2)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "rung train --resume r" in err
    assert (tmp_path / "r" / "checkpoints" / "last.safetensors").exists()
