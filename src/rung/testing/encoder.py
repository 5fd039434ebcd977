"""What everything that makes vectors of texts has to hold: one suite for all of them."""

from __future__ import annotations

import numpy as np

from rung.models.text_encoder import TextEncoder
from rung.text.stream import TokenStream


def check_encoder(model: TextEncoder, *, seed: int = 0) -> None:
    """Check that what makes vectors of texts keeps every promise of its contract. It need not be trained.

    Args:
        model: any rung of learning by contrast: of yours, `run.model`.
        seed: of the texts tried.

    Raises AssertionError for the first promise that is broken.
    """
    rng = np.random.default_rng(seed)
    lengths = [0, 1, 2, 7, 300, 1, 40, 0]  # empty ones and a long one among them
    texts = [rng.integers(0, model.vocab_size - 1, n) for n in lengths]
    vectors = model.vectors(TokenStream.of(texts, model.end))
    assert vectors.ndim == 2
    assert len(vectors) == len(texts)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all(), "a vector holds a number that is infinite or NaN"
    assert 0 < model.temperature < np.inf

    # Which texts stand beside one does not matter, nor their order.
    alone = [model.vectors(TokenStream.of([text], model.end))[0] for text in texts]
    np.testing.assert_allclose(vectors, np.stack(alone), atol=1e-5)
    order = rng.permutation(len(texts))
    shuffled = model.vectors(TokenStream.of([texts[i] for i in order], model.end))
    np.testing.assert_allclose(shuffled, vectors[order], atol=1e-5)
    assert model.vectors(TokenStream.of([], model.end)).shape == (0, vectors.shape[1])

    described = model.describe()
    config = type(model).config_class(**described["config"])
    loaded = type(model).from_tensors(config, tensors=model.tensors(), **model.shape)
    np.testing.assert_array_equal(loaded.vectors(TokenStream.of(texts, model.end)), vectors)
    assert loaded.describe() == described
    assert loaded.n_parameters == model.n_parameters
