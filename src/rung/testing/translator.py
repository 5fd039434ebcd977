"""The promises of a model that writes a text given another, as checks."""

from __future__ import annotations

import numpy as np

from rung.models.translator import Translator
from rung.testing.language_model import check_model, walk
from rung.text.stream import TokenStream


def check_translator(model: Translator, *, seed: int = 0, atol: float = 1e-4) -> None:
    """Check that a translator keeps every promise of its contract, and that what it makes of a source is a language
    model (`check_model`). It need not be trained.

    Args:
        model: any rung of translation: of yours, `run.model`.
        seed: of the texts tried.
        atol: how far two paths to the same log-probability may lie apart, in nats.

    Raises AssertionError for the first promise that is broken.
    """
    rng = np.random.default_rng(seed)
    ids = [i for i in range(model.vocab_size) if i != model.end]
    pairs = [(rng.choice(ids, n), rng.choice(ids, m)) for n, m in ((3, 4), (0, 2), (9, 0), (1, 7), (5, 4))]
    n_read = model.vocab_size if model.source_vocab_size is None else model.source_vocab_size
    sources = TokenStream.of([source % (n_read - 1) for source, _ in pairs], model.source_end)
    targets = TokenStream.of([target for _, target in pairs], model.end)

    for pair in (0, 1):
        check_model(model.given(sources.of_documents(np.array([pair]))), seed=seed, atol=atol)

    scores = model.score_pairs(sources, targets)
    assert scores.shape == (targets.n_tokens,)
    assert np.isfinite(scores).all(), "a target has a probability of zero"

    # Each pair by itself, read token by token: no neighbour, and nothing that fills up, matters.
    begins = np.asarray(targets.starts) - 1
    for pair in range(len(pairs)):
        view = model.given(sources.of_documents(np.array([pair])))
        row = np.asarray(targets.document(pair), np.int64)[None]
        alone = np.take_along_axis(walk(view, row), row[..., None], axis=-1)[0, :, 0]
        np.testing.assert_allclose(scores[begins[pair] : begins[pair + 1]], alone, atol=atol)
    order = rng.permutation(len(pairs))
    shuffled = model.score_pairs(sources.of_documents(order), targets.of_documents(order))
    own = np.concatenate([scores[begins[pair] : begins[pair + 1]] for pair in order])
    np.testing.assert_allclose(shuffled, own, atol=atol)

    # A view of many sources is the views of each, side by side, whichever rows go on.
    view = model.given(sources)
    first, state = view.advance(view.start(len(pairs)), np.full(len(pairs), model.end))
    tokens = rng.choice(ids, len(pairs))
    rows = np.array([3, 0, 3])
    second, _ = view.advance(view.select(state, rows), tokens[rows])
    for place, pair in enumerate(rows.tolist()):
        lone = model.given(sources.of_documents(np.array([pair])))
        begun, after = lone.advance(lone.start(1), np.array([model.end]))
        np.testing.assert_allclose(begun[0], first[pair], atol=atol)
        np.testing.assert_allclose(lone.advance(after, tokens[[pair]])[0][0], second[place], atol=atol)

    described = model.describe()
    config = type(model).config_class(**described["config"])
    loaded = type(model).from_tensors(config, tensors=model.tensors(), **model.shape)
    np.testing.assert_array_equal(loaded.score_pairs(sources, targets), scores)
    assert loaded.describe() == described
    assert loaded.n_parameters == model.n_parameters
