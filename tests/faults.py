"""Faults at every file operation of some work: the process killed there, or the disk full from there on."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

KILLED = 9
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate")

_watcher: Callable[[str], None] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watcher is None:
        return
    if event == "open" and isinstance(arguments[2], int):
        if not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or not isinstance(
            arguments[0], str | Path
        ):
            return
    elif event not in CHANGES:
        return
    _watcher(event)


sys.addaudithook(_hook)  # Python tells it of every change before it is made; it can't be taken off again


@contextmanager
def _watched(watcher: Callable[[str], None]) -> Iterator[None]:
    global _watcher
    _watcher = watcher
    try:
        yield
    finally:
        _watcher = None


def killed_at_each(work: Callable[[], Any], every: int = 1) -> Iterator[int]:
    """Do `work` in a child that is no more at its n-th change of a file; n, after each, until one comes to its end."""
    n = 0
    while True:
        child = os.fork()
        if child == 0:
            left = n

            def count(event: str) -> None:
                nonlocal left
                if left == 0:
                    os._exit(KILLED)
                left -= 1

            code = 1
            try:
                with _watched(count):
                    work()
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, KILLED), f"the work itself failed after {n} changes"
        yield n
        if code == 0:
            return
        n += every


@contextmanager
def full_disk(after: int) -> Iterator[list[bool]]:
    """From the change `after` on no file or folder can be made; the list holds whether one was asked for."""
    left, met = after, list[bool]()

    def refuse(event: str) -> None:
        nonlocal left
        left -= 1
        if left < 0 and event in ("open", "os.mkdir", "os.link"):
            met[:] = [True]
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with _watched(refuse):
        yield met
