"""Eleven sentences about what cows eat, with everything countable by hand."""

from __future__ import annotations

import numpy as np

from rung.text.stream import TokenStream

SENTENCES = """\
the cows eat grass
our cows eat hay daily
factory-farm cows eat corn
on an organic farm cows eat hay and
do your cows eat grass or corn
what do cows eat if they have
cows eat corn when there is no
which cows eat which foods depends
if cows eat grass
when cows eat corn their stomachs
should we let cows eat corn
""".splitlines()

WORDS = ["<unk>", *dict.fromkeys(" ".join(SENTENCES).split()), "</s>"]
"""By id: a word never seen, the words as they come, and the document mark."""

VOCAB_SIZE = len(WORDS)
END = VOCAB_SIZE - 1
ID = {word: number for number, word in enumerate(WORDS)}


def ids(text: str) -> np.ndarray:
    """The ids of a sentence, without marks."""
    return np.array([ID[word] for word in text.split()], np.int64)


STREAM = TokenStream.of([ids(sentence) for sentence in SENTENCES], END)
