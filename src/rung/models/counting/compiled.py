"""Loops as machine code, by numba. A module that imports this one takes half a second to load, so it is loaded late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Any:
    """`function` as machine code: compiled in seconds, once, and then cached beside its file."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # nowhere to keep the cache
        return numba.njit(nogil=True)(function)
