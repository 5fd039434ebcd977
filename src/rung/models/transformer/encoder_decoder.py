"""An encoder and a decoder with cross-attention: P(target | source).

    h = encoder(source)                                     blocks that see both sides
    x = decoder(end, y_1 ... y_(t-1); h)                    blocks that see what came before, and all of h
    logits = norm(x) @ token embedding, transposed

    a block of the decoder:  x + attention(norm_1(x)), then x + cross(norm_2(x), h), then x + feed_forward(norm_3(x))

Vaswani et al. 2017 (arXiv:1706.03762) of the decoder's own parts: norms first, rotary positions in both halves (none
between them), one table of tokens for source, target and head. The source ends in the mark, so that no source is empty;
the target begins after it. How far a source reaches is told by its length, never by an id.

Trained with smoothed labels where asked; every loss that is told is the plain one (`target_loss`).

Shapes: B pairs, S tokens of the sources, T of the targets, C = n_embd, V ids.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rung.models.base import State
from rung.models.config_checks import check_bool, check_counts, check_fraction
from rung.models.networks.target_loss import target_loss
from rung.models.networks.torch_model import TrainableModule, next_log_probs, upcast
from rung.models.networks.translator import NeuralTranslator, ended
from rung.models.transformer.blocks import Block, build_block, build_norm
from rung.models.transformer.config import GPTConfig, Shape, default_n_head
from rung.models.transformer.cross_attention import CrossAttention, Memory, attend_further
from rung.models.translator import GivenSources
from rung.text.stream import TokenStream
from rung.text.windows import padded_documents


@dataclass(frozen=True)
class EncoderDecoderConfig:
    """The shape."""

    n_layer: int = 3
    """Blocks of each half."""
    n_head: int | None = None
    """Attention heads a block, a divisor of n_embd; by default as many as are 32 wide."""
    n_embd: int = 256
    """Width."""
    n_hidden: int | None = None
    """Width inside the feed-forward; by default 4 times n_embd."""
    dropout: float = 0.1
    """The share of activations dropped in training."""
    bias: bool = False
    """Whether linear layers and norms add a bias."""
    label_smoothing: float = 0.1
    """The share of a target's weight that is spread over all tokens in training. No loss that is told has it."""

    def __post_init__(self) -> None:
        check_counts(self, "n_layer", "n_embd")
        check_counts(self, "n_head", "n_hidden", optional=True)
        check_fraction(self, "dropout", "label_smoothing")
        check_bool(self, "bias")
        self._gpt()

    def shape(self) -> Shape:
        """Of both halves' blocks."""
        return self._gpt().shape()

    def _gpt(self) -> GPTConfig:
        return GPTConfig(
            context=1,
            n_layer=self.n_layer,
            n_head=default_n_head(self.n_embd) if self.n_head is None else self.n_head,
            n_embd=self.n_embd,
            n_hidden=self.n_hidden,
            dropout=self.dropout,
            bias=self.bias,
            positions="rotary",
            norm="layer",
            norm_first=True,
            feed_forward="gelu",
            tied=True,
            ngrams=0,
        )


