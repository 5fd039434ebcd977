"""Every module against finite differences and against torch, which computes the same formulas in C++."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rung.scratch import activations
from rung.scratch.attention import CausalAttention
from rung.scratch.gradcheck import WrongGradient, gradcheck, modules_to_check
from rung.scratch.layers import Dropout, Embedding, Linear
from rung.scratch.losses import CrossEntropy, LogSoftmax, NegativeLogOf, Softmax
from rung.scratch.normalisation import BatchNorm1d, LayerNorm
from rung.scratch.recurrent import Cell, ElmanCell, GRUCell, LSTMCell
from rung.scratch.shapes import sum_of
from rung.scratch.tape import Module, Tape, Value

NAMES = list(modules_to_check(np.random.default_rng(0)))


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=5, deadline=None)
def test_finite_differences(name: str, seed: int) -> None:
    module, inputs = modules_to_check(np.random.default_rng(seed))[name]
    assert gradcheck(module, inputs, tolerance=1e-6, seed=seed) <= 1e-6


class Wrong(Module):
    """x^3, said to have the slope 2 x^2."""

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return x**3, x

    def backward(self, saved: np.ndarray, grad: np.ndarray) -> tuple[np.ndarray]:
        return (2 * saved**2 * grad,)


def test_a_wrong_derivative_is_found_and_named() -> None:
    """Where x = 1 the slope is 3 and backward says 2: the relative error is 1/3."""
    with pytest.raises(WrongGradient, match=r"Wrong: the gradient of input 0\[0, 0\].*relative error 0\.33"):
        gradcheck(Wrong(), [np.ones((1, 2))])


def test_a_wrong_weight_is_named_too() -> None:
    layer = Linear(2, 2, np.random.default_rng(0))
    right = layer.backward
    layer.backward = lambda saved, grad: (*right(saved, grad)[:2], np.zeros(2))
    with pytest.raises(WrongGradient, match=r"gradient of bias\[0\] is 0 "):
        gradcheck(layer, [np.ones((1, 2))])


def run(module: Callable[..., Any], *inputs: Any) -> tuple[list[Any], list[Any]]:
    """The outputs, and the gradient of their sum by each input of floats."""
    values = [Value(x) if x.dtype.kind == "f" else x for x in inputs]
    with Tape() as tape:
        made = module(*values)
        made = made if isinstance(made, tuple) else (made,)
        loss = sum_of(made[0])
        for output in made[1:]:
            loss = loss + sum_of(output)
    tape.backward(loss)
    return [y.data for y in made], [v.grad for v in values if isinstance(v, Value)]


def same_as_torch(module: Callable[..., Any], theirs: Callable[..., Any], *inputs: np.ndarray) -> None:
    tensors = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
    expected = theirs(*tensors)
    expected = expected if isinstance(expected, tuple) else (expected,)
    torch.stack([y.sum() for y in expected]).sum().backward()
    outputs, grads = run(module, *inputs)
    for ours, reference in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(ours, reference.detach().numpy(), rtol=1e-10, atol=1e-12)
    wanted: list[Any] = [t.grad for t in tensors if t.requires_grad]
    for ours, reference in zip(grads, wanted, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (activations.Sigmoid(), torch.sigmoid),
        (activations.Tanh(), torch.tanh),
        (activations.ReLU(), torch.relu),
        (activations.LeakyReLU(0.2), nn.LeakyReLU(0.2)),
        (activations.ELU(0.7), nn.ELU(0.7)),
        (activations.SELU(), torch.selu),
        (activations.GELU(), nn.GELU()),
        (activations.GELUTanh(), nn.GELU(approximate="tanh")),
        (Softmax(), nn.Softmax(-1)),
        (LogSoftmax(), nn.LogSoftmax(-1)),
    ],
)
def test_activations(ours: Module, theirs: Callable[..., Any]) -> None:
    """Kinks, far ends and single numbers included."""
    same_as_torch(ours, theirs, np.array([[-700.0, -30.0, -1.5, -1e-3, 0.0], [1e-3, 0.5, 2.0, 30.0, 700.0]]))
    if not isinstance(ours, Softmax | LogSoftmax):
        same_as_torch(ours, theirs, np.array(0.7))


@pytest.mark.parametrize(
    ("kind", "theirs"), [(ElmanCell, nn.RNNCell), (LSTMCell, nn.LSTMCell), (GRUCell, nn.GRUCell)]
)
def test_cells_take_torchs_weights(kind: type[Cell], theirs: type[Any]) -> None:
    rng = np.random.default_rng(0)
    cell, reference = kind(3, 4, rng), theirs(3, 4, dtype=torch.float64)
    reference.load_state_dict({name: torch.tensor(w.data) for name, w in cell.parameters().items()})
    states = [rng.standard_normal((2, 4)) for _ in range(2 if kind is LSTMCell else 1)]
    call = (lambda x, h, c: reference(x, (h, c))) if kind is LSTMCell else reference
    same_as_torch(cell, call, rng.standard_normal((2, 3)), *states)
    for name, weight in cell.parameters().items():
        expected: Any = reference.get_parameter(name).grad
        assert weight.grad is not None
        np.testing.assert_allclose(weight.grad, expected, rtol=1e-9, atol=1e-11)


@given(seed=st.integers(0, 1000), heads=st.integers(1, 3), length=st.integers(1, 6))
@settings(max_examples=10, deadline=None)
def test_attention(seed: int, heads: int, length: int) -> None:
    qkv = np.random.default_rng(seed).standard_normal((2, length, 3 * heads * 4))

    def theirs(x: torch.Tensor) -> torch.Tensor:
        q, k, v = x.view(2, length, 3, heads, 4).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return y.transpose(1, 2).reshape(2, length, -1)

    same_as_torch(CausalAttention(heads), theirs, qkv)


def test_norms() -> None:
    x = np.random.default_rng(0).standard_normal((6, 5))
    same_as_torch(LayerNorm(5), nn.LayerNorm(5, dtype=torch.float64), x)
    ours, theirs = BatchNorm1d(5), nn.BatchNorm1d(5, dtype=torch.float64)
    for scale in (1.0, 3.0):
        same_as_torch(ours, theirs, scale * x + scale)
    kept = {name: tensor.numpy() for name, tensor in theirs.named_buffers()}
    np.testing.assert_allclose(ours.running_mean, kept["running_mean"], rtol=1e-12)
    np.testing.assert_allclose(ours.running_var, kept["running_var"], rtol=1e-12)
    ours.train(False)
    same_as_torch(ours, theirs.eval(), x)


def test_embedding_adds_up_ids_that_repeat() -> None:
    table = Embedding(4, 2, np.random.default_rng(0))
    run(table, np.array([[1, 1], [3, 1]]))
    np.testing.assert_array_equal(table.weight.grad, [[0, 0], [3, 3], [0, 0], [1, 1]])


@given(seed=st.integers(0, 1000), rows=st.integers(1, 5), classes=st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_fused_cross_entropy_is_softmax_then_log(seed: int, rows: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    z, y = 3 * rng.standard_normal((rows, classes)), rng.integers(0, classes, rows)
    fused, g_fused = run(lambda scores: CrossEntropy()(scores, y), z)
    plain, g_plain = run(lambda scores: NegativeLogOf()(Softmax()(scores), y), z)
    np.testing.assert_allclose(fused, plain, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(g_fused, g_plain, rtol=1e-10, atol=1e-14)
    same_as_torch(
        lambda s: CrossEntropy()(s, y), lambda s: nn.functional.cross_entropy(s, torch.tensor(y)), z
    )


def test_the_softmax_jacobian() -> None:
    """d p_i / d z_j = p_i ([i = j] - p_j), row by row of the identity as the gradient that comes in."""
    z = np.array([0.2, -1.0, 0.7])
    p, saved = Softmax().forward(z)
    jacobian = [Softmax().backward(saved, row)[0] for row in np.eye(3)]
    np.testing.assert_allclose(jacobian, np.diag(p) - np.outer(p, p), atol=1e-15)


def test_log_loss_on_paper() -> None:
    """-ln .6 - ln .2 - ln .1 - ln .7 = 4.78."""
    p = np.array([[0.6, 0.4], [0.2, 0.8], [0.1, 0.9], [0.7, 0.3]])
    assert 4 * NegativeLogOf()(p, np.zeros(4, int)).data == pytest.approx(4.78, abs=0.005)


def test_scores_without_bounds_and_rows_without_a_class() -> None:
    """-ln of a certainty is 0 and of e^-1000 is 1000; a row of class -1 leaves the mean as it is."""
    z = np.array([[1000.0, 0.0], [1000.0, 0.0], [5.0, 5.0]])
    loss, grads = run(lambda s: CrossEntropy()(s, np.array([0, 1, -1])), z)
    assert loss[0] == 500
    np.testing.assert_allclose(grads[0], [[0, 0], [0.5, -0.5], [0, 0]], atol=1e-300)


def test_dropout_keeps_the_mean_and_does_nothing_afterwards() -> None:
    drop = Dropout(0.3, np.random.default_rng(0))
    y, grads = run(drop, np.ones((200, 200)))
    assert set(np.unique(y[0])) == {0.0, 1 / 0.7}
    assert y[0].mean() == pytest.approx(1, abs=0.02)
    np.testing.assert_array_equal(grads[0], y[0])
    drop.train(False)
    np.testing.assert_array_equal(run(drop, np.ones(5))[0], [np.ones(5)])


@pytest.mark.parametrize("name", NAMES)
def test_single_precision_stays_single(name: str) -> None:
    module, inputs = modules_to_check(np.random.default_rng(0))[name]
    if isinstance(module, Module):
        for part in module.modules().values():
            for key, value in vars(part).items():
                if isinstance(value, Value):
                    setattr(part, key, Value(value.data.astype(np.float32)))
                elif isinstance(value, np.ndarray):
                    setattr(part, key, value.astype(np.float32))
    outputs, grads = run(module, *[x.astype(np.float32) if x.dtype.kind == "f" else x for x in inputs])
    assert {y.dtype for y in [*outputs, *grads] if y is not None} == {np.dtype(np.float32)}
