"""What training needs to go on as if it had never stopped: weights, optimiser moments and a few numbers.

`checkpoints/last.safetensors` holds all of it, in one file, replaced atomically; `checkpoints/best.safetensors` holds
the weights with the lowest validation loss so far.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from rung.errors import UserError
from rung.tensors import load_tensors, save_tensors
from rung.training.averaging import Average
from rung.training.progress import Progress


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

    Raises UserError when the shapes are another model's.
    """
    tensors, metadata = load_tensors(path)
    parameters, buffers = dict(network.named_parameters()), dict(network.named_buffers())
    for key, array in tensors.items():
        kind, _, name = key.partition(".")
        if kind in ("model", "buffer"):
            target = (parameters if kind == "model" else buffers).get(name)
            if target is None or tuple(target.shape) != array.shape:
                raise UserError(
                    f"{path} is a checkpoint of another shape: {name} does not fit this run's model"
                )
            with torch.no_grad():
                target.copy_(distribute_like(torch.from_numpy(np.array(array)), target))
        elif kind == "average":
            if average is not None:
                average.tensors[name].copy_(torch.from_numpy(np.array(array)))
        else:
            state, _, name = name.partition(".")
            # Beside their parameter, step counts too: that is where a fused optimiser keeps them.
            value = torch.from_numpy(np.array(array)).to(parameters[name].device)
            optimizer.state[parameters[name]][state] = distribute_like(value, parameters[name])
    return Progress.from_text(metadata["progress"])


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
