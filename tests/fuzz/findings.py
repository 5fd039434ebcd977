"""Past findings, as recipes: what is damaged, how, and a command that did not survive it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rung.tensors import load_tensors, save_tensors
from tests.fuzz.cases import Fault, remove
from tests.fuzz.children import run_apart
from tests.fuzz.mutations import spelled

MODEL = "model.safetensors"
LAST = "checkpoints/last.safetensors"
SCORE = ("score", "v", "--text", "the cows eat hay")
EVALUATE = ("evaluate", "v")
SAMPLE = ("sample", "v", "--max-tokens", "5")
RESUME = ("train", "--resume", "v", "--quiet")

Edit = Callable[[Path], None]


def numbers(name: str, change: Callable[[np.ndarray], Any], file: str = MODEL) -> Edit:
    """Change the numbers of one tensor."""

    def edit(folder: Path) -> None:
        tensors, metadata = load_tensors(folder / file)
        tensors = {key: np.array(tensor) for key, tensor in tensors.items()}
        change(tensors[name])
        save_tensors(folder / file, tensors, metadata)

    return edit


def header(change: Callable[[dict[str, Any]], Any], file: str = MODEL) -> Edit:
    """Change what the header of a safetensors file says."""

    def edit(folder: Path) -> None:
        data = (folder / file).read_bytes()
        size = int.from_bytes(data[:8], "little")
        said = json.loads(data[8 : 8 + size])
        change(said)
        (folder / file).write_bytes(spelled(said, data[8 + size :]))

    return edit


def said(file: str, *keys: str, value: Any) -> Edit:
    """Change one value of a JSON file."""

    def edit(folder: Path) -> None:
        whole = json.loads((folder / file).read_text(encoding="utf-8"))
        inner = whole
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        (folder / file).write_text(json.dumps(whole), encoding="utf-8")

    return edit


def written(file: str, change: Callable[[bytes], bytes]) -> Edit:
    """Change the bytes of a file."""

    def edit(folder: Path) -> None:
        (folder / file).write_bytes(change((folder / file).read_bytes()))

    return edit


def fill(place: Any, value: Any) -> Callable[[np.ndarray], None]:
    """Set numbers of a tensor to one value."""
    return lambda tensor: tensor.__setitem__(place, value)


@dataclass(frozen=True)
class Finding:
    """What it was; the run; what is damaged; the command. Each is refused in one line."""

    was: str
    run: str
    edit: Edit
    command: tuple[str, ...] = SCORE


END = slice(-40, None)
FINDINGS = (
    Finding("segmentation fault", "infinigram", numbers("places.came_from", fill(slice(None), 2**31 - 1))),
    Finding("segmentation fault", "infinigram", numbers("places.first", fill(slice(1, -1), 1 << 40)), SAMPLE),
    Finding("segmentation fault", "infinigram", numbers("following", fill(slice(None), 255)), SAMPLE),
    Finding("segmentation fault", "infinigram", numbers("weights", lambda w: w.fill(np.nan)), SAMPLE),
    Finding("hang", "infinigram", numbers("places.shared", fill(slice(1, None), 60000)), EVALUATE),
    Finding("hang", "infinigram", numbers("places.shared_superblocks", fill(slice(None), 60000)), EVALUATE),
    Finding("hang", "words", numbers("suffix", lambda links: fill(END, np.arange(len(links))[END])(links))),
    Finding(
        "hang",
        "words",
        numbers("suffix", lambda links: links.__setitem__(slice(None), np.arange(len(links)))),
    ),
    Finding("IndexError", "ngram", numbers("first_child", fill(slice(-9, None), 2**31 - 1))),
    Finding("IndexError", "ngram", numbers("suffix", fill(END, -1))),
    Finding("hang", "words", numbers("words", fill(slice(1, 400), 0)), (*SAMPLE, "--beams", "2")),
    Finding("IndexError", "bpe", numbers("words", fill(END, 60000)), SAMPLE),
    Finding("IndexError", "ngram", numbers("level_start", fill(slice(2, -1), 1 << 40))),
    Finding("ZeroDivisionError", "ngram", numbers("level_start", lambda starts: starts.fill(0))),
    Finding("overflow in exp", "ngram", numbers("log_prob", fill(END, 1e4)), SAMPLE),
    Finding("nan bits per byte", "ngram", numbers("log_prob", fill(END, np.nan)), EVALUATE),
    Finding("nan bits per byte", "gpt", numbers("embedding.tokens", lambda w: w.fill(np.nan)), EVALUATE),
    Finding("IndexError", "bigram", numbers("words", fill(END, 1 << 40)), SAMPLE),
    Finding(
        "ValueError", "bigram", numbers("row_starts", lambda s: s.__setitem__(slice(None), s[::-1].copy()))
    ),
    Finding("a probability below zero", "bigram", numbers("counts", fill(END, -(1 << 50))), EVALUATE),
    Finding("nan bits per byte", "mix", numbers("weights", lambda w: w.fill(np.nan)), EVALUATE),
    Finding(
        "not named",
        "plain",
        numbers("embedding.tokens", lambda w: w.fill(3e38)),
        ("score", "v", "r.jsonl", "--field", "text"),
    ),
    Finding(
        "TypeError",
        "scratch-stopped",
        said("run.json", "data", "parts", "train", "documents", value=[1]),
        RESUME,
    ),
    Finding("MemoryError", "bigram", header(lambda h: h["words"].update(shape=[10**12, 10**12]))),
    Finding("another array", "ngram", header(lambda h: h["suffix"].update(dtype="F32"))),
    Finding(
        "read from the end", "bigram", header(lambda h: h["words"].update(data_offsets=[-16, 0], shape=[2]))
    ),
    Finding("RecursionError", "ngram", written(MODEL, lambda data: _nested())),
    Finding("RecursionError", "ngram", written("run.json", lambda data: b"[" * 100_000)),
    Finding("TypeError", "ngram", said("run.json", "model", "config", "order", value="x")),
    Finding("TypeError", "ngram", said("run.json", "data", "source", value=3), ("evaluate", "v", "t.txt")),
    Finding("MemoryError", "bigram", said("run.json", "model", "vocab_size", value=10**15)),
    Finding("hang", "gpt", said("run.json", "model", "config", "n_layer", value=10**9)),
    Finding("no memory", "scratch", said("run.json", "model", "config", "n_hidden", value=10**7)),
    Finding("a word twice", "words", said("tokenizer.json", "words", value=[" the", " the"])),
    Finding("KeyError", "words", said("tokenizer.json", "words", value={"x": 1})),
    Finding(
        "TokenError",
        "ngram",
        written("data/test.npy", lambda data: data.replace(b"'shape': (", b"'shape': ((")),
        EVALUATE,
    ),
    Finding("EOFError", "ngram", written("data/test.npy", lambda data: b""), EVALUATE),
    Finding(
        "pickle", "ngram", written("data/test.npy", lambda data: data.replace(b"'<u2'", b"'|O' ")), EVALUATE
    ),
    Finding("IndexError", "mix", written("data/test.npy", lambda data: data[:-40] + b"\xff" * 40), EVALUATE),
    Finding(
        "IndexError",
        "words",
        written("data/train.npy", lambda data: data[:-40] + b"\xff" * 40),
        ("count", "v", "x"),
    ),
    Finding(
        "ValueError",
        "ngram",
        written("data/test.documents.npy", lambda data: data[:-8] + b"\xff" * 8),
        EVALUATE,
    ),
    Finding(
        "IndexError",
        "majority",
        written("data/test.labels.npy", lambda data: data[:-8] + b"\x63" * 8),
        EVALUATE,
    ),
    Finding("KeyError", "gpt-stopped", header(lambda h: h.update(__metadata__={}), LAST), RESUME),
    Finding("KeyError", "gpt-stopped", header(lambda h: _renamed(h, "optimizer.exp_avg."), LAST), RESUME),
    Finding("KeyError", "scratch-stopped", header(lambda h: _renamed(h, "model."), LAST), RESUME),
    Finding("AssertionError", "rnn-stopped", said("run.json", "training", "batch_size", value=None), RESUME),
    Finding("hang", "rnn-stopped", said("run.json", "training", "steps", value=None), RESUME),
)


def _nested() -> bytes:
    text = b'{"a":' + b"[" * 200_000
    return len(text).to_bytes(8, "little") + text


def _renamed(entries: dict[str, Any], prefix: str) -> None:
    name = next(name for name in entries if name.startswith(prefix))
    entries[name.replace(prefix, prefix.replace(".", ".x", 1))] = entries.pop(name)


def run_findings() -> list[Fault]:
    """Those that are not refused in one line that says which run is damaged."""
    faults: list[Fault] = []
    for number, finding in enumerate(FINDINGS):
        remove(Path("v"))
        shutil.copytree(finding.run, "v")
        finding.edit(Path("v"))
        outcome = run_apart(finding.command)
        said = outcome.fault("v") or (None if outcome.status == 2 else f"{outcome.status}: not refused")
        if said is not None:
            faults.append(Fault(number, f"was {finding.was}: {finding.run}", " ".join(finding.command), said))
    return faults
