"""What attention costs forward and backward, by how much of the text a position sees, as ratios to seeing all.

    OMP_NUM_THREADS=1 python benchmarks/attention.py [T ...]

One layer of attention, C = 128, 4 heads, rotary positions, one row of T inputs, float32. full: torch's fused kernel,
which never has T^2 numbers at once. masked: the same told by a mask of T x T which keys are out of a window of 64.
local: that window in blocks. strided: half the heads so, half every 64th key. linear: the feature map.

Time: the least of five, after one that is not counted, all kinds in turn. Memory: the most that torch's
allocator held at once, weights and input left out. KiB: what `advance` keeps of a history of T inputs, a layer.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rung.models.transformer.attention import Attention, causal_mask
from rung.models.transformer.decoder import GPT, GPTConfig
from rung.models.transformer.inference.linear_state import LinearState
from rung.models.transformer.positions import Rotary

WIDTH, HEADS, WINDOW = 128, 4, 64
KINDS = ("full", "masked", "local", "strided", "linear")


class Masked(Attention):
    """A window as a mask alone."""

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        rows, length, width = x.shape
        heads = self.qkv(x).view(rows, length, 3 * HEADS, -1).transpose(1, 2)
        q, k, v = heads.split(HEADS, dim=1)
        assert self.rotary is not None
        q, k = self.rotary(q, k)
        y = F.scaled_dot_product_attention(q, k, v, causal_mask(0, length, None, self.local, q))
        return self.project(y.transpose(1, 2).reshape(rows, length, width))


def layer(kind: str) -> Attention:
    torch.manual_seed(0)
    return (Masked if kind == "masked" else Attention)(
        WIDTH,
        HEADS,
        HEADS,
        0.0,
        False,
        rotary=Rotary(10_000.0),
        local=WINDOW if kind in ("masked", "local", "strided") else None,
        stride=WINDOW if kind == "strided" else None,
        linear=kind == "linear",
    )


def step(part: Attention, x: Tensor) -> float:
    began = time.perf_counter()
    part(x).sum().backward()
    return time.perf_counter() - began


def peak(part: Attention, x: Tensor) -> int:
    """The most bytes held at once, beyond what was held before, as torch's allocator tells its profiler."""
    with torch.profiler.profile(profile_memory=True) as profile:
        step(part, x)
    profiler: Any = profile.profiler
    events = profiler.kineto_results.events()
    held, most = 0, 0
    for event in sorted((one for one in events if one.name() == "[memory]"), key=lambda one: one.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def kept(kind: str, length: int) -> float:
    """Bytes of keys and values, or sums, that a state of so many inputs holds; what was only reserved is left out."""
    config = GPTConfig(
        length,
        1,
        HEADS,
        WIDTH,
        positions="rotary",
        local=WINDOW if kind in ("local", "masked") else None,
        stride=WINDOW if kind == "strided" else None,
        attention="linear" if kind == "linear" else None,
    )
    model = GPT.initialise(config, 16, 15, 0)
    state = model.start()
    _, state = model.advance(state, np.zeros((1, length), np.int64))
    if isinstance(state, LinearState):
        return state.sums.nbytes
    return min(state.cache.stacked.nbytes, 2 * length * WIDTH * 4)


def main() -> None:
    lengths = [int(length) for length in sys.argv[1:]] or [512, 1024, 2048, 4096, 8192]
    print("| T | " + " | ".join(KINDS) + " |\n|" + "---|" * (len(KINDS) + 1))
    for length in lengths:
        x = torch.randn(1, length, WIDTH)
        parts = {kind: layer(kind) for kind in KINDS}
        seconds = {kind: [] for kind in KINDS}
        for _ in range(6):
            for kind, part in parts.items():
                seconds[kind].append(step(part, x))
        least = {kind: min(all_of[1:]) for kind, all_of in seconds.items()}
        memory = {kind: peak(part, x) for kind, part in parts.items()}
        state = {kind: f"{kept(kind, length) / 1024:,.0f} KiB" for kind in KINDS}
        first = f"{1000 * least['full']:.1f} ms, {memory['full'] / 1e6:.1f} MB; {state['full']}"
        others = [
            f"{least[kind] / least['full']:.2f}, {memory[kind] / memory['full']:.2f}; {state[kind]}"
            for kind in KINDS[1:]
        ]
        cells = [first, *others]
        print(f"| {length:,} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
