"""Norms elsewhere than in GPT-2's block: after each part, as the first transformers had them.

    x = norm_1(x + attention(x));  x = norm_2(x + feed_forward(x))

Vaswani et al. 2017; GPT-1 (Radford et al. 2018). The stream is normed at each step, so there is none at the end.
(RMSNorm, Zhang & Sennrich 2019, is torch's own: x / sqrt(mean(x^2) + eps), scaled; no mean is taken off.)
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class PostNormBlock(nn.Module):
    """Gather from other positions, then think it over; after each part its sum with x is normed."""

    def __init__(
        self, norm_1: nn.Module, attention: nn.Module, norm_2: nn.Module, feed_forward: nn.Module
    ) -> None:
        super().__init__()
        self.norm_1 = norm_1
        self.attention = attention
        self.norm_2 = norm_2
        self.feed_forward = feed_forward

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm_1(x + self.attention(x))  # (B, T, C)
        return self.norm_2(x + self.feed_forward(x))


class RMSNorm(nn.RMSNorm):
    """torch's, scaled in the precision of what comes in: under autocast that is not the weight's."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, tuple(self.normalized_shape), self.weight.to(x.dtype), self.eps)
