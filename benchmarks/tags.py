"""Taggers on English and Cantonese, beside pycantonese's own on the same held-out sentences.

    python benchmarks/tags.py BROWN [MINUTES]

BROWN   a folder with the files ca01 ... cr09 of the Brown corpus, a sentence a line, word/tag; tags are cut at - + * $.
MINUTES of the LSTM on Brown; without, networks are left out.

Both corpora are split 90/5/5 by document, whole files. Of HKCanCor, which the package pycantonese holds (without it
that half is left out), words without a class are left out. Its tagger as it comes has learned from the held-out
sentences too, so it is trained anew, as it sets it, on the same training part. Words a second: of the answer alone, on
the test part.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import rung
from rung.text.tagged import decode_sentences, word_counts


def brown(source: Path, folder: Path) -> Path:
    """The files with their tags cut."""
    folder.mkdir()
    for file in sorted(source.iterdir()):
        if re.fullmatch(r"c[a-r]\d\d", file.name):
            words = re.sub(
                r"(\S*)/(\S+)",
                lambda found: f"{found[1]}/{re.split(r'[-+*$]', found[2])[0] or found[2]}",
                file.read_text(encoding="utf-8"),
            )
            (folder / file.name).write_text(words, encoding="utf-8")
    return folder


def hkcancor(folder: Path) -> Path | None:
    """A file for each of its own, words and classes as lists."""
    try:
        import pycantonese  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    folder.mkdir()
    corpus = pycantonese.hkcancor()
    for number, path in enumerate(corpus.file_paths):
        rows = []
        for sentence in corpus.filter(files=".*" + Path(path).name.replace(".", "[.]")).tokens(
            by_utterance=True
        ):
            pairs = [(token.word, token.pos) for token in sentence if token.pos]
            if pairs:
                words, tags = zip(*pairs, strict=True)
                rows.append(json.dumps({"tokens": words, "tags": tags}, ensure_ascii=False) + "\n")
        (folder / f"{number:02}.jsonl").write_text("".join(rows), encoding="utf-8")
    return folder


def measured(name: str, data: Path, folder: Path, **how: Any) -> Any:
    began = time.perf_counter()
    settings: dict[str, Any] = {"out": folder / name, **how}
    run = rung.train(name.split("-")[0], data, **settings)
    seconds = time.perf_counter() - began
    measure = rung.evaluate(run).to_json()
    stream = run.corpus.stream("test")
    run.model.decode(stream)
    began = time.perf_counter()
    run.model.decode(stream)
    rate = word_counts(stream, run.model.delimiter).sum() / (time.perf_counter() - began)
    print(
        f"  {name:<14} {measure['accuracy']:.4f}  unknown {measure['unknown_word_accuracy']:.3f}  "
        f"{measure['bits_per_word']:.3f} bits/word  {seconds:6.1f} s  {rate:9,.0f} words/s"
    )
    return run


def peer(run: Any) -> None:
    """pycantonese's own tagger, as it sets it, trained on the same sentences, and as it comes."""
    import pycantonese  # pyright: ignore[reportMissingImports]
    from rustling.perceptron_pos_tagger import AveragedPerceptron  # pyright: ignore[reportMissingImports]

    parts = {}
    for part in ("train", "test"):
        stream, tags = run.corpus.tagged(part)
        words = decode_sentences(run.corpus.tokenizer, stream)
        names = iter([run.corpus.tags[tag] for tag in tags.tolist()])
        parts[part] = words, [[next(names) for _ in sentence] for sentence in words]
    began = time.perf_counter()
    tagger = AveragedPerceptron(random_seed=1)
    tagger.fit(*parts["train"])
    seconds = time.perf_counter() - began
    words, right = parts["test"]
    flat = [tag for own in right for tag in own]
    began = time.perf_counter()
    said = [tag for own in tagger.predict(words) for tag in own]
    rate = len(flat) / (time.perf_counter() - began)
    hits = np.mean([one == other for one, other in zip(said, flat, strict=True)])
    print(f"  {'its perceptron':<14} {hits:.4f}  {seconds:50.1f} s  {rate:9,.0f} words/s")
    said = [tag for own in words for _, tag in pycantonese.pos_tag(own, tagset="hkcancor")]
    hits = np.mean([one == other for one, other in zip(said, flat, strict=True)])
    print(f"  {'as it comes':<14} {hits:.4f}  (it has learned from these sentences)")


def main() -> None:
    minutes = float(sys.argv[2]) if len(sys.argv) > 2 else None
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        for name, data in (
            ("Brown", brown(Path(sys.argv[1]), folder / "brown")),
            ("HKCanCor", hkcancor(folder / "hk")),
        ):
            if data is None:
                continue
            print(name)
            runs = [measured(one, data, folder / f"{name}-runs") for one in ("majority", "hmm")]
            if minutes is not None:
                measured("lstm", data, folder / f"{name}-runs", minutes=minutes)
            if name == "HKCanCor":
                peer(runs[0])


if __name__ == "__main__":
    main()
