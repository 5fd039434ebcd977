"""A left-to-right transformer as a translator: it reads the source, a delimiter, and goes on with the target.

    end source delimiter target end
    loss = -log p over target and its closing mark + source_loss x the mean of -log p over the source's tokens

Radford et al. 2018, section 3.3, of pairs; Radford et al. 2019, section 3.7, of translation. The delimiter is a token
of its own behind the V that can be written, and is never written itself; so are the source's, where it has a tokeniser
of its own. A gpt of language is a beginning: `--from`.

By default the context holds the longest pair of the training. What is longer is read by the window policy of
`rung.models.networks.network`: windows that overlap by half, so that the beginning of a long source is forgotten.

Shapes: B pairs, S tokens of the sources, T of the targets, V ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rung.errors import UserError
from rung.models.base import State
from rung.models.networks.target_loss import target_loss
from rung.models.networks.torch_model import TrainableModule, upcast
from rung.models.networks.translator import NeuralTranslator
from rung.models.transformer.config import DEFAULT_N_LAYER, GPTConfig
from rung.models.transformer.decoder import GPT
from rung.models.transformer.inference.kv_cache import Window
from rung.models.transformer.network import Transformer, build_network
from rung.models.translator import GivenSources
from rung.text.masking import PADDING
from rung.text.stream import TokenStream

LONGEST_CONTEXT = 1024
"""The longest context that is chosen unasked."""


@dataclass(frozen=True)
class GPTTranslatorConfig(GPTConfig):
    """The shape of a gpt, and what it learns beside targets."""

    source_loss: float = 0.0
    """How much the source's own loss counts beside the target's; 0 = not at all."""
    label_smoothing: float = 0.1
    """The share of a target's weight that is spread over all tokens in training. No loss that is told has it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.source_loss <= 100:
            raise UserError(f"--source-loss {self.source_loss} is not possible: give a number from 0 to 100")
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"--label-smoothing {self.label_smoothing} is not a share below 1")


class Body(Transformer):
    """A transformer that reads more tokens than it writes: V are written, the first of its rows."""

    n_written: int

    @property
    def head(self) -> Tensor:
        return super().head[: self.n_written]

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.head)


class TranslatingTransformer(TrainableModule):
    """Its body, over pairs."""

    heads = ("body.free_head",)
    above = ("body.norm.",)
    tables = ("body.embedding.tokens", "body.free_head")

    def __init__(self, body: Body, vocab_size: int, source_loss: float, label_smoothing: float) -> None:
        super().__init__()
        self.body = body
        self.body.n_written = vocab_size
        self.end, self.delimiter = vocab_size - 1, vocab_size
        self.first_source = vocab_size + 1 if len(body.embedding.tokens) > vocab_size + 1 else 0
        self.source_loss = source_loss
        self.label_smoothing = label_smoothing

    @property
    def token_embedding(self) -> nn.Parameter:
        return self.body.embedding.tokens

    def joined(self, sources: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Sources (B, S) and what stands before each token of the targets, (B, T), the delimiter first -> rows with the
        mark, the source and the inputs, each right behind the other, and where in a row the inputs stand (B, T)."""
        lengths = (sources != PADDING).sum(1)
        places = torch.arange(inputs.shape[1], device=inputs.device) + 1 + lengths[:, None]
        rows = F.pad(sources.clamp(min=0) + self.first_source, (1, inputs.shape[1]), value=0)
        rows[:, 0] = self.end
        return rows.scatter(1, places, inputs), places

    def loss(self, sources: Tensor, targets: Tensor) -> Tensor:
        """The sum of -log p over `targets` (B, T), each ending in the mark, filled up with PADDING. In evaluation mode
        without the source's."""
        inputs = F.pad(targets[:, :-1].clamp(min=0), (1, 0), value=self.delimiter)
        rows, places = self.joined(sources, inputs)
        hidden = self.body.hidden(rows)
        wanted = hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[2]))
        there = targets != PADDING
        smoothing = self.label_smoothing if self.training else 0.0
        loss = target_loss(self.body.logits(wanted[there]), targets[there], smoothing)
        if not (self.training and self.source_loss):
            return loss
        given = sources != PADDING
        logits = upcast(self.body.logits(hidden[:, : sources.shape[1]][given]))
        own = F.cross_entropy(logits, sources[given], reduction="sum")
        return loss + self.source_loss * own * there.sum() / given.sum().clamp(min=1)

    def blocks_of(self) -> tuple[str, int]:
        return "body.blocks.", len(self.body.blocks)

    def set_epochs(self, epochs: float) -> None:
        self.body.set_epochs(epochs)

    def init_weights(self, generator: torch.Generator) -> None:
        """The body as a gpt's."""
        self.body.init_weights(generator)


