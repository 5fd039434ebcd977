"""The tape: the chain rule on paper, graphs of every shape, and what it says to those who misuse it."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.errors import UserError
from rung.scratch.activations import Tanh
from rung.scratch.layers import Embedding, Linear, Sequential
from rung.scratch.losses import CrossEntropy, NegativeLogOf, SquaredError
from rung.scratch.recurrent import LSTMCell
from rung.scratch.shapes import mean, sum_of
from rung.scratch.tape import Module, Tape, Value, matmul, multiply, no_grad


def test_what_is_used_twice_gets_two_gradients() -> None:
    """J = (x y + x) x = x^2 y + x^2 at x = 3, y = 2: dJ/dx = 2 x y + 2 x = 18, dJ/dy = x^2 = 9."""
    x, y = Value(3.0), Value(2.0)
    with Tape() as tape:
        loss = (x * y + x) * x
    tape.backward(loss)
    assert (loss.data, x.grad, y.grad) == (27, 18, 9)


def test_shared_gradient_arrays_are_not_written_in() -> None:
    """a + b hands one array to both. J = (a + b) + a a + 5 b a: dJ/da = 1 + 2 a + 5 b, dJ/db = 1 + 5 a."""
    a, b = Value(np.array([2.0])), Value(np.array([3.0]))
    with Tape() as tape:
        loss = sum_of((a * a + 5.0 * (b * a)) + (a + b))
    tape.backward(loss)
    np.testing.assert_array_equal(a.grad, [1 + 4 + 15])
    np.testing.assert_array_equal(b.grad, [1 + 10])


def test_a_hundred_thousand_nodes() -> None:
    """x grows by 0.001 % a step: after n steps the slope is 1.00001^n."""
    x = Value(1.0)
    with Tape() as tape:
        y = x
        for _ in range(50_000):
            y = y * 1.00001 + 0.25
    assert len(tape.records) == 100_000
    tape.backward(y)
    assert x.grad == pytest.approx(1.00001**50_000, rel=1e-9)


@given(n=st.integers(1, 12), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_order_of_writing_does_not_matter(n: int, seed: int) -> None:
    """A sum of n products of random pairs is a quadratic form x^T A x, with gradient (A + A^T) x."""
    rng = np.random.default_rng(seed)
    numbers, a = rng.standard_normal(n), np.zeros((n, n))
    values = [Value(x) for x in numbers]
    with Tape() as tape:
        loss = Value(0.0)
        for i, j in rng.integers(0, n, (20, 2)):
            a[i, j] += 1
            loss = loss + values[i] * values[j]
    tape.backward(loss)
    grads = [0.0 if value.grad is None else float(value.grad) for value in values]
    np.testing.assert_allclose(grads, (a + a.T) @ numbers, atol=1e-12)


def test_gradients_of_two_passes_add_up() -> None:
    w = Value(np.ones(2))
    for _ in range(2):
        with Tape() as tape:
            loss = sum_of(w * np.array([1.0, 10.0]))
        tape.backward(loss)
    np.testing.assert_array_equal(w.grad, [2, 20])


def test_a_part_that_leads_nowhere_costs_nothing() -> None:
    x = Value(np.ones(3))
    with Tape() as tape:
        aside = x * 1000.0
        loss = sum_of(x)
    tape.backward(loss)
    np.testing.assert_array_equal(x.grad, 1)
    assert aside.grad is None


def test_one_of_two_outputs_is_enough() -> None:
    """The LSTM's h without its c: the gradient by c is that of c' = 0."""
    rng = np.random.default_rng(0)
    cell, c = LSTMCell(2, 3, rng), Value(rng.standard_normal((1, 3)))
    with Tape() as tape:
        h, new = cell(rng.standard_normal((1, 2)), np.zeros((1, 3)), c)
        loss = sum_of(h)
    tape.backward(loss)
    assert new.grad is None
    assert c.grad is not None


def test_without_a_tape_nothing_is_recorded() -> None:
    x = Value(np.ones(2))
    with Tape() as tape:
        with no_grad():
            frozen = x * 2.0
        loss = sum_of(x * frozen)
    assert len(tape.records) == 2
    tape.backward(loss)
    np.testing.assert_array_equal(x.grad, 2)


def test_tapes_nest_and_threads_have_their_own() -> None:
    x = Value(1.0)
    with Tape() as outer:
        with Tape() as inner:
            _ = x * 2.0
        thread = threading.Thread(target=lambda: x * 3.0)
        thread.start()
        thread.join()
        _ = x * 4.0
    assert (len(outer.records), len(inner.records)) == (1, 1)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda rng: Linear(3, 2, rng)(np.ones((4, 5))), r"Linear\(3 -> 2\).*\(4, 5\).*\(2, 3\)"),
        (lambda rng: matmul(np.ones((2, 3)), np.ones((2, 3))), r"MatMul.*\(2, 3\), \(2, 3\)"),
        (lambda rng: multiply(np.ones(3), np.ones(4)), r"Multiply.*\(3,\), \(4,\)"),
        (lambda rng: SquaredError()(np.ones((3, 1)), np.ones(3)), r"SquaredError.*\(3, 1\), \(3,\)"),
        (lambda rng: CrossEntropy()(np.ones((3, 4)), np.zeros(2, int)), r"CrossEntropy.*\(3, 4\), \(2,\)"),
        (lambda rng: CrossEntropy()(np.ones((1, 4)), np.array([4])), r"CrossEntropy.*from -1 to 3"),
        (lambda rng: NegativeLogOf()(np.ones((1, 4)), np.array([-1])), r"NegativeLogOf.*from 0 to 3"),
        (lambda rng: Embedding(5, 2, rng)(np.array([7])), r"Embedding.*7"),
        (lambda rng: Embedding(5, 2, rng)(np.array([-1])), r"Embedding.*below 0"),
        (lambda rng: Embedding(5, 2, rng)(np.array([0.5])), r"Embedding.*float64.*integers"),
        (lambda rng: Tanh()(np.array([1, 2])), r"Tanh.*int64.*astype\(float\)"),
        (lambda rng: Value(np.array([1, 2]), "counts"), r"counts.*int64.*astype\(float\)"),
    ],
)
def test_what_does_not_fit_is_named(wrong: object, says: str) -> None:
    assert callable(wrong)
    with pytest.raises(UserError, match=says) as caught:
        wrong(np.random.default_rng(0))
    assert "\n" not in str(caught.value)


def test_backward_without_a_forward() -> None:
    tape = Tape()
    with pytest.raises(UserError, match="without a forward"):
        tape.backward(Value(1.0))
    x = Value(np.ones(2))
    loss = sum_of(x)  # outside
    with pytest.raises(UserError, match="inside 'with Tape"):
        tape.backward(loss)
    with tape:
        loss = sum_of(x)
    tape.backward(loss)
    with pytest.raises(UserError, match="go backward once"):
        tape.backward(loss)


def test_backward_starts_from_one_number() -> None:
    with Tape() as tape:
        y = Value(np.ones(3)) * 2.0
    with pytest.raises(UserError, match=r"one number.*\(3,\)"):
        tape.backward(y)


class Root(Module):
    """sqrt x: no number below 0, and no slope at 0 times 0."""

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(invalid="ignore"):
            return np.sqrt(x), x

    def backward(self, saved: np.ndarray, grad: np.ndarray) -> tuple[np.ndarray]:
        with np.errstate(divide="ignore", invalid="ignore"):
            return (grad * 0.5 / np.sqrt(saved),)


def test_debug_names_the_first_module_that_makes_a_nan() -> None:
    net = Sequential(Tanh(), Root(), Tanh())
    with pytest.raises(UserError, match=r"output of Root.*application 2.*NaN at \(0, 1\)"), Tape(debug=True):
        net(Value(np.array([[1.0, -1.0]])))
    with Tape() as tape:
        assert np.isnan(net(Value(np.array([[1.0, -1.0]]))).data).any()
    with Tape(debug=True) as tape:
        loss = mean(net(Value(np.array([[1.0, 0.0]]))) * np.array([[1.0, 0.0]]))
    with pytest.raises(UserError, match="gradient of Root's input 0"):
        tape.backward(loss)


def test_weights_are_named_once() -> None:
    rng = np.random.default_rng(0)
    first = Linear(2, 2, rng)
    net = Sequential(first, Tanh(), Sequential(Linear(2, 3, rng)), first)
    assert list(net.parameters()) == [
        "parts.0.weight",
        "parts.0.bias",
        "parts.2.parts.0.weight",
        "parts.2.parts.0.bias",
    ]
