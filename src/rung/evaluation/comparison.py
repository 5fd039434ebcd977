"""Runs beside each other: one table over runs and texts, what their differences are, and which of them are noise.

Two noises are told apart. Other text of the same kind would have given other figures: that is the interval and the
p-value of a difference, from the same pieces of text for both (`rung.evaluation.statistics`). Another seed would have
given another model: that is the spread over runs that differ by seed alone, which stand in one row by their mean.

Tokenisers may differ: language is compared in bits per byte, over pieces that end where every tokeniser ends a token.
Texts are never pooled: each has a table of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from rung.errors import UserError
from rung.evaluation.evaluate import check_split, reader_of, split_notes
from rung.evaluation.statistics import (
    Difference,
    SeedNoise,
    bootstrap_interval,
    gathered,
    paired_bootstrap,
    paired_p_value,
    seed_noise,
)
from rung.measure import checked
from rung.runs import Run
from rung.tasks.base import Measured, columns_in
from rung.text.options import ReadOptions


@dataclass(frozen=True)
class Row:
    """A run, or several that differ by seed alone, on one text.

    Attributes:
        name: the folder; of several the first.
        runs: the folders.
        seeds: of each.
        bits: the measure of each run, bits per unit.
        ci95: of their mean, for the noise of the text; None where there is too little of it.
        figures: the field's own figures, their means.
        tokenizer: what the text is cut into.
        parameters: numbers in a model.
        counted: it only counts, so no seed changes it.
        nats: (K,) what each piece of the text cost, the mean of the runs.
    """

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    rung: str
    bits: tuple[float, ...]
    ci95: tuple[float, float] | None
    figures: dict[str, float]
    tokenizer: str
    parameters: int
    counted: bool
    nats: np.ndarray

    @property
    def mean(self) -> float:
        """Bits per unit; of several runs the mean."""
        return float(np.mean(self.bits))

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds, bits per unit; None of one."""
        return float(np.std(self.bits, ddof=1)) if len(self.bits) > 1 else None


@dataclass(frozen=True)
class Pair:
    """Two rows. `found` is bits per unit of `second` less those of `first`: negative = `second` is better.

    Attributes:
        found: the difference, with the interval of the text's noise.
        p: of the paired randomisation test over pieces of text; None where there is too little text.
        seeds: the noise of seeds; None where only one was trained.
    """

    first: Row
    second: Row
    found: Difference
    p: float | None
    seeds: SeedNoise | None


@dataclass(frozen=True)
class Text:
    """One text with all rows, and every two of them in order.

    Attributes:
        name: the file, or the split.
        units: how many there are: bytes, examples.
        pieces: in how many independent pieces.
        notes: what to know before trusting it.
    """

    name: str
    units: int
    pieces: int
    rows: list[Row]
    pairs: list[Pair]
    notes: list[str]

    @property
    def best(self) -> Row:
        """The one with the lowest figure."""
        return min(self.rows, key=lambda row: row.mean)

    def against_first(self, row: Row) -> Pair | None:
        """The row beside the first one; None of the first."""
        return next((pair for pair in self.pairs if pair.first is self.rows[0] and pair.second is row), None)


@dataclass(frozen=True)
class Comparison:
    """All texts. `task` and `unit` are those of every run."""

    task: str
    unit: str
    texts: list[Text]


def compare(
    runs: Sequence[Run],
    data: Sequence[str | Path] = (),
    *,
    split: str = "test",
    options: ReadOptions | None = None,
    seed: int = 0,
) -> Comparison:
    """Measure runs of one task on the same texts.

    Args:
        runs: finished; the first is what the others are held against.
        data: any sources; none = the runs' own `split`, which has to be the same for all.
        split: train, validation or test, of the runs' own data.
        options: how to read `data`.
        seed: of the resampling.

    Raises UserError when the runs have no measure or no text in common.
    """
    if len(runs) < 2:
        raise UserError("name two runs or more: rung compare RUN RUN")
    folders = [run.folder.resolve() for run in runs]
    for place, run in enumerate(runs):
        if folders[place] in folders[:place]:
            raise UserError(f"{run.folder} is named twice")
        if run.task.name != runs[0].task.name:
            raise UserError(
                f"{run.folder} was trained for {run.task.name} and {runs[0].folder} for {runs[0].task.name}: they have "
                "no measure in common"
            )
        if run.tokenizer.unit != runs[0].tokenizer.unit:
            raise UserError(
                f"{run.folder} is measured by the {run.tokenizer.unit} and {runs[0].folder} by the "
                f"{runs[0].tokenizer.unit}: they have no unit in common"
            )
    task = runs[0].task
    if not data:
        check_split(split)
        _check_shared(runs, split)
        found = task.measure_together([run.model for run in runs], [run.corpus for run in runs], split)
        told = _told(runs, [split_notes(run, split) for run in runs])
        texts = [_text(split, runs, found, told, seed)]
    else:
        readers = [reader_of(run) for run in runs]
        how = options if options is not None else ReadOptions()
        texts = []
        for source in data:
            found = task.measure_on(readers, source, how)
            told = _told(runs, [one.measure.notes for one in found])
            texts.append(_text(str(source), runs, found, told, seed))
    return Comparison(task.name, task.unit, texts)


def _told(runs: Sequence[Run], notes: Sequence[Sequence[str]]) -> list[str]:
    """Each note once, with the runs that it is about."""
    about: dict[str, list[str]] = {}
    for run, own in zip(runs, notes, strict=True):
        for note in own:
            about.setdefault(note, []).append(run.folder.as_posix())
    return [
        note if len(names) == len(runs) else f"{', '.join(names)}: {note}" for note, names in about.items()
    ]


