"""Remembering equals reading again, for every rung and branch; and GPT's cache copies only where it has to."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.models.base import LanguageModel, fitted
from rung.models.counting.bigram import Bigram, BigramConfig
from rung.models.counting.infinigram import InfiniGram, InfiniGramConfig
from rung.models.counting.ngram import NGram, NGramConfig
from rung.models.networks.mlp import MLP, MLPConfig
from rung.models.networks.neural_bigram import NeuralBigram, NeuralBigramConfig
from rung.models.networks.recurrent import GRU, LSTM, RNN, RecurrentConfig
from rung.models.networks.wavenet import WaveNet, WaveNetConfig
from rung.models.transformer.config import GPTConfig
from rung.models.transformer.decoder import GPT
from rung.models.transformer.hashed_ngrams import HashedNgrams
from rung.models.transformer.inference import kernels, lean
from rung.models.transformer.inference.kernels import ngram_row_ids
from rung.models.transformer.inference.kv_cache import KeyValueCache, Window
from rung.testing import check_model
from rung.text.stream import TokenStream

V, END = 11, 10
COUNTED = ((Bigram, BigramConfig()), (NGram, NGramConfig(3)), (InfiniGram, InfiniGramConfig(3)))
LEARNED = (
    (NeuralBigram, NeuralBigramConfig()),
    (MLP, MLPConfig(3, 4, 8)),
    (WaveNet, WaveNetConfig(4, 4, 8)),
    (RNN, RecurrentConfig(4, 8, 2)),
    (LSTM, RecurrentConfig(4, 8, 2)),
    (GRU, RecurrentConfig(4, 8, 2)),
    (GPT, GPTConfig(6, 2, 2, 8)),
    (GPT, GPTConfig(6, 2, 2, 8, stride=2)),
    (GPT, GPTConfig(6, 2, 2, 8, attention="linear")),
)
SHAPES: tuple[dict[str, Any], ...] = (
    {},
    {"bias": False},
    {"norm": "rms", "positions": "rotary", "feed_forward": "swiglu", "n_kv_head": 2, "tied": False},
    {"norm_first": False, "positions": "sinusoidal"},
    {"positions": "alibi", "n_kv_head": 1, "feed_forward": "relu2"},
    {"positions": "none", "qk_norm": True, "local": 3},
    {"positions": "alibi", "local": 2},
    {"local": 2, "stride": 3},
    {"positions": "alibi", "stride": 4},
    {"positions": "rotary", "stride": 2, "n_kv_head": 2, "norm_first": False},
    {"attention": "linear"},
    {"attention": "linear", "positions": "rotary", "n_kv_head": 2, "qk_norm": True},
    {"positions": "rotary", "local": 1, "n_kv_head": 2},
)


def counted(rung: Any, config: Any) -> LanguageModel:
    text = np.random.default_rng(0).integers(0, 4, 300)
    return fitted(rung.fit(config, TokenStream.of([text[:200], text[200:]], END), V, END))


def learned(rung: Any, config: Any) -> Any:
    """Weights large enough for histories to matter."""
    model = rung.initialise(config, V, END, 0)
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.mul_(3)
    return model


def gpt(context: int = 16, **fields: Any) -> GPT:
    return learned(GPT, GPTConfig(context, 2, 4, 16, **fields))


@pytest.mark.parametrize(
    "model",
    [*(counted(*pair) for pair in COUNTED), *(learned(*pair) for pair in LEARNED)],
    ids=lambda model: model.rung,
)
def test_a_tree_of_branches_equals_every_path_read_anew(model: LanguageModel) -> None:
    """States are picked at random, old ones too, and go on by one token, by several, or by a choice of rows."""
    rng = np.random.default_rng(0)
    start = np.full((2, 1), END)
    nodes = [(start, model.advance(model.start(2), start)[1])]
    for _ in range(30):
        history, state = nodes[rng.integers(len(nodes))]
        new = rng.integers(0, V, (2, rng.integers(1, 5)))
        if rng.random() < 0.3:
            rows = rng.integers(0, 2, 2)
            history, state = history[rows], model.select(state, rows)
        if rng.random() < 0.5:
            log_probs, state = model.advance(state, new)
        else:
            every, states = model.advance_all(state, new)
            log_probs, state = every[:, -1], states[-1]
            nodes.append((np.concatenate([history, new[:, :1]], axis=1), states[0]))
        history = np.concatenate([history, new], axis=1)
        np.testing.assert_allclose(log_probs, model.advance(model.start(2), history)[0], atol=1e-5)
        nodes.append((history, state))


@pytest.mark.parametrize("fields", SHAPES, ids=str)
def test_inference_equals_the_modules(fields: dict[str, Any]) -> None:
    """Within a window, whatever the shape: token by token, a prompt at once, a piece behind another."""
    model = gpt(16, **fields)
    inputs = np.random.default_rng(0).integers(0, V, (3, 16))
    with torch.no_grad():
        expected = model.network(torch.from_numpy(inputs)).log_softmax(-1).numpy()
    for cuts in ([*range(17)], [0, 16], [0, 5, 6, 13, 16]):
        state = model.start(3)
        for begin, stop in pairwise(cuts):
            every, states = model.advance_all(state, inputs[:, begin:stop])
            last, _ = model.advance(state, inputs[:, begin:stop])
            np.testing.assert_allclose(every, expected[:, begin:stop], atol=1e-5)
            np.testing.assert_allclose(last, expected[:, stop - 1], atol=1e-5)
            state = states[-1]


COMPILED: tuple[dict[str, Any], ...] = (
    {},
    {"bias": False},
    {"tied": False, "norm_eps": 0.1},
    {"preset": "rung", "ngram_rows": 16},
    {"preset": "rung", "ngrams": 3, "ngram_rows": 64, "bias": True, "local": 4, "n_kv_head": 2},
    {"preset": "rung", "ngrams": 0, "norm": "layer", "feed_forward": "gelu", "norm_eps": 0.1},
    {"positions": "alibi", "n_kv_head": 1, "feed_forward": "relu2"},
    {"positions": "sinusoidal", "qk_norm": True, "local": 3},
    {"positions": "alibi", "local": 2, "stride": 3, "n_kv_head": 2},
    {"attention": "linear"},
    {"preset": "rung", "ngram_rows": 16, "attention": "linear", "n_kv_head": 2},
)


@pytest.mark.parametrize("fields", COMPILED, ids=str)
def test_the_compiled_step_equals_the_modules(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    monkeypatch.setattr(lean, "COMPILE_AFTER", 1)
    model = gpt(16, **fields)
    inputs = np.random.default_rng(0).integers(0, V, (1, 16))
    with torch.no_grad():
        expected = model.network(torch.from_numpy(inputs)).log_softmax(-1).numpy()
    _, state = model.advance(model.start(1), inputs[:, :5])
    for t in range(5, 16):
        log_probs, after = model.advance(state, inputs[:, t])
        np.testing.assert_allclose(log_probs, expected[:, t], atol=1e-5)
        branch, _ = model.advance(state, (inputs[:, t] + 1) % V)  # leaves the first branch as it is
        assert branch.shape == (1, V)
        state = after
    _, state = model.advance(model.start(1), inputs[:, :2])
    for begin, stop in pairwise([2, 5, 6, 16]):
        every, states = model.advance_all(state, inputs[:, begin:stop])
        np.testing.assert_allclose(every, expected[:, begin:stop], atol=1e-5)
        state = states[-1]
    assert model._lean is not None
    assert model._lean[1].compiled(1) is not None
    check_model(model)


@pytest.mark.parametrize(
    "fields",
    [
        {"norm_first": False},
        {"feed_forward": "swiglu"},
        {"n_embd": 1024, "n_layer": 1},
    ],
    ids=str,
)
def test_other_networks_and_large_ones_are_not_compiled(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    monkeypatch.setattr(lean, "COMPILE_AFTER", 1)
    shape = {"context": 4, "n_layer": 2, "n_head": 2, "n_embd": 8, **fields}
    model = learned(GPT, GPTConfig(**shape))
    model.start(1)
    assert model._lean is not None
    assert model._lean[1].compiled(1) is None


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(0, 1 << 17), min_size=1, max_size=12),
    st.integers(2, 8),
    st.integers(1, 16).map(lambda bits: 1 << bits),
)
def test_ngrams_have_the_same_rows_compiled(text: list[int], max_n: int, rows: int) -> None:
    inputs = np.array(text)
    expected = HashedNgrams(max_n, rows, 1).row_ids(torch.from_numpy(inputs[None]))[0].numpy()
    for position in range(len(text)):
        found = np.empty(max_n - 1, np.int64)
        ngram_row_ids(inputs, position, max_n, rows, found)
        np.testing.assert_array_equal(found, expected[position])


def test_the_compiled_exponential_is_exp() -> None:
    x = np.linspace(-87, 88, 10_001, dtype=np.float32)
    found = np.array([kernels._exp(value) for value in x])
    np.testing.assert_allclose(found, np.exp(x.astype(np.float64)), rtol=3e-6)


def cache_of(state: object) -> KeyValueCache:
    assert isinstance(state, Window)
    return state.cache


def test_a_plain_chain_copies_nothing() -> None:
    model = gpt()
    _, state = model.advance(model.start(2), np.full((2, 3), END))
    address = cache_of(state).keys_values[0].data_ptr()
    for token in range(10):
        _, state = model.advance(state, np.full(2, token))
        assert cache_of(state).keys_values[0].data_ptr() == address
    assert state.inputs.tolist() == [[END] * 3 + list(range(10))] * 2


def test_a_second_branch_copies_while_the_first_is_in_use() -> None:
    model = gpt()
    _, root = model.advance(model.start(1), np.array([[END]]))
    _, first = model.advance(root, np.array([1]))
    _, second = model.advance(root, np.array([2]))
    assert cache_of(first) is cache_of(root)
    assert cache_of(second) is not cache_of(root)
    del first
    _, third = model.advance(root, np.array([3]))
    assert cache_of(third) is cache_of(root)


def test_a_draft_taken_back_copies_nothing() -> None:
    """Six tokens verified, two kept, four forgotten, as speculation does."""
    model = gpt()
    _, state = model.advance(model.start(1), np.array([[END]]))
    cache = cache_of(state)
    _, states = model.advance_all(state, np.array([[1, 2, 3, 4, 5, 6]]))
    state = states[1]
    del states
    _, state = model.advance(state, np.array([7]))
    assert cache_of(state) is cache
    assert state.inputs.tolist() == [[END, 1, 2, 7]]


def test_new_weights_are_noticed() -> None:
    """As between two samples of a training run."""
    model = gpt()
    before, _ = model.advance(model.start(1), np.array([[END, 1]]))
    with torch.no_grad():
        model.network.get_parameter("blocks.0.attention.qkv.weight").mul_(2)
    after, _ = model.advance(model.start(1), np.array([[END, 1]]))
    assert np.abs(after - before).max() > 1e-3
    with torch.no_grad():
        expected = model.network(torch.tensor([[END, 1]]))[:, -1].log_softmax(-1).numpy()
    np.testing.assert_allclose(after, expected, atol=1e-5)
