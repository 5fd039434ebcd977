"""Three architectures of transformers and the shapes of `GPTConfig` that have the same numbers in them.

    openai-gpt  OpenAIGPTLMHeadModel   norms after each part, learned positions, GELU by its tanh formula
    gpt2        GPT2LMHeadModel        norms before each part and one at the end, otherwise the same
    llama       LlamaForCausalLM       RMSNorm, rotary positions, SwiGLU, heads may share keys and values

An architecture here is how its configuration maps on ours and how its weights are called.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from rung.errors import UserError
from rung.models.transformer.config import GPTConfig, Shape


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
        defaults: the size of its vocabulary and its marks where a configuration doesn't say.
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
    defaults: Mapping[str, Any]


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """The architecture of a config.json. Raises UserError for one that is not supported."""
    kind = config.get("model_type")
    known = ", ".join(f"{architecture.name} ({kind})" for kind, architecture in ARCHITECTURES.items())
    if kind not in ARCHITECTURES:
        raise UserError(f"config.json is of model_type {kind!r}; supported: {known}")
    architecture = ARCHITECTURES[kind]
    if setting(config, "quantization_config", {}):
        raise UserError("config.json has a quantization_config; only weights that are not quantised are read")
    named = config.get("architectures")
    body = architecture.name.removesuffix("LMHeadModel").removesuffix("ForCausalLM") + "Model"
    if named and not {architecture.name, body} & set(named):
        raise UserError(
            f"config.json is of a {named[0]}, which is no language model we know; supported: {known}"
        )
    return architecture


def architecture_for(shape: Shape) -> str:
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


def vocab_size_of(config: Mapping[str, Any]) -> int:
    """How many ids there are."""
    return setting(config, "vocab_size", architecture_of(config).defaults["vocab_size"])


def marks_of(config: Mapping[str, Any]) -> tuple[int, int]:
    """The ids that begin and end a document: bos and eos; one for the other where it is missing, else the last."""
    vocab_size = vocab_size_of(config)
    found: list[int] = []
    for name in ("bos_token_id", "eos_token_id"):
        given = config.get(name, architecture_of(config).defaults.get(name))
        first = given[0] if isinstance(given, list) and given else given
        found.append(first if type(first) is int and 0 <= first < vocab_size else -1)
    begin, end = found
    end = max(end, begin) if end < 0 else end
    end = vocab_size - 1 if end < 0 else end
    return (end if begin < 0 else begin), end


def _read_gpt(config: Mapping[str, Any], context: int) -> GPTConfig:
    """What the two GPTs have in common; `context` is the default."""
    return GPTConfig(
        context=setting(config, "n_positions", context),
        n_layer=setting(config, "n_layer", 12),
        n_head=setting(config, "n_head", 12),
        n_embd=setting(config, "n_embd", 768),
        dropout=setting(config, "resid_pdrop", 0.1),
        norm_eps=setting(config, "layer_norm_epsilon", 1e-5),
        tied=setting(config, "tie_word_embeddings", True),
    )


def _read_gpt1(config: Mapping[str, Any]) -> GPTConfig:
    _require(config, "afn", "gelu", ("gelu",))
    return replace(_read_gpt(config, 512), norm_first=False)


def _read_gpt2(config: Mapping[str, Any]) -> GPTConfig:
    _require(config, "activation_function", "gelu_new", tuple(_GELU))
    _require(config, "scale_attn_weights", True, (True,))
    _require(config, "scale_attn_by_inverse_layer_idx", False, (False,))
    _require(config, "add_cross_attention", False, (False,))
    return replace(
        _read_gpt(config, 1024),
        n_hidden=setting(config, "n_inner", None, int),
        feed_forward=_GELU[setting(config, "activation_function", "gelu_new")],
    )


def _write_gpt(shape: Shape, feed_forward: dict[str, Any]) -> dict[str, Any]:
    return {
        "n_positions": shape.context,
        "n_layer": shape.n_layer,
        "n_head": shape.n_head,
        "n_embd": shape.n_embd,
        **feed_forward,
        "layer_norm_epsilon": shape.norm_eps,
        "resid_pdrop": shape.dropout,
        "embd_pdrop": shape.dropout,
        "attn_pdrop": shape.dropout,
    }


def _write_gpt1(shape: Shape) -> dict[str, Any]:
    return _write_gpt(shape, {"afn": "gelu"})


def _write_gpt2(shape: Shape) -> dict[str, Any]:
    activation = "gelu_new" if shape.feed_forward == "gelu" else shape.feed_forward
    return _write_gpt(shape, {"n_inner": shape.n_hidden, "activation_function": activation})


def _read_llama(config: Mapping[str, Any]) -> GPTConfig:
    _require(config, "hidden_act", "silu", ("silu", "swish"))
    # Newer files have one entry for all of it, older ones two; a null is as good as none.
    rotary = setting(config, "rope_parameters", {}) or setting(config, "rope_scaling", {})
    turn = rotary.get("rope_type", rotary.get("type", "default"))
    if turn != "default":
        raise UserError(
            f"config.json asks for rotary positions of type {turn!r}; only 'default' is supported"
        )
    n_head, n_embd = setting(config, "num_attention_heads", 32), setting(config, "hidden_size", 4096)
    head_size = setting(config, "head_dim", None, int)
    if head_size is not None and head_size * n_head != n_embd:
        raise UserError(
            f"config.json has {n_head} heads of {head_size} in a width of {n_embd}; only heads that together"
            " are the width are supported"
        )
    bias = setting(config, "attention_bias", False)
    _require(config, "mlp_bias", False, (bias,))
    return GPTConfig(
        preset="llama",
        context=setting(config, "max_position_embeddings", 2048),
        n_layer=setting(config, "num_hidden_layers", 32),
        n_head=n_head,
        n_embd=n_embd,
        dropout=setting(config, "attention_dropout", 0.0),
        bias=bias,
        norm_eps=setting(config, "rms_norm_eps", 1e-6),
        rotary_base=setting(rotary, "rope_theta", setting(config, "rope_theta", 10_000.0), float),
        n_hidden=setting(config, "intermediate_size", 11008),
        n_kv_head=setting(config, "num_key_value_heads", None, int),
        tied=setting(config, "tie_word_embeddings", False),
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
_PLAIN = {"qk_norm": (False,), "local": (None,), "stride": (None,), "attention": ("softmax",)}

_GPT2 = Architecture(
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
    defaults={"vocab_size": 50257, "bos_token_id": 50256, "eos_token_id": 50256},
)


ARCHITECTURES = {
    "gpt2": _GPT2,
    "openai-gpt": replace(
        _GPT2,
        name="OpenAIGPTLMHeadModel",
        names={"embedding.tokens": "tokens_embed.weight", "embedding.positions": "positions_embed.weight"},
        requires={**_GPT2.requires, "norm_first": (False,), "feed_forward": ("gelu",)},
        read=_read_gpt1,
        write=_write_gpt1,
        defaults={"vocab_size": 40478},
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
        defaults={"vocab_size": 32000, "bos_token_id": 1, "eos_token_id": 2},
    ),
}
"""By the `model_type` of config.json."""


def setting(config: Mapping[str, Any], name: str, default: Any, kind: type | None = None) -> Any:
    """A setting of config.json, of the default's kind if no other is given; a null means the default.

    Raises UserError when it is of another kind.
    """
    for known in (name, *_OTHER_NAMES.get(name, ())):
        value = config.get(known)
        if value is not None:
            fits, what = _KINDS[type(default) if kind is None else kind]
            if not fits(value):
                raise UserError(f"config.json has {value!r} for {known}, which should be {what}")
            return value
    return default


_KINDS: dict[type, tuple[Callable[[Any], bool], str]] = {
    int: (lambda value: type(value) is int and value > 0, "a whole number above 0"),
    float: (lambda value: type(value) in (int, float) and 0 <= value < math.inf, "a number from 0 on"),
    bool: (lambda value: type(value) is bool, "true or false"),
    str: (lambda value: type(value) is str, "a name"),
    dict: (lambda value: type(value) is dict, "an object"),
}

_OTHER_NAMES = {
    "n_positions": ("max_position_embeddings", "n_ctx"),
    "n_layer": ("num_hidden_layers",),
    "n_head": ("num_attention_heads",),
    "n_embd": ("hidden_size",),
}


def _require(config: Mapping[str, Any], name: str, default: Any, supported: tuple[Any, ...]) -> None:
    value = setting(config, name, default)
    if value not in supported:
        shown = ", ".join(repr(one) for one in supported)
        raise UserError(f"config.json asks for {name} {value!r}, which is not supported (supported: {shown})")
