"""`rung score RUN FILE --survey`: what scores a file's records have, before a threshold is chosen.

The whole file is read and a sample of its records is scored, every record as likely to be in it as any other: each gets
a random number, the same each time, and those with the smallest are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rung.errors import UserError
from rung.evaluation.training_rows import TrainingRows
from rung.measure import naming
from rung.runs import Run
from rung.tasks.text_scores import score_batch
from rung.text.record_batches import open_records

SAMPLE = 10_000
SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
BINS = 16
AT_ONCE = 256


@dataclass(frozen=True)
class Survey:
    """The bits per byte of a file's records.

    records, bad, empty: how many there are, how many can't be scored, how many hold nothing.
    scored: how many of the others are in the sample.
    quantiles: by share, what that share of records has at most.
    edges: (BINS + 1,) of a histogram; its first and last bins hold what lies beyond them too.
    counts: (BINS,) records of the sample in each bin.
    note: where they are records that the model learned, that they are.
    """

    records: int
    bad: int
    empty: int
    scored: int
    quantiles: dict[float, float]
    edges: list[float]
    counts: list[int]
    note: str | None


def survey(
    run: Run,
    file: str,
    field: str | None = None,
    *,
    sample: int = SAMPLE,
    watch: Callable[[int, int], None] = lambda position, records: None,
) -> Survey:
    """Read a file once and score a sample of its records.

    Args:
        run: of a language model.
        file: as of `rung.evaluation.filter.Scoring`.
        field: which field or column holds the text.
        sample: how many records to score at most.
        watch: told how many bytes and how many records were read.

    Raises UserError when the file can't be read, or there is nothing in it to score.
    """
    rng = np.random.default_rng(0)
    source = open_records(file, field)
    records = bad = empty = 0
    chosen: list[tuple[float, str]] = []
    for batch in source.batches():
        texts = [text for place, text in enumerate(batch.texts) if text and place not in batch.errors]
        records, bad = records + len(batch.texts), bad + len(batch.errors)
        empty += len(batch.texts) - len(batch.errors) - len(texts)
        keys = rng.random(len(texts))
        chosen += [(float(keys[i]), texts[i]) for i in np.argsort(keys)[:sample].tolist()]
        chosen = sorted(chosen, key=lambda one: one[0])[:sample]
        watch(source.position, records)
    if not chosen:
        raise UserError(f"{source.file.name} holds no text to score")
    with naming(run.folder):
        bits = np.concatenate(
            [
                score_batch(run.model, run.tokenizer, [text for _, text in chosen[begin : begin + AT_ONCE]])[
                    "bits_per_byte"
                ]
                for begin in range(0, len(chosen), AT_ONCE)
            ]
        )
    # Values that records have, not between them: they may be infinite.
    quantiles = {share: float(np.quantile(bits, share, method="inverted_cdf")) for share in SHARES}
    finite = bits[np.isfinite(bits)]
    low, high = np.quantile(finite, [0.005, 0.995]) if len(finite) else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    places = np.clip(np.searchsorted(edges, bits, side="right") - 1, 0, BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    learned = TrainingRows(run)
    learned.add([text for _, text in chosen])
    return Survey(
        records, bad, empty, len(chosen), quantiles, edges.tolist(), counts.tolist(), learned.note()
    )
