"""Why long sources fade: rows of letters written from their end, with attention and without, over their length.

    python benchmarks/long_sources.py OUT.svg [MINUTES]

A network that has no attention must hold the whole source in the states that its reading ended in (Cho et al. 2014,
"On the properties of neural machine translation", arXiv:1409.1259, figure 4). `rnn` and `gru`, each once with additive
attention and once without, the same data (`made:reverse?longest=24`), seed and minutes (2 unless told).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

import rung

DATA = "made:reverse?longest=24&n=30000"


def main() -> None:
    out, minutes = Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 2.0
    with (
        tempfile.TemporaryDirectory() as scratch,
        rc_context({"svg.fonttype": "none", "svg.hashsalt": "long"}),
    ):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        for index, name in enumerate(("rnn", "gru")):
            for attention, line in (("additive", "-"), ("none", ":")):
                how: dict[str, Any] = {"tokenizer": "char", "minutes": minutes, "attention": attention}
                run = rung.train(name, DATA, out=Path(scratch) / f"{name}-{attention}", **how)
                writing: Any = run.task.writing(run.model, run.corpus, "test")
                rows = [(row["tokens"], row["exact_match"]) for row in writing.by_length]
                label = f"{name}, attention {attention}"
                axes.plot(*zip(*rows, strict=True), line, color=f"C{index}", marker="o", label=label)
                shares = ", ".join(f"{n:.0f}: {exact:.2f}" for n, exact in rows)
                print(f"{label:<24} {run.recipe['result']['steps']:6,} steps  {shares}", flush=True)
        axes.set_xlabel("letters of the row")
        axes.set_ylabel("share written right, letter for letter")
        axes.set_ylim(-0.02, 1.02)
        axes.legend(frameon=False)
        figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    main()
