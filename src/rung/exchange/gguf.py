"""A GGUF file, llama.cpp's format, as a run: weights, tokeniser, marks and chat template from one file.

The `gguf` package (ggml-org's own) reads it and turns blocks of quantised numbers back to float32: F32, F16, BF16,
Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, the K-quants and what else it knows. Two architectures have a shape of ours: `llama` and
`gpt2`. Names and settings become those of transformers, whose way in is taken from there (`hugging_face`).

Llama's queries and keys lie in another order here: llama.cpp turns neighbouring numbers of a head together,
transformers and we the first half with the second; so its converter interleaves the rows, and they are put back.

A file executes nothing: a chat template is text, and is kept as that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rung.errors import UserError
from rung.exchange.gguf_tokenizers import library_of
from rung.opening import opening

if TYPE_CHECKING:
    from gguf import GGUFReader

MAGIC = b"GGUF"


class Contents(NamedTuple):
    """What a file holds, as transformers would have it.

    config: a config.json.
    weights: a state dict, torch float32.
    tokenizer: a tokenizer.json, or why there is none.
    chat_template: a Jinja2 template, or None.
    """

    config: dict[str, Any]
    weights: dict[str, Any]
    tokenizer: dict[str, Any] | str
    chat_template: str | None


class _Architecture(NamedTuple):
    """config: from its settings to transformers'. parts: theirs -> transformers', block by block. rest: outside blocks.
    transposed: whether transformers keeps linear layers (in, out)."""

    config: Callable[[Callable[..., Any]], dict[str, Any]]
    block: str
    parts: Mapping[str, str]
    rest: Mapping[str, str]
    transposed: bool


def read_gguf(path: Path) -> Contents:
    """What a file holds.

    Raises UserError when it is missing, cut short, no GGUF file, or has an architecture or blocks that aren't read.
    """
    _check(path)
    try:
        from gguf import GGUFReader
    except ImportError:
        raise UserError("GGUF files are read by the package gguf: pip install gguf") from None
    with opening(path):
        reader = GGUFReader(path)
        return _contents(reader)


def _check(path: Path) -> None:
    if path.is_dir():
        raise UserError(f"{path} is a folder; name the .gguf file in it")
    with opening(path), path.open("rb") as file:
        first = file.read(4)
    if first != MAGIC:
        raise UserError(f"{path} is no GGUF file: it doesn't begin with GGUF")


def _contents(reader: GGUFReader) -> Contents:
    def field(name: str, default: Any = None) -> Any:
        found = reader.fields.get(name)
        return default if found is None else found.contents()

    kind = field("general.architecture")
    if kind not in ARCHITECTURES:
        raise UserError(f"it is of the architecture {kind!r}; read are {' and '.join(ARCHITECTURES)}")
    architecture = ARCHITECTURES[kind]

    def setting(name: str, default: Any = None) -> Any:
        found = field(f"{kind}.{name}", default)
        if found is None:
            raise KeyError(f"{kind}.{name}")
        return found

    tokens = field("tokenizer.ggml.tokens") or []
    config = {
        **architecture.config(setting),
        "model_type": kind,
        "vocab_size": len(tokens) or setting("vocab_size"),
        "bos_token_id": field("tokenizer.ggml.bos_token_id"),
        "eos_token_id": field("tokenizer.ggml.eos_token_id"),
    }
    weights = _weights(reader, kind, architecture, config)
    config["tie_word_embeddings"] = "lm_head.weight" not in weights
    template = field("tokenizer.chat_template")
    return Contents(config, weights, library_of(field), template if isinstance(template, str) else None)


def _weights(
    reader: GGUFReader, kind: str, architecture: _Architecture, config: Mapping[str, Any]
) -> dict[str, Any]:
    import torch
    from gguf.quants import dequantize

    weights: dict[str, Any] = {}
    for tensor in reader.tensors:
        name = _their_name(architecture, tensor.name)
        if name is None:
            if tensor.name.startswith("rope_freqs"):
                raise UserError("it has rotary frequencies of its own (rope_freqs), which aren't read")
            raise UserError(f"it has a tensor {tensor.name}, for which {kind} has no place")
        try:
            values = dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError:
            raise UserError(
                f"the tensor {tensor.name} is quantised as {tensor.tensor_type.name}, which the package gguf "
                "doesn't turn back"
            ) from None
        array = np.array(values, np.float32).reshape(tensor.shape.tolist()[::-1])
        if kind == "llama" and tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
            heads = config["num_attention_heads" if "attn_q" in tensor.name else "num_key_value_heads"]
            array = _halves(array, heads)
        if architecture.transposed and array.ndim == 2 and ".c_" in name:
            array = array.T
        weights[name] = torch.from_numpy(np.ascontiguousarray(array))
    return weights


def _halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """Interleaved rows (pairs of neighbours) as halves: row 2i of a head is row i, row 2i + 1 row d / 2 + i."""
    shape = rows.shape
    return rows.reshape(heads, shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(shape)


def _their_name(architecture: _Architecture, name: str) -> str | None:
    if name in architecture.rest:
        return architecture.rest[name]
    first, _, rest = name.partition(".")
    layer, _, part = rest.partition(".")
    part, _, kind = part.rpartition(".")
    if first != "blk" or part not in architecture.parts:
        return None
    return f"{architecture.block}.{layer}.{architecture.parts[part]}.{kind}"


def _llama(setting: Callable[..., Any]) -> dict[str, Any]:
    scaling = setting("rope.scaling.type", "none")
    if scaling != "none":
        raise UserError(f"it stretches rotary positions ({scaling}), which isn't read")
    heads = setting("attention.head_count")
    width = setting("embedding_length")
    turned = setting("rope.dimension_count", width // heads)
    if setting("expert_count", 0):
        raise UserError("it is a mixture of experts, which isn't read")
    if turned * heads != width:
        raise UserError(f"it turns {turned} numbers of each head's {width // heads}, which isn't read")
    return {
        "max_position_embeddings": setting("context_length"),
        "num_hidden_layers": setting("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": setting("attention.head_count_kv", heads),
        "hidden_size": width,
        "intermediate_size": setting("feed_forward_length"),
        "rms_norm_eps": setting("attention.layer_norm_rms_epsilon"),
        "rope_theta": setting("rope.freq_base", 10_000.0),
    }


def _gpt2(setting: Callable[..., Any]) -> dict[str, Any]:
    return {
        "n_positions": setting("context_length"),
        "n_layer": setting("block_count"),
        "n_head": setting("attention.head_count"),
        "n_embd": setting("embedding_length"),
        "n_inner": setting("feed_forward_length"),
        "layer_norm_epsilon": setting("attention.layer_norm_epsilon"),
    }


ARCHITECTURES = {
    "llama": _Architecture(
        _llama,
        "model.layers",
        {
            "attn_norm": "input_layernorm",
            "attn_q": "self_attn.q_proj",
            "attn_k": "self_attn.k_proj",
            "attn_v": "self_attn.v_proj",
            "attn_output": "self_attn.o_proj",
            "ffn_norm": "post_attention_layernorm",
            "ffn_gate": "mlp.gate_proj",
            "ffn_up": "mlp.up_proj",
            "ffn_down": "mlp.down_proj",
        },
        {
            "token_embd.weight": "model.embed_tokens.weight",
            "output_norm.weight": "model.norm.weight",
            "output.weight": "lm_head.weight",
        },
        False,
    ),
    "gpt2": _Architecture(
        _gpt2,
        "transformer.h",
        {
            "attn_norm": "ln_1",
            "attn_qkv": "attn.c_attn",
            "attn_output": "attn.c_proj",
            "ffn_norm": "ln_2",
            "ffn_up": "mlp.c_fc",
            "ffn_down": "mlp.c_proj",
        },
        {
            "token_embd.weight": "transformer.wte.weight",
            "position_embd.weight": "transformer.wpe.weight",
            "output_norm.weight": "transformer.ln_f.weight",
            "output_norm.bias": "transformer.ln_f.bias",
            "output.weight": "lm_head.weight",
        },
        True,
    ),
}
