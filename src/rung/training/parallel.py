"""How the weights of a network are spread over the processes that train it together: here, each has them all.

    gradients    each process divides its loss by the targets of the whole batch, so that the sum of all gradients is
                 the gradient of the batch; they are added up and every process takes the same step

`rung.training.sharding` is the other way: each keeps a share of every weight. What a training loop asks of either is
the same. One process alone is a group of one, for which nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from rung.process_group import SINGLE_PROCESS, ProcessGroup


class DataParallel:
    """Every process holds all weights and computes its rows of each batch.

    Attributes:
        group: the processes.
        sharded: whether a process has only a share of the weights.
    """

    sharded = False

    def __init__(self, group: ProcessGroup = SINGLE_PROCESS) -> None:
        self.group = group

    @property
    def saves(self) -> bool:
        """Whether this process has to take part when weights are gathered to be written."""
        return self.group.rank == 0 or self.sharded

    def full_tensor(self, tensor: Tensor) -> Tensor:
        """The whole of a weight; all processes ask for it together."""
        return tensor.detach()

    def distribute_like(self, tensor: Tensor, like: Tensor) -> Tensor:
        """Of a whole tensor, what belongs to this process, where `like` is a weight of it."""
        return tensor

    def reduced_parameters(self, network: nn.Module) -> list[nn.Parameter]:
        """Those whose gradients have to be added up by hand."""
        return list(network.parameters())

    def local_part(self, tensor: Tensor) -> Tensor:
        """What this process holds of a tensor, to be changed in place."""
        return tensor

    def norm(self, gradients: list[Tensor]) -> float:
        """The length of a gradient over all weights."""
        return torch.nn.utils.get_total_norm(gradients).item()

    def weights(self, network: nn.Module) -> dict[str, np.ndarray]:
        """All weights and buffers that are part of the model, whole."""
        return {name: self.full_tensor(t).numpy(force=True) for name, t in network.state_dict().items()}

    def load_weights(self, network: nn.Module, tensors: dict[str, np.ndarray]) -> None:
        """Put whole weights back into the network."""
        network.load_state_dict({name: torch.from_numpy(np.array(t)) for name, t in tensors.items()})

    @contextmanager
    def measuring(self, network: nn.Module) -> Iterator[Callable[[], None]]:
        """Inside, each process may read what it likes; each calls what this yields when it has nothing left to read."""
        yield lambda: None
