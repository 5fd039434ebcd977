"""Texts scored one by one, each as a document of its own: log-probabilities, tokens, bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rung.errors import UserError
from rung.measure import NO_NUMBERS
from rung.models.base import LanguageModel
from rung.text.stream import TokenStream
from rung.text.tokenizers import Tokenizer, utf8

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


def score_texts(model: LanguageModel, tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[Score]:
    """Score each text as a document of its own, in order, a batch at a time."""
    for batch in batched(texts):
        columns = score_batch(model, tokenizer, batch)
        for log_prob, tokens, n_bytes, bits in zip(
            *(column.tolist() for column in columns.values()), strict=True
        ):
            yield Score(log_prob, tokens, n_bytes, bits if n_bytes else None)


def score_batch(model: LanguageModel, tokenizer: Tokenizer, texts: Sequence[str]) -> Columns:
    """The fields of `Score` as columns (n,), each text a document of its own.

    An empty text is no document, as in `evaluate`: nothing is predicted, and bits per byte are NaN. (To a model of
    words from elsewhere it is one, as to the program it comes from.)
    """
    return columns_of(tokenizer, texts, *scored(model, tokenizer, texts))


def scored(
    model: LanguageModel, tokenizer: Tokenizer, texts: Sequence[str]
) -> tuple[TokenStream, np.ndarray]:
    stream = tokenizer.encode_many(texts)
    return stream, model.score_stream(stream)


def columns_of(
    tokenizer: Tokenizer, texts: Sequence[str], stream: TokenStream, log_probs: np.ndarray
) -> Columns:
    first = stream.starts[:-1] - 1
    log_prob = np.add.reduceat(log_probs.astype(np.float64), first)
    if np.isnan(log_prob).any():
        raise UserError(NO_NUMBERS)
    if tokenizer.lossless:
        n_bytes = np.add.reduceat(tokenizer.byte_counts(stream.ids), first)
    else:
        n_bytes = np.array([len(utf8(text)) for text in texts])
    n_tokens = np.diff(stream.starts)
    if tokenizer.unknown is None:
        log_prob[n_bytes == 0], n_tokens[n_bytes == 0] = 0.0, 0
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = np.where(n_bytes > 0, -log_prob / (math.log(2) * n_bytes), np.nan)
    return {"log_prob": log_prob, "tokens": n_tokens, "bytes": n_bytes, "bits_per_byte": bits}


def batched(texts: Iterable[str]) -> Iterator[list[str]]:
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
