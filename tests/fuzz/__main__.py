"""Damaged files, and what becomes of the commands that open them.

python -m tests.fuzz SECONDS SEED        as many cases as there is time for
python -m tests.fuzz --cases N SEED      so many
python -m tests.fuzz --case NUMBER SEED  one, once more

What has been found before comes first. Exits with 1 when a command crashed, hung, ended with exit code 1, said more
than one line, or did not say which file was at fault; says how, and where what was damaged lies.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ONE_THREAD = {
    **dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
    ),
    "TOKENIZERS_PARALLELISM": "false",
}
"""A forked child has no threads but the one that forked, and must not wait for others."""


def main(arguments: list[str]) -> int:
    """See above."""
    os.environ.update(ONE_THREAD)  # read by each library when it is imported, so that comes after
    from tests.fuzz.cases import run_case
    from tests.fuzz.findings import run_findings
    from tests.fuzz.victims import make_victims

    seed, once = int(arguments[-1]), arguments[0] == "--case"
    folder = Path(tempfile.mkdtemp(prefix="rung-fuzz-"))
    os.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()):
        make_victims()
    numbers, deadline = itertools.count(), float("inf")
    if once:
        numbers = [int(arguments[1])]
    elif arguments[0] == "--cases":
        numbers = range(int(arguments[1]))
    else:
        deadline = time.monotonic() + float(arguments[0])
    found, tried = 0, 0
    for fault in [] if once else run_findings():
        print(f"finding {fault.number}, {fault.what}: {fault.command}\n    {fault.said}", flush=True)
        found += 1
    for number in numbers:
        if time.monotonic() > deadline:
            break
        fault = run_case(seed, number, folder / f"bad-{number}")
        tried += 1
        if fault is not None:
            print(f"case {number}, {fault.what}: {fault.command}\n    {fault.said}", flush=True)
            found += 1
    print(f"{tried} cases of seed {seed}, {found} faults" + (f", in {folder}" if found else ""))
    if not found:
        os.chdir(folder.parent)
        shutil.rmtree(folder)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
