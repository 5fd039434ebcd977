"""A token a word, words cut at white space: closed vocabularies, as the papers have them, and models made elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from rung.errors import UserError
from rung.opening import check_count
from rung.text.stream import TokenStream
from rung.text.tokenizers.base import NotInVocabularyError, Tokenizer, text_of, utf8
from rung.text.tokenizers.words import words_of
from rung.text.whitespace import MARK, cut_and_mark

UNKNOWN = "<unk>"
RESERVED = (b"<s>", b"</s>", b"<unk>", b"<UNK>")
"""What ARPA files and the texts of papers call the two marks and the unknown word; no words of a text."""
MIN_COUNT = 2


class WhitespaceTokenizer(Tokenizer):
    """The words of a closed vocabulary, or of a model that was made elsewhere (an ARPA file): text cut as
    `rung.text.whitespace` says.

    Words without an id are all one symbol, `unknown`, or refused where there is none. What stood between words is
    lost, and so is what an unknown word was; so bits are reckoned by words, and every closing mark counts as one, as in
    KenLM's perplexity.
    """

    kind = "whitespace"
    lossless = False
    unit: ClassVar[str] = "word"

    def __init__(self, words: Iterable[str], unknown: int | None) -> None:
        self.words = list(words)
        self.unknown = unknown
        spelled = [utf8(word) for word in self.words]
        super().__init__([b" " + word for word in spelled])
        self._ids = {word: i for i, word in enumerate(spelled)} | {MARK: self.end}

    @staticmethod
    def cut(texts: Sequence[str]) -> list[bytes]:
        """The words of all texts, in UTF-8, in order, `MARK` after each text."""
        return cut_and_mark([utf8(text) for text in texts])

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int | None, *, unknown: bool, min_count: int | None
    ) -> Self:
        """See `rung.text.tokenizers.train_tokenizer`. The most frequent first, ties in code-point order."""
        counts: Counter[bytes] = Counter()
        for text in texts:
            counts.update(cls.cut([text])[:-1])
        for reserved in RESERVED:
            counts.pop(reserved, None)
        least = 1 if not unknown else MIN_COUNT if min_count is None else min_count
        kept = sorted((-n, word) for word, n in counts.items() if n >= least)
        room = len(kept) if vocab_size is None else vocab_size - 1 - unknown
        if room < (0 if unknown else len(kept)) or (vocab_size is not None and room < 1):
            needed = 3 if unknown else len(kept) + 1
            raise UserError(
                f"--vocab-size {vocab_size} is too small: {needed} are needed, for the words and the mark"
                + ("" if unknown else "; or let the others be one symbol: --unknown")
            )
        words = [word.decode("utf-8", "surrogatepass") for _, word in kept[:room]]
        return cls([*words, UNKNOWN], len(words)) if unknown else cls(words, None)

    def encode(self, text: str) -> np.ndarray:
        return self.encode_many([text]).ids[1:-1]

    def encode_many(self, texts: Sequence[str]) -> TokenStream:
        find, unknown = self._ids.get, -1 if self.unknown is None else self.unknown
        words = self.cut(texts)
        ids = np.array([self.end, *[find(word, unknown) for word in words]], np.int64)
        if self.unknown is None and (ids < 0).any():
            place = int(np.argmax(ids < 0))
            raise NotInVocabularyError(
                f"{text_of(words[place - 1])!r} is none of the {len(self.words):,} words of the training text, and the "
                "vocabulary is closed: let such words be one symbol (--unknown), or train with --vocabulary open",
                int(np.count_nonzero(ids[1:place] == self.end)),
            )
        return TokenStream(ids, 1 + np.flatnonzero(ids == self.end))

    def to_json(self) -> dict[str, Any]:
        return {"words": self.words, "unknown": self.unknown}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        words = words_of(value)
        if value["unknown"] is None:
            return cls(words, None)
        check_count("unknown", value["unknown"])
        if value["unknown"] >= len(words):
            raise ValueError(f"unknown can't be {value['unknown']}: there are {len(words)} words")
        return cls(words, value["unknown"])
