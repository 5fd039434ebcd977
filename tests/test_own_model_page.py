"""docs/own-model.md: its example does what the page says."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

import rung
from rung.testing import check_model
from tests.text_made import sentences

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize(
    ("name", "settings"), [("Unigram", {"k": 0.5}), ("Convolution", {"steps": 3, "width": 8})]
)
def test_the_example_trains_keeps_its_contract_and_writes(
    name: str, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("text.txt").write_text(sentences(60), encoding="utf-8")
    trained = rung.train(f"{DOCS / 'own_model.py'}:{name}", "text.txt", **settings)
    check_model(trained.model)
    run = rung.load(trained.folder, trust=True)
    check_model(run.model)
    assert rung.evaluate(run) == rung.evaluate(trained)
    assert len(rung.generate(run, max_tokens=5)[0].token_ids) <= 5


def test_every_class_that_the_page_names_is_in_the_file():
    page, source = (DOCS / "own-model.md").read_text(), (DOCS / "own_model.py").read_text()
    named = set(re.findall(r"own_model\.py:(\w+)", page))
    assert named == {"Unigram", "Convolution"}
    assert all(f"class {name}(" in source for name in named)
