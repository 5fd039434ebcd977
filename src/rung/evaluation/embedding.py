"""Vectors of texts, for a file of any size: record by record, in order and in constant memory.

    no --out           {"vector": [0.1, ...]}, one a record; a bad record gives {"error": "where: what"}
    --out X.npy        float32 (N, C), a row a record; of a bad record all NaN, as rows have to stand where records do
    --out X.parquet    columns `text` and `vector`; a bad record's vector is null. What made them stands in the file:
                       the weights' SHA-256, the pooling, whether they have length 1

A run that has learned vectors of texts (`rung.models.text_encoder`) gives those; of every other network they are pooled
from its states (`rung.models.networks.states`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rung.errors import UserError
from rung.evaluation.filter import NEURAL_BATCH_BYTES
from rung.files import atomic_path, sha256_of
from rung.models.text_encoder import TextEncoder
from rung.run_files import MODEL
from rung.run_folders import check_no_run
from rung.runs import Run
from rung.text.formats import ROW_FORMATS, split_suffixes
from rung.text.npy_rows import NpyRows
from rung.text.record_batches import open_records
from rung.text.tokenizers import NotInVocabularyError

TEXTS_AT_ONCE = 1024
SUFFIXES = (".npy", ".parquet")
MADE_BY = b"rung"
"""Under which key a Parquet file says what made its vectors."""


@dataclass(frozen=True)
class Making:
    """What made vectors.

    Attributes:
        sha256: of the run's weights.
        pooling: how they were made of states; None = as the run itself has it.
        normalize: whether they have length 1.
    """

    sha256: str
    pooling: str | None
    normalize: bool


class Embedder:
    """A run as what makes vectors of texts."""

    def __init__(self, run: Run, pooling: str | None = None, *, normalize: bool = False) -> None:
        """Raises UserError for a run that has no vectors, and a pooling that does not go with it."""
        self.run, self.normalize = run, normalize
        model = run.model
        if isinstance(model, TextEncoder):
            if pooling not in (None, model.pooling):
                has = f"are pooled by {model.pooling}" if model.pooling else "are not pooled from states"
                raise UserError(
                    f"--pooling {pooling} does not go with {run.folder}, whose vectors {has}; leave it out"
                )
            self.pooling, self._vectors = model.pooling, model.vectors
            return
        network = model.network.with_states if run.model_class.trained_by == "torch" else None
        if network is None:
            raise UserError(
                f"{run.folder} is a {run.rung}, which makes no vectors of texts: name a run of gpt, bert, lstm, gru, "
                "rnn, mlp or wavenet"
            )
        from rung.models.networks.states import check_pooling, pooled_vectors

        self.pooling = chosen = check_pooling("mean" if pooling is None else pooling, network)
        self._vectors = lambda texts: pooled_vectors(model, network, texts, chosen)

    def __call__(self, texts: list[str]) -> np.ndarray:
        """(N, C) float32. Raises UserError for a text that a closed vocabulary can't hold."""
        vectors = self._vectors(self.run.tokenizer.encode_many(texts))
        if not np.isfinite(vectors).all():
            raise UserError(
                f"{self.run.folder}: its vectors are not numbers: its training diverged, or its files are damaged"
            )
        return normalized(vectors) if self.normalize else vectors

    @property
    def width(self) -> int:
        """C."""
        return self([""]).shape[1]

    def making(self) -> Making:
        return Making(sha256_of(self.run.folder / MODEL), self.pooling, self.normalize)


