"""Vectors of texts from a network's states: whatever stands beside a text or fills it up, and however long it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rung.errors import UserError
from rung.models.networks.mlp import MLP, MLPConfig
from rung.models.networks.neural_bigram import NeuralBigram
from rung.models.networks.recurrent import GRU, LSTM, RecurrentConfig
from rung.models.networks.recurrent_classifier import GRUClassifier, RecurrentClassifierConfig
from rung.models.networks.states import check_pooling, pooled_vectors
from rung.models.networks.wavenet import WaveNet, WaveNetConfig
from rung.models.transformer.bert import Bert, BertConfig
from rung.models.transformer.bert_classifier import BertClassifier, BertClassifierConfig
from rung.models.transformer.classifier import GPTClassifier, GPTClassifierConfig
from rung.models.transformer.config import GPTConfig
from rung.models.transformer.decoder import GPT
from rung.text.stream import TokenStream
from rung.text.windows import PADDING
from tests.models.random_weights import randomize

V, END, LABELS = 20, 19, ["a", "b"]
BODY: dict[str, Any] = {"context": 12, "n_layer": 2, "n_head": 2, "n_embd": 8, "preset": "plain"}
ENCODER: dict[str, Any] = {"context": 12, "n_layer": 2, "n_head": 2, "n_embd": 8, "n_hidden": 12}


def labelling(cls: Any, config: Any) -> Any:
    config = cls.resolve_config(config, vocab_size=V, train_tokens=1000, longest_document=12)
    return randomize(cls.initialise(config, V, END, LABELS, 0))


def speaking(cls: Any, config: Any) -> Any:
    config = cls.resolve_config(config, vocab_size=V, train_tokens=1000, longest_document=12)
    return randomize(cls.initialise(config, V, END, 0))


MODELS = {
    "gpt": lambda: speaking(GPT, GPTConfig(**BODY)),
    "bert": lambda: speaking(Bert, BertConfig(**ENCODER)),
    "gru": lambda: speaking(GRU, RecurrentConfig(4, 6, 2)),
    "lstm": lambda: speaking(LSTM, RecurrentConfig(n_hidden=6, inputs="one-hot")),
    "mlp": lambda: speaking(MLP, MLPConfig(context=3, n_embd=4, n_hidden=8)),
    "wavenet": lambda: speaking(WaveNet, WaveNetConfig(context=4, n_embd=4, n_hidden=8)),
    "gpt of labels": lambda: labelling(GPTClassifier, GPTClassifierConfig(**BODY)),
    "bert of labels": lambda: labelling(BertClassifier, BertClassifierConfig(**ENCODER)),
    "gru of labels": lambda: labelling(GRUClassifier, RecurrentClassifierConfig(4, 5)),
}


def of(model: Any, texts: list[np.ndarray], pooling: str) -> np.ndarray:
    return pooled_vectors(model, model.network.with_states, TokenStream.of(texts, END), pooling)


def poolings(model: Any) -> list[str]:
    return ["mean", "last", *(["first"] if model.network.with_states.first_knows else [])]


@pytest.mark.parametrize("name", MODELS)
def test_a_vector_is_its_texts_alone(name: str) -> None:
    """Batch of one = batch of many, in any order; also of texts longer than what is read at once, and of none."""
    model = MODELS[name]()
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, END, n) for n in (0, 1, 9, 35, 4, 10, 11, 0)]
    for pooling in poolings(model):
        together = of(model, texts, pooling)
        assert together.dtype == np.float32
        np.testing.assert_allclose(
            together, np.concatenate([of(model, [text], pooling) for text in texts]), atol=2e-5
        )
        np.testing.assert_allclose(of(model, texts[::-1], pooling)[::-1], together, atol=2e-5)
        assert of(model, [], pooling).shape == (0, together.shape[1])


@pytest.mark.parametrize("name", MODELS)
def test_which_side_is_filled_up_does_not_matter(name: str) -> None:
    model = MODELS[name]()
    network, rng = model.network.with_states, np.random.default_rng(1)
    lengths, width = (3, 7, 1, 0), 9
    left, right = np.full((2, len(lengths), width), PADDING)
    for row, n in enumerate(lengths):
        left[row, width - n :] = right[row, :n] = rng.integers(0, END, n)
    with model.inference():
        for pooling in poolings(model):
            found = [network.states(torch.from_numpy(rows), END).pooled(pooling) for rows in (left, right)]
            torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-5)


def test_the_mean_by_hand_of_a_text_in_pieces() -> None:
    """A gpt of context 12 reads 11 tokens behind the mark: 35 tokens are four pieces, each read anew."""
    model = MODELS["gpt"]()
    text = np.random.default_rng(2).integers(0, END, 35)
    states = []
    with model.inference():
        for piece in np.array_split(text, 4):
            inputs = torch.from_numpy(np.concatenate([[END], piece]))[None]
            states += list(model.network.hidden(inputs)[0, 1:].numpy())
    (found,) = pooled_vectors(model, model.network, TokenStream.of([text], END), "mean")
    np.testing.assert_allclose(found, np.mean(states, axis=0), atol=1e-5)
    (found,) = pooled_vectors(model, model.network, TokenStream.of([text], END), "last")
    with model.inference():
        inputs = torch.from_numpy(np.concatenate([[END], text[-11:]]))[None]
        np.testing.assert_allclose(found, model.network.hidden(inputs)[0, -1].numpy(), atol=1e-5)


def test_the_last_state_of_both_directions_has_read_all() -> None:
    """torch's own final states."""
    model = MODELS["gru of labels"]()
    network, text = model.network, np.array([1, 5, 2])
    with model.inference():
        _, final = network.core(network.embedding[[V, *text.tolist()]][None])
    (found,) = pooled_vectors(model, network, TokenStream.of([text], END), "last")
    np.testing.assert_allclose(found, final[:, 0].flatten().numpy(), atol=1e-6)


def test_what_has_no_vectors_and_what_knows_nothing() -> None:
    model = NeuralBigram.initialise(NeuralBigram.config_class(), V, END, 0)
    assert model.network.with_states is None
    with pytest.raises(UserError, match="--pooling first does not go with a network that reads from left"):
        check_pooling("first", MODELS["gpt"]().network)
    with pytest.raises(UserError, match="--pooling 'men' is unknown; did you mean 'mean'"):
        check_pooling("men")
