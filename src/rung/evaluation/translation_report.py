"""What to look at beside a translator's table: some of what it writes, beside what it should have written."""

from __future__ import annotations

from typing import Any

import numpy as np

from rung.tasks.written import written_greedily
from rung.text.pairs import PairCorpus

EXAMPLES = 12
LONGEST = 400
"""Characters of a text that are shown."""


def translation_report(model: Any, corpus: PairCorpus, split: str, scores: np.ndarray) -> dict[str, Any]:
    """The facts, as JSON has them.

    Args:
        model: the translator.
        corpus: as it reads it.
        split: what was measured.
        scores: of every token, the task's; not needed.
    """
    sources, targets = corpus.pairs(split)
    rows = np.sort(np.random.default_rng(1).permutation(sources.n_documents)[:EXAMPLES])
    reading, writing = corpus.tokenizer.reading, corpus.tokenizer
    written = written_greedily(model, writing, sources.of_documents(rows))
    return {
        "split": split,
        "examples": [
            {
                "source": _shown(reading.decode(sources.document(row)[:-1])),
                "written": _shown(text),
                "right": _shown(writing.decode(targets.document(row)[:-1])),
            }
            for row, text in zip(rows.tolist(), written, strict=True)
        ],
    }


def _shown(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
