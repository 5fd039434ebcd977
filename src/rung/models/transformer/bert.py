"""BERT: a transformer that guesses hidden tokens from both sides.

    h = encoder(text with some tokens hidden)
    logits = norm(gelu(W h + b)) @ token embedding, transposed, + d      at each place that is to be guessed
    loss = the sum of -log p(what stood there)

and, with `next_sentence`, of two texts whether the second followed the first: two logits over tanh(W [CLS] + b), their
loss a mean over pairs beside the mean over places. Devlin et al. 2018 (arXiv:1810.04805), section 3.1 and appendix A.
With the same weights the logits are those of transformers' BertForMaskedLM.

A text longer than the context is read in windows (`rung.text.masking.window_begins`).

Shapes: B texts, T tokens, S = T + 2, C = n_embd, V ids of the tokeniser.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rung.errors import UserError
from rung.models.config_checks import check_bool
from rung.models.masked_model import MaskedLanguageModel
from rung.models.networks.states import HasStates, to_the_left
from rung.models.networks.torch_model import TorchModel, TrainableModule, next_log_probs, upcast
from rung.models.transformer.bert_config import TRAINING, EncoderConfig
from rung.models.transformer.blocks import ACTIVATIONS, build_norm
from rung.models.transformer.config import Shape
from rung.models.transformer.encoder import MARKS, Encoder, Pooler, build_encoder, init_like_bert
from rung.text.masking import HIDDEN, PADDING
from rung.text.stream import TokenStream
from rung.text.windows import padded_documents

TOKENS_AT_ONCE = 1 << 13


@dataclass(frozen=True)
class BertConfig(EncoderConfig):
    """The shape, and what it learns."""

    whole_words: bool = True
    """Whether words are hidden in training, or single tokens: --whole-words=false."""
    next_sentence: bool = False
    """Whether it learns, beside, if the second of two stretches of text followed the first (BERT's other loss)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bool(self, "whole_words", "next_sentence")


class TokenHead(nn.Module):
    """From states to logits over all rows of the token embedding, whose transpose it ends in."""

    def __init__(self, n_rows: int, shape: Shape) -> None:
        super().__init__()
        self.dense = nn.Linear(shape.n_embd, shape.n_embd)
        self.activation = ACTIVATIONS[shape.feed_forward]
        self.norm = build_norm(shape)
        self.bias = nn.Parameter(torch.empty(n_rows))

    def forward(self, states: Tensor, table: Tensor) -> Tensor:
        """(..., C) -> (..., rows)."""
        return F.linear(self.norm(self.activation(self.dense(states))), table, self.bias)


class MaskedNetwork(TrainableModule):
    """Encoder and heads. A head may be missing in what comes from elsewhere."""

    heads = ("pooler.", "follows.", "tagger.", "head.")

    def __init__(
        self,
        body: Encoder,
        head: TokenHead | None,
        pooler: Pooler | None,
        follows: nn.Linear | None,
        tagger: nn.Linear | None,
    ) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.pooler = pooler
        self.follows = follows
        self.tagger = tagger

    @property
    def token_embedding(self) -> nn.Parameter:
        return self.body.embedding.tokens

    @property
    def with_states(self) -> HasStates:
        return self.body

    def logits(self, texts: Tensor) -> Tensor:
        """Of texts (B, T) the logits (M, rows) of what is HIDDEN, row by row."""
        texts = to_the_left(texts)
        return self._logits(self.body(texts), texts == HIDDEN)

    def loss(self, texts: Tensor, targets: Tensor, follows: Tensor | None = None) -> Tensor:
        """The sum over `targets` (B, T) that are not PADDING; texts filled up on the right.

        With `follows` (B,), 0 where the second text of a row follows the first, 1 where not, PADDING where there is
        none, that loss' mean is added as many times as there are targets, so that both means weigh the same.
        """
        states = self.body(texts)
        places = targets != PADDING
        loss = F.cross_entropy(upcast(self._logits(states, places)), targets[places], reduction="sum")
        if follows is None or self.follows is None or self.pooler is None or not self.training:
            return loss
        logits = upcast(self.follows(self.pooler(states)))
        guess = F.cross_entropy(logits, follows, ignore_index=PADDING, reduction="sum")
        return loss + guess / (follows != PADDING).sum().clamp(min=1) * places.sum()

    def _logits(self, states: Tensor, places: Tensor) -> Tensor:
        assert self.head is not None
        return self.head(states[:, 1:-1][places], self.body.embedding.tokens)

    def blocks_of(self) -> tuple[str, int]:
        return "body.blocks.", len(self.body.blocks)

    def init_weights(self, generator: torch.Generator) -> None:
        init_like_bert(self, generator)


class Bert(TorchModel[MaskedNetwork], MaskedLanguageModel):
    """An encoder that guesses hidden tokens."""

    rung = "bert"
    config_class = BertConfig
    training_defaults: ClassVar = {"lr": 1e-3, "weight_decay": 0.01, "batch_size": 32}

    def __init__(self, config: BertConfig, vocab_size: int, end: int, network: MaskedNetwork) -> None:
        super().__init__(config, vocab_size, end)
        self.network = network

    @classmethod
    def resolve_config(
        cls, config: BertConfig, *, vocab_size: int, train_tokens: int, longest_document: int
    ) -> BertConfig:
        return config.resolved_for(longest_document - 1 + MARKS + config.next_sentence)

    @classmethod
    def published_training(cls, config: BertConfig) -> Mapping[str, Any]:
        return TRAINING if config.preset is not None else {}

    @classmethod
    def build(
        cls,
        config: BertConfig,
        vocab_size: int,
        head: bool = True,
        pooler: bool | None = None,
        follows: bool | None = None,
        n_tags: int = 0,
    ) -> MaskedNetwork:
        """By default with the heads that a configuration learns. `n_tags`: of a head that labels each token."""
        shape = config.shape()
        body = build_encoder(shape, vocab_size)
        pooler = config.next_sentence if pooler is None else pooler
        follows = config.next_sentence if follows is None else follows
        return MaskedNetwork(
            body,
            TokenHead(len(body.embedding.tokens), shape) if head else None,
            Pooler(shape.n_embd) if pooler else None,
            nn.Linear(shape.n_embd, 2) if follows else None,
            nn.Linear(shape.n_embd, n_tags) if n_tags else None,
        )

    @classmethod
    def initialise(cls, config: BertConfig, vocab_size: int, end: int, seed: int) -> Self:
        """A new model; the same seed gives the same weights."""
        return cls(config, vocab_size, end, cls.new_network(config, seed, vocab_size))

    @classmethod
    def from_tensors(
        cls, config: BertConfig, vocab_size: int, end: int, tensors: dict[str, np.ndarray]
    ) -> Self:
        """The model whose `tensors()` these are; it has the heads that there are weights of."""
        n_tags = len(tensors.get("tagger.bias", ()))
        parts = [
            any(name.startswith(f"{part}.") for name in tensors) for part in ("head", "pooler", "follows")
        ]
        return cls(config, vocab_size, end, cls.loaded_network(config, tensors, vocab_size, *parts, n_tags))

    @property
    def context(self) -> int:
        """How many tokens of a text are seen at once."""
        return self.network.body.context - MARKS

    @property
    def has_probabilities(self) -> bool:
        return self.network.head is not None

    def masked_log_probs(self, texts: np.ndarray) -> np.ndarray:
        """Of rows no longer than the context; by softmax over all ids and marks, as it was trained."""
        if self.network.head is None:
            raise UserError(
                "this model came without a head for tokens: it gives vectors of texts, not probabilities of hidden"
                " tokens; train one on its weights, or import a BertForMaskedLM"
            )
        found: list[np.ndarray] = [np.empty((0, self.vocab_size), np.float32)]
        at_once = max(1, TOKENS_AT_ONCE // (texts.shape[1] + MARKS))
        with self.inference():
            for begin in range(0, len(texts), at_once):
                rows = self._tensor(np.ascontiguousarray(texts[begin : begin + at_once]))
                logits = self.network.logits(rows)
                log_probs = torch.log_softmax(logits.float(), dim=-1)[:, : self.vocab_size]
                found.append(log_probs.numpy(force=True))
        return np.concatenate(found)

    def follows_log_probs(self, texts: np.ndarray) -> np.ndarray:
        """Of rows (B, T) of two texts: log p, nats, that the second follows the first, and that it does not, (B, 2)."""
        network = self.network
        if network.pooler is None or network.follows is None:
            raise UserError("this model has not learned what follows what: train one with --next-sentence")
        with self.inference():
            states = network.body(self._tensor(np.ascontiguousarray(texts)))
            return next_log_probs(network.follows(network.pooler(states)))

    def tag_log_probs(self, texts: np.ndarray) -> np.ndarray:
        """Of each token of rows (B, T) the log-probability, nats, of every label that it may have, (B, T, K)."""
        if self.network.tagger is None:
            raise UserError("this model has no head that labels tokens: import a BertForTokenClassification")
        with self.inference():
            states = self.network.body(self._tensor(np.ascontiguousarray(texts)))
            return next_log_probs(self.network.tagger(states[:, 1:-1]))

    def states(self, texts: np.ndarray) -> np.ndarray:
        """The encoder's last states (B, T + 2, C) of rows (B, T), cut to the context: of [CLS], the tokens, [SEP]."""
        with self.inference():
            return self.network.body(self._tensor(texts[:, : self.context].copy())).numpy(force=True)

    def states_of(self, texts: TokenStream, rows: np.ndarray) -> np.ndarray:
        """`states` of some documents of a stream."""
        return self.states(padded_documents(texts, rows))