def normalized(vectors: np.ndarray) -> np.ndarray:
    """Each of vectors (N, C) divided by its length; one of zeros stays so."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths == 0, 1, lengths)


def embed_texts(
    run: Run, texts: Iterable[str], pooling: str | None = None, *, normalize: bool = False
) -> np.ndarray:
    """Vectors (N, C), float32, of texts, in order."""
    embedder, rest = Embedder(run, pooling, normalize=normalize), iter(texts)
    found = [embedder(batch) for batch in iter(lambda: list(islice(rest, TEXTS_AT_ONCE)), [])]
    return np.concatenate(found) if found else embedder([""])[:0]


class Embedded(NamedTuple):
    """Some records of a file, one after another.

    texts: (M,), "" of a bad one; vectors: (M, C) float32, NaN of a bad one; errors: what is wrong with the bad ones,
    and where, by their place; position: how many bytes of the file have been read so far.
    """

    texts: list[str]
    vectors: np.ndarray
    errors: dict[int, str]
    position: int


class Embedding:
    """One pass over a file.

    Attributes:
        size: the file's bytes, compressed as they are; None for a pipe.
    """

    def __init__(self, embedder: Embedder, file: str, field: str | None = None) -> None:
        """Nothing is read yet. `field`: which one holds the text; by default that of the training, where it had one.

        Raises UserError when there is no such file, or its format does not fit.
        """
        columns = embedder.run.recipe["data"].get("columns", {})
        plain = ROW_FORMATS.get(split_suffixes(Path(file))[0], "text") == "text"
        if field is None and not plain and columns.get("text", "text") != "text":
            field = columns["text"]
        self._embedder, self._records = embedder, open_records(file, field)
        self.size = self._records.size

    def blocks(self) -> Generator[Embedded]:
        """Its records, some at a time."""
        n_read = 0
        for batch in self._records.batches(NEURAL_BATCH_BYTES):
            try:
                vectors = self._embedder(batch.texts)
            except NotInVocabularyError:
                for place, text in enumerate(batch.texts):
                    try:
                        self._embedder.run.tokenizer.encode(text)
                    except NotInVocabularyError as error:
                        where = f"{self._records.file.name} record {n_read + place + 1}"
                        batch.texts[place], batch.errors[place] = "", f"{where}: {error}"
                vectors = self._embedder(batch.texts)
            vectors[list(batch.errors)] = np.nan
            n_read += len(batch.texts)
            yield Embedded(batch.texts, vectors, batch.errors, self._records.position)


def write_vectors(embedder: Embedder, embedding: Embedding, out: Path) -> Generator[Embedded]:
    """Write a file's vectors to `out`, which appears when all is done; each part is written before it is given."""
    with atomic_path(out) as temporary, _writer(embedder, out.suffix, temporary) as write:
        for block in embedding.blocks():
            write(block)
            yield block


def check_out(out: Path, file: str) -> None:
    """Raises UserError for a file to write to whose name does not say what it is to hold."""
    check_no_run(out)
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; name a file in it")
    if out.suffix not in SUFFIXES:
        raise UserError(f"--out {out} does not say what it is to hold: end its name in .npy or .parquet")
    if file != "-" and out.exists() and Path(file).exists() and out.samefile(file):
        raise UserError(f"--out {out} is the file that is read; name another")


def json_lines(block: Embedded) -> str:
    """An object a record."""
    lines = [
        {"error": block.errors[i]} if i in block.errors else {"vector": [float(f"{x:.9g}") for x in vector]}
        for i, vector in enumerate(block.vectors.tolist())
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _writer(
    embedder: Embedder, suffix: str, path: Path
) -> AbstractContextManager[Callable[[Embedded], object]]:
    return _npy(embedder, path) if suffix == ".npy" else _parquet(embedder, path)


@contextmanager
def _npy(embedder: Embedder, path: Path) -> Iterator[Callable[[Embedded], object]]:
    with NpyRows(path, np.float32, embedder.width) as rows:
        yield lambda block: rows.append(block.vectors)


@contextmanager
def _parquet(embedder: Embedder, path: Path) -> Iterator[Callable[[Embedded], object]]:
    import pyarrow as pa
    from pyarrow import parquet

    vector = pa.list_(pa.float32(), embedder.width)
    schema = pa.schema([("text", pa.string()), ("vector", vector)]).with_metadata(
        {MADE_BY: json.dumps(asdict(embedder.making())).encode()}
    )

    def write(block: Embedded) -> None:
        bad = np.zeros(len(block.texts), bool)
        bad[list(block.errors)] = True
        values = pa.array(block.vectors.ravel())
        column: Any = pa.FixedSizeListArray.from_arrays(values, type=vector, mask=pa.array(bad))
        writer.write_table(pa.table([pa.array(block.texts, pa.string()), column], schema=schema))

    with parquet.ParquetWriter(path, schema, use_dictionary=False) as writer:
        yield write
