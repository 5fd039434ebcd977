"""Training speed of every neural rung beside the plain PyTorch loop one would write by hand for the same network.

    python benchmarks/train.py [gpt] [mlp] [wavenet] [rnn] [lstm] [gru]

Ours is the whole training loop with its events, batches and bookkeeping, evaluations left out. The peers: float32,
AdamW, gradients clipped at 1, the same number of predictions a step and the same vocabulary, on random windows:

    gpt             transformers' GPT2LMHeadModel, 4 layers, 4 heads, 128 wide, context 64, batch 12
    rnn, lstm, gru  nn.RNN, nn.LSTM, nn.GRU, 64 -> 128, batch 32 x 64
    mlp, wavenet    nn.Embedding, nn.Linear and so on, the shapes of makemore, 256 blocks a step, each read by itself

The two run in turn, several rounds, on the same made-up ids and the same threads. For the mlp, steps a second at
batch 32 of made-up names are shown too (makemore's own loop makes 164, its data loader eating most of the time).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from rung.events import Step
from rung.models import rung_class
from rung.tasks.language import token_batches
from rung.text.stream import TokenStream
from rung.training.config import TrainingConfig
from rung.training.loop import train_network

VOCAB, WARMUP, ROUNDS = 245, 10, 3
GPT_SHAPE = {"context": 64, "n_layer": 4, "n_head": 4, "n_embd": 128}


def main() -> None:
    """Run each pair in turn and print medians and the ratios, round by round."""
    wanted = sys.argv[1:] or ["gpt", "mlp", "wavenet", "rnn", "lstm", "gru"]
    ids = np.random.default_rng(0).integers(0, VOCAB - 1, 200_000)
    for rung in wanted:
        rates: dict[str, list[float]] = {"rung": [], "plain": []}
        for _ in range(ROUNDS):
            rates["rung"].append(ours(rung, ids))
            rates["plain"].append(plain(rung, ids))
        ratios = [a / b for a, b in zip(rates["rung"], rates["plain"], strict=True)]
        print(
            f"{rung:<8} rung {statistics.median(rates['rung']):9,.0f} tokens/s   plain "
            f"{statistics.median(rates['plain']):9,.0f}   ratio {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f})",
            flush=True,
        )
        if rung == "mlp":
            steps = [names_steps() for _ in range(ROUNDS)]
            spread = f"{min(steps):,.0f} to {max(steps):,.0f}"
            print(f"mlp      {statistics.median(steps):,.0f} steps/s at batch 32 of names ({spread})")
    print(
        f"threads {torch.get_num_threads()}, torch {torch.__version__}, transformers {transformers.__version__}"
    )


def ours(rung: str, ids: np.ndarray) -> float:
    """Tokens per second of our training loop."""
    shape = {**GPT_SHAPE, "preset": "plain"} if rung == "gpt" else {}
    return measured(
        rung, shape, [ids], VOCAB, batch=_batch(rung)[0], window=_batch(rung)[1], steps=_steps(rung)
    )[0]


def names_steps() -> float:
    """Steps per second of the mlp at batch 32 of made-up names, 3 to 10 letters each; the vocabulary is Rung's."""
    rng = np.random.default_rng(0)
    names = [rng.integers(0, 26, rng.integers(3, 11)) for _ in range(20_000)]
    return measured("mlp", {}, names, 283, batch=32, window=None, steps=1000)[1]


def measured(
    rung: str,
    shape: dict[str, Any],
    documents: list[np.ndarray],
    vocab_size: int,
    *,
    batch: int,
    window: int | None,
    steps: int,
) -> tuple[float, float]:
    """Tokens and steps per second, warm-up left out."""
    kind: Any = rung_class(rung)
    warmup = min(WARMUP, steps)
    model = kind.initialise(kind.config_class(**shape), vocab_size, vocab_size - 1, seed=0)
    stream = TokenStream.of(documents, vocab_size - 1)
    config = TrainingConfig(
        steps=steps + warmup,
        batch_size=batch,
        window=window,
        lr=1e-3,
        weight_decay=0.1,
        checkpoint_every=10**9,
    )
    batches = token_batches(model, stream, window, batch, 0)
    began, tokens = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        for event in train_network(model.network, batches, config, Path(folder), seed=0, evaluate=None):
            if isinstance(event, Step) and event.step == warmup:
                began, tokens = time.perf_counter(), event.tokens
            if isinstance(event, Step) and event.step == steps + warmup:
                seconds = time.perf_counter() - began
                return (event.tokens - tokens) / seconds, steps / seconds
    raise AssertionError("the loop ended early")


