"""Translators on English and German help texts, beside a plain loop over torch.nn.Transformer of the same shape.

    python benchmarks/translation.py HELP [MINUTES] [RUNG ...]

HELP    a folder with the files of the packages libreoffice-help-en-us and libreoffice-help-de below it, unpacked.
MINUTES of training for each of our rungs; the peer gets twice as many. 10 unless told.
RUNG    which of ours; all of the ladder unless told.

A pair is a paragraph of one page and the paragraph of the same page and name in the other language, 4 to 60 words a
side, each English text once. The split is by page, 90/5/5. Peer and ours read the same tokens in batches of as many
pairs; the peer is what one writes from the documentation: nn.Transformer, norms first, learned positions, dropout,
label smoothing and Adam with a linear warm-up and decay as ours, a mask for what fills up. Both are decoded greedily on
the same 500 pairs of the test part; BLEU and chrF are sacrebleu's, with intervals of 1,000 redrawn sets of pairs.
"""

from __future__ import annotations

import html
import json
import math
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from torch import Tensor, nn

import rung
from rung.tasks.translation import PairBatches
from rung.tasks.written import written_greedily
from rung.text.pairs import PairCorpus
from rung.text.windows import padded_documents

PARAGRAPH = re.compile(r'<(p|h\d) id="([^"]+)"[^>]*>(.*?)</\1>', re.DOTALL)
WRITTEN = 500
VOCABULARY = 4096


def pairs_of(folder: Path, out: Path) -> Path:
    """The pairs, with the page each is of, as JSON lines."""
    texts: dict[str, dict[tuple[str, str], str]] = {}
    for language in ("en-US", "de"):
        root = next(path for path in sorted(folder.rglob(language)) if (path / "text").is_dir())
        found = texts[language] = {}
        for page in sorted((root / "text").rglob("*.html")):
            name = page.relative_to(root).as_posix()
            for _, mark, inside in PARAGRAPH.findall(page.read_text(encoding="utf-8")):
                text = html.unescape(re.sub(r"<[^>]*>", "", inside))
                found[name, mark] = " ".join(text.split())
    seen = set[str]()
    with out.open("w", encoding="utf-8") as file:
        for key, source in texts["en-US"].items():
            target = texts["de"].get(key, "")
            lengths = len(source.split()), len(target.split())
            if source in seen or source == target or not all(4 <= n <= 60 for n in lengths):
                continue
            seen.add(source)
            file.write(json.dumps({"page": key[0], "source": source, "target": target}) + "\n")
    print(f"{len(seen):,} pairs")
    return out


