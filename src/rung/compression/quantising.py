"""A run's weights in 8 or 4 bits (`rung.models.quantisation`), and what that costs and buys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.compression.decoding_speed import decoding_speed
from rung.compression.smaller_run import Smaller, check_network, make
from rung.errors import UserError
from rung.models.quantisation import BITS, QUANTISED, quantise
from rung.run_files import MODEL
from rung.run_folders import Place, free_folder
from rung.runs import Run
from rung.tensors import save_tensors


@dataclass(frozen=True)
class Quantised:
    """A quantised run and what it was made of.

    Attributes:
        made: both, and their measures.
        speed_before, speed_after: tokens a second, one text at a time; None where it writes none.
    """

    made: Smaller
    speed_before: float | None
    speed_after: float | None

    def to_json(self) -> dict[str, Any]:
        """What `--json` says."""
        speeds = {"before": self.speed_before, "after": self.speed_after}
        return {**self.made.to_json(), **({} if self.speed_after is None else {"tokens_per_second": speeds})}


def quantise_run(
    run: Run, *, bits: int = 8, data: str | Path | None = None, out: Path | None = None, force: bool = False
) -> Quantised:
    """A new run with the same model, its matrices in `bits` bits.

    Args:
        run: a finished run of a network; it stays as it is.
        bits: 8 or 4.
        data: the text to measure both on; None = the run's own validation split.
        out: the new folder; None = runs/NAME-int8.
        force: overwrite the run that is there.

    Raises UserError for a run that is no network, or quantised already.
    """
    if bits not in BITS:
        raise UserError(f"--bits {bits} is not possible: give 8 or 4")
    check_network(run, "quantise")
    if QUANTISED in run.recipe:
        told = run.recipe[QUANTISED]
        raise UserError(
            f"{run.folder} is quantised already, to {told.get('bits')} bits; quantise what it was made of: "
            f"{told.get('run')}"
        )
    folder = out if out is not None else free_folder(f"{run.folder.resolve().name}-int{bits}")

    def write(place: Place) -> None:
        written = quantise(run.model.tensors(), bits)
        save_tensors(place / MODEL, written, {"rung": run.rung, QUANTISED: str(bits)})

    facts = {"bits": bits}
    made = make(
        run,
        folder,
        lambda: (run.recipe["model"], facts),
        write,
        name=QUANTISED,
        data=data,
        force=force,
    )
    return Quantised(made, decoding_speed(run), decoding_speed(made.run))
