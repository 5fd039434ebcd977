"""Translation: P(target text | source text).

    bits per byte = total nats / (ln 2 x bytes of the targets)

over the whole split, each token after what stands before it in the right target (teacher forcing). Beside it what the
model writes when it is left alone (`rung evaluate`): BLEU and chrF as sacrebleu counts them, with its signature, and
the share of texts that are the target, letter for letter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rung.batches import Batch, Batches
from rung.errors import UserError
from rung.measure import Measure
from rung.models.translator import Translator
from rung.process_group import SINGLE_PROCESS, ProcessGroup
from rung.tasks.base import Column, Measured, Pieces, Reader, Task, Writing
from rung.tasks.written import figures_of, written_greedily
from rung.text.facts import notes
from rung.text.masking import PADDING
from rung.text.options import ParallelOptions, ReadOptions
from rung.text.pairs import PairCorpus, keep_pairs, open_pairs
from rung.text.parallel import Parallel, Sides, read_parallel
from rung.text.splits import shares_of
from rung.text.stream import TokenStream
from rung.text.tokenizers import Tokenizer
from rung.text.windows import padded_documents

POOL = 32
MOST_WRITTEN = 500
"""Of so many pairs what is written is looked at, while a run is measured."""
LENGTHS, FEWEST_WRITTEN = 6, 10
"""They are looked at in so many parts, by the length of what was read, if each has enough."""


class Translation(Task[PairCorpus]):
    """A text for a text."""

    name = "translation"
    example = "pairs.tsv --source en --target de"
    options_class = ParallelOptions
    ladder = ("ngram", "gru", "gpt", "encoder-decoder")
    target = "token"
    unit = "byte"
    columns = (
        Column("exact_match", "Exact match", "exact", ".4f"),
        Column("bleu", "BLEU", "BLEU", ".2f"),
        Column("chrf", "chrF", "chrF", ".2f"),
    )
    glossary = (
        (
            "Bits per byte",
            "How many bits a byte of the right translation costs, on average, each token guessed after what stands "
            "before it in that translation: −log2 p. {best} needs {bits}.",
        ),
        (
            "Exact match",
            "The share of texts that are the right one, letter for letter, when the model is left alone.",
        ),
        ("BLEU, chrF", "What translations are likened by, as sacrebleu counts them, of texts written alone."),
    )
    resampled = "pairs are drawn again"

    def prepare(
        self,
        data: str | Path,
        folder: Path,
        options: ParallelOptions,
        tokenizer: Tokenizer | None = None,
    ) -> PairCorpus:
        sides = Sides(
            options.source or "source", options.target or "target", options.group, options.target_file
        )
        shares = shares_of(options.split, validation=options.val is not None, test=options.test is not None)
        if tokenizer is not None and options.source_tokenizer is not None and tokenizer.source is None:
            raise UserError(
                f"--source-tokenizer {options.source_tokenizer} does not fit: what is begun with has one for both"
            )
        own = (options.source_tokenizer, options.source_vocab_size)
        found = read_parallel(data, sides, options.sha256)
        given = {
            part: read_parallel(spec, replace(sides, group=None)).pairs
            for part, spec in (("validation", options.val), ("test", options.test))
            if spec is not None
        }
        return keep_pairs(
            found.pairs,
            folder,
            shares,
            given,
            options.tokenizer if tokenizer is None else tokenizer,
            options.vocab_size if tokenizer is None else None,
            None,
            {
                "sides": {
                    key: value
                    for key, value in (
                        ("source", sides.source),
                        ("target", sides.target),
                        ("target_file", sides.target_file),
                    )
                    if value is not None
                },
                "longest": options.longest,
            },
            found.groups,
            None if own[0] is None else (own[0], own[1]),
            options.longest,
        )

    def open(self, folder: Path) -> PairCorpus:
        return open_pairs(folder)

    def shape(self, dataset: PairCorpus) -> dict[str, Any]:
        source = dataset.tokenizer.source
        own = {} if source is None else {"source_vocab_size": source.vocab_size}
        return {**super().shape(dataset), **own}

    def sizes(self, dataset: PairCorpus) -> dict[str, Any]:
        longest = max(int(np.diff(stream.starts).max()) for stream in dataset.pairs("train"))
        return {**super().sizes(dataset), "longest_document": longest}

    def examples(self, dataset: PairCorpus, model_class: Any) -> tuple[TokenStream, TokenStream]:
        return dataset.pairs("train")

    def batches(
        self,
        model: Any,
        dataset: PairCorpus,
        window: int | None,
        batch_size: int | None,
        seed: int,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> Batches:
        longest = int(dataset.facts["longest"]) if window is None else window
        rows: int = model.training_defaults["batch_size"] if batch_size is None else batch_size
        return PairBatches(dataset.pairs("train"), longest, rows, seed, group.shard(rows))

    def epoch_targets(self, dataset: PairCorpus) -> float:
        return dataset.pairs("train")[1].n_tokens

    def n_classes(self, model: Translator) -> int:
        return model.vocab_size

    def lowest_loss(self, model: Translator, batch: Batch) -> float:
        """Nothing, where no source has two targets."""
        return 0.0

    def scores(self, model: Translator, dataset: PairCorpus, split: str) -> np.ndarray:
        """The log-probability, nats, of every token of the targets (N,)."""
        return model.score_pairs(*dataset.pairs(split))

    def measure_of(self, scores: np.ndarray, dataset: PairCorpus, split: str) -> Measure:
        targets = dataset.pairs(split)[1]
        return self._measure(scores, targets, _bytes_of(targets, dataset.tokenizer), split)

    def _measure(self, scores: np.ndarray, targets: TokenStream, n_bytes: np.ndarray, split: str) -> Measure:
        nats = -float(scores.sum(dtype=np.float64))
        perplexity = {"perplexity": math.exp(min(700.0, nats / max(1, len(scores))))}
        counts = {"pairs": targets.n_documents}
        return self.measure_from(nats, len(scores), int(n_bytes.sum()), split, perplexity, counts)

    def writing(self, model: Any, dataset: PairCorpus, split: str) -> Writing:
        return _writing(model, dataset.tokenizer, *dataset.pairs(split))

    def measure_together(
        self, models: Sequence[Any], datasets: Sequence[PairCorpus], split: str
    ) -> list[Measured]:
        measured = super().measure_together(models, datasets, split)
        return [
            one._replace(measure=_with(one.measure, self.writing(model, dataset, split)))
            for one, model, dataset in zip(measured, models, datasets, strict=True)
        ]

    def measure_on(self, readers: Sequence[Reader], data: str | Path, options: ReadOptions) -> list[Measured]:
        for flag, value in (("--label", options.label), ("--field", options.field)):
            if value is not None:
                raise UserError(f"{flag} {value} does not fit: pairs have --source and --target columns")
        sides = Sides(**{k: v for k, v in readers[0].facts["sides"].items() if k != "target_file"})
        found: Parallel = read_parallel(data, sides, options.sha256)
        told = tuple(notes({"source": found.pairs.source.describe()}))
        out = []
        for model, tokenizer, _ in readers:
            sources = tokenizer.reading.encode_many(found.pairs.texts)
            targets = tokenizer.encode_many(found.pairs.seconds)
            scores = model.score_pairs(sources, targets)
            n_bytes = _bytes_of(targets, tokenizer)
            measure = self._measure(scores, targets, n_bytes, str(data))
            measure = replace(measure, notes=told)
            measure = _with(measure, _writing(model, tokenizer, sources, targets))
            pieces = _pieces(targets, n_bytes)
            out.append(Measured(measure, pieces.units, pieces.nats(scores)))
        return out

    def pieces(self, dataset: PairCorpus, split: str) -> Pieces:
        targets = dataset.pairs(split)[1]
        return _pieces(targets, _bytes_of(targets, dataset.tokenizer))

    def size_of(self, counts: Mapping[str, int], of: str = "") -> str:
        return f"{counts['examples' if 'examples' in counts else 'pairs']:,} {of}pairs"

    def measured_on(self, counts: Mapping[str, int]) -> str:
        return f"{counts['examples']:,} pairs, of whose targets every token is counted once."


class PairBatches:
    """Sources and targets, shuffled anew each epoch: a pure function of (seed, t).

    Pairs of like length stand in one batch: each run of POOL batches is sorted by length, cut, and its batches
    shuffled. Its arrays: sources (B, S), targets (B, T), the latter with their closing marks, both filled up with
    PADDING. A pair with a side longer than `longest` is left out of training.
    """

    def __init__(
        self,
        pairs: tuple[TokenStream, TokenStream],
        longest: int,
        batch_size: int,
        seed: int,
        shard: slice,
    ) -> None:
        self._sources, self._targets = pairs
        lengths = [np.diff(stream.starts) - 1 for stream in pairs]
        self._kept = np.flatnonzero(np.maximum(*lengths) <= longest)
        if not len(self._kept):
            raise UserError(f"every pair has more than {longest} tokens on a side: give a larger --longest")
        self._lengths = lengths[1] + 1e-4 * lengths[0]
        self._n_targets = lengths[1] + 1
        self._batch_size = batch_size
        self._seed = seed
        self._shard = shard
        self._epoch, self._order = -1, np.empty(0, np.int64)

    @property
    def rows(self) -> int:
        """How many rows of a batch are wanted."""
        return len(range(self._batch_size)[self._shard])

    @property
    def epoch_targets(self) -> int:
        """How many tokens of targets there are."""
        return int(self._n_targets[self._kept].sum())

    def batch(self, t: int) -> Batch:
        """Batch number t."""
        places = range(t * self._batch_size, (t + 1) * self._batch_size)
        whole = np.array([self._row(place) for place in places], np.int64)
        rows = whole[self._shard]
        sources, targets = padded_documents(self._sources, rows), padded_documents(self._targets, rows)
        ends = (targets != PADDING).sum(axis=1)
        targets = np.pad(targets, ((0, 0), (0, 1)), constant_values=PADDING)
        targets[np.arange(len(rows)), ends] = self._targets.ids[0]
        width = int(ends.max()) + 1
        return Batch((sources, targets[:, :width]), int(self._n_targets[whole].sum()))

    def _of_epoch(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(self._kept)
        pieces = []
        for begin in range(0, len(order), POOL * self._batch_size):
            pool = order[begin : begin + POOL * self._batch_size]
            pool = pool[np.argsort(self._lengths[pool], kind="stable")]
            batches = np.array_split(pool, range(self._batch_size, len(pool), self._batch_size))
            pieces += [batches[i] for i in rng.permutation(len(batches))]
        return np.concatenate(pieces)

    def _row(self, place: int) -> int:
        epoch, within = divmod(place, len(self._kept))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._of_epoch(epoch)
        return int(self._order[within])


def _bytes_of(targets: TokenStream, tokenizer: Tokenizer) -> np.ndarray:
    """How many bytes each target has, (S,)."""
    each = tokenizer.byte_counts(targets.ids)
    upto = np.concatenate([[0], np.cumsum(each)])
    starts = np.asarray(targets.starts) - 1
    return upto[starts[1:]] - upto[starts[:-1]]


def _pieces(targets: TokenStream, n_bytes: np.ndarray) -> Pieces:
    """A piece a pair."""
    starts = np.asarray(targets.starts) - 1

    def nats(scores: np.ndarray) -> np.ndarray:
        upto = np.concatenate([[0.0], np.cumsum(scores, dtype=np.float64)])
        return -(upto[starts[1:]] - upto[starts[:-1]])

    return Pieces(n_bytes, nats)


def _with(measure: Measure, writing: Writing) -> Measure:
    figures = {**measure.figures, **writing.figures}
    return replace(measure, figures=figures, notes=(*measure.notes, writing.told))


def _writing(model: Translator, tokenizer: Tokenizer, sources: TokenStream, targets: TokenStream) -> Writing:
    """Of a part drawn once where there are many pairs."""
    rows = np.arange(sources.n_documents)
    if len(rows) > MOST_WRITTEN:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:MOST_WRITTEN])
    right = [tokenizer.decode(targets.document(int(row))[:-1]) for row in rows]
    chosen = sources.of_documents(rows)
    written = written_greedily(model, tokenizer, chosen)
    lengths = np.diff(chosen.starts) - 1
    by_length = []
    for part in np.array_split(np.argsort(lengths, kind="stable"), LENGTHS):
        if len(part) >= FEWEST_WRITTEN:
            own = figures_of([written[i] for i in part], [right[i] for i in part])[0]
            by_length.append({"tokens": float(lengths[part].mean()), "pairs": len(part), **own})
    return Writing(*figures_of(written, right), by_length)
