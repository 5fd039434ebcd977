"""Scoring a stream token by token, compiled: what `BackoffTrie.log_probs` does, but 2 or 3 times as fast.

The walk is that of Aho and Corasick: from the longest kept n-gram before a token, along suffix links until
one has the token for a child. Backoffs are added in the order in which the array version adds them, so both
give the same bits.

Compiling takes seconds once and is then cached beside this file; loading numba takes half a second every
time. So this pays for long streams only, and without numba installed the array version does the work.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

Scan = Callable[..., int | np.signedinteger]
LONGEST_HISTORY = 64


def scan(
    ids: np.ndarray,
    node: int | np.signedinteger,
    end: int,
    words: np.ndarray,
    log_prob: np.ndarray,
    suffix: np.ndarray,
    first_child: np.ndarray,
    log_backoff: np.ndarray,
    out: np.ndarray,
) -> int | np.signedinteger:
    """Write the log-probability of every token of `ids` to `out`; return the state after the last.

    Args:
        ids: (T,) int64.
        node: the state before the first token: the longest kept n-gram, shorter than the highest order.
        end: the document mark.
        words, log_prob, suffix, first_child, log_backoff: the trie's.
        out: (T,) float32.
    """
    paid = np.empty(LONGEST_HISTORY, np.float32)
    n_inner = len(log_backoff)
    for i in range(len(ids)):
        token = ids[i]
        history = node
        n_paid = 0
        child = 0
        while child == 0:
            if history == 0:
                child = 1 + token
                break
            low = np.int64(first_child[history])
            stop = np.int64(first_child[history + 1])
            high = stop
            while low < high:
                middle = (low + high) >> 1
                if words[middle] < token:
                    low = middle + 1
                else:
                    high = middle
            if low < stop and words[low] == token:
                child = low
            else:
                paid[n_paid] = log_backoff[history]
                n_paid += 1
                history = np.int64(suffix[history])
        total = log_prob[child]
        for j in range(n_paid - 1, -1, -1):
            total += paid[j]
        out[i] = total
        if token == end and end < n_inner - 1:
            node = 1 + end
        else:
            node = child if child < n_inner else np.int64(suffix[child])
    return node


@cache
def compiled_scan() -> Scan | None:
    """`scan` as machine code, or None where numba is not installed."""
    try:
        import numba
    except ImportError:
        return None
    try:
        return numba.njit(cache=True, nogil=True)(scan)
    except RuntimeError:  # nowhere to keep the cache
        return numba.njit(nogil=True)(scan)
