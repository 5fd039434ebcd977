"""Vectors learned by contrast: the contract, the loss by torch's cross entropy and by arithmetic."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.feature_extraction.text import TfidfVectorizer

from rung.errors import UserError
from rung.models.base import fitted
from rung.models.counting.tf_idf import TfIdf, TfIdfConfig
from rung.models.networks.recurrent_encoder import GRUEncoder, LSTMEncoder, RecurrentEncoderConfig, RNNEncoder
from rung.models.partners import CANDIDATES, partner_scores
from rung.models.transformer.text_encoders import BertEncoder, BertEncoderConfig, GPTEncoder, GPTEncoderConfig
from rung.testing import check_encoder
from rung.text.stream import TokenStream
from rung.text.tokenizers import train_tokenizer
from rung.text.views import Views, halves
from rung.text.windows import PADDING
from tests.models.random_weights import randomize

V, END = 20, 19
SHAPE: dict[str, Any] = {"context": 14, "n_layer": 2, "n_head": 2, "n_embd": 8}
KINDS: dict[str, tuple[Any, Any]] = {
    "bert": (BertEncoder, lambda **more: BertEncoderConfig(**SHAPE, n_hidden=12, **more)),
    "gpt": (GPTEncoder, lambda **more: GPTEncoderConfig(**SHAPE, **more)),
    "plain": (GPTEncoder, lambda **more: GPTEncoderConfig(**SHAPE, preset="plain", tied=False, **more)),
    "rnn": (RNNEncoder, lambda **more: RecurrentEncoderConfig(n_embd=4, n_hidden=5, **more)),
    "lstm": (LSTMEncoder, lambda **more: RecurrentEncoderConfig(n_embd=4, n_hidden=5, n_layer=2, **more)),
    "gru": (GRUEncoder, lambda **more: RecurrentEncoderConfig(n_embd=4, n_hidden=5, **more)),
}


def model_of(kind: str, **more: Any) -> Any:
    cls, config_of = KINDS[kind]
    config = cls.resolve_config(config_of(**more), vocab_size=V, train_tokens=500, longest_document=15)
    return randomize(cls.initialise(config, V, END, 0))


def counted(views: Views, **config: Any) -> TfIdf:
    return fitted(TfIdf.fit(TfIdfConfig(**config), views, V, END))


def texts_of(*lengths: int, seed: int = 0) -> TokenStream:
    rng = np.random.default_rng(seed)
    return TokenStream.of([rng.integers(0, END, n) for n in lengths], END)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_the_contract(kind: str, pooling: str) -> None:
    check_encoder(model_of(kind, pooling=pooling))


def test_the_contract_of_what_is_counted() -> None:
    texts = texts_of(*range(1, 12))
    check_encoder(counted(Views.of(texts, texts)))


@pytest.mark.parametrize("kind", ["bert", "plain", "gru"])
def test_the_loss_is_a_cross_entropy_of_cosines(kind: str) -> None:
    """Against torch's, one example at a time, each among the partners that are not alike."""
    model = model_of(kind, temperature=0.1)
    model.network.eval()
    rng = np.random.default_rng(0)
    first, second = (torch.from_numpy(rng.integers(0, END, (5, n))) for n in (6, 4))
    second[1, 2:] = PADDING
    alike = torch.tensor([[0, 0], [1, 1], [0, 2], [3, 1], [4, 4]])
    found = model.network.loss(first, second, alike)
    pooled = [model.network.body.states(rows, END).pooled("mean") for rows in (first, second)]
    expected = torch.zeros(())
    for i in range(5):
        others = [j for j in range(5) if j == i or not (alike[i] == alike[j]).any()]
        cosines = torch.stack([F.cosine_similarity(pooled[0][i], pooled[1][j], dim=0) for j in others])
        expected += F.cross_entropy(cosines / 0.1, torch.tensor(others.index(i)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_simcse_by_arithmetic() -> None:
    """Two texts of unit vectors (1, 0) and (0.6, 0.8), read twice without dropout: equation 1 on paper, t = 0.05."""
    network = model_of("bert").network

    def vectors(rows: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[1.0, 0.0], [0.6, 0.8]])

    network.forward = vectors
    rows = torch.zeros(2, 3, dtype=torch.int64)
    loss = network.loss(rows, rows, torch.tensor([[0, 0], [1, 1]]))
    # Each text: -log(e^(1/0.05) / (e^(1/0.05) + e^(0.6/0.05))) = log(1 + e^-8).
    assert loss.item() == pytest.approx(2 * math.log(1 + math.exp(-8)), rel=1e-4)


def test_cosines_are_made_in_whole_precision() -> None:
    """Vectors of float32 in a loss in bfloat16: of logits up to 1 / t, eight bits would leave tenths of a nat."""
    network = model_of("bert", temperature=0.01).network
    vectors = F.normalize(torch.randn(8, 16, generator=torch.Generator().manual_seed(0)), dim=-1)
    network.forward = lambda rows: vectors
    rows, alike = torch.zeros(8, 3, dtype=torch.int64), torch.arange(8)[:, None].expand(8, 2)
    expected = network.loss(rows, rows, alike)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = network.loss(rows, rows, alike)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)