def plain(rung: str, ids: np.ndarray) -> float:
    """Tokens per second of the loop one would write by hand."""
    model, context = PEERS[rung]()
    return plain_loop(model, context, ids, *_batch(rung), _steps(rung))


def plain_loop(
    model: nn.Module, context: int | None, ids: np.ndarray, batch: int, window: int, steps: int
) -> float:
    """Tokens per second; `context` tokens a prediction where each is read by itself, None where rows are."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    data = torch.from_numpy(ids)
    began, warmup = 0.0, min(WARMUP, steps)
    for step in range(steps + warmup):
        if step == warmup:
            began = time.perf_counter()
        if context is None:
            at = torch.randint(len(data) - window - 1, (batch,)).tolist()
            inputs = torch.stack([data[i : i + window] for i in at])
            targets = torch.stack([data[i + 1 : i + 1 + window] for i in at])
        else:  # one prediction a block
            at = torch.randint(len(data) - context - 1, (batch * window,))
            inputs = data[at[:, None] + torch.arange(context)]
            targets = data[at + context]
        loss = nn.functional.cross_entropy(model(inputs).flatten(0, -2), targets.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
    return steps * batch * window / (time.perf_counter() - began)


def _batch(rung: str) -> tuple[int, int]:
    """Rows, and predictions a row."""
    return {"gpt": (12, 64), "mlp": (4, 64), "wavenet": (4, 64)}.get(rung, (32, 64))


def _steps(rung: str) -> int:
    return {"mlp": 1000, "wavenet": 300}.get(rung, 60)


class GPT2(nn.Module):
    """transformers' GPT-2, logits out."""

    def __init__(self, context: int, n_layer: int, n_head: int, n_embd: int) -> None:
        super().__init__()
        self.model = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=VOCAB,
                n_positions=context,
                n_embd=n_embd,
                n_layer=n_layer,
                n_head=n_head,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
            )
        ).train()

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(ids, use_cache=False).logits


class Recurrent(nn.Module):
    """Embedding, one of torch's recurrent cores, head."""

    def __init__(self, core: type[nn.RNN | nn.LSTM | nn.GRU]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, 64)
        self.core = core(64, 128, batch_first=True)
        self.head = nn.Linear(128, VOCAB)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.core(self.embedding(ids))[0])


class FusedPairs(nn.Module):
    """makemore's: (M, T, C) -> (M, T / 2, O), then BatchNorm over all positions, then tanh."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * n_in, n_out, bias=False)
        self.norm = nn.BatchNorm1d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x.reshape(x.shape[0], x.shape[1] // 2, -1))
        return torch.tanh(self.norm(x.transpose(1, 2)).transpose(1, 2))


def _mlp() -> nn.Module:
    return nn.Sequential(
        nn.Embedding(VOCAB, 10), nn.Flatten(), nn.Linear(30, 200), nn.Tanh(), nn.Linear(200, VOCAB)
    )


def _wavenet() -> nn.Module:
    levels = [FusedPairs(24, 128), FusedPairs(128, 128), FusedPairs(128, 128)]
    return nn.Sequential(nn.Embedding(VOCAB, 24), *levels, nn.Flatten(), nn.Linear(128, VOCAB))


PEERS: dict[str, Callable[[], tuple[nn.Module, int | None]]] = {
    "gpt": lambda: (GPT2(**GPT_SHAPE), None),
    "rnn": lambda: (Recurrent(nn.RNN), None),
    "lstm": lambda: (Recurrent(nn.LSTM), None),
    "gru": lambda: (Recurrent(nn.GRU), None),
    "mlp": lambda: (_mlp(), 3),
    "wavenet": lambda: (_wavenet(), 8),
}
"""Network, and how many tokens a block has where one block is one prediction."""


if __name__ == "__main__":
    main()
