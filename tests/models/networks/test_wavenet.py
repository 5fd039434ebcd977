"""The hierarchy of pairs against its definition, block by block, the contract and makemore's size."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rung import api
from rung.errors import UserError
from rung.models.networks.wavenet import WaveNet, WaveNetConfig
from rung.testing import check_model
from tests.models.random_weights import randomize

V, END = 11, 10


def random_wavenet(config: WaveNetConfig, vocab_size: int = V, end: int = END, seed: int = 0) -> WaveNet:
    model = randomize(WaveNet.initialise(config, vocab_size, end, seed), seed=seed)
    model.network.eval()
    return model


def logits_by_definition(weights: dict[str, Tensor], blocks: Tensor, batch_norm: bool) -> Tensor:
    """(M, context) -> (M, V): lay neighbours side by side, halving the length, until one vector is left."""
    x = weights["embedding"][blocks]  # (M, context, E)
    level = 0
    while x.shape[1] > 1:
        x = x.reshape(x.shape[0], x.shape[1] // 2, 2 * x.shape[2])
        x = x @ weights[f"levels.{level}.linear.weight"].T
        if batch_norm:
            norm = {
                key: weights[f"levels.{level}.norm.{key}"]
                for key in ("gamma", "beta", "running_mean", "running_var")
            }
            x = (x - norm["running_mean"]) / torch.sqrt(norm["running_var"] + 1e-5)
            x = x * norm["gamma"] + norm["beta"]
        else:
            x = x + weights[f"levels.{level}.linear.bias"]
        x = torch.tanh(x)
        level += 1
    return x[:, 0] @ weights["head.weight"].T + weights["head.bias"]


@pytest.mark.parametrize("context", [2, 4, 8, 16])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_the_dilated_form_is_the_hierarchy_of_each_block(context: int, batch_norm: bool) -> None:
    """In float64, where no order of summation shows."""
    model = random_wavenet(WaveNetConfig(context, 6, 12, batch_norm))
    model.network.double()
    weights = dict(model.network.state_dict())
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(V, (3, context - 1 + 20), generator=generator)
    blocks = tokens.unfold(1, context, 1).reshape(-1, context)
    with torch.no_grad():
        ours = model.network(tokens).reshape(-1, V)
        theirs = logits_by_definition(weights, blocks, batch_norm)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    assert ours.shape == (60, V)


def test_it_is_a_stack_of_torchs_dilated_convolutions() -> None:
    model = random_wavenet(WaveNetConfig(8, 6, 12, batch_norm=False))
    weights = model.network.state_dict()
    tokens = torch.randint(V, (2, 30), generator=torch.Generator().manual_seed(0))
    x = weights["embedding"][tokens].transpose(1, 2)  # (B, E, T)
    for level in range(3):
        width = x.shape[1]
        convolution = nn.Conv1d(width, 12, kernel_size=2, dilation=2**level)
        matrix = weights[f"levels.{level}.linear.weight"]  # (12, 2 * width): the earlier half, then the later
        with torch.no_grad():
            convolution.weight.copy_(torch.stack([matrix[:, :width], matrix[:, width:]], dim=-1))
            convolution.bias.copy_(weights[f"levels.{level}.linear.bias"])  # type: ignore[union-attr]
            x = torch.tanh(convolution(x))
    with torch.no_grad():
        torch.testing.assert_close(model.network.hidden(tokens), x.transpose(1, 2), atol=1e-5, rtol=0)


@given(
    levels=st.integers(1, 4),
    n_embd=st.integers(1, 5),
    n_hidden=st.integers(1, 8),
    batch_norm=st.booleans(),
    vocab_size=st.integers(1, 30),
    seed=st.integers(0, 1000),
)
@settings(max_examples=10, deadline=None)
def test_contract(
    levels: int, n_embd: int, n_hidden: int, batch_norm: bool, vocab_size: int, seed: int
) -> None:
    config = WaveNetConfig(2**levels, n_embd, n_hidden, batch_norm)
    check_model(random_wavenet(config, vocab_size, seed % vocab_size, seed), seed=seed)


def test_before_the_beginning_stand_marks() -> None:
    model = random_wavenet(WaveNetConfig(8, 6, 12))
    document = np.array([3, 1, 4])
    blocks = torch.tensor([[END] * 8, [END] * 7 + [3], [END] * 6 + [3, 1]])
    with torch.no_grad():
        logits = logits_by_definition(dict(model.network.state_dict()), blocks, True)
    expected = torch.log_softmax(logits, dim=-1)[torch.arange(3), torch.from_numpy(document)]
    np.testing.assert_allclose(model.score(document), expected.numpy(), atol=1e-5)


def test_size_is_makemores() -> None:
    """27 symbols, context 8, rows of 24, 128 hidden: 27*24 + (48 + 256 + 256) * 128 + 3 * 256 + 128*27 + 27."""
    assert WaveNet.initialise(WaveNetConfig(), 27, 26, 0).n_parameters == 76_579


def test_flops_are_those_torch_counts() -> None:
    """A row's beginning costs the inner levels some positions more: context - 2 at level 0, and so on to 0."""
    model = WaveNet.initialise(WaveNetConfig(8, 6, 12, batch_norm=False), 20, 19, 0)
    tokens = torch.zeros(1, 7 + 10, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model.network(tokens).sum().backward()
    beginning = 6 * (6 * 12 * 12 + 4 * 24 * 12)
    assert model.flops_per_token() * 10 + beginning == counter.get_total_flops()


def test_the_first_loss_is_that_of_a_fair_die() -> None:
    model = WaveNet.initialise(WaveNetConfig(), 300, 299, 0)
    model.network.train()
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 300, (8, 67)))
    with torch.no_grad():
        loss = model.network.loss(tokens, tokens[:, 7:]).item()
    assert loss / (8 * 60) == pytest.approx(math.log(300), rel=0.02)


