"""The infinigram beside the Kneser-Ney rung, and counting and tracing in the training text.

    python benchmarks/infinigram.py [DATA]

DATA is shakespeare unless another text is named, by characters, split 90/5/5. Everything is timed once compiled code
is in its cache; compiling, once an installation, is shown by itself. Bits per byte are of the whole test split.
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

from rung.inspection.passages import PassageIndex, build_passages
from rung.models.base import CountedModel, fitted
from rung.models.counting.infinigram import InfiniGram, InfiniGramConfig
from rung.models.counting.ngram import NGram, NGramConfig
from rung.text.corpus import Corpus, prepare

ROUNDS = 3
STRINGS = ("e", "the ", "to be", "To be, or not to be", "never to be found")


def seconds(work: Callable[[], Any]) -> float:
    """The median of a few rounds."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def row(name: str, model: CountedModel, train: Callable[[], Any], corpus: Corpus) -> str:
    """Bits per byte, training seconds, tokens scored a second, milliseconds a call of `advance`, bytes a token."""
    test = corpus.stream("test")
    bits = -model.score_stream(test).sum(dtype=np.float64) / np.log(2) / corpus.n_bytes("test")
    rate = test.n_tokens / seconds(lambda: model.score_stream(test))
    tokens = np.concatenate([[corpus.tokenizer.end], test.document(0)[:500].astype(np.int64)])

    def walk() -> None:
        state = model.start()
        for token in tokens:
            _, state = model.advance(state, np.array([token]))

    size = sum(tensor.nbytes for tensor in model.tensors().values()) / corpus.train.n_tokens
    advance = 1000 * seconds(walk) / len(tokens)
    return f"{name:<24} {bits:9.4f} {seconds(train):9.2f} {rate:12,.0f} {advance:9.2f} {size:9.1f}"


def ask(index: PassageIndex, corpus: Corpus) -> None:
    """Print what counting a few strings and tracing the test text takes."""
    for string in STRINGS:
        took = seconds(lambda string=string: index.count(string))
        print(f"count {string!r:<24} {index.count(string).count:9,} times   {1000 * took:8.2f} ms")
    text = "".join(corpus.text("test"))
    traced = index.trace(text)
    took = seconds(lambda: index.trace(text))
    print(
        f"trace {len(text):,} characters: {traced.share:.1%} in passages of {traced.minimum} bytes or more, "
        f"the longest {traced.longest}; {1000 * took:.0f} ms"
    )


def main() -> None:
    """Train, measure, ask."""
    data = sys.argv[1] if len(sys.argv) > 1 else "shakespeare"
    with tempfile.TemporaryDirectory() as folder:
        corpus = prepare(data, Path(folder), tokenizer="char")
        vocab_size, end = corpus.tokenizer.vocab_size, corpus.tokenizer.end

        def ngram(order: int) -> NGram:
            return fitted(NGram.fit(NGramConfig(order=order), corpus.train, vocab_size, end))

        def infinigram(order: int) -> InfiniGram:
            return fitted(InfiniGram.fit(InfiniGramConfig(order=order), corpus.train, vocab_size, end))

        began = time.perf_counter()
        infinigram(7)
        print(f"{data}: {corpus.train.n_tokens:,} tokens; first training {time.perf_counter() - began:.1f} s")
        print(f"{'':<24} {'bits/byte':>9} {'train s':>9} {'tokens/s':>12} {'advance':>9} {'B/token':>9}")
        for order in (6, 7, 8):
            print(row(f"ngram, order {order}", ngram(order), lambda order=order: ngram(order), corpus))
        for order in (6, 7, 8):
            model = infinigram(order)
            print(row(f"infinigram, order {order}", model, lambda order=order: infinigram(order), corpus))
        took = seconds(lambda: build_passages(corpus))
        print(f"index of {corpus.n_bytes('train'):,} bytes in {took:.2f} s")
        ask(build_passages(corpus), corpus)


if __name__ == "__main__":
    main()
