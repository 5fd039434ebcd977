"""Weights of transformers as ours and back.

Where theirs keep queries, keys and values apart, ours have them one under another in one matrix. The two GPTs keep a
linear layer's weight as (in, out), torch as (out, in). What theirs can't do without and ours leave out, biases, goes
out as zeros.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rung.errors import UserError
from rung.exchange.hugging_face_architectures import (
    ARCHITECTURES,
    Architecture,
    architecture_for,
    architecture_of,
    marks_of,
    vocab_size_of,
)
from rung.models.transformer.config import GPTConfig, Shape
from rung.models.transformer.decoder import GPT


def from_transformers(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> GPT:
    """The model that transformers would make of a config.json and a state dict.

    Logits are the same, with one exception. Here one mark both begins and ends a document. Theirs may be two
    (`marks_of`): then our mark is eos, which is predicted at the end of a document, and as an input, where a document
    begins, it has the embedding of bos. So scores are those of a text that bos begins and eos ends. A head that was
    tied to the embedding is free of it then.

    Raises UserError when the architecture is another, a setting is one that we lack, the weights don't fit or are no
    numbers.
    """
    architecture = architecture_of(config)
    ours, vocab_size = architecture.read(config).resolved(), vocab_size_of(config)
    assert ours.n_layer is not None
    if ours.n_layer > len(weights):
        raise UserError(f"config.json has {ours.n_layer:,} layers, and there are {len(weights)} weights")
    try:
        with torch.device("meta"):
            wanted = GPT.build(ours, vocab_size).state_dict()
    except (RuntimeError, OverflowError) as error:
        raise UserError(f"config.json describes a model that no machine can hold: {error}") from error
    bare = {name.removeprefix(architecture.prefix): weight for name, weight in weights.items()}
    tensors = {name: _import_weight(architecture, name, weight, bare) for name, weight in wanted.items()}
    used = {theirs for name in wanted for theirs in _their_names(architecture, name)}
    left = [name for name in bare if name not in used and not _is_redundant(name)]
    if left:
        raise UserError(
            f"the weights have a {left[0]}, for which {architecture.name} as config.json describes it has no"
            " place; use the config.json they were saved with"
        )
    begin, end = marks_of(config)
    if begin != end:
        embedding = tensors["embedding.tokens"]
        if ours.tied:
            ours, tensors["free_head"] = replace(ours, tied=False), embedding
        tensors["embedding.tokens"] = embedding.copy()
        tensors["embedding.tokens"][end] = embedding[begin]
    return GPT.from_tensors(ours, vocab_size, end, tensors)


def to_transformers(model: GPT) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A config.json and a state dict that transformers makes the same model of.

    Raises UserError when the model has a shape that none of the architectures has.
    """
    assert isinstance(model.config, GPTConfig)
    shape = model.config.shape()
    kind = architecture_for(shape)
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
        weights |= _export_weight(architecture, name, tensor, shape)
    if architecture.always_biased and not shape.bias:
        for name, tensor in model.tensors().items():
            if name.endswith(".weight"):
                zeros = np.zeros(tensor.shape[0], np.float32)
                weights |= _export_weight(architecture, name.removesuffix("weight") + "bias", zeros, shape)
    return config, weights


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


def _import_weight(
    architecture: Architecture, name: str, wanted: Tensor, bare: Mapping[str, Tensor]
) -> np.ndarray:
    """One of our weights out of theirs."""
    theirs = _their_names(architecture, name)
    for one in theirs:
        if one not in bare:
            raise UserError(
                f"the weights lack {one}, which {architecture.name} has; are they of another shape?"
            )
        if not bare[one].is_floating_point():
            raise UserError(
                f"the weight {one} is of type {bare[one].dtype}; only weights that are not quantised are read"
            )
        if not torch.isfinite(bare[one]).all():
            raise UserError(f"the weight {one} has values that are no finite numbers; the model is broken")
    source = torch.cat([bare[one] for one in theirs]) if len(theirs) > 1 else bare[theirs[0]]
    if architecture.transposed and _linear(name):
        source = source.t() if source.dim() == 2 else source
    if source.shape != wanted.shape:
        raise UserError(
            f"the weight {' + '.join(theirs)} is {tuple(source.shape)} where config.json says"
            f" {tuple(wanted.shape)}; use the config.json it was saved with"
        )
    return source.float().contiguous().numpy(force=True)


def _export_weight(
    architecture: Architecture, name: str, tensor: np.ndarray, shape: Shape
) -> dict[str, np.ndarray]:
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


def _is_redundant(name: str) -> bool:
    """What a state dict holds beside weights: masks and angles kept by older versions, the tied head once more."""
    return name == "lm_head.weight" or name.endswith((".attn.bias", ".attn.masked_bias", ".inv_freq"))
