"""Texts with a label each: read from the columns of a table, split, tokenised, kept in one folder.

    labelled.json                     where they came from, how they were split, the labels, per part: how many
    tokenizer.json                    trained on the training part alone
    train.npy, train.documents.npy    the texts (`rung.text.stream`), and so for validation and test
    train.labels.npy                  the number of each text's label

Every part has its share of every label (a stratified split). labelled.json is written last: a folder without it holds
no such corpus.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rung.errors import UserError
from rung.files import atomic_path, write_json
from rung.opening import check_below, check_kind, damaged, opening
from rung.text.corpus import install, link_files, read_facts, workshop
from rung.text.formats import reading
from rung.text.options import LabelOptions
from rung.text.records import read_rows, whole_characters
from rung.text.sources import Source, open_source
from rung.text.splits import PARTS, SEED, parse_split
from rung.text.stream import LabelledStream, TokenStream, load_array
from rung.text.tokenizers import Tokenizer, load_tokenizer, train_tokenizer, utf8

FORMAT = 1
FACTS = "labelled.json"


@dataclass(frozen=True)
class LabelledCorpus:
    """What `prepare_labelled` wrote. Arrays are mapped from disk."""

    folder: Path
    tokenizer: Tokenizer
    parts: dict[str, LabelledStream]
    facts: dict[str, Any]

    @property
    def labels(self) -> list[str]:
        """What the labels are called, in order of their numbers."""
        return self.facts["labels"]

    @property
    def splits(self) -> tuple[str, ...]:
        """The parts there are."""
        return tuple(self.parts)

    @property
    def train(self) -> TokenStream:
        return self.parts["train"].stream

    def labelled(self, part: str) -> LabelledStream:
        """Texts and labels of `part`. Raises UserError when there is none."""
        if part not in self.parts:
            raise UserError(
                f"the data in {self.folder} have no part {part!r} (they have: {', '.join(self.parts)}); measure "
                "one of those with --split, or name other data"
            )
        return self.parts[part]

    def stream(self, part: str) -> TokenStream:
        """The texts of `part`. Raises UserError when there is none."""
        return self.labelled(part).stream

    def link(self, folder: Path) -> LabelledCorpus:
        """The same corpus in another folder, by hard links (copies where links can't be made)."""
        if folder.exists() and folder.samefile(self.folder):
            return self
        names = _file_names(self.splits)
        with workshop(folder) as work:
            link_files(self.folder, work, names)
            install(work, folder, names)
        return open_labelled(folder)


def read_labelled(
    data: str | Path, *, field: str, label: str, sha256: str | None = None
) -> tuple[list[str], list[str], Source]:
    """The texts and labels of a table's rows, and where they are from. White space around a label is no part of it.

    Raises UserError when there is no table, or a column or a label is missing.
    """
    if label == field:
        raise UserError(
            f"--label {label} is the column of the text itself; name another, or the text's with --field"
        )
    source = open_source(data, sha256=sha256)
    texts: list[str] = []
    labels: list[str] = []
    for file in source.files:
        if file.format == "text":
            raise UserError(
                f"{file.name} is plain text; labels need rows: .csv, .tsv, .json, .jsonl or .parquet"
            )
        with reading(file):
            for number, row in enumerate(read_rows(file, {"text": field, "label": label}), 1):
                texts.append(row["text"])
                labels.append(_label_text(row["label"], f"{file.name}: record {number}", label))
    if not texts:
        raise UserError(f"{data} holds no rows")
    return texts, labels, source


def _label_text(value: Any, where: str, column: str) -> str:
    """A label as it is written: words, numbers, true and false."""
    if isinstance(value, bool):
        return str(value).lower()
    value = value.strip() if isinstance(value, str) else value
    if value is None or value == "" or value != value:
        raise UserError(f"{where} has no {column!r}; give each text a label")
    if not isinstance(value, str | int | float):
        raise UserError(
            f"{where}: {column!r} is {type(value).__name__}; a label is a word, a number, true or false"
        )
    return whole_characters(str(value))


def prepare_labelled(
    data: str | Path, folder: Path, options: LabelOptions, tokenizer: Tokenizer | None = None
) -> LabelledCorpus:
    """Read texts and labels, split them, train the tokeniser on the training part, write everything into `folder`.

    Raises UserError for bad input, one label only, and a folder that can't be written to.
    """
    shares = parse_split(options.split)
    texts, labels, source = read_labelled(
        data, field=options.field, label=options.label, sha256=options.sha256
    )
    names = sorted(set(labels))
    if len(names) < 2:
        raise UserError(f"{data}: every text has the label {names[0]!r}; there is nothing to tell apart")
    number = {name: i for i, name in enumerate(names)}
    numbers = np.array([number[label] for label in labels], np.int64)
    rows = _stratified(numbers, {part: getattr(shares, part) for part in PARTS})
    if "train" not in rows:
        raise UserError(
            f"{len(texts)} texts are too few for --split {shares}: train would be empty; give more, or another --split"
        )
    if tokenizer is None:
        tokenizer = train_tokenizer(
            options.tokenizer, [texts[row] for row in rows["train"]], options.vocab_size
        )
    digest = hashlib.sha256()
    for text, label in zip(texts, labels, strict=True):
        digest.update(utf8(text) + b"\0" + utf8(label) + b"\0")
    known = {texts[row] for row in rows["train"]}
    in_training = {
        part: round(sum(texts[row] in known for row in chosen) / len(chosen), 6)
        for part, chosen in rows.items()
        if part != "train"
    }
    parts: dict[str, dict[str, int]] = {}
    with workshop(folder) as work:
        tokenizer.save(work / "tokenizer.json")
        for part, chosen in rows.items():
            own = [texts[row] for row in chosen]
            stream = tokenizer.encode_many(own)
            stream.save(work / part)
            with atomic_path(work / f"{part}.labels.npy") as temporary, temporary.open("wb") as file:
                np.save(file, numbers[chosen], allow_pickle=False)
            parts[part] = {
                "examples": len(own),
                "tokens": stream.n_tokens,
                "bytes": sum(len(utf8(text)) for text in own),
            }
        facts = {
            "format": FORMAT,
            "source": {
                **source.describe(),
                "field": options.field,
                "documents": "rows",
                "sha256": digest.hexdigest(),
            },
            "columns": {"text": options.field, "label": options.label},
            "given": {},
            "split": str(shares),
            "split_rule": f"{shares}, examples drawn at random, of every label its share",
            "tokenizer": {"kind": tokenizer.kind, "vocab_size": tokenizer.vocab_size},
            "labels": names,
            "counts": dict(sorted(Counter(labels).items())),
            "in_training": {"pieces": "texts", **in_training},
            "parts": parts,
        }
        write_json(work / FACTS, facts)
        install(work, folder, _file_names(rows), set(_file_names(PARTS)) - set(_file_names(rows)))
    return open_labelled(folder)


def open_labelled(folder: Path) -> LabelledCorpus:
    """Map the corpus in `folder`. Raises UserError when there is none, or it is damaged."""
    facts = read_facts(folder / FACTS, FORMAT, ("examples", "tokens", "bytes"))
    with opening(folder / FACTS):
        check_kind("labels", facts["labels"], tuple[str, ...])
        for name in ("text", "label"):
            check_kind(name, facts["columns"][name], str)
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    parts = {}
    for part in PARTS:
        if part not in facts["parts"]:
            continue
        path = folder / f"{part}.labels.npy"
        labels = load_array(path, "i8")
        with opening(path):
            check_below("a label", labels, len(facts["labels"]))
        stream = TokenStream.load(folder / part)
        stream.check_ids(folder / part, tokenizer.vocab_size, tokenizer.end)
        parts[part] = LabelledStream(stream, labels)
        if not len(labels) == stream.n_documents == facts["parts"][part]["examples"]:
            raise damaged(folder, "its files do not belong together; prepare the data again")
    if set(parts) != set(facts["parts"]) or "train" not in parts:
        raise damaged(folder, "its files do not belong together; prepare the data again")
    return LabelledCorpus(folder, tokenizer, parts, facts)


def _stratified(labels: np.ndarray, shares: dict[str, float]) -> dict[str, np.ndarray]:
    """The rows of each part that has a share, in order, of every label about its share of them."""
    rng = np.random.default_rng(SEED)
    total = sum(shares.values())
    ends = np.cumsum(list(shares.values())) / total
    part_of = np.empty(len(labels), np.int64)
    for label in range(int(labels.max()) + 1):
        rows = rng.permutation(np.flatnonzero(labels == label))
        # Row i of n stands at (i + 1/2) / n; a label met once falls to train, which has the largest share.
        part_of[rows] = np.searchsorted(ends, (np.arange(len(rows)) + 0.5) / len(rows), side="right")
    found = {part: np.flatnonzero(part_of == i) for i, part in enumerate(shares)}
    return {part: rows for part, rows in found.items() if len(rows)}


def _file_names(parts: Any) -> list[str]:
    """The files, the one that makes them a corpus last."""
    suffixes = (".npy", ".documents.npy", ".labels.npy")
    return ["tokenizer.json", *(part + suffix for part in parts for suffix in suffixes), FACTS]
