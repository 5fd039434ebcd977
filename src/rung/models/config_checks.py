"""What the configurations of rungs check of their fields. Errors name the flag, the value and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rung.errors import UserError


def check_field(
    config: Any, name: str, accepts: Callable[[Any], bool], allowed: str, *, optional: bool
) -> None:
    """Raises UserError when a field has a value that is not accepted; `optional` ones may be None."""
    value = getattr(config, name)
    if (value is None and optional) or accepts(value):
        return
    raise UserError(f"{flag(name)} {value!r} is not allowed: give {allowed}")


def check_counts(config: Any, *names: str, optional: bool = False) -> None:
    """Whole numbers above 0."""
    for name in names:
        check_field(config, name, _is_count, "a whole number, 1 or more", optional=optional)


def check_fraction(config: Any, *names: str, optional: bool = False) -> None:
    """Shares below 1."""
    for name in names:
        check_field(config, name, _is_fraction, "a number from 0 up to, not with, 1", optional=optional)


def check_bool(config: Any, *names: str, optional: bool = False) -> None:
    """True or false."""
    for name in names:
        check_field(config, name, lambda value: type(value) is bool, "true or false", optional=optional)


def flag(field: str) -> str:
    """A field as it is typed."""
    return "--" + field.replace("_", "-")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_fraction(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1
