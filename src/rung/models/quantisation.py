"""Weights in few bits: a row of a matrix is whole numbers and one scale.

    8 bits   W[o] = scale[o] q[o],          q whole, from -127 to 127; scale = the row's largest |w| / 127
    4 bits   W[o] = scale[o] level[o, g] q[o],   q from -7 to 7, packed two to a byte; a level, from 1 to 18, for each
             GROUP numbers of a row, as large as the largest of them needs; scale = the row's largest |w| / 126

So a product of level and number fits 8 bits too, and whatever the bits, `Codes` are whole numbers of 8 bits and a
scale a row: one compiled product reads them (`transformer.inference`). Rounding to the nearest, nothing is fitted: the
largest- value scheme of Dettmers et al. 2022, "LLM.int8()" (arXiv:2208.07339), section 2.1, row by row, without its
outliers; the levels within levels are those of llama.cpp's K-quants. What has one dimension (biases, norms) stays
float32, and a table that is tied is there once, so it is rounded once. On disk a matrix NAME is NAME and NAME.scale,
at 4 bits also NAME.levels and NAME.shape; the file's metadata say `quantised`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rung.errors import UserError
from rung.opening import check_array, check_at_most, check_finite, opening
from rung.tensors import load_tensors

BITS = (8, 4)
GROUP = 32
LARGEST = {8: 127, 4: 7}
MOST_LEVELS = 18
QUANTISED = "quantised"
PARTS = (".scale", ".levels", ".shape")


class Codes(NamedTuple):
    """A matrix (O, ...) as `numbers` (O, ...) int8 times `scale` (O,) float32, row by row."""

    numbers: np.ndarray
    scale: np.ndarray

    def weights(self) -> np.ndarray:
        """(O, ...) float32."""
        return self.numbers * self.scale.reshape(-1, *[1] * (self.numbers.ndim - 1))


def quantise(tensors: Mapping[str, np.ndarray], bits: int) -> dict[str, np.ndarray]:
    """What of a model is to be written: its matrices in `bits` bits, the rest as it is.

    Raises UserError where there is no matrix, and for another number of bits.
    """
    if bits not in BITS:
        raise UserError(f"--bits {bits} is not possible: give 8 or 4")
    written: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and tensor.ndim >= 2 and tensor.size:
            rounded = _in_eight(tensor) if bits == 8 else _in_four(tensor)
            written |= {name + part: array for part, array in rounded.items()}
        else:
            written[name] = tensor
    if len(written) == len(tensors):
        raise UserError("there is no matrix to quantise: the model has none")
    return written


def unpacked(written: Mapping[str, np.ndarray]) -> tuple[dict[str, Codes], dict[str, np.ndarray]]:
    """Of the tensors of a quantised file: the codes of its matrices, and all weights as float32.

    Raises ValueError or KeyError for what `quantise` has not made.
    """
    scaled = {name.removesuffix(".scale") for name in written if name.endswith(".scale")}
    codes = {name: _codes(name, written) for name in sorted(scaled)}
    parts = {name + part for name in scaled for part in PARTS}
    rest = {name: tensor for name, tensor in written.items() if name not in scaled | parts}
    return codes, rest | {name: matrix.weights() for name, matrix in codes.items()}


def load_weights(path: Path) -> dict[str, np.ndarray]:
    """The weights in a run's file, float32 where they are quantised. Raises UserError for a damaged file."""
    tensors, metadata = load_tensors(path)
    if QUANTISED not in metadata:
        return tensors
    with opening(path):
        return unpacked(tensors)[1]


def _in_eight(matrix: np.ndarray) -> dict[str, np.ndarray]:
    rows = matrix.reshape(len(matrix), -1)
    scale = (np.abs(rows).max(1) / LARGEST[8]).astype(np.float32)
    numbers = np.rint(_over(rows, scale[:, None])).astype(np.int8)
    return {"": numbers.reshape(matrix.shape), ".scale": scale}


def _in_four(matrix: np.ndarray) -> dict[str, np.ndarray]:
    rows = matrix.reshape(len(matrix), -1)
    n_rows, width = rows.shape
    groups = np.pad(rows, ((0, 0), (0, -width % GROUP))).reshape(n_rows, -1, GROUP)
    largest = np.abs(groups).max(2)  # (O, G)
    scale = (largest.max(1) / (LARGEST[4] * MOST_LEVELS)).astype(np.float32)
    levels = np.ceil(_over(largest, LARGEST[4] * scale[:, None]) - 1e-4).clip(1, MOST_LEVELS)
    numbers = np.rint(_over(groups, (scale[:, None] * levels)[:, :, None])).clip(-LARGEST[4], LARGEST[4])
    offset = (numbers.reshape(n_rows, -1)[:, : width + width % 2] + 8).astype(np.uint8)
    return {
        "": offset[:, ::2] | offset[:, 1::2] << 4,
        ".levels": levels.astype(np.uint8),
        ".scale": scale,
        ".shape": np.array(matrix.shape, np.int64),
    }


def _over(numbers: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Numbers in units; 0 where the unit is 0, as that of a row of zeros is."""
    return np.divide(numbers, unit, out=np.zeros_like(numbers), where=unit > 0)


def _codes(name: str, written: Mapping[str, np.ndarray]) -> Codes:
    numbers, scale = written[name], written[f"{name}.scale"]
    check_array(f"{name}.scale", scale, "f4", [len(numbers)])
    check_finite(f"{name}.scale", scale)
    if f"{name}.levels" not in written:
        if numbers.dtype != np.int8 or numbers.ndim < 2:
            raise ValueError(f"{name} holds {numbers.dtype} of {numbers.ndim} dimensions")
        return Codes(numbers, scale)
    levels, shape = written[f"{name}.levels"], written[f"{name}.shape"].tolist()
    check_array(f"{name}.shape", written[f"{name}.shape"], "i8", [None])
    if len(shape) < 2 or min(shape) < 1:
        raise ValueError(f"{name}.shape is {shape}")
    n_rows, width = shape[0], int(np.prod([float(n) for n in shape[1:]]))
    check_array(name, numbers, "u1", [n_rows, -(-width // 2)])
    check_array(f"{name}.levels", levels, "u1", [n_rows, -(-width // GROUP)])
    check_at_most(f"{name}.levels", levels, MOST_LEVELS)
    found = np.empty((n_rows, 2 * numbers.shape[1]), np.int8)
    found[:, ::2], found[:, 1::2] = numbers & 15, numbers >> 4
    found = (found[:, :width] - np.int8(8)) * np.repeat(levels.astype(np.int8), GROUP, axis=1)[:, :width]
    if found.size and found.min() < -LARGEST[4] * MOST_LEVELS:  # q of -8, which is never written
        raise ValueError(f"{name} holds a number below {-LARGEST[4]}")
    return Codes(found.reshape(shape), scale)
