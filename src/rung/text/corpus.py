"""A tokenised corpus: one folder with the ids of every part, the tokeniser and the facts.

    corpus.json              where the text came from, how it was split, per part: documents, tokens, bytes
    tokenizer.json           trained on the training part alone
    train.npy, train.documents.npy, and so for validation and test: the streams of `rung.text.stream`

Text goes through a spool on disk and ids are written block by block, so that neither has to fit into memory.
corpus.json is written last: a folder without it holds no corpus.

Bytes are those of the documents' UTF-8 text. What lay between documents (line ends, blank lines) is neither
kept nor counted; the document mark stands for it.
"""

from __future__ import annotations

import mmap
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rung.errors import UserError
from rung.files import cannot_write, read_json, write_json
from rung.opening import check_count, check_kind, damaged, opening
from rung.text.mixture import components_of
from rung.text.npy_rows import NpyRows
from rung.text.overlap import MOST_BYTES, share_of_hashes, shares_of_lines
from rung.text.several import check_sources, described, divided, looks_dated, of_each
from rung.text.sources import open_source
from rung.text.splits import MANY_DOCUMENTS, PARTS, shares_of
from rung.text.spool import BLOCK_BYTES, SpooledText, spooled
from rung.text.stream import TokenStream
from rung.text.tokenizers import (
    NotInVocabularyError,
    Tokenizer,
    check_vocabulary,
    load_tokenizer,
    train_tokenizer,
)
from rung.text.whitespace import count_words

FORMAT = 1


@dataclass(frozen=True)
class Corpus:
    """What `prepare` wrote. The streams, by part, are mapped from disk."""

    folder: Path
    tokenizer: Tokenizer
    streams: dict[str, TokenStream]
    facts: dict[str, Any]
    _checked: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    @property
    def splits(self) -> tuple[str, ...]:
        """The parts there are."""
        return tuple(self.facts["parts"])

    @property
    def train(self) -> TokenStream:
        return self.stream("train")

    def stream(self, part: str) -> TokenStream:
        """The stream of `part`: train, validation or test. Raises UserError when there is none, or it is damaged.

        The first time it is asked for, all its ids are looked at; other parts are left alone.
        """
        if part not in self.streams:
            there = ", ".join(self.streams)
            raise UserError(
                f"the corpus in {self.folder} has no part {part!r} (it has: {there}); measure one of those with "
                "--split, or name other text"
            )
        if part not in self._checked:
            self.streams[part].check_ids(self.folder / part, self.tokenizer.vocab_size, self.tokenizer.end)
            self._checked.add(part)
        return self.streams[part]

    def text(self, part: str) -> Iterator[str]:
        """The documents of `part`, as they were."""
        stream = self.stream(part)
        for index in range(stream.n_documents):
            yield self.tokenizer.decode(stream.document(index))

    def borders(self, part: str) -> list[int] | None:
        """Which documents of `part` are of which of several texts, (S + 1,); None where they are of one, or `part` was
        given by itself."""
        counts = [one["parts"].get(part) for one in self.facts.get("sources", [])]
        if not counts or None in counts:
            return None
        return [0, *np.cumsum([one["documents"] for one in counts]).tolist()]

    @property
    def shares(self) -> list[float] | None:
        """What share of the training tokens is to be of each of several texts; None where nobody said."""
        found = [one["share"] for one in self.facts.get("sources", [])]
        return found if found and None not in found else None

    def n_bytes(self, part: str) -> int:
        """How many UTF-8 bytes the documents of `part` have together."""
        self.stream(part)
        return self.facts["parts"][part]["bytes"]

    def link(self, folder: Path) -> Corpus:
        """The same corpus in another folder, by hard links (copies where links can't be made)."""
        if folder.exists() and folder.samefile(self.folder):
            return self
        with workshop(folder) as work:
            link_files(self.folder, work, _file_names(self.facts["parts"]))
            _install(work, folder, self.facts["parts"])
        return open_corpus(folder)


