"""`--keep`: Python's own arithmetic and logic over four names, and nothing else of Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rung.errors import UserError
from rung.evaluation.keep import NAMES, Keep

numbers = st.recursive(
    st.sampled_from(NAMES) | st.integers(-9, 9).map(str) | st.sampled_from(["0.5", "2.5", "1e3"]),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from("+-*/"), inner), st.builds("-{}".format, inner)
    ),
    max_leaves=5,
)
comparison_signs = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
comparisons = st.builds("{} {} {}".format, numbers, comparison_signs, numbers) | st.builds(
    "{} {} {} {} {}".format, numbers, comparison_signs, numbers, comparison_signs, numbers
)
expressions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds("({}) {} ({})".format, inner, st.sampled_from(["and", "or"]), inner),
        st.builds("{} {} {}".format, inner, st.sampled_from(["and", "or"]), inner),
        st.builds("not {}".format, inner),
    ),
    max_leaves=5,
)
records = st.fixed_dictionaries(
    {
        "log_prob": st.floats(-50, -0.5),
        "tokens": st.integers(1, 20),
        "bytes": st.integers(1, 40),
        "bits_per_byte": st.floats(0.25, 8),
    }
)


def columns(rows: list[dict]) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows]) for name in NAMES}


@settings(deadline=None, max_examples=300)
@given(expressions, st.lists(records, min_size=1, max_size=4))
def test_it_is_pythons_arithmetic_and_logic(expression: str, rows: list[dict]) -> None:
    try:
        expected = [eval(expression, {"__builtins__": {}}, row) for row in rows]
    except ZeroDivisionError:
        assume(False)
        return
    assert Keep(expression)(columns(rows)).tolist() == expected


EMPTY = {"log_prob": -1.0, "tokens": 1, "bytes": 0, "bits_per_byte": math.nan}
SHORT = {"log_prob": -6.9, "tokens": 4, "bytes": 5, "bits_per_byte": 2.0}


@pytest.mark.parametrize(
    ("expression", "kept"),
    [
        ("bits_per_byte < 9", [False, True]),
        ("bits_per_byte >= 0", [False, True]),
        ("bits_per_byte != 3", [False, True]),
        ("not bits_per_byte > 3", [False, True]),
        ("not (bits_per_byte > 3 or tokens == 9)", [False, True]),
        ("bits_per_byte * 0 == 0", [False, True]),
        ("log_prob / bytes < 0", [False, True]),  # divided by zero
        ("bytes == 0", [True, False]),
        ("bytes == 0 or bits_per_byte < 9", [True, True]),
        ("not (bytes > 0 and bits_per_byte > 3)", [True, True]),
        ("1 < 2", [True, True]),
        ("1 > 2", [False, False]),
    ],
)
def test_what_has_no_value_is_neither_true_nor_false(expression: str, kept: list[bool]) -> None:
    assert Keep(expression)(columns([EMPTY, SHORT])).tolist() == kept


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "allowed"),
        ("bits_per_bite < 2", "did you mean 'bits_per_byte'"),
        ("__import__('os').system('true') == 0", "__import__"),
        ("log_prob.real < 1", "log_prob.real"),
        ("bytes[0] < 1", "bytes[0]"),
        ("[x for x in (1, 2)] == 1", "[x for x in (1, 2)]"),
        ("(lambda: 1) < 2", "lambda"),
        ("(x := 3) < 4", "x := 3"),
        ("2 ** 9 < bytes", "2 ** 9"),
        ("bytes // 2 < 3", "bytes // 2"),
        ("bytes in (1, 2)", "not allowed"),
        ("bytes is 3", "not allowed"),
        ("bytes < '3'", "'3'"),
        ("bytes < True", "True"),
        ("bytes < 1j", "1j"),
        ("f'{bytes}' == 3", "no number"),
        ("bytes", "write one such as"),
        ("not bytes", "write one such as"),
        ("tokens and bytes > 1", "write one such as"),
        ("(bytes < 2) + 1 > 1", "bytes < 2"),
        ("bytes = 3", "at '= 3'"),
        ("bytes <", "at its end"),
        ("bytes < 2; import os", "; import os"),
        ("bytes < 2 #", ""),
        ("bytes < 1" + "0" * 400, "too large"),
        ("bytes < 2 and " * 100 + "1 < 2", "too long"),
        ("(" * 300 + "1 < 2" + ")" * 300, "can't be read"),
        ("not " * 240 + "1 < 2", ""),
        ("bytes < \0", "can't be read"),
    ],
)
def test_anything_else_is_refused_in_one_line(expression: str, says: str) -> None:
    if not says:
        Keep(expression)(columns([SHORT]))
        return
    with pytest.raises(UserError) as error:
        Keep(expression)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@settings(deadline=None, max_examples=200)
@given(
    st.text(st.sampled_from("bytes<>=!()+-*/.0123 andort:=[]{}'\"#\n\\"), max_size=25) | st.text(max_size=15)
)
def test_whatever_is_typed_either_works_or_is_a_user_error(expression: str) -> None:
    try:
        kept = Keep(expression)
    except UserError:
        return
    assert kept(columns([EMPTY, SHORT])).shape == (2,)
