"""How long `rung --help` and a small n-gram training take as whole processes, beside Python and torch by themselves.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 7


def seconds(command: list[str], folder: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Run every command in turn, several rounds, and print the medians."""
    python = sys.executable
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "small.txt").write_text("the cows eat grass and the farmer eats corn\n" * 200)
        train = [python, "-m", "rung", "train", "ngram", "small.txt", "--force", "--out", "run", "--quiet"]
        commands = {
            "python -c pass": [python, "-c", "pass"],
            "python -c 'import rung'": [python, "-c", "import rung"],
            "rung --help": [python, "-m", "rung", "--help"],
            "rung train ngram (9 kB of text)": train,
            "python -c 'import torch'": [python, "-c", "import torch"],
        }
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                taken[name].append(seconds(command, folder))
    for name, values in taken.items():
        print(f"{name:<34} {statistics.median(values):6.2f} s   ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()
