"""Records by their rank: `--keep "top 10%"`, `--worst 20`. What is best has the fewest bits per byte.

A rank is known when all are scored, so `top` reads a file twice and scores it once: 8 bytes a record are held in
memory, twice that for a moment.
Records without bits per byte (empty texts, bad ones) have no rank and are not among those that a share is of.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

import numpy as np

from rung.errors import UserError


class Ranked:
    """`top` or `bottom`, and a share or a number of records."""

    def __init__(self, top: bool, amount: Decimal, is_share: bool) -> None:
        self._top, self._amount, self._is_share = top, amount, is_share

    @staticmethod
    def read(expression: str) -> Ranked | None:
        """What `top 10%` or `bottom 500` says; None for what begins otherwise.

        Raises UserError where neither a share nor a number follows.
        """
        word, _, rest = expression.strip().partition(" ")
        if word not in ("top", "bottom"):
            return None
        found = re.fullmatch(r"([\d,_]*\.?\d+)\s*(%?)", rest.strip())
        amount = Decimal(found[1].replace(",", "").replace("_", "")) if found else Decimal(0)
        share = found is not None and found[2] == "%"
        if amount <= 0 or (share and amount > 100) or (not share and amount % 1):
            raise UserError(
                f'--keep {expression!r} can\'t be read: give a share or a number of records, as in "{word} 10%" or '
                f'"{word} 500"'
            )
        return Ranked(word == "top", amount, share)

    def __call__(self, bits: np.ndarray) -> np.ndarray:
        """Which of all records are kept, (n,) bool, by their bits per byte. Of equal ones those that come first.

        Args:
            bits: (n,), NaN where there are none.
        """
        ranks = np.flatnonzero(~np.isnan(bits))
        n = math.ceil(self._amount * len(ranks) / 100) if self._is_share else int(self._amount)
        order = np.argsort(bits[ranks] if self._top else -bits[ranks], kind="stable")
        kept = np.zeros(len(bits), bool)
        kept[ranks[order[:n]]] = True
        return kept


class Worst:
    """The N records with the most bits per byte, as they pass by."""

    def __init__(self, n: int) -> None:
        if n < 1:
            raise UserError(f"--worst {n} is not possible: give a whole number, 1 or more")
        self._n = n
        self._found: list[tuple[float, str]] = []

    def add(self, bits: np.ndarray, lines: list[str]) -> None:
        """Look at records, (n,) bits per byte and what is written of each."""
        places = np.flatnonzero(~np.isnan(bits))
        order = places[np.argsort(-bits[places], kind="stable")[: self._n]]
        # Sorting is stable, so of equal ones those stay that came first.
        self._found = sorted(
            [*self._found, *((float(bits[i]), lines[i]) for i in order.tolist())], key=lambda one: -one[0]
        )[: self._n]

    def lines(self) -> list[str]:
        """Of each of them, the worst first."""
        return [line for _, line in self._found]
