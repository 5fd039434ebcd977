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

It calls too when n-grams are to be counted: each process sorts a share of the tokens (`rung.models.ngram_counts`).

Why not DistributedDataParallel: it hooks into `forward`, where a network here is descended by `nats` and may carry a
state; it averages where we weigh by tokens; it has no sparse gradients on every backend. What is left to do by hand is
one sum. What DDP would add, sending while the backward pass still goes on, pays on slow networks (docs/distributed.md).

Messages go over torchrun's own store, numbers over gloo, or NCCL where they lie on GPUs.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, final

import numpy as np

from rung.errors import UserError
from rung.interrupts import interruptible
from rung.measure import Measure
from rung.models.base import LanguageModel
from rung.runs import Run, load
from rung.text.stream import TokenStream

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.distributed import Store  # pyright: ignore[reportPrivateImportUsage]

BUCKET = 1 << 24
"""How many gradients are added up at once: 64 MiB of float32."""

POLL_SECONDS = 0.02

R = TypeVar("R")


def launched() -> bool:
    """Whether torchrun, or what sets the same variables, started several processes."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def as_one(work: Callable[[], R]) -> R | int:
    """Do `work` with all the processes there are: the first does it and returns what it returns, the others follow.

    Where several processes were started, the others return the first one's exit code when it has finished. When one
    fails, its error is raised there; all others exit without a word. Without torchrun this is `work()`. Call it once.
    """
    global _team
    if not launched():
        return work()
    _team = Team.of_torchrun()
    try:
        if _team.rank:
            return _follow(_team)
        result = work()
        _team.end(result if isinstance(result, int) else 0)
        return result
    except BaseException as error:
        code = 2 if isinstance(error, UserError) else 130 if isinstance(error, KeyboardInterrupt) else 1
        if not _team.first_to_fail(code):
            raise SystemExit(code) from error
        raise


def team() -> Team:
    """The processes that train together: this one alone unless it runs within `as_one`.

    Raises UserError when several were started that don't know of each other.
    """
    if _team is ALONE and launched():
        raise UserError(
            f"{os.environ['WORLD_SIZE']} processes were started, each of which would train alone; in Python, hand the "
            "call to rung.training.distributed.as_one"
        )
    return _team


def measure_run(run: Run, split: str) -> Measure:
    """Measure a run on a split of its own text, all processes together."""
    here = team()
    here.call("measure", folder=str(run.folder.absolute()), split=split)
    return here.measure(run.model, run.corpus.stream(split), run.corpus.n_bytes(split), split)


@final
class Team:
    """The processes that train together. A team of one does nothing at all.

    Attributes:
        rank: this process's number, from 0.
        size: how many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1, store: Store | None = None) -> None:
        self.rank = rank
        self.size = size
        self._store = store
        self._calls = 0
        self._connected = False

    @staticmethod
    def of_torchrun() -> Team:
        """The team that torchrun's environment variables tell of."""
        import torch.distributed as dist

        store, rank, size = next(dist.rendezvous("env://"))  # pyright: ignore[reportPrivateImportUsage]
        named = dist.PrefixStore("rung", store)  # pyright: ignore[reportPrivateImportUsage]
        return Team(rank, size, named)

    def call(self, do: str, **arguments: Any) -> None:
        """From the first process: have all others do this too. Then all are connected."""
        if self.size > 1:
            self._post({"do": do, "arguments": arguments})
            self.connect()

    def end(self, code: int) -> None:
        """From the first process: there is nothing more to do; exit with `code`."""
        self._post({"do": "end", "arguments": {"code": code}})
        self.disconnect()

    def next_call(self) -> tuple[str, dict[str, Any]]:
        """From the others: wait for what the first has to say, however long it takes."""
        assert self._store is not None
        key = f"call/{self._calls}"
        while not self._store.check([key]):
            if self._store.check(["failed"]):
                return "end", {"code": int(self._store.get("code"))}
            time.sleep(POLL_SECONDS)
        self._calls += 1
        call = json.loads(self._store.get(key))
        return call["do"], call["arguments"]

    def _post(self, call: dict[str, Any]) -> None:
        assert self._store is not None
        self._store.set(f"call/{self._calls}", json.dumps(call))
        self._calls += 1

    def first_to_fail(self, code: int) -> bool:
        """Whether no other process has failed before: only that one's error is of interest."""
        assert self._store is not None
        try:
            self._store.set("code", str(code))
            return self._store.add("failed", 1) == 1
        except RuntimeError:  # the store is gone, and so is who kept it
            return False

    def connect(self) -> None:
        """Open the lines for numbers, when they are first needed."""
        import torch
        import torch.distributed as dist

        if self._connected:
            return
        backend = "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(self.rank_here % torch.cuda.device_count())
            backend = "cpu:gloo,cuda:nccl"
        assert self._store is not None
        dist.init_process_group(backend, store=self._store, rank=self.rank, world_size=self.size)
        self._connected = True

    @property
    def rank_here(self) -> int:
        """This process's number among those on this machine."""
        return int(os.environ.get("LOCAL_RANK", self.rank))

    def check_device(self, device: str) -> None:
        """Raises UserError when the processes can't all work on a device of this kind."""
        import torch

        if self.size == 1 or device == "cpu":
            return
        if device == "mps":
            raise UserError("several processes can't share mps: give --device cpu, or train with one process")
        if self.rank_here >= torch.cuda.device_count():
            raise UserError(
                f"there are more processes on this machine than GPUs ({torch.cuda.device_count()}): "
                "start one for each, or give --device cpu"
            )

    def disconnect(self) -> None:
        """Wait for all others, then close the lines."""
        if self._connected:
            import torch.distributed as dist

            self.total(0.0)
            dist.destroy_process_group()
            self._connected = False

    def rows(self, n: int) -> slice:
        """Which of `n` rows are this process's: contiguous, and as many as the others' or one more."""
        if self.size == 1:
            return slice(None)
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def total(self, value: float) -> float:
        """The sum of everyone's `value`, in double precision."""
        if self.size == 1:
            return value
        import torch
        import torch.distributed as dist

        number = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(number)
        return number.item()

    def of_first(self, value: float) -> float:
        """What the first process's `value` is."""
        return self.total(value if self.rank == 0 else 0.0)

    def any(self, flag: bool) -> bool:
        """Whether it is so anywhere."""
        return self.total(float(flag)) > 0 if self.size > 1 else flag

    def gather(self, rows: Tensor) -> Tensor:
        """Everyone's rows (n, ...), one after the other; n may differ."""
        if self.size == 1:
            return rows
        import torch
        import torch.distributed as dist

        counts = torch.zeros(self.size, dtype=torch.int64, device=rows.device)
        counts[self.rank] = len(rows)
        dist.all_reduce(counts)
        padded = rows.new_zeros(int(counts.max()), *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(found, padded)
        return torch.cat([part[:n] for part, n in zip(found, counts.tolist(), strict=True)])

    def to_first(self, *rows: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
        """To the first process everyone's rows, its own first, one process's at a time; to the others nothing.

        A row may differ in length, not in type. Nothing is sent unless this is iterated over.
        """
        if self.rank == 0:
            yield rows
        if self.size == 1:
            return
        import torch
        import torch.distributed as dist

        if self.rank:
            dist.send(torch.tensor([len(row) for row in rows]), 0)
            for row in rows:
                dist.send(torch.from_numpy(row), 0)
        else:
            for source in range(1, self.size):
                yield _received(source, rows)

    def from_first(self, row: np.ndarray) -> None:
        """Put the first process's row into everyone's, which is as long."""
        if self.size > 1:
            import torch
            import torch.distributed as dist

            dist.broadcast(torch.from_numpy(row), 0)

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the sum of everyone's gradients in the place of each. Sparse ones, whose rows differ, stay sparse."""
        if self.size == 1:
            return
        import torch
        import torch.distributed as dist

        dense: list[Tensor] = []
        for parameter in parameters:
            gradient = parameter.grad
            if gradient is None:
                continue
            if gradient.is_sparse:
                gradient = gradient.coalesce()
                indices, values = self.gather(gradient.indices().T), self.gather(gradient.values())
                # A row that several have touched comes several times, and they may not be added up twice.
                parameter.grad = torch.sparse_coo_tensor(
                    indices.T, values, gradient.shape, is_coalesced=False, check_invariants=False
                )
            else:
                dense.append(gradient)
        for bucket in _buckets(dense):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            dist.all_reduce(flat)
            parts = flat.split([gradient.numel() for gradient in bucket])
            for gradient, part in zip(bucket, parts, strict=True):
                gradient.copy_(part.view_as(gradient))

    def measure(
        self,
        model: LanguageModel,
        stream: TokenStream,
        n_bytes: int,
        split: str,
        between: Callable[[], None] = lambda: None,
    ) -> Measure:
        """As `rung.measure.measure`, each process scoring its share; `between` is called when that is done."""
        part, skip = share(stream, self.rank, self.size, model.context)
        nats = -float(np.sum(model.score_stream(part)[skip:], dtype=np.float64)) if part.n_tokens else 0.0
        between()
        return Measure.total(self.total(nats), stream.n_tokens, n_bytes, stream.n_documents, split)


ALONE = Team()
_team = ALONE


def share(stream: TokenStream, rank: int, size: int, context: int | None) -> tuple[TokenStream, int]:
    """What process `rank` of `size` scores of a stream, and how many scores at its beginning don't count.

    The stream is cut into equal lengths and each cut moved to where nothing changes by cutting: between two documents,
    or, where a model has a finite context C, between two windows of a long one. By the policy of `rung.models.neural`
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


def _received(source: int, like: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Rows that another process sends, of these types."""
    import torch
    import torch.distributed as dist

    lengths = torch.empty(len(like), dtype=torch.int64)
    dist.recv(lengths, source)
    rows = tuple(np.empty(n, row.dtype) for n, row in zip(lengths.tolist(), like, strict=True))
    for row in rows:
        dist.recv(torch.from_numpy(row), source)
    return rows


def _buckets(gradients: list[Tensor]) -> Iterable[list[Tensor]]:
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        bucket.append(gradient)
        size += gradient.numel()
        if size >= BUCKET:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


def _follow(team: Team) -> int:
    """Do what the first process calls for, until it has nothing more to do; its exit code."""
    from rung.training.session import count_along, take_part

    with interruptible(tell=False) as stop:
        while True:
            do, arguments = team.next_call()
            if do == "end":
                team.disconnect()
                return arguments["code"]
            team.connect()
            if do == "measure":
                run, split = load(Path(arguments["folder"])), arguments["split"]
                team.measure(run.model, run.corpus.stream(split), run.corpus.n_bytes(split), split)
            elif do == "count":
                count_along(team, **arguments)
            else:
                take_part(team, stop=stop, **arguments)
