"""Splits: nothing is lost, nothing is there twice, lines and characters stay whole."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rung.errors import UserError
from rung.text.splits import PARTS, Split, divide, parse_split


def offsets_of(documents: list[bytes]) -> np.ndarray:
    return np.cumsum([0, *map(len, documents)])


def texts(ranges: np.ndarray, text: bytes) -> list[bytes]:
    return [text[begin:end] for begin, end in ranges]


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("90/5/5", (0.9, 0.05, 0.05)),
        ("80/10/10", (0.8, 0.1, 0.1)),
        ("0.8/0.1/0.1", (0.8, 0.1, 0.1)),
        ("90/10/0", (0.9, 0.1, 0)),
        ("98.5/1/.5", (0.985, 0.01, 0.005)),
    ],
)
def test_shares_as_typed(text: str, shares: tuple[float, float, float]) -> None:
    split = parse_split(text)
    assert (split.train, split.validation, split.test) == pytest.approx(shares)
    assert parse_split(str(split)) == split


@pytest.mark.parametrize(
    "text", ["", "90", "90/10", "90/5/6", "a/b/c", "9/.5/.5", "110/-5/-5", "0/50/50", "nan/1/1", "1/1/1/1"]
)
def test_shares_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="--split"):
        parse_split(text)


@settings(max_examples=50, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=100, max_size=300),
    shares=st.sampled_from(["90/5/5", "60/40/0"]),
)
def test_many_documents_are_dealt_out_whole(lengths: list[int], shares: str) -> None:
    split = parse_split(shares)
    offsets = np.cumsum([0, *lengths])
    parts, rule = divide(offsets, split, b"x" * int(offsets[-1]))
    dealt = sorted(tuple(row) for ranges in parts.values() for row in ranges.tolist())
    assert dealt == list(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True))
    assert set(parts) == {part for part in PARTS if getattr(split, part)}
    for part in parts:
        assert abs(len(parts[part]) - getattr(split, part) * len(lengths)) <= 1
        assert (np.diff(parts[part][:, 0]) > 0).all()  # in their order
    assert "at random" in rule


def test_exact_shares_and_the_same_every_time() -> None:
    offsets = np.arange(1001)
    parts, _ = divide(offsets, parse_split("90/5/5"), b"x" * 1000)
    assert [len(parts[part]) for part in PARTS] == [900, 50, 50]
    again, _ = divide(offsets, parse_split("90/5/5"), b"x" * 1000)
    for part in PARTS:
        np.testing.assert_array_equal(parts[part], again[part])
    # At random: in 1,000 documents the middle one of 50 lies near 500 (its standard deviation is about 70).
    assert 150 < np.median(parts["test"][:, 0]) < 850


characters = st.sampled_from(list("ab \n\né敏👩\r"))


@settings(max_examples=200, deadline=None)
@given(
    documents=st.lists(st.text(characters, min_size=20, max_size=60), min_size=4, max_size=12),
    shares=st.sampled_from(["90/5/5", "50/25/25", "70/30/0", "34/33/33"]),
)
def test_few_documents_are_cut_in_a_row(documents: list[str], shares: str) -> None:
    data = [document.encode() for document in documents]
    text, offsets, split = b"".join(data), offsets_of(data), parse_split(shares)
    assume(len(text) >= 100)
    parts, _ = divide(offsets, split, text)
    assert b"".join(piece for part in parts.values() for piece in texts(part, text)) == text
    borders = [0]
    for part in parts:
        assert len(parts[part])
        for begin, end in parts[part].tolist():
            assert end > begin == borders[-1]
            text[begin:end].decode("utf-8")
            borders.append(end)
        # A cut goes no further from its share than half the smallest share, and a character.
        taken = borders[-1] - parts[part][0, 0]
        smallest = min(getattr(split, name) for name in parts) * len(text)
        assert abs(taken - getattr(split, part) * len(text)) <= smallest + 8
    assert set(offsets.tolist()) <= set(borders)
    assert len(borders) <= len(offsets) + len(parts) - 1


def test_cuts_fall_on_line_ends() -> None:
    """100 lines of 10 bytes: 90 % end at byte 900 exactly; shifted by 3, the nearest line ends are 903 and 953."""
    text = b"123456789\n" * 100
    parts, rule = divide(np.array([0, 1000]), parse_split("90/5/5"), text)
    assert [ranges.tolist() for ranges in parts.values()] == [[[0, 900]], [[900, 950]], [[950, 1000]]]
    assert "900 and 950" in rule
    shifted = b"ab\n" + text[:-3]
    parts, _ = divide(np.array([0, 1000]), parse_split("90/5/5"), shifted)
    assert [ranges.tolist() for ranges in parts.values()] == [[[0, 903]], [[903, 953]], [[953, 1000]]]


def test_a_document_end_is_a_line_end() -> None:
    documents = [b"x" * 890, b"y" * 55, b"z" * 55]
    parts, _ = divide(offsets_of(documents), parse_split("90/5/5"), b"".join(documents))
    assert [ranges.tolist() for ranges in parts.values()] == [[[0, 890]], [[890, 945]], [[945, 1000]]]


def test_a_text_of_one_line_is_cut_between_characters() -> None:
    text = (
        "敏".encode() * 100
    )  # 300 bytes; 90 % and 95 % are 270 and 285, both between characters; 40 % of 301 is not
    parts, _ = divide(np.array([0, 300]), parse_split("90/5/5"), text)
    assert [ranges.tolist() for ranges in parts.values()] == [[[0, 270]], [[270, 285]], [[285, 300]]]
    parts, _ = divide(np.array([0, 301]), parse_split("40/60/0"), b"x" + text)
    assert [ranges.tolist() for ranges in parts.values()] == [[[0, 118]], [[118, 301]]]


@pytest.mark.parametrize("text", [b"x", b"xy", "👩👩".encode()])
def test_a_text_too_small_says_what_to_do(text: bytes) -> None:
    with pytest.raises(UserError, match=r"too few for --split 90/5/5.*--val FILE and --test FILE"):
        divide(np.array([0, len(text)]), parse_split("90/5/5"), text)


def test_a_share_too_small_for_one_document() -> None:
    with pytest.raises(UserError, match=r"100 documents of text are too few.*test would be empty"):
        divide(np.arange(101), parse_split("99/0.9/0.1"), b"x" * 100)


def test_all_for_training() -> None:
    parts, _ = divide(np.array([0, 4]), Split(1, 0, 0), b"text")
    assert {part: ranges.tolist() for part, ranges in parts.items()} == {"train": [[0, 4]]}
