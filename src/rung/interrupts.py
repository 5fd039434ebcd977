"""Ctrl-C once: finish the step under way, then stop. Twice: stop at once."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


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
