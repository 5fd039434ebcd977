"""Transformers that make vectors of texts, learned by contrast (`rung.models.networks.contrastive`).

    bert   the encoder; a vector is the mean of its states, marks among them, or that of [CLS] or of [SEP]
    gpt    left to right behind the document mark; the mean over tokens, or the last token's state, which has read all

In training a text longer than the context loses its end; asked for its vector, it is read in pieces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rung.models.networks.contrastive import Contrast, ContrastiveModel
from rung.models.transformer.bert_config import EncoderConfig
from rung.models.transformer.config import GPTConfig
from rung.models.transformer.decoder import GPT
from rung.models.transformer.encoder import MARKS, Encoder, build_encoder
from rung.models.transformer.network import Transformer, build_network

LONGEST_CONTEXT = 512
"""The longest context that is chosen unasked."""


@dataclass(frozen=True)
class BertEncoderConfig(Contrast, EncoderConfig):
    """The shape, and how vectors are made."""


class BertEncoder(ContrastiveModel):
    """A transformer that reads from both sides."""

    rung = "bert"
    config_class = BertEncoderConfig

    @classmethod
    def resolve_config(
        cls, config: BertEncoderConfig, *, vocab_size: int, train_tokens: int, longest_document: int
    ) -> BertEncoderConfig:
        return config.resolved_for(longest_document - 1 + MARKS)

    @classmethod
    def published_training(cls, config: BertEncoderConfig) -> Mapping[str, Any]:
        """Of the published, SimCSE's (appendix A)."""
        return {"lr": 3e-5, "batch_size": 64, "schedule": "linear"} if config.preset is not None else {}

    @classmethod
    def build_body(cls, config: BertEncoderConfig, vocab_size: int) -> Encoder:
        return build_encoder(config.shape(), vocab_size)


@dataclass(frozen=True)
class GPTEncoderConfig(Contrast, GPTConfig):
    """The shape of a gpt, and how vectors are made."""

    dropout: float | None = 0.1
    """The share of activations dropped in training."""


class GPTEncoder(ContrastiveModel):
    """A transformer that reads from left to right."""

    rung = "gpt"
    config_class = GPTEncoderConfig
    training_defaults: ClassVar = {"lr": 1e-3, "weight_decay": 0.1, "batch_size": 64}

    @classmethod
    def resolve_config(
        cls, config: GPTEncoderConfig, *, vocab_size: int, train_tokens: int, longest_document: int
    ) -> GPTEncoderConfig:
        """The context is by default the longest text's, its mark included, up to 512."""
        if config.context is None and config.preset is None:
            config = replace(config, context=min(max(longest_document, 2), LONGEST_CONTEXT))
        known = max(train_tokens, config.context or 0)
        found: Any = GPT.resolve_config(
            config, vocab_size=vocab_size, train_tokens=known, longest_document=longest_document
        )
        return found

    @classmethod
    def published_training(cls, config: GPTEncoderConfig) -> Mapping[str, Any]:
        return GPT.published_training(config)

    @classmethod
    def build_body(cls, config: GPTEncoderConfig, vocab_size: int) -> Transformer:
        """No head of its own: nothing is guessed."""
        return build_network(replace(config.shape(), tied=True), vocab_size)
