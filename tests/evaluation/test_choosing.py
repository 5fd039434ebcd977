"""What is chosen by its score: whole records, by a threshold, by rank, the worst; a survey first; memory is told."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rung
from rung.cli import main
from rung.errors import UserError
from rung.evaluation.filter import Scoring
from rung.evaluation.rank import Ranked, Worst
from rung.evaluation.survey import BINS, survey
from rung.runs import Run
from tests.text_made import sentences

LINES = [line for line in sentences(60, seed=3).splitlines() if line] + ["zq xj vvk", "", "ÿþ åß"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    (folder / "text.txt").write_text(sentences(400), encoding="utf-8")
    return rung.train("ngram", folder / "text.txt", out=folder / "run", order=3, tokenizer="word")


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("lines.txt")
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return path


def given_out(run: Run, file: Path | str, **settings: object) -> list[dict]:
    parts = Scoring(run, str(file), **settings).parts()  # pyright: ignore[reportArgumentType]
    return [json.loads(line) for part in parts for line in part.output.splitlines()]


def bits_of_lines(run: Run, lines: Path) -> list[float | None]:
    return [score["bits_per_byte"] for score in given_out(run, lines)]


def test_a_kept_line_comes_with_its_number(run: Run, lines: Path):
    kept = given_out(run, lines, keep="bits_per_byte < 1.2")
    assert 0 < len(kept) < len(LINES)
    for found in kept:
        assert list(found) == ["line", "text", "log_prob", "tokens", "bytes", "bits_per_byte"]
        assert LINES[found["line"] - 1] == found["text"]


def test_numbers_go_on_from_batch_to_batch(run: Run, lines: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("rung.evaluation.filter.BATCH_BYTES", 64)
    found = given_out(run, lines, keep="bytes > 0")
    assert [one["line"] for one in found] == [i for i, line in enumerate(LINES, 1) if line]


@pytest.mark.parametrize("batch_bytes", [64, 1 << 20])
@pytest.mark.parametrize(("share", "top"), [("top 10%", True), ("bottom 7 %", False), ("top 5", True)])
def test_a_share_is_kept_exactly_and_in_the_files_order(
    run: Run, lines: Path, monkeypatch: pytest.MonkeyPatch, share: str, top: bool, batch_bytes: int
):
    bits = bits_of_lines(run, lines)
    monkeypatch.setattr("rung.evaluation.filter.BATCH_BYTES", batch_bytes)
    found = given_out(run, lines, keep=share)
    ranked = [b for b in bits if b is not None]  # the empty line has no rank
    n = {"top 10%": math.ceil(len(ranked) / 10), "bottom 7 %": math.ceil(len(ranked) * 7 / 100), "top 5": 5}[
        share
    ]
    assert len(found) == n
    assert [one["line"] for one in found] == sorted(one["line"] for one in found)
    kept = sorted(one["bits_per_byte"] for one in found)
    assert kept == (sorted(ranked)[:n] if top else sorted(ranked)[-n:])


@given(
    st.lists(st.sampled_from([0.5, 1.0, 2.0, math.inf, math.nan]), max_size=40),
    st.integers(1, 100),
    st.booleans(),
)
def test_a_share_has_its_size_and_none_left_out_is_better(bits: list[float], share: int, top: bool):
    ranked = Ranked.read(f"{'top' if top else 'bottom'} {share}%")
    assert ranked is not None
    values = np.array(bits)
    kept = ranked(values)
    known = ~np.isnan(values)
    assert kept.sum() == -(-share * known.sum() // 100)
    assert not kept[~known].any()
    inside, outside = values[kept], values[known & ~kept]
    if len(inside) and len(outside):
        assert inside.max() <= outside.min() if top else inside.min() >= outside.max()


@pytest.mark.parametrize("said", ["top", "top 0%", "top 101%", "bottom -3", "top 2.5", "top ten%"])
def test_a_share_that_is_none_is_refused(said: str):
    with pytest.raises(UserError, match=r"give a share or a number of records"):
        Ranked.read(said)


def test_a_pipe_cant_be_read_twice(run: Run):
    with pytest.raises(UserError, match=r"reads twice, which standard input can't be"):
        Scoring(run, "-", keep="top 10%")


def test_the_worst_come_worst_first(run: Run, lines: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("rung.evaluation.filter.BATCH_BYTES", 64)
    bits = [b for b in bits_of_lines(run, lines) if b is not None]
    found = given_out(run, lines, worst=4)
    assert [one["bits_per_byte"] for one in found] == sorted(bits, reverse=True)[:4]
    assert {found[0]["text"], found[1]["text"]} == {"zq xj vvk", "ÿþ åß"}
    among = given_out(run, lines, keep="bits_per_byte < 1.2", worst=2)
    assert [one["bits_per_byte"] for one in among] == sorted((b for b in bits if b < 1.2), reverse=True)[:2]


def test_of_equally_bad_ones_the_first_stay():
    worst = Worst(2)
    worst.add(np.array([1.0, 3.0, np.nan]), ["a", "b", "c"])
    worst.add(np.array([3.0, math.inf]), ["d", "e"])
    assert worst.lines() == ["e", "b"]


@pytest.mark.parametrize(("name", "out", "mark"), [("x.csv", "y.csv", ";"), ("x.tsv", "y.tsv.gz", "\t")])
def test_a_table_stays_a_table(run: Run, tmp_path: Path, name: str, out: str, mark: str):
    rows = [
        ["id", "text", "tokens"],
        ["1", f'the "cows"{mark} eat', "mine"],
        ["2", "hay", ""],
        ["3", "", "x"],
    ]
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=mark).writerows(rows)
    (tmp_path / name).write_text(
        file.getvalue() + ("4\n" if mark == ";" else ""), encoding="utf-8", newline=""
    )
    scored = given_out(run, tmp_path / name)
    list(Scoring(run, str(tmp_path / name), out=tmp_path / out).parts())
    data = (tmp_path / out).read_bytes()
    if out.endswith(".gz"):
        import gzip

        data = gzip.decompress(data)
    found = list(csv.DictReader(io.StringIO(data.decode(), newline=""), delimiter=mark))
    assert list(found[0]) == [
        "id",
        "text",
        "tokens",
        "log_prob",
        "rung_tokens",
        "bytes",
        "bits_per_byte",
        "error",
    ]
    for row, given_row, score in zip(found[:3], rows[1:], scored[:3], strict=True):
        assert [row["id"], row["text"], row["tokens"]] == given_row
        assert float(row["log_prob"]) == pytest.approx(score["log_prob"])
        assert (row["bits_per_byte"] == "") == (score["bits_per_byte"] is None)
    if mark == ";":
        assert (found[3]["id"], found[3]["log_prob"]) == ("", "")
        assert "1 column, but the header has 3" in found[3]["error"]


def test_kept_rows_are_the_same_as_kept_objects(run: Run, tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_text(
        "id,text\n" + "".join(f"{i},{line}\n" for i, line in enumerate(LINES) if line), encoding="utf-8"
    )
    how: dict[str, Any] = {"keep": "top 20%"}
    list(Scoring(run, str(path), out=tmp_path / "kept.csv", **how).parts())
    table = list(csv.DictReader(io.StringIO((tmp_path / "kept.csv").read_text(encoding="utf-8"))))
    objects = given_out(run, path, **how)
    assert [(row["id"], row["text"]) for row in table] == [(one["id"], one["text"]) for one in objects]
    assert list(table[0]) == ["id", "text", "log_prob", "tokens", "bytes", "bits_per_byte"]
    list(Scoring(run, str(path), out=tmp_path / "none.csv", keep="bytes < 0").parts())
    assert (tmp_path / "none.csv").read_text() == "id,text,log_prob,tokens,bytes,bits_per_byte\n"


def test_a_survey_of_all_has_their_quantiles(run: Run, lines: Path):
    bits = sorted(b for b in bits_of_lines(run, lines) if b is not None)
    found = survey(run, str(lines))
    assert (found.records, found.scored, found.empty, found.bad) == (len(LINES), len(bits), 1, 0)
    for share, value in found.quantiles.items():  # at least that share has at most that much
        assert sum(b <= value + 1e-6 for b in bits) / len(bits) >= share
        assert sum(b < value - 1e-6 for b in bits) / len(bits) < share
    assert (len(found.edges), sum(found.counts)) == (BINS + 1, len(bits))


def test_a_sample_is_no_larger_than_asked_and_the_same_each_time(run: Run, lines: Path):
    first, second = (survey(run, str(lines), sample=7) for _ in range(2))
    assert first == second
    assert (first.scored, first.records) == (7, len(LINES))


def command(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_command_surveys(run: Run, lines: Path, capsys: pytest.CaptureFixture[str]):
    code, out, err = command(capsys, "score", run.folder, lines, "--survey")
    assert (code, err.count("\n")) == (0, 1)
    assert "stands word for word in the training text" in err  # the same grammar
    assert '--keep "top 10%" keeps exactly a tenth' in out
    code, out, err = command(capsys, "score", run.folder, lines, "--survey", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["quantiles"].keys() >= {"0.1", "0.5"}
    code, out, err = command(capsys, "score", run.folder, lines, "--survey", "--keep", "top 3")
    assert (code, out) == (2, "")
    assert "--survey chooses nothing" in err


def test_training_rows_are_told(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    learned = run.corpus.tokenizer.decode(run.corpus.train.document(0)).splitlines()
    (tmp_path / "learned.txt").write_text("\n".join([*learned[:50], "never seen before"]), encoding="utf-8")
    (tmp_path / "new.txt").write_text(
        "\n".join(f"a new line, number {i}" for i in range(50)), encoding="utf-8"
    )
    code, _, err = command(capsys, "score", run.folder, tmp_path / "learned.txt", "--keep", "top 10%")
    assert code == 0
    assert "of what was scored stands word for word in the training text" in err
    code, _, err = command(capsys, "score", run.folder, tmp_path / "new.txt")
    assert (code, err) == (0, "")
