"""Which tokens of a text are hidden, and what stands in their place: masked language modelling's half of chance.

    of a row's tokens 15 % are chosen, in whole words
    of those 80 % become [MASK], 10 % another token at random, 10 % stay as they are; all are to be guessed

Devlin et al. 2018 (arXiv:1810.04805), section 3.1; whole words as in their code of May 2019. Exactly means here: of n
things, a share s is floor(s n) or floor(s n) + 1 of them, by a chance that makes the mean s n: not a coin for each.
Whole words can't be cut, so as many are taken, in random order, as come nearest to the number wanted; one at least.
Of a text that is one word, a name, tokens are taken.

A word is told from the next by what its tokens spell: it begins with the blank before it, or where letters or digits
meet signs; every sign is a word. So a word of characters, of bytes and of pieces is the same word.
"""

from __future__ import annotations

import numpy as np

from rung.text.tokenizers import Tokenizer
from rung.text.windows import PADDING as PADDING

HIDDEN = -2
"""A token that is to be guessed."""
CHOSEN = 0.15
HIDDEN_SHARE, RANDOM_SHARE = 0.8, 0.1

_BLANK, _WORD, _SIGN = 0, 1, 2


class Masking:
    """How texts of one tokeniser are masked.

    Args:
        tokenizer: of the texts.
        whole_words: choose words, not tokens.
    """

    def __init__(self, tokenizer: Tokenizer, *, whole_words: bool = True) -> None:
        self._whole_words = whole_words
        spelled = [_kinds(token) for token in tokenizer.token_bytes]
        self._first = np.array([first for first, _ in spelled])
        self._last = np.array([last for _, last in spelled])
        special = np.zeros(tokenizer.vocab_size, bool)
        special[[*tokenizer.special, tokenizer.end]] = True
        self._special = special
        self._first[special] = self._last[special] = _SIGN
        self._ordinary = np.flatnonzero(~special)  # what a random token can be

    def word_starts(self, ids: np.ndarray) -> np.ndarray:
        """(n,) booleans: which of n tokens begins a word."""
        begins = np.ones(len(ids), bool)
        first, before = self._first[ids[1:]], self._last[ids[:-1]]
        begins[1:] = (first == _BLANK) | ((before != _BLANK) & ((first != _WORD) | (before != _WORD)))
        return begins

    def choose(self, ids: np.ndarray, rng: np.random.Generator, share: float = CHOSEN) -> np.ndarray:
        """The places, rising, of a text's tokens (n,) that are to be guessed."""
        can = np.flatnonzero(~self._special[ids])
        if not len(can):
            return can
        wanted = max(1, _part(share * len(can), rng))
        word = np.cumsum(self.word_starts(ids))[can]
        if not self._whole_words or word[0] == word[-1]:
            return np.sort(rng.permutation(can)[:wanted])
        begins = np.flatnonzero(np.diff(word, prepend=-1))
        lengths = np.diff(begins, append=len(can))
        order = rng.permutation(len(lengths))
        reached = np.cumsum(lengths[order])
        n_words = 1 + int(np.argmin(np.abs(reached - wanted)))  # of two as near the fewer
        taken = np.zeros(len(lengths), bool)
        taken[order[:n_words]] = True
        return can[np.repeat(taken, lengths)]

    def corrupted(self, ids: np.ndarray, places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The tokens (n,) with those at `places` hidden, replaced or left, 80/10/10."""
        k, u = len(places), rng.random()
        shares = np.array([HIDDEN_SHARE, HIDDEN_SHARE + RANDOM_SHARE])
        hidden, changed = np.floor(shares * k + u + 1e-9).astype(int)  # 0.8 x 10 is 8, not a bit below
        order = rng.permutation(places)
        out = ids.astype(np.int64)
        out[order[:hidden]] = HIDDEN
        at = order[hidden:changed]
        if len(self._ordinary) > 1 and len(at):
            own = np.searchsorted(self._ordinary, ids[at])
            drawn = rng.integers(0, len(self._ordinary) - 1, len(at))
            out[at] = self._ordinary[drawn + (drawn >= own)]  # never the token itself
        return out


def window_begins(places: np.ndarray, length: int, context: int | None) -> np.ndarray:
    """Where the window begins in which each of `places` (k,) of a text is guessed, (k,).

    Windows of `context` tokens begin half of one apart; a place is guessed in the one whose middle is nearest to it.
    """
    if context is None or length <= context:
        return np.zeros(len(places), np.int64)
    stride = max(1, context // 2)
    begins = np.round((places - (context - 1) / 2) / stride).astype(np.int64) * stride
    return np.clip(begins, 0, length - context)


def _part(share: float, rng: np.random.Generator) -> int:
    """A whole number next to `share` whose mean it is."""
    return int(np.floor(share + rng.random() + 1e-9))


def _kinds(token: bytes) -> tuple[int, int]:
    """Of what kind the first and the last byte are. What spells nothing by itself is part of a character."""
    if not token:
        return _WORD, _WORD
    return _kind(token[:1]), _kind(token[-1:])


def _kind(byte: bytes) -> int:
    if byte.isspace():
        return _BLANK
    return _WORD if byte.isalnum() or byte >= b"\x80" else _SIGN
