"""Scoring at scale: every format, in order, in constant memory, bad records marked, output whole or not there."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import os
import subprocess
import sys
import time
import tracemalloc
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

import rung
from rung.cli import main
from rung.errors import UserError
from rung.evaluation.filter import Scoring
from rung.evaluation.token_scores import score_text
from rung.runs import Run
from rung.text.record_batches import BATCH_BYTES, open_records
from tests.text_made import sentences

TEXTS = [
    "the cows eat grass.",
    "",
    "Romeo sees the moon, and a «letter»; 素早い狐 👩‍👩‍👧",
    " two  goats",
    'she said "hay", twice',
    "a farmer wants bread and wine. " * 40,
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    (folder / "text.txt").write_text(sentences(400), encoding="utf-8")
    return rung.train("ngram", folder / "text.txt", out=folder / "run", order=3, tokenizer="word")


def scores(run: Run, file: Path | str, **settings: str | Path) -> list[dict]:
    return [json.loads(line) for line in text_of(Scoring(run, str(file), **settings).parts()).splitlines()]  # pyright: ignore[reportArgumentType]


def text_of(parts) -> str:
    return "".join(part.output for part in parts)


def write(path: Path, data: bytes) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(data))
    elif path.suffix == ".zst":
        with pyarrow.CompressedOutputStream(str(path), "zstd") as file:
            file.write(data)
    else:
        path.write_bytes(data)
    return path


def read(path: Path) -> str:
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes()).decode()
    if path.suffix == ".zst":
        with pyarrow.input_stream(str(path), compression="zstd") as file:
            return file.read().decode()
    return path.read_text(encoding="utf-8")


def one_by_one(run: Run, texts: list[str]) -> list[dict]:
    """The slow twin: each text encoded and scored by itself; an empty one is no document."""
    found = []
    for text in texts:
        ids = np.append(run.tokenizer.encode(text), run.tokenizer.end) if text else []
        total = float(run.model.score(ids).sum(dtype=np.float64)) if text else 0.0
        n = len(text.encode())
        bits = -total / (math.log(2) * n) if n else None
        found.append({"log_prob": total, "tokens": len(ids), "bytes": n, "bits_per_byte": bits})
    return found


def assert_same(found: list[dict], expected: list[dict]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert list(ours) == ["log_prob", "tokens", "bytes", "bits_per_byte"]
        for name, value in theirs.items():
            assert ours[name] == (value if value is None else pytest.approx(value, rel=1e-6))


def as_csv(rows: list[dict], delimiter: str) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("format", [".txt", ".jsonl", ".ndjson", ".csv", ".tsv"])
def test_every_format_gives_the_scores_of_its_texts_in_order(
    run: Run, tmp_path: Path, format: str, packing: str
) -> None:
    rows = [{"id": i, "text": text} for i, text in enumerate(TEXTS)]
    data = {
        ".txt": "".join(text + "\n" for text in TEXTS).encode(),
        ".csv": as_csv(rows, ","),
        ".tsv": as_csv(rows, "\t"),
    }.get(format, "".join(json.dumps(row) + "\n" for row in rows).encode())
    expected = one_by_one(run, TEXTS)
    assert_same(scores(run, write(tmp_path / f"x{format}{packing}", data)), expected)
    marked = write(tmp_path / f"marked{format}{packing}", b"\xef\xbb\xbf" + data.removesuffix(b"\n"))
    assert_same(scores(run, marked), expected)


def test_parquet_too(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = {"id": range(len(TEXTS)), "body": TEXTS, "title": ["x"] * len(TEXTS)}
    parquet.write_table(pyarrow.table(table), path, row_group_size=2)
    assert_same(scores(run, path, field="body"), one_by_one(run, TEXTS))
    with pytest.raises(UserError, match=r"no column 'text'.*body"):
        scores(run, path)
    with pytest.raises(UserError, match="'id' is not text"):
        scores(run, path, field="id")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)))
def test_any_lines(run: Run, tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("lines") / "x.txt"
    path.write_bytes("".join(text + "\r\n" for text in texts).encode())
    if not texts or not texts[0].startswith("\ufeff"):
        assert_same(scores(run, path), one_by_one(run, texts))


def test_lines_longer_than_a_batch_and_ends_at_its_edges(run: Run, tmp_path: Path) -> None:
    long = "the cows eat grass. " * (3 * BATCH_BYTES // 20)
    edge = "x" * (BATCH_BYTES - 1)
    path = write(tmp_path / "x.txt", "\n".join([edge, "", "a farmer", long, "hay"]).encode())
    assert [score["bytes"] for score in scores(run, path)] == [len(edge), 0, 8, len(long), 3]


def test_a_stream_of_lines_to_a_library_user_is_the_same(run: Run, tmp_path: Path) -> None:
    texts = [text for text in TEXTS if text]
    path = write(tmp_path / "x.txt", "\n".join(texts).encode())
    found = [score.log_prob for score in rung.score(run, texts)]
    assert [score["log_prob"] for score in scores(run, path)] == pytest.approx(found, rel=1e-6)


BAD_LINES = [
    (b'{"text": "hay", "id": 1.10, "n": 12345678901234567890}', None),
    (b'{"text": "\xff"}', "not UTF-8"),
    (b'{"text": "hay"', "not JSON"),
    (b"hay", "not JSON"),
    (b"[1]", "not an object but list"),
    (b'{"txt": "hay"}', "no field 'text' (there are: txt)"),
    (b"{}", "no field 'text'"),
    (b'{"text": null, "id": 7}', "NoneType, not text"),
    (b'{"text": 3}', "int, not text"),
    (b'{"text": {"text": "hay"}}', "dict, not text"),
    (b"[" * 100_000, "not JSON that can be read"),
    (b'{"text": "hay", "id": 2}', None),
    (b'  {"text": "half \\ud83d of one" }\t', None),
]


def test_bad_json_lines_keep_their_places(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", b"\n".join(line for line, _ in BAD_LINES) + b"\n")
    (part,) = Scoring(run, str(path)).parts()
    found = [json.loads(line) for line in part.output.splitlines()]
    errors = []
    for number, (entry, (_, says)) in enumerate(zip(found, BAD_LINES, strict=True), 1):
        if says is None:
            assert list(entry) == ["log_prob", "tokens", "bytes", "bits_per_byte"]
        else:
            assert list(entry) == ["error"]
            assert entry["error"].startswith(f"{path}:{number}: ")
            assert says in entry["error"]
            errors.append(entry["error"])
    assert part.errors == errors
    assert (part.records, part.kept) == (len(BAD_LINES), len(BAD_LINES))
    assert found[0] == found[-2]
    assert found[-1]["bytes"] == len("half \ufffd of one".encode())
    kept = scores(run, path, keep="bytes > 0")
    good = [(line, entry) for (line, _), entry in zip(BAD_LINES, found, strict=True) if "error" not in entry]
    assert kept == [{**json.loads(line), **entry} for line, entry in good]


def test_numbers_that_json_has_not_come_out_as_null(run: Run, tmp_path: Path) -> None:
    """Python writes and reads NaN; jq and most other readers refuse a file that holds it."""
    rows = [
        '{"text": "hay", "x": NaN}',
        '{"text": "NaN", "y": [-Infinity,  1.50]}',
        '{"text": "Infinity, NaN"}',
    ]
    for name, data in (("x.jsonl", "\n".join(rows)), ("x.json", f"[{', '.join(rows)}]")):
        out = tmp_path / f"out-of-{name}.jsonl"
        list(Scoring(run, str(write(tmp_path / name, data.encode())), out=out).parts())
        found = [json.loads(line, parse_constant=pytest.fail) for line in out.read_text().splitlines()]
        assert [row.get("x", row.get("y")) for row in found] == [None, [None, 1.5], None]
        assert [row["text"] for row in found] == ["hay", "NaN", "Infinity, NaN"]


class Chunks(io.RawIOBase):
    """A pipe that gives what was written into it piece by piece."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self.pieces.pop(0) if self.pieces else b""
        buffer[: len(piece)] = piece
        return len(piece)


