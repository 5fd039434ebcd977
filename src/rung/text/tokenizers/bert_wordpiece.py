"""BERT's own WordPiece, of a model made elsewhere, by the `tokenizers` library: lower-cased, accents taken off, words
cut at blanks and signs, then into the longest pieces there are (Wu et al. 2016, arXiv:1609.08144; Devlin et al. 2018).

It loses text: case, accents, blanks, and what it has no piece for. The ids of the model are put in our order: its [SEP]
is the document mark, last; [CLS] and [MASK] are no ids of ours, but the two rows behind
(`rung.models.transformer.encoder`). The name of a mark inside a text is text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from rung.text.stream import TokenStream
from rung.text.tokenizers.base import Tokenizer

CONTINUING = "##"


class BertTokenizer(Tokenizer):
    """Pieces of words; those of which a blank is put before at the beginning of a word.

    Attributes:
        order: (V + 2,) the model's id of each row: of our ids in order, [SEP] the last, then of [CLS] and [MASK].
        library_json: the file it was made of.
    """

    kind = "bert"
    lossless = False

    def __init__(self, library_json: str, n_ids: int, marks: Sequence[str] = ("[CLS]", "[SEP]", "[MASK]")):
        """`n_ids`: of the model, whose table may be longer than the vocabulary. `marks`: what they are called there."""
        from tokenizers import Tokenizer as LibraryTokenizer

        self.library_json, self.n_ids, self.marks = library_json, n_ids, tuple(marks)
        library: dict[str, Any] = json.loads(library_json)
        vocabulary: dict[str, int] = library["model"]["vocab"]
        added = {token["content"]: token["id"] for token in library.get("added_tokens") or []}
        names = {i: name for name, i in (vocabulary | added).items()}
        if not names or min(names) < 0 or max(names) >= n_ids:
            raise ValueError(f"its ids go up to {max(names, default=0)}, and the model has {n_ids}")
        for mark in self.marks:
            if mark not in vocabulary:
                raise ValueError(f"it has no {mark}")
        cls, sep, mask = (vocabulary[mark] for mark in self.marks)
        rest = [i for i in range(n_ids) if i not in (cls, sep, mask)]
        self.order = np.array([*rest, sep, cls, mask])
        place = np.full(n_ids, -1)
        place[self.order] = np.arange(n_ids)
        self._place = place
        bare = {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
        try:
            self._library = LibraryTokenizer.from_str(json.dumps({**library, **bare}))
        except Exception as error:  # the library raises no narrower one
            raise ValueError(str(error)) from error
        super().__init__([_spelled(names.get(i, "")) for i in rest])
        # A piece begins with a blank; the first of a document does without.
        self.by_neighbour = self.implies_any = True
        self.implies_blank[self.end] = True
        self.begins_with_blank[:] = [token.startswith(b" ") for token in self.token_bytes]
        unknown = library["model"]["unk_token"]
        if unknown not in vocabulary or vocabulary[unknown] in (cls, sep, mask):
            raise ValueError(f"it has no piece {unknown!r} for unknown words")
        self.unknown = int(place[vocabulary[unknown]])
        special = {token["content"] for token in library.get("added_tokens") or [] if token["special"]}
        self.special = tuple(
            row
            for row, i in enumerate(rest)
            if names.get(i, "") in special | {"", unknown} or re.fullmatch(r"\[unused\d+\]", names[i])
        )

    def encode(self, text: str) -> np.ndarray:
        return self.encode_many([text]).ids[1:-1]

    def encode_many(self, texts: Sequence[str]) -> TokenStream:
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]  # no lone surrogates
        encoded = [found.ids for found in self._library.encode_batch_fast(clean, add_special_tokens=False)]
        ids = self._place[np.array([i for found in encoded for i in found], np.int64)]
        return TokenStream.pack(ids, [len(found) for found in encoded], self.end)

    def to_json(self) -> dict[str, Any]:
        return {"library": json.loads(self.library_json), "n_ids": self.n_ids, "marks": list(self.marks)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> BertTokenizer:
        return cls(json.dumps(value["library"]), value["n_ids"], value["marks"])


def _spelled(piece: str) -> bytes:
    if piece.startswith(CONTINUING) and len(piece) > len(CONTINUING):
        return piece[len(CONTINUING) :].encode("utf-8")
    return b" " + piece.encode("utf-8") if piece else b""
