"""One step of many histories, compiled: what `BackoffTrie.step` and `next_log_probs` give, in a fraction of the time.

Array operations spend most of a step on being called, order after order; here a row is a short walk up the suffix
links and back. Sums are taken in the order in which the array version takes them, so both give the same bits.

As for `trie_scan`, loading numba takes half a second, so this pays where many steps are made; without numba installed
the array version does the work.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

Step = Callable[..., None]
LONGEST_HISTORY = 64


def step(
    nodes: np.ndarray,
    tokens: np.ndarray,
    end: int,
    words: np.ndarray,
    log_prob: np.ndarray,
    suffix: np.ndarray,
    first_child: np.ndarray,
    log_backoff: np.ndarray,
    out: np.ndarray,
) -> None:
    """Take in one row of `tokens` after another for each history; write what comes next.

    Args:
        nodes: (B,) int64, changed: the longest kept end of each history.
        tokens: (B, T) int64.
        end: the document mark.
        words, log_prob, suffix, first_child, log_backoff: the trie's.
        out: (B, V) float32, written to: the log-probabilities after the last token.
    """
    contexts = np.empty(LONGEST_HISTORY, np.int64)
    paid = np.empty(LONGEST_HISTORY, np.float32)
    n_inner = len(log_backoff)
    for row in range(len(nodes)):
        node = nodes[row]
        for t in range(tokens.shape[1]):
            token = tokens[row, t]
            child = np.int64(0)
            if n_inner == 1:  # single tokens only: no history is kept
                continue
            if token == end:
                child = np.int64(1 + end)
            while child == 0:
                if node == 0:
                    child = 1 + token
                    break
                low = np.int64(first_child[node])
                stop = np.int64(first_child[node + 1])
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
                    node = np.int64(suffix[node])
            node = child if child < n_inner else np.int64(suffix[child])
        nodes[row] = node
        total = np.float32(0)
        n = 0
        while node != 0:
            contexts[n] = node
            paid[n] = total
            n += 1
            total += log_backoff[node]
            node = np.int64(suffix[node])
        for token in range(out.shape[1]):
            out[row, token] = log_prob[1 + token] + total
        for i in range(n - 1, -1, -1):  # longer contexts know better
            for child in range(first_child[contexts[i]], first_child[contexts[i] + 1]):
                out[row, words[child]] = log_prob[child] + paid[i]


@cache
def compiled_step() -> Step | None:
    """`step` as machine code, or None where numba is not installed."""
    try:
        import numba
    except ImportError:
        return None
    try:
        return numba.njit(cache=True, nogil=True)(step)
    except RuntimeError:  # nowhere to keep the cache
        return numba.njit(nogil=True)(step)
