"""A run that is made of another: its files, and what both are worth. The other is never written to."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.errors import UserError
from rung.evaluation.evaluate import evaluate
from rung.files import sha256_of
from rung.measure import Measure
from rung.run_files import DATA, MODEL, TOKENIZER
from rung.run_folders import Place, new_run
from rung.runs import Run, load, versions, write_recipe
from rung.training.trainers import trainer_of

DROPPED = ("asked", "command", "restarts", "continued", "quantised")
"""What a recipe says of how a run came about, and is not true of one that was made of it."""


@dataclass(frozen=True)
class Smaller:
    """A run and what it was made of.

    Attributes:
        run: the new one.
        of: the other.
        before, after: what each is worth on the same text; None where there was none.
        bytes_before, bytes_after: of weights, tokeniser and recipe on disk.
        facts: what was done, as `run.json` says it.
    """

    run: Run
    of: Run
    before: Measure | None
    after: Measure | None
    bytes_before: int
    bytes_after: int
    facts: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """What `--json` says."""
        return {
            "run": self.run.folder.as_posix(),
            "of": self.of.folder.as_posix(),
            **self.facts,
            "bytes_on_disk": {"before": self.bytes_before, "after": self.bytes_after},
            "before": None if self.before is None else self.before.to_json(),
            "after": None if self.after is None else self.after.to_json(),
        }


def check_network(run: Run, verb: str) -> None:
    """Raise UserError for a run that is no network of torch's, or is unfinished."""
    if run.model_class.trained_by != "torch":
        by_gradient = trainer_of(run.model_class).by_gradient
        other = "; an ngram is pruned while it is counted: rung train ngram DATA --prune 0 1 1"
        raise UserError(
            f"{run.folder} is a {run.rung}, and {verb} is for networks that torch trains"
            + (other if run.rung == "ngram" and not by_gradient else "")
        )
    _ = run.model  # it is there, and whole


def make(
    run: Run,
    out: Path,
    change: Callable[[], tuple[Any, dict[str, Any]]],
    write: Callable[[Place], None],
    *,
    name: str,
    data: str | Path | None,
    force: bool,
) -> Smaller:
    """Write a new run into `out`, with the tokeniser, the data and the recipe of `run`.

    Args:
        run: what it is made of.
        out: the new folder.
        change: does what is to be done; the model's entry in the new recipe, and what to say of it there.
        write: writes the new weights.
        name: of the recipe's entry that says so.
        data: the text to measure both on; None = the run's own validation split, where it is there.
        force: overwrite the run that is there.

    Raises UserError when the folder is taken or holds `run`.
    """
    inputs = [run.folder] if data is None else [run.folder, data]
    with new_run(out, force=force, inputs=inputs, resumable=False) as place:
        before = _measured(run, data)
        described, facts = change()
        write(place)
        run.tokenizer.save(place / TOKENIZER)
        if (run.folder / DATA).exists():
            run.corpus.link(place / DATA)
        recipe = {key: value for key, value in run.recipe.items() if key not in DROPPED} | {
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "model": described,
        }
        told = {"run": run.folder.as_posix(), "sha256": sha256_of(run.folder / MODEL), **facts}
        hashes = {part: sha256_of(place / part) for part in (MODEL, TOKENIZER)}
        recipe |= {name: told, "result": {**run.recipe["result"], "validation": None, "sha256": hashes}}
        write_recipe(place, recipe)
        made = Run(place / "", recipe, run.trust)
        recipe["result"]["parameters"] = made.model.n_parameters
        write_recipe(place, recipe)
        after = _measured(made, data)
        if after is not None and data is None:
            recipe["result"]["validation"] = after.to_json()
        write_recipe(place, recipe)
        place.stand()
    new = load(out, trust=run.trust)
    return Smaller(new, run, before, after, run.bytes_on_disk(), new.bytes_on_disk(), facts)


def _measured(run: Run, data: str | Path | None) -> Measure | None:
    own = (run.folder / DATA).exists() and "validation" in run.corpus.splits
    if not run.model.has_probabilities or (data is None and not own):
        return None
    return evaluate(run, data, split="validation")
