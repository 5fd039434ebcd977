"""Classifiers beside scikit-learn's and fastText's on the same rows, the same splits, in the same run.

    python benchmarks/labels.py [reviews] [names] [splits]

reviews  built-in `reviews`, the sign of the rating; names  built-in `names`, the sex. Five random splits (or `splits`),
80/10/10: train, validation (for what is chosen), test. Printed are the mean and the standard deviation over splits of
accuracy and macro-F1 on the test part, the seconds of training from raw text (reading and cutting included, loading of
libraries and compiling not: one small training goes before), and the size on disk.

Peers: TfidfVectorizer(ngram_range=(1, 2)), or letters for names, with LogisticRegression as it is; fastText with the
settings of `bag-of-ngrams` (a prebuilt wheel, if there is one), two threads. They have no use for the validation part,
and get it to learn from as well.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_pipeline

import rung
from rung.models.linear.bag_of_ngrams import BagOfNgramsConfig
from rung.text.examples import Columns, read_examples
from rung.text.splits import Split, stratified

LABEL = {"reviews": "sentiment", "names": "sex"}
OURS = ("bag-of-words", "ngram", "bag-of-ngrams")
Rows = tuple[list[str], list[str]]


def parts_of(name: str, seed: int) -> dict[str, Rows]:
    """One split of a built-in set, by labels, shuffled by `seed`."""
    examples = read_examples(name, Columns(label=LABEL[name]))
    order = np.random.default_rng(seed).permutation(len(examples.texts))
    texts, labels = ([column[i] for i in order] for column in (examples.texts, examples.labels))
    number = {label: i for i, label in enumerate(sorted(set(labels)))}
    rows = stratified(np.array([number[label] for label in labels]), Split(0.8, 0.1, 0.1))
    return {part: ([texts[i] for i in own], [labels[i] for i in own]) for part, own in rows.items()}


def ours(
    rung_name: str, parts: dict[str, Rows], folder: Path
) -> tuple[Callable[[list[str]], list[str]], float, int]:
    """Trained: what predicts, the seconds it took, the bytes it has."""
    files = {}
    for part, (texts, labels) in parts.items():
        files[part] = folder / f"{part}.jsonl"
        rows = (
            json.dumps({"text": text, "label": label}) + "\n"
            for text, label in zip(texts, labels, strict=True)
        )
        files[part].write_text("".join(rows))
    began = time.perf_counter()
    how: dict[str, Any] = {"val": str(files["validation"]), "out": folder / rung_name, "force": True}
    run = rung.train(rung_name, files["train"], label="label", **how)
    seconds = time.perf_counter() - began
    size = (run.folder / "model.safetensors").stat().st_size
    return lambda texts: [one.label for one in rung.predict(run, texts)], seconds, size


def scikit_learn(name: str, parts: dict[str, Rows]) -> tuple[Callable[[list[str]], list[str]], float, int]:
    how: dict[str, Any] = (
        {"ngram_range": (1, 2)} if name == "reviews" else {"analyzer": "char_wb", "ngram_range": (1, 5)}
    )
    model: Any = make_pipeline(TfidfVectorizer(**how), LogisticRegression(max_iter=1000))
    texts, labels = (parts["train"][i] + parts["validation"][i] for i in (0, 1))
    began = time.perf_counter()
    model.fit(texts, labels)
    seconds = time.perf_counter() - began
    return lambda new: list(model.predict(new)), seconds, 8 * model[-1].coef_.size


def fast_text(
    parts: dict[str, Rows], folder: Path
) -> tuple[Callable[[list[str]], list[str]], float, int] | None:
    try:
        import fasttext  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    config = BagOfNgramsConfig()
    texts, labels = (parts["train"][i] + parts["validation"][i] for i in (0, 1))
    path = folder / "fasttext.txt"
    lines = (f"__label__{label} {text.lower()}\n" for text, label in zip(texts, labels, strict=True))
    path.write_text("".join(lines))
    began = time.perf_counter()
    model = fasttext.train_supervised(
        str(path),
        dim=config.width,
        wordNgrams=config.ngrams,
        minn=config.shortest_letters,
        maxn=config.letters,
        epoch=config.epochs,
        lr=config.rate,
        bucket=config.buckets,
        thread=2,
        verbose=0,
    )
    seconds = time.perf_counter() - began
    model.save_model(str(folder / "fasttext.bin"))
    size = (folder / "fasttext.bin").stat().st_size
    predict: Any = model.f.predict
    return (
        lambda new: [
            predict(text.lower() + "\n", 1, 0.0, "strict")[0][1].removeprefix("__label__") for text in new
        ],
        seconds,
        size,
    )


def main() -> None:
    names = [name for name in sys.argv[1:] if name in LABEL] or list(LABEL)
    splits = next((int(word) for word in sys.argv[1:] if word.isdigit()), 5)
    for name in names:
        rows: dict[str, list[tuple[float, float, float, int]]] = {}
        with tempfile.TemporaryDirectory() as where:
            folder = Path(where)
            few = {part: (texts[:400], labels[:400]) for part, (texts, labels) in parts_of(name, 0).items()}
            for warm in OURS:
                ours(warm, few, folder)
            for seed in range(splits):
                parts = parts_of(name, seed)
                new, right = parts["test"]
                found = {one: ours(one, parts, folder) for one in OURS}
                found["scikit-learn"] = scikit_learn(name, parts)
                if (peer := fast_text(parts, folder)) is not None:
                    found["fastText"] = peer
                for one, (predict, seconds, size) in found.items():
                    guessed = predict(new)
                    figures = accuracy_score(right, guessed), f1_score(right, guessed, average="macro")
                    rows.setdefault(one, []).append((*figures, seconds, size))
        print(f"{name}, {splits} splits: accuracy, macro-F1, seconds, MB")
        for one, values in rows.items():
            accuracy, f1, seconds, size = zip(*values, strict=True)
            print(
                f"  {one:<14} {statistics.mean(accuracy):.4f} ± {statistics.stdev(accuracy):.4f}"
                f"   {statistics.mean(f1):.4f}   {statistics.median(seconds):6.2f}   {size[0] / 1e6:8.2f}"
            )


if __name__ == "__main__":
    main()
