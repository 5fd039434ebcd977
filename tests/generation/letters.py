"""A tokeniser of a few letters, so that a vocabulary is small enough to try every text."""

from __future__ import annotations

from typing import Any

import numpy as np

from rung.text.tokenizers import Tokenizer


class Letters(Tokenizer):
    """Each piece a token, the mark last. A text is cut into the longest pieces from the left."""

    kind = "letters"

    def __init__(self, *pieces: str) -> None:
        super().__init__([piece.encode() for piece in pieces])
        self._pieces = pieces

    def encode(self, text: str) -> np.ndarray:
        ids = []
        while text:
            piece = max((piece for piece in self._pieces if text.startswith(piece)), key=len)
            ids.append(self._pieces.index(piece))
            text = text[len(piece) :]
        return np.array(ids, np.int64)

    def to_json(self) -> dict[str, Any]:
        return {"pieces": list(self._pieces)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Letters:
        return cls(*value["pieces"])
