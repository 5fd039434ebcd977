"""Are the records that are scored the very ones that the model learned? Then their scores are memory, not judgement."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rung.run_files import DATA
from rung.runs import Run
from rung.text.overlap import NOTABLE, shares_of_lines
from rung.text.tokenizers.base import utf8

MOST_TOKENS = 1 << 24
"""How much of the training text is looked at: of a longer one its beginning, so that the share is a least one."""
TOKENS_AT_ONCE = 1 << 20
MOST_TEXTS = 5000


class TrainingRows:
    """Gathers some of the texts as they are scored."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._texts: list[str] = []

    def add(self, texts: list[str]) -> None:
        """Remember a few of a batch's."""
        if len(self._texts) < MOST_TEXTS:
            self._texts += texts[:: max(1, len(texts) // 100)]

    def note(self) -> str | None:
        """What is to be told, in a line, when a quarter or more of their bytes are in lines of the training text."""
        if not (self._run.folder / DATA).exists() or not any(self._texts):
            return None
        lines = [utf8(text).split(b"\n") for text in self._texts]
        share = shares_of_lines({"scored": lines}, self._training_lines())["scored"]
        if share < NOTABLE:
            return None
        return (
            f"{share:.0%} of what was scored stands word for word in the training text of {self._run.folder}: "
            "such records look likelier than new ones would"
        )

    def _training_lines(self) -> Iterator[list[bytes]]:
        tokenizer, ids = self._run.tokenizer, self._run.corpus.train.ids
        spelling = list(tokenizer.spellings)
        spelling[tokenizer.end] = b"\n"
        begun = b""
        for begin in range(1, min(len(ids), MOST_TOKENS), TOKENS_AT_ONCE):
            row = np.asarray(ids[begin - 1 : begin + TOKENS_AT_ONCE]).astype(np.int64)
            places = tokenizer.spelled(row[1:], row[:-1]).tolist()
            *lines, begun = (begun + b"".join([spelling[i] for i in places])).split(b"\n")
            yield lines
        yield [begun]