def _text(name: str, runs: Sequence[Run], found: Sequence[Measured], notes: list[str], seed: int) -> Text:
    for run, one in zip(runs, found, strict=True):
        checked(one.measure, str(run.folder))
        if unknown := one.measure.counts.get("unknown"):
            notes.append(
                f"{run.folder}: {unknown:,} unknown words are one symbol to it, not spelled: its bits are too few"
            )
    units = found[0].units
    rows = [
        _row([runs[i] for i in group], [found[i] for i in group], seed) for group in _by_all_but_seed(runs)
    ]
    pairs = [_pair(first, second, units, seed) for first, second in combinations(rows, 2)]
    return Text(name, int(units.sum()), len(units), rows, pairs, notes)


def _row(runs: Sequence[Run], found: Sequence[Measured], seed: int) -> Row:
    nats = np.mean([one.nats for one in found], axis=0)
    figures = [{**one.measure.to_json()} for one in found]
    columns = [column.key for column in columns_in(runs[0].task.columns, figures)]
    return Row(
        name=runs[0].folder.as_posix(),
        runs=tuple(run.folder.as_posix() for run in runs),
        seeds=tuple(run.recipe["seed"] for run in runs),
        rung=runs[0].rung,
        bits=tuple(one.measure.bits_per_unit for one in found),
        ci95=bootstrap_interval(*gathered(nats, found[0].units), seed=seed),
        figures={key: float(np.mean([said[key] for said in figures])) for key in columns},
        tokenizer=f"{runs[0].tokenizer.kind} {runs[0].tokenizer.vocab_size:,}",
        parameters=runs[0].recipe["result"]["parameters"],
        counted=runs[0].model_class.trained_by == "counting",
        nats=nats,
    )


def _pair(first: Row, second: Row, units: np.ndarray, seed: int) -> Pair:
    one, other, pieces = gathered(first.nats, second.nats, units)
    return Pair(
        first,
        second,
        paired_bootstrap(one, other, pieces, seed=seed),
        paired_p_value(one, other, seed=seed),
        seed_noise(np.array(first.bits), np.array(second.bits), fixed=(first.counted, second.counted)),
    )


def _by_all_but_seed(runs: Sequence[Run]) -> list[list[int]]:
    """The places of runs that were made alike but for the seed, group by group, in order. No seed is twice in one."""
    groups: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        key = _but_seed(run)
        if run.recipe["seed"] in [runs[i].recipe["seed"] for i in groups.get(key, ())]:
            key += run.folder.as_posix()
        groups.setdefault(key, []).append(place)
    return list(groups.values())


def _but_seed(run: Run) -> str:
    """All of a recipe that the seed is not, as a text."""
    recipe = run.recipe
    said = {key: recipe.get(key) for key in ("task", "tokenizer", "model", "training")}
    said |= {key: recipe[key] for key in ("pruned", "quantised") if key in recipe}
    return json.dumps([said, _data_of(recipe["data"])], sort_keys=True, default=str)


def _data_of(facts: dict[str, Any]) -> Any:
    """What the data are, wherever they lay."""
    sources = {"data": facts["source"], **facts.get("given", {})}
    return [
        {name: source.get("sha256") for name, source in sources.items()},
        facts["source"].get("documents"),
        [facts.get(key) for key in ("split", "split_rule", "parts", "columns")],
    ]


def _split_of(run: Run, split: str) -> Any:
    """What a split of a run's own data is: the same for two runs only where the texts are the same."""
    facts = run.corpus.facts
    if given := facts.get("given", {}).get(split):
        return [given.get("sha256"), given.get("documents")]
    counts = {
        key: value for key, value in facts["parts"].get(split, {}).items() if key not in ("tokens", "words")
    }
    source = facts["source"]
    return [source.get("sha256"), source.get("documents"), facts["split_rule"], counts, facts.get("columns")]


def _check_shared(runs: Sequence[Run], split: str) -> None:
    """Raise UserError unless the split is the same text for all."""
    for run in runs:
        run.corpus.stream(split)
        if _split_of(run, split) != _split_of(runs[0], split):
            raise UserError(
                f"{run.folder} has other {split} text than {runs[0].folder}: name a text for all, with --data FILE"
            )


def to_json(comparison: Comparison) -> dict[str, Any]:
    """What `--json` says; every pair is there, not only those with the first."""
    bits = f"bits_per_{comparison.unit}"

    def row(row: Row) -> dict[str, Any]:
        return {
            "name": row.name,
            "rung": row.rung,
            bits: row.mean,
            "ci95": None if row.ci95 is None else list(row.ci95),
            "sd_over_seeds": row.spread,
            **row.figures,
            "tokenizer": row.tokenizer,
            "parameters": row.parameters,
            "runs": [
                {"run": run, "seed": seed, bits: value}
                for run, seed, value in zip(row.runs, row.seeds, row.bits, strict=True)
            ],
        }

    def pair(pair: Pair) -> dict[str, Any]:
        return {
            "from": pair.first.name,
            "to": pair.second.name,
            "difference": pair.found.difference,
            "ci95": None if pair.found.ci95 is None else list(pair.found.ci95),
            "p": pair.p,
            "larger_than_noise": pair.found.larger_than_noise,
            "seeds": None if pair.seeds is None else pair.seeds._asdict(),
        }

    return {
        **({} if comparison.task == "language" else {"task": comparison.task}),
        "texts": [
            {
                "text": text.name,
                f"{comparison.unit}s": text.units,
                "pieces": text.pieces,
                "rows": [row(one) for one in text.rows],
                "differences": [pair(one) for one in text.pairs],
                "best": text.best.name,
                "notes": text.notes,
            }
            for text in comparison.texts
        ],
    }
