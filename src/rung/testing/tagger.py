"""The promises of a tagger, as checks."""

from __future__ import annotations

import numpy as np

from rung.models.tagger import Tagger
from rung.text.stream import TokenStream
from rung.text.tagged import word_counts


def check_tagger(model: Tagger, *, seed: int = 0) -> None:
    """Check that a tagger keeps every promise of its contract. It need not be trained.

    Args:
        model: any rung of tags: of yours, `run.model`.
        seed: of the sentences tried.

    Raises AssertionError for the first promise that is broken.
    """
    rng = np.random.default_rng(seed)
    lengths = [1, 2, 0, 7, 60, 1, 3]  # an empty sentence and a long one among them
    ids = [i for i in range(model.vocab_size - 1) if i != model.end]
    sentences = [_sentence(model, [rng.choice(ids, rng.integers(1, 9)) for _ in range(n)]) for n in lengths]
    stream = TokenStream.of(sentences, model.end)
    n_words, n_tags = sum(lengths), len(model.tags)
    assert word_counts(stream, model.delimiter).tolist() == lengths

    log_probs = model.log_probs(stream)
    assert log_probs.shape == (n_words, n_tags)
    assert np.isfinite(log_probs).all(), "a tag has a probability of zero"
    np.testing.assert_allclose(np.exp(log_probs, dtype=np.float64).sum(axis=1), 1, atol=1e-5)
    answer = model.decode(stream)
    assert answer.shape == (n_words,)
    assert ((answer >= 0) & (answer < n_tags)).all()

    # All the ways to tag a short sentence have the probability 1 together, and one word's are its marginals.
    short = TokenStream.of([sentences[1]], model.end)
    firsts, seconds = (grid.ravel() for grid in np.indices((n_tags, n_tags)))
    together = (
        np.array([model.score(short, np.array(pair))[0] for pair in zip(firsts, seconds, strict=True)])
        if n_tags <= 30
        else None
    )
    if together is not None:
        joint = np.exp(together, dtype=np.float64).reshape(n_tags, n_tags)
        assert abs(joint.sum() - 1) < 1e-4, "the tags of a sentence don't add up to one"
        own = np.exp(model.log_probs(short), dtype=np.float64)
        np.testing.assert_allclose(np.stack([joint.sum(axis=1), joint.sum(axis=0)]), own, atol=1e-4)
    tags = rng.integers(0, n_tags, n_words)
    scores = model.score(stream, tags)
    assert scores.shape == (len(lengths),)
    assert np.isfinite(scores).all(), "a way to tag has a probability of zero"

    # Which sentences stand beside one does not matter, nor their order.
    order = rng.permutation(len(lengths))
    shuffled = TokenStream.of([sentences[i] for i in order], model.end)
    words = np.split(np.arange(n_words), np.cumsum(lengths)[:-1])
    places = np.concatenate([words[i] for i in order])
    np.testing.assert_allclose(model.log_probs(shuffled), log_probs[places], atol=1e-5)
    np.testing.assert_array_equal(model.decode(shuffled), answer[places])
    np.testing.assert_allclose(model.score(shuffled, tags[places]), scores[order], atol=1e-4)
    for sentence, own in zip(sentences, words, strict=True):
        alone = TokenStream.of([sentence], model.end)
        np.testing.assert_allclose(model.log_probs(alone), log_probs[own], atol=1e-5)
    assert model.log_probs(TokenStream.of([], model.end)).shape == (0, n_tags)

    described = model.describe()
    config = type(model).config_class(**described["config"])
    loaded = type(model).from_tensors(config, tensors=model.tensors(), **model.shape)
    np.testing.assert_array_equal(loaded.log_probs(stream), log_probs)
    np.testing.assert_array_equal(loaded.score(stream, tags), scores)
    assert loaded.describe() == described
    assert loaded.n_parameters == model.n_parameters


def _sentence(model: Tagger, words: list[np.ndarray]) -> np.ndarray:
    """The ids of words, the delimiter between them."""
    pieces = [piece for word in words for piece in (word, [model.delimiter])]
    return np.concatenate(pieces[:-1]) if pieces else np.empty(0, np.int64)
