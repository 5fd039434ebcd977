"""GPT-2's shape: the contract, its start, its cost, its bad input. Its logits are compared in tests/exchange."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.errors import UserError
from rung.models.transformer.decoder import GPT, GPTConfig
from rung.testing import check_model
from tests.models.networks.test_network import END, V, random_gpt


@pytest.mark.parametrize("context", [1, 2, 3, 5, 8])
def test_contract(context: int) -> None:
    check_model(random_gpt(GPTConfig(context, 2, 2, 8)))


@given(
    context=st.integers(1, 9),
    n_layer=st.integers(1, 3),
    n_head=st.integers(1, 3),
    head_size=st.integers(1, 5),
    bias=st.booleans(),
    vocab_size=st.integers(2, 30),
    seed=st.integers(0, 1000),
)
@settings(max_examples=10, deadline=None)
def test_contract_in_any_shape(
    context: int, n_layer: int, n_head: int, head_size: int, bias: bool, vocab_size: int, seed: int
) -> None:
    config = GPTConfig(context, n_layer, n_head, n_head * head_size, dropout=0.5, bias=bias)
    model = GPT.initialise(config, vocab_size, seed % vocab_size, seed)
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.mul_(5)
    check_model(model, seed=seed)


@pytest.mark.parametrize("seed", range(3))
def test_the_first_loss_is_that_of_a_fair_die(seed: int) -> None:
    model = GPT.initialise(GPTConfig(32, 4, 4, 64), 300, 299, seed)
    tokens = np.random.default_rng(seed).integers(0, 300, (4, 64))
    assert -model.score(tokens).mean() == pytest.approx(math.log(300), rel=0.02)


def test_initial_spread_is_gpt2s() -> None:
    tensors = GPT.initialise(GPTConfig(64, 8, 4, 128), 500, 499, 0).tensors()
    assert tensors["embedding.tokens"].std() == pytest.approx(0.02, rel=0.05)
    assert tensors["embedding.positions"].std() == pytest.approx(0.02, rel=0.05)
    assert tensors["blocks.3.attention.qkv.weight"].std() == pytest.approx(0.02, rel=0.05)
    assert tensors["blocks.3.feed_forward.expand.weight"].std() == pytest.approx(0.02, rel=0.05)
    # 8 layers write to the stream 16 times: 0.02 / sqrt(16)
    assert tensors["blocks.3.attention.project.weight"].std() == pytest.approx(0.005, rel=0.05)
    assert tensors["blocks.3.feed_forward.project.weight"].std() == pytest.approx(0.005, rel=0.05)
    assert (tensors["blocks.3.norm_1.weight"] == 1).all()
    assert all((tensor == 0).all() for name, tensor in tensors.items() if name.endswith("bias"))


def test_no_gradient_flows_from_the_past_to_the_future() -> None:
    network = random_gpt(GPTConfig(8, 2, 2, 8)).network
    seen: list[torch.Tensor] = []

    def keep(_module: object, _inputs: object, output: torch.Tensor) -> None:
        output.retain_grad()
        seen.append(output)

    network.embedding.register_forward_hook(keep)
    network(torch.arange(8)[None])[0, 3].square().sum().backward()
    gradient = seen[0].grad
    assert gradient is not None
    assert (gradient[0, :4].abs().sum(-1) > 0).all()
    assert (gradient[0, 4:] == 0).all()


def test_branches_share_a_past_and_nothing_else() -> None:
    """Three continuations of one state, interleaved: each equals its own history walked from the start."""
    model = random_gpt(GPTConfig(7, 2, 2, 8))
    rng = np.random.default_rng(0)
    _, root = model.advance(model.start(2), np.full((2, 1), END))
    branches = [(np.full((2, 1), END), root)] * 3
    for _ in range(9):
        for i, (history, state) in enumerate(branches):
            tokens = rng.integers(0, V, 2)
            history = np.concatenate([history, tokens[:, None]], axis=1)
            log_probs, state = model.advance(state, tokens)
            np.testing.assert_allclose(log_probs, model.advance(model.start(2), history)[0], atol=1e-4)
            branches[i] = (history, state)


class TestConfig:
    @pytest.mark.parametrize(
        ("fields", "named"),
        [
            ({"n_head": 3, "n_embd": 128}, "--n-head 3 does not divide --n-embd 128"),
            ({"context": 0}, "--context 0"),
            ({"n_layer": -1}, "--n-layer -1"),
            ({"n_embd": 12.5}, "--n-embd 12.5"),
            ({"n_head": True}, "--n-head True"),
            ({"dropout": 1.0}, "--dropout 1.0"),
            ({"dropout": -0.1}, "--dropout -0.1"),
            ({"dropout": math.nan}, "--dropout nan"),
            ({"bias": "yes"}, "--bias 'yes'"),
        ],
    )
    def test_a_bad_value_is_named(self, fields: dict, named: str) -> None:
        with pytest.raises(UserError) as raised:
            GPTConfig(**fields)
        assert named in str(raised.value)
        assert "\n" not in str(raised.value)

    def test_the_default_sizes_are_nanogpts_for_a_cpu(self) -> None:
        data = {"vocab_size": 300, "train_tokens": 10**6, "longest_document": 10**6}
        plain = GPT.resolve_config(GPTConfig(preset="plain"), **data)
        assert plain == GPTConfig(64, 4, 4, 128, preset="plain").resolved()
        default = GPT.resolve_config(GPTConfig(), **data)
        beside = {"preset": "rung", "ngram_rows": 32_768, "ngram_dropout": default.ngram_dropout}
        assert default == GPTConfig(64, 2, 4, 128, **beside).resolved()
        large = GPT.resolve_config(GPTConfig(size="large", n_head=2), **data)
        assert (large.n_layer, large.n_head, large.n_embd) == (4, 2, 128)

    def test_a_choice_that_the_default_does_not_go_with_takes_its_place(self) -> None:
        data = {"vocab_size": 9, "train_tokens": 100, "longest_document": 50}
        assert GPT.resolve_config(GPTConfig(positions="learned"), **data).ngrams == 0
        assert GPT.resolve_config(GPTConfig(n_head=4, n_embd=20), **data).positions == "alibi"
        with pytest.raises(UserError, match="rotary turns pairs"):
            GPT.resolve_config(GPTConfig(n_head=4, n_embd=20, preset="llama"), **data)

    def test_short_documents_need_no_long_context(self) -> None:
        """15 letters and the mark: 16 predictions, from 16 inputs."""
        config = GPT.resolve_config(GPTConfig(), vocab_size=300, train_tokens=10**5, longest_document=16)
        assert config.context == 16

    def test_what_the_user_chose_stays(self) -> None:
        chosen = GPTConfig(10, 2, 3, 12, dropout=0.1, bias=False)
        configured = GPT.resolve_config(chosen, vocab_size=9, train_tokens=100, longest_document=5)
        assert configured == replace(chosen, preset="rung", ngram_rows=1024, ngram_dropout=0.75).resolved()
        assert GPT.resolve_config(
            replace(chosen, ngram_dropout=0.0), vocab_size=9, train_tokens=100, longest_document=5
        ) == replace(configured, ngram_dropout=0.0)

    @given(n_head=st.none() | st.integers(1, 12), n_embd=st.none() | st.integers(1, 300))
    @settings(max_examples=50, deadline=None)
    def test_what_is_left_open_fits_what_is_chosen(self, n_head: int | None, n_embd: int | None) -> None:
        if n_head is not None and n_embd is not None:
            n_embd *= n_head
        config = GPT.resolve_config(
            GPTConfig(n_head=n_head, n_embd=n_embd), vocab_size=9, train_tokens=100, longest_document=5
        )
        assert config.n_head is not None
        assert config.n_embd is not None
        assert config.n_embd % config.n_head == 0
        assert n_head in (None, config.n_head)
        assert n_embd in (None, config.n_embd)

    def test_a_context_longer_than_the_text(self) -> None:
        with pytest.raises(UserError, match="--context 500 is longer than the training text, 20 tokens"):
            GPT.resolve_config(GPTConfig(context=500), vocab_size=9, train_tokens=20, longest_document=20)

    def test_an_open_shape_is_no_model(self) -> None:
        with pytest.raises(ValueError, match="resolve_config"):
            GPT.initialise(GPTConfig(), V, END, 0)
