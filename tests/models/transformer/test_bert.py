"""Encoders that guess hidden tokens: the contract, both sides, the published sizes, the losses by other hands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import BertConfig as TheirConfig
from transformers import BertForPreTraining

from rung.errors import UserError
from rung.exchange.hugging_face_bert import to_transformers
from rung.models.base import fitted
from rung.models.counting.unigram import Unigram, UnigramConfig
from rung.models.transformer.bert import Bert, BertConfig
from rung.models.transformer.bert_classifier import BertClassifier, BertClassifierConfig, _cut_text
from rung.models.transformer.bert_config import PRESETS
from rung.testing import check_classifier, check_masked
from rung.text.masking import HIDDEN, PADDING
from rung.text.stream import TokenStream
from tests.models.random_weights import randomize

V, END, LABELS = 20, 19, ["a", "b", "c"]
SHAPE: dict[str, Any] = {"context": 14, "n_layer": 2, "n_head": 2, "n_embd": 8, "n_hidden": 12}


def small(**more: Any) -> Bert:
    model = Bert.initialise(BertConfig(**{**SHAPE, **more}), V, END, 0)
    return randomize(model)


def labelling(delimiter: int | None = None, **more: Any) -> BertClassifier:
    size = V if delimiter is None else V + 1
    model = BertClassifier.initialise(
        BertClassifierConfig(**{**SHAPE, **more}), size, END, LABELS, 0, delimiter
    )
    return randomize(model)


@pytest.mark.parametrize("more", [{}, {"next_sentence": True}, {"activation": "relu"}])
def test_the_contract(more: dict[str, Any]) -> None:
    check_masked(small(**more))


def test_the_contract_of_the_counted_one() -> None:
    stream = TokenStream.of([np.array([1, 2, 2, 3]), np.array([2])], END)
    model = fitted(Unigram.fit(UnigramConfig(), stream, V, END))
    check_masked(model)
    (log_probs,) = model.masked_log_probs(np.array([[5, HIDDEN, 6]]))
    assert log_probs[[1, 2, 3, 4]] == pytest.approx(np.log(np.array([2, 4, 2, 1]) / (5 + V)))


@pytest.mark.parametrize("pool", ["first", "mean"])
@pytest.mark.parametrize("delimiter", [None, V])
def test_the_contract_of_the_classifier(delimiter: int | None, pool: str) -> None:
    check_classifier(labelling(delimiter, context=400, pool=pool))


def test_the_mean_is_over_a_texts_states_and_those_of_its_marks_alone() -> None:
    model = labelling(pool="mean")
    model.network.eval()
    text = np.array([[3, 1, 4, 1, 5]])
    with torch.no_grad():
        states = model.network.body(torch.from_numpy(text))  # of [CLS], five tokens, [SEP]
        expected = torch.log_softmax(model.network.classify(states.mean(1)), -1)
        beside = torch.tensor([[*text[0], PADDING, PADDING, PADDING], [7] * 8])
        found = torch.log_softmax(model.network(beside), -1)[:1]
    assert states.shape[1] == 7
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_what_stands_behind_a_hidden_token_counts_and_so_does_what_stands_before() -> None:
    model = small()
    text = np.array([[3, 4, HIDDEN, 5, 6]])
    first = model.masked_log_probs(text)
    for place in (0, 1, 3, 4):
        other = text.copy()
        other[0, place] = 9
        assert np.abs(model.masked_log_probs(other) - first).max() > 1e-3


@pytest.mark.parametrize(
    ("preset", "published"),
    # What transformers' BertModel of these shapes has, with 30,522 ids.
    [
        ("bert-tiny", 4_385_920),
        ("bert-mini", 11_170_560),
        ("bert-small", 28_763_648),
        ("bert-medium", 41_373_184),
        ("bert-base", 109_482_240),
        ("bert-large", 335_141_888),
    ],
)
def test_presets_have_the_published_sizes(preset: str, published: int) -> None:
    config = BertConfig(preset=preset).resolved_for(5000)
    with torch.device("meta"):
        network = Bert.build(config, 30_520, False, True, False)
    assert sum(weight.numel() for weight in network.parameters()) == published
    assert (config.norm_eps, config.dropout, config.activation) == (1e-12, 0.1, "gelu-exact")
    assert set(PRESETS[preset]) == {"context", "n_layer", "n_head", "n_embd"}


def test_the_loss_is_transformers_own_times_the_targets() -> None:
    """Theirs is the mean over hidden tokens and the mean over pairs, added."""
    model = small(next_sentence=True, dropout=0.0)
    config, weights = to_transformers(model, np.arange(V + 2), [])
    theirs = BertForPreTraining(TheirConfig(**config))
    theirs.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()}, strict=False)
    theirs.tie_weights()
    texts = torch.tensor([[3, HIDDEN, 5, END, 6, 7], [1, END, HIDDEN, HIDDEN, PADDING, PADDING]])
    targets = torch.tensor(
        [[PADDING, 4, 5, PADDING, PADDING, PADDING], [PADDING, PADDING, 8, 9, PADDING, PADDING]]
    )
    follows = torch.tensor([0, 1])
    model.network.train()
    ours = model.network.loss(texts, targets, follows)
    tokens, types, there = model.network.body.marked(texts)
    labels = F.pad(targets.masked_fill(targets == PADDING, -100), (1, 1), value=-100)
    expected = theirs.eval()(
        input_ids=tokens,
        token_type_ids=types,
        attention_mask=there.long(),
        labels=labels,
        next_sentence_label=follows,
    ).loss
    assert ours.item() == pytest.approx(4 * expected.item(), rel=1e-5)


def test_a_text_stands_between_its_marks_and_the_second_is_of_another_type() -> None:
    tokens, types, there = small().network.body.marked(
        torch.tensor([[3, 4, END, 5], [PADDING, 6, HIDDEN, PADDING], [PADDING] * 4])
    )
    cls, mask = V, V + 1
    assert tokens[0].tolist() == [cls, 3, 4, END, 5, END]
    assert types[0].tolist() == [0, 0, 0, 0, 1, 1]
    assert tokens[1, :4].tolist() == [cls, 6, mask, END]
    assert tokens[2, :2].tolist() == [cls, END]
    assert there.sum(1).tolist() == [6, 4, 2]


def test_of_two_long_texts_the_longer_one_is_cut() -> None:
    first, second = torch.arange(10), torch.arange(10, 13)
    both = torch.cat([first, torch.tensor([V]), second])
    assert _cut_text(both, 8, V).tolist() == [0, 1, 2, 3, V, 10, 11, 12]
    assert _cut_text(torch.cat([second, torch.tensor([V]), first]), 8, V).tolist() == [
        10,
        11,
        12,
        V,
        0,
        1,
        2,
        3,
    ]
    equal = torch.cat([first, torch.tensor([V]), first])
    assert _cut_text(equal, 8, V).tolist() == [0, 1, 2, V, 0, 1, 2, 3]
    assert _cut_text(first, 8, V).tolist() == list(range(8))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"context": 2}, "--context 2"),
        ({"n_head": 3, "n_embd": 8}, "--n-head 3 does not divide"),
        ({"preset": "bert-bse"}, "did you mean 'bert-base'"),
        ({"activation": "silu"}, "--activation 'silu'"),
        ({"norm_eps": 0}, "--norm-eps 0"),
        ({"next_sentence": 1}, "--next-sentence 1"),
    ],
)
def test_what_is_not_possible_is_said(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        BertConfig(**settings)