def prepare(
    data: str | Path,
    folder: Path,
    *,
    tokenizer: str | Tokenizer = "char",
    vocab_size: int | None = None,
    vocabulary: str = "open",
    unknown: bool = False,
    min_count: int | None = None,
    split: str | None = None,
    split_by: str = "chance",
    documents: str = "auto",
    field: str | None = None,
    sha256: str | None = None,
    validation: str | Path | None = None,
    test: str | Path | None = None,
    like: str | None = None,
) -> Corpus:
    """Read `data`, split it, train the tokeniser on the training part, write the corpus into `folder`.

    Args:
        data: as in `open_source`, or several such texts, as `rung.text.mixture` has them. Each is split by itself.
        documents, field, sha256, like: as in `open_source`.
        folder: made if it isn't there; a corpus that is there is replaced once the new one is complete.
        tokenizer: a kind, trained on the training part alone, or a trained tokeniser, used as it is.
        vocab_size, vocabulary, unknown, min_count: as in `train_tokenizer`. A document of a closed vocabulary of words
            is a line, unless `documents` says otherwise.
        split: the shares, as in `parse_split`; None as in `shares_of`.
        split_by: chance or time, as in `divide`.
        validation, test: held-out text given explicitly.

    Raises UserError for bad input and a folder that can't be written to.
    """
    shares = shares_of(split, validation=validation is not None, test=test is not None)
    if isinstance(tokenizer, Tokenizer):
        if vocab_size is not None:
            raise UserError(f"--vocab-size {vocab_size} does not fit: the tokeniser is trained already")
        if vocabulary != "open":
            raise UserError(f"--vocabulary {vocabulary} does not fit: the tokeniser is trained already")
    else:  # refused now, not after hours of reading
        check_vocabulary(tokenizer, vocabulary, unknown=unknown, min_count=min_count)
    by_words = (
        tokenizer.unit == "word"
        if isinstance(tokenizer, Tokenizer)
        else (tokenizer, vocabulary) == ("word", "closed")
    )
    if by_words and documents == "auto":
        documents = "lines"
    components = components_of(data)
    if sha256 is not None and len(components) > 1:
        raise UserError(f"--sha256 does not fit {data}: it goes with one file or one https:// address")
    sources = [
        open_source(
            one.data,
            documents=documents,
            field=field,
            sha256=sha256,
            like=like,
            rows_only=len(components) > 1,
        )
        for one in components
    ]
    like = next((source.plain_mode for source in sources if source.plain_mode is not None), None)
    given = {
        part: open_source(spec, documents=documents, field=field, like=like, rows_only=True)
        for part, spec in (("validation", validation), ("test", test))
        if spec is not None
    }
    with workshop(folder) as work:
        with ExitStack() as stack:
            spool = stack.enter_context(spooled(work / "data.spool", sources))
            ranges, rule, from_each = divided(spool, components, shares, split_by)
            dated = split_by != "time" and "at random" in rule and looks_dated(spool)
            texts = {part: SpooledText.of(spool, ranges[part]) for part in ranges}
            for part, held_out in given.items():
                spool = stack.enter_context(spooled(work / f"{part}.spool", [held_out]))
                texts[part] = SpooledText.of(spool, np.stack([spool.offsets[:-1], spool.offsets[1:]], axis=1))
            in_training = _in_training(texts)
            if isinstance(tokenizer, str):
                tokenizer = train_tokenizer(
                    tokenizer,
                    texts["train"],
                    vocab_size,
                    vocabulary=vocabulary,
                    unknown=unknown,
                    min_count=min_count,
                )
            tokenizer.save(work / "tokenizer.json")
            parts = {part: _write(texts[part], tokenizer, work, part) for part in PARTS if part in texts}
        several = {"sources": of_each(work, sources, components, from_each)} if len(sources) > 1 else {}
        facts = {
            "format": FORMAT,
            "source": described(data, sources),
            **several,
            **({"dated": True} if dated else {}),
            "given": {part: held_out.describe() for part, held_out in given.items()},
            "split": str(shares),
            "split_rule": rule,
            "tokenizer": {"kind": tokenizer.kind, "vocab_size": tokenizer.vocab_size},
            "in_training": in_training,
            "parts": parts,
        }
        write_json(work / "corpus.json", facts)
        _install(work, folder, parts)
    return open_corpus(folder)


def open_corpus(folder: Path) -> Corpus:
    """Map the corpus in `folder`. Raises UserError when there is none, or it is damaged."""
    if not (folder / "corpus.json").exists():
        raise UserError(f"{folder} holds no corpus, or one that was never finished: corpus.json is missing")
    facts = read_facts(folder / "corpus.json", FORMAT, ("documents", "tokens", "bytes"))
    promised = {part: (counts["documents"], counts["tokens"]) for part, counts in facts["parts"].items()}
    vocab_size = facts["tokenizer"]["vocab_size"]
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    streams = {part: TokenStream.load(folder / part) for part in PARTS if part in promised}
    check_sources(folder, facts, streams)
    found = {part: (stream.n_documents, stream.n_tokens) for part, stream in streams.items()}
    if (found, tokenizer.vocab_size) != (promised, vocab_size) or "train" not in found:
        raise damaged(folder, "its files do not belong together; prepare the corpus again")
    return Corpus(folder, tokenizer, streams, facts)


