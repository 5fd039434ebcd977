"""The scratch engine beside what else can differentiate, one training step at a time, in one run.

    pip install micrograd autograd      peers that are not there are left out, and named
    python benchmarks/scratch.py [network] [mlp] [gpt] [scalars]

    network  30 -> 200 -> 27, tanh, cross-entropy, batch 32, gradient descent: the step and nothing around it
    mlp      the same behind makemore's embedding, 3 tokens of 10 numbers each
    gpt      4 layers, 4 heads, 128 wide, batch 12 x 64, Adam; torch's is the network of the gpt rung
    scalars  the network beside micrograd, which has a node for each number and neither tanh nor logarithm: ReLU,
             squared error and one example a step for both

tinygrad is no contender: its CPU device needs clang, which is not everywhere.

float32, and one thread each (set here, before NumPy and torch are loaded). The contenders take turns, several rounds;
the median of each one's rounds is shown, and the median, over rounds, of its time divided by ours.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import math
import random
import statistics
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import nn

from rung.models.transformer.config import GPTConfig
from rung.models.transformer.decoder import GPT
from rung.scratch.activations import ReLU, Tanh
from rung.scratch.language import MLP, Transformer
from rung.scratch.layers import Linear, Sequential
from rung.scratch.losses import CrossEntropy, SquaredError
from rung.scratch.optimizers import Adam, GradientDescent
from rung.scratch.tape import Tape

ROUNDS = 7
BATCH, INPUTS, HIDDEN, CLASSES, RATE = 32, 30, 200, 27, 0.1
VOCAB, ROWS, LENGTH = 65, 12, 64

Step = Callable[[], Any]


def main() -> None:
    """Run what was asked for and print a table each."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    print(f"torch {torch.__version__}, NumPy {np.__version__}, torch threads {torch.get_num_threads()}")
    for name in sys.argv[1:] or ["network", "mlp", "gpt", "scalars"]:
        compare(name, {"network": network, "mlp": mlp, "gpt": gpt, "scalars": scalars}[name]())


def compare(title: str, contenders: dict[str, Step | None]) -> None:
    """Time each one's steps in turn; the first is ours. None is a peer that is not installed."""
    print(f"\n{title}")
    steps = {name: step for name, step in contenders.items() if step is not None}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    repeats = {name: _repeats(step) for name, step in steps.items()}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            began = time.perf_counter()
            for _ in range(repeats[name]):
                step()
            seconds[name].append((time.perf_counter() - began) / repeats[name])
    ours = seconds[next(iter(steps))]
    for name, times in seconds.items():
        ratios = [theirs / our for theirs, our in zip(times, ours, strict=True)]
        print(
            f"  {name:<26} {1e6 * statistics.median(times):12,.0f} us {1 / statistics.median(times):10,.1f} steps/s"
            f"   {statistics.median(ratios):9,.2f} times ours ({min(ratios):,.2f} to {max(ratios):,.2f})",
            flush=True,
        )
    for name, step in contenders.items():
        if step is None:
            print(f"  {name:<26} not installed: pip install {name}")


def _repeats(step: Step) -> int:
    """Warm up, and find how many steps take about a fifth of a second."""
    began = time.perf_counter()
    step()
    if time.perf_counter() - began > 1:
        return 1
    for _ in range(3):
        began = time.perf_counter()
        step()
    return max(1, min(2000, int(0.2 / (time.perf_counter() - began))))


