"""Adagrad with one number a row, for tables of which a step touches few rows.

    G[i] = G[i] + mean of g[i]^2 over the row,   row[i] = row[i] - lr * g[i] / (sqrt(G[i]) + eps)

A row that is rarely met keeps a large step for when it is; Adam would go on moving rows that were not met at all, and
take twice the table's memory to do so. Source: Duchi, Hazan and Singer 2011, "Adaptive subgradient methods" (JMLR 12),
with one accumulator a row as Gupta et al. 2014, "Training highly multiclass classifiers" (JMLR 15), have it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

EPS = 1e-10


class RowAdagrad(Optimizer):
    """Parameters (R, C), with gradients that are sparse over rows, or dense."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Moves the rows that have a gradient; there is no closure to evaluate again."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is None:
                    continue
                gradient = table.grad if table.grad.is_sparse else table.grad.to_sparse(1)
                gradient = gradient.coalesce()
                rows, values = gradient.indices()[0], gradient.values()
                state = self.state[table]
                if not state:
                    state["sum"] = table.new_zeros(len(table))
                state["sum"].index_add_(0, rows, values.square().mean(1))
                scale = -group["lr"] / (state["sum"][rows].sqrt() + EPS)
                table.index_add_(0, rows, values * scale[:, None])
