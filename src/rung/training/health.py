"""Checks that tell early what a loss curve would tell late: the first loss, one batch learnt by heart, memory.

Before the first update a model knows nothing, so its loss should be that of an even guess, ln V nats per token, and
learning one batch by heart takes no more than working code and enough weights. Source: A. Karpathy, "A recipe for
training neural networks", 2019.
"""

from __future__ import annotations

import math
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.nn import functional as F

from rung.errors import UserError
from rung.models.networks.network import NeuralModel
from rung.training.batches import PADDING
from rung.training.config import TrainingConfig

TOLERANCE = 0.1
"""The share by which the first loss may be off ln V."""

BY_HEART = 0.1
"""Nats per token above the lowest loss there is, below which a batch counts as learnt by heart."""


def first_loss(nats_per_token: float, vocab_size: int) -> str | None:
    """What to make of the loss of the first batch, before any update; None when it is as it should be."""
    even = math.log(vocab_size)
    if abs(nats_per_token - even) <= TOLERANCE * even:
        return None
    off = f"the first loss is {nats_per_token:.3f} nats per token; an even guess has ln {vocab_size:,} = {even:.3f}."
    if nats_per_token > even:
        return (
            f"{off} The untrained model is confidently wrong: its first logits are too large (initialisation)"
        )
    return (
        f"{off} The untrained model knows too much: targets that leak into the inputs, weights that are not new, "
        "or a head that begins with the tokens' frequencies"
    )


def by_heart(model: NeuralModel, inputs: np.ndarray, targets: np.ndarray) -> str:
    """How well one batch, inputs (B, H + T) and targets (B, T), was learnt; what to look at where it was not."""
    with model.inference():
        logits = model.network(torch.from_numpy(inputs).to(model.device))
        loss = F.cross_entropy(
            logits.flatten(0, 1).float(),
            torch.from_numpy(targets).to(model.device).flatten(),
            ignore_index=PADDING,
        ).item()
    lowest = lowest_loss(inputs, targets, model.context)
    found = f"one batch, over and over: {loss:.3f} nats per token, where {lowest:.3f} is the lowest there is"
    if loss <= lowest + BY_HEART:
        return (
            f"{found}; it is learnt by heart, so the model can learn. Train anew without --overfit-one-batch"
        )
    return (
        f"{found}, more than {BY_HEART:g} above it: the batch is not learnt by heart. Look at the budget, the learning "
        "rate (--find-lr), dropout, penalties and decay; then at the model's size; then for a fault in the model"
    )


def lowest_loss(inputs: np.ndarray, targets: np.ndarray, context: int | None) -> float:
    """The least mean loss, nats per token, of any model that sees the last `context` inputs in a row (None = all).

    Where the same inputs are followed by different targets nobody can be right each time: what is left is the entropy
    of the targets given what is seen. It is zero only where no two rows begin alike.
    """
    rows, length = targets.shape
    history = inputs.shape[1] - length
    seen: Counter[int] = Counter()
    pairs: Counter[tuple[int, int]] = Counter()
    for row in range(rows):
        for t in range(length):
            if targets[row, t] == PADDING:
                continue
            end = history + t + 1
            begin = max(0, end - context) if context is not None else 0
            key = hash(inputs[row, begin:end].tobytes())
            seen[key] += 1
            pairs[key, int(targets[row, t])] += 1
    return sum(-n * math.log(n / seen[key]) for (key, _), n in pairs.items()) / sum(seen.values())


@contextmanager
def memory_told(config: TrainingConfig) -> Iterator[None]:
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


def check_memory(rows: int, columns: int, vocab_size: int, device: torch.device) -> None:
    """Raise MemoryError when the ids and logits alone of one batch are more than the whole machine holds."""
    if device.type != "cpu" or sys.platform == "win32":  # which has no sysconf
        return
    if rows * columns * (16 + 4 * vocab_size) > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        raise MemoryError


def out_of_memory(error: BaseException) -> bool:
    """Whether there was not enough memory; on a CPU torch says so only in words."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(
        words in str(error) for words in ("DefaultCPUAllocator", "not enough memory", "out of memory")
    )
