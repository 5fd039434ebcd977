"""The running mean of the weights: less noisy than the last ones, and often better.

    mean = d * mean + (1 - d) * weights,  after every step

Source: Polyak & Juditsky 1992, "Acceleration of stochastic approximation by averaging", here with weights that fade.
So that the first, random weights are soon forgotten, d begins at 2/11 and rises as (1 + t) / (10 + t) to the decay
asked for. A BatchNorm's running statistics are averaged like the weights that they belong to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """The mean of a network's parameters and float buffers over its training.

    Attributes:
        tensors: the mean of each, by its name.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network = network
        self._decay = decay
        self.tensors: dict[str, Tensor] = {n: t.detach().clone() for n, t in self._averaged()}

    def update(self, step: int) -> None:
        """Take in the weights after `step` steps, counted from 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, tensor in self._averaged():
                self.tensors[name].lerp_(tensor, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the network has the mean weights; afterwards its own again."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def swap(self) -> None:
        """Let the network's weights and the mean change places; nothing is copied."""
        for name, tensor in self._averaged():
            tensor.data, self.tensors[name] = self.tensors[name], tensor.data

    def _averaged(self) -> Iterator[tuple[str, Tensor]]:
        yield from self._network.named_parameters()
        yield from (
            (name, buffer) for name, buffer in self._network.named_buffers() if buffer.is_floating_point()
        )
