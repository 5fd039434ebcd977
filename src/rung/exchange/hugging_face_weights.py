"""Three architectures of transformers and the shapes of `GPTConfig` that have the same numbers in them.

    openai-gpt  OpenAIGPTLMHeadModel   norms after each part, learned positions, GELU by its tanh formula
    gpt2        GPT2LMHeadModel        norms before each part and one at the end, otherwise the same
    llama       LlamaForCausalLM       RMSNorm, rotary positions, SwiGLU, heads may share keys and values

An architecture here is how its configuration maps on ours and how its weights are called. Where theirs keep queries,
keys and values apart, ours have them one under another in one matrix. The two GPTs keep a linear layer's weight as
(in, out), torch as (out, in). What theirs can't do without and ours leave out, biases, goes out as zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rung.errors import UserError
from rung.models.transformer.config import GPTConfig, Shape
from rung.models.transformer.decoder import GPT


@dataclass(frozen=True)
class Architecture:
    """One of theirs.

    Attributes:
        name: its class in transformers.
        prefix: what the names of its weights begin with; a file of the bare body lacks it.
        names: our module or weight outside blocks -> theirs.
        blocks: what its list of blocks is called.
        parts: our part of a block -> theirs, several where theirs are apart.
        transposed: whether linear layers are kept (in, out).
        always_biased: whether it has no way to leave biases out.
        requires: fields of `Shape` and what each must be.
        read: its configuration -> ours.
        write: ours -> its configuration.
    """

    name: str
    prefix: str
    names: Mapping[str, str]
    blocks: str
    parts: Mapping[str, tuple[str, ...]]
    transposed: bool
    always_biased: bool
    requires: Mapping[str, tuple[Any, ...]]
    read: Callable[[Mapping[str, Any]], GPTConfig]
    write: Callable[[Shape], dict[str, Any]]


def model_of(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> GPT:
    """The model that transformers would make of a config.json and a state dict; logits are the same.

    Its document mark is `eos_token_id`, else `bos_token_id`, else the last id.
    Raises UserError when the architecture is another, a setting is one that we lack, or the weights don't fit.
    """
    architecture = architecture_of(config)
    ours = architecture.read(config).resolved()
    vocab_size = int(_setting(config, "vocab_size", 50257))
    with torch.device("meta"):
        wanted = GPT.build(ours, vocab_size).state_dict()
    bare = {name.removeprefix(architecture.prefix): weight for name, weight in weights.items()}
    tensors = {name: _taken(architecture, name, weight, bare) for name, weight in wanted.items()}
    used = {theirs for name in wanted for theirs in _their_names(architecture, name)}
    left = [name for name in bare if name not in used and not _needless(name)]
    if left:
        raise UserError(
            f"the weights have a {left[0]}, for which {architecture.name} as config.json describes it has no"
            " place; use the config.json they were saved with"
        )
    return GPT.from_tensors(ours, vocab_size, mark_of(config, vocab_size), tensors)


def transformers_of(model: GPT) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A config.json and a state dict that transformers makes the same model of.

    Raises UserError when the model has a shape that none of the architectures has.
    """
    assert isinstance(model.config, GPTConfig)
    shape = model.config.shape()
    kind = _kind_for(shape)
    architecture = ARCHITECTURES[kind]
    config = {
        "architectures": [architecture.name],
        "model_type": kind,
        "vocab_size": model.vocab_size,
        "bos_token_id": model.end,
        "eos_token_id": model.end,
        "tie_word_embeddings": shape.tied,
        "dtype": "float32",
        **architecture.write(shape),
    }
    weights: dict[str, np.ndarray] = {}
    for name, tensor in model.tensors().items():
        weights |= _given(architecture, name, tensor, shape)
    if architecture.always_biased and not shape.bias:
        for name, tensor in model.tensors().items():
            if name.endswith(".weight"):
                zeros = np.zeros(tensor.shape[0], np.float32)
                weights |= _given(architecture, name.removesuffix("weight") + "bias", zeros, shape)
    return config, weights


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """The architecture of a config.json. Raises UserError for one that is not supported."""
    kind = config.get("model_type")
    known = ", ".join(f"{architecture.name} ({kind})" for kind, architecture in ARCHITECTURES.items())
    if kind not in ARCHITECTURES:
        raise UserError(f"config.json is of model_type {kind!r}; supported: {known}")
    architecture = ARCHITECTURES[kind]
    named = config.get("architectures")
    body = architecture.name.removesuffix("LMHeadModel").removesuffix("ForCausalLM") + "Model"
    if named and not {architecture.name, body} & set(named):
        raise UserError(
            f"config.json is of a {named[0]}, which is no language model we know; supported: {known}"
        )
    return architecture


