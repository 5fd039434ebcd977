"""Recurrent rungs against torch's modules, their equations written out, the contract, and an uncut reading."""

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
from rung.models.networks import recurrent
from rung.models.networks.recurrent import GRU, LSTM, RNN, Recurrent, RecurrentConfig
from rung.testing import check_model
from rung.text.stream import TokenStream
from rung.text.windows import ContiguousBatches
from tests.models.random_weights import randomize
from tests.text_made import sentences

V, END = 11, 10
RUNGS = [RNN, LSTM, GRU]


def random_recurrent(
    rung: type[Recurrent], config: RecurrentConfig, vocab_size: int = V, end: int = END, seed: int = 0
) -> Recurrent:
    return randomize(rung.initialise(config, vocab_size, end, seed), 0.6, seed)


@given(
    rung=st.sampled_from(RUNGS),
    n_embd=st.integers(1, 5),
    n_hidden=st.integers(1, 8),
    n_layer=st.integers(1, 3),
    vocab_size=st.integers(1, 30),
    seed=st.integers(0, 1000),
)
@settings(max_examples=15, deadline=None)
def test_contract(
    rung: type[Recurrent], n_embd: int, n_hidden: int, n_layer: int, vocab_size: int, seed: int
) -> None:
    config = RecurrentConfig(n_embd, n_hidden, n_layer, dropout=0.5)
    check_model(random_recurrent(rung, config, vocab_size, seed % vocab_size, seed), seed=seed)


