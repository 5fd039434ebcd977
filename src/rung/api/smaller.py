"""The calls that make a run smaller."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.runs import Run, load

if TYPE_CHECKING:
    from rung.compression.pruning import Pruned
    from rung.compression.quantising import Quantised


def prune(
    run: Run | str | Path,
    data: str | Path | None = None,
    *,
    share: float,
    of: str = "weights",
    out: str | Path | None = None,
    force: bool = False,
) -> Pruned:
    """A new run without a share of its weights, heads or blocks: `.made.run`, what both are worth, what went.

    Args:
        run: a finished run of a network, or its folder; it stays as it is.
        data: the text to measure both on; None = the run's own validation split.
        share: of what is there, above 0 and below 1.
        of: weights, heads or blocks (`rung.compression.pruning`).
        out: the new folder; None = runs/NAME-pruned.
        force: overwrite the run that is there.

    Raises UserError when something in the input is at fault.
    """
    from rung.compression.pruning import prune_run

    return prune_run(_opened(run), share=share, of=of, data=data, out=_path(out), force=force)


def quantise(
    run: Run | str | Path,
    data: str | Path | None = None,
    *,
    bits: int = 8,
    out: str | Path | None = None,
    force: bool = False,
) -> Quantised:
    """A new run with its matrices in 8 or 4 bits: `.made.run`, what both are worth, how fast both write.

    Args:
        run: a finished run of a network, or its folder; it stays as it is.
        data: the text to measure both on; None = the run's own validation split.
        bits: 8 or 4.
        out: the new folder; None = runs/NAME-int8.
        force: overwrite the run that is there.

    Raises UserError when something in the input is at fault.
    """
    from rung.compression.quantising import quantise_run

    return quantise_run(_opened(run), bits=bits, data=data, out=_path(out), force=force)


def _opened(run: Run | str | Path) -> Run:
    return run if isinstance(run, Run) else load(run)


def _path(out: Any) -> Path | None:
    return None if out is None else Path(out)
