"""GPT-1 and GPT-2 with a head for labels, as transformers has them, as ours and back.

    GPT2ForSequenceClassification, OpenAIGPTForSequenceClassification

Theirs answer at the last token of a text that is no padding, by a linear layer without a bias (`score`): our gpt of
labels with `pool = "last"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor

from rung.errors import UserError
from rung.exchange.hugging_face_architectures import ARCHITECTURES, Architecture, setting
from rung.exchange.hugging_face_weights import to_transformers
from rung.models.transformer.classifier import GPTClassifier, GPTClassifierConfig
from rung.models.transformer.config import GPTConfig
from rung.models.transformer.decoder import GPT

HEAD = "score.weight"
KINDS = ("gpt2", "openai-gpt")


def is_classifier(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is of one of these."""
    named = config.get("architectures") or [""]
    return config.get("model_type") in KINDS and str(named[0]).endswith("ForSequenceClassification")


def body_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json of what reads the text, a language model without labels."""
    return {**config, "architectures": [_architecture(config).name]}


def body_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Its weights."""
    return {name: weight for name, weight in weights.items() if name != HEAD}


def classifier_of(body: GPT, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> GPTClassifier:
    """The classifier whose body was read, perhaps put in another order of ids since.

    Raises UserError when it has no head, or one that gives no label.
    """
    labels = labels_of(config)
    if len(labels) < 2 or config.get("problem_type") not in (None, "single_label_classification"):
        raise UserError(
            "this classifier gives a number or several labels a text; one label of several is what is read"
        )
    head = weights.get(HEAD)
    shape = (len(labels), body.network.head.shape[1])
    if head is None or tuple(head.shape) != shape:
        found = "is not there" if head is None else f"is {tuple(head.shape)}"
        raise UserError(f"the weight {HEAD} {found} where config.json says {shape}")
    tensors = {f"body.{name}": array for name, array in body.tensors().items()}
    tensors["classify.weight"] = head.float().numpy(force=True)
    ours = GPTClassifierConfig(**{**asdict(body.config), "pool": "last"})
    return GPTClassifier.from_tensors(ours, body.vocab_size, body.end, labels, tensors)


def classifier_to_transformers(model: GPTClassifier) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A config.json and a state dict. Raises UserError for a shape that theirs lack."""
    if model.network.n_marks:
        raise UserError(
            "this gpt answers at a token of its own behind the text, which transformers' has not: train one with "
            "--pool last"
        )
    if model.delimiter is not None:
        raise UserError("this gpt takes two texts, parted by a token that transformers' tokeniser has not")
    tensors = model.tensors()
    body = {name.removeprefix("body."): array for name, array in tensors.items() if name.startswith("body.")}
    fields = {name: value for name, value in asdict(model.config).items() if name not in _OWN}
    gpt = GPT.from_tensors(GPTConfig(**fields), model.vocab_size, model.end, body)
    config, weights = to_transformers(gpt)
    weights.pop("lm_head.weight", None)
    name = _architecture(config).name.removesuffix("LMHeadModel") + "ForSequenceClassification"
    labels = dict(enumerate(model.labels))
    return (
        {
            **config,
            "architectures": [name],
            "pad_token_id": model.end,
            "problem_type": "single_label_classification",
            "id2label": {str(i): label for i, label in labels.items()},
            "label2id": {label: i for i, label in labels.items()},
        },
        {**weights, HEAD: tensors["classify.weight"]},
    )


def labels_of(config: Mapping[str, Any]) -> list[str]:
    """What the labels are called, in the order of their numbers; transformers' two where the file doesn't say."""
    named = setting(config, "id2label", {})
    if not named:
        return [f"LABEL_{i}" for i in range(setting(config, "num_labels", 2))]
    found = {int(i): str(label) for i, label in named.items()}
    if sorted(found) != list(range(len(found))) or len(set(found.values())) < len(found):
        raise UserError("config.json has an id2label that does not number different labels from 0 on")
    return [found[i] for i in range(len(found))]


_OWN = ("text_loss", "pool")


def _architecture(config: Mapping[str, Any]) -> Architecture:
    return ARCHITECTURES[str(config["model_type"])]
