"""What every task has to go through: train, evaluate, other data, a climb, its table and its page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import rung
from rung.cli import main
from rung.evaluation.ways import rungs_of
from rung.models import RUNGS
from rung.tasks import TASKS, task_from, task_of
from rung.tasks.base import Dataset
from rung.training.config import TrainingConfig
from rung.training.trainers import TRAINERS
from tests.text_made import sentences


def language(folder: Path) -> tuple[Path, list[str]]:
    path = folder / "text.txt"
    path.write_text(sentences(300), encoding="utf-8")
    return path, ["--documents", "lines", "--rungs", "bigram,ngram"]


def classification(folder: Path) -> tuple[Path, list[str]]:
    path = folder / "rows.tsv"
    rows = [f"{text}\t{'long' if len(text) > 25 else 'short'}" for text in sentences(300).split("\n") if text]
    path.write_text("text\tsize\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path, ["--label", "size", "--steps", "20"]


def masked(folder: Path) -> tuple[Path, list[str]]:
    path, _ = language(folder)
    return path, ["--documents", "lines", "--rungs", "unigram,bert", "--tokenizer", "word", "--steps", "10"]


def vectors(folder: Path) -> tuple[Path, list[str]]:
    path, _ = language(folder)
    return path, ["--documents", "lines", "--rungs", "skipgram,cbow"]


def contrastive(folder: Path) -> tuple[Path, list[str]]:
    path, _ = language(folder)
    return path, ["--documents", "lines", "--rungs", "tf-idf,gru", "--tokenizer", "word", "--steps", "10"]


def tagging(folder: Path) -> tuple[Path, list[str]]:
    path = folder / "tagged.txt"
    lines = [text.split() for text in sentences(300).split("\n") if text]
    tagged = [" ".join(f"{word}/{'V' if i == 1 else 'N'}" for i, word in enumerate(line)) for line in lines]
    path.write_text("\n".join(tagged) + "\n", encoding="utf-8")
    return path, ["--rungs", "majority,hmm,lstm", "--one-way", "--steps", "10"]


def translation(folder: Path) -> tuple[Path, list[str]]:
    path = folder / "pairs.tsv"
    rows = [f"{text}\t{text[::-1]}" for text in sentences(200).split("\n") if text]
    path.write_text("source\ttarget\n" + "\n".join(rows) + "\n", encoding="utf-8")
    small = ["--steps", "3", "--tokenizer", "char"]
    return path, ["--rungs", "ngram,gru,gpt,encoder-decoder", *small]


DATA = {
    "language": language,
    "masked": masked,
    "classification": classification,
    "tagging": tagging,
    "translation": translation,
    "vectors": vectors,
    "contrastive": contrastive,
}
"""A new task is a line here: data, and the flags of its climb."""


def typed(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize("name", TASKS)
def test_from_data_to_the_page(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    task = task_of(name)
    data, flags = DATA[name](tmp_path)
    assert typed("climb", data, *flags, "--out", tmp_path / "climb", "--quiet", "--split", "60/20/20") == 0
    shown = capsys.readouterr().out
    assert f"bits/{task.unit}" in shown
    assert f"bits per {task.unit}" in shown
    page = (tmp_path / "climb" / "report.html").read_text(encoding="utf-8")
    for column in task.columns:
        assert column.heading.split()[0] in page
    for term, _ in task.glossary:
        assert term in page
    report = json.loads((tmp_path / "climb" / "report.json").read_text(encoding="utf-8"))
    assert len(report["rungs"]) >= 2
    for row in report["rungs"]:
        assert row["ci95"][0] <= row[f"bits_per_{task.unit}"] <= row["ci95"][1]
        run = rung.load(row["run"])
        # The pieces are the whole: what they cost together is the measure. And all splits together are the file.
        corpus: Dataset = run.corpus
        scores = task.scores(run.model, corpus, "test")
        pieces = task.pieces(corpus, "test")
        measured = rung.evaluate(run)
        assert pieces.nats(scores).sum() == pytest.approx(measured.nats, rel=1e-5)
        assert pieces.units.sum() == measured.units
        assert row[f"bits_per_{task.unit}"] == pytest.approx(measured.bits_per_unit, rel=1e-6)
        everything = sum(rung.evaluate(run, split=part).nats for part in corpus.splits)
        if name != "contrastive":  # there an example is asked for among others of its part
            assert rung.evaluate(run, data).nats == pytest.approx(everything, rel=1e-4)
        assert typed("evaluate", row["run"], "--json") == 0
        assert json.loads(capsys.readouterr().out)[f"bits_per_{task.unit}"] == measured.bits_per_unit


@pytest.mark.parametrize("name", TASKS)
def test_its_names_are_known(name: str):
    task = task_of(name)
    assert task.name == name
    assert set(task.ladder) <= set(RUNGS[name])
    own = [
        rung_name for rung_name in RUNGS[name] if all(rung_name not in RUNGS[o] for o in TASKS if o != name)
    ]
    assert task_from(own[:1], ()) == name
    assert all(rung_class.trained_by in TRAINERS for rung_class in map(class_of(name), RUNGS[name]))
    assert len(np.unique([column.key for column in task.columns])) == len(task.columns)


def test_what_the_other_way_buys_is_a_step_of_its_own():
    """The twin is the same network but for the way back, and stands right below it; where none reads both ways that is
    said."""
    training = TrainingConfig(steps=1)
    found = rungs_of(["majority", "lstm"], training, "tagging", one_way=True)
    assert [(one.name, one.rung) for one in found] == [
        ("majority", "majority"),
        ("lstm-one-way", "lstm"),
        ("lstm", "lstm"),
    ]
    assert found[1].config == replace(type(found[1].config)(), bidirectional=False)
    with pytest.raises(rung.UserError, match="--rungs lstm"):
        rungs_of(["hmm"], training, "tagging", one_way=True)


def test_a_setting_of_several_tasks_leaves_it_to_the_data(tmp_path: Path):
    """--group goes with labels, tags and translations; a file that holds pairs is of pairs, one that says nothing of
    labels."""
    pairs, rows = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    pairs.write_text('{"page": "x", "source": "a", "target": "b"}\n')
    rows.write_text('{"page": "x", "body": "a"}\n')
    assert task_from(["gru"], {"group"}, [pairs]) == "translation"
    assert task_from(["gru"], {"group"}, [rows]) == "classification"
    assert task_from(["gru"], {"group", "label"}, [pairs]) == "classification"
    assert task_from(["gru"], set(), [rows]) == "language"


def class_of(task: str):
    from rung.models import rung_class

    return lambda name: rung_class(name, task)


def test_rungs_of_two_tasks_are_not_climbed_together():
    with pytest.raises(rung.UserError, match="majority is a rung of classification"):
        task_from(["bigram", "majority"], ())
