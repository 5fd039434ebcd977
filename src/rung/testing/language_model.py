"""What every language model must do, whatever is inside: the contract of `rung.models.base`, as one check."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np

from rung.models.base import LanguageModel
from rung.models.translator import GivenSources
from rung.text.stream import TokenStream


def check_model(model: LanguageModel, *, seed: int = 0, atol: float = 1e-4) -> None:
    """Check that a language model keeps every promise of its contract. It need not be trained.

    Lengths reach well past a finite context, so the window policy is checked too.

    Args:
        model: any rung: of yours, `run.model`.
        seed: of the token histories tried.
        atol: how far two paths to the same log-probability may lie apart, in nats.

    Raises AssertionError for the first promise that is broken.
    """
    rng = np.random.default_rng(seed)
    length = 12 if model.context is None else min(3 * model.context + 5, 64)
    rows = rng.integers(0, model.vocab_size, (3, length))
    for check in CHECKS:
        if check is saved_is_the_same and isinstance(model, GivenSources):
            continue  # a view of sources is made anew, of a model that is kept
        try:
            check(model, rows, atol)
        except AssertionError as error:
            name = check.__name__.replace("_", " ")
            raise AssertionError(f"{type(model).__name__} breaks a promise, {name!r}: {error}") from error


def walk(model: LanguageModel, rows: np.ndarray) -> np.ndarray:
    """The next-token log-probabilities (B, T, V) along `rows`, one `advance` a token from the document mark."""
    state = model.start(len(rows))
    previous = np.full(len(rows), model.end)
    out = []
    for t in range(rows.shape[1]):
        log_probs, state = model.advance(state, previous)
        assert log_probs.shape == (len(rows), model.vocab_size)
        assert log_probs.dtype in (np.float32, np.float64)
        out.append(np.array(log_probs))
        previous = rows[:, t]
    return np.stack(out, axis=1)


def sums_to_one(model: LanguageModel, rows: np.ndarray, atol: float) -> None:
    totals = np.exp(walk(model, rows).astype(np.float64)).sum(axis=-1)
    np.testing.assert_allclose(totals, 1, atol=atol)


def score_equals_the_walk(model: LanguageModel, rows: np.ndarray, atol: float) -> None:
    expected = np.take_along_axis(walk(model, rows), rows[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(model.score(rows), expected, atol=atol, rtol=1e-5)


def batch_equals_its_rows(model: LanguageModel, rows: np.ndarray, atol: float) -> None:
    together = model.score(rows)
    assert together.shape == rows.shape
    for row, tokens in enumerate(rows):
        alone = model.score(tokens)
        assert alone.shape == tokens.shape
        np.testing.assert_allclose(alone, together[row], atol=atol, rtol=1e-5)
    assert model.score(rows[0, :0]).shape == (0,)


def future_cannot_change_the_past(model: LanguageModel, rows: np.ndarray, atol: float) -> None:
    cut = rows.shape[1] // 2
    changed = rows.copy()
    changed[:, cut:] = (changed[:, cut:] + 1) % model.vocab_size
    np.testing.assert_allclose(
        model.score(changed)[:, :cut], model.score(rows)[:, :cut], atol=atol, rtol=1e-5
    )


def old_states_stay_valid(model: LanguageModel, rows: np.ndarray, atol: float) -> None:
    """Advance along two branches from every state on the way; each old state answers as it did before."""
    state = model.start(len(rows))
    _, state = model.advance(state, np.full(len(rows), model.end))
    for t in range(rows.shape[1]):
        first, after = model.advance(state, rows[:, t])
        first = np.array(first)
        branch, _ = model.advance(state, (rows[:, t] + 1) % model.vocab_size)
        assert branch.shape == first.shape
        again, _ = model.advance(state, rows[:, t])
        np.testing.assert_allclose(again, first, atol=atol, rtol=1e-5)
        state = after


def select_takes_rows(model: LanguageModel, rows: np.ndarray, atol: float) -> None:
    pick = np.array([2, 0, 0])
    history = np.concatenate([np.full((len(rows), 1), model.end), rows], axis=1)
    _, state = model.advance(model.start(len(rows)), history)
    expected, _ = model.advance(state, rows[:, 0])
    selected, _ = model.advance(model.select(state, pick), rows[pick, 0])
    np.testing.assert_allclose(selected, expected[pick], atol=atol, rtol=1e-5)


def prompt_at_once_equals_token_by_token(model: LanguageModel, rows: np.ndarray, atol: float) -> None:
    history = np.concatenate([np.full((len(rows), 1), model.end), rows], axis=1)
    for cut in (1, 2, history.shape[1] // 2, history.shape[1] - 1):
        _, state = model.advance(model.start(len(rows)), history[:, :cut])
        at_once, _ = model.advance(state, history[:, cut:])
        stepwise = state
        log_probs = at_once
        for t in range(cut, history.shape[1]):
            log_probs, stepwise = model.advance(stepwise, history[:, t])
        np.testing.assert_allclose(at_once, log_probs, atol=atol, rtol=1e-5)


def every_answer_on_the_way(model: LanguageModel, rows: np.ndarray, atol: float) -> None:
    """`advance_all` in pieces gives what the walk gives; each of its states, and the old one, can be advanced."""
    inputs = np.concatenate([np.full((len(rows), 1), model.end), rows], axis=1)[:, :-1]
    expected = walk(model, rows)
    state = model.start(len(rows))
    cuts = [0, 1, 4, inputs.shape[1] // 2, inputs.shape[1]]
    for begin, stop in pairwise(sorted(set(cuts))):
        log_probs, states = model.advance_all(state, inputs[:, begin:stop])
        assert len(states) == stop - begin
        np.testing.assert_allclose(log_probs, expected[:, begin:stop], atol=atol, rtol=1e-5)
        for t in range(begin, stop - 1):
            branch, _ = model.advance(states[t - begin], (inputs[:, t + 1] + 1) % model.vocab_size)
            assert branch.shape == expected[:, 0].shape
            again, _ = model.advance(states[t - begin], inputs[:, t + 1])
            np.testing.assert_allclose(again, expected[:, t + 1], atol=atol, rtol=1e-5)
        again, _ = model.advance_all(state, inputs[:, begin:stop])
        np.testing.assert_allclose(again, log_probs, atol=atol, rtol=1e-5)
        state = states[-1]


def stream_equals_documents(model: LanguageModel, rows: np.ndarray, atol: float) -> None:
    """Documents of unlike lengths, an empty one among them, scored in one call and one by one."""
    documents = [rows[0], rows[1, :0], rows[2, :3], rows[1, :1], rows[1]]
    stream = TokenStream.of(documents, model.end)
    expected = np.concatenate([model.score(np.append(document, model.end)) for document in documents])
    scores = model.score_stream(stream)
    assert scores.shape == (stream.n_tokens,)
    np.testing.assert_allclose(scores, expected, atol=atol, rtol=1e-5)


def nothing_is_impossible(model: LanguageModel, rows: np.ndarray, atol: float) -> None:
    assert np.isfinite(walk(model, rows)).all(), "a token has a probability of zero, or NaN"


def saved_is_the_same(model: LanguageModel, rows: np.ndarray, atol: float) -> None:
    """Through tensors and JSON, as a run folder stores them, and with arrays that can't be written to."""
    tensors = {name: np.array(tensor) for name, tensor in model.tensors().items()}
    for tensor in tensors.values():
        tensor.setflags(write=False)
    settings: dict[str, Any] = json.loads(json.dumps(asdict(model.config)))
    config = type(model.config)(**settings)
    assert config == model.config
    again = type(model).from_tensors(config, model.vocab_size, model.end, tensors)
    np.testing.assert_array_equal(again.score(rows), model.score(rows))
    np.testing.assert_array_equal(walk(again, rows), walk(model, rows))
    assert again.n_parameters == model.n_parameters


CHECKS = (
    nothing_is_impossible,
    sums_to_one,
    score_equals_the_walk,
    batch_equals_its_rows,
    future_cannot_change_the_past,
    old_states_stay_valid,
    select_takes_rows,
    prompt_at_once_equals_token_by_token,
    every_answer_on_the_way,
    stream_equals_documents,
    saved_is_the_same,
)
