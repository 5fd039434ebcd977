"""Past one process: N of them, started by torchrun, train one network as one would.

    torchrun --nproc-per-node 2 -m rung train gpt my.txt

The first process leads: it alone reads the command line, prepares the text, writes and speaks. The others wait for it
to call. It calls when a torch network is to be trained; then all take the same steps:

    rows         each takes its share of the rows of batch t, which is a function of (seed, t) as ever
    gradients    each divides its loss by the tokens of the whole batch, so that the sum of all gradients is the
                 gradient of the batch; they are added up and every process takes the same step
    decisions    losses are added up, time is what the first one's clock says, Ctrl-C stops where any was told to
    evaluation   each scores a share of the validation text (`share`); the sums are added up

So N processes have the losses of one, up to the order in which numbers are added, and nothing that is written tells how
many there were. Dropout differs from process to process.

It calls too when n-grams are to be counted: each process sorts a share of the tokens (`rung.models.counting.ngram_counts`).

Why not DistributedDataParallel: it hooks into `forward`, where a network here is trained by `loss` and may carry a
state; it averages where we weigh by tokens; it has no sparse gradients on every backend. What is left to do by hand is
one sum. What DDP would add, sending while the backward pass still goes on, pays on slow networks (docs/distributed.md).

Messages go over torchrun's own store, numbers over gloo, or NCCL where they lie on GPUs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from rung.errors import UserError
from rung.interrupts import interruptible
from rung.measure import Measure
from rung.models.base import LanguageModel
from rung.process_group import SINGLE_PROCESS, ProcessGroup, launched
from rung.runs import Run, load
from rung.text.stream import TokenStream

if TYPE_CHECKING:
    pass  # pyright: ignore[reportPrivateImportUsage]

R = TypeVar("R")


def as_one(work: Callable[[], R]) -> R | int:
    """Do `work` with all the processes there are: the first does it and returns what it returns, the others follow.

    Where several processes were started, the others return the first one's exit code when it has finished. When one
    fails, its error is raised there; all others exit without a word. Without torchrun this is `work()`. Call it once.
    """
    global _group
    if not launched():
        return work()
    _group = ProcessGroup.from_environment()
    try:
        if _group.rank:
            return _follow(_group)
        result = work()
        _group.end(result if isinstance(result, int) else 0)
        return result
    except BaseException as error:
        code = 2 if isinstance(error, UserError) else 130 if isinstance(error, KeyboardInterrupt) else 1
        if not _group.first_to_fail(code):
            raise SystemExit(code) from error
        raise


def process_group() -> ProcessGroup:
    """The processes that train together: this one alone unless it runs within `as_one`.

    Raises UserError when several were started that don't know of each other.
    """
    if _group is SINGLE_PROCESS and launched():
        raise UserError(
            f"{os.environ['WORLD_SIZE']} processes were started, each of which would train alone; in Python, hand the "
            "call to rung.training.distributed.as_one"
        )
    return _group


def measure_run(run: Run, split: str) -> Measure:
    """Measure a run on a split of its own text, all processes together."""
    here = process_group()
    here.call("measure", folder=str(run.folder.absolute()), split=split)
    return measure_together(here, run.model, run.corpus.stream(split), run.corpus.n_bytes(split), split)


def measure_together(
    group: ProcessGroup,
    model: LanguageModel,
    stream: TokenStream,
    n_bytes: int,
    split: str,
    between: Callable[[], None] = lambda: None,
) -> Measure:
    """As `rung.measure.measure`, each process scoring its share; `between` is called when that is done."""
    part, skip = share(stream, group.rank, group.world_size, model.context)
    nats = -float(np.sum(model.score_stream(part)[skip:], dtype=np.float64)) if part.n_tokens else 0.0
    between()
    return Measure.total(group.sum(nats), stream.n_tokens, n_bytes, stream.n_documents, split)


_group = SINGLE_PROCESS


def share(stream: TokenStream, rank: int, size: int, context: int | None) -> tuple[TokenStream, int]:
    """What process `rank` of `size` scores of a stream, and how many scores at its beginning don't count.

    The stream is cut into equal lengths and each cut moved to where nothing changes by cutting: between two documents,
    or, where a model has a finite context C, between two windows of a long one. By the policy of `rung.models.networks.network`
    a document's windows begin S = C - C // 2 inputs apart and each but the first answers for its last S, so from a
    multiple of S on a document has the windows it would have had, save that the first of them answers for too much:
    its C scores are another's.
    """
    cuts = [_cut(stream, stream.n_tokens * r // size, context) for r in (rank, rank + 1)]
    (first, begin), (end, _) = cuts  # numbered like targets: 0 is ids[1]
    if first == end:
        return TokenStream(stream.ids[:1], np.array([1])), 0
    starts = np.asarray(stream.starts) - 1
    within = starts[(starts > begin) & (starts < end)]
    ids = np.concatenate([stream.ids[:1], stream.ids[begin + 1 : end + 1]])
    return TokenStream(ids, np.concatenate([[begin], within, [end]]) - begin + 1), first - begin


def _cut(stream: TokenStream, at: int, context: int | None) -> tuple[int, int]:
    """Where to cut near `at`, and from where on one has to read to go on from there."""
    if at == stream.n_tokens:
        return at, at
    document = int(np.searchsorted(stream.starts, at + 1, side="right")) - 1
    first, last = int(stream.starts[document]) - 1, int(stream.starts[document + 1]) - 1
    if context is None or last - first < 4 * context or at - first < context:
        nearest = first if at - first <= last - at else last
        return nearest, nearest
    stride = context - context // 2
    begin = first + (at - first - context) // stride * stride
    return begin + context, begin


def _follow(group: ProcessGroup) -> int:
    """Do what the first process calls for, until it has nothing more to do; its exit code."""
    from rung.training.session import count_along, take_part

    with interruptible(tell=False) as stop:
        while True:
            do, arguments = group.next_call()
            if do == "end":
                group.disconnect()
                return arguments["code"]
            group.connect()
            if do == "measure":
                run, split = load(Path(arguments["folder"])), arguments["split"]
                measure_together(group, run.model, run.corpus.stream(split), run.corpus.n_bytes(split), split)
            elif do == "count":
                count_along(group, **arguments)
            else:
                take_part(group, stop=stop, **arguments)
