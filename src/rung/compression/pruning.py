"""A run without some of its weights, heads or blocks.

    weights   of every matrix the share of its numbers that are nearest to 0 is set to 0: magnitude pruning (Han et al.
              2015, arXiv:1506.02626), one share for all. Tables of tokens and positions, biases and norms stay
    heads     each head is left out by itself, and those go without which the loss grows least: Michel et al. 2019
              (arXiv:1905.10650), section 2. Their weights are set to 0; the shape stays
    blocks    the block without which the loss grows least goes, and so on: the network has fewer, and is smaller.
              By the loss itself, as Kim et al. 2024, "Shortened LLaMA" (arXiv:2402.02834), by perplexity

What heads and blocks cost is asked of the training part (`costs`), so that the measure on validation tells of a choice
that it has no part in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rung.compression.costs import attentions, cheapest_blocks, heads_cost
from rung.compression.smaller_run import Smaller, check_network, make
from rung.errors import UserError, nearest
from rung.run_folders import free_folder
from rung.runs import Run, save_model

KINDS = ("weights", "heads", "blocks")


@dataclass(frozen=True)
class Pruned:
    """A pruned run and what it was made of.

    Attributes:
        made: both, and their measures.
        zeros: how many numbers of the matrices of the new run are 0.
        numbers: how many numbers those have.
    """

    made: Smaller
    zeros: int
    numbers: int

    def to_json(self) -> dict[str, Any]:
        """What `--json` says."""
        return {**self.made.to_json(), "zeros": self.zeros, "numbers": self.numbers}


def prune_run(
    run: Run,
    *,
    share: float,
    of: str = "weights",
    data: str | Path | None = None,
    out: Path | None = None,
    force: bool = False,
) -> Pruned:
    """A new run without a share of what `run` has.

    Args:
        run: a finished run of a network; it stays as it is.
        share: above 0 and below 1.
        of: weights, heads or blocks.
        data: the text to measure both on; None = the run's own validation split.
        out: the new folder; None = runs/NAME-pruned.
        force: overwrite the run that is there.

    Raises UserError for a share of nothing or everything, and for a run that has no such parts.
    """
    if of not in KINDS:
        raise UserError(f"--of {of!r} is unknown{nearest(of, KINDS)} (known: {', '.join(KINDS)})")
    if not 0 < share < 1:
        raise UserError(f"--share {share:g} is not possible: give a share above 0 and below 1, such as .3")
    check_network(run, "prune")
    folder = out if out is not None else free_folder(f"{run.folder.resolve().name}-pruned")
    model: Any = None

    def change() -> tuple[Any, dict[str, Any]]:
        nonlocal model
        model, facts = CHANGES[of](run, share)
        return model.describe(), {"share": share, "of": of, **facts}

    made = make(
        run, folder, change, lambda place: save_model(place, model), name="pruned", data=data, force=force
    )
    tensors = model.tensors()
    weights = [tensors[name] for name in matrices(model.network)]
    zeros = sum(int(np.sum(weight == 0)) for weight in weights)
    return Pruned(made, zeros, sum(weight.size for weight in weights))


def _without_weights(run: Run, share: float) -> tuple[Any, dict[str, Any]]:
    names = matrices(run.model.network)
    if not names:
        raise UserError(f"{run.folder} is a {run.rung}, which has tables and no matrices: nothing to prune")
    tensors = run.model.tensors()
    for name in names:
        flat = tensors[name].reshape(-1)
        flat[smallest(flat, share)] = 0
    return _built(run, run.config, tensors), {}


def _without_heads(run: Run, share: float) -> tuple[Any, dict[str, Any]]:
    parts = attentions(run)
    heads = [(block, head) for block, part in enumerate(parts.values()) for head in range(part.n_head)]
    n = _number(share, len(heads), "heads", run)
    costs = dict(zip(heads, heads_cost(run), strict=True))
    gone = sorted(sorted(heads, key=lambda place: costs[place])[:n])
    tensors, names = run.model.tensors(), list(parts)
    for block, head in gone:
        part = parts[names[block]]
        size = part.head_size
        tensors[f"{names[block]}.project.weight"][:, head * size : (head + 1) * size] = 0
        first = [head]
        if part.n_kv_head == part.n_head:  # no other head reads its keys and values
            first += [part.n_head + head, 2 * part.n_head + head]
        for which in first:
            for name in (f"{names[block]}.qkv.weight", f"{names[block]}.qkv.bias"):
                if name in tensors:
                    tensors[name][which * size : (which + 1) * size] = 0
    told = [{"block": block, "head": head, "cost": costs[block, head]} for block, head in gone]
    return _built(run, run.config, tensors), {"heads": told}


def _without_blocks(run: Run, share: float) -> tuple[Any, dict[str, Any]]:
    prefix, n_blocks = run.model.network.blocks_of()
    if not n_blocks or getattr(run.config, "n_layer", None) != n_blocks:
        raise UserError(f"{run.folder} is a {run.rung}, which has no blocks that it can be without")
    n = _number(share, n_blocks, "blocks", run)
    gone = cheapest_blocks(run, n)
    kept = [block for block in range(n_blocks) if block not in {place for place, _ in gone}]
    tensors = {}
    for name, tensor in run.model.tensors().items():
        number, dot, rest = name.removeprefix(prefix).partition(".")
        if not name.startswith(prefix):
            tensors[name] = tensor
        elif int(number) in kept:
            tensors[f"{prefix}{kept.index(int(number))}{dot}{rest}"] = tensor
    told = [{"block": block, "cost": cost} for block, cost in gone]
    return _built(run, replace(run.config, n_layer=len(kept)), tensors), {"blocks": told}


CHANGES: dict[str, Callable[[Run, float], tuple[Any, dict[str, Any]]]] = {
    "weights": _without_weights,
    "heads": _without_heads,
    "blocks": _without_blocks,
}


def _built(run: Run, config: Any, tensors: dict[str, np.ndarray]) -> Any:
    return run.model_class.from_tensors(config, tensors=tensors, **run.shape)


def _number(share: float, n: int, what: str, run: Run) -> int:
    """How many of `n` a share is. Raises UserError where it is none or all."""
    found = round(share * n)
    if not 0 < found < n:
        raise UserError(
            f"--share {share:g} of the {n} {what} of {run.folder} is {'none' if not found else 'all'}: "
            + (f"give from {1 / n:.2g} to {(n - 1) / n:.2g}" if n > 1 else "it has to keep one")
        )
    return found


def matrices(network: Any) -> list[str]:
    """The names of a network's matrices: what has two dimensions or more and is no table that rows are looked up in."""
    token_table = network.token_embedding
    return [
        name
        for name, weight in network.named_parameters()
        if weight.dim() >= 2
        and name not in network.tables
        and weight is not token_table
        and "embedding" not in name.split(".")[:-1]
    ]


def smallest(weights: np.ndarray, share: float) -> np.ndarray:
    """The places of the round(share N) of N numbers that are nearest to 0; of equal ones the first."""
    return np.argsort(np.abs(weights), kind="stable")[: round(share * len(weights))]
