"""Sentences of words with a tag each: split, tokenised, kept in one folder.

    tagged.json                       where they came from, how they were split, the tags, per part: how many
    tokenizer.json                    how words are spelled: by bytes, or in the pieces of a network read before
    train.npy, train.documents.npy    the sentences (`rung.text.stream`), and so for validation and test
    train.tags.npy                    the number of each word's tag, word after word

A document is a sentence; between its words stands a delimiter, an id of its own, the one after the tokeniser's. So
words are as they were given, whatever is in them, and whoever reads knows where they end.

Documents, where the files mark some, are never torn by a split. tagged.json is written last: a folder without it holds
no such corpus.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rung.errors import UserError
from rung.files import atomic_path, write_json
from rung.opening import check_below, check_kind, damaged, opening
from rung.text.corpus import install, link_files, read_facts, workshop
from rung.text.options import TagOptions
from rung.text.splits import PARTS, Split, dealt_groups, shares_of
from rung.text.stream import TokenStream, load_array
from rung.text.tagged_formats import Sentences, TagColumns, read_sentences
from rung.text.tokenizers import Tokenizer, load_tokenizer, train_tokenizer, utf8

FORMAT = 1
FACTS = "tagged.json"
BYTES = "byte"


class TaggedStream(NamedTuple):
    """Sentences and the tag of each word.

    stream: the sentences, S of them, their words apart by the delimiter.
    tags: (W,) int64, word after word.
    """

    stream: TokenStream
    tags: np.ndarray


class TaggedExamples(NamedTuple):
    """What a tagger that counts is made from: to learn from, and to choose by (None where there is none)."""

    train: TaggedStream
    validation: TaggedStream | None = None


@dataclass(frozen=True)
class TaggedCorpus:
    """What `prepare_tagged` wrote. Arrays are mapped from disk."""

    folder: Path
    tokenizer: Tokenizer
    parts: dict[str, TaggedStream]
    facts: dict[str, Any]

    @property
    def tags(self) -> list[str]:
        """What the tags are called, in order of their numbers."""
        return self.facts["tags"]

    @property
    def delimiter(self) -> int:
        """The id between two words."""
        return self.tokenizer.vocab_size

    @property
    def splits(self) -> tuple[str, ...]:
        """The parts there are."""
        return tuple(self.parts)

    @property
    def train(self) -> TokenStream:
        return self.parts["train"].stream

    def tagged(self, part: str) -> TaggedStream:
        """Sentences and tags of `part`. Raises UserError when there is none."""
        if part not in self.parts:
            raise UserError(
                f"the data in {self.folder} have no part {part!r} (they have: {', '.join(self.parts)}); measure "
                "one of those with --split, or name other data"
            )
        return self.parts[part]

    def stream(self, part: str) -> TokenStream:
        """The sentences of `part`. Raises UserError when there is none."""
        return self.tagged(part).stream

    def examples(self) -> TaggedExamples:
        """What a tagger that counts is made from."""
        return TaggedExamples(self.parts["train"], self.parts.get("validation"))

    def link(self, folder: Path) -> TaggedCorpus:
        """The same corpus in another folder, by hard links (copies where links can't be made)."""
        if folder.exists() and folder.samefile(self.folder):
            return self
        names = _file_names(self.splits)
        with workshop(folder) as work:
            link_files(self.folder, work, names)
            install(work, folder, names)
        return open_tagged(folder)


def encode_sentences(tokenizer: Tokenizer, sentences: Sequence[Sequence[str]]) -> TokenStream:
    """Each sentence a document, its words' tokens apart by the delimiter."""
    words = tokenizer.encode_many([word for sentence in sentences for word in sentence])
    if tokenizer.unknown is not None and (np.diff(words.starts) == 1).any():
        # A word of nothing that the tokeniser writes (BERT's drops control characters) is a word all the same.
        unknown = np.array([tokenizer.unknown])
        pieces = (words.document(i)[:-1] for i in range(words.n_documents))
        words = TokenStream.of((own if len(own) else unknown for own in pieces), tokenizer.end)
    ids = np.array(words.ids, np.int64)
    last = np.cumsum([len(sentence) for sentence in sentences], dtype=np.int64)
    inner = np.ones(words.n_documents, bool)
    inner[last[np.diff(np.concatenate([[0], last])) > 0] - 1] = False
    ids[np.asarray(words.starts)[1:][inner] - 1] = tokenizer.vocab_size
    starts = np.asarray(words.starts)[np.concatenate([[0], last])]
    if all(map(len, sentences)):
        return TokenStream(ids, starts)
    lengths = np.where([len(sentence) > 0 for sentence in sentences], np.diff(starts) - 1, 0)
    return TokenStream.pack(ids[1:][ids[1:] != tokenizer.end], lengths, tokenizer.end)


def word_counts(stream: TokenStream, delimiter: int) -> np.ndarray:
    """How many words each sentence has, (S,); none where it is empty."""
    ids = np.asarray(stream.ids)
    borders = np.concatenate([[0], np.cumsum(ids == delimiter)])
    starts = np.asarray(stream.starts)
    inside = borders[starts[1:]] - borders[starts[:-1]]
    return np.where(np.diff(starts) > 1, inside + 1, 0)


def words_of(stream: TokenStream, delimiter: int) -> list[bytes]:
    """The words of all sentences, one after another, of a tokeniser that spells by bytes."""
    ids = np.asarray(stream.ids)
    end = int(ids[0])
    marks = np.flatnonzero((ids == delimiter) | (ids == end))
    data = np.where(ids < 256, ids, 0).astype(np.uint8).tobytes()
    pairs = zip(marks[:-1].tolist(), marks[1:].tolist(), strict=True)
    return [data[begin + 1 : stop] for begin, stop in pairs if stop > begin + 1]


def decode_sentences(tokenizer: Tokenizer, stream: TokenStream) -> list[list[str]]:
    """The words of each sentence: `encode_sentences` undone."""
    found = []
    for document in range(stream.n_documents):
        ids = np.asarray(stream.document(document)[:-1])
        cuts = np.flatnonzero(ids == tokenizer.vocab_size)
        pieces = np.split(ids, cuts)
        words = [pieces[0], *(piece[1:] for piece in pieces[1:])] if len(ids) else []
        found.append([tokenizer.decode(word) for word in words])
    return found


def prepare_tagged(
    data: str | Path, folder: Path, options: TagOptions, tokenizer: Tokenizer | None = None
) -> TaggedCorpus:
    """Read sentences, split them, write everything into `folder`.

    Raises UserError for bad input, one tag only, and a folder that can't be written to.
    """
    columns = columns_of(options)
    shares = shares_of(options.split, validation=options.val is not None, test=options.test is not None)
    sentences = read_sentences(data, columns, options.sha256)
    names = sorted({tag for tags in sentences.tags for tag in tags})
    if len(names) < 2:
        raise UserError(f"{data}: every word has the tag {names[0]!r}; there is nothing to tell apart")
    rows, how = _dealt(sentences, shares)
    if "train" not in rows:
        raise UserError(
            f"{len(sentences.words):,} sentences are too few for --split {shares}: train would be empty; give more, "
            "another --split, or held-out sentences of their own with --val FILE and --test FILE"
        )
    parts = {
        part: ([sentences.words[row] for row in chosen], [sentences.tags[row] for row in chosen])
        for part, chosen in rows.items()
    }
    given = {}
    for part, spec in (("validation", options.val), ("test", options.test)):
        if spec is not None:
            held_out = read_sentences(spec, columns)
            given[part] = held_out.source.describe()
            parts[part] = held_out.words, held_out.tags
    # A tag that only held-out sentences have is one of the tags all the same: what it costs is measured.
    unseen = sorted({tag for _, tags in parts.values() for own in tags for tag in own} - set(names))
    facts = {
        "format": FORMAT,
        "source": {**sentences.source.describe(), "documents": "sentences", "sha256": sentences.sha256},
        "columns": {
            key: value
            for key, value in (
                ("words", columns.words),
                ("tags", columns.tags),
                ("group", columns.group),
                ("column", columns.column),
            )
            if value is not None
        },
        "given": given,
        "split": str(shares),
        "split_rule": how,
        "tags": [*names, *unseen],
        "counts": dict(sorted(Counter(tag for own in parts["train"][1] for tag in own).items())),
        "in_training": _in_training({part: words for part, (words, _) in parts.items()}),
    }
    return _write(folder, parts, facts, options, tokenizer)


def columns_of(options: TagOptions) -> TagColumns:
    return TagColumns(options.field, options.tags or "tags", options.group, options.column)


def retokenized(
    corpus: TaggedCorpus, folder: Path, options: TagOptions, tokenizer: Tokenizer | None = None
) -> TaggedCorpus:
    """The same sentences and split, spelled as `options` ask for, or as `tokenizer` does."""
    parts = {}
    for part, (stream, tags) in corpus.parts.items():
        words = decode_sentences(corpus.tokenizer, stream)
        names = iter([corpus.tags[tag] for tag in tags.tolist()])
        parts[part] = words, [[next(names) for _ in sentence] for sentence in words]
    facts = {key: value for key, value in corpus.facts.items() if key not in ("tokenizer", "parts")}
    return _write(folder, parts, facts, options, tokenizer)


def tag_numbers(tags: Sequence[Sequence[str]], names: Sequence[str], where: object) -> np.ndarray:
    """Which of `names` the tag of each word is, (W,) int64. Raises UserError for one that is none of them."""
    number = {name: i for i, name in enumerate(names)}
    flat = [tag for own in tags for tag in own]
    for tag in flat:
        if tag not in number:
            shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise UserError(f"{where}: the tag {tag!r} was not there in training (tags: {shown})")
    return np.array([number[tag] for tag in flat], np.int64)


def _dealt(sentences: Sentences, shares: Split) -> tuple[dict[str, np.ndarray], str]:
    """Which sentences are in which part, and the rule in words."""
    if sentences.documents is not None and len(set(sentences.documents)) > 1:
        number = {name: i for i, name in enumerate(dict.fromkeys(sentences.documents))}
        groups = np.array([number[document] for document in sentences.documents], np.int64)
        return dealt_groups(
            groups, shares
        ), f"{shares} by sentences, whole documents ({len(number):,}), drawn at random"
    alone = np.arange(len(sentences.words))
    return dealt_groups(alone, shares), f"{shares}, sentences drawn at random"


def _in_training(parts: Mapping[str, list[list[str]]]) -> dict[str, Any]:
    known = {tuple(words) for words in parts["train"]}
    shares = {
        part: round(sum(tuple(words) in known for words in held_out) / max(1, len(held_out)), 6)
        for part, held_out in parts.items()
        if part != "train"
    }
    return {"pieces": "sentences", **shares}


def _write(
    folder: Path,
    parts: Mapping[str, tuple[list[list[str]], list[list[str]]]],
    facts: Mapping[str, Any],
    options: TagOptions,
    tokenizer: Tokenizer | None,
) -> TaggedCorpus:
    """Spell the parts and write the corpus; `tokenizer` instead of the one that options name."""
    if tokenizer is None:
        distinct = sorted({word for sentence in parts["train"][0] for word in sentence})
        tokenizer = train_tokenizer(options.tokenizer or BYTES, distinct, options.vocab_size)
    counts: dict[str, dict[str, int]] = {}
    with workshop(folder) as work:
        tokenizer.save(work / "tokenizer.json")
        for part, (words, tags) in parts.items():
            stream = encode_sentences(tokenizer, words)
            stream.save(work / part)
            numbers = tag_numbers(tags, facts["tags"], part)
            with atomic_path(work / f"{part}.tags.npy") as temporary, temporary.open("wb") as file:
                np.save(file, numbers, allow_pickle=False)
            counts[part] = {
                "sentences": len(words),
                "words": len(numbers),
                "tokens": stream.n_tokens,
                "bytes": sum(len(utf8(word)) for sentence in words for word in sentence),
            }
        described = {"kind": tokenizer.kind, "vocab_size": tokenizer.vocab_size}
        in_order = {part: counts[part] for part in PARTS if part in counts}
        write_json(work / FACTS, {**facts, "tokenizer": described, "parts": in_order})
        install(work, folder, _file_names(parts), set(_file_names(PARTS)) - set(_file_names(parts)))
    return open_tagged(folder)


def open_tagged(folder: Path) -> TaggedCorpus:
    """Map the corpus in `folder`. Raises UserError when there is none, or it is damaged."""
    facts = read_facts(folder / FACTS, FORMAT, ("sentences", "words", "tokens", "bytes"))
    with opening(folder / FACTS):
        check_kind("tags", facts["tags"], tuple[str, ...])
        for name, column in facts["columns"].items():
            check_kind(name, column, str)
        TagColumns(**facts["columns"])
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    parts = {}
    for part in PARTS:
        if part not in facts["parts"]:
            continue
        path = folder / f"{part}.tags.npy"
        tags = load_array(path, "i8")
        with opening(path):
            check_below("a tag", tags, len(facts["tags"]))
        stream = TokenStream.load(folder / part)
        stream.check_ids(folder / part, tokenizer.vocab_size + 1, tokenizer.end)
        parts[part] = TaggedStream(stream, tags)
        if not (
            stream.n_documents == facts["parts"][part]["sentences"]
            and len(tags) == facts["parts"][part]["words"] == word_counts(stream, tokenizer.vocab_size).sum()
        ):
            raise damaged(folder, "its files do not belong together; prepare the data again")
    if set(parts) != set(facts["parts"]) or "train" not in parts:
        raise damaged(folder, "its files do not belong together; prepare the data again")
    return TaggedCorpus(folder, tokenizer, parts, facts)


def _file_names(parts: Any) -> list[str]:
    """The files, the one that makes them a corpus last."""
    suffixes = (".npy", ".documents.npy", ".tags.npy")
    return ["tokenizer.json", *(part + suffix for part in parts for suffix in suffixes), FACTS]
