"""Bengio's perceptron against the contract, torch's layers, makemore's sizes and BatchNorm by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rung import api
from rung.errors import UserError
from rung.models.networks import network
from rung.models.networks.hidden_layer import BatchNorm
from rung.models.networks.mlp import MLP, MLPConfig
from rung.testing import check_model
from rung.text.stream import TokenStream
from rung.text.windows import WindowBatches
from tests.models.random_weights import randomize
from tests.text_made import sentences

V, END = 11, 10


def random_mlp(config: MLPConfig, vocab_size: int = V, end: int = END, seed: int = 0) -> MLP:
    model = randomize(MLP.initialise(config, vocab_size, end, seed), 0.7, seed)
    model.network.eval()
    return model


@given(
    context=st.integers(1, 6),
    n_embd=st.integers(1, 5),
    n_hidden=st.integers(1, 8),
    n_layer=st.integers(1, 3),
    batch_norm=st.booleans(),
    vocab_size=st.integers(1, 30),
    seed=st.integers(0, 1000),
)
@settings(max_examples=12, deadline=None)
def test_contract(
    context: int, n_embd: int, n_hidden: int, n_layer: int, batch_norm: bool, vocab_size: int, seed: int
) -> None:
    config = MLPConfig(context, n_embd, n_hidden, n_layer, batch_norm)
    check_model(random_mlp(config, vocab_size, seed % vocab_size, seed), seed=seed)


@pytest.mark.parametrize("context", [1, 2, 3, 5])
def test_every_prediction_sees_exactly_the_last_tokens(context: int) -> None:
    """Change one token: its own score moves, and those of the next `context` tokens, however long the document."""
    model = random_mlp(MLPConfig(context, 4, 16))
    tokens = np.random.default_rng(0).integers(0, V, 10 * context + 5)
    at = 5 * context
    changed = tokens.copy()
    changed[at] = (changed[at] + 1) % V
    moved = np.flatnonzero(np.abs(model.score(changed) - model.score(tokens)) > 1e-6)
    np.testing.assert_array_equal(moved, np.arange(at, at + context + 1))


def test_scores_are_those_of_torchs_layers_on_makemores_blocks() -> None:
    """nn.Embedding, nn.Linear and Tanh on blocks built one by one: `...` -> e, `..e` -> m, `.em` -> m, and so on."""
    model = random_mlp(MLPConfig(3, 4, 9, 2))
    weights = {name: torch.from_numpy(array) for name, array in model.tensors().items()}
    theirs = nn.Sequential(
        nn.Embedding(V, 4),
        nn.Flatten(),
        nn.Linear(12, 9),
        nn.Tanh(),
        nn.Linear(9, 9),
        nn.Tanh(),
        nn.Linear(9, V),
    )
    theirs.load_state_dict(dict(zip(theirs.state_dict(), _in_order(weights), strict=True)))
    document = np.array([3, 1, 4, 1, 5, 9, 2, 6, END])
    block = [END] * 3
    expected = []
    for token in document.tolist():
        with torch.no_grad():
            expected.append(torch.log_softmax(theirs(torch.tensor([block]))[0], dim=0)[token].item())
        block = [*block[1:], token]
    np.testing.assert_allclose(model.score(document), expected, atol=1e-5)


def _in_order(weights: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    layers = [f"layers.{i}.linear.{kind}" for i in range(2) for kind in ("weight", "bias")]
    return [weights[name] for name in ("embedding", *layers, "head.weight", "head.bias")]


@pytest.mark.parametrize("batch_norm", [False, True])
def test_what_is_trained_is_what_is_scored(batch_norm: bool) -> None:
    """A batch of windows cut out of documents: the loss is the sum of the scores of the tokens in them."""
    model = random_mlp(MLPConfig(4, 3, 8, batch_norm=batch_norm))
    rng = np.random.default_rng(0)
    stream = TokenStream.of([rng.integers(0, END, n) for n in (0, 1, 2, 9, 30)], END)
    scores = model.score_stream(stream)
    batches = WindowBatches(stream, 7, 1000, seed=0, history=model.network.history)
    inputs, targets = batches.batch(0).arrays
    epochs = (targets >= 0).sum() / stream.n_tokens
    while epochs % 1:  # rows of exactly some epochs
        inputs, targets = inputs[:-1], targets[:-1]
        epochs = (targets >= 0).sum() / stream.n_tokens
    with torch.no_grad():
        nats = model.network.loss(torch.from_numpy(inputs), torch.from_numpy(targets)).item()
    assert nats == pytest.approx(-epochs * scores.sum(dtype=np.float64), rel=1e-5)


def test_slices_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_mlp(MLPConfig(5, 3, 8))
    documents = np.random.default_rng(0).integers(0, V, (3, 40))
    whole = model.score(documents)
    monkeypatch.setattr(network, "HIDDEN_TOKENS_AT_ONCE", 13)
    monkeypatch.setattr(network, "LOGITS_AT_ONCE", 3 * V)
    np.testing.assert_allclose(model.score(documents), whole, atol=1e-5)


def test_sizes_are_makemores() -> None:
    """27 symbols, context 3, rows of 10, 200 hidden. 270 + 30 * 200 + 200 + 200 * 27 + 27 = 11,897; with BatchNorm
    200 gains and 200 shifts replace 200 biases: 12,097."""
    assert MLP.initialise(MLPConfig(), 27, 26, 0).n_parameters == 11_897
    assert MLP.initialise(MLPConfig(batch_norm=True), 27, 26, 0).n_parameters == 12_097


def test_flops_are_those_torch_counts() -> None:
    model = MLP.initialise(MLPConfig(3, 5, 16, 2), 20, 19, 0)
    tokens = torch.zeros(2, 2 + 10, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model.network(tokens).sum().backward()
    assert model.flops_per_token() * 2 * 10 == counter.get_total_flops()


@pytest.mark.parametrize("config", [MLPConfig(), MLPConfig(8, 24, 128, 4, True), MLPConfig(n_layer=5)])
def test_the_first_loss_is_that_of_a_fair_die(config: MLPConfig) -> None:
    for training in (True, False):
        model = MLP.initialise(config, 300, 299, 1)
        model.network.train(training)
        tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 300, (8, 60)))
        with torch.no_grad():
            loss = model.network.loss(tokens, tokens[:, model.network.history :]).item()
        assert loss / (8 * (60 - model.network.history)) == pytest.approx(math.log(300), rel=0.02)


def test_kaimings_gain_keeps_the_spread_through_tanh() -> None:
    """With gain 5/3 a deep stack neither fades nor saturates: the last layer's spread is about the second's."""
    model = MLP.initialise(MLPConfig(n_layer=6), 100, 99, 0)
    spreads: list[float] = []
    for name, module in model.network.named_modules():
        if name.count(".") == 1 and name.startswith("layers."):
            module.register_forward_hook(lambda _m, _i, out: spreads.append(out.std().item()))
    model.network(torch.from_numpy(np.random.default_rng(0).integers(0, 100, (4, 200))))
    assert len(spreads) == 6
    assert all(0.55 < spread < 0.85 for spread in spreads)


class TestBatchNorm:
    def test_by_hand(self) -> None:
        """Two columns of 1, 3 and 0, 4: means 2 and 2, variances 1 and 4 over the batch, 2 and 8 unbiased."""
        norm = BatchNorm(2)
        with torch.no_grad():
            norm.init_weights()
            norm.gamma.copy_(torch.tensor([1.0, 10.0]))
            norm.beta.copy_(torch.tensor([0.0, 5.0]))
            y = norm(torch.tensor([[1.0, 0.0], [3.0, 4.0]]))
        torch.testing.assert_close(y, torch.tensor([[-1.0, -5.0], [1.0, 15.0]]), atol=1e-4, rtol=0)
        # A tenth of the batch and nine tenths of the start, 0 and 1.
        torch.testing.assert_close(norm.running_mean, torch.tensor([0.2, 0.2]))
        torch.testing.assert_close(norm.running_var, torch.tensor([0.9 + 0.2, 0.9 + 0.8]))
        norm.eval()
        one = norm(torch.tensor([[0.2, 1.2]]))
        expected = torch.tensor([[0.0, 10.0 / math.sqrt(1.7) + 5.0]])
        torch.testing.assert_close(one, expected, atol=1e-4, rtol=0)

    def test_is_torchs(self) -> None:
        ours, theirs = BatchNorm(5), nn.BatchNorm1d(5)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            ours.init_weights()
            for a, b in ((ours.gamma, theirs.weight), (ours.beta, theirs.bias)):
                a.normal_(generator=generator)
                b.copy_(a)
        for _ in range(5):
            x = torch.randn(7, 5, generator=generator)
            torch.testing.assert_close(ours(x), theirs(x))
        ours.eval()
        theirs.eval()
        x = torch.randn(3, 5, generator=generator)
        torch.testing.assert_close(ours(x), theirs(x))

    def test_a_batch_of_one_position_is_possible(self) -> None:
        model = MLP.initialise(MLPConfig(batch_norm=True), V, END, 0)
        model.network.train()
        loss = model.network.loss(torch.tensor([[END, END, END]]), torch.tensor([[1]]))
        assert torch.isfinite(loss)

    def test_padding_is_not_seen(self) -> None:
        """A short row's filling may hold any token: the loss and the running statistics are the same."""
        results = []
        for filling in (0, 7):
            model = MLP.initialise(MLPConfig(2, 3, 4, batch_norm=True), V, END, 0)
            model.network.train()
            tokens = torch.tensor([[END, END, 1, 2, 3], [END, END, 4, filling, filling]])
            targets = torch.tensor([[1, 2, 3, END], [4, END, -1, -1]])
            loss = model.network.loss(tokens, targets)
            results.append((loss.item(), *(buffer.tolist() for buffer in model.network.buffers())))
        assert results[0] == results[1]


