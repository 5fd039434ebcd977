"""What a network knows of a word: that it is this word, and how it is spelled.

    x = word[w]                                        a row of the word's own, row 0 for words it has none of
    x = word[w] + sum over k of end[hash of its k-th piece of spelling]          letters "ends"
    x = word[w] beside max over i of relu(W letter[i-2 ... i+2] + b)             letters "convolution"

Pieces of spelling are the first and the last one to four letters, the word in small letters, and its shape (Ab9 of
`Berlin2000`): what tells a word never seen (`-tion`, `un-`, a capital). They share rows by a hash, which the field has
from Weinberger et al. 2009 (arXiv:0902.2206). The convolution is that of Dos Santos and Zadrozny 2014, over the bytes
of the word; of a long word over its first and last ones.

Each distinct word of a batch is computed once. Shapes: U distinct words, B sentences of T words, E = n_embd.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

LETTERS = ("ends", "convolution", "none")
MOST_ROWS = 1 << 16
"""The most rows for pieces of spelling: of a small text there are fewer."""
LONGEST_END = 4
N_PIECES = 2 * LONGEST_END + 2
N_LETTERS = 24
"""Bytes of a word that are read by the convolution, marks at both its ends among them."""
LETTER_WIDTH = 5
BEGIN, STOP, NOTHING = 256, 257, 258
LETTER_EMBEDDING = 32
_RUN = re.compile(r"(.)\1+")


def pieces_of_spelling(words: Sequence[bytes]) -> np.ndarray:
    """Of each word the hashes of its pieces, (N, N_PIECES) uint32."""
    rows = np.empty((len(words), N_PIECES), np.uint32)
    for i, word in enumerate(words):
        text = word.decode("utf-8", "replace")
        pieces = [f"<{text[:n]}" for n in range(1, LONGEST_END + 1)]
        pieces += [f"{n}{text[-n:]}>" for n in range(1, LONGEST_END + 1)]
        pieces += [f"={text.lower()}", f"#{shape_of(text)}"]
        rows[i] = [crc32(f"{k}{piece}".encode("utf-8", "replace")) for k, piece in enumerate(pieces)]
    return rows


def rows_for(words: Sequence[bytes], letters: str) -> int:
    """How many rows the pieces of these words want: one each, up to MOST_ROWS, a power of two; none without them."""
    if letters != "ends":
        return 0
    distinct = len(np.unique(pieces_of_spelling(words)))
    return min(1 << max(distinct - 1, 1).bit_length(), MOST_ROWS)


def shape_of(text: str) -> str:
    """Which kinds of letters follow each other: capitals A, other letters a, digits 9; the rest as it is."""
    kinds = ("A" if c.isupper() else "a" if c.isalpha() else "9" if c.isdigit() else c for c in text)
    return _RUN.sub(r"\1", "".join(kinds))


def letters_of(words: Sequence[bytes]) -> np.ndarray:
    """The bytes of each word between marks, (N, N_LETTERS) int32, filled up with NOTHING."""
    rows = np.full((len(words), N_LETTERS), NOTHING, np.int32)
    room = N_LETTERS - 2
    for i, word in enumerate(words):
        kept = word if len(word) <= room else word[: room // 2] + word[-(room // 2) :]
        rows[i, : len(kept) + 2] = [BEGIN, *kept, STOP]
    return rows


class Ends(nn.Module):
    """A row for each piece of spelling, added."""

    def __init__(self, n_rows: int, n_embd: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(n_rows, n_embd))

    def forward(self, pieces: Tensor) -> Tensor:
        """Hashes (U, N_PIECES) -> (U, E)."""
        return F.embedding(pieces % len(self.table), self.table).sum(1)


class Convolution(nn.Module):
    """Runs of five letters, and of each of E filters the run that it finds most of itself in."""

    def __init__(self, n_embd: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(NOTHING + 1, LETTER_EMBEDDING))
        self.filters = nn.Conv1d(LETTER_EMBEDDING, n_embd, LETTER_WIDTH, padding=LETTER_WIDTH // 2)

    def forward(self, letters: Tensor) -> Tensor:
        """(U, N_LETTERS) -> (U, E)."""
        there = letters != NOTHING
        width = max(int(there.sum(1).max()), 1)
        letters, there = letters[:, :width], there[:, :width, None]
        x = F.embedding(letters, self.table) * there
        found = self.filters(x.transpose(1, 2))
        return F.relu(found.masked_fill(~there.transpose(1, 2), -torch.inf).amax(2))


class WordInputs(nn.Module):
    """Words as vectors: a table of those that were there in training, and what their spelling says.

    Buffers: `words` and `word_ends`, the bytes of N words one after another and where each ends; `counts` (N + 1,), how
    often each was there, that of row 0 none.
    """

    words: Tensor
    word_ends: Tensor
    counts: Tensor

    def __init__(
        self, n_bytes: int, n_words: int, n_rows: int, n_embd: int, letters: str, unknown: float
    ) -> None:
        """n_bytes: of the words; n_rows: for pieces of spelling (`rows_for`)."""
        super().__init__()
        self.table = nn.Parameter(torch.empty(n_words + 1, n_embd))
        self.letters = letters
        self.ends = Ends(n_rows, n_embd) if letters == "ends" else None
        self.convolution = Convolution(n_embd) if letters == "convolution" else None
        self.unknown = unknown
        self.width = 2 * n_embd if letters == "convolution" else n_embd
        self.register_buffer("words", torch.empty(n_bytes, dtype=torch.uint8))
        self.register_buffer("word_ends", torch.empty(n_words, dtype=torch.int64))
        self.register_buffer("counts", torch.empty(n_words + 1, dtype=torch.int64))

    def forward(self, ids: Tensor, spelled: Tensor) -> Tensor:
        """Of U distinct words, by their rows (U,) and spelling (U, P), a vector each, (U, width).

        In training a word is one never seen, now and then: one that was there n times with the probability u / (u + n),
        so that row 0 learns from the rare ones (Goldberg 2016's dropout of words).
        """
        if self.training and self.unknown:
            chance = self.unknown / (self.unknown + self.counts[ids])
            ids = ids.masked_fill(torch.rand(ids.shape, device=ids.device) < chance, 0)
        x = F.embedding(ids, self.table)
        if self.ends is not None:
            return x + self.ends(spelled)
        return x if self.convolution is None else torch.cat([x, self.convolution(spelled)], dim=1)

    def spelled(self, words: Sequence[bytes]) -> np.ndarray:
        """What `forward` wants to know of the spelling of words."""
        if self.letters == "ends":
            return pieces_of_spelling(words)
        return letters_of(words) if self.letters == "convolution" else np.empty((len(words), 0), np.int32)

    def init_weights(self, generator: torch.Generator) -> None:
        self.table.normal_(0, 0.5, generator=generator)
        if self.ends is not None:
            self.ends.table.normal_(0, 0.2, generator=generator)
        if self.convolution is not None:
            self.convolution.table.normal_(0, 1, generator=generator)
            bound = (LETTER_EMBEDDING * LETTER_WIDTH) ** -0.5
            self.convolution.filters.weight.uniform_(-bound, bound, generator=generator)
            assert self.convolution.filters.bias is not None
            self.convolution.filters.bias.zero_()


def counted_words(words: Sequence[bytes], min_count: int) -> dict[str, np.ndarray]:
    """The buffers of `WordInputs` of the words that are there so often, in the order of their bytes."""
    counts = sorted((word, n) for word, n in Counter(words).items() if n >= min_count)
    ends = np.cumsum([len(word) for word, _ in counts], dtype=np.int64)
    return {
        "words": np.frombuffer(b"".join(word for word, _ in counts), np.uint8).copy(),
        "word_ends": ends,
        "counts": np.array([0, *(n for _, n in counts)], np.int64),
    }


def words_in(buffers: Any) -> list[bytes]:
    """The words that `words` and `word_ends` spell."""
    data, ends = np.asarray(buffers["words"]).tobytes(), np.asarray(buffers["word_ends"]).tolist()
    return [data[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
