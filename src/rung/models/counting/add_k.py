"""Add-k smoothing, and the k that leaves the training text least surprised by itself.

    P(w | h) = (C(h, w) + k) / (C(h) + k V)                       k = 1 is Laplace's rule of succession

With no k given, the one is taken that maximises the leave-one-out likelihood of the training text, in which
every token is predicted from the counts of all the others:

    sum over h and w of C(h, w) log((C(h, w) - 1 + k) / (C(h) - 1 + k V))
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rung.errors import UserError
from rung.events import Note

K_GRID = np.logspace(-6, 2, 801)


def check_add_k(add_k: float | None) -> None:
    """Raise UserError unless k is None or a positive, finite number."""
    if add_k is not None and not (np.isfinite(add_k) and add_k > 0):
        raise UserError(f"--add-k {add_k:g} does not fit: it must be above 0 (1 is add-one); or leave it out")


def leave_one_out_k(counts: Mapping[int, int], totals: Mapping[int, int], vocab_size: int) -> float:
    """The k of `K_GRID` with the highest leave-one-out likelihood.

    Args:
        counts: count -> how many pairs of history and token occur so often; no count is 0.
        totals: count -> how many histories occur so often; no count is 0.
        vocab_size: V.
    """
    if not counts:
        return 1.0
    c, n = np.array([*counts], np.float64), np.array([*totals], np.float64)
    weight_c, weight_n = c * np.array([*counts.values()]), n * np.array([*totals.values()])
    likelihood = [
        weight_c @ np.log(c - 1 + k) - weight_n @ np.log(n - 1 + k * vocab_size)  #
        for k in K_GRID
    ]
    return float(K_GRID[int(np.argmax(likelihood))])


def note_of_chosen_k(k: float) -> Note:
    """What training says when it has chosen k itself."""
    return Note(
        f"k = {k:.4g} chosen for add-k smoothing: the training text is likeliest, each token left out in turn"
    )