def test_one_text_read_twice_differs_in_training_alone() -> None:
    network = model_of("bert", dropout=0.3).network
    rows = torch.from_numpy(np.random.default_rng(0).integers(0, END, (4, 6)))
    network.train()
    assert not torch.allclose(network(rows), network(rows), atol=1e-3)
    network.eval()
    torch.testing.assert_close(network(rows), network(rows))


def test_weights_of_tokens_are_scikit_learns() -> None:
    """sublinear_tf, smoothed idf, no scaling: the same texts as words that are ids."""
    texts = texts_of(5, 9, 1, 30, 12)
    model = counted(Views.of(texts, texts))
    words = [" ".join(f"w{i:02}" for i in texts.document(j)[:-1]) for j in range(5)]
    settings: dict[str, Any] = {"norm": None, "vocabulary": [f"w{i:02}" for i in range(END)]}
    vectorizer = TfidfVectorizer(sublinear_tf=True, **settings)
    vectorizer.fit([*words, *words])
    expected = vectorizer.transform(words).toarray()
    np.testing.assert_allclose(model.vectors(texts)[:, :END], expected, rtol=1e-5)


def test_partners_are_asked_for_as_a_loop_would() -> None:
    """Each example among its own and the 63 after it in the fixed order; equal texts are left out."""
    n, t = 100, 0.2
    views = halves_of(n)
    model = counted(views, temperature=t)
    found = partner_scores(model, views, t)
    a, b = (model.vectors(stream).astype(np.float64) for stream in (views.first, views.second))
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300) for x in (a, b))
    order = np.random.default_rng(0).permutation(n)
    for place, i in enumerate(order):
        others = [order[(place + k) % n] for k in range(1, CANDIDATES)]
        others = [j for j in others if not (views.alike[i] == views.alike[j]).any()]
        cosines = np.array([a[i] @ b[j] for j in [i, *others]])
        assert found[i, 0] == pytest.approx(cosines[0] / t - np.log(np.exp(cosines / t).sum()), abs=1e-6)
        assert found[i, 1] == (cosines[0] >= cosines.max() - 1e-6)


def halves_of(n: int) -> Views:
    rng = np.random.default_rng(0)
    tokenizer = train_tokenizer("char", ["abcdefgh "])
    texts = ["".join(rng.choice(list("abcdefgh "), rng.integers(0, 8))) for _ in range(n)]
    return Views.of(*(_within(stream) for stream in halves(tokenizer.encode_many(texts), tokenizer)[:2]))


def _within(stream: TokenStream) -> TokenStream:
    """With ids below END."""
    return TokenStream.of([np.asarray(stream.document(i)[:-1]) % END for i in range(stream.n_documents)], END)


def test_halves_are_cut_between_words() -> None:
    tokenizer = train_tokenizer("char", ["the cows eat grass, or hay"] * 9)
    stream = tokenizer.encode_many(["the cows eat grass", "hay", "", "e"])
    first, second, alike = halves(stream, tokenizer)
    said = [
        tuple(tokenizer.decode(np.asarray(half.document(i)[:-1])) for half in (first, second))
        for i in range(4)
    ]
    assert said == [("the cows", " eat grass"), ("h", "ay"), ("", ""), ("e", "e")]
    assert len({tuple(row) for row in alike.tolist()}) == 4


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(UserError, match="--temperature 0 is not allowed: give a number above 0"):
        BertEncoderConfig(temperature=0)
    with pytest.raises(UserError, match="--pooling first does not go with a network that reads from left"):
        model_of("gpt", pooling="first")
    check_encoder(model_of("bert", pooling="first"))
