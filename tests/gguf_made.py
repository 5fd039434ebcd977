"""Small random models in GGUF files, as llama.cpp's converter lays them out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import quantize

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
