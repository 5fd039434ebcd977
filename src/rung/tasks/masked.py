"""Masked language modelling: P(hidden token | the text on both sides of it).

    bits per mask = total nats / (ln 2 x hidden tokens)

In each document 15 % of the tokens are hidden, in whole words, always the same ones: which is a function of the
document's own tokens, so that a curve is no noise of masks, and models of one tokeniser are asked the same. All become
[MASK] at once. A mask is one token of the run's tokeniser: the measure compares models that share one, and says nothing
beside a language model's bits per byte.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rung.batches import Batch
from rung.errors import UserError
from rung.measure import Measure
from rung.models.masked_model import MaskedLanguageModel
from rung.process_group import SINGLE_PROCESS, ProcessGroup
from rung.tasks.base import Column, Measured, Pieces, Reader, Task
from rung.tasks.hidden_scores import hidden_at_once, hidden_in_turn, score_hidden
from rung.tasks.text_scores import batched
from rung.text.blocks import ENOUGH_BLOCKS, MANY_DOCUMENTS, MAX_BLOCKS
from rung.text.corpus import Corpus, open_corpus, prepare
from rung.text.facts import notes, same_source
from rung.text.masked_batches import MaskedBatches
from rung.text.masking import CHOSEN, PADDING, Masking
from rung.text.options import DataOptions, ReadOptions
from rung.text.sources import open_source
from rung.text.stream import TokenStream
from rung.text.tokenizers import Tokenizer

MASKS_A_PIECE = 64
FEWEST_MASKS = 3
"""Of few documents, so many masks are drawn together; fewer where that makes less than 20 pieces, but not too few."""
DOCUMENTS_AT_ONCE = 64
MOST_IN_TURN = 1000
MOST_PAIRS = 512
PAIRS_AT_ONCE = 32


@dataclass(frozen=True)
class MaskedOptions(DataOptions):
    """Settings of reading and tokenising, words in pieces unless told otherwise."""

    tokenizer: str = "wordpiece"
    """char, byte, word, bpe, wordpiece or unigram."""


class MaskedModeling(Task[Corpus]):
    """What is hidden in a text."""

    name = "masked"
    example = "shakespeare"
    options_class = MaskedOptions
    ladder = ("unigram", "bert")
    target = "mask"
    unit = "mask"
    columns = (Column("accuracy", "Found at once", "found", ".4f"),)
    glossary = (
        (
            "Bits per mask",
            "How many bits a hidden token costs, on average, when the model guesses it from the text on both sides: "
            "−log2 p. {best} needs {bits}. A token is hidden with all of its word. It is no measure of whole texts: "
            "it can't be set beside a language model's bits per byte.",
        ),
        ("Found at once", "The share of hidden tokens that the model held for likeliest."),
    )
    resampled = (
        f"documents are drawn again where there are many, {MASKS_A_PIECE} masks together where there are few"
    )

    def prepare(
        self, data: str | Path, folder: Path, options: DataOptions, tokenizer: Tokenizer | None = None
    ) -> Corpus:
        corpus = prepare(
            data,
            folder,
            tokenizer=options.tokenizer if tokenizer is None else tokenizer,
            vocab_size=options.vocab_size,
            vocabulary=options.vocabulary,
            unknown=options.unknown,
            min_count=options.min_count,
            split=options.split,
            split_by=options.split_by,
            documents=options.documents,
            field=options.field,
            sha256=options.sha256,
            validation=options.val,
            test=options.test,
        )
        if corpus.shares is not None:
            raise UserError(
                f"{data} has shares, and hidden words are learned from all texts alike: leave them out"
            )
        return corpus

    def open(self, folder: Path) -> Corpus:
        return open_corpus(folder)

    def examples(self, dataset: Corpus, model_class: Any) -> TokenStream:
        return dataset.train

    def batches(
        self,
        model: Any,
        dataset: Corpus,
        window: int | None,
        batch_size: int | None,
        seed: int,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> MaskedBatches:
        window = int(model.context) if window is None else window
        if not 1 <= window <= model.context:
            raise UserError(
                f"--window {window} does not go with a context of {model.context + 2}, two marks of it: give at most"
                f" {model.context}"
            )
        rows: int = model.training_defaults["batch_size"] if batch_size is None else batch_size
        masking = Masking(dataset.tokenizer, whole_words=model.config.whole_words)
        pairs = model.config.next_sentence
        return MaskedBatches(dataset.train, masking, window, rows, seed, group.shard(rows), pairs=pairs)

    def epoch_targets(self, dataset: Corpus) -> float:
        train = dataset.train
        return max(1, CHOSEN * (train.n_tokens - train.n_documents))

    def n_classes(self, model: MaskedLanguageModel) -> int:
        return model.vocab_size

    def even_guess(self, model: Any) -> float:
        return math.log(model.vocab_size) + math.log(2) * model.config.next_sentence

    def lowest_loss(self, model: MaskedLanguageModel, batch: Batch) -> float:
        """The entropy of what is hidden given the rest of its row: zero where no two rows look alike."""
        texts, targets, *_ = batch.arrays
        pairs = Counter(
            (texts[row].tobytes(), int(place), int(targets[row, place]))
            for row, place in zip(*np.nonzero(targets != PADDING), strict=True)
        )
        seen: Counter[tuple[bytes, int]] = Counter()
        for (text, place, _), n in pairs.items():
            seen[text, place] += n
        nats = sum(-n * math.log(n / seen[text, place]) for (text, place, _), n in pairs.items())
        return nats / batch.n_targets

    def scores(self, model: MaskedLanguageModel, dataset: Corpus, split: str) -> np.ndarray:
        """Of every mask (M, 2): log p of what stood there, nats, and whether nothing was likelier, 1 or 0."""
        return _scores(model, chosen(dataset.stream(split), dataset.tokenizer))

    def measure_of(self, scores: np.ndarray, dataset: Corpus, split: str) -> Measure:
        return self._measure(scores, dataset.stream(split).n_documents, split)

    def measure(
        self,
        model: Any,
        dataset: Corpus,
        split: str,
        group: ProcessGroup = SINGLE_PROCESS,
        when_done: Callable[[], None] = lambda: None,
    ) -> Measure:
        return _with_pairs(super().measure(model, dataset, split, group, when_done), model, dataset, split)

    def measure_together(
        self, models: Sequence[Any], datasets: Sequence[Corpus], split: str
    ) -> list[Measured]:
        measured = super().measure_together(models, datasets, split)
        return [
            one._replace(
                measure=_with_pairs(_with_pseudo(one.measure, model, dataset, split), model, dataset, split)
            )
            for one, model, dataset in zip(measured, models, datasets, strict=True)
        ]

    def measure_on(self, readers: Sequence[Reader], data: str | Path, options: ReadOptions) -> list[Measured]:
        if options.label is not None:
            raise UserError(
                f"--label {options.label} does not fit: a masked language model has no labels to measure"
            )
        modes = {reader.facts["source"].get("documents") for reader in readers}
        mode = modes.pop() if len(modes) == 1 else None
        source = open_source(
            data,
            documents=options.documents,
            field=options.field,
            sha256=options.sha256,
            like=mode if mode in ("lines", "paragraphs", "files") else None,
        )
        found: list[list[np.ndarray]] = [[] for _ in readers]
        for texts in batched(source):
            for reader, scores in zip(readers, found, strict=True):
                masks = chosen(reader.tokenizer.encode_many(texts), reader.tokenizer)
                scores += _each(reader.model, masks)
        facts = source.describe()
        out = []
        for reader, each in zip(readers, found, strict=True):
            scores, counts = np.concatenate(each), np.array([len(one) for one in each])
            pieces = _pieces(counts, by_documents=len({id(r.tokenizer) for r in readers}) > 1)
            told = (*notes({"source": facts}), *same_source(facts, reader.facts))
            measure = replace(self._measure(scores, len(each), str(data)), notes=told)
            out.append(Measured(measure, pieces.units, pieces.nats(scores)))
        return out

    def _measure(self, scores: np.ndarray, documents: int, split: str) -> Measure:
        nats = -float(scores[:, 0].sum(dtype=np.float64))
        figures = {"accuracy": float(scores[:, 1].mean()) if len(scores) else 0.0}
        return self.measure_from(nats, len(scores), len(scores), split, figures, {"documents": documents})

    def pieces(self, dataset: Corpus, split: str) -> Pieces:
        return _pieces(_counts(dataset, split))

    def common_pieces(self, datasets: Sequence[Corpus], split: str) -> list[Pieces]:
        """Other tokens are other masks: then documents are all that is common."""
        first = datasets[0].tokenizer
        alike = all(first.spells_like(dataset.tokenizer) for dataset in datasets)
        return [_pieces(_counts(dataset, split), by_documents=not alike) for dataset in datasets]

    def size_of(self, counts: Mapping[str, int], of: str = "") -> str:
        if "masks" in counts:
            return f"{counts['masks']:,} masks{of and ' of ' + of + 'text'}"
        return f"{counts['bytes']:,} bytes of {of}text"

    def measured_on(self, counts: Mapping[str, int]) -> str:
        return (
            f"{counts['bytes']:,} bytes in {counts['documents']:,} documents; of their tokens "
            f"{CHOSEN:.0%} are hidden, in whole words, the same for every model."
        )


def chosen(stream: TokenStream, tokenizer: Tokenizer) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each document its tokens and the places, rising, that are hidden when a model is measured."""
    masking = Masking(tokenizer)
    for document in range(stream.n_documents):
        ids = np.asarray(stream.document(document)[:-1]).astype(np.int64)
        yield ids, masking.choose(ids, np.random.default_rng(zlib.crc32(ids.tobytes())))


