"""GGUF files: what transformers makes of them, and what we do."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from rung.cli import main
from rung.errors import UserError
from rung.exchange.hugging_face import import_gguf
from tests.gguf_made import TEMPLATE, pieces, write


@pytest.mark.parametrize(
    ("kind", "quantised", "tied"),
    [
        ("llama", gguf.GGMLQuantizationType.F32, True),
        ("llama", gguf.GGMLQuantizationType.F16, False),
        ("llama", gguf.GGMLQuantizationType.Q8_0, True),
        ("llama", gguf.GGMLQuantizationType.Q4_1, True),
        ("gpt2", gguf.GGMLQuantizationType.BF16, False),
        ("gpt2", gguf.GGMLQuantizationType.Q4_0, False),
    ],
)
def test_log_probabilities_are_those_of_transformers(
    kind: str, quantised: gguf.GGMLQuantizationType, tied: bool, tmp_path: Path
):
    """Of the same file, which transformers reads by its own way back from blocks and rows."""
    path = write(tmp_path / "model.gguf", kind, quantised, tied=tied)
    run = import_gguf(path, tmp_path / "run")
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="model.gguf", dtype=torch.float32
    ).eval()
    text = "the 123 théâtres"
    own = run.tokenizer.encode(text)
    order = np.arange(run.model.vocab_size)
    order[[2, -1]] = order[[-1, 2]]
    ids = torch.tensor([[1, *order[own].tolist(), 2]])
    with torch.no_grad():
        expected = theirs(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    found = run.model.score(np.append(own, run.model.end)[None])[0]
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    assert run.recipe["data"]["chat_template"] == TEMPLATE


def test_bytes_that_a_vocabulary_lacks_are_spelled_by_marks_without_a_use(tmp_path: Path):
    """As SmolLM2's lacks eight; nothing that is text is lost, and what pieces spell is spelled as before."""
    whole = import_gguf(write(tmp_path / "whole.gguf"), tmp_path / "a")
    lacking = import_gguf(write(tmp_path / "lacking.gguf", tokens=pieces(b"\x04\x06\xf1")), tmp_path / "b")
    text = "the\x04 end\x06 \U00040000"
    assert lacking.tokenizer.decode(lacking.tokenizer.encode(text).tolist()) == text
    plain = [lacking.tokenizer.token_bytes[i] for i in lacking.tokenizer.encode("the 12 that")]
    assert plain == [whole.tokenizer.token_bytes[i] for i in whole.tokenizer.encode("the 12 that")]
    assert plain == [b"t", b"h", b"e", b" ", b"1", b"2", b" th", b"a", b"t"]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_told_in_one_line(share: float, tmp_path: Path, capsys: pytest.CaptureFixture):
    data = write(tmp_path / "model.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(data[: int(share * len(data))])
    with pytest.raises(SystemExit) as ended:
        main(["import", "gguf", str(tmp_path / "cut.gguf"), "--out", str(tmp_path / "run")])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "cut.gguf" in told
    assert told.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_what_is_not_read_is_said(tmp_path: Path):
    (tmp_path / "text.gguf").write_text("a text")
    with pytest.raises(UserError, match="is no GGUF file"):
        import_gguf(tmp_path / "text.gguf", tmp_path / "run")
    with pytest.raises(UserError, match="is missing"):
        import_gguf(tmp_path / "nothing.gguf", tmp_path / "run")
    with pytest.raises(UserError, match="is a folder"):
        import_gguf(tmp_path, tmp_path / "run")
    with pytest.raises(UserError, match=r"stretches rotary positions \(yarn\)"):
        import_gguf(write(tmp_path / "yarn.gguf", llama__rope__scaling__type="yarn"), tmp_path / "run")
    path = tmp_path / "other.gguf"
    writer = gguf.GGUFWriter(path, "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(UserError, match="architecture 'mamba'; read are llama and gpt2"):
        import_gguf(path, tmp_path / "run")
