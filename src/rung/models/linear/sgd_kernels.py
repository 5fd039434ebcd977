"""Compiled: stochastic gradient descent on averaged rows, one example at a time, in a given order.

    h = mean of the rows E[f] of an example's features         h: (d,)
    loss = -log softmax(W h)[label]                            E: (R, d), W: (L, d)

One thread, so the same data give the same weights. An example's features may repeat.
"""

from __future__ import annotations

import numpy as np

from rung.models.counting.compiled import compiled


@compiled
def sgd_epoch(
    order: np.ndarray,
    starts: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
    importance: np.ndarray,
    table: np.ndarray,
    head: np.ndarray,
    first_rate: float,
    last_rate: float,
) -> float:
    """One time through the examples, in place; the rate falls linearly. The mean loss on the way, nats per example."""
    n_labels, width = head.shape
    hidden = np.empty(width, np.float32)
    slope = np.empty(width, np.float32)
    weights = np.empty(n_labels, np.float32)
    total = 0.0
    for place in range(len(order)):
        example = order[place]
        begin, end = starts[example], starts[example + 1]
        if begin == end:
            continue
        rate = np.float32(first_rate + (last_rate - first_rate) * place / len(order))
        hidden[:] = 0
        for i in range(begin, end):
            row = table[features[i]]
            for j in range(width):
                hidden[j] += row[j]
        share = np.float32(1) / np.float32(end - begin)
        for j in range(width):
            hidden[j] *= share
        most = np.float32(-np.inf)
        for label in range(n_labels):
            logit = np.float32(0)
            for j in range(width):
                logit += head[label, j] * hidden[j]
            weights[label] = logit
            most = max(most, logit)
        norm = np.float32(0)
        for label in range(n_labels):
            weights[label] = np.exp(weights[label] - most)
            norm += weights[label]
        right = labels[example]
        total += np.log(norm) - np.log(weights[right])
        slope[:] = 0
        step = rate * np.float32(importance[right])
        for label in range(n_labels):
            change = -step * weights[label] / norm
            if label == right:
                change += step
            for j in range(width):
                slope[j] += change * head[label, j]
                head[label, j] += change * hidden[j]
        for j in range(width):
            slope[j] *= share
        for i in range(begin, end):
            row = table[features[i]]
            for j in range(width):
                row[j] += slope[j]
    return total / len(order)


@compiled
def average_rows(starts: np.ndarray, features: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The mean row of each example's features, (N, d) float32; 0 where it has none."""
    width = table.shape[1]
    out = np.zeros((len(starts) - 1, width), np.float32)
    for example in range(len(out)):
        begin, end = starts[example], starts[example + 1]
        for i in range(begin, end):
            row = table[features[i]]
            for j in range(width):
                out[example, j] += row[j]
        if end > begin:
            out[example] /= np.float32(end - begin)
    return out
