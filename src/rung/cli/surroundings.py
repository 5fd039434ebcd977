"""The machine that a command runs on: how others keep it busy, and how output is encoded."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys


def speak_utf8() -> None:
    """Let output be UTF-8 wherever it is not for a terminal, which has an encoding of its own, nor set by the user.

    What an encoding lacks is written as JSON escapes it, which reads the same in a text and keeps JSON what it is.
    """
    codecs.register_error("rung", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            own = stream.isatty() or "PYTHONIOENCODING" in os.environ
            stream.reconfigure(encoding=None if own else "utf-8", errors="rung")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def wait_politely() -> None:
    """On a machine that others keep busy, let torch's threads sleep while they wait for each other, and NumPy use one.

    They spin by default, which is fastest alone and four to ten times slower than sleeping when the cores are taken
    (docs/log.md). It is read when torch and NumPy are loaded, so it is set here; what the user has set stays.
    """
    try:
        busy = os.getloadavg()[0] >= (os.cpu_count() or 1)
    except (OSError, AttributeError):  # not told on this system
        return
    if busy:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # OpenBLAS has no way to wait but to spin
