"""Tagging: P(tags | words), one tag a word.

    bits per word = total nats / (ln 2 x words)

over the whole split: what the right tags of a sentence cost together, by the model's probability of all of them. Beside
it accuracy, the accuracy of words that the training part does not have, and, where tags mark spans (B-, I-, O), the F1
of spans as seqeval counts it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np

from rung.batches import Batch, Batches
from rung.errors import UserError
from rung.measure import Measure
from rung.models.tagger import Tagger
from rung.process_group import SINGLE_PROCESS, ProcessGroup
from rung.tasks.base import Column, Measured, Pieces, Reader, Task
from rung.text.facts import notes
from rung.text.options import ReadOptions, TagOptions
from rung.text.spans import marks_spans, span_counts
from rung.text.tagged import (
    TaggedCorpus,
    TaggedExamples,
    TaggedStream,
    encode_sentences,
    open_tagged,
    prepare_tagged,
    retokenized,
    tag_numbers,
    word_counts,
)
from rung.text.tagged_formats import TagColumns, read_sentences
from rung.text.tokenizers import Tokenizer


class Tagging(Task[TaggedCorpus]):
    """One tag for each word."""

    name = "tagging"
    example = "corpus.conllu"
    options_class = TagOptions
    ladder = ("majority", "hmm", "lstm")
    target = "word"
    unit = "word"
    columns = (
        Column("accuracy", "Accuracy", "accuracy", ".4f"),
        Column("unknown_word_accuracy", "Unknown words", "unknown", ".4f"),
        Column("span_f1", "Span F1", "span F1", ".4f"),
    )
    glossary = (
        (
            "Bits per word",
            "How many bits the right tags of a held-out sentence cost, by the model's probability of all of them "
            "together, over its words: −log2 p. {best} needs {bits}; a fair guess among K tags costs log2 K.",
        ),
        ("Accuracy", "The share of words whose tag the model's answer has right."),
        ("Unknown words", "The same, of the words that the training part does not have."),
        (
            "Span F1",
            "F1 = 2 TP / (2 TP + FP + FN) of spans, all kinds together, as seqeval counts them: one is found when its "
            "borders and its kind are right. Only where tags are B-, I- and O.",
        ),
    )
    resampled = "sentences are drawn again"

    def prepare(
        self, data: str | Path, folder: Path, options: TagOptions, tokenizer: Tokenizer | None = None
    ) -> TaggedCorpus:
        return prepare_tagged(data, folder, options, tokenizer)

    def suited(self, model_class: Any, options: TagOptions) -> TagOptions:
        """What reads words byte by byte gets their bytes; what reads pieces, the kind that suits it, unless told."""
        if model_class.reads_bytes or options.tokenizer is None:
            return replace(options, tokenizer=model_class.tokenizer)
        return options

    def retokenized(
        self, dataset: TaggedCorpus, folder: Path, options: TagOptions, tokenizer: Tokenizer | None = None
    ) -> TaggedCorpus:
        return retokenized(dataset, folder, options, tokenizer)

    def open(self, folder: Path) -> TaggedCorpus:
        return open_tagged(folder)

    def shape(self, dataset: TaggedCorpus) -> dict[str, Any]:
        return {
            **super().shape(dataset),
            "vocab_size": dataset.delimiter + 1,
            "delimiter": dataset.delimiter,
            "tags": dataset.tags,
        }

    def sizes(self, dataset: TaggedCorpus) -> dict[str, Any]:
        return {**super().sizes(dataset), "vocab_size": dataset.delimiter + 1}

    def examples(self, dataset: TaggedCorpus, model_class: Any) -> TaggedExamples:
        return dataset.examples()

    def batches(
        self,
        model: Any,
        dataset: TaggedCorpus,
        window: int | None,
        batch_size: int | None,
        seed: int,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> Batches:
        rows: int = model.training_defaults["batch_size"] if batch_size is None else batch_size
        return model.batches(dataset.tagged("train"), rows, seed, group.shard(rows))

    def n_classes(self, model: Tagger) -> int:
        return len(model.tags)

    def even_guess(self, model: Tagger) -> float:
        return log(len(model.tags))

    def lowest_loss(self, model: Tagger, batch: Batch) -> float:
        """Nothing: what is told apart by its sentence can be known."""
        return 0.0

    def scores(self, model: Tagger, dataset: TaggedCorpus, split: str) -> np.ndarray:
        """Of every word (W, 2): its share of the sentence's log-probability, nats, and the tag that is answered."""
        return scores_of(model, dataset.tagged(split))

    def measure_of(self, scores: np.ndarray, dataset: TaggedCorpus, split: str) -> Measure:
        stream, right = dataset.tagged(split)
        counts = word_counts(stream, dataset.delimiter)
        known = known_words(dataset, split)
        return self._measure(scores, np.asarray(right), counts, dataset.tags, split, known)

    def _measure(
        self,
        scores: np.ndarray,
        right: np.ndarray,
        counts: np.ndarray,
        tags: Sequence[str],
        split: str,
        known: np.ndarray | None,
    ) -> Measure:
        guessed = scores[:, 1].astype(np.int64)
        hits = guessed == right
        figures = {"accuracy": float(hits.mean()) if len(hits) else 0.0}
        more = {"sentences": len(counts), "tags": len(tags)}
        if known is not None and len(known):
            if not known.all():
                figures["unknown_word_accuracy"] = float(hits[~known].mean())
            more["unknown_words"] = int((~known).sum())
        if marks_spans(tags):
            found = span_counts(*(sentences_of(numbers, counts, tags) for numbers in (right, guessed))).sum(
                axis=0
            )
            figures["span_f1"] = float(2 * found[0] / max(1, found[1] + found[2]))
        nats = -float(scores[:, 0].sum(dtype=np.float64))
        return self.measure_from(nats, len(right), len(right), split, figures, more)

    def measure_on(self, readers: Sequence[Reader], data: str | Path, options: ReadOptions) -> list[Measured]:
        if options.second is not None:
            raise UserError(f"--second {options.second} does not fit: words with tags have no second text")
        own = [TagColumns(**reader.facts["columns"]) for reader in readers]
        columns = replace(
            own[0],
            words=options.field or own[0].words,
            tags=options.label or own[0].tags,
            group=None,
        )
        sentences = read_sentences(data, columns, options.sha256)
        told = tuple(notes({"source": sentences.source.describe()}))
        out = []
        for model, tokenizer, _ in readers:
            stream = encode_sentences(tokenizer, sentences.words)
            right = tag_numbers(sentences.tags, model.tags, data)
            counts = word_counts(stream, model.delimiter)
            scores = scores_of(model, TaggedStream(stream, right))
            measured = self._measure(scores, right, counts, model.tags, str(data), None)
            pieces = _pieces(counts)
            out.append(Measured(replace(measured, notes=told), pieces.units, pieces.nats(scores)))
        return out

    def pieces(self, dataset: TaggedCorpus, split: str) -> Pieces:
        return _pieces(word_counts(dataset.stream(split), dataset.delimiter))

    def size_of(self, counts: Mapping[str, int], of: str = "") -> str:
        return f"{counts['words']:,} {of}words"

    def measured_on(self, counts: Mapping[str, int]) -> str:
        return f"{counts['words']:,} words in {counts['sentences']:,} sentences, each counted once."


