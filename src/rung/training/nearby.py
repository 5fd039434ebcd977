"""Restarts near the best so far: its weights, and noise.

    w = w* + e,  e ~ N(0, noise^2)         w*: the best of the restarts before, by validation

Where a plain restart looks anywhere, this one looks around; what is learned of the place is not lost.
"""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from rung.opening import opening
from rung.run_files import MODEL, RECIPE
from rung.tensors import load_tensors
from rung.training.trainers import Job

NEAR = "near"
"""What the recipe of a restart calls the seed of the one that it begins near to, and how much noise is between."""


def weights_near(job: Job, learned: Container[str]) -> dict[str, np.ndarray] | None:
    """The weights that a restart begins with; None where it begins with new ones.

    `learned`: the names of those that get noise; a buffer, such as a running variance, stays as it is.
    """
    near = job.run.recipe.get(NEAR)
    if near is None:
        return None
    own = (job.place / RECIPE).parent
    with opening(own / RECIPE):
        seed, noise = int(near["seed"]), float(near["noise"])
    tensors, _ = load_tensors(own.parent / str(seed) / MODEL)
    rng = np.random.default_rng([job.seed, seed])
    return {
        name: tensor + noise * rng.standard_normal(tensor.shape).astype(tensor.dtype)
        if name in learned
        else tensor
        for name, tensor in sorted(tensors.items())
    }
