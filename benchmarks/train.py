"""Training speed of `rung train gpt` beside a plain PyTorch loop over transformers' GPT2 of the same shape.

    python benchmarks/train.py

4 layers, 4 heads, 128 wide, context 64, batch 12, float32, AdamW, gradients clipped at 1. Ours is the whole training
loop with its events, batches and bookkeeping, evaluations left out; the peer is the loop one would write by hand, with
random windows. The two run in turn, several rounds, on the same made-up ids and the same threads.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import transformers

from rung.events import Step
from rung.models.transformer import GPT, GPTConfig
from rung.text.stream import TokenStream
from rung.training.config import TrainingConfig
from rung.training.loop import train_network

VOCAB, CONTEXT, BATCH, STEPS, WARMUP, ROUNDS = 245, 64, 12, 60, 10, 5


def ours(ids: np.ndarray) -> float:
    """Tokens per second."""
    model = GPT.initialise(GPTConfig(CONTEXT, 4, 4, 128), VOCAB, VOCAB - 1, seed=0)
    stream = TokenStream.of([ids], VOCAB - 1)
    config = TrainingConfig(steps=STEPS + WARMUP, batch_size=BATCH, lr=1e-3, weight_decay=0.1)
    began, tokens = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        for event in train_network(model, stream, config, Path(folder), seed=0, evaluate=None):
            if isinstance(event, Step) and event.step == WARMUP:
                began, tokens = time.perf_counter(), event.tokens
            if isinstance(event, Step) and event.step == STEPS + WARMUP:
                return (event.tokens - tokens) / (time.perf_counter() - began)
    raise AssertionError("the loop ended early")


def plain(ids: np.ndarray) -> float:
    """Tokens per second of a plain loop over transformers' GPT2LMHeadModel."""
    config = transformers.GPT2Config(
        vocab_size=VOCAB,
        n_positions=CONTEXT,
        n_embd=128,
        n_layer=4,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    model = transformers.GPT2LMHeadModel(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    data = torch.from_numpy(ids)
    began = 0.0
    for step in range(STEPS + WARMUP):
        if step == WARMUP:
            began = time.perf_counter()
        at = torch.randint(len(data) - CONTEXT - 1, (BATCH,)).tolist()
        inputs = torch.stack([data[i : i + CONTEXT] for i in at])
        targets = torch.stack([data[i + 1 : i + 1 + CONTEXT] for i in at])
        logits = model(inputs, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.view(-1, VOCAB), targets.view(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
    return STEPS * BATCH * CONTEXT / (time.perf_counter() - began)


def main() -> None:
    """Run the two in turn and print medians and the ratio, round by round."""
    ids = np.random.default_rng(0).integers(0, VOCAB - 1, 200_000)
    rates: dict[str, list[float]] = {"rung": [], "transformers": []}
    for _ in range(ROUNDS):
        rates["rung"].append(ours(ids))
        rates["transformers"].append(plain(ids))
    ratios = [a / b for a, b in zip(rates["rung"], rates["transformers"], strict=True)]
    for name, values in rates.items():
        print(
            f"{name:<14} {statistics.median(values):9,.0f} tokens/s   ({min(values):,.0f} to {max(values):,.0f})"
        )
    print(
        f"ratio          {statistics.median(ratios):9.2f}            ({min(ratios):.2f} to {max(ratios):.2f})"
    )
    print(
        f"threads {torch.get_num_threads()}, torch {torch.__version__}, transformers {transformers.__version__}"
    )


if __name__ == "__main__":
    main()