def _scores(model: MaskedLanguageModel, masks: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    return np.concatenate([np.empty((0, 2)), *_each(model, masks)])


def _each(model: MaskedLanguageModel, masks: Iterable[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """The scores of each document."""
    found: list[np.ndarray] = []
    rows: list[Any] = []
    windows: list[int] = []

    def read() -> None:
        scores = iter(score_hidden(model, rows))
        for n in windows:
            found.append(np.concatenate([np.empty((0, 2)), *(next(scores) for _ in range(n))]))
        rows.clear()
        windows.clear()

    for ids, places in masks:
        own = list(hidden_at_once(ids, places, model.context))
        rows += own
        windows.append(len(own))
        if len(rows) >= DOCUMENTS_AT_ONCE:
            read()
    read()
    return found


def _counts(dataset: Corpus, split: str) -> np.ndarray:
    """How many masks each document has."""
    return np.array([len(places) for _, places in chosen(dataset.stream(split), dataset.tokenizer)])


def _pieces(counts: np.ndarray, *, by_documents: bool = False) -> Pieces:
    """Pieces of documents with so many masks."""
    total = int(counts.sum())
    if by_documents or len(counts) >= MANY_DOCUMENTS:
        step = -(-len(counts) // MAX_BLOCKS)
        borders = np.concatenate([[0], np.cumsum(counts)])[[*range(0, len(counts), step), len(counts)]]
    else:
        n = min(max(total // MASKS_A_PIECE, min(ENOUGH_BLOCKS, total // FEWEST_MASKS), 1), MAX_BLOCKS)
        borders = np.arange(n + 1) * total // n
    borders = np.unique(borders)
    return Pieces(
        np.diff(borders),
        lambda scores: -np.diff(np.concatenate([[0.0], np.cumsum(scores[:, 0], dtype=np.float64)])[borders]),
    )


def _with_pseudo(measure: Measure, model: MaskedLanguageModel, dataset: Corpus, split: str) -> Measure:
    """With the pseudo-log-likelihood in bits per byte (Salazar et al. 2020, arXiv:1910.14659): what a token costs that
    is hidden alone, over what it spells; of tokens drawn from all, always the same."""
    stream = dataset.stream(split)
    places = np.flatnonzero(np.asarray(stream.ids[1:]) != dataset.tokenizer.end)
    if not len(places):
        return measure
    drawn = np.random.default_rng(0).permutation(places)[:MOST_IN_TURN]
    document = np.searchsorted(np.asarray(stream.starts), drawn + 1, side="right") - 1
    rows = [
        row
        for place, d in zip(drawn, document, strict=True)
        for row in hidden_in_turn(
            np.asarray(stream.document(int(d))[:-1]).astype(np.int64),
            np.array([place + 1 - stream.starts[d]]),
            model.context,
        )
    ]
    nats = -sum(float(scores[0, 0]) for scores in score_hidden(model, rows))
    n_bytes = int(dataset.tokenizer.byte_counts(stream.ids)[drawn].sum())
    if not n_bytes:
        return measure
    told = (
        f"pseudo bits per byte: each of {len(drawn):,} tokens hidden alone, all others seen. That is no probability of "
        "the text, and no number to set beside a language model's bits per byte"
    )
    figures = {**measure.figures, "pseudo_bits_per_byte": nats / (math.log(2) * n_bytes)}
    return replace(measure, figures=figures, notes=(*measure.notes, told))


def _with_pairs(measure: Measure, model: Any, dataset: Corpus, split: str) -> Measure:
    """With the share of pairs of stretches that were told right, where a model has learned what follows what."""
    if not getattr(model.config, "next_sentence", False):
        return measure
    masking = Masking(dataset.tokenizer)
    pairs = MaskedBatches(dataset.stream(split), masking, model.context, PAIRS_AT_ONCE, 0, pairs=True)
    hits: list[np.ndarray] = []
    for t in range(MOST_PAIRS // PAIRS_AT_ONCE):
        texts, _, follows = pairs.batch(t).arrays
        hits.append((model.follows_log_probs(texts).argmax(axis=1) == follows)[follows != PADDING])
    told = np.concatenate(hits)
    if not len(told):
        return measure
    return replace(measure, figures={**measure.figures, "next_sentence_accuracy": float(told.mean())})