class DecoderBlock(nn.Module):
    """A block of the decoder: what was written, then the source, then a thought."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.block: Block = build_block(shape)
        self.norm_cross = build_norm(shape)
        self.cross = CrossAttention(shape.n_embd, shape.n_head, shape.dropout, shape.bias)

    def forward(self, x: Tensor, memory: Memory, there: Tensor | None) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        own = self.block
        x = x + own.attention(own.norm_1(x))
        x = x + self.cross(self.norm_cross(x), memory, there)
        return x + own.feed_forward(own.norm_2(x))

    def further(
        self, x: Tensor, past: Memory | None, memory: Memory, there: Tensor | None
    ) -> tuple[Tensor, Memory]:
        """The same of T more inputs behind what `past` holds, which grows."""
        own = self.block
        y, kept = attend_further(own.attention, own.norm_1(x), past)
        x = x + y
        x = x + self.cross(self.norm_cross(x), memory, there)
        return x + own.feed_forward(own.norm_2(x)), kept


class EncoderDecoderNetwork(TrainableModule):
    """One table of tokens, two stacks of blocks."""

    above = ("norm_encoder.", "norm.")
    tables = ("tokens", "source_tokens")

    def __init__(
        self, vocab_size: int, shape: Shape, label_smoothing: float, source_vocab_size: int | None = None
    ) -> None:
        super().__init__()
        self.end = vocab_size - 1
        self.label_smoothing = label_smoothing
        self.tokens = nn.Parameter(torch.empty(vocab_size, shape.n_embd))
        self.source_tokens = (
            None if source_vocab_size is None else nn.Parameter(torch.empty(source_vocab_size, shape.n_embd))
        )
        self.dropout = nn.Dropout(shape.dropout)
        self.encoder = nn.ModuleList(build_block(shape, causal=False) for _ in range(shape.n_layer))
        self.norm_encoder = build_norm(shape)
        self.blocks = nn.ModuleList(DecoderBlock(shape) for _ in range(shape.n_layer))
        self.norm = build_norm(shape)

    @property
    def token_embedding(self) -> nn.Parameter:
        return self.tokens

    def embed(self, tokens: Tensor, table: Tensor | None = None) -> Tensor:
        """(B, T) -> (B, T, C), times sqrt(C) as in section 3.4."""
        table = self.tokens if table is None else table
        return self.dropout(F.embedding(tokens, table) * math.sqrt(table.shape[1]))

    def encode(self, sources: Tensor) -> tuple[Tensor, Tensor | None]:
        """Sources (B, S), filled up with PADDING -> states (B, S + 1, C) and which are there (B, 1, 1, S + 1)."""
        table = self.tokens if self.source_tokens is None else self.source_tokens
        tokens, lengths = ended(sources, len(table) - 1)
        there = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
        mask = None if bool(there.all()) else there[:, None, None, :]
        x = self.embed(tokens, table)
        for block in self.encoder:
            x = block(x, mask)
        return self.norm_encoder(x), mask

    def logits(self, states: Tensor) -> Tensor:
        return F.linear(self.norm(states), self.tokens)

    def forward(self, sources: Tensor, inputs: Tensor) -> Tensor:
        """Sources (B, S) and inputs (B, T), the mark first -> logits (B, T, V)."""
        memory, there = self.encode(sources)
        x = self.embed(inputs)
        for block in self.decoder():
            x = block(x, block.cross.memory(memory), there)
        return self.logits(x)

    def decoder(self) -> list[DecoderBlock]:
        """Its blocks."""
        return cast("list[DecoderBlock]", list(self.blocks))

    def loss(self, sources: Tensor, targets: Tensor) -> Tensor:
        """The sum of -log p over `targets` (B, T), each ending in the mark, filled up with PADDING."""
        inputs = F.pad(targets[:, :-1].clamp(min=0), (1, 0), value=self.end)
        return target_loss(self(sources, inputs), targets, self.label_smoothing if self.training else 0.0)

    def blocks_of(self) -> tuple[str, int]:
        return "blocks.", len(self.blocks)

    def init_weights(self, generator: torch.Generator) -> None:
        """Matrices uniform as Glorot and Bengio 2010 have it, the table N(0, 0.02): the first loss is near ln V."""
        for name, weight in self.named_parameters():
            if name in self.tables:
                weight.normal_(0, 0.02, generator=generator)
            elif weight.dim() == 2:
                bound = math.sqrt(6 / (weight.shape[0] + weight.shape[1]))
                if name.endswith("project.weight"):
                    bound /= math.sqrt(2 * len(self.blocks))
                weight.uniform_(-bound, bound, generator=generator)
            elif name.endswith("bias"):
                weight.zero_()
            else:
                weight.fill_(1)


class EncoderDecoder(NeuralTranslator[EncoderDecoderNetwork]):
    """A transformer that reads one text and writes another."""

    rung = "encoder-decoder"
    config_class = EncoderDecoderConfig
    training_defaults: ClassVar = {
        "lr": 2e-3,
        "batch_size": 64,
        "weight_decay": 0.01,
        "beta2": 0.98,
        "schedule": "linear",
    }

    @classmethod
    def build(
        cls, config: EncoderDecoderConfig, vocab_size: int, source_vocab_size: int | None
    ) -> EncoderDecoderNetwork:
        return EncoderDecoderNetwork(vocab_size, config.shape(), config.label_smoothing, source_vocab_size)

    def given(self, sources: TokenStream) -> Given:
        return Given(self, sources)


class _Written:
    """What was written so far, B texts: which source each is of, each block's keys and values, and whether the rows are
    the sources, one each, in order."""

    def __init__(self, rows: Tensor, past: list[Memory | None], whole: bool) -> None:
        self.rows = rows
        self.past = past
        self.whole = whole

    def select(self, rows: np.ndarray) -> _Written:
        at = torch.from_numpy(np.asarray(rows, np.int64)).to(self.rows.device)
        past = [None if own is None else (own[0][at], own[1][at]) for own in self.past]
        return _Written(self.rows[at], past, False)


class Given(GivenSources):
    """The decoder over sources that are encoded once."""

    model: EncoderDecoder

    def __init__(self, model: EncoderDecoder, sources: TokenStream) -> None:
        super().__init__(model, sources.n_documents)
        with model.inference():
            tokens = model._tensor(padded_documents(sources, np.arange(sources.n_documents)))
            states, self.there = model.network.encode(tokens)
            self.memories = [block.cross.memory(states) for block in model.network.decoder()]

    def start(self, batch: int = 1) -> State:
        rows = torch.from_numpy(self.rows_of(batch)).to(self.model.device)
        return _Written(rows, [None] * len(self.memories), True)

    def advance(self, state: State, tokens: np.ndarray) -> tuple[np.ndarray, State]:
        tokens = self.check_tokens(tokens)
        columns = tokens[:, None] if tokens.ndim == 1 else tokens
        with self.model.inference():
            x, kept = self._read(state, columns)
            return next_log_probs(self.model.network.logits(x[:, -1])), _Written(
                state.rows, kept, state.whole
            )

    def score(self, tokens: np.ndarray) -> np.ndarray:
        tokens = self.check_tokens(tokens)
        rows = tokens if tokens.ndim == 2 else tokens[None]
        inputs = np.concatenate([np.full((len(rows), 1), self.end), rows[:, :-1]], axis=1)
        with self.model.inference():
            x, _ = self._read(self.start(len(rows)), inputs)
            log_probs = upcast(self.model.network.logits(x)).log_softmax(-1)
            found = log_probs.gather(2, self.model._tensor(np.ascontiguousarray(rows))[..., None])[..., 0]
        return found.numpy(force=True).reshape(tokens.shape)

    def attention(self, tokens: np.ndarray) -> np.ndarray:
        inputs = np.concatenate([[self.end], self.check_tokens(tokens)[:-1]])[None]
        network = self.model.network
        maps = []
        with self.model.inference():
            x = network.embed(self.model._tensor(inputs))
            for block, memory in zip(network.decoder(), self.memories, strict=True):
                asking = x + block.block.attention(block.block.norm_1(x))
                maps.append(block.cross.weights(block.norm_cross(asking), memory, self.there)[0])
                x = block(x, memory, self.there)
        return torch.cat(maps).numpy(force=True)

    def _read(self, state: _Written, tokens: np.ndarray) -> tuple[Tensor, list[Memory | None]]:
        network = self.model.network
        x = network.embed(self.model._tensor(np.ascontiguousarray(tokens, np.int64)))
        there = None if self.there is None else self._of_rows(self.there, state)
        kept: list[Memory | None] = []
        for block, past, memory in zip(network.decoder(), state.past, self.memories, strict=True):
            own = self._of_rows(memory[0], state), self._of_rows(memory[1], state)
            x, grown = block.further(x, past, own, there)
            kept.append(grown)
        return x, kept

    def _of_rows(self, of_sources: Tensor, state: _Written) -> Tensor:
        """What belongs to each row's source; copied only where rows are not the sources themselves."""
        if self.n_sources == 1:
            return of_sources.expand(len(state.rows), -1, -1, -1)
        return of_sources if state.whole else of_sources[state.rows]
