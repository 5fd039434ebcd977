"""Labels through the same waist as text: data, batches, measures, rungs, verbs."""

from __future__ import annotations

import copy
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, log_loss

import rung
from rung.cli import main
from rung.errors import UserError
from rung.events import Note
from rung.models.counting.majority import Majority, MajorityConfig
from rung.models.networks.recurrent_classifier import RecurrentClassifierConfig, RNNClassifier
from rung.tasks.classification import Classification, ExampleBatches
from rung.testing import check_classifier
from rung.text.labelled import prepare_labelled
from rung.text.options import LabelOptions
from rung.text.stream import LabelledExamples, LabelledStream, TokenStream
from rung.text.windows import PADDING

LABELS = ["no", "perhaps", "yes"]
V, END = 9, 8


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """300 short texts; words tell the label, most of the time."""
    rng = np.random.default_rng(0)
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["id", "text", "stars"])
        for i in range(300):
            label = ["one", "three", "five"][i % 10 // 4]  # 40, 40 and 20 %
            words = rng.choice([label, "the", "a", "film"], rng.integers(2, 7), p=[0.4, 0.2, 0.2, 0.2])
            out.writerow([i, " ".join(words), label])
    return path


def examples(lengths: list[int], seed: int = 0) -> LabelledStream:
    rng = np.random.default_rng(seed)
    stream = TokenStream.of([rng.integers(0, END, n) for n in lengths], END)
    return LabelledStream(stream, rng.integers(0, len(LABELS), len(lengths)))


def random_network() -> RNNClassifier:
    return RNNClassifier.initialise(RecurrentClassifierConfig(4, 5), V, END, LABELS, seed=0)


def test_the_contract_of_classifiers():
    check_classifier(Majority(MajorityConfig(), V, END, LABELS, np.array([5, 0, 2])))
    check_classifier(random_network())


def test_majority_by_hand():
    """Of 7 labels 5 are the first: with add-one smoothing over three, 6/10, 1/10 and 3/10."""
    texts = LabelledStream(examples([3] * 7).stream, np.array([0, 0, 2, 0, 0, 2, 0]))
    (model,) = Majority.fit(MajorityConfig(), LabelledExamples(texts), V, END, LABELS)
    assert isinstance(model, Majority)
    np.testing.assert_allclose(np.exp(model.log_probs(texts.stream)), [[0.6, 0.1, 0.3]] * 7)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 2), min_size=2, max_size=40), st.integers(0, 99))
def test_the_measure_is_scikit_learns(right: list[int], seed: int):
    labels = np.array(right)
    logits = np.random.default_rng(seed).normal(size=(len(labels), 3))
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    measured = Classification().measure_labels(log_probs, labels, "test")
    assert measured.bits_per_example == pytest.approx(
        log_loss(labels, np.exp(log_probs), labels=[0, 1, 2]) / np.log(2)
    )
    guessed = log_probs.argmax(axis=1)
    assert measured.accuracy == pytest.approx(accuracy_score(labels, guessed))
    assert measured.macro_f1 == pytest.approx(f1_score(labels, guessed, average="macro"))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 5), st.integers(0, 3))
