"""Damaged files: what was found before, and some hundreds more; `python -m tests.fuzz` tries as many as one likes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = 600
"""With the findings, about a minute of one core."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a case is a forked process")
def test_a_damaged_file_is_refused_in_one_line_or_does_no_harm():
    """No crash, no hang, no exit code 1, no second line; the line names the run that is damaged."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--cases", str(CASES), "1"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{CASES} cases" in done.stdout