def network() -> dict[str, Step | None]:
    """The network of two layers."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, INPUTS)).astype(np.float32)
    y = rng.integers(0, CLASSES, BATCH)
    net = Sequential(
        Linear(INPUTS, HIDDEN, rng, dtype=np.float32), Tanh(), Linear(HIDDEN, CLASSES, rng, dtype=np.float32)
    )
    loss_of = CrossEntropy()
    optimizer = GradientDescent(net.parameters().values(), RATE)

    def ours() -> None:
        with Tape() as tape:
            loss = loss_of(net(x), y)
        tape.backward(loss)
        optimizer.step()

    first = [value.data.T.copy() for value in net.parameters().values()]  # (inputs, outputs)
    return {
        "rung.scratch": ours,
        "NumPy by hand": _by_hand(x, y, *(weight.copy() for weight in first)),
        "torch tensors": _torch_tensors(x, y, [torch.tensor(weight) for weight in first]),
        "torch.nn and its SGD": _torch_nn(
            nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, CLASSES)), x, y
        ),
        "autograd": _autograd(x, y, [weight.copy() for weight in first]),
    }


def _by_hand(
    x: np.ndarray, y: np.ndarray, w: np.ndarray, c: np.ndarray, W: np.ndarray, C: np.ndarray
) -> Step:
    rows = np.arange(BATCH)

    def step() -> float:
        h = np.tanh(x @ w + c)
        z = h @ W + C
        z -= z.max(1, keepdims=True)
        p = np.exp(z)
        total = p.sum(1, keepdims=True)
        loss = (np.log(total[:, 0]) - z[rows, y]).mean()
        p /= total
        p[rows, y] -= 1
        p /= BATCH
        d_h = p @ W.T
        d_h *= 1 - h * h
        for weight, grad in ((W, h.T @ p), (C, p.sum(0)), (w, x.T @ d_h), (c, d_h.sum(0))):
            weight -= RATE * grad
        return float(loss)

    return step


def _torch_tensors(x: np.ndarray, y: np.ndarray, weights: list[torch.Tensor]) -> Step:
    inputs, classes = torch.tensor(x), torch.tensor(y)
    for weight in weights:
        weight.requires_grad_()
    w, c, W, C = weights

    def step() -> float:
        loss = nn.functional.cross_entropy(torch.tanh(inputs @ w + c) @ W + C, classes)
        for weight in weights:
            weight.grad = None
        loss.backward()
        for weight in weights:
            assert weight.grad is not None
            weight.data -= RATE * weight.grad
        return loss.item()

    return step


def _torch_nn(module: nn.Module, x: np.ndarray, y: np.ndarray) -> Step:
    inputs, classes = torch.tensor(x), torch.tensor(y)
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE)
    loss_of = nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        loss_of(module(inputs), classes).backward()
        optimizer.step()

    return step


def _autograd(x: np.ndarray, y: np.ndarray, weights: list[np.ndarray]) -> Step | None:
    if find_spec("autograd") is None:
        return None
    import autograd.numpy as anp  # pyright: ignore[reportMissingImports]
    from autograd import grad  # pyright: ignore[reportMissingImports]

    rows = np.arange(BATCH)

    def loss(weights: list[np.ndarray]) -> Any:
        w, c, W, C = weights
        z = anp.dot(anp.tanh(anp.dot(x, w) + c), W) + C  # pyright: ignore
        z = z - anp.max(z, axis=1, keepdims=True)  # pyright: ignore
        return anp.mean(anp.log(anp.sum(anp.exp(z), axis=1)) - z[rows, y])  # pyright: ignore

    slope: Any = grad(loss)  # pyright: ignore

    def step() -> None:
        for weight, gradient in zip(weights, slope(weights), strict=True):
            weight -= RATE * gradient

    return step


def mlp() -> dict[str, Step | None]:
    """makemore's, its embedding in front."""
    rng = np.random.default_rng(0)
    blocks, y = rng.integers(0, CLASSES, (BATCH, 3)), rng.integers(0, CLASSES, BATCH)
    net = MLP(CLASSES, 3, 10, HIDDEN, 1, rng, np.float32)
    loss_of, optimizer = CrossEntropy(), GradientDescent(net.parameters().values(), RATE)

    def ours() -> None:
        with Tape() as tape:
            loss = loss_of(net(blocks), y)
        tape.backward(loss)
        optimizer.step()

    layers = [nn.Embedding(CLASSES, 10), nn.Flatten(), nn.Linear(30, HIDDEN), nn.Tanh()]
    module = nn.Sequential(*layers, nn.Linear(HIDDEN, CLASSES))
    return {"rung.scratch": ours, "torch.nn and its SGD": _torch_nn(module, blocks, y)}


def gpt() -> dict[str, Step | None]:
    """nanoGPT's size for a CPU."""
    rng = np.random.default_rng(0)
    tokens, targets = rng.integers(0, VOCAB, (2, ROWS, LENGTH))
    net = Transformer(VOCAB, LENGTH, 4, 4, 128, rng, np.float32)
    loss_of, optimizer = CrossEntropy(), Adam(net.parameters().values(), 1e-3)

    def ours() -> None:
        with Tape() as tape:
            loss = loss_of(net(tokens), targets)
        tape.backward(loss)
        optimizer.step()

    config = GPTConfig(context=LENGTH, n_layer=4, n_head=4, n_embd=128)
    module = GPT.initialise(config, VOCAB, 0, 0).network
    adam = torch.optim.Adam(module.parameters(), lr=1e-3)
    inputs, wanted = torch.tensor(tokens), torch.tensor(targets)

    def theirs() -> None:
        adam.zero_grad()
        nn.functional.cross_entropy(module(inputs).flatten(0, 1), wanted.flatten()).backward()
        adam.step()

    return {"rung.scratch": ours, "torch and its Adam": theirs}


def scalars() -> dict[str, Step | None]:
    """The network of two layers again, beside a node for each number."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, INPUTS)).astype(np.float32)
    y = rng.standard_normal((1, CLASSES)).astype(np.float32)
    net = Sequential(
        Linear(INPUTS, HIDDEN, rng, dtype=np.float32), ReLU(), Linear(HIDDEN, CLASSES, rng, dtype=np.float32)
    )
    loss_of, optimizer = SquaredError(), GradientDescent(net.parameters().values(), RATE)

    def ours() -> None:
        with Tape() as tape:
            loss = loss_of(net(x), y)
        tape.backward(loss)
        optimizer.step()

    return {"rung.scratch": ours, "micrograd": _micrograd(x, y)}


def _micrograd(x: np.ndarray, y: np.ndarray) -> Step | None:
    if find_spec("micrograd") is None:
        return None
    from micrograd.nn import MLP  # pyright: ignore[reportMissingImports]

    sys.setrecursionlimit(100_000)  # it walks its graph by recursion
    random.seed(0)
    net = MLP(INPUTS, [HIDDEN, CLASSES])
    outputs_of: Any = net  # a list, but for a network of one output
    for neuron in net.layers[0].neurons:
        for weight in neuron.w:
            weight.data /= math.sqrt(INPUTS)

    def step() -> None:
        loss: Any = 0.0
        for row, wanted in zip(x.tolist(), y.tolist(), strict=True):
            for output, target in zip(outputs_of(row), wanted, strict=True):
                loss = loss + (output - target) ** 2
        loss = loss * (1 / y.size)
        net.zero_grad()
        loss.backward()
        for parameter in net.parameters():
            parameter.data -= RATE * parameter.grad

    return step


if __name__ == "__main__":
    main()
