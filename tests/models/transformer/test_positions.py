"""Where a token stands: what attention can and cannot see without being told, and each way of telling it."""

from __future__ import annotations

import math

import pytest
import torch

from rung.models.transformer.decoder import GPT, GPTConfig
from rung.models.transformer.positions import Rotary, alibi_slopes, sinusoids
from tests.models.networks.test_network import random_gpt

SCHEMES = ("learned", "sinusoidal", "alibi", "rotary")


def swapped(config: GPTConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """The output at the fourth position of four tokens, and with the second and third of them swapped."""
    network = random_gpt(config).network
    with torch.no_grad():
        out = network(torch.tensor([[1, 2, 3, 4], [1, 3, 2, 4]]))[:, 3]
    return out[0], out[1]


def test_without_positions_attention_cannot_see_order() -> None:
    """x2 and x3 change places; x4' stays as it was."""
    straight, crossed = swapped(GPTConfig(4, 1, 2, 8, positions="none"))
    torch.testing.assert_close(straight, crossed)


def test_that_holds_for_a_head_that_is_worked_on_paper() -> None:
    """One head of one query over values: a weighted sum, whatever the order of its terms."""
    q = torch.tensor([1.0, 0.0])
    k = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]])
    v = torch.tensor([[1.0], [10.0], [100.0]])
    weights = torch.softmax(k @ q, dim=0)
    expected = (1 * math.exp(0) + 10 * math.exp(2) + 100 * math.exp(1)) / (1 + math.exp(2) + math.exp(1))
    assert (weights @ v).item() == pytest.approx(expected)
    order = [1, 0, 2]
    assert (torch.softmax(k[order] @ q, dim=0) @ v[order]).item() == pytest.approx(expected)


def test_a_second_masked_layer_sees_order_by_itself() -> None:
    """By then x2 and x3 have each seen another past: the mask is a positional signal (Haviv et al. 2022)."""
    straight, crossed = swapped(GPTConfig(4, 2, 2, 8, positions="none"))
    assert (straight - crossed).abs().max() > 1e-2


@pytest.mark.parametrize("scheme", SCHEMES)
def test_with_positions_it_can(scheme: str) -> None:
    straight, crossed = swapped(GPTConfig(4, 1, 2, 8, positions=scheme))
    assert (straight - crossed).abs().max() > 1e-3


@pytest.mark.parametrize("past", [0, 5])
def test_rotary_is_that_of_transformers(past: int) -> None:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    config = LlamaConfig(
        hidden_size=24, num_attention_heads=3, rope_parameters={"rope_type": "default", "rope_theta": 500.0}
    )
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(2, 3, 7, 8, generator=generator) for _ in range(2))
    positions = torch.arange(past, past + 7)[None]
    cos, sin = LlamaRotaryEmbedding(config)(q, positions)
    expected = apply_rotary_pos_emb(q, k, cos, sin)
    torch.testing.assert_close(Rotary(500.0)(q, k, past), expected, atol=1e-5, rtol=1e-5)


def test_rotary_on_paper() -> None:
    """D = 2: the pair (1, 0) at position t becomes (cos t, sin t)."""
    ones = torch.tensor([1.0, 0.0]).expand(1, 1, 4, 2)
    rotated, _ = Rotary(10_000.0)(ones, ones, 0)
    expected = torch.tensor([[math.cos(t), math.sin(t)] for t in range(4)])
    torch.testing.assert_close(rotated[0, 0], expected)


def test_rotary_products_know_only_how_far_apart_they_are() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 1, 1, 16, generator=generator) for _ in range(2))
    rotary = Rotary(100.0)

    def product(at_q: int, at_k: int) -> float:
        return (rotary(q, q, at_q)[0] * rotary(k, k, at_k)[0]).sum().item()

    assert product(9, 4) == pytest.approx(product(25, 20), abs=1e-4)
    assert product(9, 4) != pytest.approx(product(9, 5), abs=1e-2)


@pytest.mark.parametrize("n_head", [1, 2, 3, 4, 6, 8, 12, 16, 20, 25])
def test_alibi_falls_off_as_transformers_bloom(n_head: int) -> None:
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    theirs = build_alibi_tensor(torch.ones(1, 2), n_head, torch.float32)  # (H, 1, 2): at distances 0 and 1
    torch.testing.assert_close(torch.tensor(alibi_slopes(n_head)), theirs[:, 0, 1])


def test_alibi_slopes_of_the_paper() -> None:
    """Section 3: for 8 heads 1/2, 1/4, ... 1/256."""
    assert alibi_slopes(8) == [2.0**-i for i in range(1, 9)]


def test_alibi_attention_on_paper() -> None:
    """Equal scores, two heads: the weights fall by e^-slope a step back (slopes 1/16 and 1/256)."""
    from rung.models.transformer.attention import Attention

    attention = Attention(2, 2, 2, 0.0, False, slopes=alibi_slopes(2))
    with torch.no_grad():
        attention.qkv.weight.zero_()
        attention.qkv.weight[4:] = torch.eye(2)  # queries and keys 0; a head's value is its part of x
        attention.project.weight.copy_(torch.eye(2))
        x = torch.tensor([[[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]])
        out = attention(x)[0, 2]
    for head, slope in enumerate((1 / 16, 1 / 256)):
        weights = [math.exp(-slope * distance) for distance in (2, 1, 0)]
        assert out[head].item() == pytest.approx(weights[0] / sum(weights), rel=1e-5)


def test_sinusoids_are_those_of_the_formula() -> None:
    """PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i + 1) = cos of the same."""
    width = 6
    found = sinusoids(3, 4, torch.zeros(1, width))
    for row, position in enumerate(range(3, 7)):
        for i in range(width):
            angle = position / 10_000 ** (i // 2 * 2 / width)
            expected = math.sin(angle) if i % 2 == 0 else math.cos(angle)
            assert found[row, i].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("scheme", ["alibi", "rotary", "none"])
def test_what_tells_only_distance_gives_the_same_further_on(scheme: str) -> None:
    """The same tokens, later, and out of sight of what came before: the same distribution."""
    network = random_gpt(GPTConfig(12, 1, 2, 8, positions=scheme, local=3)).network
    with torch.no_grad():
        early = network(torch.tensor([[5, 6, 7]]))[0, -1]
        late = network(torch.tensor([[1, 1, 2, 9, 5, 6, 7]]))[0, -1]
    torch.testing.assert_close(early, late, atol=1e-4, rtol=1e-4)


def test_nothing_of_positions_is_stored_but_what_is_learned() -> None:
    learned = GPT.initialise(GPTConfig(16, 1, 2, 8), 11, 10, 0).n_parameters
    for scheme in ("sinusoidal", "alibi", "rotary", "none"):
        model = GPT.initialise(GPTConfig(16, 1, 2, 8, positions=scheme), 11, 10, 0)
        assert learned - model.n_parameters == 16 * 8
        assert sum(tensor.size for tensor in model.tensors().values()) == model.n_parameters
