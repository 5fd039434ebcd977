"""What training needs to go on as if it had never stopped: weights, optimiser moments and a few numbers.

`checkpoints/last.safetensors` holds all of it, in one file, replaced atomically; `checkpoints/best.safetensors` holds
the weights with the lowest validation loss so far.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from rung.opening import check_finite, opening
from rung.tensors import load_tensors, save_tensors
from rung.training.averaging import Average
from rung.training.progress import Progress, read_progress

OPTIMIZER_STATES = ({"step", "exp_avg", "exp_avg_sq"}, {"momentum_buffer"}, {"sum"})
"""What the optimisers keep of a weight: Adam and AdamW, those with momentum, Adagrad by rows."""


def save_checkpoint(
    path: Path,
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    average: Average | None = None,
    *,
    full_tensor: Callable[[torch.Tensor], torch.Tensor] = torch.Tensor.detach,
    write: bool = True,
) -> None:
    """Write everything, atomically. `full_tensor` makes whole what this process has a share of; one of those that
    have the others must write."""
    tensors = {f"model.{name}": _numpy(full_tensor(t)) for name, t in network.named_parameters()}
    tensors |= {f"buffer.{name}": _numpy(full_tensor(t)) for name, t in network.named_buffers()}
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in network.named_parameters()}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            tensors[f"optimizer.{key}.{names[parameter]}"] = _numpy(full_tensor(torch.as_tensor(value)))
    if average is not None:
        tensors |= {f"average.{name}": _numpy(t) for name, t in average.tensors.items()}
    if write:
        save_tensors(path, tensors, {"progress": progress.to_text()})


def load_checkpoint(
    path: Path,
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Average | None = None,
    *,
    distribute_like: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = lambda tensor, like: tensor,
) -> Progress:
    """Put back what `save_checkpoint` wrote, bit for bit; `distribute_like` gives of it what belongs to this process.

    Raises UserError when it is damaged or another model's.
    """
    with opening(path):
        return _restored(*load_tensors(path), network, optimizer, average, distribute_like)


def _restored(
    tensors: dict[str, np.ndarray],
    metadata: dict[str, str],
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Average | None,
    distribute_like: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> Progress:
    parameters, buffers = dict(network.named_parameters()), dict(network.named_buffers())
    lacking = [name for name in parameters if f"model.{name}" not in tensors]
    if lacking:
        raise ValueError(f"it has no {lacking[0]}")
    states: dict[str, set[str]] = {}
    for key, array in tensors.items():
        kind, _, name = key.partition(".")
        check_finite(name, array)
        if kind in ("model", "buffer"):
            target = (parameters if kind == "model" else buffers).get(name)
            if target is None or tuple(target.shape) != array.shape:
                raise ValueError(f"{name} does not fit this run's model")
            with torch.no_grad():
                target.copy_(distribute_like(torch.from_numpy(np.array(array)), target))
        elif kind == "average":
            if average is not None:
                average.tensors[name].copy_(torch.from_numpy(np.array(array)))
        elif kind != "optimizer":
            raise ValueError(f"{key} is no part of a checkpoint")
        else:
            state, _, name = name.partition(".")
            states.setdefault(name, set()).add(state)
            shape = tuple(parameters[name].shape)
            if array.dtype.kind != "f" or array.shape not in ((), shape[:1], shape):
                raise ValueError(f"what the optimiser knows of {name} does not fit it")
            # Beside their parameter, step counts too: that is where a fused optimiser keeps them.
            value = torch.from_numpy(np.array(array)).to(parameters[name].device)
            optimizer.state[parameters[name]][state] = distribute_like(value, parameters[name])
    if any(state not in OPTIMIZER_STATES for state in states.values()):
        raise ValueError("what the optimiser knows of a weight is not all there")
    return read_progress(Progress, metadata)


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
