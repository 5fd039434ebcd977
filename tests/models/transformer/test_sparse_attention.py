"""Attention that sees less than everything: the dense one under its mask, for as much as is seen."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from rung.errors import UserError
from rung.models.transformer import linear_attention as linear
from rung.models.transformer import sparse_attention as sparse
from rung.models.transformer.attention import Attention
from rung.models.transformer.decoder import GPT, GPTConfig
from rung.models.transformer.inference import kv_cache
from rung.models.transformer.inference.kv_cache import Window
from rung.models.transformer.inference.linear_state import LinearState
from rung.models.transformer.positions import Rotary, alibi_slopes
from rung.testing import check_model
from tests.models.networks.test_network import random_gpt


def dense(q: Tensor, k: Tensor, v: Tensor, visible: Tensor, slopes: list[float] | None) -> Tensor:
    """softmax(q k / sqrt(D) - slope distance) v over what is visible (T, n)."""
    known = k.shape[2] - q.shape[2]
    distance = torch.arange(known, k.shape[2])[:, None] - torch.arange(k.shape[2])
    scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])
    if slopes is not None:
        scores = scores - torch.tensor(slopes)[:, None, None] * distance
    return scores.masked_fill(~visible, -torch.inf).softmax(-1) @ v


@given(
    length=st.integers(1, 40),
    known=st.integers(0, 40),
    reach=st.integers(1, 45),
    alibi=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_local_and_strided_are_the_dense_one_under_their_mask(
    length: int, known: int, reach: int, alibi: bool, seed: int
) -> None:
    """What comes of it, and the slope at all that goes in."""
    generator = torch.Generator().manual_seed(seed)
    slopes = alibi_slopes(2) if alibi else None
    q, k, v = (
        torch.randn(2, 2, n, 4, generator=generator, dtype=torch.float64).requires_grad_()
        for n in (length, known + length, known + length)
    )
    distance = torch.arange(known, known + length)[:, None] - torch.arange(known + length)
    near = (distance >= 0) & (distance < reach)
    apart = (distance >= 0) & (distance % reach == 0)
    for found, visible in (
        (sparse.local_attention(q, k, v, reach, slopes), near),
        (sparse.strided_attention(q, k, v, reach, slopes), apart),
    ):
        expected = dense(q, k, v, visible, slopes)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
        weights = torch.randn(found.shape, generator=generator, dtype=torch.float64)
        ours, theirs = (torch.autograd.grad((y * weights).sum(), (q, k, v)) for y in (found, expected))
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_who_sees_whom_on_paper() -> None:
    """Window 2, stride 3, position 7: the first head sees 6 and 7, the second 1, 4 and 7; values are one-hot."""
    attention = Attention(16, 2, 2, 0.0, False, local=2, stride=3)
    with torch.no_grad():
        attention.qkv.weight.zero_()
        attention.qkv.weight[32:] = torch.eye(16)
        attention.project.weight.copy_(torch.eye(16))
        x = torch.cat([torch.eye(8), torch.eye(8)], dim=1)[None]
        out = attention(x)[0, 7]
    third = 1 / 3
    expected = [0, 0, 0, 0, 0, 0, 0.5, 0.5, 0, third, 0, 0, third, 0, 0, third]
    torch.testing.assert_close(out, torch.tensor(expected, dtype=torch.float32))


class TestLinear:
    @given(
        length=st.integers(1, 70),
        n_kv_head=st.integers(1, 2),
        group_size=st.integers(1, 2),
        rotary=st.booleans(),
        seed=st.integers(0, 99),
    )
    @settings(max_examples=25, deadline=None)
    def test_is_its_definition(
        self, length: int, n_kv_head: int, group_size: int, rotary: bool, seed: int
    ) -> None:
        """Every query with every key before it; and the same in two pieces, the second behind the first's sums."""
        generator = torch.Generator().manual_seed(seed)
        n_head = n_kv_head * group_size
        q, k, v = (torch.randn(2, n, length, 6, generator=generator) for n in (n_head, n_kv_head, n_kv_head))
        turns = Rotary(50.0).cos_sin(0, length, 6, q) if rotary else None
        features = F.elu(q) + 1, (F.elu(k) + 1).repeat_interleave(group_size, dim=1)
        turned = Rotary(50.0)(*features) if rotary else features
        above = (turned[0] @ turned[1].transpose(2, 3)).tril()
        below = (features[0] @ features[1].transpose(2, 3)).tril().sum(-1, keepdim=True)
        expected = above @ v.repeat_interleave(group_size, dim=1) / below
        torch.testing.assert_close(linear.linear_attention(q, k, v, turns), expected, atol=1e-4, rtol=1e-4)
        cut = length // 2
        sums = torch.zeros(2, n_kv_head, 6, 7)
        for begin, stop in ((0, cut), (cut, length)):
            if begin == stop:
                continue
            part = [x[:, :, begin:stop] for x in (q, k, v)]
            own = None if turns is None else (turns[0][begin:stop], turns[1][begin:stop])
            found = linear.linear_attention(part[0], part[1], part[2], own, sums)
            torch.testing.assert_close(found, expected[:, :, begin:stop], atol=1e-4, rtol=1e-4)
            linear.add_to_sums(sums, part[1], part[2], own)

    def test_on_paper(self) -> None:
        """D = 1, f(0) = 1, f(1) = 2: the second of two has weights 2 x 1 and 2 x 2."""
        q, k, v = (torch.tensor(x)[None, None, :, None] for x in ([0.0, 1.0], [0.0, 1.0], [3.0, 9.0]))
        found = linear.linear_attention(q, k, v, None)[0, 0, :, 0]
        torch.testing.assert_close(found, torch.tensor([3.0, (2 * 3 + 4 * 9) / 6]), atol=1e-5, rtol=1e-5)

    def test_a_state_is_as_large_after_any_number_of_inputs(self) -> None:
        model = random_gpt(GPTConfig(64, 2, 2, 8, attention="linear"))
        sizes = set()
        for length in (1, 3, 64, 200):
            _, state = model.advance(model.start(), np.ones((1, length), np.int64))
            assert isinstance(state, LinearState)
            sizes.add(state.sums.nbytes)
        assert sizes == {4 * 2 * 2 * 4 * 5}  # float32, layers, heads, D, D + 1


