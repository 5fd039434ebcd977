"""Is a text that a run wrote its own, or does it stand in what the run was trained on?

For each text: the longest passage that it shares with the training text (`rung.inspection.passages`), and whether the
whole of it stands there. Where the training text is many short documents, as names are, a text that was finished
is also looked up as a document: in training, in validation, or new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rung.generation.sampling import Sample
from rung.inspection.passages import MARK, MIN_BYTES, open_index
from rung.runs import Run
from rung.text.tokenizers import utf8

SHORT_DOCUMENT = 1000
MANY_DOCUMENTS = 10

FoundIn = Literal["training", "validation", "new"]


@dataclass(frozen=True)
class Novelty:
    """What of a text is known from training.

    Attributes:
        longest: the longest passage of the text that stands in a training document, the first of such length.
        longest_bytes: its length in bytes of UTF-8.
        count: how often the passage occurs in training.
        training_document, training_character: where it does first, both from 0; None when nothing is shared.
        whole: whether all of the text is that passage.
        document: training, validation or new: where the text, with its prompt, is a whole document; None where
            documents are few or long, or the text was cut off.
    """

    longest: str
    longest_bytes: int
    count: int
    training_document: int | None
    training_character: int | None
    whole: bool
    document: FoundIn | None


class NoveltyIndex:
    """The training text of a run, ready for many questions.

    Raises UserError when the run has no data.
    """

    def __init__(self, run: Run) -> None:
        self._index = open_index(run)
        self._corpus = run.corpus
        n_documents = self._corpus.train.n_documents
        self._are_short = (
            n_documents >= MANY_DOCUMENTS and len(self._index.text) <= (SHORT_DOCUMENT + 1) * n_documents
        )
        self._validation: set[str] | None = None

    def novelty(self, text: str, *, document: str | None = None) -> Novelty:
        """What of `text` is known. `document` is the whole document that it finishes, prompt included."""
        found = self.find_document(document) if document is not None and self._are_short else None
        for minimum in (MIN_BYTES, 8, 1):  # short passages are many, and each costs a look-up
            passages = self._index.trace(text, minimum=minimum).passages
            if passages:
                longest = max(passages, key=lambda passage: passage.n_bytes)
                place = longest.place
                return Novelty(
                    longest.text,
                    longest.n_bytes,
                    longest.count,
                    place.document,
                    place.character,
                    longest.text == text,
                    found,
                )
        return Novelty("", 0, 0, None, None, False, found)

    def novelties(self, prompt: str, samples: Sequence[Sample]) -> list[Novelty]:
        """What of each sample is known. The prompt isn't the run's own, but is part of the document."""
        return [
            self.novelty(
                sample.text, document=prompt + sample.text if sample.finish_reason == "end" else None
            )
            for sample in samples
        ]

    def find_document(self, document: str) -> FoundIn:
        """Which part of the corpus has this text for a document."""
        pattern = np.frombuffer(b"%c%b%c" % (MARK, utf8(document), MARK), np.uint8)
        low, high = self._index.suffix_array.find(pattern)
        if low < high:
            return "training"
        if self._validation is None:
            has_validation = "validation" in self._corpus.splits
            self._validation = set(self._corpus.text("validation")) if has_validation else set()
        return "validation" if document in self._validation else "new"


def describe(novelty: Novelty) -> str:
    """What a person is told."""
    if novelty.document == "training":
        return "stands in training, as a whole document"
    if novelty.document == "validation":
        return "stands in validation, as a whole document; not in training"
    new = "new; " if novelty.document == "new" else ""
    if novelty.longest_bytes == 0:
        return f"{new}shares nothing with the training text"
    times = f"{novelty.count:,} times" if novelty.count > 1 else "once"
    if novelty.whole:
        return f"{new}the whole of it stands in the training text, {times}"
    shown = " ".join(novelty.longest.split())
    shown = shown if len(shown) <= 60 else f"{shown[:28]} ... {shown[-28:]}"
    return f"{new}its longest passage from training has {novelty.longest_bytes:,} bytes ({times}): {shown!r}"
