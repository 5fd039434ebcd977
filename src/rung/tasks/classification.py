"""Classification: P(label | text).

    bits per example = total nats / (ln 2 x examples)

over the whole split: what the right labels cost, on average, when the model's probabilities are used to guess them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rung.batches import Batch, Batches, PooledOrder
from rung.errors import UserError
from rung.process_group import SINGLE_PROCESS, ProcessGroup
from rung.tasks.base import Measured, Reader
from rung.tasks.labels import LabelTask
from rung.text.examples import Columns, read_examples
from rung.text.facts import notes
from rung.text.labelled import (
    LabelledCorpus,
    encode_examples,
    label_numbers,
    open_labelled,
    prepare_labelled,
    retokenized,
)
from rung.text.options import LabelOptions, ReadOptions
from rung.text.stream import LabelledExamples, LabelledStream
from rung.text.tokenizers import Tokenizer
from rung.text.windows import padded_documents


class Classification(LabelTask[LabelledCorpus]):
    """One label for each text."""

    name = "classification"
    example = "reviews.csv --label stars"
    options_class = LabelOptions
    ladder = ("majority", "bag-of-words", "ngram", "bag-of-ngrams", "gru", "gpt", "mix")
    target = "example"
    unit = "example"
    glossary = (
        (
            "Bits per example",
            "How many bits the right label of a held-out text costs, on average, when the model's probabilities are "
            "used to guess it: −log2 p. {best} needs {bits}; a fair guess among L labels costs log2 L.",
        ),
        ("Accuracy", "The share of texts whose likeliest label is the right one."),
        (
            "Macro-F1",
            "F1 = 2 TP / (2 TP + FP + FN) of each label, averaged: rare labels count as much as common ones.",
        ),
    )
    resampled = "examples are drawn again"

    def prepare(
        self, data: str | Path, folder: Path, options: LabelOptions, tokenizer: Tokenizer | None = None
    ) -> LabelledCorpus:
        return prepare_labelled(data, folder, options, tokenizer)

    def suited(self, model_class: Any, options: LabelOptions) -> LabelOptions:
        """A rung that cuts texts itself gets their bytes; one that says what it reads best gets that, unless told."""
        if model_class.reads_bytes or options.tokenizer is None:
            return replace(options, tokenizer=model_class.tokenizer)
        return options

    def retokenized(
        self, dataset: LabelledCorpus, folder: Path, options: LabelOptions, tokenizer: Tokenizer | None = None
    ) -> LabelledCorpus:
        return retokenized(dataset, folder, options, tokenizer)

    def open(self, folder: Path) -> LabelledCorpus:
        return open_labelled(folder)

    def shape(self, dataset: LabelledCorpus) -> dict[str, Any]:
        """Ids are the tokeniser's, and the delimiter where an example is two texts."""
        shape = {**super().shape(dataset), "labels": dataset.labels}
        if dataset.delimiter is None:
            return shape
        return {**shape, "vocab_size": dataset.delimiter + 1, "delimiter": dataset.delimiter}

    def sizes(self, dataset: LabelledCorpus) -> dict[str, Any]:
        return {**super().sizes(dataset), "vocab_size": self.shape(dataset)["vocab_size"]}

    def examples(self, dataset: LabelledCorpus, model_class: Any) -> LabelledExamples:
        return dataset.examples()

    def batches(
        self,
        model: Any,
        dataset: LabelledCorpus,
        window: int | None,
        batch_size: int | None,
        seed: int,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> Batches:
        rows: int = model.training_defaults["batch_size"] if batch_size is None else batch_size
        return ExampleBatches(
            dataset.labelled("train"), window, rows, seed, group.shard(rows), dataset.weights()
        )

    def unread(self, model: Any, dataset: LabelledCorpus) -> str | None:
        room = getattr(model.network, "room", None)
        lengths = np.diff(dataset.stream("train").starts) - 1
        n = 0 if room is None else int((lengths > room).sum())
        if not n:
            return None
        flag = "--longest" if hasattr(model.config, "longest") else "--context"
        kept = "its beginning" if dataset.delimiter is None else "the beginnings of both texts"
        return (
            f"{n:,} training examples ({n / len(lengths):.1%}) have more than {room:,} tokens: of such a one {kept} "
            f"{'is' if dataset.delimiter is None else 'are'} read, {room:,} tokens ({flag})"
        )

    def right_labels(self, dataset: LabelledCorpus, split: str) -> np.ndarray:
        return dataset.labelled(split).labels

    def measure_on(self, readers: Sequence[Reader], data: str | Path, options: ReadOptions) -> list[Measured]:
        own = [Columns(**reader.facts["columns"]) for reader in readers]
        columns = Columns(
            _column(options.field, "--field", [columns.text for columns in own]) or "text",
            _column(options.label, "--label", [columns.label for columns in own]) or "label",
            _column(options.second, "--second", [columns.second for columns in own]),
        )
        examples = read_examples(data, columns, options.sha256)
        told = tuple(notes({"source": examples.source.describe()}))
        out = []
        for model, tokenizer, _ in readers:
            right = label_numbers(examples.labels, model.labels, data)
            scores = model.log_probs(encode_examples(tokenizer, examples.texts, examples.seconds))
            measured = replace(self.measure_labels(scores, right, str(data)), notes=told)
            out.append(Measured(measured, *self.pieces_of(scores, right)))
        return out

    def size_of(self, counts: Mapping[str, int], of: str = "") -> str:
        return f"{counts['examples']:,} {of}examples"

    def measured_on(self, counts: Mapping[str, int]) -> str:
        return f"{counts['examples']:,} examples, each counted once."


class ExampleBatches:
    """Texts and their labels, shuffled anew each epoch: a pure function of (seed, t).

    Texts of like length stand in one batch (`PooledOrder`). Its arrays: tokens (B, T), int64, each
    text without its closing mark and filled up with PADDING; labels (B,), int64; where labels have weights (L,), those
    of the examples, (B,) float32.
    """

    def __init__(
        self,
        examples: LabelledStream,
        window: int | None,
        batch_size: int,
        seed: int,
        shard: slice,
        weights: np.ndarray | None = None,
    ) -> None:
        self._stream, self._labels = examples
        self._window = window
        self._order = PooledOrder(np.diff(self._stream.starts), batch_size, seed)
        self._batch_size = batch_size
        self._shard = shard
        self._weights = weights

    @property
    def rows(self) -> int:
        """How many rows of a batch are wanted."""
        return len(range(self._batch_size)[self._shard])

    @property
    def epoch_targets(self) -> int:
        """How many examples there are."""
        return len(self._labels)

    def batch(self, t: int) -> Batch:
        """Batch number t; `n_targets` is always the batch size."""
        rows = self._order.rows(t)[self._shard]
        labels = self._labels[rows]
        weights = () if self._weights is None else (self._weights[labels].astype(np.float32),)
        return Batch((padded_documents(self._stream, rows, self._window), labels, *weights), self._batch_size)


def _column(given: str | None, flag: str, own: Sequence[str | None]) -> str | None:
    """The column that is meant: the one given, or the models' own. Raises UserError when they have several."""
    if given is None and len(set(own)) > 1:
        names = sorted({name or "none" for name in own})
        raise UserError(f"the models were trained on the columns {' and '.join(names)}: name one with {flag}")
    return own[0] if given is None else given
