"""bfloat16 where it pays: measured once, before training begins, on the machine that trains.

    weights, gradients, optimiser, losses, norms    float32, always
    products of matrices                            float32, or bfloat16 under torch's autocast

bfloat16 keeps float32's range and 8 of its 24 bits of precision, so no loss needs scaling (Kalamkar et al. 2019,
arXiv:1905.12322). Some processors have units that multiply it several times as fast; others emulate it and take longer.
The name on the box doesn't tell, so `auto` times the product that a network of this width is made of.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F

PAYS = 1.3
"""How many times as fast bfloat16 must be before it is chosen: casting takes a part of what it wins."""

ROWS, ROUNDS = 1024, 12


def choose(precision: str, device: torch.device, width: int) -> tuple[str, str | None]:
    """The precision to compute in, float32 or bfloat16, and for `auto` a sentence that says why.

    Args:
        precision: auto, float32 or bfloat16.
        device: where training runs.
        width: of the network's layers.
    """
    if precision != "auto":
        return precision, None
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32", None
    if device.type != "cpu":
        return "float32", None
    gain = speed_up(width)
    if gain >= PAYS:
        return (
            "bfloat16",
            f"computing in bfloat16, {gain:.1f} times as fast as float32 here (--precision float32)",
        )
    return "float32", None


def speed_up(width: int) -> float:
    """How many times as fast this CPU multiplies (1024, width) by (width, 4 width) in bfloat16 as in float32."""
    seconds: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    parts = {
        kind: (torch.ones(ROWS, width, dtype=kind), torch.ones(4 * width, width, dtype=kind))
        for kind in seconds
    }
    with torch.inference_mode():
        for _ in range(ROUNDS):
            for kind, (x, weight) in parts.items():
                began = time.perf_counter()
                F.linear(x, weight)
                seconds[kind].append(time.perf_counter() - began)
    # The shortest: whatever else the machine does can only make a product take longer.
    return min(seconds[torch.float32]) / min(seconds[torch.bfloat16])


def computing(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Inside, matrices are multiplied in `precision`."""
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