def read_facts(path: Path, format: int, counts: Sequence[str]) -> dict[str, Any]:
    """What the JSON beside a corpus says of it, `counts` of every part. Raises UserError when it is damaged."""
    facts = read_json(path)
    if not isinstance(facts, dict) or facts.get("format") != format:
        raise UserError(f"{path} is not of this version of Rung (format {format})")
    with opening(path):
        for name in ("parts", "tokenizer", "source", "given"):
            check_kind(name, facts[name], dict)
        for name in ("split", "split_rule"):
            check_kind(name, facts[name], str)
        for part, counted in facts["parts"].items():
            check_kind(part, counted, dict)
            for name in counts:
                check_count(name, counted[name])
        check_count("vocab_size", facts["tokenizer"]["vocab_size"], 1)
        for name, share in facts.get("in_training", {}).items():
            check_kind(f"in_training of {name}", share, str if name == "pieces" else float)
    return facts


@contextmanager
def workshop(folder: Path) -> Iterator[Path]:
    """A fresh folder inside `folder`, gone afterwards. What a killed process left is cleared away."""
    work = folder / ".corpus.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if work.exists():
            shutil.rmtree(work)
        work.mkdir()
        yield work
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def link_files(folder: Path, place: Path, names: Iterable[str]) -> None:
    """Hard links, in `place`, to files of `folder`; copies where links can't be made."""
    for name in names:
        try:
            os.link(folder / name, place / name)
        except OSError:
            shutil.copyfile(folder / name, place / name)


def _file_names(parts: Iterable[str]) -> list[str]:
    """The corpus's files; corpus.json, which makes it one, last."""
    return [
        "tokenizer.json",
        *(part + suffix for part in parts for suffix in (".npy", ".documents.npy")),
        "corpus.json",
    ]


def _install(work: Path, folder: Path, parts: Iterable[str]) -> None:
    install(work, folder, _file_names(parts), set(_file_names(PARTS)) - set(_file_names(parts)))


def install(work: Path, folder: Path, names: Sequence[str], others: Iterable[str] = ()) -> None:
    """Move complete files from `work` to `folder`, the one that makes them valid last, where `others` are removed.

    If this is cut short, the last one is not there.
    """
    for name in (names[-1], *others):
        (folder / name).unlink(missing_ok=True)
    for name in names:
        (work / name).replace(folder / name)


def _in_training(texts: dict[str, SpooledText]) -> dict[str, Any]:
    """Of each held-out part the share that stands in the training part, and by which pieces."""
    train, held_out = texts["train"], {part: text for part, text in texts.items() if part != "train"}
    if len(train.ranges) >= MANY_DOCUMENTS:
        shares = {
            part: share_of_hashes(text.hashes, text.ranges[:, 1] - text.ranges[:, 0], train.hashes)
            for part, text in held_out.items()
        }
        return {"pieces": "documents", **shares}
    every = {part: 1 + text.n_bytes // MOST_BYTES for part, text in held_out.items()}
    lines = {part: (found[:: every[part]] for found in text.lines()) for part, text in held_out.items()}
    return {"pieces": "lines", **(shares_of_lines(lines, train.lines()) if lines else {})}


def _write(text: SpooledText, tokenizer: Tokenizer, folder: Path, part: str) -> dict[str, int]:
    """Write the stream of one part, as `TokenStream.save` does but block by block; count it."""
    dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
    with (
        NpyRows(folder / f"{part}.npy", dtype) as ids,
        NpyRows(folder / f"{part}.documents.npy", np.int64) as starts,
    ):
        ids.append(np.array([tokenizer.end]))
        starts.append(np.array([1]))
        for block in text.blocks():
            try:
                for tokens in _encoded(text.data, block, tokenizer):
                    starts.append(ids.n + 1 + np.flatnonzero(tokens == tokenizer.end))
                    ids.append(tokens)
            except NotInVocabularyError as error:
                raise UserError(f"{part} document {starts.n + error.text}: {error}") from None
    counts = {"documents": starts.n - 1, "tokens": ids.n - 1, "bytes": text.n_bytes}
    if tokenizer.kind in ("char", "byte"):
        return counts
    ranges = (pair for block in text.blocks() for pair in block.tolist())
    return {**counts, "words": sum(count_words(text.data[begin:end]) for begin, end in ranges)}


def _encoded(data: mmap.mmap, block: np.ndarray, tokenizer: Tokenizer) -> Iterator[np.ndarray]:
    """The ids of the documents of a block, the mark after each, in one or more pieces."""
    ranges = block.tolist()
    if len(ranges) > 1 or tokenizer.kind not in ("char", "byte"):
        texts = [data[begin:end].decode("utf-8") for begin, end in ranges]
        yield tokenizer.encode_many(texts).ids[1:]
        return
    # Characters and bytes are encoded one by one, so a long document can be cut between any two.
    begin, last = ranges[0]
    while begin < last:
        end = min(begin + BLOCK_BYTES, last)
        while end < last and data[end] & 0xC0 == 0x80:
            end -= 1
        yield tokenizer.encode(data[begin:end].decode("utf-8"))
        begin = end
    yield np.array([tokenizer.end])
