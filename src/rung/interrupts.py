"""Ctrl-C once: finish the step under way, then stop. Twice: stop at once. Never: nothing at all."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SOON_SECONDS = 0.02


@contextmanager
def interruptible(*, tell: bool = True) -> Iterator[Callable[[], bool]]:
    """Give a function that says whether Ctrl-C was pressed; afterwards it is handled as before.

    Args:
        tell: whether the first time is answered on stderr. Of several processes only one should.

    Raises KeyboardInterrupt inside the block when it is pressed again.
    """
    pressed = False

    def handle(signum: int, frame: Any) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        if tell:
            print("\nrung: stopping after this step; Ctrl-C again stops at once", file=sys.stderr)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def heard() -> Iterator[None]:
    """Have Ctrl-C answered in the block also when it falls where Python drops exceptions.

    That is in callbacks: of import locks, of weak references, of ctypes (numba's compiler). It comes again a moment
    later, outside of them.
    """
    before = sys.unraisablehook

    def hook(dropped: Any) -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            again = threading.Timer(SOON_SECONDS, _thread.interrupt_main)
            again.daemon = True
            again.start()
        else:
            before(dropped)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
