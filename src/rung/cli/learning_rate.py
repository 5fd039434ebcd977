"""What `rung train --find-lr` shows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rung.cli.common import show_json, stopped

if TYPE_CHECKING:
    from rung.training.experiment import Experiment
    from rung.training.lr_finder import Sweep


def show_learning_rate(experiment: Experiment, found: Sweep | None, json: bool) -> int:
    """What a sweep of the learning rate found."""
    from rung.run_files import PICTURE

    if found is None:
        return stopped("; nothing was found out yet")
    folder = experiment.run.folder("")
    if json:
        show_json({"run": str(folder), "suggestion": found.suggestion, "picture": str(folder / PICTURE)})
        return 0
    training = replace(experiment.training, lr=float(f"{found.suggestion:g}"))
    print(
        f"suggested learning rate: {found.suggestion:g}, where the smoothed loss falls fastest\n"
        f"picture: {folder / PICTURE}\n"
        f"next: {replace(experiment, training=training).command}"
    )
    return 0
