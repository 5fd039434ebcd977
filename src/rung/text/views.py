"""Two views of each text: what learning by contrast takes for belonging together.

    halves    the text cut in two, at the beginning of a word, near its middle
    dropout   the same text twice; the network, which drops other activations each time, makes them differ
    pairs     the two texts of a row

Whoever is asked which view belongs to which is never asked to tell equal texts apart: `alike` says which are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rung.text.masking import Masking
from rung.text.stream import TokenStream
from rung.text.tokenizers import Tokenizer

VIEWS = ("halves", "dropout", "pairs")


class Views(NamedTuple):
    """Of N examples.

    first, second: the two views, N documents each.
    alike: (N, 2) int64, which text each view is: equal numbers in a column are equal texts.
    """

    first: TokenStream
    second: TokenStream
    alike: np.ndarray

    @staticmethod
    def of(first: TokenStream, second: TokenStream) -> Views:
        columns = [_numbers(first), _numbers(second)] if second is not first else [_numbers(first)] * 2
        return Views(first, second, np.stack(columns, axis=1))


def halves(texts: TokenStream, tokenizer: Tokenizer) -> Views:
    """The two halves of each text; of one that is a token or none, itself twice. Of a word, halves of the word."""
    masking = Masking(tokenizer)
    cuts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for i in range(texts.n_documents):
        ids = np.asarray(texts.document(i)[:-1]).astype(np.int64)
        if len(ids) < 2:
            first, second = ids, ids
        else:
            middle = len(ids) / 2
            starts = np.flatnonzero(masking.word_starts(ids))[1:]
            cut = int(starts[np.argmin(np.abs(starts - middle))]) if len(starts) else int(middle)
            first, second = ids[:cut], ids[cut:]
        cuts[0].append(first)
        cuts[1].append(second)
    end = tokenizer.end
    return Views.of(TokenStream.of(cuts[0], end), TokenStream.of(cuts[1], end))


def _numbers(texts: TokenStream) -> np.ndarray:
    """(N,): which text each is, in the order in which they are met."""
    known: dict[bytes, int] = {}
    ids = np.asarray(texts.ids)
    found = (
        known.setdefault(ids[begin:end].tobytes(), len(known))
        for begin, end in zip(texts.starts[:-1].tolist(), texts.starts[1:].tolist(), strict=True)
    )
    return np.fromiter(found, np.int64, texts.n_documents)
