"""What every model of word vectors has to hold: one suite for all of them."""

from __future__ import annotations

import numpy as np

from rung.models.vectors.base import WordVectors
from rung.text.stream import TokenStream


def check_vectors(model: WordVectors, *, seed: int = 0) -> None:
    """Check that word vectors that can be measured keep every promise of their contract.

    Args:
        model: any rung of word vectors but imported ones, trained: of yours, `run.model`.
        seed: of the texts tried.

    Raises AssertionError for the first promise that is broken.
    """
    assert model.counts is not None
    rng = np.random.default_rng(seed)
    lengths = np.array([7, 1, 2, 0, 12])
    documents = [rng.choice(np.flatnonzero(model.counts), n) for n in lengths]
    words = TokenStream.of(documents, model.end)
    costs = model.word_costs(words)

    assert costs.shape == (7 + 2 + 12, 2), "every word that has a neighbour costs something"
    assert np.isfinite(costs).all()
    assert (costs >= 0).all()
    assert np.isin(costs[:, 1], (0, 1)).all()

    # Which documents stand beside one does not matter.
    alone = [model.word_costs(TokenStream.of([document], model.end)) for document in documents]
    np.testing.assert_array_equal(costs, np.concatenate(alone))

    described = model.describe()
    config = type(model).config_class(**described["config"])
    loaded = type(model).from_tensors(config, tensors=model.tensors(), **model.shape)
    np.testing.assert_array_equal(loaded.word_costs(words), costs)
    assert loaded.describe() == described
    assert loaded.n_parameters == model.n_parameters
