"""The transformer in GPT-2's shape: each position reads the ones before it, layer upon layer, then guesses.

    x = token embedding + position embedding
    n_layer times:  x = x + attention(norm(x));  x = x + feed_forward(norm(x))
    logits = norm(x) @ token embedding, transposed

Radford et al. 2019, "Language models are unsupervised multitask learners": norms before each part and one at
the end, learned positions, GELU by its tanh formula, the head tied to the token embedding. Attention is
Vaswani et al. 2017 (arXiv:1706.03762), eq. 1. With the same weights the logits are those of transformers'
GPT2LMHeadModel.

Shapes: B rows of a batch, T inputs, C = n_embd, H = n_head, D = C / H, V vocabulary, L = n_layer.
What happens to a document longer than the context is the window policy of `rung.models.neural`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rung.errors import UserError
from rung.models.base import State
from rung.models.neural import Network, NeuralModel, next_log_probs

LAYERS, HEADS, HEAD_SIZE, CONTEXT = 4, 4, 32, 64
"""What a config leaves open, when the data allow: nanoGPT's shape for a CPU, 4 x 4 x 128."""


@dataclass(frozen=True)
class GPTConfig:
    """The shape. `GPT.configured` replaces None by what suits the data."""

    context: int | None = None
    """The most inputs seen at once; None = 64, or the longest document if that is shorter."""
    n_layer: int | None = None
    """Blocks; None = 4."""
    n_head: int | None = None
    """Attention heads a block, a divisor of n_embd; None = about one for every 32 of n_embd."""
    n_embd: int | None = None
    """Width; None = 32 a head, so 128."""
    dropout: float = 0.0
    """The share of activations dropped in training."""
    bias: bool = True
    """Whether linear layers and norms add a bias."""

    def __post_init__(self) -> None:
        for name in ("context", "n_layer", "n_head", "n_embd"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise UserError(f"{_flag(name)} {value!r} is not allowed: give a whole number, 1 or more")
        if type(self.dropout) not in (int, float) or not 0 <= self.dropout < 1:
            raise UserError(
                f"--dropout {self.dropout!r} is not allowed: give a number from 0 up to, not with, 1"
            )
        if type(self.bias) is not bool:
            raise UserError(f"bias {self.bias!r} is not allowed: give true or false")
        if self.n_head is not None and self.n_embd is not None and self.n_embd % self.n_head:
            below = self.n_embd // self.n_head * self.n_head
            near = [str(width) for width in (below, below + self.n_head) if width]
            raise UserError(
                f"--n-head {self.n_head} does not divide --n-embd {self.n_embd}: heads share the width"
                f" equally; try --n-embd {' or '.join(near)}, or --n-head {_heads(self.n_embd)}"
            )


class GPT(NeuralModel["Transformer"]):
    """A transformer of GPT-2's shape. A state is the window's inputs with their keys and values."""

    rung = "gpt"
    config_class = GPTConfig
    training_choices: ClassVar = {"lr": 2e-3, "weight_decay": 0.1, "batch_size": 12}

    @classmethod
    def configured(
        cls, config: GPTConfig, *, vocab_size: int, train_tokens: int, longest_document: int
    ) -> GPTConfig:
        """Raises UserError when the context is longer than the whole training text."""
        if config.context is not None and config.context > train_tokens:
            raise UserError(
                f"--context {config.context} is longer than the training text, {train_tokens} tokens;"
                f" use --context {max(1, min(CONTEXT, train_tokens))} or less, or give more text"
            )
        n_head, n_embd = config.n_head, config.n_embd
        if n_head is None:
            n_head = HEADS if n_embd is None else _heads(n_embd)
        return replace(
            config,
            context=max(1, min(CONTEXT, longest_document)) if config.context is None else config.context,
            n_layer=LAYERS if config.n_layer is None else config.n_layer,
            n_head=n_head,
            n_embd=HEAD_SIZE * n_head if n_embd is None else n_embd,
        )

    @classmethod
    def build(cls, config: GPTConfig, vocab_size: int) -> Transformer:
        context, n_layer, n_head, n_embd = config.context, config.n_layer, config.n_head, config.n_embd
        if context is None or n_layer is None or n_head is None or n_embd is None:
            raise ValueError(f"{config} leaves the shape open; pass it through GPT.configured first")
        blocks = [
            Block(
                nn.LayerNorm(n_embd, bias=config.bias),
                CausalSelfAttention(n_embd, n_head, config.dropout, config.bias),
                nn.LayerNorm(n_embd, bias=config.bias),
                FeedForward(n_embd, config.dropout, config.bias),
            )
            for _ in range(n_layer)
        ]
        embedding = Embedding(vocab_size, context, n_embd, config.dropout)
        return Transformer(embedding, blocks, nn.LayerNorm(n_embd, bias=config.bias))

    def flops_per_token(self) -> float:
        """6 for each weight that multiplies and 12 * L * C * context for attention.

        Source: PaLM (Chowdhery et al. 2022, arXiv:2204.02311), appendix B. Its N is here the weights of the
        matrices that a token is multiplied with: the blocks' and the head's. The position table, biases and
        norms are left out.
        """
        network = self.network
        matrices = sum(weight.numel() for weight in network.parameters() if weight.dim() == 2)
        context, n_embd = network.embedding.positions.shape
        return 6.0 * (matrices - context * n_embd) + 12.0 * len(network.blocks) * n_embd * context

    def start(self, batch: int = 1) -> State:
        return Window(np.empty((batch, 0), np.int64), self._memory(batch))

    def advance(self, state: State, tokens: np.ndarray) -> tuple[np.ndarray, State]:
        network, window = self.network, state
        new = self.check_tokens(tokens).reshape(len(window.inputs), -1)  # (B, T)
        inputs = np.concatenate([window.inputs, new], axis=1)
        past, memory = window.inputs.shape[1], window.memory
        over = inputs.shape[1] - network.context
        if over > 0:
            # Only the window that holds the last input matters, however many full ones lie between.
            stride = network.context - network.context // 2
            inputs = inputs[:, -(-over // stride) * stride :].copy()
            past, memory = 0, self._memory(len(inputs))
        elif past < memory.filled:
            # Another branch has written on from here: leave the memory to it.
            memory = self._copy(memory, past, slice(None))
        with self.inference():
            hidden = network.hidden(self._tensor(inputs[:, past:]), memory.keys_values, past)
            log_probs = next_log_probs(network.logits(hidden[:, -1]))
        memory.filled = inputs.shape[1]
        return log_probs, Window(inputs, memory)

    def select(self, state: State, rows: np.ndarray) -> State:
        memory = self._copy(
            state.memory, state.inputs.shape[1], torch.as_tensor(np.array(rows), device=self.device)
        )
        return Window(state.inputs[rows], memory)

    def _memory(self, batch: int) -> Memory:
        """Room for a full window."""
        with torch.inference_mode():
            return Memory(self.network.memory(batch), 0)

    def _copy(self, memory: Memory, length: int, rows: slice | Tensor) -> Memory:
        """The first `length` positions of some rows, with room to go on."""
        picked = [keys_values[:, rows, :, :length] for keys_values in memory.keys_values]
        copy = self._memory(picked[0].shape[1])
        with torch.inference_mode():
            for target, source in zip(copy.keys_values, picked, strict=True):
                target[:, :, :, :length] = source
        copy.filled = length
        return copy


@dataclass
class Memory:
    """Keys and values of a window: a tensor (2, B, H, context, D) a layer, `filled` positions of it written.

    States share it: one of length n reads the first n positions, which are never written again. The longest
    state may write behind its own; a shorter one that is advanced anew has to take a copy first.
    """

    keys_values: list[Tensor]
    filled: int


@dataclass(frozen=True)
class Window:
    """The state of B histories: the current window's inputs (B, n), and where their keys lie."""

    inputs: np.ndarray
    memory: Memory


class Transformer(Network):
    """Embedding, blocks, a norm, and the token embedding again as the head."""

    def __init__(self, embedding: Embedding, blocks: list[Block], norm: nn.Module) -> None:
        super().__init__()
        self.embedding = embedding
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm

    @property
    def context(self) -> int:
        return self.embedding.positions.shape[0]

    def hidden(self, tokens: Tensor, memory: list[Tensor] | None = None, past: int = 0) -> Tensor:
        """(B, T) -> (B, T, C). `past` inputs came before; each block finds theirs in its part of `memory`."""
        x = self.embedding(tokens, past)  # (B, T, C)
        for layer, block in enumerate(self.blocks):
            x = block(x, None if memory is None else memory[layer], past)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.embedding.tokens)  # (..., C) -> (..., V)

    def memory(self, batch: int) -> list[Tensor]:
        """Room for the keys and values of a full window, block by block; nothing is written in it yet."""
        attentions = [module for module in self.modules() if isinstance(module, CausalSelfAttention)]
        return [attention.memory(batch, self.context) for attention in attentions]

    def draw(self, generator: torch.Generator) -> None:
        """GPT-2's start: N(0, 0.02), and 1/sqrt(2L) of that where a block writes to the stream, so that its
        2L contributions add up to no more than one. Norms begin as the identity. The first loss is near ln V.
        """
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

    def forward(self, tokens: Tensor, past: int) -> Tensor:
        x = (
            F.embedding(tokens, self.tokens) + self.positions[past : past + tokens.shape[1]]
        )  # (B, T, C) + (T, C)
        return self.dropout(x)


class Block(nn.Module):
    """Gather from other positions, then think it over; each part reads a normed copy of x and adds to x."""

    def __init__(
        self, norm_1: nn.Module, attention: CausalSelfAttention, norm_2: nn.Module, feed_forward: nn.Module
    ) -> None:
        super().__init__()
        self.norm_1 = norm_1
        self.attention = attention
        self.norm_2 = norm_2
        self.feed_forward = feed_forward

    def forward(self, x: Tensor, memory: Tensor | None, past: int) -> Tensor:
        x = x + self.attention(self.norm_1(x), memory, past)  # (B, T, C)
        return x + self.feed_forward(self.norm_2(x))


class CausalSelfAttention(nn.Module):
    """Each position asks (query), offers (key), tells (value); it hears itself and those before it."""

    def __init__(self, n_embd: int, n_head: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.n_head = n_head
        self.qkv = nn.Linear(n_embd, 3 * n_embd, bias=bias)
        self.project = nn.Linear(n_embd, n_embd, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor | None, past: int) -> Tensor:
        rows, length, width = x.shape
        q, k, v = (
            self.qkv(x).view(rows, length, 3, self.n_head, -1).permute(2, 0, 3, 1, 4)
        )  # each (B, H, T, D)
        if memory is not None:
            memory[0, :, :, past : past + length] = k
            memory[1, :, :, past : past + length] = v
            k, v = memory[:, :, :, : past + length]  # each (B, H, past + T, D)
        mask = None
        if past and length > 1:
            mask = torch.ones(length, past + length, dtype=torch.bool, device=x.device).tril(past)
        y = F.scaled_dot_product_attention(
            q, k, v, mask, self.dropout.p if self.training else 0.0, is_causal=past == 0
        )  # (B, H, T, D)
        return self.dropout(self.project(y.transpose(1, 2).reshape(rows, length, width)))

    def memory(self, batch: int, context: int) -> Tensor:
        """Room for keys and values, (2, B, H, context, D)."""
        width = self.project.weight.shape[0]
        return self.project.weight.new_empty(2, batch, self.n_head, context, width // self.n_head)


class FeedForward(nn.Module):
    """Four times as wide, a bend, and back."""

    def __init__(self, n_embd: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.expand = nn.Linear(n_embd, 4 * n_embd, bias=bias)
        self.project = nn.Linear(4 * n_embd, n_embd, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.expand(x), approximate="tanh")  # (B, T, 4C)
        return self.dropout(self.project(x))


def load_gpt2_weights(model: GPT, state_dict: Mapping[str, Any]) -> None:
    """Copy the weights of transformers' GPT2LMHeadModel (its `state_dict()`) into `model`.

    That library keeps a linear layer's weight as (in, out), torch as (out, in).
    Raises UserError when a weight is missing or has another shape.
    """
    with torch.no_grad():
        for name, weight in model.network.named_parameters():
            theirs = _gpt2_name(name)
            if theirs not in state_dict:
                raise UserError(f"the GPT-2 weights lack {theirs}")
            source = state_dict[theirs]
            if any(part in name for part in (".qkv.", ".project.", ".expand.")):
                source = source.t() if source.dim() == 2 else source
            if source.shape != weight.shape:
                raise UserError(
                    f"{theirs} is {tuple(source.shape)} and the model wants {tuple(weight.shape)}"
                )
            weight.copy_(source)


_GPT2_NAMES = {
    "embedding.tokens": "wte.weight",
    "embedding.positions": "wpe.weight",
    "norm": "ln_f",
    "norm_1": "ln_1",
    "norm_2": "ln_2",
    "attention.qkv": "attn.c_attn",
    "attention.project": "attn.c_proj",
    "feed_forward.expand": "mlp.c_fc",
    "feed_forward.project": "mlp.c_proj",
}


def _gpt2_name(name: str) -> str:
    """`blocks.0.attention.qkv.weight` -> `transformer.h.0.attn.c_attn.weight`."""
    if name in _GPT2_NAMES:
        return f"transformer.{_GPT2_NAMES[name]}"
    module, _, kind = name.rpartition(".")
    if module.startswith("blocks."):
        _, layer, module = module.split(".", 2)
        return f"transformer.h.{layer}.{_GPT2_NAMES[module]}.{kind}"
    return f"transformer.{_GPT2_NAMES[module]}.{kind}"


def _heads(n_embd: int) -> int:
    """As many heads as divide the width, each at least HEAD_SIZE wide."""
    return next(heads for heads in range(max(1, n_embd // HEAD_SIZE), 0, -1) if n_embd % heads == 0)


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")
