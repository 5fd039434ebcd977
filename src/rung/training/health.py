"""Checks that tell early what a loss curve would tell late: the first loss, one batch learnt by heart, memory.

Before the first update a model knows nothing, so its loss should be that of an even guess, ln n nats per target for n
equal choices, and learning one batch by heart takes no more than working code and enough weights. Source: A. Karpathy,
"A recipe for training neural networks", 2019.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rung.errors import UserError
from rung.training.config import TrainingConfig

TOLERANCE = 0.1
"""The share by which the first loss may be off ln V."""

MEMORISED = 0.1
"""Nats per token above the lowest loss there is, below which a batch counts as learnt by heart."""


def first_loss(
    nats_per_target: float, n_classes: int, target: str = "token", even: float | None = None
) -> str | None:
    """What to make of the loss of the first batch, before any update; None when it is as it should be.

    even: what it should be, where that is not the logarithm of `n_classes`.
    """
    log_n = math.log(n_classes)
    even = log_n if even is None else even
    shown = f"ln {n_classes:,} = {even:.3f}" if even == log_n else f"{even:.3f}"
    if abs(nats_per_target - even) <= TOLERANCE * even:
        return None
    off = f"the first loss is {nats_per_target:.3f} nats per {target}; an even guess has {shown}."
    if nats_per_target > even:
        return (
            f"{off} The untrained model is confidently wrong: its first logits are too large (initialisation)"
        )
    return (
        f"{off} The untrained model knows too much: targets that leak into the inputs, weights that are not new, "
        "or a head that begins with the tokens' frequencies"
    )


def memorised(loss: float, lowest: float, target: str = "token") -> str:
    """How well one batch was learned, by its mean loss and the lowest there is; what to look at where it was not."""
    found = (
        f"one batch, over and over: {loss:.3f} nats per {target}, where {lowest:.3f} is the lowest there is"
    )
    if loss <= lowest + MEMORISED:
        return (
            f"{found}; it is learnt by heart, so the model can learn. Train anew without --overfit-one-batch"
        )
    return (
        f"{found}, more than {MEMORISED:g} above it: the batch is not learnt by heart. Look at the budget, the "
        "learning rate (--find-lr), dropout, penalties and decay; then at the model's size; then for a fault in the "
        "model"
    )


@contextmanager
def explaining_out_of_memory(config: TrainingConfig) -> Iterator[None]:
    """Turn running out of memory, torch's or NumPy's, into a UserError that says what to lower."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        window = "" if config.window is None else f", --window (it was {config.window})"
        raise UserError(
            f"out of memory: lower --batch-size (it was {config.batch_size}; --accumulate N keeps the step as large)"
            f"{window}, --context, --vocab-size or the model's size"
        ) from error


def out_of_memory(error: BaseException) -> bool:
    """Whether there was not enough memory; on a CPU torch says so only in words."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(
        words in str(error)
        for words in (
            "DefaultCPUAllocator",
            "not enough memory",
            "out of memory",
            "size calculation overflowed",
        )
    )
