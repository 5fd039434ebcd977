"""The counting rungs beside KenLM: training, memory, scoring raw lines, `advance`, loading; bits per byte by order.

    python benchmarks/ngram.py            everything (minutes)
    python benchmarks/ngram.py score      one part: train, score, advance, orders

`lmplz` is timed too where it is on the PATH. Scoring: the same ARPA model, the same file of raw lines, one number a
line out; ours is `rung score` (file to JSON lines), the peers are Python loops over the `kenlm` module. In turn,
several rounds, medians.
"""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import kenlm
import numpy as np

from rung import runs
from rung.evaluation.evaluate import evaluate
from rung.evaluation.filter import Scoring
from rung.exchange.arpa import import_arpa
from rung.exchange.arpa_format import write_arpa
from rung.models.base import fitted
from rung.models.counting.ngram import NGram, NGramConfig
from rung.tensors import load_tensors, save_tensors
from rung.text.sources import open_source
from rung.text.stream import TokenStream

ROUNDS = 5
MB = 1_000_000


def play_lines() -> list[str]:
    """The non-empty lines of all plays."""
    return [line for play in open_source("shakespeare") for line in play.splitlines() if line.strip()]


def ids_of_words(lines: list[str]) -> tuple[TokenStream, list[str]]:
    """Words cut at white space, numbered as they come; one document a line."""
    numbers: dict[str, int] = {"<unk>": 0}
    documents = [[numbers.setdefault(word, len(numbers)) for word in line.split()] for line in lines]
    return TokenStream.of([np.array(d, np.int64) for d in documents], len(numbers)), list(numbers)


def train_child(path: str, out: str) -> None:
    """From a file of lines to a saved model of order 5; prints seconds and peak memory."""
    began = time.perf_counter()
    stream, names = ids_of_words(Path(path).read_text().splitlines())
    read = time.perf_counter()
    model = fitted(NGram.fit(NGramConfig(order=5), stream, len(names) + 1, len(names)))
    counted = time.perf_counter()
    save_tensors(Path(out), model.tensors())
    done = time.perf_counter()
    print(
        json.dumps(
            {
                "tokens": stream.n_tokens,
                "read": read - began,
                "count": counted - read,
                "all": done - began,
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "disk": Path(out).stat().st_size,
            }
        )
    )


