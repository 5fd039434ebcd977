"""A network that begins with the weights of another, perhaps of another task, and which parts of it are learned.

A weight is taken over by its name: what the body of a classifier is called, a language model has at its top. Not taken
are the blocks above those kept, and the last layer where the answers are others. Tables have the rows of the tokens
that both know; the rows of marks that only the new network has begin as any new one's, and are learned whatever else
stays as it was.

Freezing: what is not learned has no gradient and stays in evaluation mode, so that nothing of it is dropped. Howard and
Ruder 2018 (arXiv:1801.06146); Radford et al. 2018 for the whole network; Hu et al. 2021 for low rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from rung.errors import UserError
from rung.models.networks import lora
from rung.models.networks.torch_model import TrainableModule
from rung.tensors import save_tensors
from rung.training.learn import Learn

BODY = "body."
"""How the names of a network begin that stands inside another."""


def take_over(
    network: TrainableModule, tensors: Mapping[str, np.ndarray], *, same_answers: bool, of: Path | str
) -> int:
    """Put a parent's weights into a new network; how many rows at the end of its tables are new.

    same_answers: whether the last layer means the same in both.

    Raises UserError where a weight is in neither of the two that a network can't be without.
    """
    known = {name.removeprefix(BODY): array for name, array in tensors.items()}
    new_rows = 0
    with torch.no_grad():
        for name, target in network.state_dict().items():
            array = known.get(name.removeprefix(BODY))
            if name.startswith(network.heads[-1:]) and not same_answers and name not in network.tables:
                continue
            if array is not None and array.shape == tuple(target.shape):
                target.copy_(torch.from_numpy(np.array(array)))
            elif array is not None and name in network.tables and array.shape[1:] == tuple(target.shape[1:]):
                n = min(len(array), len(target))
                target[:n] = torch.from_numpy(np.array(array[:n]))
                new_rows = len(target) - n
            elif not name.startswith(network.heads):
                raise UserError(f"the weights of {of} don't fit: {name} is not there, or of another shape")
    return new_rows


def restrict(network: TrainableModule, learn: Learn, new_rows: int, seed: int) -> None:
    """Freeze what is not learned, and put in what is learned beside it. Raises UserError for what the network lacks."""
    if learn.kind == "all":
        return
    prefixes = _learned(network, learn)
    layers = {name: layer for name, layer in lora.linear_layers(network).items() if learn.kind == "lora"}
    layers = {name: layer for name, layer in layers.items() if not name.startswith(_parts(network.heads))}
    if learn.kind == "lora" and not layers:
        raise UserError(
            f"--learn lora:{learn.amount} needs linear layers, which this network has none of; give all or head"
        )
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(prefixes))
    if not layers and not any(parameter.requires_grad for parameter in network.parameters()):
        raise UserError(
            "--learn head: what gives this network's answers is its token table; give all, last:K or lora:R"
        )
    lora.adapt(layers, learn.amount, torch.Generator().manual_seed(seed))
    network.frozen = tuple(_frozen(network))
    for name in network.tables if new_rows else ():
        table = dict(network.named_parameters()).get(name)
        if table is not None and not table.requires_grad:
            lora.learn_last_rows(table, new_rows, network)


def hold_zeros(network: TrainableModule, optimizer: str, learn: Learn, *, shard: bool) -> None:
    """From now on a number of a matrix that is 0 gets no gradient, so that no optimiser moves it.

    Raises UserError for what moves it all the same.
    """
    for flag, wrong in (
        ("--optimizer muon", optimizer == "muon"),
        ("--learn lora", learn.kind == "lora"),
        ("--shard", shard),
    ):
        if wrong:
            raise UserError(
                f"--keep-zeros does not go with {flag}, which changes a matrix as a whole; leave it out"
            )
    for parameter in network.parameters():
        if parameter.dim() >= 2 and parameter.requires_grad:
            parameter.register_hook(lambda grad, of=parameter: grad if grad.is_sparse else grad * (of != 0))


def new_rows_in(checkpoint: Mapping[str, np.ndarray]) -> int:
    """How many rows at the end of its tables were learned alone in the network that a checkpoint is of."""
    rows = (
        array for name, array in checkpoint.items() if name.startswith("model.") and name.endswith(".0.rows")
    )
    return next((len(array) for array in rows if array.ndim == 2), 0)


def in_words(network: nn.Module, learn: Learn) -> str:
    """`learning 1,026 of 824,322 parameters: the head`."""
    learned = sum(p.numel() for p in network.parameters() if p.requires_grad)
    total = sum(p.numel() for p in network.parameters())
    total -= sum(
        p.numel() for part in network.modules() if isinstance(part, lora.LowRank) for p in part.parameters()
    )
    total -= sum(
        p.numel() for part in network.modules() if isinstance(part, lora.NewRows) for p in part.parameters()
    )
    what = {
        "head": "the head",
        "last": f"the head and the last {learn.amount} block{'s' if learn.amount > 1 else ''}",
        "lora": f"the head and products of rank {learn.amount}",
    }
    return f"learning {learned:,} parameters beside {total:,}: {what[learn.kind]}; the rest stays as it is"


def settle(network: TrainableModule, learn: Learn, path: Path) -> None:
    """After training: what was learned goes into a small file, and into the weights that it was learned beside."""
    save_tensors(path, adapter(network), {"learn": f"{learn.kind}:{learn.amount}", "scale": f"{lora.ALPHA}"})
    lora.merge(network)
    network.frozen = ()


def adapter(network: TrainableModule) -> dict[str, np.ndarray]:
    """What was learned, alone: of a network that is not merged yet, by name."""
    return {
        name.replace("parametrizations.", "").replace(".original", ""): parameter.numpy(force=True).copy()
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
    }


def _learned(network: TrainableModule, learn: Learn) -> tuple[str, ...]:
    """How the names begin of all that is learned as a whole."""
    if learn.kind == "lora":  # a table of tokens stays (peft #2018: an adapted one is lost where it is tied)
        return tuple(name for name in network.heads if name not in network.tables)
    if learn.kind == "head":
        return network.heads
    begin, n_blocks = network.blocks_of()
    if not n_blocks:
        raise UserError(
            f"--learn last:{learn.amount} needs blocks, which this network has none of; give all or head"
        )
    if learn.amount > n_blocks:
        raise UserError(
            f"--learn last:{learn.amount} is more than the {n_blocks} blocks there are; give last:{n_blocks} or less, "
            "or all"
        )
    last = tuple(f"{begin}{i}." for i in range(n_blocks - learn.amount, n_blocks))
    return (*network.heads, *network.above, *last)


def _parts(prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """Of beginnings of the names of tensors, those of modules."""
    return tuple(prefix.removesuffix(".") for prefix in prefixes)


def _frozen(part: nn.Module) -> Iterator[nn.Module]:
    """The largest parts that have weights and learn none of them."""
    for child in part.children():
        learned = [parameter.requires_grad for parameter in child.parameters()]
        if learned and not any(learned):
            yield child
        else:
            yield from _frozen(child)
