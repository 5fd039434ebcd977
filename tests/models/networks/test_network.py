"""The bridge: the window policy against its definition, and inference that leaves no trace."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rung.errors import UserError
from rung.models.networks import network
from rung.models.networks.network import NeuralModel
from rung.models.networks.neural_bigram import NeuralBigram, NeuralBigramConfig
from rung.models.transformer.decoder import GPT, GPTConfig
from tests.models.random_weights import randomize

V, END = 11, 10


def random_gpt(config: GPTConfig, seed: int = 0) -> GPT:
    return randomize(GPT.initialise(config, V, END, seed), seed=seed)


def score_by_definition(model: NeuralModel, tokens: np.ndarray) -> np.ndarray:
    """One forward a token, over the window that the policy says answers for it."""
    assert model.context is not None
    inputs = np.concatenate([[model.end], tokens[:-1]])
    stride = model.context - model.context // 2
    scores = []
    for i, token in enumerate(tokens):
        k = 0
        while k * stride + model.context - 1 < i:  # the first window that holds input i
            k += 1
        window = torch.tensor(inputs[k * stride : i + 1])[None]
        with torch.no_grad():
            scores.append(torch.log_softmax(model.network(window)[0, -1], dim=-1)[token].item())
    return np.array(scores)


@pytest.mark.parametrize("context", [1, 2, 3, 4, 5, 8])
def test_scores_follow_the_stated_windows(context: int) -> None:
    model = random_gpt(GPTConfig(context, 1, 1, 4))
    for length in {1, context, context + 1, 2 * context, 3 * context + 5}:
        tokens = np.random.default_rng(length).integers(0, V, length)
        np.testing.assert_allclose(model.score(tokens), score_by_definition(model, tokens), atol=1e-4)


@pytest.mark.parametrize("context", [2, 3, 8])
def test_each_prediction_sees_more_than_half_a_context_and_never_more_than_one(context: int) -> None:
    """Change one token: the scores that move are those whose window holds it."""
    model = random_gpt(GPTConfig(context, 1, 1, 4))
    tokens = np.random.default_rng(0).integers(0, V, 6 * context)
    at = 3 * context
    changed = tokens.copy()
    changed[at] = (changed[at] + 1) % V
    moved = np.flatnonzero(np.abs(model.score(changed) - model.score(tokens)) > 1e-5)
    assert moved[0] == at  # its own probability
    assert moved[-1] - at >= context // 2
    assert moved[-1] - at <= context


def test_slices_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by working in slices; the numbers are those of one piece."""
    model = random_gpt(GPTConfig(6, 1, 2, 8))
    documents = np.random.default_rng(0).integers(0, V, (3, 40))
    whole = model.score(documents)
    monkeypatch.setattr(network, "HIDDEN_TOKENS_AT_ONCE", 13)
    monkeypatch.setattr(network, "LOGITS_AT_ONCE", 3 * V)
    np.testing.assert_allclose(model.score(documents), whole, atol=1e-5)


def test_inference_leaves_the_mode_and_never_drops() -> None:
    model = random_gpt(GPTConfig(8, 1, 2, 8, dropout=0.9))
    tokens = np.arange(10)
    model.network.train()
    model.network.get_submodule("embedding").eval()
    modes = [module.training for module in model.network.modules()]
    scores = model.score(tokens)
    np.testing.assert_array_equal(model.score(tokens), scores)
    _, state = model.advance(model.start(), np.array([END]))
    assert [module.training for module in model.network.modules()] == modes
    with pytest.raises(UserError):
        model.advance(state, np.array([V]))
    assert [module.training for module in model.network.modules()] == modes

    window = torch.tensor([[END, 0, 1]])
    assert not torch.equal(model.network(window), model.network(window))  # training does drop
    assert model.network(window).requires_grad


def test_a_seed_is_all_that_chance_there_is() -> None:
    config = GPTConfig(8, 2, 2, 8)
    before = torch.get_rng_state()
    one, same, other = (GPT.initialise(config, V, END, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    for name, tensor in one.tensors().items():
        np.testing.assert_array_equal(tensor, same.tensors()[name])
    assert not np.array_equal(one.tensors()["embedding.tokens"], other.tensors()["embedding.tokens"])


def test_tensors_are_copies_and_tied_weights_are_there_once() -> None:
    model = GPT.initialise(GPTConfig(8, 1, 2, 8), V, END, 0)
    tensors = model.tensors()
    assert sum(tensor.size for tensor in tensors.values()) == model.n_parameters
    before = model.score(np.arange(5))
    for tensor in tensors.values():
        tensor[:] = 0
    np.testing.assert_array_equal(model.score(np.arange(5)), before)


def test_loaded_weights_are_trainable_and_do_not_share_memory() -> None:
    tensors = GPT.initialise(GPTConfig(8, 1, 2, 8), V, END, 0).tensors()
    model = GPT.from_tensors(GPTConfig(8, 1, 2, 8), V, END, tensors)
    model.network(torch.tensor([[END, 1]])).sum().backward()
    assert all(weight.grad is not None for weight in model.network.parameters())
    before = model.score(np.arange(5))
    tensors["embedding.tokens"][:] = 0
    np.testing.assert_array_equal(model.score(np.arange(5)), before)


@pytest.mark.parametrize("change", ["shape", "missing", "unknown"])
def test_weights_of_another_shape_are_the_users_mistake(change: str) -> None:
    tensors = GPT.initialise(GPTConfig(8, 1, 2, 8), V, END, 0).tensors()
    name = "blocks.0.attention.qkv.weight"
    if change == "shape":
        tensors[name] = tensors[name][:, :4]
    elif change == "missing":
        del tensors[name]
    else:
        name = "blocks.1.attention.qkv.weight"
        tensors[name] = tensors["blocks.0.attention.qkv.weight"]
    with pytest.raises(UserError, match=name):
        GPT.from_tensors(GPTConfig(8, 1, 2, 8), V, END, tensors)


def test_device_and_read_only_tokens() -> None:
    model = NeuralBigram.initialise(NeuralBigramConfig(), V, END, 0)
    assert model.to("cpu") is model
    assert model.device == torch.device("cpu")
    tokens = np.arange(5, dtype=np.uint16)
    tokens.setflags(write=False)
    assert model.score(tokens).shape == (5,)
    log_probs, _ = model.advance(model.start(5), tokens)
    assert log_probs.shape == (5, V)
