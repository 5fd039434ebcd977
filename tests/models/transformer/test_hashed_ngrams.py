"""Rows of hashed n-grams, against a slow twin, torch's Adagrad and arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rung.errors import UserError
from rung.models.transformer.decoder import GPT, GPTConfig
from rung.models.transformer.hashed_ngrams import (
    HashedNgrams,
    NgramEmbedding,
    default_ngram_dropout,
    default_ngram_rows,
)
from rung.training.optimizers import make_optimizer
from rung.training.row_adagrad import RowAdagrad


@settings(deadline=None, max_examples=30)
@given(
    max_n=st.integers(2, 6),
    length=st.integers(1, 12),
    past=st.integers(0, 11),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_row_is_found_by_its_ngram_alone(max_n: int, length: int, past: int, seed: int):
    """Two positions have the same row of an order when their n-grams are equal, window's edge included; with this many
    rows, hardly ever otherwise."""
    past = min(past, length - 1)
    tokens = torch.from_numpy(np.random.default_rng(seed).integers(0, 3, (2, length)))
    row_ids = HashedNgrams(max_n, 1 << 20, 1).row_ids(tokens, past)
    assert row_ids.shape == (2, length - past, max_n - 1)
    rows: dict[tuple[int, ...], int] = {}
    for row in range(2):
        for t in range(past, length):
            for n in range(2, max_n + 1):
                gram = (n, *(int(tokens[row, i]) if i >= 0 else -1 for i in range(t - n + 1, t + 1)))
                row_id = int(row_ids[row, t - past, n - 2])
                assert (n - 2) << 20 <= row_id < (n - 1) << 20
                assert rows.setdefault(gram, row_id) == row_id
    assert len(set(rows.values())) == len(rows)


def test_hashes_spread_as_evenly_as_chance():
    """60,025 pairs into 65,536 rows: chance leaves 65,536 (1 - 1/65,536)^60,025 of them empty, give or take 120."""
    pairs = torch.cartesian_prod(torch.arange(245), torch.arange(245))
    used = HashedNgrams(2, 1 << 16, 1).row_ids(pairs)[:, 1].unique().numel()
    expected = (1 << 16) * (1 - (1 - 2**-16) ** len(pairs))
    assert abs(used - expected) < 4 * 120


def test_the_sum_and_its_gradient_are_those_of_plain_lookups():
    torch.manual_seed(0)
    part = HashedNgrams(4, 64, 5)
    nn.init.normal_(part.table)
    tokens = torch.randint(0, 7, (3, 9))
    weights = torch.randn(3, 9, 5)
    (part(tokens) * weights).sum().backward()
    table = part.table.detach().clone().requires_grad_()
    slow = F.embedding(part.row_ids(tokens), table).sum(2)
    (slow * weights).sum().backward()
    torch.testing.assert_close(part(tokens), slow)
    assert part.table.grad is not None
    assert part.table.grad.is_sparse
    torch.testing.assert_close(part.table.grad.to_dense(), table.grad)


def test_rows_are_dropped_in_training_only_and_their_mean_stays():
    torch.manual_seed(0)
    part = HashedNgrams(3, 64, 2, dropout=0.25)
    part.dropout_active = True
    nn.init.normal_(part.table)
    tokens = torch.randint(0, 7, (1, 5))
    samples = torch.stack([part(tokens) for _ in range(4000)]).detach()
    part.eval()
    undropped = part(tokens).detach()
    assert torch.equal(undropped, part(tokens))
    # Of two rows, each kept three times in four and enlarged by 4/3: a variance of (r1^2 + r2^2) / 3.
    spread = (F.embedding(part.row_ids(tokens), part.table).square().sum(2) / 3).sqrt().detach()
    assert ((samples.mean(0) - undropped).abs() < 5 * spread / 4000**0.5 + 1e-6).all()
    torch.testing.assert_close(samples.std(0), spread, rtol=0.1, atol=1e-3)


def test_rows_of_one_number_go_as_torchs_adagrad_moves_them():
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(6, 1))
    theirs = nn.Parameter(ours.detach().clone())
    pair = RowAdagrad([ours], lr=0.1), torch.optim.Adagrad([theirs], lr=0.1)
    for _ in range(20):
        rows = torch.randint(0, 6, (4,))
        weights = torch.randn(4, 1)
        for table, optimizer in zip((ours, theirs), pair, strict=True):
            optimizer.zero_grad()
            (F.embedding(rows, table, sparse=table is ours) * weights).sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_a_step_moves_the_rows_that_were_met_and_no_others():
    config = GPTConfig(8, 1, 2, 16, preset="rung", ngram_rows=64, ngram_dropout=0.0)
    model = GPT.initialise(config, 9, 8, seed=0)
    embedding = model.network.embedding
    assert isinstance(embedding, NgramEmbedding)
    optimizer = make_optimizer("adamw", model.network, lr=0.1, weight_decay=0.5, beta2=0.99)
    tokens = torch.randint(0, 9, (2, 8))
    # Logits are zero to the tables while the blocks write nothing and all tables are, but the head reads them.
    for _ in range(2):
        optimizer.zero_grad()
        model.network.loss(tokens, tokens.roll(-1, 1)).backward()
        optimizer.step()
    moved = embedding.ngrams.table.detach().abs().sum(1).nonzero().flatten()
    assert set(moved.tolist()) == set(embedding.ngrams.row_ids(tokens).flatten().tolist())


@pytest.mark.parametrize("vocab_size", [9, 245])
def test_the_first_loss_is_that_of_an_even_guess(vocab_size: int):
    model = GPT.initialise(
        GPTConfig(16, 2, 2, 32, preset="rung", ngram_rows=64), vocab_size, vocab_size - 1, 0
    )
    tokens = np.random.default_rng(0).integers(0, vocab_size, 200)
    assert -model.score(tokens).mean() == pytest.approx(math.log(vocab_size), rel=0.05)


def test_rows_grow_with_the_text_and_stay_a_power_of_two():
    assert [default_ngram_rows(n) for n in (1, 16_384, 262_144, 10**9)] == [1024, 2048, 32_768, 32_768]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"ngrams": 1}, "--ngrams 1"),
        ({"ngrams": 17}, "--ngrams 17"),
        ({"ngram_rows": 100}, "--ngram-rows 100"),
        ({"ngrams": 3, "positions": "learned"}, "--positions learned"),
    ],
)
def test_a_bad_value_is_named(fields: dict[str, object], named: str):
    with pytest.raises(UserError, match=named):
        GPTConfig(**fields)  # type: ignore[arg-type]


def test_the_longer_the_text_the_fewer_rows_are_dropped():
    """Half way between 200,000 and 4,500,000 tokens, by their logarithm: their geometric mean."""
    shares = [default_ngram_dropout(n) for n in (1, 200_000, 948_683, 4_500_000, 10**9)]
    assert shares == pytest.approx([0.75, 0.75, 0.575, 0.4, 0.4], abs=0.006)
