"""What hidden tokens cost a masked language model: chosen ones all hidden at once, or each token by itself in turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rung.models.masked_model import MaskedLanguageModel
from rung.text.masking import HIDDEN, PADDING, window_begins
from rung.text.stream import TokenStream

TOKENS_AT_ONCE = 1 << 14


class Hidden(NamedTuple):
    """A text, or a window of it, some of whose tokens are hidden.

    text: (n,) with HIDDEN where they are.
    asked: those of the hidden ones that are asked for, by their number among all hidden.
    right: what stood there, (len(asked),).
    """

    text: np.ndarray
    asked: np.ndarray
    right: np.ndarray


def hidden_at_once(ids: np.ndarray, places: np.ndarray, context: int | None) -> Iterator[Hidden]:
    """A text (n,) with all of `places`, rising, hidden, in as many windows as are needed; each place is asked once,
    in order."""
    text = ids.astype(np.int64)
    text[places] = HIDDEN
    width = len(ids) if context is None else min(context, len(ids))
    begins = window_begins(places, len(ids), context)
    for begin in np.unique(begins):
        inside = places[(places >= begin) & (places < begin + width)]
        own = places[begins == begin]
        yield Hidden(text[begin : begin + width], np.searchsorted(inside, own), ids[own])


def hidden_in_turn(ids: np.ndarray, places: np.ndarray, context: int | None) -> Iterator[Hidden]:
    """A text (n,) as often as there are `places`, with one of them hidden."""
    width = len(ids) if context is None else min(context, len(ids))
    for place, begin in zip(places, window_begins(places, len(ids), context), strict=True):
        text = ids[begin : begin + width].astype(np.int64)
        text[place - begin] = HIDDEN
        yield Hidden(text, np.zeros(1, np.int64), ids[place : place + 1])


def score_hidden(model: MaskedLanguageModel, rows: Iterable[Hidden]) -> list[np.ndarray]:
    """Of each row, in order, for the places asked for (k, 2): log p of what is right, nats, and 1 where nothing is
    likelier, else 0. Rows of like length go together."""
    rows = list(rows)
    found: list[np.ndarray] = [np.empty((0, 2))] * len(rows)
    order = np.argsort([len(row.text) for row in rows], kind="stable")
    for batch in _batches(rows, order):
        texts = np.full((len(batch), max(len(rows[i].text) for i in batch)), PADDING, np.int64)
        for row, i in enumerate(batch):
            texts[row, : len(rows[i].text)] = rows[i].text
        log_probs = model.masked_log_probs(texts)
        first = 0
        for i in batch:
            _, asked, right = rows[i]
            own = log_probs[first + asked]
            log_p = own[np.arange(len(right)), right]
            found[i] = np.stack([log_p, log_p >= own.max(axis=1, initial=-np.inf)], axis=1)
            first += int((rows[i].text == HIDDEN).sum())
    return found


def pseudo_log_probs(model: MaskedLanguageModel, stream: TokenStream) -> np.ndarray:
    """log p of each token (N,) of a stream given the rest of its document, nats; closing marks cost nothing.

    Their sum over a text is its pseudo-log-likelihood (Salazar et al. 2020, arXiv:1910.14659), no probability.
    """
    found = np.zeros(stream.n_tokens, np.float32)
    for document in range(stream.n_documents):
        ids = np.asarray(stream.document(document)[:-1]).astype(np.int64)
        scores = score_hidden(model, hidden_in_turn(ids, np.arange(len(ids)), model.context))
        if scores:
            begin = int(stream.starts[document]) - 1
            found[begin : begin + len(ids)] = np.concatenate(scores)[:, 0]
    return found


def _batches(rows: Sequence[Hidden], order: np.ndarray) -> Iterator[list[int]]:
    batch: list[int] = []
    for i in order.tolist():
        if batch and (len(batch) + 1) * len(rows[i].text) > TOKENS_AT_ONCE:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
