"""A bag of hashed n-grams: one step against torch, the features by hand, the same twice."""

from __future__ import annotations

from zlib import crc32

import numpy as np
import pytest
import torch
from torch import nn

from rung.errors import UserError
from rung.models.base import fitted
from rung.models.linear.bag_of_ngrams import BagOfNgrams, BagOfNgramsConfig
from rung.models.linear.hashed import Hashing
from rung.models.linear.sgd_kernels import average_rows, sgd_epoch
from rung.testing import check_classifier
from rung.text.labelled import encode_examples
from rung.text.stream import LabelledExamples, LabelledStream
from rung.text.tokenizers import ByteTokenizer

SMALL = BagOfNgramsConfig(width=8, buckets=5000, epochs=5)


def labelled(texts: list[str], labels: list[int]) -> LabelledStream:
    return LabelledStream(encode_examples(ByteTokenizer(), texts, None), np.array(labels))


def drawn(n: int, seed: int) -> LabelledStream:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    words = np.array(["good", "bad", "the", "film"])
    p = np.array([[0.35, 0.05, 0.3, 0.3], [0.05, 0.35, 0.3, 0.3]])
    return labelled([" ".join(rng.choice(words, 5, p=p[label])) for label in labels], labels.tolist())


def test_features_by_hand():
    hashing = Hashing(lowercase=True, words=2, letters=(2, 3), buckets=1 << 30)
    starts, features = hashing.bags([("Ab c",), ("",), ("c",)])
    letters = {"ab": ["<a", "ab", "b>", "<ab", "ab>"], "c": ["<c", "c>"]}
    own = {word: [crc32(word.encode(), 0) % (1 << 30)] for word in letters}
    pieces = {
        word: own[word] + [crc32(piece.encode(), 2) % (1 << 30) for piece in letters[word]]
        for word in letters
    }
    assert starts.tolist()[1:3] == [len(pieces["ab"]) + len(pieces["c"]) + 1] * 2
    assert sorted(features[starts[2] :].tolist()) == sorted(pieces["c"])
    first = features[: starts[1]].tolist()
    assert set(pieces["ab"] + pieces["c"]) <= set(first)  # and one for the two words together
    with_other = hashing.bags([("Ab c",), ("c Ab",)])
    one, two = (
        with_other.features[a:b] for a, b in zip(with_other.starts[:-1], with_other.starts[1:], strict=True)
    )
    assert len(set(one.tolist()) ^ set(two.tolist())) == 2  # the order of two words is told


@pytest.mark.parametrize("n_labels", [2, 4])
def test_steps_are_torchs(n_labels: int):
    rng = np.random.default_rng(0)
    table = rng.standard_normal((11, 6)).astype(np.float32)
    head = rng.standard_normal((n_labels, 6)).astype(np.float32)
    starts, features = np.array([0, 3, 4, 9]), np.array([1, 2, 2, 7, 0, 5, 10, 10, 3])
    labels, weights = np.array([0, 1, n_labels - 1]), np.linspace(0.5, 1.5, n_labels)
    bag = nn.EmbeddingBag.from_pretrained(torch.tensor(table), freeze=False, mode="mean")
    linear = nn.Linear(6, n_labels, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(head))
    order, losses = np.array([2, 0, 1]), []
    for place, example in enumerate(order):
        rate = 0.4 + (0.1 - 0.4) * place / 3
        optimizer = torch.optim.SGD([*bag.parameters(), *linear.parameters()], lr=rate)
        optimizer.zero_grad()
        ids = torch.tensor(features[starts[example] : starts[example + 1]])
        loss = nn.functional.cross_entropy(
            linear(bag(ids[None])), torch.tensor(labels[example : example + 1])
        )
        losses.append(loss.item())
        (float(weights[labels[example]]) * loss).backward()
        optimizer.step()
    mean = sgd_epoch(order, starts, features, labels, weights, table, head, 0.4, 0.1)
    assert mean == pytest.approx(np.mean(losses), rel=1e-4)
    np.testing.assert_allclose(table, bag.weight.detach(), atol=1e-5)
    np.testing.assert_allclose(head, linear.weight.detach(), atol=1e-5)
    rows = average_rows(starts, features, table)
    np.testing.assert_allclose(rows[1], table[7], atol=1e-6)


def test_the_contract_and_the_same_twice():
    examples = LabelledExamples(drawn(120, 0), drawn(60, 1))
    one, two, other = (
        fitted(BagOfNgrams.fit(SMALL, examples, 257, 256, ["a", "b"], seed=s)) for s in (1, 1, 2)
    )
    check_classifier(one)
    for name, tensor in one.tensors().items():
        np.testing.assert_array_equal(tensor, two.tensors()[name])
    assert not np.array_equal(one.table, other.table)
    right = examples.validation
    assert right is not None
    found = one.log_probs(right.stream)
    assert (found.argmax(axis=1) == right.labels).mean() > 0.75
    # No other scale makes the validation labels cost less.
    costs = {}
    for factor in (0.8, 1.0, 1.25):
        one.scale *= factor
        costs[factor] = -float(one.log_probs(right.stream)[np.arange(60), right.labels].sum())
        one.scale /= factor
    assert min(costs, key=costs.__getitem__) == 1.0


def test_a_text_without_features_gets_the_labels_frequencies():
    train = labelled(["good film", "bad film", "good"] * 4, [0, 1, 0] * 4)
    model = fitted(BagOfNgrams.fit(SMALL, LabelledExamples(train), 257, 256, ["a", "b"]))
    empty = model.log_probs(labelled([""], [0]).stream)
    np.testing.assert_allclose(np.exp(empty), [[9 / 14, 5 / 14]], atol=1e-6)


def test_what_cannot_be_is_told():
    with pytest.raises(UserError, match="--shortest-letters 6 is more than --letters 5"):
        BagOfNgramsConfig(shortest_letters=6)
    config = BagOfNgramsConfig(width=4, rate=1e30, buckets=100)
    with pytest.raises(UserError, match="diverged at --rate"):
        fitted(BagOfNgrams.fit(config, LabelledExamples(drawn(40, 0)), 257, 256, ["a", "b"]))
