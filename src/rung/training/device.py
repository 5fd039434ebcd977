"""Where torch computes."""

from __future__ import annotations

from rung.errors import UserError, nearest

DEVICES = ("auto", "cpu", "cuda", "mps")


def check_device(name: str) -> None:
    """Raises UserError for the name of no device, without loading torch."""
    if name not in DEVICES:
        raise UserError(f"--device {name} is unknown{nearest(name, DEVICES)} (known: {', '.join(DEVICES)})")


def pick_device(name: str) -> str:
    """`auto` is the GPU where there is one. Raises UserError for a device that isn't there."""
    import torch

    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if there[device])
    if not there.get(name, False):
        raise UserError(
            f"--device {name} is not here (here: auto, {', '.join(d for d in there if there[d])})"
        )
    return name