def mark_of(config: Mapping[str, Any], vocab_size: int) -> int:
    """The id that ends a document: eos, else bos, else the last.

    Here one mark both ends and begins; where theirs are two, a document begins with what ends it, which a model that
    was trained with both has seen less of.
    """
    for name in ("eos_token_id", "bos_token_id"):
        found = config.get(name)
        first = found[0] if isinstance(found, list) and found else found
        if type(first) is int and 0 <= first < vocab_size:
            return first
    return vocab_size - 1


def _read_gpt2(config: Mapping[str, Any]) -> GPTConfig:
    _only(config, "activation_function", "gelu_new", tuple(_GELU))
    _only(config, "scale_attn_weights", True, (True,))
    _only(config, "scale_attn_by_inverse_layer_idx", False, (False,))
    _only(config, "add_cross_attention", False, (False,))
    return GPTConfig(
        context=_setting(config, "n_positions", 1024),
        n_layer=_setting(config, "n_layer", 12),
        n_head=_setting(config, "n_head", 12),
        n_embd=_setting(config, "n_embd", 768),
        n_hidden=_setting(config, "n_inner", None),
        dropout=_setting(config, "resid_pdrop", 0.1),
        norm_eps=_setting(config, "layer_norm_epsilon", 1e-5),
        feed_forward=_GELU[_setting(config, "activation_function", "gelu_new")],
        tied=_setting(config, "tie_word_embeddings", True),
    )


def _write_gpt2(shape: Shape) -> dict[str, Any]:
    return {
        "n_positions": shape.context,
        "n_layer": shape.n_layer,
        "n_head": shape.n_head,
        "n_embd": shape.n_embd,
        "n_inner": shape.n_hidden,
        "activation_function": "gelu_new" if shape.feed_forward == "gelu" else shape.feed_forward,
        "layer_norm_epsilon": shape.norm_eps,
        "resid_pdrop": shape.dropout,
        "embd_pdrop": shape.dropout,
        "attn_pdrop": shape.dropout,
    }


def _read_gpt1(config: Mapping[str, Any]) -> GPTConfig:
    _only(config, "afn", "gelu", ("gelu",))
    return GPTConfig(
        context=_setting(config, "n_positions", 512),
        n_layer=_setting(config, "n_layer", 12),
        n_head=_setting(config, "n_head", 12),
        n_embd=_setting(config, "n_embd", 768),
        dropout=_setting(config, "resid_pdrop", 0.1),
        norm_first=False,
        norm_eps=_setting(config, "layer_norm_epsilon", 1e-5),
        tied=_setting(config, "tie_word_embeddings", True),
    )


def _write_gpt1(shape: Shape) -> dict[str, Any]:
    return {
        "n_positions": shape.context,
        "n_layer": shape.n_layer,
        "n_head": shape.n_head,
        "n_embd": shape.n_embd,
        "afn": "gelu",
        "layer_norm_epsilon": shape.norm_eps,
        "resid_pdrop": shape.dropout,
        "embd_pdrop": shape.dropout,
        "attn_pdrop": shape.dropout,
    }


