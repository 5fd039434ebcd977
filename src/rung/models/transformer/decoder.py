"""The transformer in GPT-2's shape: each position reads the ones before it, layer upon layer, then guesses.

    x = token embedding + position embedding
    n_layer times:  x = x + attention(norm(x));  x = x + feed_forward(norm(x))
    logits = norm(x) @ token embedding, transposed

Radford et al. 2019, "Language models are unsupervised multitask learners": norms before each part and one at
the end, learned positions, GELU by its tanh formula, the head tied to the token embedding. Attention is
Vaswani et al. 2017 (arXiv:1706.03762), eq. 1. With the same weights the logits are those of transformers'
GPT2LMHeadModel.

That is the default and is all in this file. Other shapes put other parts in these places, and their files say what
they are: `positions`, `attention` (rotary, ALiBi, shared keys, local windows, normed queries), `feed_forward`,
`norms`. The last functions here choose the parts; `config` lists the choices, `presets` published combinations.

Shapes: B rows of a batch, T inputs, C = n_embd, H = n_head, D = C / H, V vocabulary, L = n_layer.
What happens to a document longer than the context is the window policy of `rung.models.networks.network`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rung.errors import UserError
from rung.models.base import State
from rung.models.networks.network import Network, NeuralModel, next_log_probs
from rung.models.transformer.attention import Attention
from rung.models.transformer.config import HEAD_SIZE, GPTConfig, Shape, heads_for
from rung.models.transformer.feed_forward import SquaredReLU, SwiGLU
from rung.models.transformer.hashed_ngrams import NgramEmbedding, dropout_for, init_normed_weights, rows_for
from rung.models.transformer.inference.kv_cache import KeyValueCache, Window
from rung.models.transformer.inference.lean import LeanGPT
from rung.models.transformer.norms import PostNormBlock, RMSNorm
from rung.models.transformer.positions import Rotary, SineEmbedding, TokenEmbedding, alibi_slopes

__all__ = ["GPT", "GPTConfig", "Transformer"]

DEFAULT_PRESET = "rung"
"""What is trained if nobody says otherwise."""

LAYERS, HEADS, CONTEXT = {"rung": 2}, 4, 64
"""What a config leaves open, when the data allow: nanoGPT's shape for a CPU, 4 x 4 x 128; beside n-grams, two layers
reach the same loss in half the time (docs/log.md)."""


class GPT(NeuralModel["Transformer"]):
    """A transformer, of GPT-2's shape unless asked otherwise. A state is the window's inputs, keys and values."""

    rung = "gpt"
    config_class = GPTConfig
    training_defaults: ClassVar = {"lr": 2e-3, "weight_decay": 0.1, "batch_size": 12}
    batch_tokens: ClassVar = 768

    def __init__(self, config: GPTConfig, vocab_size: int, end: int, network: Transformer) -> None:
        super().__init__(config, vocab_size, end, network)
        self._lean: tuple[list[tuple[int, int]], LeanGPT] | None = None

    @classmethod
    def resolve_config(
        cls, config: GPTConfig, *, vocab_size: int, train_tokens: int, longest_document: int
    ) -> GPTConfig:
        """Raises UserError when the context is longer than the whole training text."""
        if config.preset is None:
            config = replace(config, preset=DEFAULT_PRESET)
            if config.n_embd is not None and config.positions is None:
                n_head = heads_for(config.n_embd) if config.n_head is None else config.n_head
                if config.n_embd // n_head % 2:
                    config = replace(config, positions="alibi")  # rotary turns pairs
        share = config.ngram_dropout
        config = config.resolved()
        if config.context is not None and config.context > train_tokens:
            raise UserError(
                f"--context {config.context} is longer than the training text, {train_tokens} tokens;"
                f" use --context {max(1, min(CONTEXT, train_tokens))} or less, or give more text"
            )
        n_head, n_embd = config.n_head, config.n_embd
        if n_head is None:
            n_head = HEADS if n_embd is None else heads_for(n_embd)
        return replace(
            config,
            context=max(1, min(CONTEXT, longest_document)) if config.context is None else config.context,
            n_layer=LAYERS.get(str(config.preset), 4) if config.n_layer is None else config.n_layer,
            n_head=n_head,
            n_embd=HEAD_SIZE * n_head if n_embd is None else n_embd,
            ngram_rows=rows_for(train_tokens)
            if config.ngram_rows is None and config.ngrams
            else config.ngram_rows,
            ngram_dropout=dropout_for(train_tokens)
            if share is None and config.ngrams
            else config.ngram_dropout,
        )

    @classmethod
    def build(cls, config: GPTConfig, vocab_size: int) -> Transformer:
        shape = config.shape()
        block = Block if shape.norm_first else PostNormBlock
        blocks = [
            block(_norm(shape), _attention(shape), _norm(shape), _feed_forward(shape))
            for _ in range(shape.n_layer)
        ]
        last = _norm(shape) if shape.norm_first else nn.Identity()
        head = None if shape.tied else nn.Parameter(torch.empty(vocab_size, shape.n_embd))
        return Transformer(shape.context, _embedding(shape, vocab_size), blocks, last, head)

    def flops_per_token(self) -> float:
        """6 for each weight that multiplies and 12 * L * C * context for attention.

        Source: PaLM (Chowdhery et al. 2022, arXiv:2204.02311), appendix B. Its N is here the weights of the
        matrices that a token is multiplied with: the blocks' and the head's. Tables that are only looked up,
        biases and norms are left out. A local window saves nothing here: far scores are made, then masked.
        """
        network = self.network
        vocab_size, n_embd = network.head.shape
        matrices = sum(weight.numel() for weight in network.blocks.parameters() if weight.dim() == 2)
        attention = 12.0 * len(network.blocks) * n_embd * network.context
        return 6.0 * (matrices + vocab_size * n_embd) + attention

    def start(self, batch: int = 1) -> Window:
        return self._lean_network().cache(batch).window(0)

    def advance(self, state: Window, tokens: np.ndarray) -> tuple[np.ndarray, Window]:
        new = self.check_tokens(tokens).reshape(len(state.inputs), -1)  # (B, T)
        over = state.length + new.shape[1] - self.network.context
        if over > 0:
            # Only the window that holds the last input matters, however many full ones lie between.
            first = -(-over // self._stride) * self._stride
            new = np.concatenate([state.inputs, new], axis=1)[:, first:]
            state = self.start(len(new))
        log_probs, cache = self._read(state, new, new.shape[1] - 1)
        return log_probs[:, 0], cache.window(state.length + new.shape[1])

    def advance_all(self, state: Window, tokens: np.ndarray) -> tuple[np.ndarray, list[State]]:
        """One forward for each window that the tokens fall into."""
        rest = self.check_tokens(tokens)  # (B, T)
        log_probs, states = [], []
        while rest.shape[1]:
            room = self.network.context - state.length
            past = np.empty((len(rest), 0), np.int64)
            if room == 0:
                past, room = state.inputs[:, self._stride :], self._stride
                state = self.start(len(rest))
            new, rest = rest[:, :room], rest[:, room:]
            begin = state.length + past.shape[1]
            answers, cache = self._read(state, np.concatenate([past, new], axis=1), past.shape[1])
            log_probs.append(answers)
            # Every state on the way is a length of the same cache.
            states += [cache.window(begin + t) for t in range(1, new.shape[1] + 1)]
            state = states[-1]
        return np.concatenate(log_probs, axis=1), states

    def select(self, state: Window, rows: np.ndarray) -> Window:
        return state.cache.copy(state.length, np.asarray(rows)).window(state.length)

    @property
    def _stride(self) -> int:
        return self.network.context - self.network.context // 2

    def _read(self, state: Window, new: np.ndarray, first: int) -> tuple[np.ndarray, KeyValueCache]:
        """Take in `new` (B, T), which fit the window: log-probabilities (B, T - first, V) after all but the first of
        them, and where their keys lie."""
        cache, past = state.cache_to_write(), state.length
        cache.inputs[:, past : past + new.shape[1]] = new
        assert self._lean is not None  # `start` made it
        lean = self._lean[1]
        if new.shape[0] == 1 and (compiled := lean.compiled_steps(new.shape[1])) is not None:
            return compiled(cache, new[0], past)[None, first:], cache
        with self.inference():
            hidden = lean.hidden(self._tensor(new.copy()), cache, past)
            return next_log_probs(lean.logits(hidden[:, first:])), cache

    def _lean_network(self) -> LeanGPT:
        """Made anew when weights have changed, as between two samples of a training run. Looked at once a window."""
        weights = [(weight.data_ptr(), weight._version) for weight in self.network.parameters()]
        if self._lean is None or self._lean[0] != weights:
            self._lean = weights, LeanGPT(self.network)
        return self._lean[1]


class Transformer(Network):
    """Embedding, blocks, a norm, and a head: the token embedding again, unless it has weights of its own."""

    def __init__(
        self,
        context: int,
        embedding: Embedding | TokenEmbedding | SineEmbedding | NgramEmbedding,
        blocks: list[Block | PostNormBlock],
        norm: nn.Module,
        head: nn.Parameter | None,
    ) -> None:
        super().__init__()
        self._context = context
        self.embedding = embedding
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.free_head = head

    @property
    def context(self) -> int:
        return self._context

    @property
    def head(self) -> Tensor:
        """(V, C): what the logits are made with."""
        return self.embedding.tokens if self.free_head is None else self.free_head

    def hidden(self, tokens: Tensor) -> Tensor:
        """(B, T) -> (B, T, C)."""
        x = self.embedding(tokens)  # (B, T, C)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.head)  # (..., C) -> (..., V)

    def set_epochs(self, epochs: float) -> None:
        if isinstance(self.embedding, NgramEmbedding):
            self.embedding.ngrams.dropping = epochs >= 1

    def init_weights(self, generator: torch.Generator) -> None:
        """GPT-2's start: N(0, 0.02), and 1/sqrt(2L) of that where a block writes to the stream, so that its
        2L contributions add up to no more than one. Norms begin as the identity. The first loss is near ln V.
        """
        if isinstance(self.embedding, NgramEmbedding):
            init_normed_weights(self, generator)
            return
        residual = 0.02 / math.sqrt(2 * len(self.blocks))
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                weight.normal_(0, residual if name.endswith("project.weight") else 0.02, generator=generator)
            elif name.endswith("bias"):
                weight.zero_()
            else:
                weight.fill_(1)


class Embedding(nn.Module):
    """What a token is, plus where it stands."""

    def __init__(self, vocab_size: int, context: int, n_embd: int, dropout: float) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(vocab_size, n_embd))
        self.positions = nn.Parameter(torch.empty(context, n_embd))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, past: int = 0) -> Tensor:
        x = (
            F.embedding(tokens, self.tokens) + self.positions[past : past + tokens.shape[1]]
        )  # (B, T, C) + (T, C)
        return self.dropout(x)


class Block(nn.Module):
    """Gather from other positions, then think it over; each part reads a normed copy of x and adds to x."""

    def __init__(
        self, norm_1: nn.Module, attention: nn.Module, norm_2: nn.Module, feed_forward: nn.Module
    ) -> None:
        super().__init__()
        self.norm_1 = norm_1
        self.attention = attention
        self.norm_2 = norm_2
        self.feed_forward = feed_forward

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_1(x))  # (B, T, C)
        return x + self.feed_forward(self.norm_2(x))


class CausalSelfAttention(nn.Module):
    """Each position asks (query), offers (key), tells (value); it hears itself and those before it."""

    def __init__(self, n_embd: int, n_head: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.n_head = n_head
        self.qkv = nn.Linear(n_embd, 3 * n_embd, bias=bias)
        self.project = nn.Linear(n_embd, n_embd, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        rows, length, width = x.shape
        q, k, v = (
            self.qkv(x).view(rows, length, 3, self.n_head, -1).permute(2, 0, 3, 1, 4)
        )  # each (B, H, T, D)
        y = F.scaled_dot_product_attention(
            q, k, v, dropout_p=self.dropout.p if self.training else 0.0, is_causal=True
        )  # (B, H, T, D)
        return self.dropout(self.project(y.transpose(1, 2).reshape(rows, length, width)))


class FeedForward(nn.Module):
    """Four times as wide, a bend, and back."""

    def __init__(self, n_embd: int, n_hidden: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.expand = nn.Linear(n_embd, n_hidden, bias=bias)
        self.project = nn.Linear(n_hidden, n_embd, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.expand(x), approximate="tanh")  # (B, T, 4C)
        return self.dropout(self.project(x))


def _embedding(shape: Shape, vocab_size: int) -> Embedding | TokenEmbedding | SineEmbedding | NgramEmbedding:
    """Where positions are told at the door, with them; where attention tells them or nothing does, without."""
    if shape.ngrams:
        assert shape.ngram_rows is not None
        return NgramEmbedding(
            vocab_size, shape.ngrams, shape.ngram_rows, shape.n_embd, shape.dropout, shape.ngram_dropout
        )
    if shape.positions == "learned":
        return Embedding(vocab_size, shape.context, shape.n_embd, shape.dropout)
    if shape.positions == "sinusoidal":
        return SineEmbedding(vocab_size, shape.n_embd, shape.dropout)
    return TokenEmbedding(vocab_size, shape.n_embd, shape.dropout)


def _attention(shape: Shape) -> CausalSelfAttention | Attention:
    """GPT-2's, as long as nothing asks for more."""
    size = shape.n_embd // shape.n_head
    norms = (RMSNorm(size, shape.norm_eps), RMSNorm(size, shape.norm_eps)) if shape.qk_norm else None
    rotary = Rotary(shape.rotary_base) if shape.positions == "rotary" else None
    slopes = alibi_slopes(shape.n_head) if shape.positions == "alibi" else None
    if shape.n_kv_head == shape.n_head and all(part is None for part in (norms, rotary, slopes, shape.local)):
        return CausalSelfAttention(shape.n_embd, shape.n_head, shape.dropout, shape.bias)
    return Attention(
        shape.n_embd,
        shape.n_head,
        shape.n_kv_head,
        shape.dropout,
        shape.bias,
        norms=norms,
        rotary=rotary,
        slopes=slopes,
        local=shape.local,
    )


def _feed_forward(shape: Shape) -> FeedForward | SwiGLU | SquaredReLU:
    part = {"gelu": FeedForward, "swiglu": SwiGLU, "relu2": SquaredReLU}[shape.feed_forward]
    return part(shape.n_embd, shape.n_hidden, shape.dropout, shape.bias)


def _norm(shape: Shape) -> nn.Module:
    if shape.norm == "rms":
        return RMSNorm(shape.n_embd, shape.norm_eps)
    return nn.LayerNorm(shape.n_embd, shape.norm_eps, bias=shape.bias)
