"""Decoding beside transformers' `generate` on the same weights, and drafting beside not drafting.

    python benchmarks/decode.py [gpt2] [char] [ngram] [speculative]

gpt2         GPT-2's 124M shape, random weights, prompts of 32 tokens, 200 new ones, greedy, float32; batch 1 and 16
char         4 layers, 4 heads, 128 wide, context 256, 100 tokens in the vocabulary, batch 1, else the same,
             with equal weights; then a network of the same size in the manner that `rung train gpt` has by default
             (preset rung, random n-gram rows too) beside that same GPT-2, as transformers knows no such network
ngram        the n-gram rung on characters of Shakespeare, 64 samples of 1,000 tokens at temperature 1
speculative  a GPT trained for a minute on the same characters, greedy, with that n-gram as its draft, and without;
             the two networks of char

The two run in turn, several rounds, on the same threads; printed are medians and the ratios round by round. Ours is the
generator that `rung sample` uses, every token with its log-probability; the peer gives token ids. With equal weights
the share of equal tokens is shown: on random weights a near tie may fall to either side, and all behind it differs.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from rung.exchange.hugging_face_weights import to_transformers
from rung.generation import speculative
from rung.generation.sampling import Step, generate, sample_steps
from rung.generation.settings import Sampling
from rung.models.base import fitted
from rung.models.counting.ngram import NGram, NGramConfig
from rung.models.transformer.decoder import GPT, GPTConfig
from rung.tasks.language import token_batches
from rung.text.corpus import Corpus, prepare
from rung.text.tokenizers import Tokenizer
from rung.training.config import TrainingConfig
from rung.training.loop import train_network

PROMPT, NEW = 32, 200
PLAIN = GPTConfig(256, 4, 4, 128)
DEFAULT = GPTConfig(256, 4, 4, 128, preset="rung", ngram_rows=1 << 15)


class Numbers(Tokenizer):
    """Token ids written as numbers, so that a model of any vocabulary can be prompted."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__([b"%d " % token for token in range(vocab_size - 1)])

    def encode(self, text: str) -> np.ndarray:
        return np.array([int(word) for word in text.split()], np.int64)

    def to_json(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Numbers:
        raise NotImplementedError


def tokens_of(made: Iterable[Step], rows: int) -> np.ndarray:
    """The tokens of every row, side by side, (B, T)."""
    texts: list[list[int]] = [[] for _ in range(rows)]
    for step in made:
        for row, token in zip(step.rows.tolist(), step.tokens.tolist(), strict=True):
            texts[row].append(token)
    return np.array(texts)


def in_turn(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> tuple[float, float, str]:
    """Median seconds of each after a first round that doesn't count, and the ratios, theirs to ours."""
    times: list[tuple[float, float]] = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        ours()
        between = time.perf_counter()
        theirs()
        times.append((between - began, time.perf_counter() - between))
    ratios = [b / a for a, b in times[1:]]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    own, others = (statistics.median(column) for column in zip(*times[1:], strict=True))
    return own, others, spread


def peer_of(model: GPT) -> Any:
    """transformers' network with the same weights."""
    settings, weights = to_transformers(model)
    taken = {key: value for key, value in settings.items() if key not in ("architectures", "model_type")}
    peer: Any = transformers.GPT2LMHeadModel(transformers.GPT2Config(**taken)).eval()
    peer.load_state_dict(
        {key: torch.from_numpy(np.array(value)) for key, value in weights.items()}, strict=False
    )
    peer.tie_weights()
    peer.generation_config.eos_token_id = None
    peer.generation_config.pad_token_id = 0
    return peer


def initialised(config: GPTConfig, vocab_size: int) -> GPT:
    """As a loaded run's, with random rows for n-grams, which training begins at zero."""
    model = GPT.initialise(config, vocab_size, vocab_size - 1, seed=0)
    with torch.no_grad():
        for name, weight in model.network.named_parameters():
            if name.endswith(("ngrams.table", "project.weight")) and not weight.any():
                weight.normal_(0, 0.02, generator=torch.Generator().manual_seed(0))
    model.network.eval()
    return model


def beside_transformers(
    name: str, config: GPTConfig, vocab_size: int, batch: int, rounds: int, beside: GPTConfig | None = None
) -> None:
    """Greedy tokens by both, timed: by the same network, or by transformers' of another shape, `beside`."""
    model = initialised(config, vocab_size)
    peer = peer_of(model if beside is None else initialised(beside, vocab_size))
    # Both read the same: the mark, then 31 tokens of a text.
    prompt = np.random.default_rng(0).integers(0, vocab_size - 1, (batch, PROMPT))
    prompt[:, 0] = vocab_size - 1
    texts = [" ".join(map(str, row[1:])) for row in prompt]
    tokenizer, how = Numbers(vocab_size), Sampling(max_tokens=NEW, temperature=0)
    inputs = torch.from_numpy(prompt)

    def ours() -> np.ndarray:
        return tokens_of(sample_steps(model, tokenizer, texts, how), batch)

    def theirs() -> np.ndarray:
        made = peer.generate(
            inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=NEW, do_sample=False
        )
        return np.asarray(made)[:, PROMPT:]

    made, expected = ours(), theirs()
    for _ in range(8 if batch == 1 and config.n_embd == 128 else 0):
        ours()  # until what is compiled after a thousand steps is
    equal = f"equal tokens {(made == expected).mean():.1%}" if beside is None else "beside GPT-2 of that size"
    own, others, ratios = in_turn(ours, theirs, rounds)
    print(
        f"{name:<5} batch {batch:<3} rung {1000 * own / NEW:7.2f} ms a step   transformers "
        f"{1000 * others / NEW:7.2f}   ratio {ratios}   {equal}",
        flush=True,
    )


def ngram_rates(model: NGram, corpus: Corpus, rounds: int) -> None:
    """Tokens a second of 64 samples: of `advance` alone, of the tokens, and with the text they spell."""
    batch, length = 64, 1000
    how = Sampling(max_tokens=length, samples=batch)
    rng = np.random.default_rng(0)
    stepped = rng.integers(0, corpus.tokenizer.vocab_size, (length, batch))

    def advance() -> int:
        state = model.start(batch)
        for column in stepped:
            _, state = model.advance(state, column)
        return stepped.size

    def tokens() -> int:
        return sum(len(step.tokens) for step in sample_steps(model, corpus.tokenizer, "", how))

    def text() -> int:
        return sum(sample.tokens for sample in generate(model, corpus.tokenizer, "", how))

    for name, work in (("advance alone", advance), ("tokens", tokens), ("text", text)):
        work()
        rates = []
        for _ in range(rounds):
            began = time.perf_counter()
            n = work()
            rates.append(n / (time.perf_counter() - began))
        print(f"ngram batch 64  {name:<14} {statistics.median(rates):10,.0f} tokens/s", flush=True)


def drafting(name: str, config: GPTConfig, draft: NGram, corpus: Corpus, rounds: int) -> None:
    """A GPT's greedy text with the draft and without."""
    tokenizer = corpus.tokenizer
    model = GPT.initialise(config, tokenizer.vocab_size, tokenizer.end, seed=0)
    training = TrainingConfig(minutes=1, batch_size=12, lr=2e-3, weight_decay=0.1, checkpoint_every=10**9)
    batches = token_batches(model, corpus.train, None, training.batch_size, 0)
    with tempfile.TemporaryDirectory() as folder:
        for _ in train_network(model.network, batches, training, Path(folder), seed=0, evaluate=None):
            pass
    model.network.eval()
    prompt = "".join(corpus.text("test"))[:200]
    how = Sampling(max_tokens=NEW, temperature=0)
    report = speculative.SpeculationReport()

    def ours() -> np.ndarray:
        return tokens_of(
            speculative.speculative_steps(model, tokenizer, prompt, how, draft, report=report), 1
        )

    def plain() -> np.ndarray:
        return tokens_of(sample_steps(model, tokenizer, prompt, how), 1)

    for _ in range(6):
        plain()  # until what is compiled after a thousand steps is
    same = np.array_equal(ours(), plain())
    own, others, ratios = in_turn(ours, plain, rounds)
    print(
        f"speculative {name:<6} {1000 * own / NEW:.2f} ms a token, plain {1000 * others / NEW:.2f}, ratio {ratios}; "
        f"{report.accepted / max(report.drafted, 1):.0%} of guesses kept, "
        f"{report.tokens / report.model_calls:.1f} tokens a call; {'the same text' if same else 'ANOTHER TEXT'}",
        flush=True,
    )


def main() -> None:
    """Run what is named, or all."""
    wanted = sys.argv[1:] or ["char", "ngram", "speculative", "gpt2"]
    if "char" in wanted:
        beside_transformers("char", PLAIN, 100, 1, rounds=7)
        beside_transformers("rung", DEFAULT, 100, 1, rounds=7, beside=PLAIN)
    if "ngram" in wanted or "speculative" in wanted:
        with tempfile.TemporaryDirectory() as folder:
            corpus = prepare("shakespeare", Path(folder), tokenizer="char")
            kind = corpus.tokenizer
            counted = fitted(NGram.fit(NGramConfig(), corpus.train, kind.vocab_size, kind.end))
            if "ngram" in wanted:
                ngram_rates(counted, corpus, rounds=5)
            if "speculative" in wanted:
                drafting("plain", PLAIN, counted, corpus, rounds=5)
                drafting("rung", DEFAULT, counted, corpus, rounds=5)
    if "gpt2" in wanted:
        for batch, rounds in ((1, 5), (16, 3)):
            beside_transformers("gpt2", GPTConfig(1024, 12, 12, 768), 50_257, batch, rounds)
    print(
        f"threads {torch.get_num_threads()}, torch {torch.__version__}, transformers {transformers.__version__}"
    )


if __name__ == "__main__":
    main()
