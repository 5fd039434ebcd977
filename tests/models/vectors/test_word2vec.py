"""Skip-gram and CBOW: gradients by autograd, the compiled way through a text against a slow one, the same twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rung.errors import UserError
from rung.models.base import fitted
from rung.models.vectors import kernels
from rung.models.vectors.noise import Alias, kept_of, noise_of
from rung.models.vectors.table import WordTable
from rung.models.vectors.word2vec import CBOW, CBOWConfig, SkipGram, SkipGramConfig
from rung.testing import check_vectors
from rung.text.stream import TokenStream

END = 6
TEXT = TokenStream.of([np.array([0, 1, 2, 3, 0, 4]), np.array([5]), np.array([1, 1, 5, 0, 3])], END)


def loss(hidden: torch.Tensor, outputs: torch.Tensor, ids: list[int]) -> torch.Tensor:
    """Mikolov et al. 2013 (arXiv:1310.4546), equation 4, what is to be maximised, negated."""
    scores = outputs[ids] @ hidden
    return -F.logsigmoid(scores[0]) - F.logsigmoid(-scores[1:]).sum()


def test_a_step_is_down_the_gradient():
    rng = np.random.default_rng(0)
    hidden, outputs = rng.normal(size=5).astype(np.float32), rng.normal(size=(6, 5)).astype(np.float32)
    h, u = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (hidden, outputs))
    cost = loss(h, u, [2, 5, 0])
    cost.backward()
    slope, moved = np.zeros(5, np.float32), outputs.copy()
    told = kernels.step(hidden, moved, np.array([2, 5, 0, 4]), 3, np.float32(0.1), slope)
    assert told == pytest.approx(cost.item(), rel=1e-6)
    assert h.grad is not None
    assert u.grad is not None
    np.testing.assert_allclose(slope, -0.1 * h.grad.numpy(), atol=1e-6)
    np.testing.assert_allclose(moved, outputs - 0.1 * u.grad.numpy(), atol=1e-6)


class Chance:
    """SplitMix64 in Python's whole numbers."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def bits(self) -> int:
        mask = (1 << 64) - 1
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)


def slow_epoch(
    skipgram: bool, vectors: np.ndarray, outputs: np.ndarray, kept: np.ndarray, alias: Alias, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Every word, neighbour and noise word in turn, gradients by autograd: window 2, rate 0.5 to 0.1, a noise word (of
    two alike the second would be learned from what the first left)."""
    draw, n_ids = Chance(seed), len(TEXT.ids)
    v, u = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (vectors, outputs))

    def learn(inputs: list[int], right: int, rate: float) -> None:
        bits = draw.bits()
        column = ((bits >> 32) * len(alias.stay)) >> 32
        noise = column if (bits & 0xFFFFFFFF) / 2**32 < alias.stay[column] else int(alias.other[column])
        loss(v[inputs].mean(0), u, [right] if noise == right else [right, noise]).backward()
        with torch.no_grad():
            for table in (v, u):
                assert table.grad is not None
                table -= rate * table.grad
                table.grad = None

    for d in range(TEXT.n_documents):
        begin, whole = int(TEXT.starts[d]), TEXT.document(d)[:-1].tolist()
        words = [w for w in whole if kept[w] >= 1 or (draw.bits() >> 11) / 2**53 < kept[w]]
        for t, word in enumerate(words):
            rate = 0.5 - 0.4 * (begin + len(whole) * t / len(words)) / n_ids
            span = 1 + draw.bits() % 2
            near = [words[s] for s in range(max(0, t - span), min(len(words), t + span + 1)) if s != t]
            if skipgram:
                for other in near:
                    learn([other], word, rate)
            elif near:
                learn(near, word, rate)
    return v.detach().numpy(), u.detach().numpy()


@pytest.mark.parametrize("epoch", [kernels.skipgram_epoch, kernels.cbow_epoch])
def test_the_way_through_a_text_is_that_of_a_slow_one(epoch: Callable[..., Any]):
    rng = np.random.default_rng(1)
    vectors, outputs = (rng.normal(size=(7, 4)).astype(np.float32) for _ in range(2))
    counts = np.bincount(TEXT.ids, minlength=7)
    counts[END] = 0
    kept, alias = kept_of(counts, 0.1), Alias.of(noise_of(counts))
    for seed in range(5):
        slow = slow_epoch(epoch is kernels.skipgram_epoch, vectors, outputs, kept, alias, seed)
        fast = vectors.copy(), outputs.copy()
        ids, starts = TEXT.ids.astype(np.int32), TEXT.starts
        epoch(ids, starts, kept, *alias, *fast, 2, 1, 0.5, 0.1, seed)
        for ours, theirs in zip(fast, slow, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def groups() -> TokenStream:
    """Words 0 to 3 stand near 4 to 7, and 8 to 11 near 12 to 15."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(800):
        first = 8 * (i % 2)
        rows.append(
            rng.permutation([*rng.integers(first, first + 4, 3), *rng.integers(first + 4, first + 8, 3)])
        )
    return TokenStream.of(rows, 16)


@pytest.mark.parametrize(("rung", "config"), [(SkipGram, SkipGramConfig), (CBOW, CBOWConfig)])
def test_words_of_one_company_are_near_the_same_twice_and_whole(rung: Any, config: Any):
    how = config(width=8, subsample=0, epochs=10)
    model, again, other = (fitted(rung.fit(how, groups(), 17, 16, seed=seed)) for seed in (3, 3, 4))
    assert all(np.array_equal(model.tensors()[name], again.tensors()[name]) for name in model.tensors())
    assert not np.array_equal(model.vectors, other.vectors)
    table = WordTable([str(i) for i in range(16)], model.vectors[:16], "made")
    for word in range(16):
        near = [int(one.word) for one in table.neighbours(str(word), 7)]
        assert all(n // 8 == word // 8 for n in near)
    check_vectors(model)
    assert model.word_costs(groups())[:, 0].mean() < 6 * np.log(2)


def test_zeros_tell_nothing_apart():
    zeros = np.zeros((7, 3), np.float32)
    counts = np.bincount(TEXT.ids, minlength=7)
    counts[END] = 0
    costs = SkipGram(SkipGramConfig(width=3), 7, END, zeros, zeros, counts).word_costs(TEXT)
    assert len(costs) == 11  # one document has a single word
    np.testing.assert_allclose(costs[:, 0], 6 * np.log(2))
    assert not costs[:, 1].any()


def test_there_have_to_be_two_words():
    with pytest.raises(UserError, match="two different words"):
        fitted(SkipGram.fit(SkipGramConfig(), TokenStream.of([np.array([0, 0])], 1), 2, 1))
    with pytest.raises(UserError, match="no word has a neighbour"):
        fitted(SkipGram.fit(SkipGramConfig(), TokenStream.of([np.array([0]), np.array([1])], 2), 3, 2))


@pytest.mark.parametrize("wrong", [{"width": 0}, {"subsample": 1.0}, {"rate": 0.0}, {"negative": 2.5}])
def test_settings_are_checked(wrong: dict[str, Any]):
    with pytest.raises(UserError, match=f"--{next(iter(wrong))}"):
        SkipGramConfig(**wrong)
