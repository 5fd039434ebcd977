"""A text to train on, in an empty folder that is the current one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.text_made import sentences


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "text.txt"
    path.write_text(sentences(200), encoding="utf-8")
    return path
