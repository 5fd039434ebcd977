"""Label by label, against scikit-learn and sums on paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

import rung
from rung.evaluation import label_report

NAMES = ["a", "b", "c"]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40))
def test_figures_are_scikit_learns(pairs: list[tuple[int, int]]):
    right, guessed = (np.array(column) for column in zip(*pairs, strict=True))
    theirs = confusion_matrix(right, guessed, labels=range(3))
    np.testing.assert_array_equal(label_report.confusion(right, guessed, 3), theirs)
    authority: Any = precision_recall_fscore_support
    scores = authority(right, guessed, labels=range(3), zero_division=0)
    for row in label_report.per_label(right, guessed, NAMES):
        place = NAMES.index(row["label"])
        for key, values in zip(("precision", "recall", "f1", "examples"), scores, strict=True):
            assert (row[key] or 0) == pytest.approx(values[place])


def test_the_calibration_error_by_hand():
    """Two bins: two sure at 0.9 and one of them right, two at 0.6 and both right: (2 |0.5 - 0.9| + 2 |1 - 0.6|) / 4."""
    hits, sure = np.array([True, False, True, True]), np.array([0.9, 0.9, 0.6, 0.6])
    assert label_report.calibration_error(hits, sure) == pytest.approx(0.4)
    assert [one["examples"] for one in label_report.reliability(hits, sure)] == [2, 2]
    assert label_report.reliability(np.array([True]), np.array([1.0]))[0]["from"] == 0.9


def test_the_page_shows_what_it_got_wrong(tmp_path: Path):
    texts = [("good <b>film</b>", "yes"), ("good film", "yes"), ("bad film", "no")] * 40 + [
        ("good film", "no")
    ] * 30
    rows = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in texts)
    (tmp_path / "rows.jsonl").write_text(rows)
    report = rung.climb(
        tmp_path / "rows.jsonl",
        label="label",
        rungs=["majority", "bag-of-words"],
        split="60/20/20",
        out=tmp_path / "c",
    )
    best = next(row for row in report["rungs"] if row["name"] == report["best"])
    facts = best["labels"]
    n = sum(row["examples"] for row in facts["per_label"])
    assert n == sum(map(sum, facts["confusion"]["counts"])) == report["data"]["parts"]["test"]["examples"]
    assert all(one["label"] != one["guessed"] for one in facts["mistakes"])
    page = (tmp_path / "c" / "report.html").read_text()
    for heading in ("Label by label", "What is taken for what", "Its surest mistakes", "speak loudest"):
        assert heading in page
    assert "<b>film" not in page
    run = rung.train(
        "bag-of-words", tmp_path / "rows.jsonl", label="label", split="60/20/20", out=tmp_path / "r"
    )
    assert "Label by label" in (run.folder / "report.html").read_text()
