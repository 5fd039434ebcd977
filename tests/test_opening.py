"""What readers raise about contents becomes one line that names the file; checks find what they look for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from rung.errors import UserError
from rung.opening import (
    AT_ONCE,
    check_array,
    check_at_most,
    check_below,
    check_finite,
    check_kind,
    check_rising,
    from_json,
    opening,
)

PATH = Path("runs/a/model.safetensors")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError("suffix"), f"{PATH} is damaged: 'suffix' is missing"),
        (ValueError("two\nlines"), f"{PATH} is damaged: two lines"),
        (UserError("--order 99 does not fit"), f"{PATH} is damaged: --order 99 does not fit"),
        (UserError(f"{PATH} is cut short"), f"{PATH} is cut short"),
        (MemoryError(), f"{PATH} is damaged: it asks for more memory than there is"),
        (RecursionError("too deep"), f"{PATH} is damaged: too deep"),
        (FileNotFoundError(), f"{PATH} is missing"),
        (PermissionError(13, "Permission denied"), f"{PATH} can't be read: Permission denied"),
    ],
)
def test_what_contents_make_a_reader_raise_names_the_file(error: Exception, told: str):
    with pytest.raises(UserError) as caught, opening(PATH):
        raise error
    assert str(caught.value) == told


def test_an_assertion_of_ours_is_not_put_on_the_file():
    with pytest.raises(AssertionError), opening(PATH):
        raise AssertionError


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, np.uint16])
def test_numbers_outside_a_range_are_found_below_and_above(dtype: type):
    check_below("x", np.array([0, 4, 2], dtype), 5)
    check_below("x", np.array([], dtype), 0)
    with pytest.raises(ValueError, match="from 0 to 4"):
        check_below("x", np.array([0, 5, 2], dtype), 5)
    if np.issubdtype(dtype, np.signedinteger):
        with pytest.raises(ValueError, match="from -1"):
            check_below("x", np.array([0, -1, 2], dtype), 5)


@pytest.mark.parametrize("at", [1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE - 2])
def test_a_fall_is_found_wherever_it_is(at: int):
    values = np.arange(3 * AT_ONCE)
    check_rising("x", values, 0, len(values) - 1, strictly=True)
    values[at] = values[at - 1]
    check_rising("x", values, 0, int(values[-1]))
    with pytest.raises(ValueError, match=f"falls after place {at - 1}"):
        check_rising("x", values, 0, len(values) - 1, strictly=True)
    values[at] -= 1
    with pytest.raises(ValueError, match=f"falls after place {at - 1}"):
        check_rising("x", values, 0, len(values) - 1)


def test_large_numbers_are_finite_though_their_sum_is_not():
    check_finite("x", np.full(4, np.finfo(np.float32).max))
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="x holds"):
            check_finite("x", np.array([0, bad, 1], np.float32))
    with pytest.raises(ValueError, match="nan"):
        check_at_most("x", np.array([-1, np.nan]), 0)
    check_at_most("x", np.array([-1, -np.inf]), 0)


def test_an_array_has_its_type_and_shape():
    check_array("x", np.zeros((2, 3), np.float32), "f4 f8", [None, 3])
    for dtypes, shape in (("f8", [2, 3]), ("f4", [3, None]), ("f4", [6]), ("f4", [2, 3, None])):
        with pytest.raises(ValueError, match="x h"):
            check_array("x", np.zeros((2, 3), np.float32), dtypes, shape)


@dataclass
class Settings:
    order: int | None = None
    rate: float = 0.5
    names: tuple[str, ...] = ()
    on: bool = False


def test_a_setting_of_another_type_is_refused():
    assert from_json(Settings, {"order": 3, "rate": 1, "names": ["a"]}) == Settings(3, 1, ["a"])  # pyright: ignore
    for wrong in (
        {"order": "3"},
        {"order": 3.0},
        {"order": True},
        {"rate": None},
        {"names": "a"},
        {"names": [1]},
    ):
        with pytest.raises(ValueError, match="can't be"):
            from_json(Settings, wrong)
    with pytest.raises(ValueError, match="no setting 'odor'"):
        from_json(Settings, {"odor": 3})
    with pytest.raises(ValueError, match="can't be"):
        check_kind("x", True, float)
