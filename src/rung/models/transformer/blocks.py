"""A transformer's block, and which parts it is made of.

    before each part (GPT-2):      x = x + attention(norm_1(x));  x = x + feed_forward(norm_2(x))
    after it (the first of them):  x = norm_1(x + attention(x));  x = norm_2(x + feed_forward(x))

Norms stood after each part in Vaswani et al. 2017 and GPT-1 (Radford et al. 2018), before it since GPT-2 (2019). Where
they stand after, the stream is normed at each step, so there is none at the end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch.nn.functional as F
from torch import Tensor, nn

from rung.models.transformer.attention import Attention
from rung.models.transformer.config import Shape
from rung.models.transformer.feed_forward import FeedForward, SwiGLU, gelu, squared_relu
from rung.models.transformer.norms import RMSNorm
from rung.models.transformer.positions import Rotary, alibi_slopes

ACTIVATIONS = {"gelu": gelu, "gelu-exact": F.gelu, "relu": F.relu, "relu2": squared_relu}
"""What a feed-forward that has no gate can have between its two layers."""


class Block(nn.Module, ABC):
    """Gather from other positions, then think it over."""

    def __init__(
        self,
        norm_1: nn.Module,
        attention: Attention,
        norm_2: nn.Module,
        feed_forward: FeedForward | SwiGLU,
    ) -> None:
        super().__init__()
        self.norm_1 = norm_1
        self.attention = attention
        self.norm_2 = norm_2
        self.feed_forward = feed_forward

    @abstractmethod
    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        """(B, T, C) -> (B, T, C); `there` as in `Attention`."""


class PreNormBlock(Block):
    """Each part reads a normed copy of x and adds to x."""

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        x = x + self.attention(self.norm_1(x), there)
        return x + self.feed_forward(self.norm_2(x))


class PostNormBlock(Block):
    """After each part its sum with x is normed."""

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        x = self.norm_1(x + self.attention(x, there))
        return self.norm_2(x + self.feed_forward(x))


def build_block(shape: Shape, *, causal: bool = True) -> Block:
    block = PreNormBlock if shape.norm_first else PostNormBlock
    attention = _build_attention(shape, causal)
    return block(build_norm(shape), attention, build_norm(shape), _build_feed_forward(shape))


def build_norm(shape: Shape) -> nn.Module:
    if shape.norm == "rms":
        return RMSNorm(shape.n_embd, shape.norm_eps)
    return nn.LayerNorm(shape.n_embd, shape.norm_eps, bias=shape.bias)


def _build_attention(shape: Shape, causal: bool) -> Attention:
    size = shape.n_embd // shape.n_head
    return Attention(
        shape.n_embd,
        shape.n_head,
        shape.n_kv_head,
        shape.dropout,
        shape.bias,
        norms=(RMSNorm(size, shape.norm_eps), RMSNorm(size, shape.norm_eps)) if shape.qk_norm else None,
        rotary=Rotary(shape.rotary_base) if shape.positions == "rotary" else None,
        slopes=alibi_slopes(shape.n_head) if shape.positions == "alibi" else None,
        local=shape.local,
        stride=shape.stride,
        linear=shape.attention == "linear",
        causal=causal,
    )


def _build_feed_forward(shape: Shape) -> FeedForward | SwiGLU:
    sizes = shape.n_embd, shape.n_hidden, shape.dropout, shape.bias
    if shape.feed_forward == "swiglu":
        return SwiGLU(*sizes)
    return FeedForward(*sizes, ACTIVATIONS[shape.feed_forward])
