"""What a sweep of the learning rate can be told (`rung.training.lr_finder`)."""

from __future__ import annotations

from dataclasses import dataclass

from rung.errors import UserError
from rung.training.config import LARGEST


@dataclass(frozen=True)
class SweepOptions:
    """Between which learning rates, and in how many steps.

    Attributes:
        lr_from: with --find-lr: the first learning rate.
        lr_to: with --find-lr: the last.
        lr_steps: with --find-lr: how many are tried, each larger by the same factor.
    """

    lr_from: float = 1e-6
    lr_to: float = 10.0
    lr_steps: int = 100

    def __post_init__(self) -> None:
        if not 0 < self.lr_from < self.lr_to <= LARGEST:
            raise UserError(
                f"--lr-from {self.lr_from:g} --lr-to {self.lr_to:g} is not possible: give two rates above 0, the "
                "larger one last"
            )
        if self.lr_steps < 10:
            raise UserError(f"--lr-steps {self.lr_steps} is not possible: give 10 or more")

    def share(self, progress: float, *, warmup: float, floor: float) -> float:
        """The share of the last rate at `progress`: equal factors for equal shares of the steps."""
        return (self.lr_from / self.lr_to) ** (1 - progress)


@dataclass(frozen=True)
class NoOptions:
    """Of what has no learning rate."""
