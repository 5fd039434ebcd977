"""What every masked language model has to hold: one suite for all of them."""

from __future__ import annotations

import numpy as np

from rung.models.masked_model import MaskedLanguageModel
from rung.text.masking import HIDDEN, PADDING


def check_masked(model: MaskedLanguageModel, *, seed: int = 0) -> None:
    """Check that a masked language model keeps every promise of its contract. It need not be trained.

    Args:
        model: any rung of masked language modelling: of yours, `run.model`.
        seed: of the texts tried.

    Raises AssertionError for the first promise that is broken.
    """
    rng = np.random.default_rng(seed)
    longest = 12 if model.context is None else min(12, model.context)
    texts = [rng.integers(0, model.vocab_size - 1, n) for n in (longest, 1, longest // 2 + 1, longest, 0)]
    for text in texts:
        text[rng.permutation(len(text))[: 1 + len(text) // 3]] = HIDDEN
    batch = np.full((len(texts), longest), PADDING, np.int64)
    left = batch.copy()
    for row, text in enumerate(texts):
        batch[row, : len(text)] = text
        left[row, longest - len(text) :] = text
    log_probs = model.masked_log_probs(batch)

    assert log_probs.shape == (int((batch == HIDDEN).sum()), model.vocab_size)
    assert np.isfinite(log_probs).all(), "a token has a probability of zero"
    assert (np.exp(log_probs, dtype=np.float64).sum(axis=1) < 1 + 1e-5).all()  # a mark may have some, too

    # Which rows stand beside one does not matter, nor how, or on which side, a row is filled up.
    alone = [model.masked_log_probs(text[None]) for text in texts if len(text)]
    np.testing.assert_allclose(log_probs, np.concatenate(alone), atol=1e-5)
    np.testing.assert_allclose(model.masked_log_probs(left), log_probs, atol=1e-5)
    assert model.masked_log_probs(batch[:, :0]).shape == (0, model.vocab_size)

    described = model.describe()
    config = type(model).config_class(**described["config"])
    loaded = type(model).from_tensors(config, tensors=model.tensors(), **model.shape)
    np.testing.assert_array_equal(loaded.masked_log_probs(batch), log_probs)
    assert loaded.describe() == described
    assert loaded.n_parameters == model.n_parameters
