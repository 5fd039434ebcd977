"""N processes that torchrun started, working as one: who they are, what they send each other.

The first process leads: it alone reads the command line, writes and speaks. The others wait for what it calls for
(`rung.training.torchrun`). A group of one process does nothing at all, so what can be shared needs no second version.

Messages go over torchrun's own store, numbers over gloo, or NCCL where they lie on GPUs.
"""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, final

import numpy as np

from rung.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.distributed import Store  # pyright: ignore[reportPrivateImportUsage]

BUCKET = 1 << 24
"""How many gradients are added up at once: 64 MiB of float32."""

POLL_SECONDS = 0.02


def launched() -> bool:
    """Whether torchrun, or what sets the same variables, started several processes."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


@final
class ProcessGroup:
    """The processes that work together. One process alone does nothing at all.

    Attributes:
        rank: this process's number, from 0.
        world_size: how many there are.
    """

    def __init__(self, rank: int = 0, world_size: int = 1, store: Store | None = None) -> None:
        self.rank = rank
        self.world_size = world_size
        self._store = store
        self._calls = 0
        self._connected = False
        self._kept: list[Callable[[], None]] = []

    @staticmethod
    def from_environment() -> ProcessGroup:
        """The group that torchrun's environment variables tell of."""
        os.environ.setdefault(
            "TORCH_CPP_LOG_LEVEL", "ERROR"
        )  # else a lost process is told with its C++ stack
        import torch.distributed as dist

        store, rank, size = next(dist.rendezvous("env://"))  # pyright: ignore[reportPrivateImportUsage]
        named = dist.PrefixStore("rung", store)  # pyright: ignore[reportPrivateImportUsage]
        return ProcessGroup(rank, size, named)

    def call(self, do: str, **arguments: Any) -> None:
        """From the first process: have all others do this too. Then all are connected."""
        if self.world_size > 1:
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
            torch.cuda.set_device(self.local_rank % torch.cuda.device_count())
            backend = "cpu:gloo,cuda:nccl"
        assert self._store is not None
        dist.init_process_group(backend, store=self._store, rank=self.rank, world_size=self.world_size)
        self._connected = True

    @property
    def local_rank(self) -> int:
        """This process's number among those on this machine."""
        return int(os.environ.get("LOCAL_RANK", self.rank))

    def check_device(self, device: str) -> None:
        """Raises UserError when the processes can't all work on a device of this kind."""
        import torch

        if self.world_size == 1 or device == "cpu":
            return
        if device == "mps":
            raise UserError("several processes can't share mps: give --device cpu, or train with one process")
        if self.local_rank >= torch.cuda.device_count():
            raise UserError(
                f"there are more processes on this machine than GPUs ({torch.cuda.device_count()}): "
                "start one for each, or give --device cpu"
            )

    def keeps(self, release: Callable[[], None]) -> None:
        """Something outlives its use and refers to torch's group: have `release` called before the lines are closed."""
        self._kept.append(release)

    def disconnect(self) -> None:
        """Wait for all others, then close the lines.

        A thread of gloo's lets go of a tensor of ours only after whoever waited for it has gone on. If that is while
        the interpreter ends, the thread is killed and takes the process with it ("terminate called without an active
        exception"). torch joins these threads when nothing refers to the group any more: see `keeps`.
        """
        if self._connected:
            import torch.distributed as dist

            self.sum(0.0)
            for release in self._kept:
                release()
            gc.collect()  # what is sharded refers to it in circles
            dist.destroy_process_group()
            self._connected = False

    def shard(self, n: int) -> slice:
        """Which of `n` rows are this process's: contiguous, and as many as the others' or one more."""
        if self.world_size == 1:
            return slice(None)
        return slice(n * self.rank // self.world_size, n * (self.rank + 1) // self.world_size)

    def sum(self, value: float) -> float:
        """The sum of everyone's `value`, in double precision."""
        if self.world_size == 1:
            return value
        import torch
        import torch.distributed as dist

        number = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(number)
        return number.item()

    def broadcast_value(self, value: float) -> float:
        """What the first process's `value` is."""
        return self.sum(value if self.rank == 0 else 0.0)

    def any(self, flag: bool) -> bool:
        """Whether it is so anywhere."""
        return self.sum(float(flag)) > 0 if self.world_size > 1 else flag

    def all_gather(self, rows: Tensor) -> Tensor:
        """Everyone's rows (n, ...), one after the other; n may differ."""
        if self.world_size == 1:
            return rows
        import torch
        import torch.distributed as dist

        counts = torch.zeros(self.world_size, dtype=torch.int64, device=rows.device)
        counts[self.rank] = len(rows)
        dist.all_reduce(counts)
        padded = rows.new_zeros(int(counts.max()), *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in range(self.world_size)]
        dist.all_gather(found, padded)
        return torch.cat([part[:n] for part, n in zip(found, counts.tolist(), strict=True)])

    def gather_to_first(self, *rows: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
        """To the first process everyone's rows, its own first, one process's at a time; to the others nothing.

        A row may differ in length, not in type. Nothing is sent unless this is iterated over.
        """
        if self.rank == 0:
            yield rows
        if self.world_size == 1:
            return
        import torch
        import torch.distributed as dist

        if self.rank:
            dist.send(torch.tensor([len(row) for row in rows]), 0)
            for row in rows:
                dist.send(torch.from_numpy(row), 0)
        else:
            for source in range(1, self.world_size):
                yield _received(source, rows)

    def broadcast(self, row: np.ndarray) -> None:
        """Put the first process's row into everyone's, which is as long."""
        if self.world_size > 1:
            import torch
            import torch.distributed as dist

            dist.broadcast(torch.from_numpy(row), 0)

    def all_reduce_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the sum of everyone's gradients in the place of each. Sparse ones, whose rows differ, stay sparse."""
        if self.world_size == 1:
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
                indices, values = self.all_gather(gradient.indices().T), self.all_gather(gradient.values())
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


SINGLE_PROCESS = ProcessGroup()
_current = SINGLE_PROCESS


def current_group() -> ProcessGroup:
    """The processes that work together: this one alone unless `use_group` was called.

    Raises UserError when several were started that don't know of each other.
    """
    if _current is SINGLE_PROCESS and launched():
        raise UserError(
            f"{os.environ['WORLD_SIZE']} processes were started, each of which would train alone; in Python, hand the "
            "call to rung.training.torchrun.run_as_one"
        )
    return _current


def use_group(group: ProcessGroup) -> None:
    """From now on this process works in `group`; as torch's own, there is one a process."""
    global _current
    _current = group


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
