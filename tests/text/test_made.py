"""Made data: the answers are right by other hands, no source comes twice, the same name is the same bytes."""

from __future__ import annotations

import hashlib
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rung
from rung.errors import UserError
from rung.text.made import MAKERS, in_words, ordinal, rows, year_in_words

WRITTEN = ("%d %B %Y", "%B %d, %Y", "%a %d %b %Y")


@pytest.mark.parametrize("name", MAKERS)
def test_no_source_comes_twice_and_a_name_is_its_bytes(name: str) -> None:
    pairs = list(rows(f"made:{name}?n=500&seed=3"))
    assert len({source for source, _ in pairs}) == 500
    assert pairs == list(rows(f"made:{name}?seed=3&n=500"))
    assert pairs != list(rows(f"made:{name}?n=500"))


def test_the_bytes_of_a_name_are_pinned() -> None:
    """What was made once is made everywhere: numbers that are quoted stand on it."""
    text = "\n".join(
        f"{source}\t{target}" for name in MAKERS for source, target in rows(f"made:{name}?n=200")
    )
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "41c6c70ce8e32628"


def test_dates_as_python_reads_them() -> None:
    read = 0
    for source, target in rows("made:dates?n=400"):
        assert date.fromisoformat(target).isoformat() == target
        for form in WRITTEN:
            try:
                found = datetime.strptime(source, form)
            except ValueError:
                continue
            assert found.date().isoformat() == target
            read += 1
    assert read > 100


@given(st.integers(0, 999_999))
def test_words_add_up_to_their_number(n: int) -> None:
    names = [in_words(k) for k in range(20)]
    tens = [in_words(k) for k in range(20, 100, 10)]
    total = part = 0
    for word in in_words(n).replace("-", " ").split():
        if word == "thousand":
            total, part = total + 1000 * part, 0
        elif word == "hundred":
            part *= 100
        else:
            part += names.index(word) if word in names else 20 + 10 * tens.index(word)
    assert total + part == n


def test_what_is_said() -> None:
    assert [ordinal(day) for day in (1, 12, 20, 21, 30, 31)] == [
        "first",
        "twelfth",
        "twentieth",
        "twenty-first",
        "thirtieth",
        "thirty-first",
    ]
    said = {1900: "nineteen hundred", 1905: "nineteen oh five", 2000: "two thousand", 2010: "twenty ten"}
    assert {year: year_in_words(year) for year in said} == said
    days = [date(1800, 1, 1) + timedelta(days=k) for k in range(0, 100_000, 997)]
    assert len({(year_in_words(day.year), day.year) for day in days}) == len({day.year for day in days})


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("made:revers", "did you mean 'reverse'"),
        ("made:copy?m=3", "there is no 'm'"),
        ("made:copy?n=x", "no whole number"),
        ("made:copy?n=0", "1 or more"),
        ("made:copy?letters=30", "26 or fewer"),
        ("made:copy?longest=1", "no more than about 26 different"),
        ("made:copy?n", "key=value"),
    ],
)
def test_what_can_not_be_made_is_said(spec: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        rung.train("ngram", spec, out=tmp_path / "run")
