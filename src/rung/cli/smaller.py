"""`rung prune` and `rung quantise`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rung.cli.common import Text, no_option, show_json

if TYPE_CHECKING:
    from rung.compression.smaller_run import Smaller


def prune(
    run: Path,
    *data: Text,
    share: float,
    of: Literal["weights", "heads", "blocks"] = "weights",
    out: Path | None = None,
    force: bool = False,
    json: bool = False,
) -> int:
    """Make a run of fewer weights, heads or blocks.

    The run stays as it is; a new one is written. Both are measured on the run's validation split, or on all of DATA.
    What goes is chosen by size (weights), or by what the loss on the training part rises by without it.

    Example: rung prune runs/gpt --share .3

    Args:
        run: a run's folder, of a network.
        data: a text to measure both on; by default the run's own.
        share: of what is there, above 0 and below 1.
        of: weights: of each matrix those nearest to 0; heads of attention; whole blocks, which makes it smaller and
            faster.
        out: the new run's folder; by default runs/NAME-pruned.
        force: overwrite the run that is there.
        json: print what was done as one JSON object, nothing else.
    """
    from rung import api

    made = api.prune(run, _one(data), share=share, of=of, out=out, force=force)
    if json:
        show_json(made.to_json())
        return 0
    for part in made.made.facts.get(of, ()) if of != "weights" else ():
        where = f"block {part['block'] + 1}" + (f", head {part['head'] + 1}" if "head" in part else "")
        print(f"without {where}: the loss in training rises by {part['cost']:.4f} nats")
    zeros = f"{made.zeros:,} of {made.numbers:,} numbers in matrices are 0"
    _tell(made.made, f"{share:g} of the {of}", zeros)
    keeps = " --keep-zeros" if of != "blocks" else ""
    print(f"to train it again: rung train {made.made.run.rung} DATA --from {made.made.run.folder}{keeps}")
    return 0


def quantise(
    run: Path,
    *data: Text,
    bits: Literal[8, 4] = 8,
    out: Path | None = None,
    force: bool = False,
    json: bool = False,
) -> int:
    """Make a run whose weights have 8 or 4 bits.

    The run stays as it is; a new one is written, to be used like any other. Both are measured on the run's validation
    split, or on all of DATA, and both write some text, as fast as they can.

    Example: rung quantise runs/gpt --bits 8

    Args:
        run: a run's folder, of a network.
        data: a text to measure both on; by default the run's own.
        bits: 8, a scale for each row of a matrix; or 4, with a level too for every 32 numbers of a row.
        out: the new run's folder; by default runs/NAME-int8.
        force: overwrite the run that is there.
        json: print what was done as one JSON object, nothing else.
    """
    from rung import api

    made = api.quantise(run, _one(data), bits=bits, out=out, force=force)
    if json:
        show_json(made.to_json())
        return 0
    speeds = made.speed_before, made.speed_after
    speed = "" if None in speeds else f"{speeds[0]:,.0f} → {speeds[1]:,.0f} tokens/s"
    _tell(made.made, f"{bits} bits", speed)
    return 0


def _one(data: tuple[str, ...]) -> str | None:
    from rung.errors import UserError

    for name in data:
        no_option(name)
    if len(data) > 1:
        raise UserError(f"{data[1]!r} is one text too many: both runs are measured on one")
    return data[0] if data else None


def _tell(made: Smaller, what: str, more: str) -> None:
    from rung import terminal

    said: list[Any] = [f"{terminal.size(made.bytes_before)} → {terminal.size(made.bytes_after)}", more]
    if made.before is not None and made.after is not None:
        before, after = made.before.bits_per_unit, made.after.bits_per_unit
        share = round(100 * (after / before - 1), 2) if before else 0.0
        said.append(
            f"{before:.4f} → {after:.4f} bits per {made.after.unit} ({share + 0:+.2f} %, {made.after.split})"
        )
    print(f"{what}: {'; '.join(part for part in said if part)}")
    print(f"run: {made.run.folder}")
