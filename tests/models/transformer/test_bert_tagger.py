"""BERT as a tagger: the contract, transformers' own answers at first pieces, sentences longer than the context."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rung.models.transformer.bert_tagger import BertTagger, BertTaggerConfig, cuts_of
from rung.testing import check_tagger
from rung.text.stream import TokenStream

V, END, DELIMITER = 12, 10, 11
TAGS = ["D", "N", "V"]
SMALL = BertTaggerConfig(context=16, n_layer=2, n_head=2, n_embd=16, n_hidden=24)


def new(config: BertTaggerConfig = SMALL, tags: list[str] = TAGS) -> BertTagger:
    model = BertTagger.initialise(config, V, END, DELIMITER, tags, 0)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for weight in model.network.parameters():
            weight.add_(torch.empty_like(weight).normal_(0, 0.2, generator=generator))
    model.network.eval()
    return model


def sentence(*words: list[int]) -> np.ndarray:
    return np.array([i for word in words for i in (*word, DELIMITER)][:-1], np.int64)


@pytest.mark.parametrize("crf", [True, False])
def test_the_contract(crf: bool):
    check_tagger(new(replace(SMALL, crf=crf)))
    check_tagger(new(replace(SMALL, crf=crf, context=300), ["B-x", "I-x", "O"]))


def test_answers_are_those_of_transformers_at_first_pieces():
    from transformers import BertConfig, BertForTokenClassification

    from rung.exchange.hugging_face_bert import from_transformers

    torch.manual_seed(0)
    theirs = BertForTokenClassification(
        BertConfig(
            vocab_size=V + 1,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=24,
            max_position_embeddings=16,
            id2label={0: "a", 1: "b", 2: "c"},
        )
    ).eval()
    order = np.arange(V + 1)  # the tokeniser's ten, [SEP], [CLS], [MASK]
    imported = from_transformers(
        {**theirs.config.to_dict(), "architectures": ["BertForTokenClassification"]},
        theirs.state_dict(),
        order,
    ).model
    ours = BertTagger.from_tensors(
        BertTaggerConfig(**{k: getattr(imported.config, k) for k in SMALL.__dict__ if k != "crf"}),
        V,
        END,
        DELIMITER,
        TAGS,
        {name: array for name, array in imported.tensors().items() if name.startswith(("body.", "tagger."))},
    )
    words = [[3, 4], [5], [1, 2, 9], [7]]
    ids = torch.tensor([[11, *(i for word in words for i in word), 10]])
    with torch.no_grad():
        logits = theirs(ids).logits[0].log_softmax(-1).numpy()
    found = ours.log_probs(TokenStream.of([sentence([8]), sentence(*words)], END))
    np.testing.assert_allclose(found[1:], logits[[1, 3, 4, 7]], atol=1e-5)


def test_a_long_sentence_is_read_in_stretches_of_whole_words():
    model = new()  # room for 14 pieces
    rng = np.random.default_rng(0)
    words = [rng.integers(0, END, n).tolist() for n in (5, 5, 5, 3, 1, 40, 2)]
    stretches = [words[:2], words[2:5], [words[5][:14]], words[6:]]
    whole = model.log_probs(TokenStream.of([sentence(*words)], END))
    parts = model.log_probs(TokenStream.of([sentence(*own) for own in stretches], END))
    np.testing.assert_allclose(whole, parts, atol=1e-5)


def test_cuts():
    assert cuts_of(np.array([0, 3, 6]), 9, 9).tolist() == [0]
    assert cuts_of(np.array([0, 3, 6]), 9, 8).tolist() == [0, 6]
    assert cuts_of(np.array([0, 3, 6]), 9, 2).tolist() == [0, 3, 6]
    assert cuts_of(np.array([0]), 9, 2).tolist() == [0]