def test_batches_are_functions_of_seed_and_number_and_meet_every_example_once_an_epoch(
    lengths: list[int], batch_size: int, seed: int
):
    labelled = examples(lengths)
    in_order = [
        ExampleBatches(labelled, None, batch_size, seed, slice(None)).batch(t) for t in range(len(lengths))
    ]
    batches = ExampleBatches(labelled, None, batch_size, seed, slice(None))
    for t in reversed(range(len(lengths))):
        for ours, theirs in zip(batches.batch(t).arrays, in_order[t].arrays, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    seen = []  # batch_size epochs
    for batch in in_order:
        for row, label in zip(*batch.arrays, strict=True):
            seen.append((tuple(row[row != PADDING].tolist()), int(label)))
    expected = [
        (tuple(labelled.stream.document(i)[:-1].tolist()), int(label))
        for i, label in enumerate(labelled.labels)
    ]
    for epoch in range(batch_size):
        part = seen[epoch * len(lengths) : (epoch + 1) * len(lengths)]
        assert sorted(part) == sorted(expected)


def test_two_processes_share_a_batch():
    labelled = examples([3, 1, 4, 1, 5])
    whole = ExampleBatches(labelled, None, 4, 0, slice(None)).batch(2)
    halves = [ExampleBatches(labelled, None, 4, 0, rows).batch(2) for rows in (slice(0, 2), slice(2, 4))]
    assert [half.n_targets for half in halves] == [4, 4]
    np.testing.assert_array_equal(np.concatenate([half.arrays[1] for half in halves]), whole.arrays[1])


def test_every_part_has_its_share_of_every_label(rows: Path, tmp_path: Path):
    corpus = prepare_labelled(rows, tmp_path / "data", LabelOptions(label="stars", split="80/10/10"))
    assert corpus.labels == ["five", "one", "three"]
    assert {part: len(corpus.labelled(part).labels) for part in corpus.splits} == {
        "train": 240,
        "validation": 30,
        "test": 30,
    }
    for part, n in (("train", 240), ("validation", 30), ("test", 30)):
        shares = np.bincount(corpus.labelled(part).labels, minlength=3) / n
        np.testing.assert_allclose(shares, [0.2, 0.4, 0.4], atol=1e-9)
    read = sorted(
        corpus.tokenizer.decode(corpus.stream(part).document(i))
        for part in corpus.splits
        for i in range(corpus.stream(part).n_documents)
    )
    with rows.open() as file:
        assert read == sorted(row["text"] for row in csv.DictReader(file))


def test_labels_may_be_numbers_and_truths(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": f"word {i}", "label": i % 2 == 0}) + "\n" for i in range(40)))
    assert prepare_labelled(path, tmp_path / "a", LabelOptions()).labels == ["false", "true"]
    path.write_text("".join(json.dumps({"text": f"word {i}", "label": i % 3}) + "\n" for i in range(60)))
    assert prepare_labelled(path, tmp_path / "b", LabelOptions()).labels == ["0", "1", "2"]
    path.write_text('{"text": "a", "label": "\\ud800"}\n{"text": "b", "label": "x"}\n')  # half a character
    assert prepare_labelled(path, tmp_path / "c", LabelOptions()).labels == ["x", "\ufffd"]


def test_white_space_around_a_label_is_no_part_of_it(tmp_path: Path):
    path = tmp_path / "rows.json"
    path.write_text(
        json.dumps([{"text": f"x{i % 4}", "label": ["a", "a ", "\tb", "b"][i % 4]} for i in range(40)])
    )
    corpus = prepare_labelled(path, tmp_path / "data", LabelOptions(split="80/0/20"))
    assert (corpus.labels, corpus.facts["counts"]) == (["a", "b"], {"a": 20, "b": 20})
    assert corpus.facts["in_training"] == {"pieces": "texts", "test": 1}


def test_from_rows_to_the_report(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    report = rung.climb(rows, label="stars", rungs=["majority", "bag-of-words"], out=tmp_path / "climb")
    lower, upper = report["rungs"]
    assert (lower["name"], upper["name"], report["best"]) == ("majority", "bag-of-words", "bag-of-words")
    assert lower["bits_per_example"] > upper["bits_per_example"]
    assert upper["ci95"][0] <= upper["bits_per_example"] <= upper["ci95"][1]
    assert report["steps"][0]["larger_than_noise"]
    page = (tmp_path / "climb" / "report.html").read_text()
    assert "Macro-F1" in page
    assert "bits per example" in page
    assert "per byte" not in page
    run = rung.load(tmp_path / "climb" / "bag-of-words")
    measured = rung.evaluate(run)
    assert measured.to_json()["task"] == "classification"
    assert measured.bits_per_example == pytest.approx(upper["bits_per_example"])
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(run.folder), str(rows), "--json"])
    assert ended.value.code == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["examples"], said["labels"], said["split"]) == (300, 3, str(rows))


def test_interrupted_and_resumed_it_ends_with_the_same_weights(rows: Path, tmp_path: Path):
    how: dict[str, Any] = {"label": "stars", "steps": 30, "checkpoint_every": 4, "n_hidden": 6, "n_embd": 4}
    whole = rung.train("gru", rows, out=tmp_path / "whole", **how)
    asked = iter(range(100))
    part = rung.train("gru", rows, out=tmp_path / "part", stop=lambda: next(asked) == 12, **how)
    assert part.recipe["status"] == "training"
    part = rung.resume(part.folder)
    weights = [(run.folder / "model.safetensors").read_bytes() for run in (whole, part)]
    assert weights[0] == weights[1]


def test_one_batch_is_memorised_and_told(rows: Path):
    notes: list[str] = []
    rung.train(
        "gru",
        rows,
        label="stars",
        steps=150,
        overfit_one_batch=8,
        n_hidden=8,
        dropout=0.0,
        lr=0.02,
        on_event=lambda event: notes.append(getattr(event, "text", "")),
    )
    assert any("nats per example" in note and "learnt by heart" in note for note in notes)


@pytest.mark.parametrize(
    ("text", "flags", "says"),
    [
        ("text,stars\na,1\nb,2\n", {"label": "star"}, "no column 'star'.*'stars'"),
        ("text,stars\na,1\nb,1\n", {"label": "stars"}, "every text has the label '1'"),
        ("text,stars\na,1\nb,\n", {"label": "stars"}, "record 2 has no 'stars'"),
        ("text,stars\n", {"label": "stars"}, "no rows"),
        ("text,stars\na,1\nb, \n", {"label": "stars"}, "record 2 has no 'stars'"),
        ("text,stars\na,1\nb,c,2\n", {"label": "stars"}, "rows.csv:3: 3 columns, but the header has 2"),
        (
            "text,stars\na,1\nb,2\n",
            {"label": "stars", "split": "1/1/98"},
            "2 texts are too few for --split 1/1/98: train would be empty",
        ),
        ("text,stars\na,1\nb,2\n", {"label": "text"}, "--label text is the column of the text itself"),
    ],
)
def test_data_at_fault_are_told_in_one_line(text: str, flags: dict[str, Any], says: str, tmp_path: Path):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=says):
        rung.train("majority", path, out=tmp_path / "run", **flags)
    assert not (tmp_path / "run").exists()


