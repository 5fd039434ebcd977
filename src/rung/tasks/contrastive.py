"""Learning by contrast: which text belongs to which? What comes of it is a vector of every text.

    bits per example = total nats / (ln 2 x examples)

of choosing the right partner of a held-out text among 64, by the cosines of vectors (`rung.models.partners`). Partners
are the two texts of a row, or the two halves of a text: those too where a network learned from a text read twice
(SimCSE), as even an untrained one tells that from others. An even guess among 64 costs 6 bits. As each is asked for
among others of its part, the measures of parts don't add up to that of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rung.batches import Batch, Batches
from rung.errors import UserError, nearest
from rung.files import write_json
from rung.measure import Measure
from rung.models.partners import CANDIDATES, partner_scores
from rung.models.text_encoder import TextEncoder
from rung.process_group import SINGLE_PROCESS, ProcessGroup
from rung.tasks.base import Column, Measured, Pieces, Reader, Task
from rung.tasks.classification import ExampleBatches
from rung.text.corpus import Corpus, open_corpus, prepare
from rung.text.facts import notes
from rung.text.options import DataOptions, ReadOptions
from rung.text.pairs import FACTS, PairCorpus, open_pairs, prepare_pairs, read_pairs
from rung.text.sources import open_source
from rung.text.stream import LabelledStream
from rung.text.tokenizers import Tokenizer
from rung.text.views import VIEWS, Views, halves
from rung.text.windows import padded_documents

LONGEST = 512
"""The most tokens of a text that are learned from, where a network could read any number and nobody says."""
SECOND = "text_2"
"""The column of the second text, unless told."""


@dataclass(frozen=True)
class ContrastiveOptions(DataOptions):
    """Settings of reading and tokenising, and of what belongs together."""

    tokenizer: str = "wordpiece"
    """char, byte, word, bpe, wordpiece or unigram."""
    views: str = "halves"
    """What belongs together: halves (of a text), dropout (a text read twice, SimCSE), or pairs (a row's two texts)."""
    second: str | None = None
    """With --views pairs: which column holds the second text; by default text_2."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.views not in VIEWS:
            raise UserError(
                f"--views {self.views} is unknown{nearest(self.views, VIEWS)} (known: {', '.join(VIEWS)})"
            )
        if self.second is not None and self.views != "pairs":
            raise UserError(
                f"--second {self.second} does not go with --views {self.views}: give --views pairs"
            )
        if self.views == "pairs":
            for name in ("vocabulary", "unknown", "min_count", "documents", "split_by"):
                if getattr(self, name) != getattr(DataOptions, name):
                    flag = f"--{name.replace('_', '-')} {getattr(self, name)}"
                    raise UserError(f"{flag} does not go with --views pairs; leave it out")


class ContrastiveLearning(Task[Corpus | PairCorpus]):
    """Which text belongs to which."""

    name = "contrastive"
    example = "questions.csv --views pairs --field question --second answer"
    options_class = ContrastiveOptions
    ladder = ("tf-idf", "gru", "bert")
    target = "example"
    unit = "example"
    columns = (Column("accuracy", "Partner found", "found", ".4f"),)
    glossary = (
        (
            "Bits per example",
            f"How many bits it costs, on average, to choose a held-out text's partner among {CANDIDATES} by how near "
            "their vectors are: −log2 p. {best} needs {bits}; an even guess costs 6. Partners are the two texts of a "
            "row, or the two halves of a text.",
        ),
        ("Partner found", "The share of texts whose partner is the nearest of all candidates."),
    )
    resampled = "examples are drawn again"

    def prepare(
        self, data: str | Path, folder: Path, options: ContrastiveOptions, tokenizer: Tokenizer | None = None
    ) -> Corpus | PairCorpus:
        told = {"views": options.views}
        if options.views == "pairs":
            return prepare_pairs(
                data,
                folder,
                field=options.field,
                second=options.second or SECOND,
                split=options.split,
                validation=options.val,
                test=options.test,
                sha256=options.sha256,
                tokenizer=options.tokenizer if tokenizer is None else tokenizer,
                vocab_size=options.vocab_size if tokenizer is None else None,
                told=told,
            )
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
                f"{data} has shares, and vectors are learned from all texts alike: leave them out"
            )
        if corpus.train.n_documents < 2:
            raise UserError(
                f"{data} is one text, and there is nothing to tell it from: give --documents lines or paragraphs"
            )
        write_json(folder / "corpus.json", {**corpus.facts, **told})
        return open_corpus(folder)

    def open(self, folder: Path) -> Corpus | PairCorpus:
        return open_pairs(folder) if (folder / FACTS).exists() else open_corpus(folder)

    def sizes(self, dataset: Corpus | PairCorpus) -> dict[str, Any]:
        sizes = super().sizes(dataset)
        if isinstance(dataset, PairCorpus):
            longest = max(int(np.diff(stream.starts).max()) for stream in dataset.pairs("train"))
            return {**sizes, "longest_document": longest}
        return sizes

    def examples(self, dataset: Corpus | PairCorpus, model_class: Any) -> Views:
        return _partners(dataset, "train")

    def batches(
        self,
        model: Any,
        dataset: Corpus | PairCorpus,
        window: int | None,
        batch_size: int | None,
        seed: int,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> Batches:
        views, room = dataset.facts["views"], model.network.body.room
        longest = LONGEST if room is None else room
        if window is not None and room is not None and window > room:
            raise UserError(
                f"--window {window} is more than the {room} tokens of a text that fit the context"
            )
        if views == "dropout" and not model.config.dropout:
            raise UserError(
                "--dropout 0 makes the two views of a text the same, so there is nothing to learn: give --dropout 0.1, "
                "or other --views"
            )
        rows: int = model.training_defaults["batch_size"] if batch_size is None else batch_size
        if rows < 2:
            raise UserError("--batch-size 1 leaves nothing that a text is told from: give 2 or more")
        train = dataset.train
        examples = Views.of(train, train) if views == "dropout" else _partners(dataset, "train")
        return ViewBatches(examples, longest if window is None else window, rows, seed, group.shard(rows))

    def epoch_targets(self, dataset: Corpus | PairCorpus) -> float:
        return dataset.train.n_documents

    def n_classes(self, model: Any) -> int:
        """As many as make an even guess cost what cosines can cost at most: no training diverges that is below."""
        return int(CANDIDATES * math.exp(min(2 / model.temperature, 500)))

    def even_guess(self, model: Any) -> float:
        """None is to be expected: what is near before anything is learned depends on the texts."""
        return math.inf

    def lowest_loss(self, model: Any, batch: Batch) -> float:
        """Equal texts are not told apart, so nothing need be left."""
        return 0.0

    def scores(self, model: TextEncoder, dataset: Corpus | PairCorpus, split: str) -> np.ndarray:
        """Of every example (N, 2): log p of its partner, nats, and 1 where none is nearer, else 0."""
        return partner_scores(model, _partners(dataset, split), model.temperature)

    def measure_of(self, scores: np.ndarray, dataset: Corpus | PairCorpus, split: str) -> Measure:
        return self._measure(scores, split)

    def _measure(self, scores: np.ndarray, split: str) -> Measure:
        if len(scores) < 2:
            raise UserError(
                f"{split}: one text alone is told from no other; give more, or cut it: --documents lines or paragraphs"
            )
        figures = {"accuracy": float(scores[:, 1].mean())}
        counts = {"candidates": min(CANDIDATES, len(scores))}
        return self.measure_from(-float(scores[:, 0].sum()), len(scores), len(scores), split, figures, counts)

    def measure_on(self, readers: Sequence[Reader], data: str | Path, options: ReadOptions) -> list[Measured]:
        if options.label is not None:
            raise UserError(
                f"--label {options.label} does not fit: vectors of texts have no labels to measure"
            )
        seconds = {reader.facts.get("second") for reader in readers}
        second = (
            options.second if options.second is not None else seconds.pop() if len(seconds) == 1 else None
        )
        if options.second is None and seconds:
            raise UserError("the models were trained on different columns: name one with --second")
        if second is not None:
            field = options.field or readers[0].facts["source"].get("field")
            texts, others, source = read_pairs(data, field, second, options.sha256)
        else:
            modes = {reader.facts["source"].get("documents") for reader in readers}
            mode = modes.pop() if len(modes) == 1 else None
            source = open_source(
                data,
                documents=options.documents,
                field=options.field,
                sha256=options.sha256,
                like=mode if mode in ("lines", "paragraphs", "files") else None,
            )
            texts, others = list(source), None
        told = tuple(notes({"source": source.describe()}))
        out = []
        for model, tokenizer, _ in readers:
            first = tokenizer.encode_many(texts)
            views = (
                halves(first, tokenizer) if others is None else Views.of(first, tokenizer.encode_many(others))
            )
            scores = partner_scores(model, views, model.temperature)
            measure = replace(self._measure(scores, str(data)), notes=told)
            out.append(Measured(measure, np.ones(len(scores), np.int64), -scores[:, 0]))
        return out

    def pieces(self, dataset: Corpus | PairCorpus, split: str) -> Pieces:
        units = np.ones(dataset.stream(split).n_documents, np.int64)
        return Pieces(units, lambda scores: -scores[:, 0])

    def size_of(self, counts: Mapping[str, int], of: str = "") -> str:
        return f"{_examples(counts):,} {of}examples"

    def measured_on(self, counts: Mapping[str, int]) -> str:
        n = _examples(counts)
        return f"{n:,} examples, each asked for its partner among {min(CANDIDATES, n)}."


class ViewBatches:
    """Examples in two views, shuffled anew each epoch, of like length together: a pure function of (seed, t).

    Arrays of a batch: both views (B, T) and (B, T2), int64, filled up with PADDING and cut to the window; and which
    text each is, (B, 2).
    """

    def __init__(self, views: Views, window: int | None, batch_size: int, seed: int, shard: slice) -> None:
        self._views, self._window = views, window
        numbers = np.arange(views.first.n_documents)
        self._rows = ExampleBatches(LabelledStream(views.first, numbers), window, batch_size, seed, shard)

    @property
    def rows(self) -> int:
        """How many rows of a batch are wanted."""
        return self._rows.rows

    @property
    def epoch_targets(self) -> int:
        """How many examples there are."""
        return self._rows.epoch_targets

    def batch(self, t: int) -> Batch:
        """Batch number t."""
        (first, rows), n = self._rows.batch(t)
        second = padded_documents(self._views.second, rows, self._window)
        return Batch((first, second, self._views.alike[rows]), n)


def _partners(dataset: Corpus | PairCorpus, split: str) -> Views:
    """What belongs together in a part: pairs, or halves."""
    if isinstance(dataset, PairCorpus):
        return Views.of(*dataset.pairs(split))
    return halves(dataset.stream(split), dataset.tokenizer)


def _examples(counts: Mapping[str, int]) -> int:
    return counts["examples"] if "examples" in counts else counts["documents"]
