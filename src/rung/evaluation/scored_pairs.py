"""Given translations scored pair by pair: what a filter of parallel text goes by.

log P(target and its closing mark | source) in nats, the tokens, bytes and bits per byte of the target. Rows hold both;
a .tsv of two columns needs no header.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any

import numpy as np

from rung.errors import UserError
from rung.evaluation.token_scores import told
from rung.runs import Run
from rung.tasks.text_scores import Columns, Score, columns_of
from rung.text.parallel import SIDES
from rung.text.record_batches import RecordBatch
from rung.text.stream import TokenStream
from rung.text.tokenizers import NotInVocabularyError

PAIRS_AT_ONCE = 256


@dataclass(frozen=True)
class PairFields:
    """Which fields of a record hold a text and its translation; headless: what two columns are, if nothing says."""

    source: str
    target: str
    headless: tuple[str, ...] = ()


def pair_fields(run: Run, field: str | None) -> PairFields:
    """Those of the training, unless told. Raises UserError for a run that scores no pairs."""
    if run.task.name != "translation":
        raise UserError(f"{run.folder} is of {run.task.name}, and pairs are scored by a run of translation")
    sides = run.recipe["data"].get("sides", {})
    source, target = (sides.get(side, side) for side in SIDES)
    return PairFields(source if field is None else field, target, SIDES if (source, target) == SIDES else ())


def score_pair_batch(run: Run, batch: RecordBatch, target: str, file: str, n_read: int) -> Columns:
    """Columns (n,) of the targets, given the texts. What has none, or what no vocabulary holds, becomes a bad record.

    n_read: how many records came before.
    """
    where = [f"{file}: record {n_read + place + 1}" for place in range(len(batch.texts))]
    targets = [_target(batch, place, target, where[place]) for place in range(len(batch.texts))]
    try:
        return pair_columns(run, batch.texts, targets)
    except NotInVocabularyError:
        for place, (source, own) in enumerate(zip(batch.texts, targets, strict=True)):
            try:
                run.tokenizer.reading.encode(source)
                run.tokenizer.encode(own)
            except NotInVocabularyError as error:
                batch.errors[place] = f"{where[place]}: {error}"
                batch.texts[place] = targets[place] = ""
        return pair_columns(run, batch.texts, targets)


def pair_columns(run: Run, sources: list[str], targets: list[str]) -> Columns:
    """Of texts and their translations."""
    stream = run.tokenizer.encode_many(targets)
    log_probs = run.model.score_pairs(run.tokenizer.reading.encode_many(sources), stream)
    return columns_of(run.tokenizer, targets, stream, log_probs)


def score_pair(run: Run, source: str, target: str) -> dict[str, Any]:
    """One pair, token by token of the target, as `rung.evaluation.token_scores.score_text` has it."""
    ids = np.append(run.tokenizer.encode(target), run.tokenizer.end)
    sources = run.tokenizer.reading.encode_many([source])
    return told(
        run, target, ids, run.model.score_pairs(sources, TokenStream.of([ids[:-1]], run.tokenizer.end))
    )


def score_pairs(run: Run, sources: Iterable[str], targets: Iterable[str]) -> Iterator[Score]:
    """Pairs one by one, in order, a batch at a time. Raises UserError where one side has more than the other."""
    pairs = zip_longest(sources, targets)
    while batch := list(islice(pairs, PAIRS_AT_ONCE)):
        if any(None in pair for pair in batch):
            raise UserError("texts and targets are not as many: each text has its own translation")
        columns = pair_columns(run, *([*side] for side in zip(*batch, strict=True)))
        for log_prob, tokens, n_bytes, bits in zip(*(c.tolist() for c in columns.values()), strict=True):
            yield Score(log_prob, tokens, n_bytes, bits if n_bytes else None)


def _target(batch: RecordBatch, place: int, name: str, where: str) -> str:
    if place in batch.errors:
        return ""
    assert batch.rows is not None
    row = json.loads(batch.rows[place])
    if isinstance(row.get(name), str):
        return row[name]
    why = f"field {name!r} is {type(row[name]).__name__}, not text" if name in row else f"no field {name!r}"
    batch.errors[place] = f"{where}: {why}"
    return ""
