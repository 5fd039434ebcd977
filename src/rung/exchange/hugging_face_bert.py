"""transformers' BERTs as ours and back: what is a configuration, a weight, an id there, and here.

    BertModel                       encoder, perhaps a pooler; no head: vectors, no probabilities
    BertForMaskedLM                 encoder and a head for hidden tokens
    BertForPreTraining              that, and what follows what
    BertForSequenceClassification   a classifier
    BertForTokenClassification      encoder and a head that gives each token a label

Ids are put in our order (`rung.text.tokenizers.bert_wordpiece`): `order` (V + 2,) has their id of each of our rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rung.errors import UserError
from rung.exchange.hugging_face_architectures import setting
from rung.exchange.hugging_face_classifiers import labels_of
from rung.models.transformer.bert import Bert, BertConfig
from rung.models.transformer.bert_classifier import BertClassifier, BertClassifierConfig
from rung.models.transformer.bert_tagger import BertTagger

ARCHITECTURES = (
    "BertModel",
    "BertForMaskedLM",
    "BertForPreTraining",
    "BertForSequenceClassification",
    "BertForTokenClassification",
)
_ACTIVATIONS = {"gelu": "gelu-exact", "gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "relu": "relu"}
_OURS = {"gelu-exact": "gelu", "gelu": "gelu_new", "relu": "relu"}

_NAMES = {
    "body.embedding.tokens": "bert.embeddings.word_embeddings.weight",
    "body.embedding.positions": "bert.embeddings.position_embeddings.weight",
    "body.embedding.segments": "bert.embeddings.token_type_embeddings.weight",
    "head.bias": "cls.predictions.bias",
}
_MODULES = {
    "body.embedding.norm": "bert.embeddings.LayerNorm",
    "pooler.dense": "bert.pooler.dense",
    "head.dense": "cls.predictions.transform.dense",
    "head.norm": "cls.predictions.transform.LayerNorm",
    "follows": "cls.seq_relationship",
    "classify": "classifier",
    "tagger": "classifier",
}
_PARTS = {
    "attention.qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "attention.project": ("attention.output.dense",),
    "norm_1": ("attention.output.LayerNorm",),
    "feed_forward.expand": ("intermediate.dense",),
    "feed_forward.project": ("output.dense",),
    "norm_2": ("output.LayerNorm",),
}
_BY_ID = ("body.embedding.tokens", "head.bias")
"""What has a row for each id."""


class Imported(NamedTuple):
    """What is made of a folder.

    model: a `Bert` or a `BertClassifier`.
    tags: what a `Bert`'s head for labels of tokens calls them; none where it has no such head.
    """

    model: Any
    tags: list[str]


def from_transformers(
    config: Mapping[str, Any], weights: Mapping[str, Tensor], order: np.ndarray, *, pairs: bool = False
) -> Imported:
    """The model that transformers would make of a config.json and a state dict; the logits are the same.

    Args:
        config: of a BERT.
        weights: of it.
        order: their id of each of our rows.
        pairs: a classifier takes two texts.

    Raises UserError when it is another architecture, a setting is one that we lack, or the weights don't fit.
    """
    kind = (config.get("architectures") or ["BertModel"])[0]
    if kind not in ARCHITECTURES:
        raise UserError(f"config.json is of a {kind}; of BERTs these are read: {', '.join(ARCHITECTURES)}")
    shape = _read(config)
    bare = {_renamed(name): weight for name, weight in weights.items()}
    vocab_size = setting(config, "vocab_size", 30522) - 2
    if len(order) != vocab_size + 2:
        raise UserError(f"the tokeniser has {len(order)} ids, and config.json {vocab_size + 2}")
    labels = labels_of(config)
    if kind == "BertForSequenceClassification":
        if len(labels) < 2 or config.get("problem_type") not in (None, "single_label_classification"):
            raise UserError(
                "this BertForSequenceClassification gives a number or several labels a text; one label of several is"
                " what is read"
            )
        with torch.device("meta"):
            wanted = BertClassifier.build(BertClassifierConfig(**shape), vocab_size, len(labels)).state_dict()
    else:
        parts = [
            "cls.predictions.bias" in bare,
            "bert.pooler.dense.weight" in bare,
            "cls.seq_relationship.weight" in bare,
        ]
        shape["next_sentence"] = parts[2]
        n_tags = len(labels) if kind == "BertForTokenClassification" else 0
        with torch.device("meta"):
            wanted = Bert.build(BertConfig(**shape), vocab_size, *parts, n_tags=n_tags).state_dict()
    tensors = {name: _import(name, tuple(weight.shape), bare, order) for name, weight in wanted.items()}
    used = {theirs for name in wanted for theirs in _their_names(name)}
    tied = bare.get("cls.predictions.decoder.weight")
    if tied is not None and not torch.equal(tied, bare["bert.embeddings.word_embeddings.weight"]):
        raise UserError(
            "the head for tokens has weights of its own; only one tied to the embedding is supported"
        )
    left = [name for name in bare if name not in used and not _is_redundant(name)]
    if left:
        raise UserError(
            f"the weights have a {left[0]}, for which {kind} as config.json describes it has no place"
        )
    end = vocab_size - 1
    if kind == "BertForSequenceClassification":
        delimiter = vocab_size if pairs else None
        classifier = BertClassifier.from_tensors(
            BertClassifierConfig(**shape), vocab_size + pairs, end, labels, tensors, delimiter
        )
        return Imported(classifier, [])
    model = Bert.from_tensors(BertConfig(**shape), vocab_size, end, tensors)
    return Imported(model, labels if "tagger.bias" in tensors else [])


def to_transformers(
    model: Bert | BertClassifier | BertTagger, order: np.ndarray, tags: list[str]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A config.json and a state dict that transformers makes the same model of; ids in the order of `order`."""
    tensors = model.tensors()
    parts = {name.split(".")[0] for name in tensors}
    labels = model.labels if isinstance(model, BertClassifier) else tags
    if isinstance(model, BertClassifier):
        kind = "BertForSequenceClassification"
    elif "tagger" in parts:
        kind = "BertForTokenClassification"
    elif "head" in parts:
        kind = "BertForPreTraining" if "follows" in parts else "BertForMaskedLM"
    else:
        kind = "BertModel"
    weights: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        if name in _BY_ID:
            back = np.empty_like(tensor)
            back[order] = tensor
            tensor = back
        theirs = _their_names(name)
        if kind == "BertModel":
            theirs = [one.removeprefix("bert.") for one in theirs]
        weights |= {
            one: np.ascontiguousarray(part)
            for one, part in zip(theirs, np.split(tensor, len(theirs)), strict=True)
        }
    config = {
        "architectures": [kind],
        "model_type": "bert",
        "vocab_size": len(order),
        **_write(model.config),
        **(
            {
                "id2label": {str(i): label for i, label in enumerate(labels)},
                "label2id": {label: i for i, label in enumerate(labels)},
            }
            if labels
            else {}
        ),
    }
    return config, weights