def _read_llama(config: Mapping[str, Any]) -> GPTConfig:
    _only(config, "hidden_act", "silu", ("silu", "swish"))
    # Newer files have one entry for all of it, older ones two; a null is as good as none.
    rotary = _setting(config, "rope_parameters", None) or _setting(config, "rope_scaling", None) or {}
    turn = rotary.get("rope_type", rotary.get("type", "default"))
    if turn != "default":
        raise UserError(
            f"config.json asks for rotary positions of type {turn!r}; only 'default' is supported"
        )
    n_head, n_embd = _setting(config, "num_attention_heads", 32), _setting(config, "hidden_size", 4096)
    head_size = _setting(config, "head_dim", None)
    if head_size is not None and head_size * n_head != n_embd:
        raise UserError(
            f"config.json has {n_head} heads of {head_size} in a width of {n_embd}; only heads that together"
            " are the width are supported"
        )
    bias = _setting(config, "attention_bias", False)
    _only(config, "mlp_bias", False, (bias,))
    return GPTConfig(
        preset="llama",
        context=_setting(config, "max_position_embeddings", 2048),
        n_layer=_setting(config, "num_hidden_layers", 32),
        n_head=n_head,
        n_embd=n_embd,
        dropout=_setting(config, "attention_dropout", 0.0),
        bias=bias,
        norm_eps=_setting(config, "rms_norm_eps", 1e-6),
        rotary_base=rotary.get("rope_theta", _setting(config, "rope_theta", 10_000.0)),
        n_hidden=_setting(config, "intermediate_size", 11008),
        n_kv_head=_setting(config, "num_key_value_heads", None),
        tied=_setting(config, "tie_word_embeddings", False),
    )


def _write_llama(shape: Shape) -> dict[str, Any]:
    return {
        "max_position_embeddings": shape.context,
        "num_hidden_layers": shape.n_layer,
        "num_attention_heads": shape.n_head,
        "num_key_value_heads": shape.n_kv_head,
        "hidden_size": shape.n_embd,
        "intermediate_size": shape.n_hidden,
        "hidden_act": "silu",
        "rms_norm_eps": shape.norm_eps,
        "rope_theta": shape.rotary_base,  # where transformers before 5 look
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rotary_base},
        "attention_bias": shape.bias,
        "mlp_bias": shape.bias,
        "attention_dropout": shape.dropout,
    }


