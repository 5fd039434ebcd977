"""What a network's loss rises by without a head, or a block: nats a target, over batches of the training part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from rung.errors import UserError
from rung.models.transformer.attention import Attention
from rung.run_files import DATA
from rung.runs import Run

BATCHES = 16


def attentions(run: Run) -> dict[str, Attention]:
    """The attention of each block, from the bottom up, by name. Raises UserError where there is none."""
    network = run.model.network
    prefix, n_blocks = network.blocks_of()
    found = {
        name: part
        for name, part in network.named_modules()
        if n_blocks and name.startswith(prefix) and isinstance(part, Attention)
    }
    if len(found) != n_blocks or not n_blocks:
        raise UserError(
            f"{run.folder} is a {run.rung}, which has no heads of attention that it can be without"
        )
    return found


def heads_cost(run: Run) -> list[float]:
    """What each head costs to leave out by itself, block after block."""
    loss = _loss_of(run)
    whole = loss()
    costs = []
    for part in attentions(run).values():
        for head in range(part.n_head):
            with _without_head(part, head):
                costs.append(loss() - whole)
    return costs


def cheapest_blocks(run: Run, n: int) -> list[tuple[int, float]]:
    """The `n` blocks to leave out, one after the other the one whose loss is missed least, and what it costs then."""
    network = run.model.network
    blocks = network.get_submodule(network.blocks_of()[0].removesuffix("."))
    assert isinstance(blocks, nn.ModuleList)
    loss = _loss_of(run)
    kept, gone, before = dict(enumerate(blocks)), [], loss()
    for _ in range(n):
        found = {}
        for place in kept:
            with _only(network, blocks, [block for other, block in kept.items() if other != place]):
                found[place] = loss()
        place = min(found, key=lambda place: found[place])
        gone.append((place, found[place] - before))
        before = found[place]
        del kept[place]
    return gone


def _loss_of(run: Run) -> Callable[[], float]:
    """The mean loss of the network as it is, nats a target. Raises UserError where the run came without its text."""
    if not (run.folder / DATA).exists():
        raise UserError(
            f"{run.folder} came without its own text ({DATA}/), by which heads and blocks are chosen; prune "
            "--of weights"
        )
    model = run.model
    batches = run.task.batches(model, run.corpus, None, None, 0)
    parts = [batches.batch(t) for t in range(BATCHES)]

    def loss() -> float:
        nats = 0.0
        with model.inference():
            for part in parts:
                nats += model.network.loss(*(torch.from_numpy(array) for array in part.arrays)).item()
        return nats / sum(part.n_targets for part in parts)

    return loss


@contextmanager
def _without_head(part: Attention, head: int) -> Iterator[None]:
    """Inside, what a head says is not heard."""
    columns = part.project.weight.detach()[:, head * part.head_size : (head + 1) * part.head_size]
    kept = columns.clone()
    columns.zero_()
    try:
        yield
    finally:
        columns.copy_(kept)


@contextmanager
def _only(network: nn.Module, blocks: nn.ModuleList, kept: list[nn.Module]) -> Iterator[None]:
    """Inside, the network has these blocks alone."""
    whole = list(blocks)
    del blocks[:]
    blocks.extend(kept)
    try:
        yield
    finally:
        del blocks[:]
        blocks.extend(whole)
