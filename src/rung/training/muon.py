"""Muon: momentum whose update is made orthogonal, for the matrices between embedding and head.

The momentum of a weight matrix (out, in) has a few large singular values and many small ones; an update along it
turns few directions. Muon replaces it by the nearest matrix whose singular values are all near 1, by five steps of
a Newton-Schulz iteration, so that every direction moves alike. Source: Jordan et al. 2024,
https://kellerjordan.github.io/posts/muon/; torch.optim.Muon is used (torch 2.9 and later).

An embedding's rows are looked up one at a time and a head's rows compete in a softmax: neither acts on a vector as
a whole, so these, and all vectors, go by AdamW. Updates are scaled by 0.2 sqrt(max(out, in)), which gives them the
size of AdamW's (Liu et al. 2025, arXiv:2502.16982), so that one learning rate and one decay serve both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from rung.errors import UserError

MOMENTUM = 0.95


def hidden_matrices(network: nn.Module) -> list[nn.Parameter]:
    """The matrices of inner layers: two dimensions, no embedding (by type or name), no `head`, nothing that the
    network itself holds (a table of logits, a tied embedding)."""
    embeddings = {m.weight for m in network.modules() if isinstance(m, nn.Embedding)}
    return [
        parameter
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
        and parameter.ndim == 2
        and parameter not in embeddings
        and "." in name
        and not any("embed" in part or part in ("head", "lm_head") for part in name.split("."))
    ]


def muon_and_adamw(
    matrices: Sequence[nn.Parameter], rest: Optimizer, *, lr: float, weight_decay: float
) -> Optimizer:
    """One optimiser of both. Raises UserError when torch is too old to have Muon."""
    try:
        from torch.optim import Muon
    except ImportError:
        raise UserError("--optimizer muon needs torch 2.9 or later; use adamw, or a newer torch") from None
    muon = Muon(matrices, lr=lr, weight_decay=weight_decay, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw")
    return CombinedOptimizer(muon, rest)


class CombinedOptimizer(Optimizer):
    """Several optimisers of different parameters, seen as one: they share its groups and its state."""

    def __init__(self, *parts: Optimizer) -> None:
        self._parts = [
            own for part in parts for own in (part._parts if isinstance(part, CombinedOptimizer) else [part])
        ]
        super().__init__([group for part in self._parts for group in part.param_groups], {})
        for part in self._parts:
            part.state = self.state

    def step(self, closure: Any = None) -> Any:
        """Each takes its step; there is no closure to evaluate again."""
        for part in self._parts:
            part.step()
