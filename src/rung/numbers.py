"""Numbers as people write them, for flags, and as they must be, for keywords in Python and keys of recipes.

A whole number may be written 200, 1_000, 1e6, 10k, 2.5M or 1B; a number with a fraction is none. nan and the infinities
are no numbers anywhere: no setting has a meaning for them.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal
from typing import Any

from rung.errors import UserError

FACTORS = {"k": 1_000, "K": 1_000, "M": 1_000_000, "B": 1_000_000_000}
LARGEST = (1 << 63) - 1
WHOLE = "a whole number, such as 200, 10k, 2M or 1e6"


def whole_number(text: str, name: str) -> int:
    """The number that `text`, the value of `name`, spells. Raises UserError when it is none, or not whole."""
    digits, factor = text.strip(), 1
    in_bits = digits.lower().startswith(("0x", "0o", "0b"))
    if digits[-1:] in FACTORS and not in_bits:
        digits, factor = digits[:-1], FACTORS[digits[-1]]
    try:
        value = factor * Decimal(int(digits, 0) if in_bits else digits)
        if abs(value) <= LARGEST and value == value.to_integral_value():
            return int(value)
    except (ArithmeticError, ValueError):  # no number; one beyond all bounds
        pass
    raise UserError(f"{name} {text!r} is not possible: give {WHOLE}")


def real_number(text: str, name: str) -> float:
    """The finite number that `text`, the value of `name`, spells. Raises UserError when it is none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{name} {text!r} is not possible: give a finite number")
    return value


def numbers_checked(settings: Mapping[str, Any], config: type) -> dict[str, Any]:
    """Settings for the fields of a configuration: whole numbers as int (1e6 of a recipe is 1,000,000), others as float.

    Raises UserError where a field that holds a number gets something else.
    """
    kinds = {field.name: str(field.type) for field in fields(config)}
    return {name: _checked(name, kinds[name], value) for name, value in settings.items()}


def _checked(name: str, kind: str, value: Any) -> Any:
    words = kind.replace("[", " ").replace(",", " ").replace("]", " ").split()
    if not {"int", "float"} & set(words) or (value is None and "None" in words):
        return value
    if isinstance(value, bool) and "bool" in words:
        return value
    if "tuple" in words:
        parts = value if isinstance(value, list | tuple) else (value,)
        return tuple(_checked(name, "int" if "int" in words else "float", part) for part in parts)
    whole = "int" in words
    if isinstance(value, float) and math.isfinite(value) and (not whole or value.is_integer()):
        return int(value) if whole else value
    if value is not None and not isinstance(value, bool | float):
        try:
            index = operator.index(value)  # an int, NumPy's too
            return index if whole else float(index)
        except (TypeError, OverflowError):
            pass
    raise UserError(
        f"--{name.replace('_', '-')} {value!r} is not possible: give a {'whole' if whole else 'finite'} number"
    )
