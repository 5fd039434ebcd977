"""Backpropagation without an engine: each network's forward and backward pass written straight down.

Beside the tape these are its slow twins: the same chain rule, done once, by hand, for one network. A line of a backward
pass stands for the line of its forward pass, in reverse order; g_x is dJ/dx. Whatever a line changes has to be changed
in its twin too, which is why engines exist.
"""

from __future__ import annotations

import numpy as np

Cache = tuple[np.ndarray, ...]


def two_layer_forward_backward(
    x: np.ndarray, y: np.ndarray, alpha: np.ndarray, beta: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Cross-entropy of a network with one hidden layer of sigmoids, and its gradients by alpha and beta.

    Args:
        x: inputs # (N, I)
        y: classes, one-hot # (N, K)
        alpha: weights of the hidden layer # (H, I)
        beta: weights of the output layer # (K, H)
    """
    a = x @ alpha.T  # (N, H)
    z = 1 / (1 + np.exp(-a))
    b = z @ beta.T  # (N, K)
    e = np.exp(b - b.max(1, keepdims=True))
    y_hat = e / e.sum(1, keepdims=True)
    J = -(y * np.log(y_hat)).sum() / len(x)

    g_y_hat = -y / y_hat / len(x)
    g_b = y_hat * (g_y_hat - (g_y_hat * y_hat).sum(1, keepdims=True))  # g (diag(y_hat) - y_hat y_hat^T)
    g_beta = g_b.T @ z
    g_z = g_b @ beta
    g_a = g_z * z * (1 - z)
    g_alpha = g_a.T @ x
    return float(J), g_alpha, g_beta


def rnn_step_forward(
    x: np.ndarray, h: np.ndarray, W_x: np.ndarray, W_h: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, Cache]:
    """One step, a = x W_x + h W_h + b, h' = tanh(a), of N rows: x (N, D), h (N, H), W_x (D, H), W_h (H, H), b (H,)."""
    h_next = np.tanh(x @ W_x + h @ W_h + b)
    return h_next, (x, h, W_x, W_h, h_next)


def rnn_step_backward(g_h_next: np.ndarray, cache: Cache) -> Cache:
    """The gradients by x, h, W_x, W_h and b, from that by the new state (N, H)."""
    x, h, W_x, W_h, h_next = cache
    g_a = g_h_next * (1 - h_next**2)
    return g_a @ W_x.T, g_a @ W_h.T, x.T @ g_a, h.T @ g_a, g_a.sum(0)


def rnn_forward(
    x: np.ndarray, h0: np.ndarray, W_x: np.ndarray, W_h: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, list[Cache]]:
    """All steps: x (N, T, D) and the first state h0 (N, H) -> every state (N, T, H)."""
    h, states, caches = h0, [], []
    for t in range(x.shape[1]):
        h, cache = rnn_step_forward(x[:, t], h, W_x, W_h, b)
        states.append(h)
        caches.append(cache)
    return np.stack(states, axis=1), caches


def rnn_backward(g_states: np.ndarray, caches: list[Cache]) -> Cache:
    """Through time: the gradients by x, h0, W_x, W_h and b, from those by the states (N, T, H)."""
    _, h, W_x, W_h, _ = caches[0]
    g_x = np.empty((*g_states.shape[:2], len(W_x)))
    g_h, g_W_x, g_W_h, g_b = np.zeros_like(h), np.zeros_like(W_x), np.zeros_like(W_h), np.zeros(len(W_h))
    for t in reversed(range(len(caches))):
        # A state counts twice: for what was read off it, which g_states has, and for the state after it.
        g_x[:, t], g_h, step_x, step_h, step_b = rnn_step_backward(g_states[:, t] + g_h, caches[t])
        g_W_x += step_x
        g_W_h += step_h
        g_b += step_b
    return g_x, g_h, g_W_x, g_W_h, g_b


def rnn_loss(
    x: np.ndarray,
    y: np.ndarray,
    h0: np.ndarray,
    W_x: np.ndarray,
    W_h: np.ndarray,
    b: np.ndarray,
    W_y: np.ndarray,
    b_y: np.ndarray,
) -> tuple[float, dict[str, np.ndarray]]:
    """The mean cross-entropy of a recurrent language model and its gradient by every argument but y, by their names.

    x (N, T, D) -> states (N, T, H) -> scores = states W_y + b_y (N, T, V), softmax, -log of the share of y (N, T).
    """
    states, caches = rnn_forward(x, h0, W_x, W_h, b)
    scores = states @ W_y + b_y
    p = np.exp(scores - scores.max(2, keepdims=True))
    p /= p.sum(2, keepdims=True)
    rows, steps = np.indices(y.shape)
    J = -np.log(p[rows, steps, y]).mean()

    g_scores = p
    g_scores[rows, steps, y] -= 1
    g_scores /= y.size
    g_W_y = np.tensordot(states, g_scores, ((0, 1), (0, 1)))
    g_b_y = g_scores.sum((0, 1))
    g_x, g_h0, g_W_x, g_W_h, g_b = rnn_backward(g_scores @ W_y.T, caches)
    names = ("x", "h0", "W_x", "W_h", "b", "W_y", "b_y")
    return float(J), dict(zip(names, (g_x, g_h0, g_W_x, g_W_h, g_b, g_W_y, g_b_y), strict=True))
