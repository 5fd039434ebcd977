"""Rows of several columns: the same from every format, and one clear line for what can't be read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from rung.errors import UserError
from rung.text.formats import ROW_FORMATS, File, split_suffixes
from rung.text.records import read_rows

ROWS = [
    {"id": 1, "text": "one\nmore", "label": "good"},
    {"id": 2, "text": "two 敏", "label": "bad"},
    {"id": 3, "text": "", "label": "good"},
]


def rows_of(path: Path, **columns: str | None) -> Iterator[dict[str, Any]]:
    suffix, compression = split_suffixes(path)
    return read_rows(File(path.name, path, ROW_FORMATS[suffix], compression), columns)


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    suffix, compression = split_suffixes(path)
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        comma = "\t" if suffix == ".tsv" else ","
        lines = [rows[0].keys(), *([f'"{value}"' for value in row.values()] for row in rows)]
        path.write_text("".join(comma.join(line) + "\n" for line in lines))
    if compression:
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


@pytest.mark.parametrize("packing", ["", ".gz"])
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_every_format_gives_the_columns_that_are_asked_for(tmp_path: Path, suffix: str, packing: str) -> None:
    path = written(tmp_path / f"x{suffix}{packing}", ROWS)
    expected = [{"text": row["text"], "label": row["label"]} for row in ROWS]
    assert list(rows_of(path, text=None, label=None)) == expected
    assert list(rows_of(path, text="text", label="label")) == expected
    assert [row["kind"] for row in rows_of(path, kind="label")] == ["good", "bad", "good"]
    both = list(rows_of(path, text="label", label="label"))
    assert both == [{"text": row["label"], "label": row["label"]} for row in ROWS]
    with pytest.raises(
        UserError, match=r"x\..*no (field|column) 'stars' \(there are: id, text, label\)"
    ) as error:
        list(rows_of(path, text=None, label="stars"))
    assert str(error.value).endswith("choose one with --label")


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_only_text_has_to_be_text(tmp_path: Path, suffix: str) -> None:
    rows = [{"text": "a", "label": 3, "tags": ["X", "Y"]}, {"text": None, "label": None, "tags": []}]
    path = written(tmp_path / f"x{suffix}", rows)
    assert list(rows_of(path, text=None, label=None, tags=None)) == [rows[0], {**rows[1], "text": ""}]
    with pytest.raises(UserError, match=r"'label' is (int, )?not text"):
        list(rows_of(path, text="label", label="label"))


def test_the_only_column_serves_for_one_key_not_for_two(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv", [{"name": "ann"}, {"name": "bob"}])
    assert list(rows_of(path, text=None)) == [{"text": "ann"}, {"text": "bob"}]
    with pytest.raises(UserError, match="no column 'text'"):
        list(rows_of(path, text=None, label=None))


def test_a_row_is_there_before_the_broken_one_after_it(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,id,label\na,1,good\nb,2\n")
    (tmp_path / "x.jsonl").write_text('{"text": "a", "label": "good"}\n\n{"text": "b"}\n')
    for name, says in (
        (
            "x.csv",
            r"x\.csv:3: 2 columns, but the header has 3; put a text that holds ',' or a line end in double",
        ),
        ("x.jsonl", r"x\.jsonl:3: no field 'label' \(there are: text\); choose one with --label"),
    ):
        rows = rows_of(tmp_path / name, text=None, label=None)
        assert next(rows) == {"text": "a", "label": "good"}
        with pytest.raises(UserError, match=says):
            next(rows)
