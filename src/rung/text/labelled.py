"""Texts with a label each: split, tokenised, kept in one folder.

    labelled.json                     where they came from, how they were split, the labels, per part: how many
    tokenizer.json                    trained on the training part alone
    train.npy, train.documents.npy    the texts (`rung.text.stream`), and so for validation and test
    train.labels.npy                  the number of each text's label

Every part has its share of every label (a stratified split), and no group is torn. Of an example of two texts a
document is the first, a delimiter, the second; the delimiter is an id of its own, the one after the tokeniser's.

labelled.json is written last: a folder without it holds no such corpus.
"""

from __future__ import annotations

import hashlib
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
from rung.text.examples import Columns, Examples, in_order, read_examples
from rung.text.options import CLASS_WEIGHTS, LabelOptions
from rung.text.splits import PARTS, shares_of, stratified, stratified_groups
from rung.text.stream import LabelledExamples, LabelledStream, TokenStream, load_array
from rung.text.tokenizers import Tokenizer, load_tokenizer, train_tokenizer, utf8
from rung.text.whitespace import count_words

FORMAT = 1
FACTS = "labelled.json"
WORDS_A_TEXT = 2
"""From so many words a text on, on average, words are what it is read by."""


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
    def columns(self) -> Columns:
        """Which columns the examples were read from."""
        return Columns(**self.facts["columns"])

    @property
    def delimiter(self) -> int | None:
        """The id between two texts of one example; None where an example is one text."""
        return None if self.columns.second is None else self.tokenizer.vocab_size

    def examples(self) -> LabelledExamples:
        """What a classifier that counts is made from."""
        return LabelledExamples(self.parts["train"], self.parts.get("validation"), self.weights())

    def weights(self) -> np.ndarray | None:
        """How much an example of each label counts in training, (L,) float64; None = each once.

        Balanced, as scikit-learn has it: N / (L x how many have the label), so that the mean over examples is 1.
        """
        if self.facts.get("class_weights", "none") == "none":
            return None
        counts = np.bincount(self.parts["train"].labels, minlength=len(self.labels))
        return counts.sum() / (len(counts) * np.maximum(counts, 1.0))

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


def encode_examples(tokenizer: Tokenizer, texts: Sequence[str], seconds: Sequence[str] | None) -> TokenStream:
    """The documents of examples: their texts, or of each pair the first, the delimiter, the second."""
    first = tokenizer.encode_many(list(texts))
    if seconds is None:
        return first
    second = tokenizer.encode_many(list(seconds))
    lengths = np.stack(
        [np.diff(first.starts) - 1, np.ones(len(texts), np.int64), np.diff(second.starts) - 1], axis=1
    )
    place = np.repeat(np.tile([0, 1, 2], len(texts)), lengths.ravel())
    ids = np.full(len(place), tokenizer.vocab_size, np.int64)
    for number, stream in ((0, first), (2, second)):
        inside = np.ones(len(stream.ids), bool)
        inside[stream.starts - 1] = False
        ids[place == number] = stream.ids[inside]
    return TokenStream.pack(ids, lengths.sum(axis=1), tokenizer.end)


def decode_examples(
    tokenizer: Tokenizer, stream: TokenStream, delimiter: int | None
) -> tuple[list[str], list[str] | None]:
    """The texts of examples, and the second ones where there are some: `encode_examples` undone.

    A document without a delimiter, which no example makes, is a first text, its second one empty.
    """
    documents = [np.asarray(stream.document(i)[:-1]) for i in range(stream.n_documents)]
    if delimiter is None:
        return [tokenizer.decode(document) for document in documents], None
    cuts = [int(np.append(np.flatnonzero(document == delimiter), len(document))[0]) for document in documents]
    return (
        [tokenizer.decode(document[:cut]) for document, cut in zip(documents, cuts, strict=True)],
        [tokenizer.decode(document[cut + 1 :]) for document, cut in zip(documents, cuts, strict=True)],
    )


