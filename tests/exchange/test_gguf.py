"""GGUF files: what transformers makes of them, and what we do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import quantize
from transformers import AutoModelForCausalLM

from rung.cli import main
from rung.errors import UserError
from rung.exchange.hugging_face import import_gguf
from rung.text.tokenizers.subwords import BYTE_TO_UNICODE

MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|unused {i}|>" for i in range(9))]
WIDTH, HEADS, SHARED, HIDDEN, BLOCKS, CONTEXT = 64, 4, 2, 256, 2, 1024  # of gpt2, theirs reads no other
TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


def pieces(without: bytes = b"") -> list[str]:
    """Marks, then every byte of UTF-8 but some, then two merges."""
    letters = [BYTE_TO_UNICODE[b] for b in range(256) if b not in without]
    return [*MARKS, *letters, "Ġt", "Ġth"]


def write(
    path: Path,
    kind: str = "llama",
    quantised: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    *,
    tokens: list[str] | None = None,
    tied: bool = True,
    **extra: Any,
) -> Path:
    """A small random model, as llama.cpp's converter lays one out."""
    tokens = pieces() if tokens is None else tokens
    rng = np.random.default_rng(5)
    writer = gguf.GGUFWriter(path, kind)
    writer.add_block_count(BLOCKS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    for name, value in extra.items():
        writer.add_string(name.replace("__", "."), value)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in MARKS else 1 for token in tokens])
    writer.add_token_merges(["Ġ t", "Ġt h"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)

    def add(name: str, *shape: int) -> None:
        values = rng.normal(0, 0.2, shape).astype(np.float32)
        if len(shape) == 1:
            values += 1
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, quantize(values, quantised), raw_dtype=quantised)

    add("token_embd.weight", len(tokens), WIDTH)
    add("output_norm.weight", WIDTH)
    if kind == "llama":
        writer.add_head_count_kv(SHARED)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_freq_base(1000.0)
        writer.add_rope_dimension_count(WIDTH // HEADS)
        narrow = WIDTH // HEADS * SHARED
        for block in range(BLOCKS):
            for name, *shape in (
                ("attn_norm", WIDTH),
                ("attn_q", WIDTH, WIDTH),
                ("attn_k", narrow, WIDTH),
                ("attn_v", narrow, WIDTH),
                ("attn_output", WIDTH, WIDTH),
                ("ffn_norm", WIDTH),
                ("ffn_gate", HIDDEN, WIDTH),
                ("ffn_up", HIDDEN, WIDTH),
                ("ffn_down", WIDTH, HIDDEN),
            ):
                add(f"blk.{block}.{name}.weight", *shape)
    else:
        writer.add_layer_norm_eps(1e-5)
        add("position_embd.weight", CONTEXT, WIDTH)
        add("output_norm.bias", WIDTH)
        for block in range(BLOCKS):
            for name, *shape in (
                ("attn_norm", WIDTH),
                ("attn_qkv", 3 * WIDTH, WIDTH),
                ("attn_output", WIDTH, WIDTH),
                ("ffn_norm", WIDTH),
                ("ffn_up", HIDDEN, WIDTH),
                ("ffn_down", WIDTH, HIDDEN),
            ):
                add(f"blk.{block}.{name}.weight", *shape)
                add(f"blk.{block}.{name}.bias", shape[0])
    if not tied or kind == "gpt2":
        add("output.weight", len(tokens), WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


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
