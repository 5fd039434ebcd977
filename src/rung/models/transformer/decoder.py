"""The decoder-only transformer: each position reads the ones before it, layer upon layer, then guesses.

    x = token embedding + position embedding
    n_layer times:  x = x + attention(norm(x));  x = x + feed_forward(norm(x))
    logits = norm(x) @ token embedding, transposed

That is GPT-2's shape (Radford et al. 2019, "Language models are unsupervised multitask learners"): norms before each
part and one at the end, learned positions, GELU by its tanh formula, the head tied to the token embedding. With the
same weights the logits are those of transformers' GPT2LMHeadModel. Other shapes put other parts there:
`config` lists the choices, `presets` published combinations.

Here is the model, as `rung.models.base` wants it. The arithmetic is in `network` and `blocks` for training, in
`inference` once more for reading on behind a cache.

Shapes: B rows of a batch, T inputs, C = n_embd, V vocabulary, L = n_layer.
What happens to a document longer than the context is the window policy of `rung.models.networks.network`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, cast

import numpy as np

from rung.errors import UserError
from rung.models.base import State
from rung.models.networks.network import NeuralModel
from rung.models.networks.torch_model import next_log_probs
from rung.models.transformer.blocks import Block
from rung.models.transformer.config import (
    DEFAULT_CONTEXT,
    DEFAULT_N_HEAD,
    DEFAULT_PRESET,
    HEAD_SIZE,
    GPTConfig,
    default_n_head,
    default_n_layer,
)
from rung.models.transformer.hashed_ngrams import default_ngram_dropout, default_ngram_rows
from rung.models.transformer.inference.kv_cache import KeyValueCache, Window
from rung.models.transformer.inference.lean import LeanGPT
from rung.models.transformer.inference.linear_state import LinearCache, LinearState
from rung.models.transformer.network import Transformer, build_network
from rung.models.transformer.presets import TRAINING

__all__ = ["GPT", "GPTConfig", "Transformer"]


class GPT(NeuralModel[Transformer]):
    """A transformer, of GPT-2's shape unless asked otherwise. A state is the window's inputs, and keys and values
    or sums of them."""

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
                n_head = default_n_head(config.n_embd) if config.n_head is None else config.n_head
                if config.n_embd // n_head % 2:
                    # rotary rotates pairs
                    config = replace(config, positions="none" if config.attention == "linear" else "alibi")
        ngram_dropout = config.ngram_dropout
        config = config.resolved()
        if config.context is not None and config.context > train_tokens:
            raise UserError(
                f"--context {config.context} is longer than the training text, {train_tokens} tokens;"
                f" use --context {max(1, min(DEFAULT_CONTEXT, train_tokens))} or less, or give more text"
            )
        n_layer, n_head, n_embd = config.n_layer, config.n_head, config.n_embd
        if n_layer is None:
            n_layer = default_n_layer(config.preset)
        if n_head is None:
            n_head = DEFAULT_N_HEAD if n_embd is None else default_n_head(n_embd)
        return replace(
            config,
            context=max(1, min(DEFAULT_CONTEXT, longest_document))
            if config.context is None
            else config.context,
            n_layer=n_layer,
            n_head=n_head,
            n_embd=HEAD_SIZE * n_head if n_embd is None else n_embd,
            ngram_rows=default_ngram_rows(train_tokens)
            if config.ngram_rows is None and config.ngrams
            else config.ngram_rows,
            ngram_dropout=default_ngram_dropout(train_tokens)
            if ngram_dropout is None and config.ngrams
            else config.ngram_dropout,
        )

    @classmethod
    def build(cls, config: GPTConfig, vocab_size: int) -> Transformer:
        return build_network(config.shape(), vocab_size)

    @classmethod
    def published_training(cls, config: GPTConfig) -> Mapping[str, Any]:
        return TRAINING.get(config.preset or "", {})

    def flops_per_token(self) -> float:
        """6 for each weight that multiplies and 12 * L * C * context for softmax attention to everything.

        Source: PaLM (Chowdhery et al. 2022, arXiv:2204.02311), appendix B. Its N is here the weights of the
        matrices that a token is multiplied with: the blocks' and the head's. Tables that are only looked up,
        biases and norms are left out. Other attention counts as it is computed: masked, in blocks, in chunks.
        """
        network = self.network
        vocab_size, n_embd = network.head.shape
        matrices = sum(weight.numel() for weight in network.blocks.parameters() if weight.dim() == 2)
        part = cast(Block, network.blocks[0]).attention  # all blocks are alike
        attention = 6.0 * len(network.blocks) * part.products_per_input(network.context)
        return 6.0 * (matrices + vocab_size * n_embd) + attention

    def start(self, batch: int = 1) -> Window | LinearState:
        return self._lean_network().start(batch)

    def advance(
        self, state: Window | LinearState, tokens: np.ndarray
    ) -> tuple[np.ndarray, Window | LinearState]:
        new = self.check_tokens(tokens).reshape(len(state.inputs), -1)  # (B, T)
        over = state.length + new.shape[1] - self.network.context
        if over > 0:
            # Only the window that holds the last input matters, however many full ones lie between.
            first = -(-over // self._stride) * self._stride
            new = np.concatenate([state.inputs, new], axis=1)[:, first:]
            state = self.start(len(new))
        while new.shape[1] > state.at_once:
            state, new = self._read(state, new[:, : state.at_once]), new[:, state.at_once :]
        log_probs, cache = self._forward(state, new, new.shape[1] - 1)
        return log_probs[:, 0], cache.window(state.length + new.shape[1])

    def advance_all(self, state: Window | LinearState, tokens: np.ndarray) -> tuple[np.ndarray, list[State]]:
        """One forward for each window that the tokens fall into, or for as much as is read at once."""
        rest = self.check_tokens(tokens)  # (B, T)
        log_probs, states = [], []
        while rest.shape[1]:
            room = self.network.context - state.length
            past = np.empty((len(rest), 0), np.int64)
            if room == 0:
                past, room = state.inputs[:, self._stride :], self._stride
                state = self.start(len(rest))
            while past.shape[1] >= state.at_once:
                state, past = self._read(state, past[:, : state.at_once]), past[:, state.at_once :]
            room = min(room, state.at_once - past.shape[1])
            new, rest = rest[:, :room], rest[:, room:]
            begin = state.length + past.shape[1]
            answers, cache = self._forward(state, np.concatenate([past, new], axis=1), past.shape[1])
            log_probs.append(answers)
            # Every state on the way is a length of the same cache.
            states += [cache.window(begin + t) for t in range(1, new.shape[1] + 1)]
            state = states[-1]
        return np.concatenate(log_probs, axis=1), states

    def select(self, state: Window | LinearState, rows: np.ndarray) -> Window | LinearState:
        return state.select(np.asarray(rows))

    @property
    def _stride(self) -> int:
        return self.network.context - self.network.context // 2

    def _read(self, state: Window | LinearState, tokens: np.ndarray) -> Window | LinearState:
        """The state after `tokens` (B, T), no more than are read at once."""
        _, cache = self._forward(state, tokens, tokens.shape[1])
        return cache.window(state.length + tokens.shape[1])

    def _forward(
        self, state: Window | LinearState, new: np.ndarray, first: int
    ) -> tuple[np.ndarray, KeyValueCache | LinearCache]:
        """Take in `new` (B, T), which fit the window: log-probabilities (B, T - first, V) after all but the first of
        them, and where their keys lie."""
        if isinstance(state, LinearState) and state.known < state.length:
            state = self._read(state.back(), state.inputs[:, state.known :])
        cache, past = state.writable_cache(new.shape[1]), state.length
        cache.inputs[:, past : past + new.shape[1]] = new
        assert self._lean is not None  # `start` made it
        lean = self._lean[1]
        if new.shape[0] == 1 and (compiled := lean.compiled(new.shape[1])) is not None:
            return compiled(cache, new[0], past)[None, first:], cache
        with self.inference():
            hidden = lean.hidden(self._tensor(new.copy()), cache, past)
            return next_log_probs(lean.logits(hidden[:, first:])), cache

    def _lean_network(self) -> LeanGPT:
        """Made anew when weights have changed, as between two samples of a training run. Looked at once a window."""
        weights = [(weight.data_ptr(), weight._version) for weight in self.network.parameters()]
        if self._lean is None or self._lean[0] != weights:
            codes = self.codes if self._lean is None else {}  # they are those of the weights that were loaded
            self._lean = weights, LeanGPT(self.network, codes)
        return self._lean[1]
