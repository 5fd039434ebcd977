"""Opening what somebody else may have written: a damaged file is told in one line, and is never worked with.

Contents are checked when they are opened, before anything computes with them: compiled loops don't look where they
read, and an array that points outside another would crash them or never let them end. Checks go over whole arrays
once, in the order in which they lie on disk: a gigabyte takes about 0.15 s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from rung.errors import Untrusted, UserError

T = TypeVar("T")

AT_ONCE = 1 << 16
"""Numbers compared at once: their copies stay in a processor's cache."""

LONGEST_REASON = 200
FAULTS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TokenError,  # of NumPy's, for the header of a .npy
    TypeError,
    ValueError,
    Warning,  # where NumPy only warns of what it reads
)
"""What reading raises when contents are not what they should be."""


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """What the block raises is the fault of the file's contents: a UserError that names it.

    Keep to the block what reads this one file; anything else would put our own mistakes on it.
    """
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}") from error
    except UserError as error:
        if str(path) in str(error) or isinstance(error, Untrusted):
            raise
        raise damaged(path, str(error)) from error
    except KeyError as error:
        raise damaged(path, f"{error} is missing") from error
    except MemoryError as error:
        raise damaged(path, "it asks for more memory than there is") from error
    except FAULTS as error:
        raise damaged(path, str(error) or type(error).__name__) from error


def damaged(path: Path, reason: str) -> UserError:
    """The one line for contents that can't be."""
    reason = " ".join(reason.split())
    if len(reason) > LONGEST_REASON:
        reason = reason[:LONGEST_REASON] + " ..."
    return UserError(f"{path} is damaged: {reason}")


def check_kind(name: str, value: Any, kind: Any) -> None:
    """Raise ValueError unless a value read from JSON is of the type that an annotation speaks of: `dict`, `int | None`,
    `tuple[str, ...]`. A list is a tuple, a whole number a float; true and false are no numbers."""
    if not _is_of_kind(value, kind):
        raise ValueError(f"{name} can't be {value!r}")


def from_json(cls: type[T], values: Mapping[str, Any]) -> T:
    """The dataclass whose fields these are. Raises ValueError for a field that it hasn't or that has another type."""
    kinds = get_type_hints(cls)
    for name, value in values.items():
        if name not in kinds:
            raise ValueError(f"there is no setting {name!r}")
        check_kind(name, value, kinds[name])
    return cls(**values)


def check_count(name: str, value: Any, least: int = 0) -> None:
    """Raise ValueError unless a value read from JSON is a whole number, `least` or more, that an array can count."""
    if type(value) is not int or not least <= value < 1 << 62:
        raise ValueError(f"{name} can't be {value!r}")


def check_array(name: str, array: np.ndarray, dtypes: str, shape: Sequence[int | None]) -> None:
    """Raise ValueError unless an array has one of some types, as "f4" or "i4 i8", and a shape; None = any length."""
    if array.dtype not in [np.dtype(spelled) for spelled in dtypes.split()]:
        raise ValueError(f"{name} holds {array.dtype}")
    wanted = [n if size is None else size for n, size in zip(array.shape, shape, strict=False)]
    if array.ndim != len(shape) or list(array.shape) != wanted:
        raise ValueError(f"{name} has the shape {array.shape}")


def check_below(name: str, values: np.ndarray, bound: int) -> None:
    """Raise ValueError unless whole numbers are all from 0 to `bound` - 1."""
    # Read without their sign, negative ones are the largest: one way through tells both.
    if values.size and int(values.view(f"u{values.dtype.itemsize}").max()) >= bound:
        raise ValueError(f"{name} goes from {values.min()} to {values.max()}, not from 0 to {bound - 1}")


def check_rising(name: str, values: np.ndarray, first: int, last: int, *, strictly: bool = False) -> None:
    """Raise ValueError unless values rise from `first` to `last`, or stay."""
    if not len(values) or values[0] != first or values[-1] != last:
        raise ValueError(f"{name} does not go from {first} to {last}")
    for begin in range(0, len(values) - 1, AT_ONCE):
        piece = values[begin : begin + AT_ONCE + 1]
        falls = piece[1:] <= piece[:-1] if strictly else piece[1:] < piece[:-1]
        if falls.any():
            raise ValueError(f"{name} falls after place {begin + int(falls.argmax())}")


def check_at_most(name: str, values: np.ndarray, bound: float) -> None:
    """Raise ValueError unless numbers are all `bound` or less; NaN is not."""
    if values.size and not values.max() <= bound:
        raise ValueError(f"{name} holds {values.max()}, more than {bound:g}")


def is_finite(values: np.ndarray) -> bool:
    """Whether no number is infinite or NaN."""
    if values.dtype.kind != "f":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        # One way through where all is well; a sum can be infinite where the numbers are only large.
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


def check_finite(name: str, values: np.ndarray) -> None:
    """Raise ValueError when a number is infinite or NaN."""
    if not is_finite(values):
        raise ValueError(f"{name} holds {values[~np.isfinite(values)][0]}")


def _is_of_kind(value: Any, kind: Any) -> bool:
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return any(_is_of_kind(value, part) for part in get_args(kind))
    if origin is tuple:  # of any length
        return isinstance(value, list | tuple) and all(_is_of_kind(v, get_args(kind)[0]) for v in value)
    if kind is float:
        return type(value) in (int, float)
    if kind in (int, str, bool, list, dict):
        return type(value) is kind
    return value is None if kind in (None, NoneType) else True
