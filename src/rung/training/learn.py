"""What of a network that begins with a run's weights is learned, as it is typed.

all       everything
head      what turns states into answers; all else stays, in evaluation mode
last:K    the head and the last K blocks
lora:R    the head, and of every other linear layer a product of rank R (`rung.models.networks.lora`)
"""

from __future__ import annotations

from typing import NamedTuple

from rung.errors import UserError


class Learn(NamedTuple):
    """A kind, and how much of it; 0 where there is nothing to count."""

    kind: str = "all"
    amount: int = 0

    @staticmethod
    def of(text: str) -> Learn:
        """Raises UserError for what is none."""
        kind, colon, number = text.partition(":")
        if kind in ("all", "head") and not colon:
            return Learn(kind)
        if kind in ("last", "lora") and number.isascii() and number.isdigit() and 1 <= int(number) <= 10_000:
            return Learn(kind, int(number))
        raise UserError(
            f"--learn {text} is not possible: give all, head, last:K (the last K blocks) or lora:R (products of rank R)"
        )