def test_a_byte_order_mark_may_come_through_a_pipe_by_itself(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pieces in ((b"\xef\xbb\xbf", b"hay\n"), (b"\xef", b"\xbb\xbfhay\n", b"x\n"), (b"\xef\xbb\xbf",)):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(Chunks(*pieces))))
        found = [json.loads(line) for part in Scoring(run, "-").parts() for line in part.output.splitlines()]
        assert [row["bytes"] for row in found] == [3, 1][: len(pieces) - 1]


def test_whole_records_come_out_as_they_were_spelled(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", b"\n".join(line for line, _ in BAD_LINES))
    out = tmp_path / "new" / "out.jsonl.zst"
    list(Scoring(run, str(path), out=out).parts())
    lines = read(out).splitlines()
    assert len(lines) == len(BAD_LINES)
    assert lines[0].startswith('{"text": "hay", "id": 1.10, "n": 12345678901234567890, "log_prob": ')
    for line, score, (data, says) in zip(lines, scores(run, path), BAD_LINES, strict=True):
        assert list(json.loads(line)) == [*fields_of(data), *score]
        assert json.loads(line) == {**(json.loads(data) if fields_of(data) else {}), **score}, says


def fields_of(line: bytes) -> list[str]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return []
    return list(value) if isinstance(value, dict) else []


def test_fields_that_a_record_has_are_left_alone(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", b'{"text":"hay","tokens":"mine"}\n{"error":1}\n{"text":"hay"}\n')
    once, twice, thrice = tmp_path / "1.jsonl", tmp_path / "2.jsonl", tmp_path / "3.jsonl"
    list(Scoring(run, str(path), out=once).parts())
    first, second, third = (json.loads(line) for line in once.read_text().splitlines())
    assert list(first) == ["text", "tokens", "log_prob", "rung_tokens", "bytes", "bits_per_byte"]
    assert (first["tokens"], first["rung_tokens"]) == ("mine", third["tokens"])
    assert second["error"] == 1
    assert "no field 'text'" in second["rung_error"]
    list(Scoring(run, str(once), out=twice).parts())
    list(Scoring(run, str(twice), out=thrice).parts())
    first = json.loads(thrice.read_text().splitlines()[0])
    assert first["tokens"] == "mine"
    assert first["log_prob"] == first["rung_log_prob"] == third["log_prob"]
    assert len(first) == 9
    assert not any(name.startswith("rung_rung") for name in first)


def test_tables_keep_their_columns_and_bad_rows_are_marked(run: Run, tmp_path: Path) -> None:
    data = b'id,text,note\n1,hay,"two\nlines"\n2,short\n\n3,\xff,x\n4,corn,y\n5,a,b,c\n'
    path = write(tmp_path / "x.csv", data)
    out = tmp_path / "out.jsonl"
    list(Scoring(run, str(path), out=out).parts())
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [entry.get("id") for entry in found] == ["1", None, None, "4", None]
    assert {name: found[0][name] for name in ("id", "text", "note", "bytes")} == {
        "id": "1",
        "text": "hay",
        "note": "two\nlines",
        "bytes": 3,
    }
    errors = [entry["error"] for entry in found if "error" in entry]
    assert [error.removeprefix(f"{path}:").partition(";")[0] for error in errors] == [
        "4: 2 columns, but the header has 3",
        "6: not UTF-8",
        "8: 4 columns, but the header has 3",
    ]


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_a_quote_that_is_never_closed_costs_one_row(run: Run, tmp_path: Path, name: str) -> None:
    rows = ["id,text", *(f"{i},hay" for i in range(9997))]
    rows[5] = '4,"hay'
    (part,) = Scoring(run, str(write(tmp_path / name, "\n".join(rows).encode()))).parts()
    assert (part.records, len(part.errors)) == (9997, 1)
    assert ":6: a quote opens in this row and is never closed" in part.errors[0]
    lines = [json.loads(line) for line in part.output.splitlines()]
    assert ["error" in line for line in lines] == [i == 4 for i in range(9997)]


def test_what_holds_nothing_adds_nothing(run: Run, tmp_path: Path) -> None:
    """It is no document: what `score` counts is what `evaluate` measures."""
    data = {
        "x.txt": b"hay\n\n\r\n  \ncorn\n\n",
        "x.jsonl": b'\n{"text": "hay"}\n \t\n{"text": "  "}\r\n\r\n{"text": "corn"}\n',
        "x.csv": b'id,text\n\n1,hay\n2,"  "\r\n\r\n3,corn\n',
        "x.json": b'[{"text": "hay"},\n\n{"text": "  "}, {"text": "corn"}]\n\n',
    }
    for name, written in data.items():
        path = write(tmp_path / name, written)
        found = scores(run, path)
        measured = rung.evaluate(run, path, documents="lines")
        assert [score["bytes"] for score in found] == ([3, 0, 0, 2, 4, 0] if name == "x.txt" else [3, 2, 4])
        assert measured.documents == sum(score["bytes"] > 0 for score in found)
        assert measured.tokens == sum(score["tokens"] for score in found)
        assert -sum(score["log_prob"] for score in found) == pytest.approx(measured.nats)


@pytest.mark.parametrize(
    "text", ['[\n {"text": "hay",\n  "n": 1.10},\n [3]]', '{"text": "hay", "n": 1.10}\n[3]\n']
)
def test_a_json_file_is_an_array_or_lines(run: Run, tmp_path: Path, text: str) -> None:
    path, out = write(tmp_path / "x.json", text.encode()), tmp_path / "out.jsonl"
    list(Scoring(run, str(path), out=out).parts())
    first, second = out.read_text().splitlines()
    assert first.startswith('{"text": "hay", "n": 1.10, "log_prob": ')
    assert "2: not an object but list" in json.loads(second)["error"]


def test_few_zero_bytes_are_text_as_they_are_to_training(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "x.txt", b"ha\0y\ncorn\n")
    assert [score["bytes"] for score in scores(run, path)] == [4, 4]
    assert rung.evaluate(run, path, documents="lines").bytes == 8


def test_columns_of_one_name(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", b"id,text,id\n1,hay,2\n")
    assert [score["bytes"] for score in scores(run, path)] == [3]
    with pytest.raises(UserError, match="2 columns are called 'id'"):
        list(Scoring(run, str(path), out=tmp_path / "out.jsonl").parts())


def test_parquet_rows_come_out_whole(run: Run, tmp_path: Path) -> None:
    from datetime import date

    path, out = tmp_path / "x.parquet", tmp_path / "out.jsonl"
    table = {
        "text": ["hay", None, "corn"],
        "at": [date(2024, 5, 1)] * 3,
        "x": [1.5, float("nan"), None],
        "tags": [["a"], [], None],
    }
    parquet.write_table(pyarrow.table(table), path)
    list(Scoring(run, str(path), out=out).parts())
    first, second, third = (json.loads(line) for line in out.read_text().splitlines())
    assert (first["text"], first["at"], first["x"], first["tags"]) == ("hay", "2024-05-01", 1.5, ["a"])
    assert first["log_prob"] == scores(run, path)[0]["log_prob"]
    assert (second["x"], second["at"]) == (None, "2024-05-01")
    assert "row 2: field 'text' is NoneType" in second["error"]
    assert third["x"] is None


def test_kept_lines_are_those_of_the_input(run: Run, tmp_path: Path) -> None:
    lines = [*filter(None, sentences(200).splitlines()), "zzz qqq", "\ufffd"]
    path = write(tmp_path / "x.txt", "\n".join(lines).encode() + b"\n\xff\n")
    bits = [score.get("bits_per_byte") for score in scores(run, path)][:-1]
    expected = [line for line, b in zip(lines, bits, strict=True) if b is not None and b < 1.2]
    assert 0 < len(expected) < 150
    for name in ("kept.txt", "kept.txt.gz", "kept.text.zst"):
        parts = list(Scoring(run, str(path), keep="bits_per_byte < 1.2", out=tmp_path / name).parts())
        assert read(tmp_path / name) == "".join(line + "\n" for line in expected)
        assert sum(part.kept for part in parts) == len(expected)
    assert [s["bits_per_byte"] for s in scores(run, path, keep="bits_per_byte < 1.2")] == [
        b for b in bits if b is not None and b < 1.2
    ]


class Endless(io.RawIOBase):
    """A pipe that never ends, and counts what is taken from it."""

    taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        line = b"the cows eat grass and the old king forgets the moon.\n" * 300
        n = min(len(buffer), len(line))
        buffer[:n] = line[:n]
        self.taken += n
        return n


def test_an_endless_pipe_is_answered_as_it_is_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = Endless()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(pipe)))
    parts = Scoring(run, "-").parts()
    first = next(parts)
    assert first.records > 0
    assert pipe.taken <= 2 * BATCH_BYTES
    tracemalloc.start()
    list(islice(parts, 20))
    settled = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    list(islice(parts, 200))
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert pipe.taken > 3 * BATCH_BYTES
    assert held < settled + BATCH_BYTES
    assert peak < settled + 20 * BATCH_BYTES


def test_a_line_is_answered_before_the_next_is_waited_for(run: Run, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "rung", "score", str(run.folder), "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    answers = []
    for text in (b"hay\n", b"the cows\n"):
        process.stdin.write(text)
        answers.append(json.loads(process.stdout.readline()))
    process.stdin.close()
    assert [answer["bytes"] for answer in answers] == [3, 8]
    assert process.stdout.read() == b""
    process.stdout.close()
    assert process.wait(30) == 0


def test_the_file_appears_when_all_is_done_and_not_before(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "x.txt", sentences(60_000).encode())
    assert path.stat().st_size > BATCH_BYTES
    out = tmp_path / "out" / "scores.jsonl.gz"
    out.parent.mkdir()
    out.write_bytes(b"before")
    parts = Scoring(run, str(path), out=out).parts()
    next(parts)
    assert out.read_bytes() == b"before"
    parts.close()
    assert [entry.name for entry in out.parent.iterdir()] == [out.name]
    assert out.read_bytes() == b"before"
    parts = list(Scoring(run, str(path), out=out).parts())
    assert read(out) == text_of(parts)
    assert [part.position for part in parts][-1] == path.stat().st_size
    again = tmp_path / "again.jsonl.gz"
    list(Scoring(run, str(path), out=again).parts())
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_a_file_cut_short_is_refused_and_leaves_nothing(run: Run, tmp_path: Path, packing: str) -> None:
    whole = write(tmp_path / f"whole.txt{packing}", sentences(20_000).encode())
    cut = tmp_path / f"cut.txt{packing}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    out = tmp_path / "out" / "scores.jsonl"
    with pytest.raises(UserError, match="cut short or damaged"):
        list(Scoring(run, str(cut), out=out).parts())
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "settings", "says"),
    [
        ("nothing.txt", {}, "no file nothing.txt"),
        ("lines.tx", {}, "did you mean 'lines.txt'"),
        (".", {}, "folder"),
        ("lines.txt", {"field": "text"}, "--field text does not fit"),
        ("lines.txt", {"out": "lines.txt"}, "the file that is read"),
        ("lines.txt", {"out": "link.jsonl"}, "the file that is read"),
        ("lines.txt", {"out": "scores.parquet"}, "end its name in .jsonl"),
        ("lines.txt", {"out": "scores"}, "end its name in .jsonl"),
        ("lines.txt", {"out": "kept.txt"}, "would be a copy"),
        ("lines.txt", {"out": "folder.jsonl"}, "is a folder"),
        ("lines.txt", {"out": "lines.txt/scores.jsonl"}, "cannot write"),
        ("lines.txt", {"keep": "bits_per_bite < 2"}, "did you mean 'bits_per_byte'"),
        ("rows.jsonl", {"out": "kept.txt", "keep": "bytes > 1"}, "holds records"),
        ("rows.csv", {"field": "body"}, "no column 'body'"),
        ("rows.parquet.gz", {}, "unpack it first"),
        ("broken.parquet", {}, "no Parquet file"),
        ("many.jsonl", {"field": "txt"}, "all of the first 20 records are bad"),
        ("many.jsonl", {"field": "txt"}, "no field 'txt' (there are: id, text)"),
        ("binary.bin", {}, "binary.bin is binary, not text (byte 1 is 0x00)"),
        ("wide.csv", {}, "wide.csv is UTF-16"),
        ("latin.csv", {"out": "scores.jsonl"}, "latin.csv is not UTF-8 (its header)"),
    ],
)
def test_mistakes_get_one_line_and_leave_no_file(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    file: str,
    settings: dict[str, str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lines.txt").write_text("hay\ncorn\n")
    Path("link.jsonl").symlink_to("lines.txt")
    Path("folder.jsonl").mkdir()
    Path("rows.jsonl").write_text('{"text": "hay"}\n')
    Path("rows.csv").write_text("id,text\n1,hay\n")
    Path("rows.parquet.gz").write_bytes(gzip.compress(b"PAR1"))
    Path("broken.parquet").write_bytes(b"PAR1 not really")
    Path("many.jsonl").write_text('{"id": 1, "text": "hay"}\n' * 20)
    Path("binary.bin").write_bytes(b"\xff\x00\n" * 50)
    Path("wide.csv").write_bytes("text\nhay\n".encode("utf-16"))
    Path("latin.csv").write_bytes(b"text,caf\xe9\nhay,1\n")
    before = sorted(Path().iterdir())
    flags = [part for name, value in settings.items() for part in (f"--{name}", value)]
    with pytest.raises(SystemExit) as exit_:
        main(["score", str(run.folder), file, *flags])
    out, err = capsys.readouterr()
    assert (exit_.value.code, out) == (2, "")
    assert err.startswith("rung: ")
    assert err.count("\n") == 1
    assert says in err
    assert sorted(Path().iterdir()) == before


def command(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


def test_the_command_counts_what_is_bad_and_what_is_kept(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "x.jsonl", b'{"text": "hay"}\n' * 5 + b"bad\n" * 4)
    out = tmp_path / "out.jsonl"
    code, shown, err = command(capsys, "score", run.folder, path, "--out", out, "--keep", "bytes == 3")
    assert (code, shown) == (0, "")
    kept, bad = err.splitlines()
    assert kept == "rung: kept 5 of 9 records"
    assert bad.startswith(f"rung: 4 of 9 records not scored: {path}:6: not JSON")
    assert bad.endswith("; ...")
    assert bad.count("not JSON") == 3
    assert len(out.read_text().splitlines()) == 5

    stdin = SimpleNamespace(buffer=io.BytesIO(b'{"body": "hay"}\n'))
    monkeypatch.setattr(sys, "stdin", stdin)
    code, shown, err = command(
        capsys, "score", run.folder, "-", "--field", "body", "--keep", "-1 < bytes", "--quiet"
    )
    assert (code, json.loads(shown)["bytes"], err) == (0, 3, "")


def test_one_text_token_by_token(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    text = "the cows éat\nhay 👩‍👩‍👧"
    code, shown, err = command(capsys, "score", run.folder, "--text", text)
    assert (code, err) == (0, "")
    found = json.loads(shown)
    assert found == score_text(run, text)
    steps = found.pop("steps")
    assert_same([found], one_by_one(run, [text]))
    assert len(steps) == found["tokens"]
    assert "".join(step["text"] for step in steps) == text
    assert [step["text"] for step in steps[:2]] == ["the", " cows"]
    assert steps[-1]["text"] == ""
    assert math.fsum(step["log_prob"] for step in steps) == pytest.approx(found["log_prob"], rel=1e-12)
    assert score_text(run, "")["bits_per_byte"] is None
    assert command(capsys, "score", run.folder, "--text", "- a dash")[0] == 0
    for wrong in (
        ["--text", "x", "file.txt"],
        ["--text", "x", "--keep", "bytes > 1"],
        ["--text", "\udcff"],
        [],
    ):
        code, shown, err = command(capsys, "score", run.folder, *wrong)
        assert (code, shown, err.count("\n")) == (2, "", 1)


def test_ctrl_c_leaves_no_file(run: Run, tmp_path: Path) -> None:
    """The pipe stays open, so the command can't have ended by itself."""
    out = tmp_path / "out" / "scores.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "rung", "score", str(run.folder), "-", "--out", str(out)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(b"the cows eat grass.\n" * 1000)
    process.stdin.flush()
    while process.poll() is None and not (out.parent.exists() and any(out.parent.iterdir())):
        time.sleep(0.01)
    assert [entry.name for entry in out.parent.iterdir()] != [out.name]
    process.send_signal(2)
    process.wait(timeout=60)
    err = process.communicate()[1]  # which closes the pipe
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert list(out.parent.iterdir()) == []


def test_position_grows_to_the_packed_size(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl.gz", b'{"text": "' + os.urandom(600_000).hex().encode() + b'"}\n' * 1)
    records = open_records(str(path))
    seen = [records.position for _ in records.batches(1 << 16)]
    assert records.size == path.stat().st_size
    assert seen[-1] == records.size


def test_minus_infinity_is_valid_json(tmp_path: Path) -> None:
    """Maximum likelihood gives what was never seen no probability at all."""
    (tmp_path / "text.txt").write_text("cows eat grass\ncows eat corn\n" * 20)
    run = rung.train(
        "ngram",
        tmp_path / "text.txt",
        out=tmp_path / "r",
        order=2,
        smoothing="none",
        split="50/25/25",
        documents="lines",
    )
    path = write(tmp_path / "x.txt", b"cows eat corn\nzzz\n")
    (part,) = Scoring(run, str(path)).parts()
    certain, impossible = (json.loads(line, parse_constant=pytest.fail) for line in part.output.splitlines())
    assert certain["log_prob"] > -40
    assert (impossible["log_prob"], impossible["bits_per_byte"]) == (None, None)
