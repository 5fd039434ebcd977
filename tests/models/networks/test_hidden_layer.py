"""Hidden layers by name against torch's modules and initialisers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rung.errors import UserError
from rung.models.networks.hidden_layer import ACTIVATIONS, INITS, HiddenLayer
from rung.models.networks.mlp import MLP, MLPConfig
from rung.models.networks.recurrent import GRU, LSTM, RNN, RecurrentConfig
from rung.models.networks.wavenet import WaveNet, WaveNetConfig
from rung.testing import check_model

THEIRS = {
    "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(),
    "relu": nn.ReLU(),
    "leaky-relu": nn.LeakyReLU(0.01),
    "elu": nn.ELU(),
    "selu": nn.SELU(),
    "gelu": nn.GELU(),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_layer_is_torchs(name: str):
    layer = HiddenLayer(5, 7, batch_norm=False, activation=name)
    with torch.no_grad():
        layer.init_weights(torch.Generator().manual_seed(0))
    x = torch.randn(11, 5, generator=torch.Generator().manual_seed(1))
    theirs = nn.Sequential(nn.Linear(5, 7), THEIRS[name])
    theirs[0].load_state_dict(layer.linear.state_dict())
    torch.testing.assert_close(layer(x), theirs(x))
    names: dict[str, Any] = {"leaky-relu": "leaky_relu"}
    if name not in ("elu", "gelu"):  # which torch has no gain for
        gain = nn.init.calculate_gain(names.get(name, name), 0.01 if name == "leaky-relu" else None)
        assert layer.gain == pytest.approx(gain)


@pytest.mark.parametrize("name", INITS)
def test_first_weights_have_the_spread_that_torchs_have(name: str):
    torch.manual_seed(0)
    layer = HiddenLayer(400, 300, batch_norm=False, activation="relu", init=name)
    with torch.no_grad():
        layer.init_weights(torch.Generator().manual_seed(0))
    weight, theirs = layer.linear.weight.detach(), torch.empty(300, 400)
    gain = nn.init.calculate_gain("relu")
    if name == "kaiming":
        nn.init.kaiming_normal_(theirs, nonlinearity="relu")
    elif name == "xavier":
        nn.init.xavier_normal_(theirs, gain)
    elif name == "lecun":
        nn.init.kaiming_normal_(theirs, nonlinearity="linear")
    elif name == "normal":
        nn.init.normal_(theirs, 0, 0.01)
    elif name == "orthogonal":
        torch.testing.assert_close(weight @ weight.T, gain**2 * torch.eye(300), atol=1e-3, rtol=0)
        nn.init.orthogonal_(theirs, gain)
    else:
        nn.init.zeros_(theirs)
    assert float(weight.std()) == pytest.approx(float(theirs.std()), rel=0.02)
    assert float(weight.mean()) == pytest.approx(0, abs=0.01)
    assert not layer.linear.bias.any()


@pytest.mark.parametrize("activation", ["relu", "selu"])
def test_networks_of_them_obey_the_contract_and_drop_nothing_in_use(activation: str):
    for model in (
        MLP.initialise(
            MLPConfig(3, 4, 8, 2, activation=activation, init="orthogonal", dropout=0.5), 11, 10, 0
        ),
        WaveNet.initialise(WaveNetConfig(4, 4, 8, dropout=0.5), 11, 10, 0),
    ):
        check_model(model)
        tokens = torch.randint(0, 11, (4, 20), generator=torch.Generator().manual_seed(0))
        model.network.train()
        assert not torch.equal(model.network(tokens), model.network(tokens))
        first = model.score(tokens[0].numpy())
        np.testing.assert_array_equal(first, model.score(tokens[0].numpy()))


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_one_hot_inputs_are_a_table_that_is_the_identity(kind: type):
    v, end = 9, 8
    one_hot = kind.initialise(RecurrentConfig(inputs="one-hot", n_hidden=6), v, end, 0)
    check_model(one_hot)
    learned = kind.initialise(RecurrentConfig(n_embd=v, n_hidden=6), v, end, 0)
    tensors = {**one_hot.tensors(), "embedding": np.eye(v, dtype=np.float32)}
    learned = kind.from_tensors(learned.config, v, end, tensors)
    tokens = np.random.default_rng(0).integers(0, end, 30)
    np.testing.assert_allclose(one_hot.score(tokens), learned.score(tokens), atol=1e-5)
    gates = {RNN: 1, LSTM: 4, GRU: 3}[kind]
    assert one_hot.n_parameters == gates * (v * 6 + 6 * 6 + 2 * 6) + 6 * v + v


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: MLPConfig(activation="relo"), "did you mean 'relu'"),
        (lambda: MLPConfig(init="he"), "--init 'he' is unknown"),
        (lambda: MLPConfig(dropout=1.0), "--dropout 1.0"),
        (lambda: RecurrentConfig(inputs="onehot"), "did you mean 'one-hot'"),
    ],
)
def test_names_that_are_none_are_told(make, says: str):
    with pytest.raises(UserError, match=says):
        make()


def test_zeros_keep_neurons_alike():
    layer = HiddenLayer(4, 3, batch_norm=False, init="zeros")
    with torch.no_grad():
        layer.init_weights(torch.Generator())
    out = layer(torch.randn(6, 4))
    out.sum().backward()
    grad = layer.linear.weight.grad
    assert grad is not None
    assert torch.equal(grad[0], grad[1])
    assert not out.any()
