"""Optimisers by name, with weight decay on matrices only: biases, norms and tables of one dimension are left alone."""

from __future__ import annotations

import torch


def adamw(network: torch.nn.Module, *, lr: float, weight_decay: float, beta2: float) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019): decoupled decay, beta1 0.9."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=(0.9, beta2), fused=True)


OPTIMIZERS = {"adamw": adamw}
