"""The lowest loss that a text and a number of minutes can give: count, try sizes, train the best of them, mix.

    1. count                 an n-gram and an infinigram: seconds, and often most of the way
    2. try                   a transformer in each of a few sizes, every one for a small share of the minutes
    3. train                 the largest that did about as well as the best of them, from the start, for the rest; or,
                             where the text is too short to fill that time, several of them from several seeds
    4. mix                   what there is, by weights that are learned on the validation text

A trial is short, so it favours small models; hence "about". It also shows which sizes this machine can train at all,
and how often the text can be gone through in the time that is left. After `EPOCHS` times more of it gains a network
little, but networks from different seeds make different mistakes, and their mixture fewer (Hansen and Salamon 1990).
What is lowest on the validation text is kept, and that is nearly always the mixture: its weights are learned there, and
parts that add nothing are left out of it. The parts stay in `parts/`, each a run of its own; `run.json` says what was
tried.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from rung.errors import Stopped, UserError
from rung.events import Event, Note
from rung.files import atomic_path
from rung.measure import bits_of
from rung.models import rung_class
from rung.models.mix import MixConfig
from rung.run_files import DATA, EVENTS, MODEL
from rung.run_folders import Place
from rung.runs import Run, load, write_recipe
from rung.text.corpus import Corpus
from rung.training import restarts
from rung.training.config import TrainingConfig
from rung.training.trainers import Sampler

DEFAULT_MINUTES = 10.0

COUNTED = ("ngram", "infinigram")

TRIAL_SHARE = 0.06
"""The share of the minutes that each size is tried for."""

TOLERATED_GAP = 0.04
"""How far, as a share, a larger model may be behind in its trial and still be chosen: it has further to go. On
Shakespeare a medium one is 2.3 % behind a small one after 36 seconds, and ahead after eight minutes (docs/log.md)."""

TRIAL_SIZES = ("small", "medium", "large")
"""The sizes of transformer that are tried."""

EPOCHS = 8.0
"""How often one network goes through the text, if there is time; what is left after that is for another."""

MAX_NETWORKS = 8
"""The most networks that are trained from different seeds."""

PARTS = "parts"


def train_best(
    corpus: Corpus,
    place: Place,
    *,
    training: TrainingConfig,
    seed: int = 0,
    device: str = "auto",
    command: str = "",
    sample: Sampler | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[str, Event]]:
    """Spend `training.minutes` on `corpus`; `place`, which holds the corpus as `data/`, becomes the mixture's run.

    With the first checkpoint of a transformer an older run in its folder goes. `command` is what it was asked for by.

    Yields the name of the part at work and its event.

    Raises UserError when there is no validation text to choose by, or a budget other than minutes is given.
    """
    if "validation" not in corpus.splits:
        raise UserError("best chooses by validation text: give --val FILE, or a --split with some")
    if training.steps is not None or training.tokens is not None:
        raise UserError("best has a budget in minutes: give --minutes M, not --steps or --tokens")
    minutes = training.minutes if training.minutes is not None else DEFAULT_MINUTES
    parts = place.folder / PARTS
    tried: list[dict[str, Any]] = []

    def left() -> float:
        """Minutes of training that are not spent yet."""
        return minutes - math.fsum(entry["train_seconds"] for entry in tried) / 60

    def train_part(
        name: str, rung: str, settings: dict[str, str], budget: float | None, seed: int = seed
    ) -> Iterator[tuple[str, Event]]:
        part = place.part(f"{PARTS}/{name}", replaces=rung not in COUNTED)
        for event in restarts.start(
            rung,
            replace(corpus, folder=place / DATA).link(part / DATA),
            part,
            config=rung_class(rung).config_class(**settings) if settings else None,
            training=None if budget is None else replace(training, minutes=budget),
            seed=seed,
            device=device,
            sample=sample,
            stop=stop,
        ):
            yield name, event
        run = load(part / "")
        if run.recipe["status"] != "finished":
            raise Stopped(
                f"stopped; go on with 'rung train --resume {part.folder}', then mix what there is: "
                f"'rung train mix DATA --runs {' '.join(str(parts / entry['name']) for entry in tried)} {part.folder}'"
            )
        tried.append(_outcome(name, run, settings))

    for rung in COUNTED:
        yield from train_part(rung, rung, {}, None)
    trial = TRIAL_SHARE * minutes
    for size in TRIAL_SIZES:
        if left() > trial:
            yield from train_part(f"gpt-{size}", "gpt", {"size": size}, trial)
    trials = [entry for entry in tried if entry["rung"] == "gpt"]
    kept = [*COUNTED]
    if trials:
        members = plan(trials, 60 * left(), corpus.train.n_tokens)
        told = ", ".join(f"{like['name']} for {seconds:.0f} s" for like, seconds in members)
        yield "gpt", Note(f"after trials of {60 * trial:.0f} s each, trained from the start: {told}")
        for i, (like, seconds) in enumerate(members):
            name = "gpt" if i == 0 else f"gpt-seed-{seed + i}"
            budget = left() if i == len(members) - 1 else seconds / 60
            yield from train_part(name, "gpt", like["settings"], max(budget, trial), seed + i)
            kept.append(name)
        # On little text the long training may have learned it by heart, and a trial be what is best.
        lowest = min(
            (entry for entry in tried if entry["rung"] == "gpt"), key=lambda entry: entry["bits_per_byte"]
        )
        if lowest["name"] not in kept:
            kept.append(lowest["name"])
    place.stand()
    for event in restarts.start(
        "mix",
        replace(corpus, folder=place / DATA),
        place,
        config=MixConfig(tuple(str(parts / name) for name in kept)),
        seed=seed,
        stop=stop,
    ):
        yield "best", event
    run = load(place.folder)
    recipe = run.recipe
    tried.append(_outcome("mix", run, {}))
    lowest = min(tried, key=lambda entry: entry["bits_per_byte"])
    if lowest["name"] != "mix":
        yield "best", Note(f"{lowest['name']} alone is lower than the mixture, so it is what is kept")
        recipe = _adopt(parts / lowest["name"], place.folder)
    recipe["result"]["train_seconds"] = math.fsum(entry["train_seconds"] for entry in tried)
    write_recipe(place, recipe | {"command": command, "tried": tried})


def plan(trials: list[dict[str, Any]], seconds: float, n_tokens: int) -> list[tuple[dict[str, Any], float]]:
    """Which trials to repeat at length on a text of `n_tokens`, and for how many of the `seconds` that are left.

    One: the largest that is about as good as the best. But if the best could go through the text twice `EPOCHS` times,
    several, the best first, of all sizes that are about as good, each for as many epochs as the others.
    """
    by_loss = sorted(trials, key=lambda entry: entry["bits_per_byte"])
    near = [
        entry
        for entry in by_loss
        if entry["bits_per_byte"] <= by_loss[0]["bits_per_byte"] * (1 + TOLERATED_GAP)
    ]
    needed = [EPOCHS * n_tokens * entry["train_seconds"] / entry["train_tokens"] for entry in near]
    if seconds < 2 * needed[0]:
        return [(max(near, key=trials.index), seconds)]
    members: list[tuple[dict[str, Any], float]] = []
    total = 0.0
    for like, time in islice(cycle(zip(near, needed, strict=True)), MAX_NETWORKS):
        if total + time <= seconds:
            members.append((like, time))
            total += time
    return [(like, time * seconds / total) for like, time in members]


def _outcome(name: str, run: Run, settings: dict[str, str]) -> dict[str, Any]:
    """What is told of one that was tried."""
    result = run.recipe["result"]
    return {
        "name": name,
        "rung": run.rung,
        "settings": settings,
        "bits_per_byte": bits_of(result["validation"]),
        "train_seconds": result["train_seconds"],
        "train_tokens": result["train_tokens"],
    }


def _adopt(part: Path, folder: Path) -> dict[str, Any]:
    """Make the run in `folder` the one in `part`; its recipe."""
    for name in (MODEL, EVENTS):
        with atomic_path(folder / name) as temporary:
            shutil.copyfile(part / name, temporary)
    return load(part).recipe