def cell_by_hand(kind: str, x: Tensor, h: Tensor, c: Tensor, w: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """One step of one layer, (B, E) and (B, H): the equations of torch's documentation, gate by gate."""
    width = h.shape[1]
    inner = x @ w["weight_ih"].T + w["bias_ih"]
    outer = h @ w["weight_hh"].T + w["bias_hh"]
    if kind == "rnn":
        return torch.tanh(inner + outer), c
    if kind == "lstm":
        i, f, g, o = (inner + outer).split(width, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c
    (r_in, z_in, n_in), (r_out, z_out, n_out) = inner.split(width, dim=1), outer.split(width, dim=1)
    r, z = torch.sigmoid(r_in + r_out), torch.sigmoid(z_in + z_out)
    n = torch.tanh(n_in + r * n_out)
    return (1 - z) * n + z * h, c


def logits_by_hand(kind: str, weights: dict[str, Tensor], tokens: Tensor, n_layer: int) -> Tensor:
    """(B, T) -> (B, T, V), a loop over time and layers."""
    width = weights["core.weight_hh_l0"].shape[1]
    h = [torch.zeros(len(tokens), width) for _ in range(n_layer)]
    c = [torch.zeros(len(tokens), width) for _ in range(n_layer)]
    out = []
    for t in range(tokens.shape[1]):
        x = weights["embedding"][tokens[:, t]]
        for k in range(n_layer):
            parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            layer = {part: weights[f"core.{part}_l{k}"] for part in parts}
            h[k], c[k] = cell_by_hand(kind, x, h[k], c[k], layer)
            x = h[k]
        out.append(x @ weights["head.weight"].T + weights["head.bias"])
    return torch.stack(out, dim=1)


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("n_layer", [1, 3])
def test_logits_are_those_of_the_equations(rung: type[Recurrent], n_layer: int) -> None:
    model = random_recurrent(rung, RecurrentConfig(5, 7, n_layer))
    tokens = torch.randint(V, (4, 25), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = logits_by_hand(rung.rung, dict(model.network.state_dict()), tokens, n_layer)
        torch.testing.assert_close(model.network(tokens), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("rung", "module"), [(RNN, nn.RNN), (LSTM, nn.LSTM), (GRU, nn.GRU)])
def test_scores_are_those_of_torchs_module_over_the_whole_document(
    rung: type[Recurrent], module: type[nn.RNN | nn.LSTM | nn.GRU], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours reads in slices, carrying the state; theirs reads all at once."""
    monkeypatch.setattr(recurrent, "HIDDEN_TOKENS_AT_ONCE", 13)
    model = random_recurrent(rung, RecurrentConfig(5, 7, 2))
    weights = model.network.state_dict()
    core = module(5, 7, 2, batch_first=True)
    core.load_state_dict({name[5:]: tensor for name, tensor in weights.items() if name.startswith("core.")})
    documents = np.random.default_rng(0).integers(0, V, (3, 50))
    inputs = torch.from_numpy(np.insert(documents[:, :-1], 0, END, axis=1))
    with torch.no_grad():
        hidden, _ = core(weights["embedding"][inputs])
        logits = hidden @ weights["head.weight"].T + weights["head.bias"]
    expected = torch.log_softmax(logits, dim=-1).gather(-1, torch.from_numpy(documents)[..., None])[..., 0]
    np.testing.assert_allclose(model.score(documents), expected.numpy(), atol=1e-4)
    np.testing.assert_allclose(model.score(documents[1]), expected[1].numpy(), atol=1e-4)
    history = np.insert(documents[:, :-1], 0, END, axis=1)
    log_probs, _ = model.advance(model.start(3), history)
    np.testing.assert_allclose(log_probs, torch.log_softmax(logits[:, -1], dim=-1).numpy(), atol=1e-4)


@pytest.mark.parametrize("rung", RUNGS)
def test_training_rows_read_each_document_as_if_it_were_not_cut(rung: type[Recurrent]) -> None:
    """With the weights held still, the losses of an epoch add up to the score of the corpus."""
    model = random_recurrent(rung, RecurrentConfig(5, 7, 2))
    rng = np.random.default_rng(0)
    stream = TokenStream.of([rng.integers(0, END, n) for n in (0, 1, 40, 7, 8, 23, 100)], END)
    expected = -float(model.score_stream(stream).sum(dtype=np.float64))
    network, batches = model.network, ContiguousBatches(stream, 8, 1, seed=0)
    network.start_carrying(1)
    tokens = t = 0
    total = 0.0
    while tokens < 2 * stream.n_tokens:
        inputs, targets, fresh = batches.batch(t).arrays
        total += network.loss(*map(torch.from_numpy, (inputs, targets, fresh))).item()
        tokens += int((targets >= 0).sum())
        t += 1
    assert total == pytest.approx(2 * expected, rel=1e-5)


def test_gradients_end_where_a_row_begins() -> None:
    """The second row's loss knows the first row's tokens, but asks nothing of how they were read."""
    model = random_recurrent(LSTM, RecurrentConfig(5, 7, 2))
    network = model.network
    network.start_carrying(1)
    network.loss(torch.tensor([[END, 1, 2]]), torch.tensor([[1, 2, 3]])).backward()
    network.zero_grad()
    loss = network.loss(torch.tensor([[3, 4]]), torch.tensor([[4, 5]]))
    loss.backward()
    assert loss.item() == pytest.approx(-model.score(np.array([1, 2, 3, 4, 5]))[3:].sum(), rel=1e-5)
    assert network.embedding is not None
    assert network.embedding.grad is not None
    touched = network.embedding.grad.abs().sum(dim=1).nonzero().flatten().tolist()
    assert touched == [3, 4]


@pytest.mark.parametrize(("rung", "gates"), [(RNN, 1), (LSTM, 4), (GRU, 3)])
def test_size(rung: type[Recurrent], gates: int) -> None:
    """By paper, for 27 symbols, rows of 64 and 256 hidden: table, gates of (64 + 256 + 2) * 256, head."""
    model = rung.initialise(RecurrentConfig(64, 256), 27, 26, 0)
    assert model.n_parameters == 27 * 64 + gates * (64 + 256 + 2) * 256 + 256 * 27 + 27
    assert model.context is None
    assert set(model.tensors()) == {name for name, _ in model.network.named_parameters()}


@pytest.mark.parametrize("rung", RUNGS)
def test_flops_are_those_of_the_equations(rung: type[Recurrent]) -> None:
    """torch counts the products of the loop written out; the first step's state, all zeros, gets no gradient."""
    model = random_recurrent(rung, RecurrentConfig(5, 7, 2))
    weights = {name: tensor.clone().requires_grad_() for name, tensor in model.network.state_dict().items()}
    tokens = torch.zeros(3, 10, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        logits_by_hand(rung.rung, weights, tokens, 2).sum().backward()
    gates = weights["core.weight_hh_l0"].shape[0] // 7
    no_gradient = 2 * 2 * gates * 7 * 7 * 3  # 2 a weight, two layers, three rows
    assert model.flops_per_token() * 30 - no_gradient == counter.get_total_flops()


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("n_layer", [1, 3])
def test_the_first_loss_is_that_of_a_fair_die(rung: type[Recurrent], n_layer: int) -> None:
    model = rung.initialise(RecurrentConfig(n_layer=n_layer), 300, 299, 0)
    tokens = np.random.default_rng(0).integers(0, 300, (4, 64))
    assert -model.score(tokens).mean() == pytest.approx(math.log(300), rel=0.02)


def test_dropout_is_for_training_only() -> None:
    model = random_recurrent(GRU, RecurrentConfig(5, 7, 1, dropout=0.5))
    tokens = torch.tensor([[END, 1, 2, 3]])
    model.network.train()
    assert not torch.equal(model.network(tokens), model.network(tokens))
    np.testing.assert_array_equal(model.score(np.arange(5)), model.score(np.arange(5)))


@pytest.mark.parametrize("rung", RUNGS)
def test_it_learns_to_count(rung: type[Recurrent]) -> None:
    """Over `aaaab` again and again: no b but after four a's, which the last three tokens can't tell."""
    stream = TokenStream.of([np.array([0, 0, 0, 0, 1] * 400)], 2)
    model = rung.initialise(RecurrentConfig(16, 32), 3, 2, 0)
    network, batches = model.network, ContiguousBatches(stream, 20, 4, seed=0)
    network.start_carrying(4)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    for t in range(150):
        batch = batches.batch(t)
        optimizer.zero_grad()
        (network.loss(*map(torch.from_numpy, batch.arrays)) / batch.n_targets).backward()
        optimizer.step()
    assert -model.score(np.array([0, 0, 0, 0, 1] * 20)).mean() < 0.1


@pytest.mark.parametrize("accumulate", [1, 2])
def test_interrupted_and_resumed_it_ends_with_the_same_weights(accumulate: int, tmp_path: Path) -> None:
    """The checkpoint holds the state that is carried from row to row of one long document."""
    text = tmp_path / "text.txt"
    text.write_text(sentences(200), encoding="utf-8")
    settings = {
        "steps": 20,
        "n_hidden": 16,
        "n_layer": 2,
        "dropout": 0.1,
        "batch_size": 3,
        "window": 8,
        "accumulate": accumulate,
        "documents": "files",
        "tokenizer": "byte",
    }
    whole = api.train("lstm", text, out=tmp_path / "whole", **settings)
    seen = 0

    def stop() -> bool:
        nonlocal seen
        seen += 1
        return seen == 7

    part = api.train("lstm", text, out=tmp_path / "part", stop=stop, **settings)
    api.resume(part.folder)
    file = "model.safetensors"
    assert (part.folder / file).read_bytes() == (whole.folder / file).read_bytes()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"n_embd": 0}, "--n-embd 0"),
        ({"n_hidden": 2.5}, "--n-hidden 2.5"),
        ({"n_layer": False}, "--n-layer False"),
        ({"dropout": 1}, "--dropout 1"),
        ({"dropout": math.nan}, "--dropout nan"),
    ],
)
def test_a_bad_value_is_named(fields: dict, named: str) -> None:
    with pytest.raises(UserError, match=named):
        RecurrentConfig(**fields)
