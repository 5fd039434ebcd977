"""What every classifier has to hold: one suite for all of them."""

from __future__ import annotations

import numpy as np

from rung.models.base import Classifier
from rung.text.stream import TokenStream


def check_classifier(model: Classifier, *, seed: int = 0) -> None:
    """Check that a classifier keeps every promise of its contract. It need not be trained.

    Args:
        model: any rung of labels: of yours, `run.model`.
        seed: of the texts tried.

    Raises AssertionError for the first promise that is broken.
    """
    rng = np.random.default_rng(seed)
    lengths = [0, 1, 2, 7, 300, 1, 40, 0]  # empty ones and a long one among them
    texts = [rng.integers(0, model.vocab_size - 1, n) for n in lengths]
    log_probs = model.log_probs(TokenStream.of(texts, model.end))

    assert log_probs.shape == (len(texts), len(model.labels))
    assert np.isfinite(log_probs).all(), "a label has a probability of zero"
    np.testing.assert_allclose(np.exp(log_probs, dtype=np.float64).sum(axis=1), 1, atol=1e-5)

    # Which texts stand beside one does not matter, nor their order.
    alone = [model.log_probs(TokenStream.of([text], model.end))[0] for text in texts]
    np.testing.assert_allclose(log_probs, np.stack(alone), atol=1e-5)
    order = rng.permutation(len(texts))
    shuffled = model.log_probs(TokenStream.of([texts[i] for i in order], model.end))
    np.testing.assert_allclose(shuffled, log_probs[order], atol=1e-5)
    assert model.log_probs(TokenStream.of([], model.end)).shape == (0, len(model.labels))

    described = model.describe()
    config = type(model).config_class(**described["config"])
    loaded = type(model).from_tensors(config, tensors=model.tensors(), **model.shape)
    np.testing.assert_array_equal(loaded.log_probs(TokenStream.of(texts, model.end)), log_probs)
    assert loaded.describe() == described
    assert loaded.n_parameters == model.n_parameters
