"""Training on past a budget: what is written down of it, and the learning rate that it goes by.

A budget is always that of the whole run, so the same command, typed again after a crash, means the same. `run.json` has
every change under "continued"; with the last of them a checkpoint made before or after it can be gone on from.

    constant, inverse-root     need no end: they go on as they were
    all others                 end with the budget, so they are stretched over the whole new one; from the rate at which
                               training stood to the stretched schedule it goes in a straight line, over as large a
                               share of what is left as the warm-up has (Ibrahim et al. 2024, arXiv:2403.08763)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from rung.errors import UserError
from rung.opening import from_json, opening
from rung.run_files import LAST, RECIPE
from rung.runs import Run
from rung.tensors import load_tensors
from rung.training.config import DEFAULT_SCHEDULE, TrainingConfig
from rung.training.progress import EVALUATIONS, Progress, share_of_budget
from rung.training.schedules import SCHEDULES, Schedule
from rung.training.trainers import training_of

ENDLESS = ("constant", "inverse-root")
"""The schedules that don't aim at an end."""

BUDGETS = ("steps", "tokens", "minutes")


@dataclass(frozen=True)
class Continuation:
    """One change of a run's budget.

    Attributes:
        step, tokens, seconds: what was spent when it was made.
        budget: the one before: steps, tokens, minutes; null where none was given.
        share: of the new budget, how much was spent.
        rate: the factor on the peak learning rate at which training stood.
        at: how far the first schedule was, as a share of the budget that it was made for.
    """

    step: int
    tokens: int
    seconds: float
    budget: dict[str, Any]
    share: float
    rate: float
    at: float


def spent(run: Run) -> tuple[int, int, float]:
    """Steps, tokens and seconds of a run as it is. Raises UserError when it has no checkpoint to go on from."""
    path = run.folder / LAST
    if not path.exists():
        raise UserError(
            f"{run.folder} has no checkpoint ({LAST}) to go on from; learn on from its weights in a new run: "
            f"rung train {run.rung} DATA --from {run.folder}"
        )
    if run.recipe["status"] == "finished":  # its last checkpoint may be of a training on that was killed
        result = run.recipe["result"]
        return int(result["steps"]), int(result["train_tokens"]), float(result["train_seconds"])
    with opening(path):
        found = json.loads(load_tensors(path)[1]["progress"])
        values = found["step"], found["tokens"], found["seconds"]
        if not all(isinstance(value, int | float) and 0 <= value < 1 << 48 for value in values):
            raise ValueError(f"its progress can't be {found}")
        return values


def with_budget(run: Run, budget: Mapping[str, float | None]) -> dict[str, Any]:
    """The recipe of a run that has made no step, with another budget."""
    training = replace(training_of(run), **{name: budget.get(name) for name in BUDGETS})
    return {**run.recipe, "training": asdict(training)}


def prolonged(run: Run, budget: Mapping[str, float | None]) -> dict[str, Any]:
    """The recipe of `run` with another budget, for the whole of it.

    Raises UserError when it is spent already, and when there is nothing to go on from.
    """
    training = training_of(run)
    step, tokens, seconds = spent(run)
    new = replace(training, **{name: budget.get(name) for name in BUDGETS})
    progress = Progress(step=step, tokens=tokens, seconds=seconds)
    share = share_of_budget(new, progress, seconds)
    if share >= 1:
        raise UserError(
            f"{run.folder} has spent that already: {step:,} steps, {tokens:,} tokens, {seconds / 60:.2f} minutes, and "
            f"a budget is that of the whole run: give more, as in --steps {2 * step}"
        )
    before = last_of(run)
    share_before = share_of_budget(training, progress, seconds)
    rate = schedule_of(training, before)(
        min(1.0, share_before), warmup=training.warmup, floor=training.min_lr
    )
    at = share_before if before is None or before.share == 0 else before.at * share_before / before.share
    entry = Continuation(
        step,
        tokens,
        seconds,
        {name: getattr(training, name) for name in BUDGETS},
        share,
        rate,
        at,
    )
    recipe = {key: value for key, value in run.recipe.items() if key not in ("result", "continued", "asked")}
    return recipe | {
        "status": "training",
        "training": asdict(new),
        "continued": [*run.recipe.get("continued", []), asdict(entry)],
    }


def last_of(run: Run) -> Continuation | None:
    """The last change of its budget; None when there was none. Raises UserError when it can't be."""
    with opening(run.folder / RECIPE):
        entries = run.recipe.get("continued", [])
        if not entries:
            return None
        found = from_json(Continuation, entries[-1])
        if not (0 <= found.share < 1 and 0 <= found.rate <= 1 and found.at >= 0):
            raise ValueError(f"continued can't be {entries[-1]}")
        return found


def schedule_of(training: TrainingConfig, continuation: Continuation | None) -> Schedule:
    """The learning rate's schedule, over the whole of the budget there is now."""
    schedule = SCHEDULES[training.schedule or DEFAULT_SCHEDULE]
    if continuation is None or continuation.share == 0:
        return schedule
    begin, rate, at = continuation.share, continuation.rate, continuation.at

    def as_it_was(progress: float, *, warmup: float, floor: float) -> float:
        return schedule(at * progress / begin, warmup=warmup, floor=floor)

    def stretched(progress: float, *, warmup: float, floor: float) -> float:
        meet = begin + warmup * (1 - begin)
        if progress >= meet:
            return schedule(progress, warmup=warmup, floor=floor)
        to = schedule(meet, warmup=warmup, floor=floor)
        return rate + (to - rate) * max(0.0, progress - begin) / (meet - begin)

    return as_it_was if training.schedule in ENDLESS else stretched


def taken_up(progress: Any, continuation: Continuation | None) -> None:
    """Where a training stands at the very change of its budget, make evaluations due by the new one, and patience new.

    It is the same however often it is done.
    """
    if continuation is not None and progress.step == continuation.step:
        progress.evaluations = int(continuation.share * EVALUATIONS)
        progress.stale = 0


def told(recipe: Mapping[str, Any]) -> str:
    """What is to be told of the change of a budget."""
    entry, training = recipe["continued"][-1], recipe["training"]
    budget = ", ".join(f"{training[name]:,g} {name}" for name in BUDGETS if training[name] is not None)
    name = training["schedule"]
    if name in ENDLESS:
        how = f"the learning rate's schedule, {name}, goes on as it was"
    else:
        how = (
            f"the learning rate's schedule, {name}, is stretched over the whole of it, and reached in a straight line "
            f"from {entry['rate'] * training['lr']:.3g}"
        )
    return f"going on from step {entry['step']:,}, until {budget} in all; {how}"


def told_closed(step: int, best: int | None) -> str:
    """What is to be told of a training that was closed at a step: whose weights the model has."""
    of = (
        f"step {best:,}, the best by validation" if best is not None else "that step, as no text was held out"
    )
    return f"closed at step {step:,}, before its budget was spent: the model is that of {of}"
