"""What training says while it works. Progress bars, metrics files, plots and tests are consumers of these.

Training yields events and prints nothing. Each is one JSON line in a run's `events.jsonl`.
Losses are in nats per target (a token, a label); `seconds` is training time since the run began, pauses between
resumes left out.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rung.measure import Measure, Named


@dataclass(frozen=True)
class Event:
    """The common ancestor; `kind` in JSON is the class's name in lower case."""

    def to_json(self) -> dict[str, Any]:
        return {"kind": type(self).__name__.lower(), **asdict(self)}


@dataclass(frozen=True)
class Note(Event):
    """Something the user should know, in one sentence (a fallback taken, an expectation not met)."""

    text: str


@dataclass(frozen=True)
class Phase(Event):
    """What is being done now that has no steps to count: a few words for whoever is watching."""

    text: str


@dataclass(frozen=True)
class Step(Event):
    """One optimiser step. `progress` is the share of the budget spent, 0 to 1."""

    step: int
    loss: float
    learning_rate: float
    tokens: int
    seconds: float
    progress: float


@dataclass(frozen=True)
class Evaluation(Named, Event):
    """The whole validation split measured. `train_nats_per_target` is the mean loss since the last evaluation.

    In JSON, and as attributes too, losses have the names of what is predicted and measured: `nats_per_token`,
    `bits_per_byte`.
    """

    step: int
    nats_per_target: float
    bits_per_unit: float
    train_nats_per_target: float | None
    seconds: float
    best: bool
    measure: Measure | None = None

    def to_json(self) -> dict[str, Any]:
        target, unit = ("token", "byte") if self.measure is None else (self.measure.target, self.measure.unit)
        return {
            "kind": "evaluation",
            "step": self.step,
            f"nats_per_{target}": self.nats_per_target,
            f"bits_per_{unit}": self.bits_per_unit,
            f"train_nats_per_{target}": self.train_nats_per_target,
            "seconds": self.seconds,
            "best": self.best,
        }


@dataclass(frozen=True)
class Sample(Event):
    """A text the model wrote at this step."""

    step: int
    text: str


@dataclass(frozen=True)
class Checkpoint(Event):
    """Training can be resumed from here."""

    step: int
    path: str


@dataclass(frozen=True)
class Finished(Event):
    """The run is over. `reason`: budget, patience, counted, or diverged."""

    step: int
    reason: str
    seconds: float
    tokens: int