def train(folder: Path) -> None:
    """Training by words at order 5 on 1, 5 and 100 MB."""
    print("training, words cut at white space, order 5, whole process from text file to saved model")
    lines = play_lines()
    text = "\n".join(lines) + "\n"
    for name, content in (("1 MB", text[:MB]), ("all plays", text), ("the plays 20 times", text * 20)):
        (folder / "text").write_text(content)
        out = subprocess.run(
            [sys.executable, __file__, "train-child", str(folder / "text"), str(folder / "model")],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        r = json.loads(out)
        print(
            f"  {name:<18} {r['tokens']:>11,} tokens  read {r['read']:5.2f} s  count {r['count']:5.2f} s  "
            f"all {r['all']:5.2f} s  peak {r['peak'] / 1e6:6.0f} MB  on disk {r['disk'] / 1e6:5.1f} MB"
        )
        if lmplz := shutil.which("lmplz"):
            began = time.perf_counter()
            subprocess.run(
                [lmplz, "-o", "5", "--discount_fallback", "--text", folder / "text", "--arpa", folder / "a"],
                check=True,
                capture_output=True,
            )
            print(f"  {'':<18} lmplz {time.perf_counter() - began:.2f} s")


def score(folder: Path) -> None:
    """Raw lines in, one log-probability a line out."""
    lines = play_lines()
    held_out = lines[int(0.95 * len(lines)) :]
    stream, names = ids_of_words(lines[: int(0.9 * len(lines))])
    model = fitted(NGram.fit(NGramConfig(order=5), stream, len(names) + 1, len(names)))
    write_arpa(model, [*names, "</s>"], folder / "model.arpa")
    run = import_arpa(folder / "model.arpa", folder / "run", force=True)
    file = folder / "lines.txt"
    file.write_text("\n".join(held_out * 20) + "\n")
    n_tokens = 20 * sum(len(line.split()) + 1 for line in held_out)
    theirs = kenlm.Model(str(folder / "model.arpa"))

    def by_rung() -> float:
        total = 0.0
        with (folder / "scores").open("w") as out:
            for part in Scoring(run, str(file)).parts():
                out.write(part.output)
        with (folder / "scores").open() as scores:
            total = sum(json.loads(line)["log_prob"] for line in scores)
        return total / np.log(10)

    def rung_only() -> None:
        with (folder / "scores").open("w") as out:
            for part in Scoring(run, str(file)).parts():
                out.write(part.output)

    def by_full_scores() -> float:
        with file.open() as opened, (folder / "theirs").open("w") as out:
            total = 0.0
            for line in opened:
                log_prob = sum(prob for prob, _, _ in theirs.full_scores(line))
                out.write(f"{log_prob}\n")
                total += log_prob
        return total

    def by_score() -> None:
        with file.open() as opened, (folder / "theirs").open("w") as out:
            for line in opened:
                out.write(f"{theirs.score(line)}\n")

    assert abs(by_rung() / by_full_scores() - 1) < 1e-5
    print(f"scoring {n_tokens:,} tokens of held-out lines, order 5, raw text in, one number a line out")
    in_turn(
        {"rung score": rung_only, "kenlm full_scores loop": by_full_scores, "kenlm score loop": by_score},
        n_tokens,
    )
    words = runs.load(folder / "run")
    began = time.perf_counter()
    tensors, _ = load_tensors(words.folder / "model.safetensors")
    _ = words.model
    took = 1e3 * (time.perf_counter() - began)
    print(f"loading a {sum(t.nbytes for t in tensors.values()) / 1e6:.0f} MB model {took:.1f} ms")


def in_turn(loops: dict[str, Callable[[], object]], n_tokens: int) -> None:
    """Median tokens per second of each, and of the first against each other, round by round."""
    taken: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(ROUNDS):
        for name, loop in loops.items():
            began = time.perf_counter()
            loop()
            taken[name].append(time.perf_counter() - began)
    first = next(iter(loops))
    for name, seconds in taken.items():
        rate = n_tokens / statistics.median(seconds)
        ratio = statistics.median(b / a for a, b in zip(taken[first], seconds, strict=True))
        print(f"  {name:<24} {rate:>11,.0f} tokens/s   {first} is {ratio:.2f} times as fast")


def advance(folder: Path) -> None:
    """The dense distribution after a history, over a vocabulary of 50,000 and more."""
    rng = np.random.default_rng(0)
    vocab = 50_000
    zipf = np.minimum(rng.zipf(1.3, 1_000_000) - 1, vocab - 2)
    stream = TokenStream.of(np.array_split(zipf, 1000), vocab - 1)
    model = fitted(NGram.fit(NGramConfig(order=5), stream, vocab, vocab - 1))
    state = model.start(1)
    _, state = model.advance(state, np.array([vocab - 1]))
    taken = []
    for token in zipf[:300]:
        began = time.perf_counter()
        _, state = model.advance(state, np.array([token]))
        taken.append(1e3 * (time.perf_counter() - began))
    slow = np.quantile(taken, 0.95)
    print(
        f"advance over {vocab:,} words: median {statistics.median(taken):.2f} ms, 95th of 100 {slow:.2f} ms"
    )


def orders(folder: Path) -> None:
    """Bits per byte of the test split by order, for three tokenisers."""
    import rung

    print("bits per byte on the test split of shakespeare, by order")
    for tokenizer in ("char", "word", "bpe"):
        row = []
        for order in range(2, 11):
            run = rung.train(
                "ngram", "shakespeare", out=folder / "orders", force=True, order=order, tokenizer=tokenizer
            )
            row.append(evaluate(run).bits_per_byte)
        print(f"  {tokenizer:<5}" + "".join(f" {n}: {bits:.3f}" for n, bits in enumerate(row, start=2)))


def main() -> None:
    """All parts, or the ones named."""
    if sys.argv[1:2] == ["train-child"]:
        train_child(*sys.argv[2:4])
        return
    parts = {"train": train, "score": score, "advance": advance, "orders": orders}
    for name in sys.argv[1:] or parts:
        with tempfile.TemporaryDirectory() as folder:
            parts[name](Path(folder))


if __name__ == "__main__":
    main()
