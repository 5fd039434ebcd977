"""One command in a process of its own, so that a crash in compiled code is a case and not the end.

A forked child has what its parent has loaded, and starts in no time. It must not wait for threads that were not
forked along: so the parent keeps to one (`OMP_NUM_THREADS=1` and the like, set by `__main__`).
"""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rung.cli.app import main

CPU_SECONDS = 20
"""A command of these takes a tenth of a second; what takes so long hangs."""
WALL_SECONDS = 120


@dataclass(frozen=True)
class Outcome:
    """How a command ended. `status` is its exit code, or a word: SIGNAL 11, HANG, ESCAPED."""

    status: int | str
    said: str

    def fault(self, place: str | None = None) -> str | None:
        """What is wrong with it; None where it is 0, or 2 and one line, which names `place` where one is given."""
        lines = self.said.strip().splitlines()
        if self.status not in (0, 2):
            return f"{self.status}: {' '.join(lines)[-200:]}"
        if self.status == 2 and (len(lines) != 1 or not lines[0].startswith("rung: ")):
            return f"2 with other than one line: {' | '.join(lines)[-300:]}"
        if self.status == 2 and place is not None and not re.search(rf"(?<![\w/]){place}\b", lines[0]):
            return f"2 without a word of where: {lines[0]}"
        if self.status == 0 and re.search("warning|panicked|traceback", self.said, re.IGNORECASE):
            return f"0 with a complaint: {' | '.join(lines)[-300:]}"
        return None


def command(arguments: Sequence[str]) -> int:
    """The exit code of `rung ARGUMENTS`, here and now."""
    try:
        main(list(arguments))
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def run_apart(arguments: Sequence[str]) -> Outcome:
    """`rung ARGUMENTS` in a forked child; all that it writes to standard error, compiled code too, is caught."""
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            _obey(arguments, said.fileno())
        status = _wait(child)
        said.seek(0)
        text = said.read().decode("utf-8", "replace")
    if status is None:
        return Outcome("HANG", text)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return Outcome("HANG" if number == signal.SIGXCPU else f"SIGNAL {number}", text)
    code = os.WEXITSTATUS(status)
    return Outcome("ESCAPED" if code == ESCAPED else code, text)


ESCAPED = 99


def _obey(arguments: Sequence[str], said: int) -> None:
    code = ESCAPED
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        out = os.open(os.devnull, os.O_WRONLY)
        os.dup2(out, 1)
        os.dup2(said, 2)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        code = command(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def _wait(child: int) -> int | None:
    """The child's status, None when it had to be killed."""
    deadline = time.monotonic() + WALL_SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def apart(work: Callable[[], None]) -> None:
    """Do something in a forked child: the threads that it starts are not ours."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError(f"a process apart ended with {status}")
