"""What two loss curves say in words: diverged, overfit, underfit, or nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

WORSE = 0.02
"""The rise of validation loss above its lowest, as a share, that counts as overfitting."""

FALLING = 0.01
"""The fall from one evaluation to the next, as a share, that counts as still falling."""

FLAT = 0.002
"""The fall below which a curve counts as flat."""

FEWEST = 3


ABOVE_EVEN = 0.1
"""How far above an even guess, as a share, the loss of a new network may be."""

RISEN = 0.05
"""The rise of training loss above its lowest, as a share, together with that of validation loss, that is no noise."""


def diagnose(
    train: Sequence[float], validation: Sequence[float], target: str = "token", *, even: float = math.inf
) -> str | None:
    """Name what the curves show; None when they show nothing of the kind, or are too short to tell.

    Args:
        train: mean training loss before each evaluation, nats per target.
        validation: validation loss at each evaluation, nats per target.
        target: what one of them is called.
        even: the loss of an even guess, nats per target.

    The rules, in order; the first holds however short the curves are:
        diverged     validation loss ends more than a tenth above that of an even guess, or both losses end well
                     above their lowest (training more than 5 %, validation more than 2 %);
        overfit      validation ends more than 2 % above its lowest, and training loss fell since then;
        stopped early, underfit   both fell by more than 1 % between the last two evaluations;
        too small, underfit       both fell by less than 0.2 %, and training loss is not below validation loss.
    """
    if validation and validation[-1] > even * (1 + ABOVE_EVEN):
        return (
            f"diverged: validation loss ended at {validation[-1]:.3f} nats per {target}, above the {even:.3f} of "
            "an even guess; try a lower --lr, or more --warmup"
        )
    if len(validation) < FEWEST:
        return None
    if train[-1] > min(train) * (1 + RISEN) and validation[-1] > min(validation) * (1 + WORSE):
        return (
            f"diverged: training loss rose from {min(train):.3f} to {train[-1]:.3f} nats per {target}, and validation "
            f"loss from {min(validation):.3f} to {validation[-1]:.3f}. The weights of the lowest are kept; try a lower "
            "--lr, or more --warmup"
        )
    lowest = min(range(len(validation)), key=validation.__getitem__)
    if validation[-1] > validation[lowest] * (1 + WORSE) and train[-1] < train[lowest]:
        return (
            f"overfit: validation loss was lowest at evaluation {lowest + 1} of {len(validation)} "
            f"({validation[lowest]:.3f} nats per {target}) and rose to {validation[-1]:.3f} while training loss "
            f"fell to {train[-1]:.3f}. The weights of the lowest are kept; more text, --dropout, more --weight-decay "
            "or a smaller model would help, and --patience would end it sooner"
        )
    falls = [1 - curve[-1] / curve[-2] if curve[-2] > 0 else 0.0 for curve in (train, validation)]
    if min(falls) > FALLING:
        return (
            f"underfit: training and validation loss ({train[-1]:.3f} and {validation[-1]:.3f} nats per {target}) were "
            "both still falling when training ended; a larger budget would help"
        )
    if max(abs(fall) for fall in falls) < FLAT and train[-1] >= validation[-1]:
        return (
            f"underfit: training loss ({train[-1]:.3f} nats per {target}) is no lower than validation loss "
            f"({validation[-1]:.3f}) and neither falls any more; a larger model or a longer context could learn more"
        )
    return None