class Plain(nn.Module):
    """nn.Transformer, as the documentation has it."""

    def __init__(self, vocab_size: int, width: int, layers: int, heads: int, longest: int) -> None:
        super().__init__()
        self.end = vocab_size - 1
        self.tokens = nn.Embedding(vocab_size, width)
        self.places = nn.Embedding(longest + 2, width)
        self.core = nn.Transformer(
            width,
            heads,
            layers,
            layers,
            4 * width,
            0.1,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.head = nn.Linear(width, vocab_size, bias=False)
        self.head.weight = self.tokens.weight
        nn.init.normal_(self.tokens.weight, 0, 0.02)

    def embed(self, tokens: Tensor) -> Tensor:
        scaled = self.tokens(tokens) * math.sqrt(self.tokens.embedding_dim)
        return scaled + self.places(torch.arange(tokens.shape[1]))

    def sources(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        lengths = (rows >= 0).sum(1)
        tokens = F.pad(rows.clamp(min=0), (0, 1))
        tokens[torch.arange(len(tokens)), lengths] = self.end
        return self.embed(tokens), torch.arange(tokens.shape[1]) > lengths[:, None]

    def forward(self, sources: Tensor, inputs: Tensor) -> Tensor:
        read, hidden = self.sources(sources)
        causal = nn.Transformer.generate_square_subsequent_mask(inputs.shape[1])
        x = self.core(
            read,
            self.embed(inputs),
            tgt_mask=causal,
            src_key_padding_mask=hidden,
            memory_key_padding_mask=hidden,
            tgt_is_causal=True,
        )
        return self.head(x)

    def loss(self, sources: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        inputs = F.pad(targets[:, :-1].clamp(min=0), (1, 0), value=self.end)
        logits = self(sources, inputs).flatten(0, 1)
        return F.cross_entropy(logits, targets.flatten(), ignore_index=-1, label_smoothing=smoothing)


def train_plain(corpus: PairCorpus, seconds: float, batch_size: int, bfloat16: bool) -> tuple[Plain, float]:
    """The peer after so many seconds, and target tokens a second."""
    torch.manual_seed(0)
    longest = int(corpus.facts["too_long"]["longest"])
    model = Plain(corpus.tokenizer.vocab_size, 256, 3, 8, longest).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    batches = PairBatches(corpus.pairs("train"), longest, batch_size, 0, slice(0, batch_size))
    began, n_tokens, t = time.perf_counter(), 0, 0
    while (spent := time.perf_counter() - began) < seconds:
        share = spent / seconds
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, share / 0.05 + 1e-3, (1 - share) / 0.95 + 1e-3)
        batch = batches.batch(t)
        sources, targets = (torch.from_numpy(np.ascontiguousarray(array)) for array in batch.arrays)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = model.loss(sources, targets, 0.1)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        n_tokens, t = n_tokens + int((targets >= 0).sum()), t + 1
    return model.eval(), n_tokens / (time.perf_counter() - began)


def written_plainly(model: Plain, corpus: PairCorpus, rows: np.ndarray) -> list[str]:
    """Greedily, many side by side; the source is read once, all that was written again for each token."""
    sources = corpus.pairs("test")[0]
    found: dict[int, str] = {}
    order = rows[np.argsort([len(sources.document(row)) for row in rows.tolist()])]
    with torch.inference_mode():
        for begin in range(0, len(order), 64):
            chosen = order[begin : begin + 64]
            read, hidden = model.sources(torch.from_numpy(padded_documents(sources, chosen)))
            memory = model.core.encoder(read, src_key_padding_mask=hidden)
            ids = torch.full((len(chosen), 1), model.end)
            done = torch.zeros(len(chosen), dtype=torch.bool)
            while not bool(done.all()) and ids.shape[1] <= 120:
                mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
                x = model.core.decoder(
                    model.embed(ids), memory, mask, memory_key_padding_mask=hidden, tgt_is_causal=True
                )
                following = model.head(x[:, -1]).argmax(-1).masked_fill(done, model.end)
                ids = torch.cat([ids, following[:, None]], dim=1)
                done |= following == model.end
            for row, own in zip(chosen.tolist(), ids[:, 1:].tolist(), strict=True):
                found[row] = corpus.tokenizer.decode([i for i in own if i != model.end])
    return [found[row] for row in rows.tolist()]


def told(name: str, written: list[str], right: list[str], seconds: float, rate: float, bits: float) -> None:
    """A row: BLEU and chrF with intervals."""
    metrics: Any = BLEU(), CHRF()
    rng = np.random.default_rng(0)
    cells = []
    for metric in metrics:
        statistics = metric._extract_corpus_statistics(written, [right])
        stats = np.array(statistics)
        drawn = [
            metric._aggregate_and_compute(stats[rng.integers(0, len(stats), len(stats))].tolist()).score
            for _ in range(1000)
        ]
        score = metric.corpus_score(written, [right]).score
        low, high = np.quantile(drawn, (0.025, 0.975))
        cells.append(f"{score:5.2f} ({low:.1f} to {high:.1f})")
    exact = np.mean([one == other for one, other in zip(written, right, strict=True)])
    print(
        f"{name:<16} BLEU {cells[0]:<22} chrF {cells[1]:<22} exact {exact:.3f}  {bits:6.3f} bits/byte  "
        f"{seconds:5.0f} s  {rate:6,.0f} tokens/s",
        flush=True,
    )


def main() -> None:
    minutes = float(sys.argv[2]) if len(sys.argv) > 2 else 10.0
    rungs = sys.argv[3:] or ["ngram", "gru", "lstm", "gpt", "encoder-decoder"]
    with tempfile.TemporaryDirectory() as scratch:
        data = pairs_of(Path(sys.argv[1]), Path(scratch) / "pairs.jsonl")
        how: dict[str, Any] = {"group": "page", "tokenizer": "bpe", "vocab_size": VOCABULARY}
        corpus: Any = None
        bfloat16, rows, right = False, np.empty(0, np.int64), list[str]()
        for name in rungs:
            budget: dict[str, Any] = {} if name == "ngram" else {"minutes": minutes}
            run = rung.train(name, data, out=Path(scratch) / name, task="translation", **how, **budget)
            result, corpus = run.recipe["result"], run.corpus
            rows = np.sort(
                np.random.default_rng(0).permutation(corpus.pairs("test")[0].n_documents)[:WRITTEN]
            )
            sources, targets = (stream.of_documents(rows) for stream in corpus.pairs("test"))
            right = [corpus.tokenizer.decode(targets.document(i)[:-1]) for i in range(len(rows))]
            written = written_greedily(run.model, corpus.tokenizer, sources)
            bits = rung.evaluate(run).bits_per_unit
            rate = result["train_tokens"] / max(result["train_seconds"], 1e-9)
            bfloat16 = bfloat16 or run.recipe.get("training", {}).get("precision") == "bfloat16"
            told(name, written, right, result["train_seconds"], rate, bits)
        assert corpus is not None
        for share in (1.0, 2.0):
            model, rate = train_plain(corpus, 60 * minutes * share, 64, bfloat16)
            told(
                "nn.Transformer",
                written_plainly(model, corpus, rows),
                right,
                60 * minutes * share,
                rate,
                math.nan,
            )


if __name__ == "__main__":
    main()
