"""Optimisers by name, torch's own; what is ours is which parameter gets which treatment.

    sgd        w -= lr g
    momentum   v = 0.9 v + g,  w -= lr v                  (Polyak 1964)
    nesterov   v = 0.9 v + g,  w -= lr (g + 0.9 v)        (Nesterov 1983, in Sutskever et al. 2013's form)
    adam       w -= lr m / (sqrt(v) + eps), m and v bias-corrected means of g and g^2 (Kingma & Ba 2015), beta1 0.9
    adamw      adam, and decoupled decay (Loshchilov & Hutter 2019)
    muon       hidden matrices by `rung.training.muon`, everything else by adamw

Whatever the name, tables of hashed n-grams go by `rung.training.row_adagrad`.

Decay is decoupled whatever the optimiser: before its step a weight is multiplied by 1 - lr * weight_decay. Decay and
penalties concern what has two dimensions or more; biases, norms, other vectors and hashed tables are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from rung.models.transformer.hashed_ngrams import HashedNgrams
from rung.training.muon import CombinedOptimizer, hidden_matrices, muon_and_adamw
from rung.training.row_adagrad import RowAdagrad

MOMENTUM = 0.9
BETA1 = 0.9


def sgd(network: nn.Module, *, lr: float, weight_decay: float, beta2: float) -> Optimizer:
    """Stochastic gradient descent; `beta2` plays no part in this and the next two."""
    return _decaying(torch.optim.SGD(_groups(network, decay=weight_decay), lr=lr, fused=True))


def momentum(network: nn.Module, *, lr: float, weight_decay: float, beta2: float) -> Optimizer:
    """The heavy ball."""
    groups = _groups(network, decay=weight_decay)
    return _decaying(torch.optim.SGD(groups, lr=lr, momentum=MOMENTUM, fused=True))


def nesterov(network: nn.Module, *, lr: float, weight_decay: float, beta2: float) -> Optimizer:
    """The heavy ball that looks ahead."""
    groups = _groups(network, decay=weight_decay)
    return _decaying(torch.optim.SGD(groups, lr=lr, momentum=MOMENTUM, nesterov=True, fused=True))


def adam(network: nn.Module, *, lr: float, weight_decay: float, beta2: float) -> Optimizer:
    """Adam as published. With decay it would be adamw, so `TrainingConfig` allows none here."""
    return torch.optim.Adam(_groups(network), lr=lr, betas=(BETA1, beta2), fused=True)


def adamw(network: nn.Module, *, lr: float, weight_decay: float, beta2: float) -> Optimizer:
    """Adam with decoupled decay."""
    return torch.optim.AdamW(
        _groups(network, weight_decay=weight_decay), lr=lr, betas=(BETA1, beta2), fused=True
    )


def muon(network: nn.Module, *, lr: float, weight_decay: float, beta2: float) -> Optimizer:
    """Muon for the hidden matrices, AdamW for the rest; all AdamW where a network has no hidden matrix."""
    matrices = hidden_matrices(network)
    if not matrices:
        return adamw(network, lr=lr, weight_decay=weight_decay, beta2=beta2)
    rest = torch.optim.AdamW(
        _groups(network, weight_decay=weight_decay, without=matrices),
        lr=lr,
        betas=(BETA1, beta2),
        fused=True,
    )
    return muon_and_adamw(matrices, rest, lr=lr, weight_decay=weight_decay)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "adam": adam,
    "adamw": adamw,
    "muon": muon,
}

TABLE_LR = 0.02
"""The learning rate of tables that are looked up by hash. Adagrad's steps shrink by themselves, so it begins high."""


def make_optimizer(
    name: str, network: nn.Module, *, lr: float, weight_decay: float, beta2: float
) -> Optimizer:
    """The optimiser called `name`, with Adagrad for tables of which a step touches a few rows.

    Every group has a "peak": the learning rate that a schedule's factor is to be multiplied with.
    """
    tables = [part.table for part in network.modules() if isinstance(part, HashedNgrams)]
    optimizer = OPTIMIZERS[name](network, lr=lr, weight_decay=weight_decay, beta2=beta2)
    if tables:
        optimizer = CombinedOptimizer(optimizer, RowAdagrad(tables, lr=TABLE_LR))
    for group in optimizer.param_groups:
        group["peak"] = group["lr"]
    return optimizer


def add_penalties(parameters: Iterable[nn.Parameter], l1: float, l2: float) -> None:
    """Add the gradient of l1 * sum |w| + l2 / 2 * sum w^2 to that of the loss; both at once is the elastic net
    (Zou & Hastie 2005)."""
    with torch.no_grad():
        for parameter in parameters:
            if parameter.grad is not None and not parameter.grad.is_sparse and parameter.ndim >= 2:
                if l1:
                    parameter.grad.add_(parameter.sign(), alpha=l1)
                if l2:
                    parameter.grad.add_(parameter, alpha=l2)


def _groups(
    network: nn.Module, *, without: Iterable[nn.Parameter] = (), **decay: float
) -> list[dict[str, Any]]:
    """What decays and what doesn't, as torch wants it; `decay` has one entry, by the name the optimiser reads."""
    left_out = {*without, *(part.table for part in network.modules() if isinstance(part, HashedNgrams))}
    parameters = [p for p in network.parameters() if p.requires_grad and p not in left_out]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], **decay},
        {"params": [p for p in parameters if p.ndim < 2], **dict.fromkeys(decay, 0.0)},
    ]
    return [group for group in groups if group["params"]]


def _decaying(optimizer: Optimizer) -> Optimizer:
    """torch's SGD knows only decay through the gradient, which momentum would smear; here weights shrink first."""

    def shrink(optimizer: Optimizer, *_: Any) -> None:
        with torch.no_grad():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if group["decay"] and parameter.grad is not None:
                        parameter.mul_(1 - group["lr"] * group["decay"])

    optimizer.register_step_pre_hook(shrink)
    return optimizer
