"""Four language models made of the engine's modules: the rungs neural-bigram, mlp, rnn and gpt, with the same weights.

Every one takes tokens and gives logits of the next: `Bigram` and `MLP` for blocks (M, c) of the last c tokens,
`RNN` for (B, T) and a state, `Transformer` for (B, T). Their weights are called as torch's are in the rungs of
`rung.models`, where sources and formulas stand. They are initialised as there, from another generator.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rung.scratch.activations import GELUTanh, Tanh
from rung.scratch.attention import CausalSelfAttention
from rung.scratch.layers import Affine, Linear, Lookup
from rung.scratch.normalisation import LayerNorm
from rung.scratch.recurrent import ElmanCell
from rung.scratch.shapes import reshape, stack, unstack
from rung.scratch.tape import Module, Value, add, apply

Rng = np.random.Generator


class Bigram(Module):
    """logits = row of W (V, V) that belongs to the last token. Starts at zeros: every token equally likely."""

    def __init__(self, vocab_size: int, rng: Rng, dtype: Any) -> None:
        self.weight = Value(np.zeros((vocab_size, vocab_size), dtype), "weight")

    def __call__(self, blocks: np.ndarray) -> Value:
        return apply(LOOKUP, blocks[:, -1], self.weight)


class MLP(Module):
    """x = rows of the table, side by side;  n_layer times x = tanh(x W + b);  logits = x U + d."""

    def __init__(
        self, vocab_size: int, context: int, n_embd: int, n_hidden: int, n_layer: int, rng: Rng, dtype: Any
    ) -> None:
        self.embedding = Value(rng.standard_normal((vocab_size, n_embd)).astype(dtype), "embedding")
        widths = [context * n_embd] + [n_hidden] * n_layer
        self.layers: list[Module] = [TanhLayer(n, n_hidden, rng, dtype) for n in widths[:-1]]
        self.head = _linear(n_hidden, vocab_size, 0.1 / math.sqrt(n_hidden), rng, dtype)

    def __call__(self, blocks: np.ndarray) -> Value:
        x = apply(LOOKUP, blocks, self.embedding)  # (M, c, E)
        x = reshape(x, len(blocks), -1)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class TanhLayer(Module):
    """tanh(x W + b)."""

    def __init__(self, n_in: int, n_out: int, rng: Rng, dtype: Any) -> None:
        self.linear = _linear(n_in, n_out, 5 / 3 / math.sqrt(n_in), rng, dtype)

    def __call__(self, x: Any) -> Value:
        return TANH(self.linear(x))


class RNN(Module):
    """h_t = ElmanCell(row of token t, h_(t-1));  logits = h_t V + d."""

    def __init__(self, vocab_size: int, n_embd: int, n_hidden: int, rng: Rng, dtype: Any) -> None:
        self.embedding = Value(rng.standard_normal((vocab_size, n_embd)).astype(dtype), "embedding")
        self.core = ElmanCell(n_embd, n_hidden, rng, dtype=dtype)
        # What multiplies h starts orthogonal, so that the state neither grows nor fades by itself.
        self.core.weight_hh.data[...] = np.linalg.qr(rng.standard_normal((n_hidden, n_hidden)))[0]
        self.core.bias_ih.data[...] = self.core.bias_hh.data[...] = 0
        self.head = _linear(n_hidden, vocab_size, 0.1 / math.sqrt(n_hidden), rng, dtype)

    def __call__(self, tokens: np.ndarray, state: np.ndarray) -> tuple[Value, np.ndarray]:
        """Tokens (B, T) and the state before them (B, H): logits (B, T, V) and the state after."""
        h: Any = state
        states = []
        for x in unstack(apply(LOOKUP, tokens, self.embedding)):
            h = self.core(x, h)
            states.append(h)
        return self.head(stack(*states)), h.data


class Transformer(Module):
    """GPT-2's: embeddings, blocks, a norm, and the token embedding once more as the head."""

    def __init__(
        self, vocab_size: int, context: int, n_layer: int, n_head: int, n_embd: int, rng: Rng, dtype: Any
    ) -> None:
        self.embedding = Embeddings(vocab_size, context, n_embd, rng, dtype)
        self.blocks = [Block(n_embd, n_head, n_layer, rng, dtype) for _ in range(n_layer)]
        self.norm = LayerNorm(n_embd, dtype=dtype)

    def __call__(self, tokens: np.ndarray) -> Value:
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return apply(PROJECTION, self.norm(x), self.embedding.tokens)


class Embeddings(Module):
    """What a token is, plus where it stands."""

    def __init__(self, vocab_size: int, context: int, n_embd: int, rng: Rng, dtype: Any) -> None:
        self.tokens = Value((0.02 * rng.standard_normal((vocab_size, n_embd))).astype(dtype), "tokens")
        self.positions = Value((0.02 * rng.standard_normal((context, n_embd))).astype(dtype), "positions")

    def __call__(self, tokens: np.ndarray) -> Value:
        positions = apply(LOOKUP, np.arange(tokens.shape[1]), self.positions)  # (T, C)
        return add(apply(LOOKUP, tokens, self.tokens), positions)  # (B, T, C)


class Block(Module):
    """x = x + attention(norm(x));  x = x + feed_forward(norm(x))."""

    def __init__(self, n_embd: int, n_head: int, n_layer: int, rng: Rng, dtype: Any) -> None:
        self.norm_1 = LayerNorm(n_embd, dtype=dtype)
        self.attention = CausalSelfAttention(n_embd, n_head, rng, dtype=dtype)
        self.norm_2 = LayerNorm(n_embd, dtype=dtype)
        self.feed_forward = FeedForward(n_embd, rng, dtype)
        for name, weight in self.parameters().items():
            if name.endswith("bias"):
                weight.data[...] = 0
            elif weight.data.ndim == 2:
                # 2L parts write to the stream; together they should add no more than one does.
                std = 0.02 / math.sqrt(2 * n_layer) if "project" in name else 0.02
                weight.data[...] = std * rng.standard_normal(weight.shape)

    def __call__(self, x: Value) -> Value:
        x = add(x, self.attention(self.norm_1(x)))
        return add(x, self.feed_forward(self.norm_2(x)))


class FeedForward(Module):
    """Four times as wide, an activation, and back."""

    def __init__(self, n_embd: int, rng: Rng, dtype: Any) -> None:
        self.expand = Linear(n_embd, 4 * n_embd, rng, dtype=dtype)
        self.project = Linear(4 * n_embd, n_embd, rng, dtype=dtype)

    def __call__(self, x: Value) -> Value:
        return self.project(GELU(self.expand(x)))


def _linear(n_in: int, n_out: int, std: float, rng: Rng, dtype: Any) -> Linear:
    """Weights N(0, std^2), bias 0."""
    layer = Linear(n_in, n_out, rng, dtype=dtype)
    layer.weight.data[...] = std * rng.standard_normal(layer.weight.shape)
    layer.bias.data[...] = 0
    return layer


LOOKUP, PROJECTION, TANH, GELU = Lookup(), Affine(), Tanh(), GELUTanh()
