"""Tables: what Python's csv writes is read alike, what Arrow refuses is refused by the line where it begins."""

from __future__ import annotations

import csv
import io

import pyarrow
import pyarrow.csv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.errors import UserError
from rung.text.tables import Row, Table


def rows_of(text: str, format: str = "csv") -> list[Row]:
    table = Table("x", format, io.StringIO(text, newline=""))
    return [(1, table.header, None), *table.rows()]


def cells_of(text: str, format: str = "csv") -> list[list[str]]:
    assert all(why is None for _, _, why in rows_of(text, format))
    return [cells for _, cells, _ in rows_of(text, format)]


CELL = st.text('a,;|\t"\n\r é', max_size=5)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@given(rows=st.lists(st.tuples(CELL, CELL), max_size=8))
def test_what_csv_writes_is_read(end: str, rows: list[tuple[str, str]]) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("id", "text"), *rows])
    assert cells_of(file.getvalue()) == [["id", "text"], *map(list, rows)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_of_the_header(delimiter: str) -> None:
    text = f'id{delimiter}"a,;\t|b"\n1{delimiter}",;\t|"\n'
    assert cells_of(text) == [["id", "a,;\t|b"], ["1", ",;\t|"]]
    assert cells_of("id,text;notes\n1,2;3\n") == [["id", "text;notes"], ["1", "2;3"]]
    assert cells_of("text\nhay; corn\n") == [["text"], ["hay; corn"]]


def test_a_header_with_two_delimiters_is_refused() -> None:
    with pytest.raises(UserError, match=r"^x:1: the delimiter is not clear: the header has ; and tab and no"):
        rows_of("id;text\tnote\n")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (
            "2,Hello, how are you?",
            "3 columns, but the header has 2; put a text that holds ',' or a line end in",
        ),
        ("2", "1 column, but the header has 2; "),
        ('2,"Hello', "a quote opens in this row and is never closed"),
        ('2,"5" pipe"', "a quoted text goes on after its closing quote, in line 3"),
        ('2,"5\n3,"6" pipe', "a quoted text goes on after its closing quote, in line 4"),
    ],
)
def test_a_torn_row_is_told_by_its_line_and_the_rest_is_read(row: str, says: str) -> None:
    text = f"id,text\n1,hay\n{row}\n9,corn\n"
    found = rows_of(text)
    assert found[0:2] == [(1, ["id", "text"], None), (2, ["1", "hay"], None)]
    line, _, why = found[2]
    assert line == 3
    assert why is not None
    assert why.startswith(says)
    assert found[-1] == (4 + row.count("\n"), ["9", "corn"], None)
    if '"' not in row:
        with pytest.raises(pyarrow.ArrowInvalid, match="Expected 2 columns, got"):
            pyarrow.csv.read_csv(io.BytesIO(text.encode()))


def test_rows_across_blocks_keep_their_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rung.text.tables._LINES", 1)
    rows = [f'{i},"a\nb"' if i % 3 else f'{i},"a' for i in range(20)]
    found = rows_of("\n".join(["id,text", *rows]))
    bad = [line for line, _, why in found if why is not None]
    assert bad
    text = "\n".join(["id,text", *rows]).split("\n")
    for line, cells, why in found[1:]:
        assert why is not None or text[line - 1].startswith(cells[0] + ",")


def test_in_tsv_a_stray_quote_is_a_character() -> None:
    lines = ["id\ttext", '1\t" is an inch', '2\t"a" she said', '3\t5"', '4\tlast"', '5\t"', '"6\t"']
    assert cells_of("\n".join(lines), "tsv") == [line.split("\t") for line in lines]
    many = ["id\ttext", *(f'{i}\t"' for i in range(50_000))]
    assert len(rows_of("\n".join(many), "tsv")) == 50_001
    assert cells_of('text\n"\nhay\n"', "tsv") == [["text"], ['"'], ["hay"], ['"']]


def test_quoted_cells_of_tsv_are_read_as_csv_writes_them() -> None:
    rows = [["text", "label"], ["a\tb", "1"], ['say "x"', "2"], ["one\nmore", "3\n4"], ["é", "5"]]
    file = io.StringIO(newline="")
    csv.writer(file, csv.excel_tab).writerows(rows)
    assert cells_of(file.getvalue(), "tsv") == rows
    line, _, why = rows_of("id\ttext\n1\ta\tb\n", "tsv")[1]
    assert (line, why) == (2, "3 columns, but the header has 2; a row is a line, its cells parted by tabs")


@pytest.mark.parametrize("text", ["", "\n\r\n"])
def test_no_header(text: str) -> None:
    with pytest.raises(UserError, match="x has no header: its first row has to name the columns"):
        rows_of(text)
    with pytest.raises(UserError, match="x:1: no header that can be read: a quote opens"):
        rows_of('id,"text\n1,a\n')
