"""Texts with their translations, as they are read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rung.errors import UserError
from rung.tasks.translation import PairBatches
from rung.text.masking import PADDING
from rung.text.parallel import Sides, is_parallel, read_parallel
from rung.text.stream import TokenStream

PAIRS = [("Good day", "Guten Tag"), ("a, b", "ä;\tö"), ("牛", "Kuh 🙂")]


def write(folder: Path, kind: str) -> tuple[Path, Sides]:
    path = folder / f"a.{kind.split('-')[0]}"
    if kind == "jsonl":
        rows = [json.dumps({"source": a, "target": b}) for a, b in PAIRS]
    elif kind == "jsonl-nested":
        rows = [json.dumps({"translation": {"en": a, "de": b}}) for a, b in PAIRS]
    elif kind == "jsonl-named":
        rows = [json.dumps({"de": b, "en": a}) for a, b in PAIRS]
    elif kind == "txt":
        (folder / "b.txt").write_text("".join(b + "\n" for _, b in PAIRS), encoding="utf-8")
        rows = [a for a, _ in PAIRS]
    else:
        rows = [f"{a}\t{b}".replace("\tö", "ö") for a, b in PAIRS]
    path.write_text("".join(row + "\n" for row in rows), encoding="utf-8")
    sides = Sides("en", "de") if kind == "jsonl-named" else Sides()
    return path, Sides(target_file=str(folder / "b.txt")) if kind == "txt" else sides


@pytest.mark.parametrize("kind", ["jsonl", "jsonl-nested", "jsonl-named", "txt", "tsv"])
def test_every_form_holds_the_same_pairs(kind: str, tmp_path: Path):
    path, sides = write(tmp_path, kind)
    found = read_parallel(path, sides).pairs
    wanted = [(a, b.replace("\tö", "ö")) if kind == "tsv" else (a, b) for a, b in PAIRS]
    assert list(zip(found.texts, found.seconds, strict=True)) == wanted
    assert is_parallel(path) == (kind in ("jsonl", "jsonl-nested"))


@pytest.mark.parametrize(
    ("name", "text", "other", "told"),
    [
        ("a.txt", "a\nb\n", "x\n", r"b.txt ends before line 2, and .*a.txt goes on"),
        ("a.txt", "a\n\n", "x\ny\n", r"a.txt: line 2 has an empty source"),
        ("a.jsonl", '{"source": "a", "target": " "}\n', None, r"record 1 has an empty target"),
        ("a.jsonl", '{"source": "a"}\n', None, r"no field 'target'"),
        ("a.jsonl", '{"source": "a", "target": null}\n', None, r"record 1: 'target' is no text"),
        ("a.tsv", "a\tb\nc\n", None, r"line 2 has 1 columns; a pair is two"),
        ("a.txt", "a\n", None, r"is plain text; translations need rows"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    name: str, text: str, other: str | None, told: str, tmp_path: Path
):
    (tmp_path / name).write_text(text)
    sides = Sides()
    if other is not None:
        (tmp_path / "b.txt").write_text(other)
        sides = Sides(target_file=str(tmp_path / "b.txt"))
    with pytest.raises(UserError, match=told):
        read_parallel(tmp_path / name, sides)


def test_batches_hold_each_pair_once_an_epoch_and_leave_out_what_is_too_long():
    rng = np.random.default_rng(0)
    texts = [[rng.integers(0, 9, rng.integers(1, 8)) for _ in range(50)] for _ in range(2)]
    texts[0][7] = np.arange(9)
    pairs = TokenStream.of(texts[0], 9), TokenStream.of(texts[1], 9)
    batches = PairBatches(pairs, 8, 7, 3, slice(0, 7))
    seen = []
    for t in range(7):
        (sources, targets), n = batches.batch(t)
        assert n == (targets != PADDING).sum()
        for source, target in zip(sources, targets, strict=True):
            own = target[target != PADDING]
            assert own[-1] == 9
            seen.append((tuple(source[source != PADDING]), tuple(own[:-1])))
    wanted = [(tuple(a), tuple(b)) for a, b in zip(*texts, strict=True)]
    del wanted[7]
    assert sorted(seen) == sorted(wanted)
    half = [PairBatches(pairs, 8, 7, 3, part).batch(4).arrays for part in (slice(0, 3), slice(3, 7))]
    whole = batches.batch(4).arrays
    for side in (0, 1):
        rows = [row[row != PADDING].tolist() for part in half for row in part[side]]
        assert rows == [row[row != PADDING].tolist() for row in whole[side]]
