"""Where a translator looks: what the picture shows is what the model did."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import rung
from rung.cli import main
from rung.errors import UserError
from rung.inspection.attention_picture import draw_source_attention, source_attention


@pytest.mark.parametrize("name", ["gru", "encoder-decoder"])
def test_of_a_pair(name: str, tmp_path: Path) -> None:
    small = {"n_embd": 8, "n_layer": 2, "steps": 2, "tokenizer": "char"}
    run = rung.train(name, "made:copy?n=60&longest=4", out=tmp_path / "run", **small)
    found = source_attention(run, "abc", "xyz")
    assert found.source == ["a", "b", "c", "■"]
    assert found.target == ["x", "y", "z", "■"]
    assert found.maps.shape[2:] == (4, 4)
    np.testing.assert_allclose(found.maps.sum(-1), 1, atol=1e-5)
    draw_source_attention(tmp_path / "a.svg", found)
    assert {"a", "b", "c", "x", "read", "written"} <= {
        "".join(text.itertext()).strip() for text in ET.parse(tmp_path / "a.svg").iter() if "text" in text.tag
    }
    with pytest.raises(UserError, match=r"ends in \.svg"):
        draw_source_attention(tmp_path / "a.txt", found)
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(run.folder), "--text", "ab", "--attention", str(tmp_path / "b.png")])
    assert ended.value.code == 0
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
