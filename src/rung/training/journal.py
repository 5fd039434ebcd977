"""`events.jsonl`: every event of a training as it happens, of the steps about ten a second."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rung.events import Event, Step
from rung.files import atomic_path, cannot_write, json_text

STEP_EVENTS_A_SECOND = 10


class Journal:
    """A file that events are added to, open as long as its `with` block."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last_step = -1.0

    def __enter__(self) -> Journal:
        try:
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise cannot_write(self._path, error) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, event: Event) -> Event:
        """Write `event`, unless it is one of too many steps; give it back."""
        if isinstance(event, Step):
            if event.step > 10 and event.seconds - self._last_step < 1 / STEP_EVENTS_A_SECOND:
                return event
            self._last_step = event.seconds
        try:
            self._file.write(json_text(event.to_json()) + "\n")
            self._file.flush()
        except OSError as error:
            raise cannot_write(self._path, error) from error
        return event

    def rewind(self, step: int | None) -> None:
        """Drop what came after `step`, the last checkpoint; None drops everything."""
        self._file.close()
        kept = [line for line in _lines(self._path) if _upto(line, step)]
        with atomic_path(self._path) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self.__enter__()


def _upto(line: str, step: int | None) -> bool:
    try:
        return step is not None and json.loads(line).get("step", 0) <= step
    except (AttributeError, RecursionError, TypeError, ValueError):
        return False  # the line that was being written when the process was killed, or one that was damaged


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def loss_curves(path: Path) -> tuple[list[float], list[float]]:
    """Training and validation loss at each evaluation in the file, nats per target; what is none is passed over."""
    curves: tuple[list[float], list[float]] = [], []
    for event in evaluations(path):
        train, held_out = (
            next((value for key, value in event.items() if key.startswith(prefix)), None)
            for prefix in ("train_nats_per_", "nats_per_")
        )
        if isinstance(train, float) and isinstance(held_out, float) and math.isfinite(train + held_out):
            curves[0].append(train)
            curves[1].append(held_out)
    return curves


def evaluations(path: Path) -> Iterator[dict[str, Any]]:
    """The evaluations in the file, as JSON has them; lines that are none, damaged ones too, are passed over."""
    return events_of(path, "evaluation")


def events_of(path: Path, *kinds: str) -> Iterator[dict[str, Any]]:
    """The events of these kinds in the file, as `evaluations`; none where there is no file."""
    for line in _lines(path) if path.exists() else ():
        try:
            event = json.loads(line)
        except (RecursionError, ValueError):
            continue
        if isinstance(event, dict) and event.get("kind") in kinds:
            yield event
