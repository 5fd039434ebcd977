"""Random little corpora for hypothesis: few tokens, so that n-grams repeat; some are empty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from rung.text.stream import TokenStream


@dataclass(frozen=True)
class Corpus:
    """Documents of ids from 0 to vocab_size - 2; the last id is the mark."""

    documents: list[list[int]]
    vocab_size: int

    @property
    def end(self) -> int:
        return self.vocab_size - 1

    @property
    def stream(self) -> TokenStream:
        return TokenStream.of([np.array(document, np.int64) for document in self.documents], self.end)


@st.composite
def corpora(draw: st.DrawFn, longest: int = 40) -> Corpus:
    """Up to 4 documents over up to 6 tokens, some of which never occur."""
    vocab_size = draw(st.integers(2, 7))
    used = draw(st.integers(1, vocab_size - 1))
    documents = draw(st.lists(st.lists(st.integers(0, used - 1), max_size=longest), max_size=4))
    return Corpus(documents, vocab_size)
