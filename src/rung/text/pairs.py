"""Pairs of texts that belong together: split, tokenised, kept in one folder.

    pairs.json                          where they came from, how they were split, per part: how many
    tokenizer.json                      trained on the training part alone
    train.npy, train.documents.npy      the first texts (`rung.text.stream`), and so for validation and test
    train.second.npy, ...               the second ones, in the same order

pairs.json is written last: a folder without it holds no such corpus.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rung.errors import UserError
from rung.files import write_json
from rung.opening import damaged
from rung.text.corpus import install, link_files, read_facts, workshop
from rung.text.formats import reading
from rung.text.records import read_rows, whole_characters
from rung.text.sources import Source, open_source
from rung.text.splits import PARTS, Split, dealt_groups, shares_of, stratified
from rung.text.stream import TokenStream
from rung.text.tokenizers import Tokenizer, load_tokenizer, train_tokenizer, utf8

FORMAT = 1
FACTS = "pairs.json"


class Pairs(NamedTuple):
    """N pairs as they were read: the two texts of each, and where they are from."""

    texts: list[str]
    seconds: list[str]
    source: Source


@dataclass(frozen=True)
class PairCorpus:
    """What `prepare_pairs` wrote. Arrays are mapped from disk."""

    folder: Path
    tokenizer: Tokenizer
    parts: dict[str, tuple[TokenStream, TokenStream]]
    facts: dict[str, Any]

    @property
    def splits(self) -> tuple[str, ...]:
        """The parts there are."""
        return tuple(self.parts)

    @property
    def train(self) -> TokenStream:
        return self.stream("train")

    def pairs(self, part: str) -> tuple[TokenStream, TokenStream]:
        """The first and the second texts of `part`. Raises UserError when there is none."""
        if part not in self.parts:
            raise UserError(
                f"the data in {self.folder} have no part {part!r} (they have: {', '.join(self.parts)}); measure one of "
                "those with --split, or name other data"
            )
        return self.parts[part]

    def stream(self, part: str) -> TokenStream:
        """The first texts of `part`."""
        return self.pairs(part)[0]

    def link(self, folder: Path) -> PairCorpus:
        """The same corpus in another folder, by hard links (copies where links can't be made)."""
        if folder.exists() and folder.samefile(self.folder):
            return self
        names = _file_names(self.splits)
        with workshop(folder) as work:
            link_files(self.folder, work, names)
            install(work, folder, names)
        return open_pairs(folder)


def read_pairs(data: str | Path, field: str | None, second: str, sha256: str | None = None) -> Pairs:
    """The pairs of a table's rows. Raises UserError when there are none, or a text is missing."""
    source = open_source(data, sha256=sha256, labelled=True)
    texts, seconds = [], []
    columns = {"text": "text" if field is None else field, "second": second}
    for file in source.files:
        if file.format == "text":
            raise UserError(
                f"{file.name} is plain text; pairs need rows (.csv, .tsv, .json, .jsonl or .parquet)"
            )
        with reading(file):
            for number, row in enumerate(read_rows(file, columns), 1):
                if not isinstance(row["second"], str):
                    raise UserError(
                        f"{file.name}: record {number} has no text in {second!r}; give each both texts, or leave it out"
                    )
                texts.append(row["text"])
                seconds.append(whole_characters(row["second"]))
    if not texts:
        raise UserError(f"{data} holds no rows")
    return Pairs(texts, seconds, source)


def prepare_pairs(
    data: str | Path,
    folder: Path,
    *,
    field: str | None,
    second: str,
    split: str | None = None,
    validation: str | Path | None = None,
    test: str | Path | None = None,
    sha256: str | None = None,
    tokenizer: str | Tokenizer = "wordpiece",
    vocab_size: int | None = None,
    told: Mapping[str, Any],
) -> PairCorpus:
    """Read pairs, split them, train the tokeniser on the training part, write everything into `folder`.

    Args:
        field, second: the columns of the two texts.
        split: the shares, as in `parse_split`. Pairs are drawn at random.
        validation, test: held-out pairs given explicitly.
        tokenizer: a kind, or a trained one, used as it is.
        told: what else the facts are to hold.
        longest: training leaves pairs out that have more tokens on a side; how many that are is told.
        source_tokenizer: the kind, and the most ids, of one for the first texts alone; None = one for both.

    Raises UserError for bad input and a folder that can't be written to.
    """
    shares = shares_of(split, validation=validation is not None, test=test is not None)
    given = {
        part: read_pairs(spec, field, second)
        for part, spec in (("validation", validation), ("test", test))
        if spec is not None
    }
    told = {"second": second, **told}
    return keep_pairs(
        read_pairs(data, field, second, sha256), folder, shares, given, tokenizer, vocab_size, field, told
    )


def keep_pairs(
    found: Pairs,
    folder: Path,
    shares: Split,
    given: Mapping[str, Pairs],
    tokenizer: str | Tokenizer,
    vocab_size: int | None,
    field: str | None,
    told: Mapping[str, Any],
    groups: np.ndarray | None = None,
    source_tokenizer: tuple[str, int | None] | None = None,
    longest: int | None = None,
) -> PairCorpus:
    """Split pairs that were read, train the tokeniser on the training part, write everything into `folder`.

    Args:
        found: the pairs.
        given: held-out ones, by part.
        groups: (N,) int64, from 0 without gaps, which group each pair belongs to: none is torn. None = they are drawn.
        told: what else the facts are to hold.
        longest: training leaves pairs out that have more tokens on a side; how many that are is told.
        source_tokenizer: the kind, and the most ids, of one for the first texts alone; None = one for both.

    Raises UserError for too few pairs and a folder that can't be written to.
    """
    n = len(found.texts)
    rows = stratified(np.zeros(n, np.int64), shares) if groups is None else dealt_groups(groups, shares)
    if "train" not in rows:
        raise UserError(f"{n:,} pairs are too few for --split {shares}: train would be empty")
    how = (
        "pairs drawn at random" if groups is None else f"whole groups ({groups.max() + 1:,}), drawn at random"
    )
    parts = {
        part: ([found.texts[i] for i in chosen], [found.seconds[i] for i in chosen])
        for part, chosen in rows.items()
    } | {part: (held_out.texts, held_out.seconds) for part, held_out in given.items()}
    if isinstance(tokenizer, str) and source_tokenizer is None:
        tokenizer = train_tokenizer(tokenizer, [*parts["train"][0], *parts["train"][1]], vocab_size)
    elif isinstance(tokenizer, str) and source_tokenizer is not None:
        tokenizer = train_tokenizer(tokenizer, parts["train"][1], vocab_size)
        tokenizer.source = train_tokenizer(source_tokenizer[0], parts["train"][0], source_tokenizer[1])
    assert not isinstance(tokenizer, str)
    ways = tokenizer.reading, tokenizer
    digest = hashlib.sha256()
    for text in (text for pair in zip(found.texts, found.seconds, strict=True) for text in pair):
        digest.update(utf8(text) + b"\0")
    known = set(zip(*parts["train"], strict=True))
    counts: dict[str, dict[str, int]] = {}
    too_long = 0
    with workshop(folder) as work:
        tokenizer.save(work / "tokenizer.json")
        for part, texts in parts.items():
            streams = [way.encode_many(column) for way, column in zip(ways, texts, strict=True)]
            for stream, name in zip(streams, _streams(part), strict=True):
                stream.save(work / name)
            if part == "train" and longest is not None:
                lengths = np.maximum(*(np.diff(stream.starts) - 1 for stream in streams))
                too_long = int((lengths > longest).sum())
            counts[part] = {
                "examples": len(texts[0]),
                "tokens": sum(stream.n_tokens for stream in streams),
                "bytes": sum(len(utf8(text)) for column in texts for text in column),
            }
        facts = {
            "format": FORMAT,
            "source": {
                **found.source.describe(),
                "field": field,
                "documents": "rows",
                "sha256": digest.hexdigest(),
            },
            "given": {part: held_out.source.describe() for part, held_out in given.items()},
            "split": str(shares),
            "split_rule": f"{shares}, {how}",
            "tokenizer": {"kind": tokenizer.kind, "vocab_size": tokenizer.vocab_size},
            "in_training": {
                "pieces": "pairs",
                **{
                    part: round(sum(pair in known for pair in zip(*texts, strict=True)) / len(texts[0]), 6)
                    for part, texts in parts.items()
                    if part != "train"
                },
            },
            **told,
            **({} if longest is None else {"too_long": {"longest": longest, "train": too_long}}),
            "parts": {part: counts[part] for part in PARTS if part in counts},
        }
        write_json(work / FACTS, facts)
        install(work, folder, _file_names(parts), set(_file_names(PARTS)) - set(_file_names(parts)))
    return open_pairs(folder)


def open_pairs(folder: Path) -> PairCorpus:
    """Map the corpus in `folder`. Raises UserError when there is none, or it is damaged."""
    facts = read_facts(folder / FACTS, FORMAT, ("examples", "tokens", "bytes"))
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    parts = {}
    for part in PARTS:
        if part not in facts["parts"]:
            continue
        first, second = (TokenStream.load(folder / name) for name in _streams(part))
        ways = tokenizer.reading, tokenizer
        for stream, way, name in zip((first, second), ways, _streams(part), strict=True):
            stream.check_ids(folder / name, way.vocab_size, way.end)
        if not first.n_documents == second.n_documents == facts["parts"][part]["examples"]:
            raise damaged(folder, "its files do not belong together; prepare the data again")
        parts[part] = (first, second)
    if set(parts) != set(facts["parts"]) or "train" not in parts:
        raise damaged(folder, "its files do not belong together; prepare the data again")
    return PairCorpus(folder, tokenizer, parts, facts)


def _streams(part: str) -> tuple[str, str]:
    return part, f"{part}.second"


def _file_names(parts: Iterable[str]) -> list[str]:
    names = [name for part in parts for name in _streams(part)]
    return ["tokenizer.json", *(name + end for name in names for end in (".npy", ".documents.npy")), FACTS]
