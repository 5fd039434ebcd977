"""RMSNorm (Zhang & Sennrich 2019): x / sqrt(mean(x^2) + eps), scaled; unlike LayerNorm, no mean is taken off."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.RMSNorm):
    """torch's, scaled in the precision of what comes in: under autocast that is not the weight's."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.eps is not None
        return rms_norm(x, self.weight.to(x.dtype), self.eps)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`x` (..., C) / sqrt(mean(x^2) + eps) * `weight` (C,)."""
    # Half-precision numbers are squared in float32 there.
    if torch.is_grad_enabled() and x.device.type == "cpu" and x.dtype.itemsize >= 4:
        return _RMSNorm.apply(x, weight, eps)
    return F.rms_norm(x, weight.shape, weight, eps)


class _RMSNorm(torch.autograd.Function):
    """With the gradient written out: on CPUs torch takes its own through a dozen arrays, in twice the time.

    With y = x / r, r the root, and g what comes down:  dx = (g w - y mean(g w y)) / r,  dw = sum of g y.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        mean = torch.linalg.vecdot(x, x).div_(x.shape[-1])
        inverse = mean.add_(eps).rsqrt_().unsqueeze(-1)
        y = x * inverse
        ctx.save_for_backward(y, inverse, weight)
        return y * weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        (grad,) = grads
        y, inverse, weight = ctx.saved_tensors
        width = y.shape[-1]
        scaled = grad * y
        mean = (scaled.reshape(-1, width) @ (weight / -width)).view(inverse.shape)
        dx = (grad * weight).addcmul_(y, mean).mul_(inverse)
        wanted = ctx.needs_input_grad[1]  # not where nothing scales: the weight is ones then
        return dx, scaled.reshape(-1, width).sum(0) if wanted else None, None
