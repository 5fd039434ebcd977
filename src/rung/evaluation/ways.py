"""Four ways to make use of a run's network for other labels, side by side with each other and with rungs.

    head      its body stays, a new head is learned
    cut       cut behind half its blocks, which stay; a new head
    all       everything is learned on, from its weights
    scratch   everything is learned, from chance: the same network, as if the run were not there

Which of them pays is a matter of how many labels there are and how near the two texts are (Yosinski et al. 2014, "How
transferable are features in deep neural networks?"); here it is measured on the labels at hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rung.errors import UserError
from rung.evaluation.report import is_barely_trained
from rung.measure import bits_of, unit_of
from rung.models import rung_class, short_name
from rung.runs import Run, load
from rung.training import parents
from rung.training.config import TrainingConfig
from rung.training.parents import StartOptions

WAYS = {
    "head": "a new head on what stays as it was",
    "cut": "a new head on the lower half of it, as it was",
    "all": "everything learned on from its weights",
    "scratch": "everything learned from chance",
}


ONE_WAY = "one-way"


@dataclass(frozen=True)
class WaysOptions:
    """Which network is to be used.

    Attributes:
        from_: with --label: set four ways to use this run's network beside each other: a new head on it as it is, a new
            head on a part of it, all of it learned on, all of it learned anew.
        keep_layers: with --from: how many layers that part has; by default half of them.
        one_way: beside each network that reads from both ends one that reads from the beginning alone: what does the
            other way buy?
    """

    from_: Path | None = None
    keep_layers: int | None = None
    one_way: bool = False

    def __post_init__(self) -> None:
        if self.keep_layers is not None and self.from_ is None:
            raise UserError("--keep-layers says how much of another run's network is kept: give --from RUN")


class Contender(NamedTuple):
    """What takes part in a climb.

    Attributes:
        rung: as it is typed.
        name: what it is called in the table, and its folder.
        config: None = the rung's own.
        training: how.
        start: with which weights; None = its own.
        parent: whose tokens it reads; None = those it reads best.
    """

    rung: str
    name: str
    config: Any
    training: TrainingConfig
    start: StartOptions | None = None
    parent: Run | None = None


def rungs_of(
    rungs: Sequence[str], training: TrainingConfig, task: str = "", *, one_way: bool = False
) -> list[Contender]:
    """Rungs as they come; with `one_way` each that reads a text from both ends behind its twin that doesn't.

    Raises UserError where that is asked of rungs of which none reads from both ends.
    """
    found: list[Contender] = []
    for rung in rungs:
        if one_way and hasattr(config := rung_class(rung, task).config_class, "bidirectional"):
            twin = config(bidirectional=False)
            found.append(Contender(rung, f"{short_name(rung)}-{ONE_WAY}", twin, training))
        found.append(Contender(rung, short_name(rung), None, training))
    if one_way and len(found) == len(rungs):
        raise UserError(
            f"--one-way goes with networks that read from both ends, and {', '.join(rungs)} do not; name others: "
            "--rungs lstm"
        )
    return found


def ways_of(start: WaysOptions, task: str, training: TrainingConfig) -> list[Contender]:
    """The ways to use the run that `start` names, if it names one.

    Raises UserError for one that has no network for this task.
    """
    if start.from_ is None:
        return []
    if task != "classification":
        raise UserError("--from sets four ways to use a network for labels side by side: give --label too")
    run = load(start.from_)
    parent = parents.open_parent(StartOptions(from_=start.from_), run.rung, task)
    assert parent is not None
    model_class = rung_class(run.rung, task)
    given = model_class.config_class()
    whole = parents.inherited(parent, given)
    kept = start.keep_layers or max(1, getattr(whole, "n_layer", 1) // 2)
    starts = {
        "head": StartOptions(parent.folder, learn="head"),
        "cut": StartOptions(parent.folder, learn="head", keep_layers=kept),
        "all": StartOptions(parent.folder),
        "scratch": None,
    }
    if getattr(whole, "n_layer", 1) == 1:
        del starts["cut"]
    found = []
    for way, how in starts.items():
        config = whole if how is None else parents.inherited(parent, given, how.keep_layers, how.learn)
        learn = "all" if how is None else how.learn
        own = training if how is None else parents.with_rate(parent, training, model_class, task, learn)
        found.append(Contender(run.rung, f"{run.rung}-{way}", config, own, how, parent))
    return found


def verdict(ways: Sequence[Contender], rows: Sequence[Mapping[str, Any]], level: Sequence[str]) -> str | None:
    """Which of the ways the labels deserve, in a sentence or two; None where not all were trained.

    level: the names of the rows that are level with the best of all rows.
    """
    named = {row["name"]: row for row in rows}
    own = [named[way.name] for way in ways if way.name in named]
    if len(own) < len(ways) or not ways or ways[0].parent is None:
        return None
    best = min(own, key=bits_of)
    what = WAYS[best["name"].rpartition("-")[2]]
    said = f"Of the ways to use {ways[0].parent.folder}, {best['name']} ({what}) is best: {bits_of(best):.3f} bits per "
    said += f"{unit_of(best)}."
    if near := [
        row["name"] for row in own if row is not best and row["name"] in level and best["name"] not in level
    ]:
        said += f" Level with it, within the noise: {', '.join(near)}."
    first = min(rows, key=bits_of)
    if first not in own:
        said += f" But {first['name']}, which needs no network, is better: {bits_of(first):.3f}."
    if barely := [row["name"] for row in own if is_barely_trained(row)]:
        said += f" Barely trained, so hardly judged: {', '.join(barely)}; give a larger budget."
    return said