def test_padding_is_not_seen() -> None:
    """A short row's filling may hold any token: loss, gradient and running statistics are the same."""
    results = []
    for filling in (0, 7):
        model = WaveNet.initialise(WaveNetConfig(4, 3, 5), V, END, 0)
        model.network.train()
        tokens = torch.tensor([[END] * 4 + [1, 2, 3], [END] * 4 + [4, filling, filling]])
        targets = torch.tensor([[1, 2, 3, END], [4, END, -1, -1]])
        loss = model.network.loss(tokens, targets)
        loss.backward()
        gradient = [weight.grad.tolist() for weight in model.network.parameters() if weight.grad is not None]
        results.append((loss.item(), gradient, [buffer.tolist() for buffer in model.network.buffers()]))
    assert results[0] == results[1]


def test_statistics_are_those_of_the_pairs_that_count() -> None:
    """Level 0 of two rows, one of them short, against the mean and variance of its real pairs, one by one."""
    model = WaveNet.initialise(WaveNetConfig(4, 3, 5), V, END, 0)
    model.network.train()
    rows = [[END] * 4 + [1, 2, 3], [END] * 4 + [4]]
    tokens = torch.tensor([rows[0], rows[1] + [0, 0]])
    model.network.loss(tokens, torch.tensor([[1, 2, 3, END], [4, END, -1, -1]]))
    state = model.network.state_dict()
    pairs = [[row[i], row[i + 1]] for row in rows for i in range(len(row) - 1)]
    x = state["embedding"][torch.tensor(pairs)].flatten(1) @ state["levels.0.linear.weight"].T
    torch.testing.assert_close(state["levels.0.norm.running_mean"], 0.1 * x.mean(0))
    torch.testing.assert_close(state["levels.0.norm.running_var"], 0.9 + 0.1 * x.var(0))


def test_it_learns_what_a_token_eight_back_tells(tmp_path: Path) -> None:
    """`abababac` over and over: only the count of pairs since the c tells when the next is due."""
    text = tmp_path / "text.txt"
    text.write_text("abababac" * 800, encoding="utf-8")
    run = api.train("wavenet", text, out=tmp_path / "run", steps=150, lr=0.01, n_hidden=32, documents="files")
    assert api.evaluate(run).bits_per_byte < 0.1


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"context": 6}, "--context 6 .* try --context 4 or 8"),
        ({"context": 1}, "--context 1 .* try --context 2"),
        ({"context": 0}, "--context 0"),
        ({"n_embd": 0}, "--n-embd 0"),
        ({"n_hidden": None}, "--n-hidden None"),
        ({"batch_norm": 1}, "--batch-norm 1"),
    ],
)
def test_a_bad_value_is_named(fields: dict, named: str) -> None:
    with pytest.raises(UserError, match=named):
        WaveNetConfig(**fields)
