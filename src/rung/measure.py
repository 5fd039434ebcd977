"""One unit for every task: bits, of what is predicted.

    bits per unit = total nats / (ln 2 x units)

over the whole split. A target is what a model predicts (a token, a label, a tag); a unit is what it is reckoned by, so
that models which cut differently compare: the bytes of a text, whatever its tokens; an example, whatever its length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rung.errors import UserError

NO_NUMBERS = (
    "the model's probabilities are not numbers (nan): its training diverged, or its files are damaged"
)


@contextmanager
def naming(of: object) -> Iterator[None]:
    """Have a model whose probabilities are not numbers be called by its name, `of`."""
    try:
        yield
    except UserError as error:
        if str(error) != NO_NUMBERS:
            raise
        raise UserError(f"{of}: {NO_NUMBERS}") from error


class Named:
    """What `to_json` says, as attributes too."""

    def to_json(self) -> dict[str, Any]:
        """By name, what is to be said."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        # A field that is asked for here is not there yet: the object is being copied or unpickled.
        if not name.startswith("_") and name not in getattr(type(self), "__dataclass_fields__", ()):
            said = self.to_json()
            if name in said:
                return said[name]
        raise AttributeError(f"{type(self).__name__} has no {name!r}")


@dataclass(frozen=True)
class Measure(Named):
    """How well a model predicts a split.

    Beside its fields it has by name what the task speaks of: `bits_per_byte`, `nats_per_token`, `tokens`, `bytes` and
    each of the `figures` and `counts`.

    Attributes:
        nats: the sum of -log p over all targets, natural logarithm.
        targets: how many predictions that was.
        units: how many units they are reckoned by.
        split: train, validation, test, or the name of the file.
        target, unit: what they are called, one of each.
        task: of what it is the measure.
        figures: the field's own figures: perplexity; accuracy, macro-F1.
        counts: what else there is to count: documents; labels.
        notes: what to know before trusting it, a sentence each.
        by_source: of several texts each by itself, `split` its name.
        ci95: the 95 % interval of the bits per unit; None where none was made, or there is too little data for one.
    """

    nats: float
    targets: int
    units: int
    split: str
    target: str
    unit: str
    task: str
    figures: dict[str, float] = field(default_factory=dict, hash=False)
    counts: dict[str, int] = field(default_factory=dict, hash=False)
    notes: tuple[str, ...] = ()
    ci95: tuple[float, float] | None = None
    by_source: tuple[Measure, ...] = ()

    def __post_init__(self) -> None:
        if self.targets == 0 or self.units == 0:
            raise UserError(f"{self.split}: no text to measure")

    @property
    def nats_per_target(self) -> float:
        """The mean loss."""
        return self.nats / self.targets

    @property
    def bits_per_unit(self) -> float:
        """The measure itself."""
        return self.nats / (math.log(2) * self.units)

    def to_json(self) -> dict[str, Any]:
        """What `--json` and `run.json` say; files have null for a number that is infinite."""
        own = self.target == self.unit
        return {
            **({} if self.task == "language" else {"task": self.task}),
            f"bits_per_{self.unit}": self.bits_per_unit,
            **({} if self.ci95 is None else {"ci95": list(self.ci95)}),
            **({} if own else {f"nats_per_{self.target}": self.nats_per_target}),
            **self.figures,
            **({} if own else {f"{self.target}s": self.targets}),
            f"{self.unit}s": self.units,
            **self.counts,
            "split": self.split,
            **({"notes": list(self.notes)} if self.notes else {}),
            **({"by_source": [one.to_json() for one in self.by_source]} if self.by_source else {}),
        }


def perplexity(nats_per_target: float) -> float:
    """exp of the mean loss: how many equally likely targets would surprise as much."""
    return math.exp(nats_per_target) if nats_per_target < 700 else math.inf


def checked(measure: Measure, of: str) -> Measure:
    """The same, a measure of the run in the folder `of`. Raises UserError where it is no number."""
    if math.isnan(measure.nats):
        raise UserError(f"{of}: {measure.split} can't be measured: {NO_NUMBERS}")
    return measure


def number(value: float | None) -> float:
    """A number that was read from a file, where null stands for infinity: the loss of what has probability 0."""
    return math.inf if value is None else value


def bits_of(measured: Mapping[str, Any]) -> float:
    """The measure itself, of what `Measure.to_json` said."""
    return number(next(value for key, value in measured.items() if key.startswith("bits_per_")))


def unit_of(measured: Mapping[str, Any]) -> str:
    """What that measure is reckoned by: byte, example."""
    return next(key.removeprefix("bits_per_") for key in measured if key.startswith("bits_per_"))


def in_words(measured: Mapping[str, Any], digits: int) -> str:
    """`1.2345 nats per token (1.7810 bits per byte)`, or the bits alone where there is but one unit."""
    words = {
        key: f"{number(value):.{digits}f} {key.replace('_', ' ')}"
        for key, value in measured.items()
        if key.startswith(("bits_per_", "nats_per_"))
    }
    bits, *nats = words.values()
    return f"{nats[0]} ({bits})" if nats else bits
