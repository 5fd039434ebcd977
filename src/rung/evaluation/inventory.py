"""What runs there are in a folder, damaged ones too: looking never fails on what it finds."""

from __future__ import annotations

import datetime
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rung.errors import UserError
from rung.evaluation.report import size
from rung.evaluation.summary import bytes_of
from rung.evaluation.tables import Table, as_text
from rung.files import locked
from rung.measure import bits_of, unit_of
from rung.run_files import CHECKPOINTS, DATA, LAST, MODEL, MOVING, NEXT, READY, RECIPE
from rung.runs import load
from rung.training.restarts import RESTARTS

LONGEST_DATA = 40


@dataclass(frozen=True)
class Entry:
    """One run.

    Attributes:
        name: its folder.
        rung: what it is; None where that can't be read, and so for the others.
        data: the text it was trained on.
        bits: of validation data, per `unit`; None where nothing was measured.
        bytes: of all its files.
        created: when, as `run.json` says, else when that was written; ISO 8601.
        status: finished, training (now), stopped at a checkpoint, begun (no checkpoint yet), imported, or damaged.
        damage: what is damaged.
    """

    name: str
    rung: str | None
    data: str | None
    bits: float | None
    unit: str | None
    bytes: int
    created: str
    status: str
    damage: str | None = None

    def to_json(self) -> dict[str, Any]:
        """What `--json` says."""
        return {key: value for key, value in asdict(self).items() if key != "damage" or value is not None}


def inventory(folder: Path) -> list[Entry]:
    """The runs in `folder`, those inside climbs and searches too, by name. Raises UserError when there is no folder."""
    if not folder.is_dir():
        raise UserError(
            f"there is no folder {folder}; name the one that holds runs, or make one: rung train RUNG DATA"
        )
    return [_entry(path) for path in _run_folders(folder)]


def _run_folders(folder: Path) -> Iterator[Path]:
    """Folders with a run.json, or with a model without one; what lies inside a run's own folders is a part of it."""
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if name not in (DATA, CHECKPOINTS, RESTARTS) and name not in (NEXT, READY, MOVING)
        )
        if RECIPE in names or MODEL in names:
            yield Path(where)


def _entry(path: Path) -> Entry:
    name, n_bytes = path.as_posix(), bytes_of(path)
    try:
        written = max((path / file).stat().st_mtime for file in (RECIPE, MODEL) if (path / file).exists())
    except (OSError, ValueError):
        written = 0.0
    created = datetime.datetime.fromtimestamp(written, datetime.UTC).isoformat(timespec="seconds")
    try:
        recipe = load(path).recipe
        measured = (recipe.get("result") or {}).get("validation")
        bits = None if measured is None else float(bits_of(measured))
        return Entry(
            name,
            str(recipe["model"]["rung"]),
            str(recipe["data"]["source"].get("data")),
            bits,
            None if measured is None else unit_of(measured),
            n_bytes,
            _time(recipe.get("created")) or created,
            _status(path, recipe),
        )
    except UserError as error:
        return Entry(name, None, None, None, None, n_bytes, created, "damaged", str(error))
    except (AttributeError, KeyError, OSError, OverflowError, StopIteration, TypeError, ValueError) as error:
        said = f"{path / RECIPE} does not say what it should: {error}"
        return Entry(name, None, None, None, None, n_bytes, created, "damaged", said)


def _status(path: Path, recipe: dict[str, Any]) -> str:
    if recipe["status"] != "finished":
        with locked(path) as ours:
            if ours is False:
                return "training"
        resumable = (path / LAST).exists() or any(path.glob(f"{RESTARTS}/*/{LAST}"))
        return "stopped" if resumable else "begun"
    if not (path / MODEL).exists():
        return "without weights"
    return "imported" if recipe["result"].get("reason") == "imported" else "finished"


def _time(text: Any) -> str | None:
    """A time as ISO 8601 has it; None for what is none."""
    try:
        found = datetime.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return None if found.tzinfo is None else found.isoformat(timespec="seconds")


def in_words(entries: list[Entry], now: datetime.datetime) -> str:
    """A table, and below it what is damaged."""
    rows = [
        [
            _plain(entry.name),
            entry.rung or "-",
            _shortened(_plain(entry.data or "-")),
            entry.status,
            _bits(entry),
            size(entry.bytes),
            age((now - datetime.datetime.fromisoformat(entry.created)).total_seconds()),
        ]
        for entry in entries
    ]
    headings = ["run", "rung", "data", "status", "validation", "size", "age"]
    table = as_text(Table("", headings, rows, names=4))
    return "\n".join([table, *(f"- {_plain(entry.damage)}" for entry in entries if entry.damage)])


def age(seconds: float) -> str:
    """How long ago: `12 s`, `5 min`, `3 h`, `2 days`."""
    for unit, name in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= (2 * unit if name == "days" else unit):
            return f"{math.floor(seconds / unit)} {name}"
    return f"{max(seconds, 0):.0f} s"


def _bits(entry: Entry) -> str:
    return "-" if entry.bits is None else f"{entry.bits:.3f} bits/{entry.unit}"


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_DATA else "…" + text[1 - LONGEST_DATA :]


def _plain(text: str) -> str:
    """What a terminal can be given: control characters, which a stranger's folder may hold, as question marks."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
