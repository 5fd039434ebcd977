"""Numbers as people write them: k, M and B, exponents; whole means whole; nan and the infinities are none."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.errors import UserError
from rung.numbers import numbers_checked, real_number, whole_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("200", 200),
        ("-3", -3),
        ("1_000", 1000),
        ("1e6", 10**6),
        ("2.5e3", 2500),
        ("3.0", 3),
        ("10k", 10_000),
        ("1.5K", 1500),
        ("2M", 2_000_000),
        ("1B", 10**9),
        ("0x10", 16),
        ("0x1B", 27),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_whole_numbers(text: str, value: int) -> None:
    assert whole_number(text, "--n") == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "k",
        "2.9",
        "0.5",
        "1e-3",
        "1.5555k",
        "nan",
        "inf",
        "1e400",
        "1e999999999999",
        "9" * 5000,
        "2^3",
        "ten",
    ],
)
def test_what_is_not_whole_is_named(text: str) -> None:
    with pytest.raises(UserError, match=r"--n '.*' is not possible: give a whole number"):
        whole_number(text, "--n")


@given(st.integers(-(10**9), 10**9), st.sampled_from([("", 1), ("k", 1000), ("M", 10**6), ("B", 10**9)]))
def test_a_decimal_is_whole_exactly_where_its_fraction_is(n: int, unit: tuple[str, int]) -> None:
    value = Fraction(n, 1000) * unit[1]
    text = f"{'-' * (n < 0)}{abs(n) // 1000}.{abs(n) % 1000:03}{unit[0]}"
    if value.denominator == 1:
        assert whole_number(text, "--n") == value
    else:
        with pytest.raises(UserError):
            whole_number(text, "--n")


def test_real_numbers() -> None:
    assert real_number("1e-3", "--x") == 0.001
    for text in ("", "nan", "inf", "-inf", "1e400", "much"):
        with pytest.raises(UserError, match="--x"):
            real_number(text, "--x")


@dataclass(frozen=True)
class Settings:
    n: int = 1
    maybe: int | None = None
    x: float = 1.0
    many: tuple[int, ...] = ()
    name: str = ""
    on: bool = False


def test_keywords_and_recipes() -> None:
    given = {"n": 1e6, "maybe": None, "x": 2, "many": [0, 1.0, np.int64(2)], "name": "2.9", "on": True}
    checked = numbers_checked(given, Settings)
    assert checked == {"n": 10**6, "maybe": None, "x": 2, "many": (0, 1, 2), "name": "2.9", "on": True}
    assert (type(checked["n"]), type(checked["x"])) == (int, float)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 2.9},
        {"n": None},
        {"n": "3"},
        {"n": True},
        {"maybe": 0.5},
        {"x": float("nan")},
        {"x": "1"},
        {"x": 10**400},
        {"many": [0.5]},
    ],
)
def test_a_keyword_of_another_kind_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"--{next(iter(wrong))} .* is not possible"):
        numbers_checked(wrong, Settings)
