"""What a task is: what is predicted from what, and all that training, measuring and comparing need to know of it.

A task reads data into a dataset, turns examples into batches, and measures a model on a held-out split. The training
loop gets the batches and a way to measure; it knows no task. The climb gets the ladder and, split by split, what each
piece of held-out data cost; the report gets the columns of its table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import log
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar

import numpy as np

from rung.batches import Batch, Batches
from rung.measure import Measure, number
from rung.process_group import SINGLE_PROCESS, ProcessGroup
from rung.text.options import ReadOptions
from rung.text.stream import TokenStream
from rung.text.tokenizers import Tokenizer


class Dataset(Protocol):
    """Examples, tokenised and split, in a folder.

    Attributes:
        folder: where it lies.
        tokenizer: trained on the training part alone.
        facts: where the data came from, how they were split, what each part holds; JSON.
        splits: the parts there are, of train, validation and test.
        train: the texts of the training part.
    """

    @property
    def folder(self) -> Path: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def facts(self) -> dict[str, Any]: ...
    @property
    def splits(self) -> Sequence[str]: ...
    @property
    def train(self) -> TokenStream: ...
    def stream(self, part: str) -> TokenStream:
        """The texts of a part. Raises UserError when there is none."""
        ...

    def link(self, folder: Path) -> Self:
        """The same dataset in another folder."""
        ...


class Column(NamedTuple):
    """A column of a climb's table: the key in its rows, the heading on the page and in the terminal, the format."""

    key: str
    heading: str
    short: str
    format: str

    def shown(self, figures: Mapping[str, Any]) -> str:
        """A row's figure as a table has it: a dash where there is none, as the F1 of spans where tags mark none."""
        return format(number(figures[self.key]), self.format) if self.key in figures else "-"


def columns_in(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]]) -> list[Column]:
    """Those that a row at least has."""
    keys = {key for row in rows for key in row}
    return [column for column in columns if column.key in keys]


class Pieces(NamedTuple):
    """Held-out data in independent pieces, K of them, for intervals and paired comparisons.

    units: (K,) what each is reckoned by: bytes, examples.
    nats: from a model's scores (of `Task.scores`) to what each piece cost it, (K,).
    """

    units: np.ndarray
    nats: Callable[[np.ndarray], np.ndarray]


class Reader(NamedTuple):
    """Who is measured on data that are not its own: a model, how it cuts text, and the facts of its own data."""

    model: Any
    tokenizer: Tokenizer
    facts: dict[str, Any]


class Writing(NamedTuple):
    """What is known of texts that a model wrote.

    figures: the field's, of all of them.
    told: what is to be known of these.
    by_length: the same figures of parts of them, by `tokens`, the mean length of what was read.
    """

    figures: dict[str, float]
    told: str
    by_length: list[dict[str, float]]


class Measured(NamedTuple):
    """A measure, and in which independent pieces of the data it was made, K of them.

    units: (K,) what each is reckoned by, as in `Pieces`.
    nats: (K,) what each cost the model.
    """

    measure: Measure
    units: np.ndarray
    nats: np.ndarray


D = TypeVar("D", bound=Dataset)


