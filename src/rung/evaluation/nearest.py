"""The texts of a file that are nearest to a query: by the cosine of their vectors, exactly, in constant memory.

    cos(a, b) = a . b / (|a| |b|),   0 where one of them is all zeros

The file is a text of lines or of records, whose vectors are made on the way, or vectors that `rung embed` wrote (.npy,
.parquet), which are read a block at a time. No index: a million vectors of 384 numbers are one matrix product.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rung.errors import UserError
from rung.evaluation.embedding import MADE_BY, Embedder, Embedding, Making, normalized
from rung.opening import check_array, opening
from rung.runs import Run
from rung.text.formats import File, reading
from rung.text.records import open_parquet

ROWS = 1 << 13
"""Vectors that are looked at together."""


@dataclass(frozen=True)
class Neighbour:
    """A text near a query.

    Attributes:
        row: its number in the file, from 1 on: of a line, of a record, of a vector.
        cosine: of its vector and the query's, -1 to 1.
        text: None where the file holds vectors alone.
    """

    row: int
    cosine: float
    text: str | None


class Search:
    """One pass over a file.

    Attributes:
        size: the file's bytes, compressed as they are; None for a pipe, and where vectors are there already.
        records: how many were seen so far; bad, how many of them had no vector.
        position: how many bytes of the file were read so far.
        nearest: the nearest so far, the nearest first; of equal ones the first.
    """

    def __init__(
        self,
        run: Run,
        query: str,
        file: str,
        n: int = 5,
        *,
        pooling: str | None = None,
        field: str | None = None,
    ) -> None:
        """Nothing is read yet. Raises UserError for a run without vectors, a file that is none, and n below 1."""
        if n < 1:
            raise UserError(f"-n {n} is not possible: give 1 or more")
        if not query.strip():
            raise UserError("the query is empty: give a text")
        self._n, self._file, self._field = n, file, field
        made = _made_by(file)
        if made is not None:
            pooling = _agreed(run, made, pooling, file)
        self._embedder = Embedder(run, pooling)
        self._query = normalized(self._embedder([query]))[0].astype(np.float64)
        self._vectors = Path(file).suffix == ".npy" or made is not None
        if self._vectors and field is not None:
            raise UserError(f"--field {field} does not fit: {file} holds vectors")
        self._embedding = None if self._vectors else Embedding(self._embedder, file, field)
        self.size = None if self._embedding is None else self._embedding.size
        self.records, self.bad, self.position = 0, 0, 0
        self.nearest: list[Neighbour] = []

    def steps(self) -> Iterator[Search]:
        """Read the file, some vectors at a time; itself after each."""
        for texts, vectors in self._blocks():
            self._take(texts, vectors)
            yield self
        if not self.records:
            raise UserError(f"{self._file} holds no texts")

    def _blocks(self) -> Iterator[tuple[list[str] | None, np.ndarray]]:
        if self._embedding is not None:
            for block in self._embedding.blocks():
                self.position = block.position
                yield block.texts, block.vectors
        elif Path(self._file).suffix == ".npy":
            yield from ((None, block) for block in _npy_blocks(Path(self._file), len(self._query)))
        else:
            yield from _parquet_blocks(Path(self._file), len(self._query))

    def _take(self, texts: list[str] | None, vectors: np.ndarray) -> None:
        there = np.flatnonzero(np.isfinite(vectors).all(axis=1))
        cosines = normalized(vectors[there].astype(np.float64)) @ self._query
        best = there[np.argsort(-cosines, kind="stable")[: self._n]]
        known = dict(zip(there.tolist(), cosines.tolist(), strict=True))
        self.nearest += [
            Neighbour(self.records + i + 1, known[i], None if texts is None else texts[i])
            for i in best.tolist()
        ]
        self.nearest = sorted(self.nearest, key=lambda one: -one.cosine)[: self._n]
        self.records += len(vectors)
        self.bad += len(vectors) - len(there)


def nearest(
    run: Run, query: str, file: str, n: int = 5, *, pooling: str | None = None, field: str | None = None
) -> list[Neighbour]:
    """The `n` records of a file that are nearest to a query, the nearest first."""
    search = Search(run, query, file, n, pooling=pooling, field=field)
    for _ in search.steps():
        pass
    return search.nearest


def _npy_blocks(path: Path, width: int) -> Iterator[np.ndarray]:
    """Read, not mapped: of a mapped file all that was looked at stays in memory."""
    with opening(path), path.open("rb") as file:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            check_array("it", array, "f2 f4 f8", [None, None])
        if not array.flags.c_contiguous:
            raise ValueError("its numbers lie column by column")
        _check_width(path, array.shape[1], width)
        n, dtype = len(array), array.dtype
        file.seek(getattr(array, "offset", 0))
        for begin in range(0, n, ROWS):
            rows = min(ROWS, n - begin)
            yield np.fromfile(file, dtype, rows * width).reshape(rows, width)


def _parquet_blocks(path: Path, width: int) -> Iterator[tuple[list[str], np.ndarray]]:
    import pyarrow as pa

    file = File(str(path), path, "parquet", "")
    with reading(file), open_parquet(file) as table:
        for batch in table.iter_batches(batch_size=ROWS, columns=["text", "vector"]):
            column: Any = batch.column("vector")
            if not pa.types.is_fixed_size_list(column.type):
                raise UserError(
                    f"{path}: its vectors are not all as long: it was changed since rung embed wrote it"
                )
            _check_width(path, column.type.list_size, width)
            vectors = np.full((len(batch), width), np.nan, np.float32)
            there = column.is_valid().to_numpy(zero_copy_only=False)
            vectors[there] = column.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
            yield [text or "" for text in batch.column("text").to_pylist()], vectors


def _check_width(path: Path, width: int, wanted: int) -> None:
    if width != wanted:
        raise UserError(
            f"{path} holds vectors of {width:,} numbers, and this run makes {wanted:,}: name the run that they are of"
        )


def _made_by(file: str) -> Making | None:
    """What made the vectors of a Parquet file; None of any other file."""
    path = Path(file)
    if path.suffix != ".parquet" or not path.is_file():
        return None
    parquet = File(file, path, "parquet", "")
    with reading(parquet), open_parquet(parquet) as table:
        said = (table.schema_arrow.metadata or {}).get(MADE_BY)
        if said is None or not {"text", "vector"} <= set(table.schema_arrow.names):
            return None
    with opening(path):
        return Making(**json.loads(said))


def _agreed(run: Run, made: Making, pooling: str | None, file: str) -> str | None:
    """The pooling of a file's vectors. Raises UserError where they are another model's, or pooled otherwise."""
    if made.sha256 != Embedder(run).making().sha256:
        raise UserError(
            f"{file} holds vectors of another run than {run.folder}: name that one, or embed anew"
        )
    if pooling not in (None, made.pooling):
        raise UserError(f"--pooling {pooling} does not fit: {file} holds vectors pooled by {made.pooling}")
    return made.pooling