class GPTTranslator(NeuralTranslator[TranslatingTransformer]):
    """A gpt that goes on with the translation.

    Attributes:
        reader: the language model of all its ids whose states a view's are.
    """

    rung = "gpt"
    config_class = GPTTranslatorConfig
    training_defaults: ClassVar = {"lr": 2e-3, "weight_decay": 0.1, "batch_size": 64}

    def __init__(
        self,
        config: GPTTranslatorConfig,
        vocab_size: int,
        end: int,
        network: TranslatingTransformer,
        source_vocab_size: int | None = None,
    ) -> None:
        super().__init__(config, vocab_size, end, network, source_vocab_size)
        self.reader = GPT(config, len(network.token_embedding), end, network.body)

    @classmethod
    def resolve_config(
        cls, config: GPTTranslatorConfig, *, vocab_size: int, train_tokens: int, longest_document: int
    ) -> GPTTranslatorConfig:
        """The context is by default that of two texts of the longest one's length, up to 1,024; unasked, no n-grams are
        looked up: which stood before helps little where the source says what comes (docs/log.md)."""
        if config.ngrams is None and config.preset is None:
            config = replace(config, ngrams=0, n_layer=config.n_layer or DEFAULT_N_LAYER)
        if config.context is None and config.preset is None:
            config = replace(config, context=min(2 * longest_document, LONGEST_CONTEXT))
        known = max(train_tokens, config.context or 0)
        found: Any = GPT.resolve_config(
            config, vocab_size=vocab_size, train_tokens=known, longest_document=2 * longest_document
        )
        return found

    @classmethod
    def published_training(cls, config: GPTTranslatorConfig) -> Mapping[str, Any]:
        return GPT.published_training(config)

    @classmethod
    def build(
        cls, config: GPTTranslatorConfig, vocab_size: int, source_vocab_size: int | None
    ) -> TranslatingTransformer:
        if source_vocab_size is not None and config.source_loss:
            raise UserError(
                f"--source-loss {config.source_loss} does not go with a tokeniser for the source alone, whose tokens "
                "are never written; give one for both"
            )
        body = build_network(config.shape(), vocab_size + 1 + (source_vocab_size or 0), Body)
        return TranslatingTransformer(body, vocab_size, config.source_loss, config.label_smoothing)

    def given(self, sources: TokenStream) -> Given:
        return Given(self, sources)


class _Written:
    """B texts so far: which source each is of, and, of each length of source, the rows and the reader's window."""

    def __init__(self, rows: np.ndarray, windows: list[tuple[np.ndarray, Window]]) -> None:
        self.rows = rows
        self.windows = windows


class Given(GivenSources):
    """The reader, behind sources. Sources of one length are read together: a window has no gaps."""

    model: GPTTranslator

    def __init__(self, model: GPTTranslator, sources: TokenStream) -> None:
        super().__init__(model, sources.n_documents)
        self.sources = [np.asarray(sources.document(i)[:-1], np.int64) for i in range(sources.n_documents)]

    def start(self, batch: int = 1) -> State:
        rows = self.rows_of(batch)
        lengths = np.array([len(self.sources[row]) for row in rows])
        windows = []
        for length in np.unique(lengths):
            places = np.flatnonzero(lengths == length)
            first = self.model.network.first_source
            read = np.stack([np.append(self.end, self.sources[row] + first) for row in rows[places]])
            if self.n_sources == 1:
                _, window = self.model.reader.advance(self.model.reader.start(1), read[:1])
                window = self.model.reader.select(window, np.zeros(len(places), np.int64))
            else:
                _, window = self.model.reader.advance(self.model.reader.start(len(places)), read)
            windows.append((places, window))
        return _Written(rows, windows)

    def advance(self, state: State, tokens: np.ndarray) -> tuple[np.ndarray, State]:
        tokens = self.check_tokens(tokens)
        columns = np.where(tokens == self.end, self.model.network.delimiter, tokens)
        columns = columns.reshape(len(state.rows), -1)
        found = np.empty((len(state.rows), self.vocab_size), np.float32)
        windows = []
        for places, window in state.windows:
            found[places], after = self.model.reader.advance(window, columns[places])
            windows.append((places, after))
        return found, _Written(state.rows, windows)

    def select(self, state: State, rows: np.ndarray) -> State:
        rows = np.asarray(rows, np.int64)
        windows = []
        for places, window in state.windows:
            new = np.flatnonzero(np.isin(rows, places))
            if len(new):
                windows.append((new, self.model.reader.select(window, np.searchsorted(places, rows[new]))))
        return _Written(state.rows[rows], windows)

    def score(self, tokens: np.ndarray) -> np.ndarray:
        tokens = self.check_tokens(tokens)
        targets = tokens if tokens.ndim == 2 else tokens[None]
        rows = self.rows_of(len(targets))
        inputs = np.concatenate([np.full((len(targets), 1), self.end), targets[:, :-1]], axis=1)
        longest = max(len(self.sources[row]) for row in rows)
        network = self.model.network
        if not targets.size:
            return np.zeros(tokens.shape, np.float32)
        if 1 + longest + inputs.shape[1] > network.body.context:
            return self._walked(inputs, targets).reshape(tokens.shape)
        sources = np.full((len(rows), longest), PADDING, np.int64)
        for place, row in enumerate(rows):
            sources[place, : len(self.sources[row])] = self.sources[row]
        inputs[inputs == self.end] = network.delimiter
        with self.model.inference():
            joined, places = network.joined(self.model._tensor(sources), self.model._tensor(inputs))
            hidden = network.body.hidden(joined)
            wanted = hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[2]))
            log_probs = upcast(network.body.logits(wanted)).log_softmax(-1)
            found = log_probs.gather(2, self.model._tensor(targets.copy())[..., None])[..., 0]
        return found.numpy(force=True).reshape(tokens.shape)

    def _walked(self, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """What goes beyond a window, token by token."""
        found = np.empty(targets.shape, np.float32)
        state = self.start(len(inputs))
        for t in range(inputs.shape[1]):
            log_probs, state = self.advance(state, inputs[:, t])
            found[:, t] = log_probs[np.arange(len(inputs)), targets[:, t]]
        return found
