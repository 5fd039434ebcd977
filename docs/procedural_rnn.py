"""A recurrent network and its backward pass, written out: NumPy, no modules, no tape.

    a_t = W_x x_t + W_h h_(t-1) + b,   h_t = tanh(a_t),   y_t = W_y h_t + b_y,   p_t = softmax(y_t)

Shapes: N sequences, T steps, D inputs, H state, V outputs; x (N, T, D), h (N, T, H), targets (N, T).
"""

from __future__ import annotations

import numpy as np

Weights = dict[str, np.ndarray]


def first_weights(d: int, h: int, v: int, rng: np.random.Generator) -> Weights:
    """Small, so that tanh is nearly a line at first."""
    return {
        "W_x": 0.1 * rng.standard_normal((h, d)),
        "W_h": 0.1 * rng.standard_normal((h, h)),
        "b": np.zeros(h),
        "W_y": 0.1 * rng.standard_normal((v, h)),
        "b_y": np.zeros(v),
    }


def forward(x: np.ndarray, w: Weights) -> tuple[np.ndarray, np.ndarray]:
    """States h (N, T, H) and logits y (N, T, V), from a state of zeros."""
    n, steps, _ = x.shape
    h = np.zeros((n, steps, len(w["b"])))
    before = np.zeros((n, len(w["b"])))
    for t in range(steps):
        before = h[:, t] = np.tanh(x[:, t] @ w["W_x"].T + before @ w["W_h"].T + w["b"])
    return h, h @ w["W_y"].T + w["b_y"]


def backward(x: np.ndarray, targets: np.ndarray, w: Weights) -> tuple[float, Weights]:
    """The mean loss, nats a step, and its gradient: backpropagation through time, from the last step to the first.

    A state matters twice: to its own output, and to the state after it. So what comes back from t + 1 is added.
    """
    h, y = forward(x, w)
    n, steps, _ = h.shape
    p = np.exp(y - y.max(axis=2, keepdims=True))
    p /= p.sum(axis=2, keepdims=True)
    rows, columns = np.indices(targets.shape)
    loss = -np.log(p[rows, columns, targets]).mean()
    dy = p
    dy[rows, columns, targets] -= 1  # softmax and logarithm: p - one-hot
    dy /= targets.size
    grad = {name: np.zeros_like(value) for name, value in w.items()}
    grad["W_y"] = np.einsum("ntv,nth->vh", dy, h)
    grad["b_y"] = dy.sum(axis=(0, 1))
    from_after = np.zeros((n, h.shape[2]))  # dJ/dh_t by way of h_(t+1)
    for t in reversed(range(steps)):
        dh = dy[:, t] @ w["W_y"] + from_after
        da = dh * (1 - h[:, t] ** 2)  # through tanh
        grad["W_x"] += da.T @ x[:, t]
        if t:
            grad["W_h"] += da.T @ h[:, t - 1]
        grad["b"] += da.sum(axis=0)
        from_after = da @ w["W_h"]
    return float(loss), grad


def one_hot(ids: np.ndarray, v: int) -> np.ndarray:
    """(N, T) -> (N, T, V)"""
    return np.eye(v)[ids]


def learned(text: str, steps: int = 300, rate: float = 1.0) -> tuple[list[float], str]:
    """Learn to go on with one text, letter by letter; the losses, and what is said from its first letter on."""
    letters = sorted(set(text))
    ids = np.array([[letters.index(letter) for letter in text]])
    x, targets = one_hot(ids[:, :-1], len(letters)), ids[:, 1:]
    w = first_weights(len(letters), 16, len(letters), np.random.default_rng(0))
    losses = []
    for _ in range(steps):
        loss, grad = backward(x, targets, w)
        losses.append(loss)
        for name in w:
            w[name] -= rate * grad[name]
    said = [int(ids[0, 0])]
    while len(said) < len(text):
        said.append(int(forward(one_hot(np.array([said]), len(letters)), w)[1][0, -1].argmax()))
    return losses, "".join(letters[i] for i in said)


if __name__ == "__main__":
    losses, said = learned("hello, world")
    print(f"{losses[0]:.3f} -> {losses[-1]:.3f} nats a letter: {said}")