SPARSE: tuple[dict[str, Any], ...] = (
    {"local": 4},
    {"local": 3, "positions": "alibi"},
    {"local": 1, "positions": "rotary", "n_kv_head": 2},
    {"local": 4, "stride": 3, "positions": "rotary", "n_kv_head": 2},
    {"stride": 5, "positions": "alibi"},
    {"preset": "rung", "ngram_rows": 64, "local": 2},
    {"preset": "rung", "ngram_rows": 64, "attention": "linear"},
)


@pytest.mark.parametrize("fields", SPARSE, ids=str)
def test_the_contract_where_texts_are_longer_than_blocks_and_caches(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    """Blocks, chunks and caches of a few inputs, so that short texts fill many."""
    monkeypatch.setattr(sparse, "SMALLEST_BLOCK", 2)
    monkeypatch.setattr(sparse, "BLOCK_COSTS", -8)
    monkeypatch.setattr(kv_cache, "ROOM_AHEAD", 3)
    monkeypatch.setattr(linear, "CHUNK", 3)
    model = random_gpt(GPTConfig(19, 2, 4, 16, **fields))
    check_model(model)
    inputs = np.random.default_rng(0).integers(0, model.vocab_size, (2, 19))
    with torch.no_grad():
        expected = model.network(torch.from_numpy(inputs)).log_softmax(-1).numpy()
    for cuts in ([0, 19], [0, 7, 8, 19], [*range(20)]):
        state = model.start(2)
        for begin, stop in pairwise(cuts):
            every, states = model.advance_all(state, inputs[:, begin:stop])
            np.testing.assert_allclose(every, expected[:, begin:stop], atol=1e-4)
            state = states[-1]


def test_a_local_window_keeps_no_more_than_it_sees() -> None:
    """However long the context: the window's keys, and room for some steps more."""
    model = random_gpt(GPTConfig(1000, 2, 2, 8, local=8))
    _, state = model.advance(model.start(), np.ones((1, 700), np.int64))
    assert isinstance(state, Window)
    assert state.cache.stacked.shape[4] == 7 + kv_cache.ROOM_AHEAD
    assert state.cache.end >= 700


class Largest(TorchDispatchMode):
    """The most numbers in one tensor that was made."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for made in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(made, Tensor):
                self.numel = max(self.numel, made.untyped_storage().nbytes() // made.element_size())
        return out


@pytest.mark.parametrize("fields", [{"local": 16}, {"local": 16, "stride": 16}, {"linear": True}], ids=str)
def test_nothing_grows_with_the_square_of_the_length(fields: dict[str, Any]) -> None:
    """No tensor of a step, forward or backward, is more than four times as large for four times the inputs; a mask
    of all pairs would be sixteen times."""
    attention = Attention(8, 2, 2, 0.0, False, **fields)
    largest = []
    for length in (1024, 4096):
        with Largest() as seen:
            attention(torch.randn(1, length, 8)).sum().backward()
        largest.append(seen.numel)
    assert largest[1] <= 4 * largest[0]
    assert largest[1] < 4096**2 / 16


@pytest.mark.parametrize(
    "fields", [{"local": 16}, {"local": 16, "stride": 24}, {"attention": "linear", "n_kv_head": 1}], ids=str
)
def test_flops_in_blocks_and_chunks_are_those_torch_counts(fields: dict[str, Any]) -> None:
    model = GPT.initialise(GPTConfig(200, 2, 2, 8, **fields), 10, 9, 0)
    tokens = torch.zeros(1, 200, dtype=torch.long)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.network(tokens).sum().backward()
    assert model.flops_per_token() * 200 == pytest.approx(counter.get_total_flops(), rel=1e-12)
    full = GPT.initialise(GPTConfig(200, 2, 2, 8), 10, 9, 0)
    assert model.flops_per_token() < full.flops_per_token()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"attention": "linear", "local": 4}, "--local 4 does not go with --attention linear"),
        ({"attention": "linear", "stride": 4}, "--stride 4 does not go with --attention linear"),
        ({"attention": "linear", "positions": "alibi"}, "--positions alibi does not go with"),
        ({"attention": "liner"}, "did you mean 'linear'?"),
        ({"stride": 4, "n_head": 1}, "--stride 4 does not go with --n-head 1"),
        ({"stride": 0}, "--stride 0 is not allowed"),
    ],
)
def test_what_does_not_go_together_is_said_in_a_line(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError) as raised:
        GPTConfig(**fields)
    assert named in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_stride_alone_has_a_window_as_wide() -> None:
    assert GPTConfig(stride=8).resolved().local == 8
    assert GPTConfig(stride=8, local=3).resolved().local == 3
