"""N-gram smoothing as papers write it: dictionaries and recursion, slow and plain; the fast one's oracle.

A history is a tuple that begins with the document mark where the document begins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

History = tuple[int, ...]
Probability = Callable[[int, History], float]


def histories(document: Sequence[int], end: int, order: int) -> list[tuple[History, int]]:
    """Every token of a document, its closing mark last, with up to `order` - 1 tokens before it."""
    marked = [end, *document, end]
    return [(tuple(marked[max(0, i - order + 1) : i]), marked[i]) for i in range(1, len(marked))]


def count(documents: Sequence[Sequence[int]], end: int, order: int) -> list[Counter[tuple[int, ...]]]:
    """For each order from 1, how often each n-gram occurs; n-grams end at a token that is predicted."""
    counts: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order)]
    for document in documents:
        for history, token in histories(document, end, order):
            for k in range(min(len(history), order - 1) + 1):
                counts[k][(*history[len(history) - k :], token)] += 1
    return counts


def continuation_counts(counts: list[Counter[tuple[int, ...]]], end: int) -> list[Counter[tuple[int, ...]]]:
    """Below the highest order: how many different tokens precede an n-gram that doesn't begin a document."""
    adjusted = []
    for k, (grams, longer) in enumerate(pairwise(counts), start=1):
        preceded = Counter(gram[1:] for gram in longer)
        adjusted.append(
            Counter({gram: n if k > 1 and gram[0] == end else preceded[gram] for gram, n in grams.items()})
        )
    return [*adjusted, counts[-1]]


def chen_goodman_discounts(grams: Counter[tuple[int, ...]]) -> list[float]:
    """D_0 = 0, D_1, D_2, D_3+; 0.5, 1, 1.5 where they can't be computed."""
    n = Counter(grams.values())
    try:
        y = n[1] / (n[1] + 2 * n[2])
        discounts = [c - (c + 1) * y * n[c + 1] / n[c] for c in (1, 2, 3)]
    except ZeroDivisionError:
        discounts = [0.0]
    return [0.0, *(discounts if min(discounts) > 0 else [0.5, 1.0, 1.5])]


def kneser_ney(
    documents: Sequence[Sequence[int]], vocab_size: int, end: int, order: int, prune: Sequence[int] = ()
):
    """Interpolated modified Kneser-Ney; k-grams that occur prune[k - 1] times at most give up all mass."""
    counts = count(documents, end, order)
    adjusted = continuation_counts(counts, end)
    discounts = [chen_goodman_discounts(grams) for grams in adjusted]
    limits = [prune[min(k, len(prune) - 1)] if prune else 0 for k in range(order)]

    def probability(token: int, history: History) -> float:
        level = len(history)
        lower = probability(token, history[1:]) if history else 1 / vocab_size
        followers = {gram: a for gram, a in adjusted[level].items() if gram[:-1] == history}
        if not followers:
            return lower
        kept = {gram: a for gram, a in followers.items() if counts[level][gram] > limits[level]}
        own = {gram: a - discounts[level][min(a, 3)] for gram, a in kept.items()}
        total = sum(followers.values())
        return own.get((*history, token), 0) / total + (total - sum(own.values())) / total * lower

    return probability


def absolute(documents: Sequence[Sequence[int]], vocab_size: int, end: int, order: int) -> Probability:
    """Interpolated absolute discounting, D = n1 / (n1 + 2 n2) an order, or 0.5."""
    counts = count(documents, end, order)

    def discount(level: int) -> float:
        n = Counter(counts[level].values())
        return n[1] / (n[1] + 2 * n[2]) if n[1] and n[2] else 0.5

    def probability(token: int, history: History) -> float:
        lower = probability(token, history[1:]) if history else 1 / vocab_size
        followers = {gram: n for gram, n in counts[len(history)].items() if gram[:-1] == history}
        if not followers:
            return lower
        d = discount(len(history))
        own = max(followers.get((*history, token), 0) - d, 0)
        return (own + d * len(followers) * lower) / sum(followers.values())

    return probability


def witten_bell(documents: Sequence[Sequence[int]], vocab_size: int, end: int, order: int) -> Probability:
    """Interpolated Witten-Bell."""
    counts = count(documents, end, order)

    def probability(token: int, history: History) -> float:
        lower = probability(token, history[1:]) if history else 1 / vocab_size
        followers = {gram: n for gram, n in counts[len(history)].items() if gram[:-1] == history}
        if not followers:
            return lower
        types, total = len(followers), sum(followers.values())
        return (followers.get((*history, token), 0) + types * lower) / (total + types)

    return probability


def stupid_backoff(documents: Sequence[Sequence[int]], end: int, order: int) -> Probability:
    """Brants et al. 2007, equation 5, with 0.4; the denominator counts all that follows the history."""
    counts = count(documents, end, order)

    def score(token: int, history: History) -> float:
        n = counts[len(history)][(*history, token)]
        if n:
            return n / sum(c for gram, c in counts[len(history)].items() if gram[:-1] == history)
        return 0.4 * score(token, history[1:]) if history else 0.0

    return score
