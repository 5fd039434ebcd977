"""Hidden words: the measure by a slow hand, pseudo-log-likelihoods, filling, and training that goes on as it was."""

from __future__ import annotations

import math
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rung
from rung.errors import UserError
from rung.generation.masked import accuracy
from rung.tasks.hidden_scores import pseudo_log_probs
from rung.tasks.masked import MaskedModeling, chosen
from rung.text.masking import HIDDEN
from rung.text.stream import TokenStream
from tests.models.transformer.test_bert import END, V, small
from tests.text_made import sentences

SHAPE: dict[str, Any] = {"n_layer": 1, "n_embd": 16, "context": 20, "batch_size": 8, "tokenizer": "word"}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("masked") / "text.txt"
    path.write_text(sentences(200), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(text: Path) -> rung.Run:
    return rung.train(
        "bert",
        text,
        out=text.parent / "run",
        steps=150,
        lr=5e-3,
        next_sentence=True,
        documents="lines",
        **SHAPE,
    )


def test_each_token_hidden_in_turn_costs_what_a_loop_says() -> None:
    """Beyond the context a window is read; within it, all of the text."""
    model = small()
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, V - 1, n) for n in (5, 0, 12, 40)]
    found = pseudo_log_probs(model, TokenStream.of(documents, END))
    expected: list[float] = []
    for ids in documents[:3]:
        for place, right in enumerate(ids):
            hidden = ids.copy()
            hidden[place] = HIDDEN
            expected.append(float(model.masked_log_probs(hidden[None])[0, right]))
        expected.append(0.0)
    np.testing.assert_allclose(found[: len(expected)], expected, atol=1e-5)
    assert found[-1] == 0
    assert (found[len(expected) : -1] < 0).all()


def test_the_measure_is_what_all_hidden_tokens_cost_at_once(trained: rung.Run) -> None:
    corpus = trained.corpus
    nats, hits, n = 0.0, 0, 0
    for ids, places in chosen(corpus.stream("test"), corpus.tokenizer):
        hidden = ids.copy()
        hidden[places] = HIDDEN
        log_probs = trained.model.masked_log_probs(hidden[None])
        nats -= float(log_probs[np.arange(len(places)), ids[places]].sum())
        hits += int((log_probs.argmax(axis=1) == ids[places]).sum())
        n += len(places)
    measured = rung.evaluate(trained)
    assert measured.bits_per_mask == pytest.approx(nats / math.log(2) / n, rel=1e-5)
    assert (measured.masks, measured.accuracy) == (n, pytest.approx(hits / n))
    assert 0 <= measured.next_sentence_accuracy <= 1
    assert any("no probability of the text" in note for note in measured.notes)


def test_pseudo_bits_per_byte_are_the_pseudo_log_likelihood_over_the_bytes(trained: rung.Run) -> None:
    """The test text has fewer tokens than are drawn: all of them."""
    stream = trained.corpus.stream("test")
    total = -float(pseudo_log_probs(trained.model, stream).sum())
    n_bytes = trained.corpus.n_bytes("test")
    assert rung.evaluate(trained).pseudo_bits_per_byte == pytest.approx(
        total / math.log(2) / n_bytes, rel=1e-4
    )


def test_masks_of_a_measure_are_the_texts_own(trained: rung.Run) -> None:
    stream, tokenizer = trained.corpus.stream("validation"), trained.corpus.tokenizer
    there = [places.tolist() for _, places in chosen(stream, tokenizer)]
    order = np.arange(stream.n_documents)[::-1]
    assert [places.tolist() for _, places in chosen(stream.of_documents(order), tokenizer)] == there[::-1]


def test_it_learns_what_a_context_tells_and_frequencies_do_not(trained: rung.Run, text: Path) -> None:
    counted = rung.train("unigram", text, out=text.parent / "unigram", documents="lines", tokenizer="word")
    assert rung.evaluate(trained).bits_per_mask < rung.evaluate(counted).bits_per_mask - 0.5