def scores_of(model: Tagger, part: TaggedStream) -> np.ndarray:
    """Of every word (W, 2): its share of the sentence's log-probability, nats, and the tag that is answered."""
    counts = word_counts(part.stream, model.delimiter)
    joint = model.score(part.stream, np.asarray(part.tags))
    shares = np.repeat(joint / np.maximum(counts, 1), counts)
    return np.stack([shares, model.decode(part.stream).astype(np.float64)], axis=1)


def known_words(dataset: TaggedCorpus, split: str) -> np.ndarray:
    """Which words (W,) of a split the training part has."""
    train = set(_spelled(dataset.train, dataset))
    return np.array([word in train for word in _spelled(dataset.stream(split), dataset)], bool)


def _spelled(stream: Any, dataset: TaggedCorpus) -> list[bytes]:
    """The words of a stream, by the bytes of their ids: two are the same where they are spelled the same."""
    ids = np.asarray(stream.ids).astype(np.int32)
    marks = np.flatnonzero((ids == dataset.delimiter) | (ids == dataset.tokenizer.end)).tolist()
    pairs = itertools.pairwise(marks)
    return [ids[begin + 1 : stop].tobytes() for begin, stop in pairs if stop > begin + 1]


def sentences_of(numbers: np.ndarray, counts: np.ndarray, tags: Sequence[str]) -> list[list[str]]:
    """The names of tags (W,), sentence by sentence."""
    names = [str(tags[number]) for number in numbers.tolist()]
    borders = [0, *np.cumsum(counts).tolist()]
    return [names[begin:end] for begin, end in itertools.pairwise(borders)]


def _pieces(counts: np.ndarray) -> Pieces:
    """A piece a sentence."""
    borders = np.concatenate([[0], np.cumsum(counts)])
    filled = counts > 0

    def nats(scores: np.ndarray) -> np.ndarray:
        upto = np.concatenate([[0.0], np.cumsum(scores[:, 0], dtype=np.float64)])
        return -(upto[borders[1:]] - upto[borders[:-1]])[filled]

    return Pieces(counts[filled], nats)
