"""A gpt that answers with a label: GPT-1's sequence by hand, its two losses, the contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rung.errors import UserError
from rung.models.transformer.classifier import GPTClassifier, GPTClassifierConfig
from rung.testing import check_classifier
from rung.text.stream import TokenStream

V, END, LABELS = 9, 8, ["a", "b", "c"]
PAD = -1


def small(delimiter: int | None = None, **more: Any) -> GPTClassifier:
    settings: dict[str, Any] = {
        "context": 12,
        "n_layer": 2,
        "n_head": 2,
        "n_embd": 8,
        "preset": "plain",
        **more,
    }
    vocab_size = V if delimiter is None else V + 1
    model = GPTClassifier.initialise(
        GPTClassifierConfig(**settings).resolved(), vocab_size, END, LABELS, 0, delimiter
    )
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.normal_(0, 0.4, generator=torch.Generator().manual_seed(weight.numel()))
    model.network.eval()
    return model


@pytest.mark.parametrize("more", [{}, {"preset": "rung", "ngrams": 3, "ngram_rows": 64}, {"preset": "gpt1"}])
def test_the_contract(more: dict[str, Any]):
    check_classifier(small(**more))


def test_the_sequence_is_gpt_1s():
    """[start] 1 2 3 [classify]; [start] 1 2 [delimiter] 3 [classify]: marks are rows behind the tokeniser's."""
    marked, last = small().network.marked(torch.tensor([[1, 2, 3, 4], [5, PAD, PAD, PAD], [PAD] * 4]))
    start, classify = V, V + 1
    assert marked[0].tolist() == [start, 1, 2, 3, 4, classify]
    assert marked[1, :3].tolist() == [start, 5, classify]
    assert marked[2, :2].tolist() == [start, classify]
    assert last.tolist() == [5, 2, 1]
    pair, _ = small(delimiter=9).network.marked(torch.tensor([[1, 2, 9, 3]]))
    assert pair[0].tolist() == [10, 1, 2, 9, 3, 11]


def test_long_texts_lose_their_ends_and_of_two_each_keeps_about_half():
    model = small(delimiter=9)  # room for 10 tokens beside the marks
    text = torch.arange(30) % 8
    marked, last = model.network.marked(text[None])
    assert marked[0].tolist() == [10, *text[:10].tolist(), 11]
    assert last.tolist() == [11]
    first, second = text[:20], text[20:] % 3
    pair = torch.cat([first, torch.tensor([9]), second])[None]
    assert model.network.marked(pair)[0][0].tolist() == [10, *first[:4].tolist(), 9, *second[:5].tolist(), 11]
    short = torch.cat([first, torch.tensor([9]), second[:2]])[None]
    assert model.network.marked(short)[0][0].tolist() == [
        10,
        *first[:7].tolist(),
        9,
        *second[:2].tolist(),
        11,
    ]


def test_the_loss_is_the_labels_and_half_of_the_texts():
    model = small()
    network = model.network
    texts = torch.tensor([[1, 2, 3], [4, PAD, PAD]])
    labels, weights = torch.tensor([2, 0]), torch.tensor([1.5, 0.5])
    alone = []
    for row, label in ((torch.tensor([[V, 1, 2, 3, V + 1]]), 2), (torch.tensor([[V, 4, V + 1]]), 0)):
        hidden = network.body.hidden(row)
        text = F.cross_entropy(network.body.logits(hidden)[0, :-1], row[0, 1:])
        answer = F.cross_entropy(network.classify(hidden[:, -1]), torch.tensor([label]))
        alone.append((answer, text))
    network.train()
    expected = sum(answer + 0.5 * text for answer, text in alone)
    torch.testing.assert_close(network.loss(texts, labels), expected)
    weighted = sum(
        weight * (answer + 0.5 * text) for weight, (answer, text) in zip(weights, alone, strict=True)
    )
    torch.testing.assert_close(network.loss(texts, labels, weights), weighted)
    network.eval()
    torch.testing.assert_close(network.loss(texts, labels), sum(answer for answer, _ in alone))


def test_the_context_is_the_longest_texts():
    sizes = {"vocab_size": V, "train_tokens": 1000}
    assert GPTClassifier.resolve_config(GPTClassifierConfig(), longest_document=21, **sizes).context == 22
    assert GPTClassifier.resolve_config(GPTClassifierConfig(), longest_document=9999, **sizes).context == 512
    with pytest.raises(UserError, match="no room for a token and two marks"):
        GPTClassifier.resolve_config(GPTClassifierConfig(context=2), longest_document=9, **sizes)
    with pytest.raises(UserError, match="--text-loss -1"):
        GPTClassifierConfig(text_loss=-1)


def test_what_fills_up_a_batch_is_never_read():
    model = small()
    texts = [np.array([1, 2, 3]), np.arange(8), np.array([], np.int64)]
    together = model.log_probs(TokenStream.of(texts, END))
    alone = np.concatenate([model.log_probs(TokenStream.of([text], END)) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
