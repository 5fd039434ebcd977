"""How much a count is worth less than it says: discounts computed from counts of counts.

Modified Kneser-Ney (Chen and Goodman 1998, equation 26) has three for each order. With n_c the number of
n-grams that occur exactly c times and Y = n_1 / (n_1 + 2 n_2),

    D_c = c - (c + 1) Y n_(c+1) / n_c        for c = 1, 2 and, for every count from 3 up, c = 3

Absolute discounting (Ney, Essen and Kneser 1994) has one, D = Y.

On little text, or text of few different tokens, the n_c are zero or in no order and these come out undefined,
negative or larger than the count itself. A fixed choice is then the fallback. A discount of exactly 0 would do no
harm to text that was seen, but would leave nothing for what was not, so it counts as degenerate too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

KNESER_NEY_FALLBACK = np.array([0.5, 1.0, 1.5])  # lmplz --discount_fallback uses these as well
ABSOLUTE_FALLBACK = np.full(3, 0.5)


def kneser_ney_discounts(n: Sequence[int]) -> np.ndarray | None:
    """D_1, D_2, D_3+ (3,) from n_1 to n_4, or None where these are degenerate."""
    n1, n2, n3, n4 = n
    if n1 == 0 or n2 == 0 or n3 == 0:
        return None
    y = n1 / (n1 + 2 * n2)
    discounts = np.array([1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    # None can be above c: what is taken off c is never negative.
    return discounts if (discounts > 0).all() else None


def absolute_discount(n: Sequence[int]) -> np.ndarray | None:
    """D for every count, three times (3,), from n_1 to n_4, or None where it would be 0 or 1 or undefined."""
    n1, n2, _, _ = n
    return None if n1 == 0 or n2 == 0 else np.full(3, n1 / (n1 + 2 * n2))


def counts_of_counts(counts: np.ndarray) -> np.ndarray:
    """n_1 to n_4, (4,): how many of `counts` are 1, 2, 3 and 4."""
    return np.bincount(np.minimum(counts, 5), minlength=6)[1:5]
