"""Learning by contrast on files: the task that is meant, pairs of rows, exact resuming, what can't be learned from."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rung
from rung.errors import UserError
from rung.models.partners import partner_scores
from rung.tasks import task_from
from rung.text.pairs import PairCorpus
from rung.text.views import Views
from tests.text_made import sentences

SHAPE: dict[str, Any] = {"n_embd": 16, "n_hidden": 16, "batch_size": 16, "tokenizer": "word"}

LETTERS = "bcdfghjklmnpqrstvwxz"
EATS = {letter + "o": "a" + LETTERS[(7 * i) % 20] for i, letter in enumerate(LETTERS)}
ASKS = ["what does", "tell me what can", "say , whatever would", "do you know what a good"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an animal eats is told by its name; the nouns are no help."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rng = np.random.default_rng(0)
    names = rng.choice(list(EATS), 300)
    rows = [
        {"ask": f"{asks} {name} eat ?", "say": f"it is {EATS[name]} I think"}
        for name, asks in zip(names, rng.choice(ASKS, 300), strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def trained(pairs: Path) -> rung.Run:
    return rung.train(
        "gru",
        pairs,
        views="pairs",
        field="ask",
        second="say",
        out=pairs.parent / "run",
        steps=120,
        lr=1e-2,
        **SHAPE,
    )


def test_which_task_is_meant() -> None:
    for settings, task in (
        ({"views"}, "contrastive"),
        ({"views", "second"}, "contrastive"),
        ({"second"}, "classification"),
        ({"label", "second"}, "classification"),
        (set(), "masked"),
    ):
        assert task_from(["bert"], settings) == task
    assert task_from(["gru", "bert"], ()) == "classification"
    assert task_from(["tf-idf", "gru"], ()) == "contrastive"


def test_pairs_are_kept_together_and_learned(trained: rung.Run, pairs: Path) -> None:
    corpus = trained.corpus
    assert isinstance(corpus, PairCorpus)
    decode = trained.tokenizer.decode
    rows = {(row["ask"], row["say"]) for row in map(json.loads, pairs.read_text().splitlines())}
    kept = [
        tuple(decode(np.asarray(stream.document(i)[:-1])) for stream in corpus.pairs(part))
        for part in corpus.splits
        for i in range(corpus.stream(part).n_documents)
    ]
    assert len(kept) == 300
    assert set(kept) == rows  # some are there twice
    measured = rung.evaluate(trained)
    scores = partner_scores(trained.model, Views.of(*corpus.pairs("test")), 0.05)
    assert measured.bits_per_example == pytest.approx(-scores[:, 0].mean() / np.log(2))
    assert measured.accuracy == pytest.approx(scores[:, 1].mean())
    assert measured.accuracy > 0.8  # chance: 1 of 15
    other = rung.evaluate(trained, pairs)
    assert (other.examples, other.candidates) == (300, 64)


def test_what_is_embedded_is_what_was_learned(trained: rung.Run, tmp_path: Path) -> None:
    said = [f"it is {food} I think" for food in EATS.values()]
    (tmp_path / "said.txt").write_text("\n".join(said) + "\n")
    for name in ("bo", "mo"):
        found = rung.nearest(trained, f"what does {name} eat ?", tmp_path / "said.txt", n=1)
        assert found[0].text == f"it is {EATS[name]} I think"


@pytest.mark.parametrize("views", ["dropout", "halves"])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(views: str, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(sentences(120), encoding="utf-8")

    def trained(name: str, stop: int | None) -> bytes:
        steps = count(1)
        rung.train(
            "bert",
            text,
            out=tmp_path / name,
            views=views,
            documents="lines",
            steps=12,
            n_layer=1,
            n_embd=16,
            checkpoint_every=4,
            batch_size=8,
            tokenizer="word",
            stop=lambda: stop is not None and next(steps) >= stop,
        )
        if stop is not None:
            rung.resume(tmp_path / name)
        return (tmp_path / name / "model.safetensors").read_bytes()

    assert trained("whole", None) == trained("stopped", 6)


def test_bad_input(pairs: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.jsonl"
    half.write_text('{"text": "a", "text_2": "b"}\n{"text": "c", "text_2": null}\n')
    one = tmp_path / "one.txt"
    one.write_text("one text, and no other\n")
    settings: dict[str, Any] = {"out": tmp_path / "run", "steps": 1, "task": "contrastive"}
    cases: list[tuple[Path, dict[str, Any], str]] = [
        (half, {"views": "pairs"}, "record 2 has no text in 'text_2'"),
        (pairs, {"views": "pairs"}, "no field 'text'"),
        (pairs, {"views": "pairs", "field": "ask"}, "no field 'text_2'"),
        (one, {"views": "pairs"}, "pairs need rows"),
        (one, {"documents": "lines", "split": "100/0/0"}, "is one text"),
        (pairs, {"views": "dropout", "second": "say"}, "does not go with --views dropout"),
        (pairs, {"views": "pairs", "split_by": "time"}, "--split-by time does not go with --views pairs"),
        (pairs, {"views": "dropout", "field": "ask", "dropout": 0.0}, "--dropout 0 makes the two views"),
        (pairs, {"field": "ask", "batch_size": 1}, "--batch-size 1 leaves nothing"),
        (pairs, {"views": "thirds"}, "--views thirds is unknown"),
    ]
    for data, more, said in cases:
        with pytest.raises(UserError, match=said):
            rung.train("gru", data, **settings, **more)
        assert not (tmp_path / "run").exists()