def test_it_learns_what_three_tokens_tell(tmp_path: Path) -> None:
    """Over `aab aab ...` the last two letters tell the next; a bigram can't know what follows an a."""
    text = tmp_path / "text.txt"
    text.write_text("aab" * 2000, encoding="utf-8")
    run = api.train("mlp", text, out=tmp_path / "run", steps=100, documents="files")
    assert api.evaluate(run).bits_per_byte < 0.05
    bigram = api.train("bigram", text, out=tmp_path / "bigram", documents="files")
    assert api.evaluate(bigram).bits_per_byte > 0.6  # 2/3 of a bit: after an a, one of two


def test_interrupted_and_resumed_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    """BatchNorm's running statistics are part of the checkpoint."""
    text = tmp_path / "text.txt"
    text.write_text(sentences(200), encoding="utf-8")
    settings = {"steps": 20, "batch_norm": True, "n_hidden": 16, "batch_size": 4}
    whole = api.train("mlp", text, out=tmp_path / "whole", **settings)
    seen = 0

    def stop() -> bool:
        nonlocal seen
        seen += 1
        return seen == 7

    part = api.train("mlp", text, out=tmp_path / "part", stop=stop, **settings)
    api.resume(part.folder)
    file = "model.safetensors"
    assert (part.folder / file).read_bytes() == (whole.folder / file).read_bytes()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"context": 0}, "--context 0"),
        ({"n_embd": -3}, "--n-embd -3"),
        ({"n_hidden": 1.5}, "--n-hidden 1.5"),
        ({"n_layer": True}, "--n-layer True"),
        ({"batch_norm": "yes"}, "--batch-norm 'yes'"),
    ],
)
def test_a_bad_value_is_named(fields: dict, named: str) -> None:
    with pytest.raises(UserError, match=named):
        MLPConfig(**fields)