_GELU = {"gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "relu2": "relu2"}

_GPT_PARTS = {
    "norm_1": ("ln_1",),
    "norm_2": ("ln_2",),
    "attention.qkv": ("attn.c_attn",),
    "attention.project": ("attn.c_proj",),
    "feed_forward.expand": ("mlp.c_fc",),
    "feed_forward.project": ("mlp.c_proj",),
}
_PLAIN = {"qk_norm": (False,), "local": (None,)}

ARCHITECTURES = {
    "gpt2": Architecture(
        "GPT2LMHeadModel",
        "transformer.",
        {"embedding.tokens": "wte.weight", "embedding.positions": "wpe.weight", "norm": "ln_f"},
        "h",
        _GPT_PARTS,
        transposed=True,
        always_biased=True,
        requires={
            "norm": ("layer",),
            "norm_first": (True,),
            "positions": ("learned",),
            "feed_forward": ("gelu", "relu2"),
            **_PLAIN,
        },
        read=_read_gpt2,
        write=_write_gpt2,
    ),
    "openai-gpt": Architecture(
        "OpenAIGPTLMHeadModel",
        "transformer.",
        {"embedding.tokens": "tokens_embed.weight", "embedding.positions": "positions_embed.weight"},
        "h",
        _GPT_PARTS,
        transposed=True,
        always_biased=True,
        requires={
            "norm": ("layer",),
            "norm_first": (False,),
            "positions": ("learned",),
            "feed_forward": ("gelu",),
            **_PLAIN,
        },
        read=_read_gpt1,
        write=_write_gpt1,
    ),
    "llama": Architecture(
        "LlamaForCausalLM",
        "model.",
        {"embedding.tokens": "embed_tokens.weight", "norm": "norm"},
        "layers",
        {
            "norm_1": ("input_layernorm",),
            "norm_2": ("post_attention_layernorm",),
            "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            "attention.project": ("self_attn.o_proj",),
            "feed_forward.gate": ("mlp.gate_proj",),
            "feed_forward.expand": ("mlp.up_proj",),
            "feed_forward.project": ("mlp.down_proj",),
        },
        transposed=False,
        always_biased=False,
        requires={
            "norm": ("rms",),
            "norm_first": (True,),
            "positions": ("rotary",),
            "feed_forward": ("swiglu",),
            **_PLAIN,
        },
        read=_read_llama,
        write=_write_llama,
    ),
}
"""By the `model_type` of config.json."""


def _kind_for(shape: Shape) -> str:
    """Which architecture has this shape."""
    wrong: dict[str, list[str]] = {}
    values = asdict(shape)
    for kind, architecture in ARCHITECTURES.items():
        wrong[kind] = [
            f"{name.replace('_', '-')} {values[name]}"
            for name, allowed in architecture.requires.items()
            if values[name] not in allowed
        ]
        if kind != "llama" and shape.n_kv_head != shape.n_head:
            wrong[kind].append(f"n-kv-head {shape.n_kv_head}")
        if kind == "openai-gpt" and shape.n_hidden != 4 * shape.n_embd:
            wrong[kind].append(f"n-hidden {shape.n_hidden}")
    nearest_kind = min(wrong, key=lambda kind: len(wrong[kind]))
    if wrong[nearest_kind]:
        names = ", ".join(architecture.name for architecture in ARCHITECTURES.values())
        raise UserError(
            f"a model of this shape can't be written for transformers: {ARCHITECTURES[nearest_kind].name} has no"
            f" {', '.join(wrong[nearest_kind])} (what can be written: the shapes of {names};"
            " train with --preset plain, GPT-2's manner, or --preset llama)"
        )
    return nearest_kind


def _their_names(architecture: Architecture, name: str) -> list[str]:
    """`blocks.0.attention.qkv.weight` -> `h.0.attn.c_attn.weight`, without prefix; several where theirs are apart."""
    if name == "free_head":
        return ["lm_head.weight"]
    if name in architecture.names:
        return [architecture.names[name]]
    module, _, kind = name.rpartition(".")
    if module in architecture.names:
        return [f"{architecture.names[module]}.{kind}"]
    _, layer, part = module.split(".", 2)
    return [f"{architecture.blocks}.{layer}.{theirs}.{kind}" for theirs in architecture.parts[part]]


def _taken(architecture: Architecture, name: str, wanted: Tensor, bare: Mapping[str, Tensor]) -> np.ndarray:
    """One of our weights out of theirs."""
    theirs = _their_names(architecture, name)
    for one in theirs:
        if one not in bare:
            raise UserError(
                f"the weights lack {one}, which {architecture.name} has; are they of another shape?"
            )
    source = torch.cat([bare[one] for one in theirs]) if len(theirs) > 1 else bare[theirs[0]]
    if architecture.transposed and _linear(name):
        source = source.t() if source.dim() == 2 else source
    if source.shape != wanted.shape:
        raise UserError(
            f"the weight {' + '.join(theirs)} is {tuple(source.shape)} where config.json says"
            f" {tuple(wanted.shape)}; use the config.json it was saved with"
        )
    return source.float().contiguous().numpy(force=True)


def _given(architecture: Architecture, name: str, tensor: np.ndarray, shape: Shape) -> dict[str, np.ndarray]:
    """One of our weights (or its missing bias) as theirs."""
    theirs = _their_names(architecture, name)
    parts: Iterable[np.ndarray] = [tensor]
    if len(theirs) > 1:
        shared = shape.n_embd // shape.n_head * shape.n_kv_head
        parts = np.split(tensor, [shape.n_embd, shape.n_embd + shared])
    turned = architecture.transposed and _linear(name)
    prefix = "" if name == "free_head" else architecture.prefix
    return {
        prefix + one: np.ascontiguousarray(part.T if turned else part)
        for one, part in zip(theirs, parts, strict=True)
    }


def _linear(name: str) -> bool:
    return any(part in name for part in (".qkv.", ".project.", ".expand."))


def _needless(name: str) -> bool:
    """What a state dict holds beside weights: masks and angles kept by older versions, the tied head once more."""
    return name == "lm_head.weight" or name.endswith((".attn.bias", ".attn.masked_bias", ".inv_freq"))


def _setting(config: Mapping[str, Any], name: str, default: Any) -> Any:
    """A setting of config.json; a null means the default."""
    value = config.get(name)
    for other in _OTHER_NAMES.get(name, ()):
        value = config.get(other) if value is None else value
    return default if value is None else value


_OTHER_NAMES = {
    "n_positions": ("max_position_embeddings", "n_ctx"),
    "n_layer": ("num_hidden_layers",),
    "n_head": ("num_attention_heads",),
    "n_embd": ("hidden_size",),
}


def _only(config: Mapping[str, Any], name: str, default: Any, supported: tuple[Any, ...]) -> None:
    value = _setting(config, name, default)
    if value not in supported:
        shown = ", ".join(repr(one) for one in supported)
        raise UserError(f"config.json asks for {name} {value!r}, which is not supported (supported: {shown})")
