"""A token a word and nothing else: lower-cased, without signs, as texts are cut that word vectors are learned from.

A word is a run of letters and digits, an apostrophe inside it (`don't`), in Unicode; of the writing that has no blanks
(Chinese, Japanese) each character is one. (Google's questions-words.txt, GloVe's and fastText's tables spell words so.)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

from rung.text.tokenizers.base import utf8
from rung.text.tokenizers.implied_blanks import CJK
from rung.text.tokenizers.whitespace_words import WhitespaceTokenizer
from rung.text.whitespace import MARK

_WORD = rf"(?:(?![{CJK}])[^\W_])+"
WORD = re.compile(rf"[{CJK}]|{_WORD}(?:['’]{_WORD})*")


class BareWordTokenizer(WhitespaceTokenizer):
    """The words of a text; those without an id are all one symbol. What stood between them is lost, and so is case."""

    kind = "bare-word"

    @staticmethod
    def cut(texts: Sequence[str]) -> list[bytes]:
        words = (chain(map(utf8, WORD.findall(text.lower().replace("’", "'"))), (MARK,)) for text in texts)
        return list(chain.from_iterable(words))