def prepare_labelled(
    data: str | Path, folder: Path, options: LabelOptions, tokenizer: Tokenizer | None = None
) -> LabelledCorpus:
    """Read examples, split them, train the tokeniser on the training part, write everything into `folder`.

    Raises UserError for bad input, one label only, and a folder that can't be written to.
    """
    columns = Columns(options.field, options.label or "label", options.second, options.group)
    shares = shares_of(options.split, validation=options.val is not None, test=options.test is not None)
    examples = read_examples(data, columns, options.sha256)
    names = in_order(set(examples.labels))
    if len(names) < 2:
        raise UserError(f"{data}: every text has the label {names[0]!r}; there is nothing to tell apart")
    number = {name: i for i, name in enumerate(names)}
    numbers = np.array([number[label] for label in examples.labels], np.int64)
    if examples.groups is None:
        rows = stratified(numbers, shares)
        how = f"{shares}, examples drawn at random, of every label its share"
    else:
        known = {name: i for i, name in enumerate(dict.fromkeys(examples.groups))}
        rows = stratified_groups(
            numbers, np.array([known[group] for group in examples.groups], np.int64), shares
        )
        how = f"{shares}, whole groups of {columns.group!r} ({len(known):,}), of every label about its share"
    if "train" not in rows:
        unit = "texts" if examples.groups is None else "groups"
        n = len(numbers) if examples.groups is None else len(set(examples.groups))
        raise UserError(
            f"{n:,} {unit} are too few for --split {shares}: train would be empty; give more, another "
            "--split, or held-out examples of their own with --val FILE and --test FILE"
        )
    parts = {part: _Part.of(examples, numbers, chosen) for part, chosen in rows.items()}
    given = {}
    for part, spec in (("validation", options.val), ("test", options.test)):
        if spec is not None:
            held_out = read_examples(spec, columns)
            given[part] = held_out.source.describe()
            parts[part] = _Part.of(held_out, label_numbers(held_out.labels, names, spec), None)
    digest = hashlib.sha256()
    for content, label in zip(examples.contents(), examples.labels, strict=True):
        texts = (content,) if isinstance(content, str) else content
        digest.update(b"".join(utf8(text) + b"\0" for text in (*texts, label)))
    facts = {
        "format": FORMAT,
        "source": {
            **examples.source.describe(),
            "field": options.field,
            "documents": "rows",
            "sha256": digest.hexdigest(),
        },
        "columns": columns.chosen(),
        "given": given,
        "split": str(shares),
        "split_rule": how,
        "labels": names,
        "counts": dict(sorted(Counter(examples.labels).items())),
        "empty": sum(not "".join(content).strip() for content in examples.contents()),
        "in_training": _in_training(parts),
        **({} if options.class_weights == "none" else {"class_weights": options.class_weights}),
    }
    return _write(folder, parts, facts, options, tokenizer)


def retokenized(
    corpus: LabelledCorpus, folder: Path, options: LabelOptions, tokenizer: Tokenizer | None = None
) -> LabelledCorpus:
    """The same examples and split in the tokens that `options` ask for, or in those of `tokenizer`."""
    parts = {}
    for part, (stream, labels) in corpus.parts.items():
        texts, seconds = decode_examples(corpus.tokenizer, stream, corpus.delimiter)
        parts[part] = _Part(texts, seconds, np.asarray(labels))
    facts = {key: value for key, value in corpus.facts.items() if key not in ("tokenizer", "parts")}
    return _write(folder, parts, facts, options, tokenizer)


def label_numbers(labels: Sequence[str], names: Sequence[str], where: object) -> np.ndarray:
    """Which of `names` each label is, (N,) int64. Raises UserError for one that is none of them."""
    number = {label: i for i, label in enumerate(names)}
    for label in labels:
        if label not in number:
            shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise UserError(f"{where}: the label {label!r} was not there in training (labels: {shown})")
    return np.array([number[label] for label in labels], np.int64)


class _Part(NamedTuple):
    """The examples of one part: texts, the second ones, the numbers of the labels."""

    texts: list[str]
    seconds: list[str] | None
    labels: np.ndarray

    @staticmethod
    def of(examples: Examples, numbers: np.ndarray, rows: np.ndarray | None) -> _Part:
        """Some `rows` of what was read; None = all."""
        if rows is None:
            return _Part(examples.texts, examples.seconds, numbers)
        texts = [examples.texts[row] for row in rows]
        return _Part(texts, examples.seconds and [examples.seconds[row] for row in rows], numbers[rows])

    @property
    def contents(self) -> list[Any]:
        return self.texts if self.seconds is None else list(zip(self.texts, self.seconds, strict=True))


