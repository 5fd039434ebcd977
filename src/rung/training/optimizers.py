"""Optimisers by name, torch's own; what is ours is which parameter gets which treatment.

    sgd        w -= lr g
    momentum   v = mu v + g,  w -= lr v                   (Polyak 1964), mu 0.9
    nesterov   v = mu v + g,  w -= lr (g + mu v)          (Nesterov 1983, in Sutskever et al. 2013's form)
    adam       w -= lr m / (sqrt(v) + eps), m and v bias-corrected means of g and g^2 (Kingma & Ba 2015), beta1 0.9
    adamw      adam, and decoupled decay (Loshchilov & Hutter 2019)
    muon       hidden matrices by `rung.training.muon`, everything else by adamw

Whatever the name, tables of hashed n-grams go by `rung.training.row_adagrad`.

Decay is decoupled whatever the optimiser: before its step a weight is multiplied by 1 - lr * weight_decay. Decay and
penalties concern what has two dimensions or more; biases, norms, other vectors and hashed tables are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from rung.models.transformer.hashed_ngrams import HashedNgrams
from rung.training.muon import CombinedOptimizer, hidden_matrices, muon_and_adamw
from rung.training.row_adagrad import RowAdagrad

MOMENTUM = 0.9
BETA1, BETA2, EPS = 0.9, 0.99, 1e-8


@dataclass(frozen=True)
class Settings:
    """What an optimiser can be told beside its rate; each reads what concerns it."""

    weight_decay: float = 0.0
    momentum: float = MOMENTUM
    beta1: float = BETA1
    beta2: float = BETA2
    eps: float = EPS

    @property
    def adam(self) -> dict[str, Any]:
        """As torch's Adam wants it."""
        return {"betas": (self.beta1, self.beta2), "eps": self.eps, "fused": True}


def sgd(network: nn.Module, lr: float, how: Settings) -> Optimizer:
    """Stochastic gradient descent."""
    return _decaying(torch.optim.SGD(_groups(network, decay=how.weight_decay), lr=lr, fused=True))


def momentum(network: nn.Module, lr: float, how: Settings) -> Optimizer:
    """The heavy ball."""
    groups = _groups(network, decay=how.weight_decay)
    return _decaying(torch.optim.SGD(groups, lr=lr, momentum=how.momentum, fused=True))


def nesterov(network: nn.Module, lr: float, how: Settings) -> Optimizer:
    """The heavy ball that looks ahead."""
    groups = _groups(network, decay=how.weight_decay)
    ahead = how.momentum > 0  # without momentum there is nothing to look ahead by
    return _decaying(torch.optim.SGD(groups, lr=lr, momentum=how.momentum, nesterov=ahead, fused=True))


def adam(network: nn.Module, lr: float, how: Settings) -> Optimizer:
    """Adam as published. With decay it would be adamw, so `TrainingConfig` allows none here."""
    return torch.optim.Adam(_groups(network), lr=lr, **how.adam)


def adamw(network: nn.Module, lr: float, how: Settings) -> Optimizer:
    """Adam with decoupled decay."""
    return torch.optim.AdamW(_groups(network, weight_decay=how.weight_decay), lr=lr, **how.adam)


def muon(network: nn.Module, lr: float, how: Settings) -> Optimizer:
    """Muon for the hidden matrices, AdamW for the rest; all AdamW where a network has no hidden matrix."""
    matrices = hidden_matrices(network)
    if not matrices:
        return adamw(network, lr, how)
    rest = torch.optim.AdamW(
        _groups(network, weight_decay=how.weight_decay, without=matrices), lr=lr, **how.adam
    )
    return muon_and_adamw(matrices, rest, lr=lr, weight_decay=how.weight_decay)


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


def make_optimizer(name: str, network: nn.Module, *, lr: float, **how: float | None) -> Optimizer:
    """The optimiser called `name`, with Adagrad for tables of which a step touches a few rows.

    Every group has a "peak": the learning rate that a schedule's factor is to be multiplied with. `how`: the fields of
    `Settings`; None = as by default.
    """
    tables = [
        part.table
        for part in network.modules()
        if isinstance(part, HashedNgrams) and part.table.requires_grad
    ]
    settings = Settings(**{field: value for field, value in how.items() if value is not None})
    optimizer = OPTIMIZERS[name](network, lr, settings)
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
