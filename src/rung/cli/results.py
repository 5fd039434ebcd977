"""What a training came to, as the verbs that train show it."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Any

from rung.cli.common import show_json, stopped

if TYPE_CHECKING:
    from rung.runs import Run


def show_run(run: Run, json: bool, **told: Any) -> int:
    """The result of a training; how to go on when it was stopped."""
    from rung import terminal
    from rung.training.parents import in_words

    tested = run.recipe.get("training", {}).get("overfit_one_batch")
    if run.recipe["status"] != "finished" and tested:
        return stopped("; it was a test, and nothing is kept")
    if run.recipe["status"] != "finished":
        own = " --trust" if run.model_class.code is not None else ""
        return stopped(
            f"; a checkpoint is saved, go on with: rung train --resume {quote(str(run.folder))}{own} "
            "(or close it as it is: --finish)"
        )
    result = run.recipe["result"]
    if json:
        keys = ("validation", "train_seconds", "parameters", "mixture", "old_text", "new_text")
        show_json(
            {
                "run": None if tested else str(run.folder),
                **{key: result[key] for key in keys if key in result},
                **told,
            }
        )
        return 0
    if tested:
        print("it was a test of the model: no run is kept")
        return 0
    measured = result["validation"]
    if measured is not None:
        print(f"{run.rung}: {terminal.measured(measured, run.tokenizer.kind)}")
    elif "validation" not in run.recipe["data"]["parts"]:
        print(f"{run.rung}: not measured, as no validation text was held out")
    if "mixture" in result:
        terminal.mixture_table(result)
    if (forgotten := in_words(result)) is not None:
        print(forgotten)
    print(f"{terminal.count(result['parameters'])} parameters, {result['train_seconds']:.1f} s of training")
    print(f"run: {run.folder}")
    usable = run.model.has_probabilities
    own, tested = run.model_class.code is not None, "test" in run.recipe["data"]["parts"]
    print(
        f"next: {terminal.next_step(run.folder, writes=run.task.writes, tested=tested, own=own)}"
        if usable
        else "it gives scores, not probabilities: it can't be sampled"
    )
    return 0