class Task(ABC, Generic[D]):
    """One task. It has no state: everything is in the dataset and the model.

    Attributes:
        name: as `run.json` has it.
        example: what its help shows behind `rung train RUNG`.
        options_class: the frozen dataclass of how its data are read.
        ladder: the rungs that a climb trains when it is not told.
        target: what a model predicts, one of them.
        unit: what its measure is reckoned by, one of them.
        columns: what the climb's table shows beside the measure.
        glossary: terms of its page and what they mean; {best} is the name of the best rung, {bits} its measure.
        resampled: of what its intervals are made.
        writes: whether its models write text.
    """

    name: ClassVar[str]
    example: ClassVar[str]
    options_class: ClassVar[type]
    ladder: ClassVar[tuple[str, ...]]
    target: ClassVar[str]
    unit: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]]
    glossary: ClassVar[tuple[tuple[str, str], ...]]
    resampled: ClassVar[str]
    writes: ClassVar[bool] = False

    @abstractmethod
    def prepare(self, data: str | Path, folder: Path, options: Any, tokenizer: Tokenizer | None = None) -> D:
        """Read `data`, split and tokenise it into `folder`; `tokenizer` instead of training one.

        Raises UserError for bad input and a folder that can't be written to.
        """

    def suited(self, model_class: Any, options: Any) -> Any:
        """`options` with what was left open set to what a rung reads best.

        Raises UserError for what it can't read.
        """
        return options

    def retokenized(self, dataset: D, folder: Path, options: Any, tokenizer: Tokenizer | None = None) -> D:
        """The same data and split, written into `folder` in the tokens that `options` ask for, or in `tokenizer`'s.

        Needed where rungs of a task read other tokens (`suited`).
        """
        raise NotImplementedError

    @abstractmethod
    def open(self, folder: Path) -> D:
        """Map what `prepare` wrote. Raises UserError when it is not there or damaged."""

    def shape(self, dataset: D) -> dict[str, Any]:
        """What a model must know of the data before it is made: its `Model.shape`."""
        return {"vocab_size": dataset.tokenizer.vocab_size, "end": dataset.tokenizer.end}

    def sizes(self, dataset: D) -> dict[str, Any]:
        """What a configuration's open fields are chosen by: the arguments of `GradientModel.resolve_config`."""
        return {
            "vocab_size": dataset.tokenizer.vocab_size,
            "train_tokens": dataset.train.n_tokens,
            "longest_document": int(np.diff(dataset.train.starts).max()),
        }

    @abstractmethod
    def examples(self, dataset: D, model_class: Any) -> Any:
        """The training part as a model of this class, which counts, takes it."""

    def read_of_each(
        self, dataset: D, tokens: int, model_class: Any, batch_size: int | None = None
    ) -> list[dict[str, Any]]:
        """Where the data are several texts, and a model of this class was trained on so many `tokens`, in batches of
        `batch_size` rows: of each text the `data`, its `share` of them, its own `tokens`, and how many `epochs` that
        is. Else nothing."""
        return []

    def batches(
        self,
        model: Any,
        dataset: D,
        window: int | None,
        batch_size: int | None,
        seed: int,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> Batches:
        """The training part as a model that is trained by gradient descent takes it: this process's rows of it.

        Args:
            model: of this task.
            dataset: with its training part.
            window: the most tokens in a row; None = what suits the model.
            batch_size: rows in a batch, of all processes together; None = what suits the model.
            seed: of the order.
            group: the processes that share each batch.

        Raises UserError for a window the model can't have, MemoryError when one batch is more than the machine holds.
        """
        raise NotImplementedError(f"{self.name} has no rung that is trained by gradient descent")

    def rows_of(self, n_tokens: int, dataset: D, window: int) -> int:
        """About how many rows of at most `window` tokens of a document have `n_tokens`; no more than there are."""
        n_rows = int((-(-np.diff(dataset.train.starts) // window)).sum())
        return min(n_rows, round(n_tokens * n_rows / dataset.train.n_tokens))

    def epoch_targets(self, dataset: D) -> float:
        """How many targets there are in the training part."""
        return dataset.facts["parts"]["train"][f"{self.target}s"]

    def n_classes(self, model: Any) -> int:
        """Among how many a target is: an untrained model's loss is its logarithm. Asked where there are batches."""
        raise NotImplementedError

    def even_guess(self, model: Any) -> float:
        """What an untrained model's training loss should be, nats a target."""
        return log(self.n_classes(model))

    def lowest_loss(self, model: Any, batch: Batch) -> float:
        """The least mean loss, nats per target, that any model could have on a batch, of `batches`."""
        raise NotImplementedError

    @abstractmethod
    def scores(self, model: Any, dataset: D, split: str) -> np.ndarray:
        """The model's log-probabilities, in nats, of which the measure is made."""

    @abstractmethod
    def measure_of(self, scores: np.ndarray, dataset: D, split: str) -> Measure:
        """The measure that `scores` come to."""

    def measure(
        self,
        model: Any,
        dataset: D,
        split: str,
        group: ProcessGroup = SINGLE_PROCESS,
        when_done: Callable[[], None] = lambda: None,
    ) -> Measure:
        """Measure a model on a whole split, shared by the processes of `group` where the task can be.

        `when_done` is called when this process has nothing left to read.
        """
        measured = self.measure_of(self.scores(model, dataset, split), dataset, split)
        when_done()
        return measured

    def measure_together(self, models: Sequence[Any], datasets: Sequence[D], split: str) -> list[Measured]:
        """Measure each model on a split of its dataset: the same data and pieces, perhaps in other tokens."""
        return [
            Measured(self.measure_of(scores, dataset, split), pieces.units, pieces.nats(scores))
            for model, dataset, pieces in zip(
                models, datasets, self.common_pieces(datasets, split), strict=True
            )
            for scores in (self.scores(model, dataset, split),)
        ]

    def unread(self, model: Any, dataset: D) -> str | None:
        """What a model leaves of the training part, a sentence, where it reads no more than so much of a text."""
        return None

    def writing(self, model: Any, dataset: D, split: str) -> Writing | None:
        """What a model writes when it is left alone, where a task asks for a text. It costs more than a measure, so it
        is looked at when a run is measured, and not while it learns."""
        return None

    @abstractmethod
    def measure_on(self, readers: Sequence[Reader], data: str | Path, options: ReadOptions) -> list[Measured]:
        """Measure models on the whole of other data, which are read once, in the same pieces for all.

        Raises UserError for bad input.
        """

    def measure_from(
        self,
        nats: float,
        targets: int,
        units: int,
        split: str,
        figures: Mapping[str, float] | None = None,
        counts: Mapping[str, int] | None = None,
    ) -> Measure:
        """A measure of this task. Raises UserError when there is nothing to measure."""
        figures, counts = dict(figures or {}), dict(counts or {})
        return Measure(nats, targets, units, split, self.target, self.unit, self.name, figures, counts)

    @abstractmethod
    def pieces(self, dataset: D, split: str) -> Pieces:
        """A held-out split in pieces that can be drawn again."""

    def common_pieces(self, datasets: Sequence[D], split: str) -> list[Pieces]:
        """`pieces` of one split that is in several datasets, perhaps in other tokens: the same pieces for each."""
        return [self.pieces(dataset, split) for dataset in datasets]

    @abstractmethod
    def size_of(self, counts: Mapping[str, int], of: str = "") -> str:
        """How much a split holds, in words, by what the dataset's facts count of it: `248,348 bytes of test text`."""

    @abstractmethod
    def measured_on(self, counts: Mapping[str, int]) -> str:
        """What a measure of a split is over, in a sentence or two."""
