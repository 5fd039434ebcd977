"""A transformer that reads from both sides as a classifier: BERT with a head on its first token.

    [CLS] text [SEP]               one text
    [CLS] text [SEP] text 2 [SEP]  two, the second of another type

    logits = W tanh(P h_[CLS] + b) + d      --pool first, BERT's
    logits = W m + d                        --pool mean: m the mean of a text's states, its marks' included

Devlin et al. 2018 (arXiv:1810.04805), section 4.1 and figure 4. With the same weights the logits are those of
transformers' BertForSequenceClassification. A text longer than the context loses its end; of two, the longer one does,
token by token, until both fit.

Shapes: B texts, T tokens, V ids of the tokeniser and, where an example is two texts, one more for the delimiter between
them, which the network reads as [SEP]; L labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from rung.errors import UserError, nearest
from rung.models.networks.classifier import ClassifierNetwork, NeuralClassifier
from rung.models.networks.states import HasStates
from rung.models.transformer.bert_config import LONGEST_CONTEXT, EncoderConfig
from rung.models.transformer.encoder import (
    MARKS,
    Encoder,
    Pooler,
    build_encoder,
    init_like_bert,
    mean_of_text,
)
from rung.text.masking import PADDING

POOLS = ("first", "mean")


@dataclass(frozen=True)
class BertClassifierConfig(EncoderConfig):
    """The shape, and what of the states is told to the head."""

    pool: str = "first"
    """first (the state of the mark before the text, through BERT's pooler) or mean (of all states)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pool not in POOLS:
            near = nearest(self.pool, POOLS) if isinstance(self.pool, str) else ""
            raise UserError(f"--pool {self.pool!r} is unknown{near} (known: {', '.join(POOLS)})")


class EncoderClassifier(ClassifierNetwork):
    """Encoder, pooler (unless states are averaged), and a linear head."""

    heads = ("pooler.", "classify.")

    def __init__(self, body: Encoder, n_embd: int, n_labels: int, dropout: float, pool: str) -> None:
        super().__init__()
        self.body = body
        self.pooler = Pooler(n_embd) if pool == "first" else None
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(n_embd, n_labels)

    @property
    def token_embedding(self) -> nn.Parameter:
        return self.body.embedding.tokens

    @property
    def with_states(self) -> HasStates:
        return self.body

    def forward(self, tokens: Tensor) -> Tensor:
        """The delimiter is `body.end` + 1 here, which no text has otherwise."""
        if tokens.shape[1] + MARKS > self.body.context:
            tokens = self._cut(tokens)
        tokens = torch.where(tokens == self.body.end + 1, self.body.end, tokens)
        states = self.body(tokens)
        if self.pooler is not None:
            return self.classify(self.dropout(self.pooler(states)))
        return self.classify(self.dropout(mean_of_text(states, tokens)))

    def _cut(self, tokens: Tensor) -> Tensor:
        room = self.body.context - MARKS
        rows = [_cut_text(row[row != PADDING], room, self.body.end + 1) for row in tokens]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PADDING)

    def blocks_of(self) -> tuple[str, int]:
        return "body.blocks.", len(self.body.blocks)

    def init_weights(self, generator: torch.Generator) -> None:
        init_like_bert(self, generator)


class BertClassifier(NeuralClassifier[EncoderClassifier]):
    """An encoder that answers with a label."""

    rung = "bert"
    config_class = BertClassifierConfig
    tokenizer: ClassVar[str | None] = "wordpiece"
    training_defaults: ClassVar = {"lr": 1e-3, "weight_decay": 0.01, "batch_size": 32}
    fine_tuning_lr: ClassVar[float] = 5e-5  # the largest of the published (appendix A.3)

    @classmethod
    def resolve_config(
        cls, config: BertClassifierConfig, *, vocab_size: int, train_tokens: int, longest_document: int
    ) -> BertClassifierConfig:
        return config.resolved_for(longest_document - 1 + MARKS, LONGEST_CONTEXT)

    @classmethod
    def published_training(cls, config: BertClassifierConfig) -> Mapping[str, Any]:
        """Of the published, for fine-tuning (appendix A.3)."""
        return {"lr": 5e-5, "batch_size": 32, "schedule": "linear"} if config.preset is not None else {}

    @classmethod
    def build(cls, config: BertClassifierConfig, vocab_size: int, n_labels: int) -> EncoderClassifier:
        """Of `vocab_size` ids without a delimiter."""
        shape = config.shape()
        body = build_encoder(shape, vocab_size)
        return EncoderClassifier(body, shape.n_embd, n_labels, config.dropout, config.pool)

    @classmethod
    def initialise(
        cls,
        config: BertClassifierConfig,
        vocab_size: int,
        end: int,
        labels: Sequence[str],
        seed: int,
        delimiter: int | None = None,
    ) -> Self:
        """A new model; the same seed gives the same weights."""
        network = cls.new_network(config, seed, end + 1, len(labels))
        return cls(config, vocab_size, end, labels, network, delimiter)

    @classmethod
    def from_tensors(
        cls,
        config: BertClassifierConfig,
        vocab_size: int,
        end: int,
        labels: Sequence[str],
        tensors: dict[str, np.ndarray],
        delimiter: int | None = None,
    ) -> Self:
        network = cls.loaded_network(config, tensors, end + 1, len(labels))
        return cls(config, vocab_size, end, labels, network, delimiter)


def _cut_text(text: Tensor, room: int, delimiter: int) -> Tensor:
    """A text cut to `room` tokens; of two the longer one is cut."""
    at = (text == delimiter).nonzero()
    if len(text) <= room or not len(at):
        return text[:room]
    cut = int(at[0])
    first, second, room = text[:cut], text[cut + 1 :], room - 1
    shorter = min(len(first), len(second), room // 2)
    n_first = shorter if len(first) <= len(second) else room - shorter
    n_second = room - n_first
    return torch.cat([first[:n_first], text[cut : cut + 1], second[:n_second]])
