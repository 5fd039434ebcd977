"""What is damaged: small runs of every kind, and the files of other programs, made once in the working folder."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

import rung
from tests import gguf_made
from tests.fuzz.children import apart, command

LINES = 300
SMALL = ("--n-layer", 1, "--n-embd", 16, "--n-head", 2, "--context", 16)

TRAINED: dict[str, tuple[str | int, ...]] = {
    "ngram": ("ngram", "t.txt", "--order", 3),
    "words": ("ngram", "t.txt", "--order", 3, "--tokenizer", "word", "--documents", "lines"),
    "none": ("ngram", "t.txt", "--order", 2, "--smoothing", "none", "--tokenizer", "byte"),
    "bpe": ("ngram", "t.txt", "--order", 3, "--tokenizer", "bpe", "--vocab-size", 300),
    "wordpiece": ("bigram", "t.txt", "--tokenizer", "wordpiece", "--vocab-size", 530),
    "bigram": ("bigram", "t.txt"),
    "infinigram": ("infinigram", "t.txt"),
    "scratch": ("scratch-mlp", "t.txt", "--steps", 5),
    "rnn": ("rnn", "t.txt", "--steps", 3, "--n-hidden", 8, "--n-embd", 4),
    "gpt": ("gpt", "t.txt", "--steps", 3, *SMALL),
    "plain": ("gpt", "t.txt", "--preset", "plain", "--steps", 3, *SMALL),
    "vectors": ("skipgram", "t.txt", "--width", 4),
    "mix": ("mix", "t.txt", "--runs", "ngram", "bigram"),
}
"""Runs of language models and what trains them."""

LABELLED: dict[str, tuple[str | int, ...]] = {
    "majority": ("majority", "labels.csv", "--label", "label"),
    "bag": ("bag-of-words", "labels.csv", "--label", "label"),
    "learned": (
        "gpt",
        "labels.csv",
        "--label",
        "label",
        "--from",
        "plain",
        "--learn",
        "lora:2",
        "--steps",
        2,
    ),
    "label-mix": ("mix", "labels.csv", "--label", "label", "--runs", "majority", "bag"),
}
"""Runs of classifiers."""

ANSWERING: dict[str, tuple[str | int, ...]] = {
    "tags": ("hmm", "tags.txt"),
    "tags-lstm": ("lstm", "tags.txt", "--steps", 2, "--n-hidden", 8, "--crf"),
    "translator": ("encoder-decoder", "pairs.tsv", "--n-layer", 1, "--n-embd", 16, "--steps", 2),
}
"""Runs that answer a text with more than a label."""

ENCODERS: dict[str, tuple[str | int, ...]] = {
    "tf-idf": ("tf-idf", "r.csv", "--tokenizer", "word"),
    "pairs": ("gru", "labels.csv", "--views", "pairs", "--second", "label", "--steps", 3, "--n-hidden", 8),
}
"""Runs that make vectors of texts."""

HISTORY: dict[str, tuple[tuple[str | int, ...], ...]] = {
    "continued": (
        ("gpt", "t.txt", "--steps", 2, *SMALL, "--out", "continued"),
        ("--resume", "continued", "--steps", 3),
    ),
    "parent": (("gpt", "t.txt", "--from", "plain", "--steps", 2, "--out", "parent"),),
    "counted-on": (("ngram", "r.csv", "--field", "text", "--from", "ngram", "--out", "counted-on"),),
}
"""Runs that went on, or began with another, and what trains them."""

OWN_MODELS: dict[str, tuple[str | int, ...]] = {
    "own-network": ("own_model.py:Convolution", "t.txt", "--steps", 2, "--width", 8),
    "own-counted": ("own_model.py:Unigram", "t.txt"),
}
"""Runs of models in a file of the user's own."""

STOPPED: dict[str, dict[str, object]] = {
    "gpt-stopped": {"rung": "gpt", "n_layer": 1, "n_embd": 16, "n_head": 2, "context": 16},
    "rnn-stopped": {"rung": "rnn", "n_hidden": 8, "n_embd": 4},
    "scratch-stopped": {"rung": "scratch-rnn", "n_hidden": 8, "n_embd": 4},
    "restarts-stopped": {"rung": "mlp", "n_hidden": 8, "restarts": 2},
}
"""Runs with a checkpoint that training goes on from."""

INPUTS = ("t.txt", "r.jsonl", "r.csv", "r.parquet", "t.txt.gz", "t.txt.zst")
"""Text as a user hands it over."""


def make_victims() -> None:
    """Everything above, in the working folder. What starts threads is made in processes of its own."""
    words = random.Random(0)
    lines = [
        f"line {i} of a small text: the cows eat {words.choice(['corn', 'grass', 'hay'])} naïve 🙂 {i * i}"
        for i in range(LINES)
    ]
    Path("t.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = [json.dumps({"text": line, "id": i}) + "\n" for i, line in enumerate(lines)]
    Path("r.jsonl").write_text("".join(rows), encoding="utf-8")
    table = "".join(f'"{line}",{i}\n' for i, line in enumerate(lines))
    Path("r.csv").write_text("text,id\n" + table, encoding="utf-8")
    labels = "".join(f'"{line}",{"corn" if "corn" in line else "other"}\n' for line in lines)
    Path("labels.csv").write_text("text,label\n" + labels, encoding="utf-8")
    tagged = "".join(" ".join(f"{word}/{len(word) % 3}" for word in line.split()) + "\n" for line in lines)
    Path("tags.txt").write_text(tagged, encoding="utf-8")
    pairs = "".join(f"{line}\t{line[::-1]}\n" for line in lines)
    Path("pairs.tsv").write_text(pairs, encoding="utf-8")
    Path("t.txt.gz").write_bytes(gzip.compress(Path("t.txt").read_bytes(), mtime=0))
    apart(lambda: _write_arrow(lines))
    for name, arguments in TRAINED.items():
        _must("train", *arguments, "--out", name, "--quiet")
    for name, arguments in (LABELLED | ANSWERING | ENCODERS).items():
        apart(lambda name=name, arguments=arguments: _must("train", *arguments, "--out", name, "--quiet"))
    shutil.copyfile(Path(__file__).parents[2] / "docs" / "own_model.py", "own_model.py")
    for name, arguments in OWN_MODELS.items():
        _must("train", *arguments, "--out", name, "--quiet")
    for commands in HISTORY.values():
        for arguments in commands:
            _must("train", *arguments, "--quiet")
    apart(lambda: _must("embed", "tf-idf", "t.txt", "--out", "t-vectors.parquet", "--quiet"))
    _must("export", "words", "--format", "arpa", "--out", "words.arpa")
    _must("export", "plain", "--format", "hf", "--out", "hf")
    gguf_made.write(Path("llama.gguf"))
    _must("count", "ngram", "cows")  # which leaves an index beside the data
    for name, settings in STOPPED.items():
        steps = count()
        stop: Callable[[], bool] = lambda steps=steps: next(steps) >= 3  # noqa: E731
        rung.train(data="t.txt", out=name, steps=6, eval_every=2, stop=stop, **settings)  # pyright: ignore


def _write_arrow(lines: list[str]) -> None:
    pyarrow.parquet.write_table(pa.table({"text": lines}), "r.parquet")
    with pa.output_stream("t.txt.zst", compression="zstd") as file:
        file.write(Path("t.txt").read_bytes())


def _must(*arguments: str | int) -> None:
    code = command([str(argument) for argument in arguments])
    if code:
        raise RuntimeError(f"rung {' '.join(map(str, arguments))} ended with {code}")
