"""The passes written by hand and the tape: two ways to the same gradients, to the last digits."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.scratch import by_hand
from rung.scratch.activations import Sigmoid
from rung.scratch.losses import CrossEntropy, NegativeLogOf, Softmax
from rung.scratch.recurrent import ElmanCell
from rung.scratch.shapes import stack, sum_of, transpose, unstack
from rung.scratch.tape import Tape, Value, add, matmul, multiply

size = st.integers(1, 6)


def close(ours: np.ndarray | None, theirs: np.ndarray) -> None:
    assert ours is not None
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)


@given(n=size, i=size, h=size, k=size, seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_two_layers(n: int, i: int, h: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, classes = rng.standard_normal((n, i)), rng.integers(0, k, n)
    alpha, beta = Value(rng.standard_normal((h, i))), Value(rng.standard_normal((k, h)))
    J, g_alpha, g_beta = by_hand.two_layer_forward_backward(x, np.eye(k)[classes], alpha.data, beta.data)
    with Tape() as tape:
        z = Sigmoid()(matmul(x, transpose(alpha, 1, 0)))
        loss = NegativeLogOf()(Softmax()(matmul(z, transpose(beta, 1, 0))), classes)
    tape.backward(loss)
    close(loss.data, np.array(J))
    close(alpha.grad, g_alpha)
    close(beta.grad, g_beta)


def cell_of(rng: np.random.Generator, d: int, h: int) -> tuple[ElmanCell, np.ndarray, np.ndarray, np.ndarray]:
    """A cell whose second bias is 0, and its W_x (D, H), W_h (H, H) and b (H,)."""
    cell = ElmanCell(d, h, rng)
    cell.bias_hh.data[...] = 0
    return cell, cell.weight_ih.data.T, cell.weight_hh.data.T, cell.bias_ih.data


def check_cell(cell: ElmanCell, g_W_x: np.ndarray, g_W_h: np.ndarray, g_b: np.ndarray) -> None:
    for weight, grad in ((cell.weight_ih, g_W_x.T), (cell.weight_hh, g_W_h.T), (cell.bias_ih, g_b)):
        close(weight.grad, grad)


@given(n=size, d=size, h=size, seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_one_step(n: int, d: int, h: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cell, *weights = cell_of(rng, d, h)
    x, before, g = (
        Value(rng.standard_normal((n, d))),
        Value(rng.standard_normal((n, h))),
        rng.standard_normal((n, h)),
    )
    after, cache = by_hand.rnn_step_forward(x.data, before.data, *weights)
    g_x, g_h, *g_weights = by_hand.rnn_step_backward(g, cache)
    with Tape() as tape:
        ours = cell(x, before)
        loss = sum_of(multiply(ours, g))
    tape.backward(loss)
    close(ours.data, after)
    close(x.grad, g_x)
    close(before.grad, g_h)
    check_cell(cell, *g_weights)


@given(n=size, t=size, d=size, h=size, v=size, seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_through_time(n: int, t: int, d: int, h: int, v: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cell, W_x, W_h, b = cell_of(rng, d, h)
    x, h0 = Value(rng.standard_normal((n, t, d))), Value(rng.standard_normal((n, h)))
    W_y, b_y = Value(rng.standard_normal((h, v))), Value(rng.standard_normal(v))
    y = rng.integers(0, v, (n, t))
    J, grads = by_hand.rnn_loss(x.data, y, h0.data, W_x, W_h, b, W_y.data, b_y.data)
    with Tape() as tape:
        state, states = h0, []
        for step in unstack(x):
            state = cell(step, state)
            states.append(state)
        hidden = stack(*states)
        loss = CrossEntropy()(add(matmul(hidden, W_y), b_y), y)
    tape.backward(loss)
    close(hidden.data, by_hand.rnn_forward(x.data, h0.data, W_x, W_h, b)[0])
    close(loss.data, np.array(J))
    for value, name in ((x, "x"), (h0, "h0"), (W_y, "W_y"), (b_y, "b_y")):
        close(value.grad, grads[name])
    check_cell(cell, grads["W_x"], grads["W_h"], grads["b"])
