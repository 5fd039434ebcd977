"""Translators of every kind: the contract, and authorities for what each looks at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rung.errors import UserError
from rung.models import rung_class
from rung.models.networks import source_attention
from rung.testing import check_translator
from rung.text.stream import TokenStream
from tests.models.random_weights import randomize

V, END = 12, 11
RECURRENT: dict[str, Any] = {"n_embd": 6, "n_hidden": 5}
ENCODER_DECODER: dict[str, Any] = {"n_layer": 2, "n_head": 2, "n_embd": 8}
GPT: dict[str, Any] = {"n_layer": 2, "n_head": 2, "n_embd": 8, "context": 24, "ngram_rows": 16}


def small(rung: str, source_vocab_size: int | None = None, **more: Any) -> Any:
    model_class = rung_class(rung, "translation")
    own = {"gpt": GPT, "encoder-decoder": ENCODER_DECODER}.get(rung, RECURRENT)
    config = model_class.config_class(**{**own, **more})
    config = model_class.resolve_config(config, vocab_size=V, train_tokens=900, longest_document=10)
    return randomize(model_class.initialise(config, V, END, 0, source_vocab_size))


@pytest.mark.parametrize(
    ("rung", "more"),
    [
        ("rnn", {"attention": "none"}),
        ("lstm", {"n_layer": 2}),
        ("gru", {"attention": "dot"}),
        ("gpt", {}),
        ("gpt", {"preset": "plain", "context": 8}),  # longer ones go beyond the window
        ("gru", {"source_vocab_size": 6}),
        ("gpt", {"source_vocab_size": 20}),
        ("encoder-decoder", {"source_vocab_size": 6}),
    ],
)
def test_the_contract(rung: str, more: dict[str, Any]) -> None:
    check_translator(small(rung, **more))


def test_additive_attention_is_bahdanaus_formula() -> None:
    """Summed on paper, place by place; a few steps at a time it is the same, and so is its slope."""
    torch.manual_seed(0)
    attention = source_attention.SourceAttention("additive", 5, 8)
    states, asking = torch.randn(2, 4, 8), torch.randn(2, 3, 5, requires_grad=True)
    there = torch.tensor([[True] * 4, [True, True, False, False]])
    source = source_attention.Source(states, attention.keys(states), there, states[:, 0])
    weights, found = attention.weights(asking, source), attention(asking, source)
    w, b, u, v = attention.query.weight, attention.query.bias, attention.key.weight, attention.score.weight[0]
    for row, step in np.ndindex(2, 3):
        places = [s for s in range(4) if there[row, s]]
        scores = torch.stack([v @ torch.tanh(w @ asking[row, step] + b + u @ states[row, s]) for s in places])
        own = scores.exp() / scores.exp().sum()
        torch.testing.assert_close(weights[row, step, places], own)
        torch.testing.assert_close(found[row, step], own @ states[row, places])
    (slope,) = torch.autograd.grad(found.square().sum(), asking)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source_attention, "SCORES_AT_ONCE", 1)
        pieces = attention(asking, source)
        torch.testing.assert_close(pieces, found)
        torch.testing.assert_close(torch.autograd.grad(pieces.square().sum(), asking)[0], slope)


def test_a_gpt_of_pairs_is_a_gpt_over_source_delimiter_and_target() -> None:
    """A language model of V + 1 tokens with the same weights, whose delimiter can't be written."""
    model = small("gpt", preset="plain", tied=False)
    weights = model.tensors()
    head = np.vstack([weights["body.free_head"][:-1], np.zeros((1, 8), np.float32)])
    plain = {name.removeprefix("body."): array for name, array in weights.items()}
    reader = type(model.reader).from_tensors(model.reader.config, V + 1, END, {**plain, "free_head": head})
    source, target = np.array([3, 1, 4]), np.array([1, 5, END])
    joined = np.concatenate([source, [V], target])
    state, by_hand = reader.start(1), []
    for before, after in zip([END, *joined[:-1]], joined, strict=True):
        log_probs, state = reader.advance(state, np.array([before]))
        written = log_probs[0, :V]
        by_hand.append(written[after] - np.logaddexp.reduce(written) if after < V else 0.0)
    found = model.score_pairs(TokenStream.of([source], END), TokenStream.of([target[:-1]], END))
    np.testing.assert_allclose(found, by_hand[4:], atol=1e-5)


@pytest.mark.parametrize("rung", ["lstm", "encoder-decoder"])
def test_where_it_looks(rung: str) -> None:
    """Rows sum to 1."""
    view = small(rung).given(TokenStream.of([np.array([1, 2, 3])], END))
    maps = view.attention(np.array([4, 5, END]))
    assert maps.shape[1:] == (3, 4)
    np.testing.assert_allclose(maps.sum(-1), 1, atol=1e-6)
    with pytest.raises(UserError, match="no attention"):
        small("gru", attention="none").given(TokenStream.of([np.array([1])], END)).attention(np.array([END]))
