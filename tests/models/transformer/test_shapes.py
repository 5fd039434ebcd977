"""Other shapes beside GPT-2's: each obeys the contract, and each part is what its definition says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rung.errors import UserError
from rung.models.transformer.attention import Attention
from rung.models.transformer.blocks import PostNormBlock
from rung.models.transformer.decoder import GPT, GPTConfig
from rung.models.transformer.feed_forward import FeedForward, SwiGLU, squared_relu
from rung.models.transformer.norms import rms_norm
from rung.models.transformer.positions import Rotary, apply_rotary
from rung.models.transformer.presets import PRESETS
from rung.testing import check_model
from tests.models.networks.test_network import random_gpt

ONE_BY_ONE: list[dict[str, Any]] = [
    {"norm": "rms"},
    {"norm_first": False},
    {"positions": "sinusoidal"},
    {"positions": "alibi"},
    {"positions": "rotary"},
    {"positions": "none"},
    {"feed_forward": "swiglu"},
    {"feed_forward": "relu2"},
    {"n_kv_head": 1},
    {"qk_norm": True},
    {"local": 2},
    {"stride": 2},
    {"attention": "linear"},
    {"preset": "rung", "ngrams": 0, "attention": "linear", "n_kv_head": 1},
    {"tied": False},
    {"n_hidden": 5},
    {"preset": "llama"},
    {"preset": "rung", "ngram_rows": 64},
    {"preset": "rung", "ngrams": 2, "ngram_rows": 64},
    {"preset": "rung", "ngrams": 9, "ngram_rows": 64},
    {"preset": "rung", "ngrams": 0},
]


@pytest.mark.parametrize("fields", ONE_BY_ONE, ids=str)
def test_contract(fields: dict[str, Any]) -> None:
    check_model(random_gpt(GPTConfig(5, 2, 2, 8, **fields)))


@given(
    context=st.integers(1, 7),
    n_layer=st.integers(1, 2),
    n_kv_head=st.integers(1, 2),
    group_size=st.integers(1, 3),
    half_head=st.integers(1, 2),
    bias=st.booleans(),
    norm=st.sampled_from(["layer", "rms"]),
    norm_first=st.booleans(),
    positions=st.sampled_from(["learned", "sinusoidal", "alibi", "rotary", "none"]),
    feed_forward=st.sampled_from(["gelu", "swiglu", "relu2"]),
    qk_norm=st.booleans(),
    local=st.none() | st.integers(1, 8),
    tied=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=15, deadline=None)
def test_contract_in_any_shape(
    context: int,
    n_layer: int,
    n_kv_head: int,
    group_size: int,
    half_head: int,
    bias: bool,
    norm: str,
    norm_first: bool,
    positions: str,
    feed_forward: str,
    qk_norm: bool,
    local: int | None,
    tied: bool,
    seed: int,
) -> None:
    n_head = n_kv_head * group_size
    config = GPTConfig(
        context,
        n_layer,
        n_head,
        n_head * 2 * half_head,
        dropout=0.5,
        bias=bias,
        norm=norm,
        norm_first=norm_first,
        positions=positions,
        feed_forward=feed_forward,
        n_kv_head=n_kv_head,
        qk_norm=qk_norm,
        local=local,
        tied=tied,
    )
    model = GPT.initialise(config, 9, 8, seed)
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.mul_(4)
    check_model(model, seed=seed, atol=2e-4)


@pytest.mark.parametrize("fields", ONE_BY_ONE, ids=str)
def test_the_first_loss_is_that_of_a_fair_die(fields: dict[str, Any]) -> None:
    model = GPT.initialise(GPTConfig(32, 3, 4, 64, **fields), 300, 299, 0)
    tokens = np.random.default_rng(0).integers(0, 300, (4, 32))
    assert -model.score(tokens).mean() == pytest.approx(math.log(300), rel=0.03)


@pytest.mark.parametrize("fields", [{}, *ONE_BY_ONE], ids=str)
def test_flops_are_those_torch_counts(fields: dict[str, Any]) -> None:
    """torch counts every matrix product of a forward and backward pass; the formula is to equal the count."""
    model = GPT.initialise(GPTConfig(16, 3, 2, 24, **fields), 40, 39, 0)
    tokens = torch.zeros(2, 16, dtype=torch.long)
    # Fused attention computes the scores twice, which is its own affair.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.network(tokens).sum().backward()
    assert model.flops_per_token() * tokens.numel() == counter.get_total_flops()


class TestAttention:
    """Against the sum that defines it, one query and one key at a time."""

    @pytest.mark.parametrize("n_kv_head", [1, 2, 4])
    @pytest.mark.parametrize("local", [None, 1, 3])
    def test_is_its_definition(self, n_kv_head: int, local: int | None) -> None:
        torch.manual_seed(0)
        norms = (torch.nn.RMSNorm(4, 1e-5), torch.nn.RMSNorm(4, 1e-5))
        attention = Attention(16, 4, n_kv_head, 0.0, True, norms=norms, rotary=Rotary(100.0), local=local)
        x = torch.randn(1, 6, 16)
        with torch.no_grad():
            for weight in attention.parameters():
                weight.normal_(0, 0.5)
            parts = attention.qkv(x)[0].split([16, 4 * n_kv_head, 4 * n_kv_head], dim=-1)
            expected = torch.zeros(6, 16)
            for head in range(4):
                shared = head * n_kv_head // 4
                q = norms[0](parts[0][:, 4 * head : 4 * head + 4])
                k = norms[1](parts[1][:, 4 * shared : 4 * shared + 4])
                v = parts[2][:, 4 * shared : 4 * shared + 4]
                q, k = (part[0, 0] for part in Rotary(100.0)(q[None, None], k[None, None], 0))
                for t in range(6):
                    first = 0 if local is None else max(0, t - local + 1)
                    scores = [(q[t] @ k[s] / math.sqrt(4)).item() for s in range(first, t + 1)]
                    weights = torch.softmax(torch.tensor(scores), dim=0)
                    expected[t, 4 * head : 4 * head + 4] = weights @ v[first : t + 1]
            torch.testing.assert_close(attention(x)[0], attention.project(expected), atol=1e-5, rtol=1e-5)

    def test_a_local_window_reaches_no_further(self) -> None:
        """Two layers of window 3 reach back 2 x 2 positions."""
        network = random_gpt(GPTConfig(10, 2, 2, 8, local=3)).network
        tokens = torch.zeros(1, 10, dtype=torch.long)
        with torch.no_grad():
            before = network(tokens)
            tokens[0, 2] = 5
            moved = (network(tokens) - before).abs().amax(-1)[0] > 1e-5
        assert moved.nonzero()[:, 0].tolist() == [2, 3, 4, 5, 6]


def test_swiglu_on_paper() -> None:
    """C = hidden = 1: silu(2 * 3) * (2 * 5) * 7."""
    part = SwiGLU(1, 1, 0.0, False)
    with torch.no_grad():
        part.gate.weight.fill_(3)
        part.expand.weight.fill_(5)
        part.project.weight.fill_(7)
        out = part(torch.full((1, 1, 1), 2.0)).item()
    assert out == pytest.approx(6 / (1 + math.exp(-6)) * 10 * 7)


def test_squared_relu_on_paper() -> None:
    part = FeedForward(1, 1, 0.0, False, squared_relu)
    with torch.no_grad():
        part.expand.weight.fill_(3)
        part.project.weight.fill_(7)
        out = part(torch.tensor([[[2.0], [-2.0]]])).flatten().tolist()
    assert out == [36 * 7, 0]


def test_rms_norm_on_paper() -> None:
    """(3, 4) has a mean square of 12.5."""
    norm = random_gpt(GPTConfig(4, 1, 1, 2, norm="rms")).network.norm
    with torch.no_grad():
        norm.get_parameter("weight").fill_(1)
        out = norm(torch.tensor([3.0, 4.0]))
    torch.testing.assert_close(out, torch.tensor([3.0, 4.0]) / math.sqrt(12.5 + 1e-5))


class TestGradientsWrittenOut:
    """Against finite differences, and against torch's own function of the same name."""

    def test_squared_relu(self) -> None:
        x = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        assert torch.autograd.gradcheck(squared_relu, x.requires_grad_())

    def test_apply_rotary(self) -> None:
        x = torch.randn(2, 3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        angles = torch.outer(torch.arange(4.0), torch.tensor([1.0, 0.5, 0.1])).double()
        x = x.transpose(0, 1).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: apply_rotary(x, angles.cos(), angles.sin()), x)

    @pytest.mark.parametrize("shape", [(5,), (2, 3, 5), (2, 3, 4, 5)])
    def test_rms_norm(self, shape: tuple[int, ...]) -> None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
        weight = torch.randn(5, dtype=torch.float64, generator=generator).requires_grad_()
        assert torch.autograd.gradcheck(lambda x, w: rms_norm(x, w, 1e-3), (x, weight))
        torch.testing.assert_close(rms_norm(x, weight, 1e-3), F.rms_norm(x, (5,), weight, 1e-3))

    def test_rms_norm_of_part_of_an_array(self) -> None:
        x = torch.randn(2, 3, 9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        weight = torch.ones(5, dtype=torch.float64)
        x = x.requires_grad_()
        assert torch.autograd.gradcheck(lambda x: rms_norm(x.split(4, dim=2)[0], weight, 1e-3), x)


def test_post_norm_output_is_normed() -> None:
    feed_forward = FeedForward(8, 16, 0.0, True, squared_relu)
    block = PostNormBlock(
        torch.nn.LayerNorm(8), Attention(8, 2, 2, 0.0, True), torch.nn.LayerNorm(8), feed_forward
    )
    out = block(torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(out.mean(-1), torch.zeros(2, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(-1, correction=0), torch.ones(2, 5), atol=1e-3, rtol=0)


def test_a_free_head_learns_apart_from_the_embedding() -> None:
    tied = GPT.initialise(GPTConfig(4, 1, 1, 4), 11, 10, 0)
    free = GPT.initialise(GPTConfig(4, 1, 1, 4, tied=False), 11, 10, 0)
    assert free.n_parameters - tied.n_parameters == 11 * 4
    loss = F.cross_entropy(free.network(torch.tensor([[1, 2]]))[0], torch.tensor([3, 4]))
    loss.backward()
    gradient = free.network.get_parameter("embedding.tokens").grad
    assert gradient is not None
    assert (gradient.abs().sum(-1) > 0).nonzero().flatten().tolist() == [1, 2]  # only what was read


@pytest.mark.parametrize(
    "fields", [{}, {"norm_first": False}, {"preset": "llama", "n_kv_head": 1, "qk_norm": True}], ids=str
)
def test_a_little_training_overfits_one_batch(fields: dict[str, Any]) -> None:
    model = GPT.initialise(GPTConfig(8, 1, 2, 16, dropout=0.0, **fields), 11, 10, 0)
    document = np.array([3, 1, 4, 1, 5, 9, 2, 6])
    tokens = torch.tensor([[10, *document]])
    optimizer = torch.optim.AdamW(model.network.parameters(), lr=0.01)
    for _ in range(80):
        loss = F.cross_entropy(model.network(tokens[:, :-1])[0], tokens[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert -model.score(document).mean() < 0.05


class TestConfig:
    @pytest.mark.parametrize(
        ("fields", "named"),
        [
            ({"norm": "lyer"}, "--norm 'lyer' is unknown; did you mean 'layer'? (known: layer, rms)"),
            ({"positions": "rotery"}, "did you mean 'rotary'?"),
            ({"feed_forward": "swish"}, "--feed-forward 'swish' is unknown"),
            ({"preset": "gpt2-midium"}, "did you mean 'gpt2-medium'?"),
            ({"n_head": 4, "n_kv_head": 3}, "--n-kv-head 3 does not divide --n-head 4"),
            ({"n_head": 2, "n_embd": 6, "positions": "rotary"}, "a head of 3 is odd"),
            ({"local": 0}, "--local 0 is not allowed"),
            ({"n_hidden": -1}, "--n-hidden -1"),
            ({"tied": "no"}, "--tied 'no' is not allowed: give true or false"),
            ({"norm_eps": 0}, "--norm-eps 0 is not allowed: give a number above 0"),
            ({"rotary_base": math.inf}, "--rotary-base inf"),
            ({"norm": 3}, "--norm 3 is unknown"),
        ],
    )
    def test_a_bad_value_is_named(self, fields: dict[str, Any], named: str) -> None:
        with pytest.raises(UserError) as raised:
            GPTConfig(**fields)
        assert named in str(raised.value)
        assert "\n" not in str(raised.value)

    def test_what_an_older_run_says_is_gpt2s_shape(self) -> None:
        """Runs from before there were other shapes name six fields."""
        old = GPTConfig(context=8, n_layer=2, n_head=2, n_embd=8, dropout=0.0, bias=True)
        model = GPT.initialise(old, 11, 10, 0)
        assert set(model.tensors()) == set(GPT.initialise(old.resolved(), 11, 10, 0).tensors())
        assert old.resolved().positions == "learned"

    def test_explicit_choices_go_before_the_preset(self) -> None:
        config = GPTConfig(preset="gpt1", n_layer=2, dropout=0.0, norm_first=True).resolved()
        assert (config.n_layer, config.dropout, config.norm_first) == (2, 0.0, True)
        assert (config.context, config.n_head, config.n_embd) == (512, 12, 768)
        again = GPTConfig(preset="llama", norm="layer", bias=True, tied=True).resolved()
        assert (again.norm, again.bias, again.tied, again.positions) == ("layer", True, True, "rotary")

    def test_the_manner_of_llama_in_a_size_that_suits_the_data(self) -> None:
        config = GPT.resolve_config(
            GPTConfig(preset="llama"), vocab_size=300, train_tokens=10**6, longest_document=10**6
        )
        assert (config.context, config.n_layer, config.n_head, config.n_embd) == (64, 4, 4, 128)
        assert (config.norm, config.positions, config.feed_forward) == ("rms", "rotary", "swiglu")

    def test_a_gated_feed_forward_has_as_many_weights_as_a_plain_one(self) -> None:
        plain = GPT.initialise(GPTConfig(8, 1, 2, 48, bias=False), 11, 10, 0)
        gated = GPT.initialise(GPTConfig(8, 1, 2, 48, bias=False, feed_forward="swiglu"), 11, 10, 0)
        assert gated.n_parameters == plain.n_parameters


def parameters(network: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


class TestPresets:
    """On the meta device: no memory, exact counts."""

    @pytest.mark.parametrize(
        ("name", "vocab_size", "published"),
        [
            ("gpt1", 40_478, 116_534_784),
            ("gpt2", 50_257, 124_439_808),
            ("gpt2-medium", 50_257, 354_823_168),
            ("gpt2-large", 50_257, 774_030_080),
            ("gpt2-xl", 50_257, 1_557_611_200),
            ("tinyllama", 32_000, 1_100_048_384),
            ("llama-7b", 32_000, 6_738_415_616),
            ("llama-2-70b", 32_000, 68_976_648_192),
            ("llama-3-8b", 128_256, 8_030_261_248),
        ],
    )
    def test_has_the_published_parameters(self, name: str, vocab_size: int, published: int) -> None:
        with torch.device("meta"):
            assert parameters(GPT.build(GPTConfig(preset=name), vocab_size)) == published

    def test_every_sized_preset_is_counted_above(self) -> None:
        marks = getattr(TestPresets.test_has_the_published_parameters, "pytestmark")  # noqa: B009
        counted = {case[0] for case in marks[0].args[1]}
        assert set(PRESETS) - counted == {"llama", "plain", "rung"}

    def test_gpt1_part_by_part(self) -> None:
        """The sums of the notes, worked out: embeddings 31 M and 0.4 M, attention, feed-forward, norms."""
        with torch.device("meta"):
            network = GPT.build(GPTConfig(preset="gpt1"), 40_478)
        assert network.get_parameter("embedding.tokens").numel() == 40_478 * 768 == 31_087_104
        assert network.get_parameter("embedding.positions").numel() == 512 * 768 == 393_216
        blocks = network.get_submodule("blocks")
        attention = sum(parameters(block.get_submodule("attention")) for block in blocks.children())
        feed_forward = sum(parameters(block.get_submodule("feed_forward")) for block in blocks.children())
        assert attention == 12 * (4 * 768 * 768 + 4 * 768) == 28_348_416
        assert feed_forward == 12 * (2 * 768 * 3072 + 3072 + 768) == 56_669_184
        assert parameters(network.norm) == 0

    def test_as_many_as_in_transformers(self) -> None:
        from transformers import (
            GPT2Config,
            GPT2LMHeadModel,
            LlamaConfig,
            LlamaForCausalLM,
            OpenAIGPTConfig,
            OpenAIGPTLMHeadModel,
        )

        with torch.device("meta"):
            theirs = {
                "gpt1": OpenAIGPTLMHeadModel(OpenAIGPTConfig()),
                "gpt2": GPT2LMHeadModel(GPT2Config()),
                "llama-7b": LlamaForCausalLM(LlamaConfig(num_hidden_layers=2)),
            }
            for name, network in theirs.items():
                n_layer = 2 if name == "llama-7b" else None
                ours = GPT.build(GPTConfig(preset=name, n_layer=n_layer), network.config.vocab_size)
                assert parameters(ours) == parameters(network)