def test_a_blank_is_filled_by_what_is_likeliest_on_both_sides(trained: rung.Run) -> None:
    tokenizer, model = trained.tokenizer, trained.model
    line = next(iter(trained.corpus.text("test")))
    words = line.split(" ")
    masked = " ".join([*words[:1], "[MASK]", *words[2:]])
    found = rung.fill(trained, masked, n_best=3)
    ids = tokenizer.encode(line).astype(np.int64)
    ids[1] = HIDDEN
    log_probs = model.masked_log_probs(ids[None])[0]
    spaced = [i for i, t in enumerate(tokenizer.token_bytes) if t[:1] == b" " and t.strip()]
    best = sorted(spaced, key=lambda i: -log_probs[i])[:3]
    assert [one.log_prob for one in found] == pytest.approx([float(log_probs[i]) for i in best], abs=1e-5)
    assert found[0].text == " ".join([words[0], tokenizer.token_bytes[best[0]].decode()[1:], *words[2:]])


def test_two_blanks_are_filled_by_the_chain_and_a_wide_beam_is_exact(trained: rung.Run) -> None:
    tokenizer, model = trained.tokenizer, trained.model
    line = next(iter(trained.corpus.text("test")))
    words = line.split(" ")
    (found,) = rung.fill(trained, " ".join(["[MASK]", "[MASK]", *words[2:]]), n_best=1, beams=1000)
    ids = tokenizer.encode(line).astype(np.int64)
    ids[:2] = HIDDEN
    first = model.masked_log_probs(ids[None])[0]
    best = -math.inf
    can = [i for i, t in enumerate(tokenizer.token_bytes) if t[:1] == b" " and t.strip()]
    for one in can:
        given = ids.copy()
        given[0] = one
        best = max(best, float(first[one] + model.masked_log_probs(given[None])[0][can].max()))
    assert found.log_prob == pytest.approx(best, abs=1e-4)


def test_hidden_words_are_ranked_as_by_a_loop(trained: rung.Run) -> None:
    lines = list(trained.corpus.text("test"))[:4]
    found = accuracy(trained.model, trained.tokenizer, lines, mask_rate=1.0)
    ranks: list[int] = []
    for line in lines:
        ids = trained.tokenizer.encode(line).astype(np.int64)
        for place, right in enumerate(ids):
            if not any(c.isalnum() for c in trained.tokenizer.token_bytes[right].decode("utf-8", "replace")):
                continue
            hidden = ids.copy()
            hidden[place] = HIDDEN
            log_probs = trained.model.masked_log_probs(hidden[None])[0][:-1]
            ranks.append(1 + int((log_probs > log_probs[right]).sum()))
    assert found.top1 == pytest.approx(np.mean(np.array(ranks) == 1), abs=0.02)


@pytest.mark.parametrize("pairs", [False, True])
def test_interrupted_and_resumed_it_ends_with_the_same_weights(
    text: Path, tmp_path: Path, pairs: bool
) -> None:
    how: dict[str, Any] = {"steps": 8, "eval_every": 4, "next_sentence": pairs, "documents": "lines", **SHAPE}
    whole = rung.train("bert", text, out=tmp_path / "whole", **how)
    steps = count()
    part = rung.train("bert", text, out=tmp_path / "part", stop=lambda: next(steps) >= 3, **how)
    assert part.recipe["status"] == "training"
    resumed = rung.resume(part.folder)
    for name, tensor in whole.model.tensors().items():
        np.testing.assert_array_equal(resumed.model.tensors()[name], tensor, err_msg=name)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda run: rung.score(run, ["x"]), "no language model"),
        (lambda run: rung.generate(run, "x"), "rung fill"),
        (lambda run: rung.fill(run, "no mask"), r"no \[MASK\]"),
        (lambda run: rung.predict(run, ["x"]), "masked"),
    ],
)
def test_what_it_cannot_do_is_said(trained: rung.Run, call: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        list(call(trained))


def test_a_window_longer_than_the_context_is_refused(text: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--window 19"):
        rung.train("bert", text, out=tmp_path / "run", steps=1, window=19, documents="lines", **SHAPE)
    assert not (tmp_path / "run").exists()
    assert MaskedModeling().size_of({"masks": 3}) == "3 masks"
