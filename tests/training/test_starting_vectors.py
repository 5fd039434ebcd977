"""`--vectors`: which rows begin as vectors, by what factor, and whether they stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rung
from rung.errors import UserError
from rung.models.vectors.files import read_vectors, write_vectors
from tests.text_made import sentences

WORDS = ["COWS", "grass", "hay", "the", "zebra"]
LANGUAGE: dict[str, dict[str, Any]] = {
    "mlp": {"n_hidden": 8},
    "wavenet": {"n_hidden": 8},
    "lstm": {"n_hidden": 8},
    "gpt": {"n_layer": 1, "n_head": 2, "context": 8},
    "bert": {"n_layer": 1, "n_head": 2, "context": 16},
}
LABELS: dict[str, dict[str, Any]] = {"gru": {"n_hidden": 8}, "gpt": LANGUAGE["gpt"], "bert": LANGUAGE["bert"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("starting")
    (folder / "text.txt").write_text(sentences(200), encoding="utf-8")
    rows = [f"{text}\t{'hay' in text}" for text in sentences(200).split("\n") if text]
    (folder / "rows.tsv").write_text("text\tsize\n" + "\n".join(rows) + "\n", encoding="utf-8")
    vectors = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    write_vectors(folder / "vectors.txt", WORDS, vectors)
    return folder


def trained(folder: Path, out: Path, name: str, how: dict[str, Any], **more: Any) -> rung.Run:
    label = {"label": "size"} if more.pop("labels", False) else {"documents": "lines"}
    data = folder / ("rows.tsv" if "label" in label else "text.txt")
    how = {"steps": 2, "batch_size": 4, "tokenizer": "word", **label, **how, **more}
    return rung.train(name, data, out=out, **how)


def table_of(run: rung.Run) -> np.ndarray:
    return run.model.network.token_embedding.numpy(force=True)


def ids_of(run: rung.Run, words: list[str]) -> list[int]:
    return [run.tokenizer.encode("we " + word)[-1] for word in words]


CASES = [
    *((name, how, False) for name, how in LANGUAGE.items()),
    *((n, how, True) for n, how in LABELS.items()),
]


@pytest.mark.parametrize(("name", "how", "labels"), CASES)
def test_rows_begin_as_vectors_and_stay_or_learn(
    name: str, how: dict[str, Any], labels: bool, folder: Path, tmp_path: Path
):
    vectors = folder / "vectors.txt"
    frozen = trained(folder, tmp_path / "a", name, how, labels=labels, vectors=vectors, vectors_frozen=True)
    learned = trained(folder, tmp_path / "b", name, how, labels=labels, vectors=vectors)
    random = trained(folder, tmp_path / "c", name, how, labels=labels, n_embd=6, steps=1, lr=1e-30)
    own = read_vectors(vectors).vectors[:4]
    kept, rest = ids_of(frozen, ["cows", "grass", "hay", "the"]), ids_of(frozen, ["moon", "letter"])
    # A common factor, that of the spread: one number, the same for every word.
    factors = table_of(frozen)[kept] / own
    np.testing.assert_allclose(factors, factors.mean(), rtol=1e-5)
    assert factors.mean() > 0
    size = frozen.tokenizer.vocab_size
    spreads = [
        np.sqrt(np.square(rows, dtype=np.float64).mean())
        for rows in (table_of(frozen)[kept], table_of(random)[:size])
    ]
    assert spreads[0] == pytest.approx(spreads[1], rel=1e-4)
    # What has no vector begins as ever; frozen, it stays, too.
    np.testing.assert_allclose(table_of(frozen)[rest], table_of(random)[rest], rtol=1e-5)
    assert not np.array_equal(table_of(learned)[kept], table_of(frozen)[kept])
    said = frozen.recipe["vectors"]
    assert (said["frozen"], said["source"]) == (True, vectors.as_posix())
    assert said["tokens"] >= 4


def test_a_run_is_as_good_as_a_file_and_resumed_is_left_alone(folder: Path, tmp_path: Path):
    source = rung.train("skipgram", folder / "text.txt", out=tmp_path / "sg", width=6, documents="lines")
    how = {
        "n_hidden": 8,
        "vectors": source.folder,
        "vectors_frozen": True,
        "eval_every": 2,
        "checkpoint_every": 2,
    }
    whole = trained(folder, tmp_path / "whole", "mlp", how, steps=6)
    steps = iter(range(100))
    trained(folder, tmp_path / "part", "mlp", how, steps=6, stop=lambda: next(steps) >= 2)
    part = rung.resume(tmp_path / "part")
    assert all(np.array_equal(part.model.tensors()[n], array) for n, array in whole.model.tensors().items())
    assert rung.train_again(whole.folder, out=tmp_path / "again").same


def test_bag_of_ngrams_begins_with_them(folder: Path, tmp_path: Path):
    vectors = folder / "vectors.txt"
    how = {"label": "size", "vectors": vectors, "width": 6, "epochs": 1, "rate": 1e-12, "letters": 0}
    run = rung.train("bag-of-ngrams", folder / "rows.tsv", out=tmp_path / "a", **how)
    buckets = run.config.hashing().of_words(["cows", "grass", "hay", "the"])
    rows = run.model.table[np.searchsorted(run.model.buckets, buckets)]
    factors = rows / read_vectors(vectors).vectors[:4]
    np.testing.assert_allclose(factors, factors.mean(), rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "how", "message"),
    [
        ("ngram", {}, "--vectors does not go with ngram"),
        ("neural-bigram", {}, "--vectors does not go with neural-bigram"),
        ("mlp", {"n_embd": 7}, "--n-embd 7 does not go with --vectors .* 6 numbers a word"),
        ("rnn", {"inputs": "one-hot"}, "--inputs one-hot"),
        ("mlp", {"from_": "nowhere"}, "--vectors and --from"),
        ("mlp", {"tokenizer": "byte", "vectors": "none.txt"}, "there is no file none.txt"),
    ],
)
def test_what_does_not_go_together(
    name: str, how: dict[str, Any], message: str, folder: Path, tmp_path: Path
):
    how = {"vectors": folder / "vectors.txt", "steps": 1, **how}
    with pytest.raises(UserError, match=message):
        rung.train(name, folder / "text.txt", out=tmp_path / "a", **how)
    assert not (tmp_path / "a").exists()


def test_frozen_is_said_of_vectors_and_some_token_has_one(folder: Path, tmp_path: Path):
    with pytest.raises(UserError, match="--vectors-frozen is said of vectors"):
        rung.train("mlp", folder / "text.txt", out=tmp_path / "a", vectors_frozen=True)
    write_vectors(tmp_path / "other.txt", ["zebra"], np.ones((1, 6), np.float32))
    with pytest.raises(UserError, match="no token of the char tokeniser"):
        rung.train("mlp", folder / "text.txt", out=tmp_path / "a", steps=1, vectors=tmp_path / "other.txt")