def test_what_does_not_belong_together_is_told(rows: Path, tmp_path: Path):
    (tmp_path / "plain.txt").write_text("no table\n")
    with pytest.raises(UserError, match=r"plain text"):
        rung.train("majority", tmp_path / "plain.txt", label="stars", out=tmp_path / "a")
    with pytest.raises(UserError, match="no setting 'label'"):
        rung.train("infinigram", rows, label="stars", out=tmp_path / "b")
    with pytest.raises(UserError, match="no setting 'context'"):
        rung.train("majority", rows, label="stars", context=3, out=tmp_path / "c")
    run = rung.train("majority", rows, label="stars", out=tmp_path / "d")
    other = tmp_path / "other.csv"
    other.write_text("text,stars\na film,four\n")
    with pytest.raises(UserError, match="label 'four' was not there in training"):
        rung.evaluate(run, other)


def test_what_is_no_language_model_is_told_to_whoever_wants_text(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """One line and exit code 2 of every verb of text, wherever the run is named."""
    run, text = str(tmp_path / "run"), tmp_path / "text.txt"
    text.write_text("the film is a film. " * 40)
    rung.train("majority", rows, label="stars", out=run)
    bigram = rung.train("bigram", text, out=tmp_path / "bigram", tokenizer="word")
    for arguments in (
        ["sample", run],
        ["sample", str(bigram.folder), "--draft", run],
        ["score", run, str(text)],
        ["score", run, "--text", "film"],
        ["fill", run, "a [MASK]"],
        ["fill", run, "--file", str(text)],
        ["count", run, "film"],
        ["trace", run, str(text)],
        ["train", "mix", str(text), "--runs", run, run, "--out", str(tmp_path / "mix")],
    ):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        said = capsys.readouterr()
        assert (end.value.code, said.out, said.err.count("\n")) == (2, "", 1)
        assert f"{run} is a majority, trained for classification" in said.err
    with pytest.raises(UserError, match="--label stars does not fit"):
        rung.evaluate(bigram, rows, label="stars")
    for wanted in (
        lambda: rung.score(run, ["film"]),
        lambda: rung.generate(run),
        lambda: rung.fill(run, "[MASK]"),
    ):
        with pytest.raises(UserError, match="no language model"):
            wanted()


def test_measures_can_be_kept_in_sets_and_copied(rows: Path, tmp_path: Path):
    measure = rung.evaluate(rung.train("majority", rows, label="stars", out=tmp_path / "run"))
    assert {measure, copy.copy(measure), copy.deepcopy(measure)} == {measure}


def test_batches_hold_texts_of_like_length_and_each_text_once_an_epoch():
    lengths = np.random.default_rng(0).integers(1, 60, 700).tolist()
    labelled = examples(lengths)
    batches = ExampleBatches(labelled, None, 7, 3, slice(None))
    seen: list[bytes] = []
    filled = 0.0
    for t in range(100):
        tokens = batches.batch(t).arrays[0]
        filled += float((tokens == PADDING).mean()) / 100
        seen += [row[row != PADDING].tobytes() for row in tokens]
    whole = [labelled.stream.document(i)[:-1].astype(np.int64).tobytes() for i in range(700)]
    assert sorted(seen) == sorted(whole)
    assert filled < 0.1  # at random it is nearly half
    anew = ExampleBatches(labelled, None, 7, 3, slice(None))
    for t in (150, 3, 99):  # a batch is a function of its number alone
        for one, other in zip(anew.batch(t).arrays, batches.batch(t).arrays, strict=True):
            np.testing.assert_array_equal(one, other)


def test_of_a_long_text_the_beginning_is_read_and_how_many_there_are_is_told(tmp_path: Path):
    texts = [("good " * n, "x") for n in (3, 4, 60)] + [("bad " * n, "y") for n in (3, 4, 5)]
    rows = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in texts * 4)
    (tmp_path / "rows.jsonl").write_text(rows)
    told = list[str]()
    small: dict[str, Any] = {
        "tokenizer": "word",
        "steps": 2,
        "n_embd": 4,
        "n_hidden": 4,
        "longest": 9,
        "split": "100/0/0",
    }
    run = rung.train(
        "gru",
        tmp_path / "rows.jsonl",
        label="label",
        out=tmp_path / "run",
        on_event=lambda event: told.append(event.text) if isinstance(event, Note) else None,
        **small,
    )
    assert any("4 training examples (16.7%) have more than 9 tokens" in text for text in told)
    one, other = rung.predict(run, ["good " * 60, ("good " * 9)[:-1]])
    assert one.probabilities == pytest.approx(other.probabilities)