def _read(config: Mapping[str, Any]) -> dict[str, Any]:
    for name, only in (
        ("position_embedding_type", "absolute"),
        ("is_decoder", False),
        ("add_cross_attention", False),
        ("tie_word_embeddings", True),
        ("type_vocab_size", 2),
    ):
        if setting(config, name, only) != only:
            raise UserError(
                f"config.json asks for {name} {config[name]!r}, which is not supported (supported: {only!r})"
            )
    activation = setting(config, "hidden_act", "gelu")
    if activation not in _ACTIVATIONS:
        raise UserError(
            f"config.json asks for hidden_act {activation!r}, which is not supported (supported:"
            f" {', '.join(_ACTIVATIONS)})"
        )
    return {
        "context": setting(config, "max_position_embeddings", 512),
        "n_layer": setting(config, "num_hidden_layers", 12),
        "n_head": setting(config, "num_attention_heads", 12),
        "n_embd": setting(config, "hidden_size", 768),
        "n_hidden": setting(config, "intermediate_size", 3072),
        "dropout": setting(config, "hidden_dropout_prob", 0.1),
        "activation": _ACTIVATIONS[activation],
        "norm_eps": setting(config, "layer_norm_eps", 1e-12),
    }


def _write(config: Any) -> dict[str, Any]:
    return {
        "max_position_embeddings": config.context,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "hidden_size": config.n_embd,
        "intermediate_size": config.n_hidden,
        "hidden_act": _OURS[config.activation],
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.dropout,
        "layer_norm_eps": config.norm_eps,
        "type_vocab_size": 2,
        "dtype": "float32",
    }


def _renamed(name: str) -> str:
    """A weight's name as newer files have it, with its prefix."""
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith(f"LayerNorm{old}"):
            name = name.removesuffix(old) + new
    return name if name.startswith(("bert.", "cls.", "classifier.")) else f"bert.{name}"


def _their_names(name: str) -> list[str]:
    if name in _NAMES:
        return [_NAMES[name]]
    module, _, kind = name.rpartition(".")
    if module in _MODULES:
        return [f"{_MODULES[module]}.{kind}"]
    _, _, layer, part = module.split(".", 3)
    return [f"bert.encoder.layer.{layer}.{theirs}.{kind}" for theirs in _PARTS[part]]


def _import(name: str, shape: tuple[int, ...], bare: Mapping[str, Tensor], order: np.ndarray) -> np.ndarray:
    theirs = _their_names(name)
    for one in theirs:
        if one not in bare:
            raise UserError(f"the weights lack {one}; are they of another shape?")
        if not bare[one].is_floating_point() or not torch.isfinite(bare[one]).all():
            raise UserError(f"the weight {one} is quantised, or has values that are no finite numbers")
    source = torch.cat([bare[one] for one in theirs])
    if tuple(source.shape) != shape:
        raise UserError(
            f"the weight {' + '.join(theirs)} is {tuple(source.shape)} where config.json says {shape}; use the"
            " config.json it was saved with"
        )
    array = source.float().contiguous().numpy(force=True)
    return array[order] if name in _BY_ID else array


def _is_redundant(name: str) -> bool:
    """What a state dict holds beside weights, or twice."""
    return name.endswith("position_ids") or name.startswith("cls.predictions.decoder.")
