"""Fully sharded parameters: each process keeps a share of every weight, its gradient and its optimiser's moments.

Before a block is computed its weights are gathered, after it they are dropped again, and gradients are added up
straight into the shares (ZeRO, stage 3: Rajbhandari et al. 2020, arXiv:1910.02054). torch's `fully_shard` does it, by
block; what no block holds, embedding and head, is gathered for the whole step. N processes hold 1 / N of the model
and the largest block.

Tables of hashed n-grams are not cut up: a step touches few of their rows, and gathering a table would cost more than
adding up those. Each process has a whole one.

A checkpoint holds whole tensors, so that any number of processes can go on from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from rung.errors import UserError
from rung.models.transformer.decoder import Transformer
from rung.models.transformer.hashed_ngrams import HashedNgrams
from rung.process_group import ProcessGroup
from rung.training.config import TrainingConfig
from rung.training.parallel import DataParallel


class FullySharded(DataParallel):
    """Every process holds a share of each weight.

    Attributes:
        loaded: the whole weights that `load_weights` was given last; they need not fit where the shares are.
    """

    sharded = True

    def __init__(self, group: ProcessGroup) -> None:
        super().__init__(group)
        self.loaded: dict[str, np.ndarray] | None = None

    def full_tensor(self, tensor: Tensor) -> Tensor:
        tensor = tensor.detach()
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def distribute_like(self, tensor: Tensor, like: Tensor) -> Tensor:
        if not isinstance(like, DTensor) or tensor.shape != like.shape:
            return tensor
        return distribute_tensor(
            tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None
        )

    def reduced_parameters(self, network: nn.Module) -> list[nn.Parameter]:
        return replicated_parameters(network)  # what is sharded is added up where it is

    def local_part(self, tensor: Tensor) -> Tensor:
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor

    def norm(self, gradients: list[Tensor]) -> float:
        return math.sqrt(self.group.sum(super().norm(gradients) ** 2))

    def load_weights(self, network: nn.Module, tensors: dict[str, np.ndarray]) -> None:
        self.loaded = tensors

    @contextmanager
    def measuring(self, network: nn.Module) -> Iterator[Callable[[], None]]:
        """All processes gather every block together, though some have more to score than others."""
        assert isinstance(network, FSDPModule)
        assert isinstance(network, Transformer)
        read = network.hidden

        def hidden(tokens: Tensor) -> Tensor:
            self.group.sum(1.0)
            return read(tokens)

        def catch_up() -> None:
            # Gathering blocks that others need; what is read meanwhile is of no interest.
            nothing = torch.zeros(1, 1, dtype=torch.int64, device=next(network.parameters()).device)
            with torch.inference_mode():
                while self.group.sum(0.0):
                    read(nothing)

        network.unshard()
        network.hidden = hidden
        try:
            yield catch_up
        finally:
            del network.hidden
            network.reshard()


def check_shardable(network: nn.Module, config: TrainingConfig, group: ProcessGroup) -> None:
    """Raises UserError for what does not go with `--shard`."""
    if group.world_size == 1:
        raise UserError(
            "--shard spreads the weights over several processes: start them with 'torchrun --nproc-per-node N -m rung'"
        )
    if not isinstance(network, Transformer):
        raise UserError("--shard is there for gpt alone; leave it out: other rungs fit into any process")
    if config.optimizer == "muon":
        raise UserError("--shard does not go with --optimizer muon, which needs whole matrices: take adamw")
    if config.average is not None:
        raise UserError("--shard does not go with --average: leave one of them out")
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 9):
        raise UserError(f"--shard needs torch 2.9 or later, and this is {torch.__version__}")


def shard(network: nn.Module, device: torch.device, group: ProcessGroup) -> None:
    """Cut up the weights of a transformer, in place, and move the shares to `device`."""
    assert isinstance(network, Transformer)
    mesh = init_device_mesh(device.type, (group.world_size,))
    group.keeps(
        getattr(mesh, "_pg_registry", {}).clear
    )  # torch caches what was done with a mesh, and so the mesh
    tables = set(replicated_parameters(network))
    for table in tables:
        table.data = table.data.to(device)
    for module in (*network.blocks, network):
        fully_shard(module, mesh=mesh, ignored_params=tables)
        assert isinstance(module, FSDPModule)
        # A loss is divided by the tokens of the whole batch: gradients are to be added up, not averaged.
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)
    with torch.no_grad():
        network(
            torch.zeros(1, 1, dtype=torch.int64, device=device)
        )  # the whole is called first, so it is the root
    assert isinstance(network, FSDPModule)
    network.reshard()  # otherwise its own weights stay gathered, and an optimiser would be given those


def replicated_parameters(network: nn.Module) -> list[nn.Parameter]:
    """What `shard` does not cut up."""
    return [part.table for part in network.modules() if isinstance(part, HashedNgrams)]
