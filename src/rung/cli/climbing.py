"""`rung climb`."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rung.cli.common import Text, no_option, settings_of, show_json, stopped
from rung.interrupts import interruptible
from rung.models import is_file

if TYPE_CHECKING:
    pass


def climb(
    data: Text,
    *,
    rungs: str | None = None,
    training: Any,
    options: Any,
    run: Any,
    start: Any,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Train several rungs on one text and compare them.

    All get the same data and budget, without one a minute each; what each step up buys is said. The runs and the
    report go to OUT, by default runs/climb; SEED is of the bootstrap too.

    With --label and --from RUN, a language model or a bert, its network is used for the labels in four ways: a new
    head on it, on the lower half of it (or --keep-layers of it), all of it learned on, and all of it learned anew.

    Example: rung climb my.txt --minutes 2

    Args:
        data: shakespeare, names, a file, folder, glob, https URL, hf://owner/dataset, or - for standard input. Several
            texts, each with its share of what is learned from: --data books.txt:0.6 --data web.jsonl:0.4.
        rungs: which rungs, comma-separated, ./FILE.py:CLASS among them; by default
            bigram,ngram,infinigram,neural-bigram,gpt,mix; with --label:
            majority,bag-of-words,ngram,bag-of-ngrams,gru,gpt,mix; with --from majority,bag-of-words.
        json: print the report as one JSON object, nothing else.
        quiet: show no progress.
    """
    no_option(data)
    from rung import api, terminal
    from rung.evaluation.climb import BESIDE_WAYS
    from rung.evaluation.report import headline
    from rung.measure import bits_of, unit_of
    from rung.tasks import task_from, task_of

    run = replace(run, out=run.folder("climb"))
    settings = settings_of(training, options, run, start)
    if rungs is None:
        names = list(BESIDE_WAYS if start.from_ else task_of(task_from((), settings, [data])).ladder)
    else:
        names = [name.strip() for name in rungs.split(",") if name.strip()]
    with interruptible() as stop, terminal.Progress(quiet=quiet or json) as progress:
        progress.phase(f"climbing {', '.join(names)} on {data}")
        report = api.climb(
            data,
            rungs=names,
            on_event=progress.event,
            stop=stop,
            command="rung " + " ".join(sys.argv[1:]),
            **settings,
        )
    if json:
        show_json(report)
    else:
        terminal.climb_table(report)
        best = next(row for row in report["rungs"] if row["name"] == report["best"])
        own = any(map(is_file, names))
        print(f"\n{headline(report)}")
        print(f"best: {best['name']}, {bits_of(best):.3f} bits per {unit_of(best)}")
        print(f"report: {run.out / 'report.html'}")
        print(f"next: {terminal.next_step(best['run'], writes=best['sample'] is not None, own=own)}")
    return (
        stopped(f"; the report holds what was finished. Runs can be resumed, see {run.out}") if stop() else 0
    )
