"""A left-to-right transformer as a classifier, in GPT-1's manner.

    [start] text [classify]                      one text
    [start] text [delimiter] text 2 [classify]   two
    text                                         with pool = "last": no marks, asked at the last token of the text

    h = the network's state at the classify token, which has read everything;  logits = W h + d
    loss = -log p(label) + text_loss x the mean of -log p(token) over the text's tokens and the marks behind them

Radford et al. 2018, "Improving language understanding by generative pre-training", sections 3.2 and 3.3: the marks are
tokens of their own, learned with the rest, the text's own loss weighs 0.5. What fills up a batch stands behind the
classify token, where nothing looks. Asked at the last token, with a head without a bias, it is what transformers calls
GPT2ForSequenceClassification; an empty text is a mark then. A text longer than the context loses its end; of two texts
each keeps about half.

Shapes: B texts, T tokens, C = n_embd, V vocabulary without the new marks, L labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rung.errors import UserError, nearest
from rung.models.networks.classifier import ClassifierNetwork, NeuralClassifier, label_loss
from rung.models.networks.states import HasStates, States, to_the_left
from rung.models.networks.torch_model import upcast
from rung.models.transformer.config import GPTConfig
from rung.models.transformer.decoder import GPT
from rung.models.transformer.network import Transformer, build_network

LONGEST_CONTEXT = 512
"""The longest context that is chosen unasked."""
POOLS = ("classify", "last")
MARKS = {"classify": 2, "last": 0}
"""Start and classify: rows behind the tokeniser's (and the delimiter's)."""


@dataclass(frozen=True)
class GPTClassifierConfig(GPTConfig):
    """The shape of a gpt, and how much of its loss is the text's."""

    text_loss: float = 0.5
    """How much the text's own loss counts beside the label's; 0 = not at all."""
    pool: str = "classify"
    """Where it answers: classify (a token of its own behind the text), or last (the text's last token, no marks)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pool not in POOLS:
            near = nearest(self.pool, POOLS) if isinstance(self.pool, str) else ""
            raise UserError(f"--pool {self.pool!r} is unknown{near} (known: {', '.join(POOLS)})")
        if not 0 <= self.text_loss <= 100:
            raise UserError(f"--text-loss {self.text_loss} is not possible: give a number from 0 to 100")


class TransformerClassifier(ClassifierNetwork):
    """A transformer over V + 2 tokens, and a linear head over its state at the last of a text."""

    heads = ("classify.",)
    above = ("body.norm.",)
    tables = ("body.embedding.tokens", "body.free_head")

    def __init__(
        self,
        body: Transformer,
        vocab_size: int,
        n_labels: int,
        text_loss: float,
        dropout: float,
        pool: str = "classify",
    ) -> None:
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(body.head.shape[1], n_labels, bias=pool != "last")
        self.n_marks = MARKS[pool]
        self.start, self.end = vocab_size, vocab_size + 1
        self.text_loss = text_loss

    @property
    def token_embedding(self) -> nn.Parameter:
        return self.body.embedding.tokens

    first_knows = False

    @property
    def with_states(self) -> HasStates:
        return self

    @property
    def room(self) -> int:
        """The most tokens of a text, without its marks."""
        return self.body.context - self.n_marks

    def states(self, texts: Tensor, mark: int | None = None) -> States:
        """(B, T + 1, C): of the tokens and the classify token; it has marks of its own."""
        marked, last = self.marked(to_the_left(texts))
        values = self.body.hidden(marked)
        if self.n_marks:
            values = values[:, 1:]
        else:
            last = last + 1
        return States(values, torch.arange(values.shape[1], device=values.device) < last[:, None])

    def forward(self, tokens: Tensor) -> Tensor:
        marked, last = self.marked(tokens)
        return self._logits(self.body.hidden(marked), last)

    def loss(self, tokens: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """In evaluation mode the labels' alone."""
        marked, last = self.marked(tokens)
        hidden = self.body.hidden(marked)
        loss = label_loss(self._logits(hidden, last), labels, weights)
        if not (self.training and self.text_loss):
            return loss
        places = (
            torch.arange(marked.shape[1], device=marked.device) < last[:, None]
        )  # what has a token after it
        logits = self.body.logits(hidden[:, :-1][places[:, :-1]])
        costs = F.cross_entropy(upcast(logits), marked[:, 1:][places[:, :-1]], reduction="none")
        mean = costs / last.repeat_interleave(last)
        own = mean if weights is None else mean * weights.repeat_interleave(last)
        return loss + self.text_loss * own.sum()

    def marked(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Texts (B, T) with their marks (B, T + 2), and where the classify token of each stands (B,)."""
        lengths = (tokens >= 0).sum(1)
        room = self.body.context - self.n_marks
        if tokens.shape[1] > room:
            tokens, lengths = _cut(tokens, lengths, room, self.start - 1)
        if not self.n_marks:
            return self._unmarked(tokens, lengths)
        marked = F.pad(tokens.clamp(min=0), (1, 1), value=self.start)
        marked[torch.arange(len(marked), device=marked.device), lengths + 1] = self.end
        return marked, lengths + 1

    def _unmarked(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Texts as they are, an empty one as the last id there is, a mark, and where their last tokens stand."""
        if not tokens.shape[1]:
            tokens = tokens.new_full((len(tokens), 1), -1)
        first = torch.where(lengths == 0, self.start - 1, tokens[:, 0])
        tokens = torch.cat([first[:, None], tokens[:, 1:]], dim=1).clamp(min=0)
        return tokens, (lengths - 1).clamp(min=0)

    def _logits(self, hidden: Tensor, last: Tensor) -> Tensor:
        rows = torch.arange(len(hidden), device=hidden.device)
        return self.classify(self.dropout(hidden[rows, last]))

    def blocks_of(self) -> tuple[str, int]:
        return "body.blocks.", len(self.body.blocks)

    def set_epochs(self, epochs: float) -> None:
        self.body.set_epochs(epochs)

    def init_weights(self, generator: torch.Generator) -> None:
        """The body as a gpt's; the head N(0, 0.02), so that the first loss is near ln L + text_loss x ln V."""
        self.body.init_weights(generator)
        self.classify.weight.normal_(0, 0.02, generator=generator)
        if self.classify.bias is not None:
            self.classify.bias.zero_()


class GPTClassifier(NeuralClassifier[TransformerClassifier]):
    """A gpt that answers with a label."""

    rung = "gpt"
    config_class = GPTClassifierConfig
    training_defaults: ClassVar = {"lr": 1e-3, "weight_decay": 0.1, "batch_size": 32}

    @classmethod
    def resolve_config(
        cls, config: GPTClassifierConfig, *, vocab_size: int, train_tokens: int, longest_document: int
    ) -> GPTClassifierConfig:
        """The context is by default the longest text's, with its marks, up to 512."""
        marks = MARKS[config.pool]
        longest = longest_document - 1 + marks
        if config.context is None and config.preset is None:
            config = replace(config, context=min(max(longest, marks + 1), LONGEST_CONTEXT))
        if config.context is not None and config.context < marks + 1:
            raise UserError(
                f"--context {config.context} has no room for a token and two marks: give 3 or more"
            )
        known = max(train_tokens, config.context or 0)
        found: Any = GPT.resolve_config(
            config, vocab_size=vocab_size, train_tokens=known, longest_document=longest
        )
        return found

    @classmethod
    def published_training(cls, config: GPTClassifierConfig) -> Mapping[str, Any]:
        return GPT.published_training(config)

    @classmethod
    def build(cls, config: GPTClassifierConfig, vocab_size: int, n_labels: int) -> TransformerClassifier:
        body = build_network(config.shape(), vocab_size + MARKS[config.pool])
        dropout = config.dropout or 0.0
        return TransformerClassifier(body, vocab_size, n_labels, config.text_loss, dropout, config.pool)

    @property
    def even_guess(self) -> float:
        """An untrained one guesses the text's tokens too."""
        return math.log(len(self.labels)) + self.network.text_loss * math.log(
            self.vocab_size + self.network.n_marks
        )


def _cut(tokens: Tensor, lengths: Tensor, room: int, delimiter: int) -> tuple[Tensor, Tensor]:
    """Texts cut to `room` tokens at their ends; of two, each to about half of it, or what the other leaves."""
    rows = []
    for row, length in zip(tokens, lengths.tolist(), strict=True):
        text = row[:length]
        at = (text == delimiter).nonzero()
        if length > room and len(at):
            rows.append(_cut_pair(text, int(at[0]), room))
        else:
            rows.append(text[:room])
    cut = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
    return cut, torch.tensor([len(row) for row in rows], device=tokens.device)


def _cut_pair(text: Tensor, at: int, room: int) -> Tensor:
    first, second = text[:at], text[at + 1 :]
    half = (room - 1) // 2
    n_first = max(half, room - 1 - len(second)) if len(first) > half else len(first)
    return torch.cat([first[:n_first], text[at : at + 1], second[: room - 1 - min(n_first, len(first))]])
