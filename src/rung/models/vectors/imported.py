"""Word vectors that were made elsewhere: GloVe's, word2vec's, fastText's (`rung.models.vectors.files`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from rung.errors import UserError
from rung.events import Event
from rung.models.config_checks import check_counts
from rung.models.vectors.base import WordVectors


@dataclass(frozen=True)
class ImportedVectorsConfig:
    """What is known of them."""

    width: int = 100
    """How many numbers stand for a word: as the file has it."""

    def __post_init__(self) -> None:
        check_counts(self, "width")


class ImportedVectors(WordVectors):
    """Vectors without the rows that score pairs."""

    rung = "imported-vectors"
    config_class = ImportedVectorsConfig

    @property
    def window(self) -> int:
        return 0

    @classmethod
    def fit(cls, config: Any, *examples: Any, **shape: Any) -> Iterator[Event | Self]:
        raise UserError(
            "imported-vectors come from a file: rung import vectors FILE; skipgram and cbow learn them"
        )
        yield  # a generator, as the others
