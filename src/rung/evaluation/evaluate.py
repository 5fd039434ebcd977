"""Measuring a run on a split of its own text or on any other, and scoring texts one by one, in constant memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rung.errors import UserError, nearest
from rung.measure import Measure, measure
from rung.models.base import LanguageModel
from rung.runs import Run
from rung.text.sources import open_source
from rung.text.tokenizers import Tokenizer, utf8

SPLITS = ("train", "validation", "test")
BATCH_CHARACTERS = 1 << 18

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Score:
    """One text as a document of its own.

    Attributes:
        log_prob: log P(text and its closing mark), nats.
        tokens: how many were predicted, the closing mark included.
        bytes: UTF-8 bytes of the text.
        bits_per_byte: -log_prob / (ln 2 x bytes); None for an empty text.
    """

    log_prob: float
    tokens: int
    bytes: int
    bits_per_byte: float | None


def evaluate(
    run: Run,
    data: str | Path | None = None,
    *,
    split: str = "test",
    documents: str = "auto",
    field: str | None = None,
    sha256: str | None = None,
) -> Measure:
    """Measure a run on a split of the text it was trained from, or on the whole of `data`.

    Args:
        run: a finished run.
        data: any source; None = the run's own text.
        split: train, validation or test, of the run's own text.
        documents, field, sha256: how to read `data`; see `rung.text.options.DataOptions`.

    Raises UserError when the split or the text isn't there.
    """
    if data is not None:
        # A short list of lines is cut as the list was that the run was trained on.
        trained_on = run.recipe["data"]["source"].get("documents")
        like = trained_on if trained_on in ("lines", "paragraphs", "files") else None
        source = open_source(data, documents=documents, field=field, sha256=sha256, like=like)
        return _measure_texts(run.model, run.tokenizer, source, str(data))
    if split not in SPLITS:
        raise UserError(f"--split {split!r} is unknown{nearest(split, SPLITS)} (known: {', '.join(SPLITS)})")
    return measure(run.model, run.corpus.stream(split), run.corpus.n_bytes(split), split)


def score_texts(model: LanguageModel, tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[Score]:
    """Score each text as a document of its own, in order, a batch at a time."""
    for batch in _batches(texts):
        columns = score_batch(model, tokenizer, batch)
        for log_prob, tokens, n_bytes, bits in zip(
            *(column.tolist() for column in columns.values()), strict=True
        ):
            yield Score(log_prob, tokens, n_bytes, bits if n_bytes else None)


def score_batch(model: LanguageModel, tokenizer: Tokenizer, texts: Sequence[str]) -> Columns:
    """The fields of `Score` as columns (n,), each text a document of its own; an empty one has NaN bits per byte."""
    stream = tokenizer.encode_many(texts)
    first = stream.starts[:-1] - 1
    log_prob = np.add.reduceat(model.score_stream(stream).astype(np.float64), first)
    if tokenizer.lossless:
        n_bytes = np.add.reduceat(tokenizer.byte_lengths[stream.ids[1:]], first)
    else:
        n_bytes = np.array([len(utf8(text)) for text in texts])
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = np.where(n_bytes > 0, -log_prob / (math.log(2) * n_bytes), np.nan)
    return {"log_prob": log_prob, "tokens": np.diff(stream.starts), "bytes": n_bytes, "bits_per_byte": bits}


def _measure_texts(model: LanguageModel, tokenizer: Tokenizer, texts: Iterable[str], name: str) -> Measure:
    nats, tokens, n_bytes, documents = [0.0], 0, 0, 0
    for score in score_texts(model, tokenizer, texts):
        nats.append(-score.log_prob)
        tokens += score.tokens
        n_bytes += score.bytes
        documents += 1
    return Measure.total(math.fsum(nats), tokens, n_bytes, documents, name)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text) + 1
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
