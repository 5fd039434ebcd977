"""Past one process: N of them, started by torchrun, do as one what one would do.

    torchrun --nproc-per-node 2 -m rung train gpt my.txt

The first process leads: it alone reads the command line, prepares the text, writes and speaks. The others wait for it
to call. It calls when a torch network is to be trained, when n-grams are to be counted, when a run is to be measured;
then all take the same steps:

    rows         each takes its share of the rows of batch t, which is a function of (seed, t) as ever
    gradients    are added up (`rung.training.parallel`)
    decisions    losses are added up, time is what the first one's clock says, Ctrl-C stops where any was told to
    evaluation   each scores a share of the validation text (`rung.tasks.language.share`); the sums are added up
    counting     each sorts a share of the tokens (`rung.models.counting.ngram_counts`)

So N processes have the losses of one, up to the order in which numbers are added, and nothing that is written tells how
many there were. Dropout differs from process to process.

Why not DistributedDataParallel: it hooks into `forward`, where a network here is trained by `loss` and may carry a
state; it averages where we weigh by targets; it has no sparse gradients on every backend. What is left to do by hand is
one sum. What DDP would add, sending while the backward pass still goes on, pays on slow networks (docs/distributed.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from rung.errors import UserError
from rung.interrupts import interruptible
from rung.measure import Measure
from rung.process_group import ProcessGroup, current_group, launched, use_group
from rung.runs import Run, load
from rung.training.session import follow

R = TypeVar("R")


def run_as_one(work: Callable[[], R]) -> R | int:
    """Do `work` with all the processes there are: the first does it and returns what it returns, the others follow.

    Where several processes were started, the others return the first one's exit code when it has finished. When one
    fails, its error is raised there; all others exit without a word. Without torchrun this is `work()`. Call it once.
    """
    if not launched():
        return work()
    group = ProcessGroup.from_environment()
    use_group(group)
    try:
        if group.rank:
            return _follow(group)
        result = work()
        group.end(result if isinstance(result, int) else 0)
        return result
    except BaseException as error:
        if _tells_of_a_loss(error):
            error = UserError(
                "another of the processes is no more: start all of them again; a run with a checkpoint goes on with "
                "'rung train --resume RUN'"
            )
        code = 2 if isinstance(error, UserError) else 130 if isinstance(error, KeyboardInterrupt) else 1
        if not group.first_to_fail(code):
            raise SystemExit(code) from error
        raise error


def _tells_of_a_loss(error: BaseException) -> bool:
    """Whether a line to another process, or to torchrun's store, is broken. Gloo has no class for it."""
    return isinstance(error, RuntimeError) and any(
        name in str(error) for name in ("gloo", "NCCL", "TCPStore")
    )


def measure_run(run: Run, split: str) -> Measure:
    """Measure a run on a split of its own text, all processes together."""
    group = current_group()
    group.call("measure", folder=str(run.folder.absolute()), split=split)
    return run.task.measure(run.model, run.corpus, split, group)


def _follow(group: ProcessGroup) -> int:
    """Do what the first process calls for, until it has nothing more to do; its exit code."""
    with interruptible(tell=False) as stop:
        while True:
            do, arguments = group.next_call()
            if do == "end":
                group.disconnect()
                return arguments["code"]
            group.connect()
            if do == "measure":
                run = load(arguments["folder"], trust=True)  # as the first process does
                run.task.measure(run.model, run.corpus, arguments["split"], group)
            else:
                follow(group, stop=stop, **arguments)