def _in_training(parts: Mapping[str, _Part]) -> dict[str, Any]:
    """Of each held-out part the share of examples whose text is one of the training part too."""
    known = set(parts["train"].contents)
    shares = {
        part: round(sum(content in known for content in held_out.contents) / len(held_out.texts), 6)
        for part, held_out in parts.items()
        if part != "train"
    }
    return {"pieces": "texts", **shares}


def _write(
    folder: Path,
    parts: Mapping[str, _Part],
    facts: Mapping[str, Any],
    options: LabelOptions,
    tokenizer: Tokenizer | None,
) -> LabelledCorpus:
    """Tokenise the parts and write the corpus; `tokenizer` instead of training one."""
    if tokenizer is None:
        texts = [*parts["train"].texts, *(parts["train"].seconds or [])]
        kind = _fitting_tokenizer(texts) if options.tokenizer is None else options.tokenizer
        tokenizer = train_tokenizer(kind, texts, options.vocab_size)
    counts: dict[str, dict[str, int]] = {}
    with workshop(folder) as work:
        tokenizer.save(work / "tokenizer.json")
        for part, (texts, seconds, labels) in parts.items():
            stream = encode_examples(tokenizer, texts, seconds)
            stream.save(work / part)
            with atomic_path(work / f"{part}.labels.npy") as temporary, temporary.open("wb") as file:
                np.save(file, labels, allow_pickle=False)
            counts[part] = {
                "examples": len(texts),
                "tokens": stream.n_tokens,
                "bytes": sum(len(utf8(text)) for text in (*texts, *(seconds or ()))),
            }
        described = {"kind": tokenizer.kind, "vocab_size": tokenizer.vocab_size}
        in_order = {part: counts[part] for part in PARTS if part in counts}
        write_json(work / FACTS, {**facts, "tokenizer": described, "parts": in_order})
        install(work, folder, _file_names(parts), set(_file_names(PARTS)) - set(_file_names(parts)))
    return open_labelled(folder)


def _fitting_tokenizer(texts: Sequence[str]) -> str:
    """Letters where a text is hardly more than a word, words where it is."""
    n_words = sum(count_words(utf8(text)) for text in texts)
    return "word" if n_words >= WORDS_A_TEXT * len(texts) else "char"


def open_labelled(folder: Path) -> LabelledCorpus:
    """Map the corpus in `folder`. Raises UserError when there is none, or it is damaged."""
    facts = read_facts(folder / FACTS, FORMAT, ("examples", "tokens", "bytes"))
    with opening(folder / FACTS):
        check_kind("labels", facts["labels"], tuple[str, ...])
        for name in ("text", "label", *facts["columns"]):
            check_kind(name, facts["columns"][name], str)
        Columns(**facts["columns"])
        if facts.get("class_weights", "none") not in CLASS_WEIGHTS:
            raise ValueError(f"class_weights {facts['class_weights']!r}")
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    n_ids = tokenizer.vocab_size + ("second" in facts["columns"])
    parts = {}
    for part in PARTS:
        if part not in facts["parts"]:
            continue
        path = folder / f"{part}.labels.npy"
        labels = load_array(path, "i8")
        with opening(path):
            check_below("a label", labels, len(facts["labels"]))
        stream = TokenStream.load(folder / part)
        stream.check_ids(folder / part, n_ids, tokenizer.end)
        parts[part] = LabelledStream(stream, labels)
        if not len(labels) == stream.n_documents == facts["parts"][part]["examples"]:
            raise damaged(folder, "its files do not belong together; prepare the data again")
    if set(parts) != set(facts["parts"]) or "train" not in parts:
        raise damaged(folder, "its files do not belong together; prepare the data again")
    return LabelledCorpus(folder, tokenizer, parts, facts)


def _file_names(parts: Any) -> list[str]:
    """The files, the one that makes them a corpus last."""
    suffixes = (".npy", ".documents.npy", ".labels.npy")
    return ["tokenizer.json", *(part + suffix for part in parts for suffix in suffixes), FACTS]
