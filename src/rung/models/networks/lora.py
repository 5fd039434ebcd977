"""Low-rank adaptation (LoRA): a matrix stays as it is, and what is learned is a product of two thin ones added to it.

    W' = W + (alpha / r) B A        W (out, in) stays;  A (r, in), B (out, r) are learned

A begins uniform within 1 / sqrt(in), B at zero, so that an adapted network begins as what it was. Hu et al. 2021,
"LoRA: low-rank adaptation of large language models" (arXiv:2106.09685), section 4.1; first values as PEFT has them.
`merge` puts W' in the place of W: not a bit of what the network answers changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

ALPHA = 2
"""alpha / r: how large the product's steps are; Hu et al. and PEFT's examples have 1 to 8."""


class LowRank(nn.Module):
    """What is added to a matrix (out, in).

    Attributes:
        a: (r, in).
        b: (out, r).
        scale: alpha / r.
    """

    def __init__(self, n_out: int, n_in: int, rank: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        bound = 1 / math.sqrt(n_in)
        self.a = nn.Parameter(torch.empty(rank, n_in).uniform_(-bound, bound, generator=generator))
        self.b = nn.Parameter(torch.zeros(n_out, rank))
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        """W -> W'."""
        return weight + self.scale * (self.b @ self.a)


class NewRows(nn.Module):
    """The last rows of a table that stays as it is, learned: those of tokens that it did not know.

    Attributes:
        rows: (n, C).
    """

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)

    def forward(self, table: Tensor) -> Tensor:
        """(R, C) -> (R, C)."""
        return torch.cat([table[: -len(self.rows)], self.rows])


def linear_layers(network: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers, by name."""
    return {name: part for name, part in network.named_modules() if isinstance(part, nn.Linear)}


def adapt(layers: Mapping[str, nn.Linear], rank: int, generator: torch.Generator) -> None:
    """Give each layer its product; the same generator gives the same ones."""
    for name in sorted(layers):
        layer = layers[name]
        product = LowRank(layer.out_features, layer.in_features, rank, ALPHA, generator)
        parametrize.register_parametrization(layer, "weight", product.to(layer.weight.device))


def learn_last_rows(table: nn.Parameter, n: int, network: nn.Module) -> None:
    """Let the last `n` rows of a table of the network be learned, and no other."""
    for part in list(network.modules()):
        for name, parameter in list(part.named_parameters(recurse=False)):
            if parameter is table:
                rows = NewRows(table.detach()[-n:].clone())
                parametrize.register_parametrization(part, name, rows)


def merge(network: nn.Module) -> None:
    """Put what is learned beside weights into them; twice is as good as once."""
    for part in list(network.modules()):
        if parametrize.is_parametrized(part):
            for name in list(cast(nn.ModuleDict, part.parametrizations)):
                parametrize.remove_parametrizations(part, name, leave_parametrized=True)
