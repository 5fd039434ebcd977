"""Recurrent classifiers: padding of either kind, pools by hand, the contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rung.errors import UserError
from rung.models.networks.recurrent_classifier import (
    GRUClassifier,
    LSTMClassifier,
    RecurrentClassifierConfig,
    RNNClassifier,
)
from rung.testing import check_classifier
from rung.text.stream import TokenStream

V, END, LABELS = 9, 8, ["a", "b", "c"]


@pytest.mark.parametrize("kind", [RNNClassifier, LSTMClassifier, GRUClassifier])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("pool", ["mean", "max", "last"])
def test_the_contract(kind: type, bidirectional: bool, pool: str):
    config = RecurrentClassifierConfig(4, 5, 2, bidirectional, pool)
    check_classifier(kind.initialise(config, V, END, LABELS, 0))


@pytest.mark.parametrize("pool", ["mean", "max", "last"])
def test_a_text_is_read_from_both_ends_and_pooled_by_its_length(pool: str):
    """Forward and backward cells by hand over one text, the mark of its own first."""
    model = GRUClassifier.initialise(RecurrentClassifierConfig(4, 3, 1, True, pool), V, END, LABELS, 1)
    network = model.network
    text = np.array([1, 5, 2])
    x = network.embedding[[V, *text.tolist()]]
    halves = []
    for suffix, order in (("", range(4)), ("_reverse", range(3, -1, -1))):
        cell = torch.nn.GRUCell(4, 3)
        names = {
            "weight_ih": "weight_ih_l0",
            "weight_hh": "weight_hh_l0",
            "bias_ih": "bias_ih_l0",
            "bias_hh": "bias_hh_l0",
        }
        cell.load_state_dict({own: network.core.get_parameter(name + suffix) for own, name in names.items()})
        h, states = torch.zeros(1, 3), {}
        for t in order:
            h = states[t] = cell(x[t : t + 1], h)
        halves.append(torch.cat([states[t] for t in range(4)]))
    both = torch.cat(halves, dim=1)
    pooled = {
        "mean": both.mean(0),
        "max": both.amax(0),
        "last": torch.cat([halves[0][-1], halves[1][0]]),
    }[pool]
    assert network.head is not None
    expected = torch.log_softmax(network.head(pooled), dim=0).detach().numpy()
    beside = [np.arange(8), text, np.array([], np.int64)]
    found = model.log_probs(TokenStream.of(beside, END))
    np.testing.assert_allclose(found[1], expected, atol=1e-5)


def test_a_pool_that_is_none_is_told():
    with pytest.raises(UserError, match="did you mean 'max'"):
        RecurrentClassifierConfig(pool="maxi")
