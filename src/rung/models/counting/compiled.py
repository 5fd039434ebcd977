"""Loops as machine code, by numba. A module that imports this one takes half a second to load, so it is loaded late."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

import numba


def compiled(function: Callable[..., Any], fastmath: Set[str] = frozenset()) -> Any:
    """`function` as machine code: compiled in seconds, once, and then cached beside its file.

    `fastmath`: LLVM's flags of what it may do to sums (reassoc: in any order, so that several numbers go at once).
    """
    how: dict[str, Any] = {"fastmath": set(fastmath)} if fastmath else {}
    try:
        return numba.njit(cache=True, nogil=True, **how)(function)
    except RuntimeError:  # nowhere to keep the cache
        return numba.njit(nogil=True, **how)(function)
