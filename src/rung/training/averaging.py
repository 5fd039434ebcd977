"""The running mean of the weights: less noisy than the last ones, and often better.

    mean = d * mean + (1 - d) * weights,  after every step

Source: Polyak & Juditsky 1992, "Acceleration of stochastic approximation by averaging", here with weights that fade.
So that the first, random weights are soon forgotten, d begins at 2/11 and rises as (1 + t) / (10 + t) to the decay
asked for. Parameters are averaged; buffers (a BatchNorm's statistics) are used as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """The mean of a network's parameters over its training.

    Attributes:
        tensors: the mean of each parameter, by its name.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network = network
        self._decay = decay
        self.tensors: dict[str, Tensor] = {n: p.detach().clone() for n, p in network.named_parameters()}

    def update(self, step: int) -> None:
        """Take in the weights after `step` steps, counted from 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, parameter in self._network.named_parameters():
                self.tensors[name].lerp_(parameter, 1 - decay)

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
        for name, parameter in self._network.named_parameters():
            parameter.data, self.tensors[name] = self.tensors[name], parameter.data
