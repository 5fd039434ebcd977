"""A token a word, as we cut words; what is no word, and what was never seen, included."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

import rung.text.tokenizers.word_scan as word_scan
from rung.opening import check_kind
from rung.text.stream import TokenStream
from rung.text.tokenizers.base import TrainableTokenizer, check_different, utf8
from rung.text.tokenizers.byte_fallback import BYTE_IDS, MIN_VOCAB_SIZE, UTF8_BYTES, frequent_pieces
from rung.text.tokenizers.chunks import chunks
from rung.text.tokenizers.implied_blanks import (
    BREAKS,
    CJK,
    QUOTES,
    Insert,
    class_table,
    compiled_insert,
    implies_blank,
    spread,
    with_blanks,
)

MAX_WORDS = 50_000


def _pattern(breaks: str) -> re.Pattern[str]:
    """A word carries the space before it, so that "the cows eat" is three tokens and still joins up without loss."""
    return re.compile(
        rf" ?[{CJK}]"  # scripts written without spaces: a character is a token
        rf"| ?(?:(?![{CJK}])[^\W\d_])+(?:['’](?:(?![{CJK}])[^\W\d_])+)*"  # a word, contractions whole
        r"| ?\d+"
        r"| ?(?:[^\w\s]|_)+"  # punctuation, emoji
        rf"|[{breaks}]+"
        rf"|[^\S{breaks}]+(?=\s|\Z)"  # blanks, less the one that the next word carries
        r"|\s"
    )


def _character_classes(breaks: str) -> tuple[tuple[int, str], ...]:
    """Those of that expression, one character each."""
    return (
        (word_scan.CJK, rf"[{CJK}]"),
        (word_scan.LETTER, rf"(?![{CJK}])[^\W\d_]"),
        (word_scan.DIGIT, r"\d"),
        (word_scan.PUNCTUATION, r"[^\w\s]|_"),
        (word_scan.BLANK, rf"[^\S{breaks}]"),
        (word_scan.NEWLINE, rf"[{breaks}]"),
        (word_scan.APOSTROPHE, r"['’]"),
    )


WORD_PATTERN, CHARACTER_CLASSES = _pattern(BREAKS), _character_classes(BREAKS)
# Tokenisers trained before blanks were implied: of white space only line feeds stand apart.
WRITTEN_PATTERN, WRITTEN_CLASSES = _pattern("\n"), _character_classes("\n")

# Where no piece crosses and what comes after is cut as if it began a text: a blank between two words, which is left
# out there because it is implied at a beginning, and the place before a break.
BETWEEN_WORDS = re.compile(rf"(?<=[^\W\d_]) (?=(?![{CJK}])[^\W\d_])|(?<=\S)(?=[{BREAKS}])")

COMPILE_AFTER = 1 << 22
"""Characters; below it, loading numba takes longer than the expression."""
SCAN_FROM = 1 << 14
"""Characters; below it, a text by itself is not worth the arrays."""


class WordTokenizer(TrainableTokenizer):
    """One id a word, with the space before it; punctuation, numbers and line breaks are tokens of their own.

    Where a line, a bracket or a quotation begins, the space is implied (`implied_blanks`), so a word has the same id
    wherever it stands. A piece that occurs once in training, or not among the most frequent, is spelled in byte ids,
    so that a model learns what spelling-out looks like.
    """

    kind = "word"
    min_vocab_size = MIN_VOCAB_SIZE

    def __init__(self, words: Iterable[str], *, implied_blanks: bool = True) -> None:
        """`implied_blanks` = False for what was trained before there were any."""
        self.words = list(words)
        self.implied_blanks = implied_blanks
        # A quotation mark whose token there isn't would be spelled, and a byte doesn't tell what stood before it.
        known = set(self.words)
        self.quotes = "".join(quote for quote in QUOTES if " " + quote in known)
        pieces = [*map(bytes.decode, UTF8_BYTES[:128]), *[""] * (len(UTF8_BYTES) - 128), *self.words]
        super().__init__(
            UTF8_BYTES + [utf8(word) for word in self.words],
            [implied_blanks and implies_blank(piece, self.quotes) for piece in pieces],
        )
        self._pattern = WORD_PATTERN if implied_blanks else WRITTEN_PATTERN
        self._byte_ids = BYTE_IDS.tolist()
        # A one-byte piece is its byte; the constructor is never handed such words.
        self._ids = {chr(b): self._byte_ids[b] for b in range(128)}
        self._ids |= {word: len(UTF8_BYTES) + position for position, word in enumerate(self.words)}
        self._n_encoded = 0
        self._scanner: WordScanner | None = None

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int | None) -> WordTokenizer:
        return cls(frequent_pieces(count_words(texts), vocab_size, MAX_WORDS))

    def encode(self, text: str) -> np.ndarray:
        scanner = self._scanner_after(len(text))
        if scanner is not None and len(text) >= SCAN_FROM:
            return scanner.encode([text]).ids[1:-1]
        return self._encode(with_blanks(text, self.quotes) if self.implied_blanks else text)

    def encode_rest(self, text: str) -> np.ndarray:
        if not self.implied_blanks:
            return self._encode(text)
        before = "一"  # goes together with nothing, and implies nothing
        return self._encode(with_blanks(before + text, self.quotes).removeprefix(before))

    def _encode(self, text: str) -> np.ndarray:
        known = self._ids
        ids: list[int] = []
        for piece in self._pattern.findall(text):
            found = known.get(piece)
            if found is None:
                ids += [self._byte_ids[b] for b in utf8(piece)]
            else:
                ids.append(found)
        return np.array(ids, np.int64)

    def encode_many(self, texts: Sequence[str]) -> TokenStream:
        scanner = self._scanner_after(sum(map(len, texts)))
        return super().encode_many(texts) if scanner is None else scanner.encode(texts)

    def _scanner_after(self, n: int) -> WordScanner | None:
        """Short work goes by the expression; once there is much of it, numba is worth loading."""
        self._n_encoded += n
        if self._scanner is None and self._n_encoded >= COMPILE_AFTER:
            functions, insert = word_scan.compiled_encode(), compiled_insert()
            if functions is not None and insert is not None:
                self._scanner = WordScanner(self, *functions, insert)
        return self._scanner

    def to_json(self) -> dict[str, Any]:
        return {"words": self.words, "implied_blanks": self.implied_blanks}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> WordTokenizer:
        implied = value.get("implied_blanks", False)
        check_kind("implied_blanks", implied, bool)
        return cls(words_of(value), implied_blanks=implied)


class WordScanner:
    """What `WordTokenizer` encodes, by `word_scan`."""

    def __init__(
        self,
        tokenizer: WordTokenizer,
        encode: word_scan.Encode,
        fill: word_scan.FillTable,
        insert: Insert,
    ) -> None:
        self._table = word_scan.word_table(tokenizer.words, fill)
        self._end = tokenizer.end
        self._encode = encode
        if tokenizer.implied_blanks:
            self._classes, self._insert = class_table(CHARACTER_CLASSES, tokenizer.quotes), insert
        else:
            self._classes, self._insert = word_scan.class_table(WRITTEN_CLASSES), None

    def encode(self, texts: Sequence[str]) -> TokenStream:
        text, stops = spread(texts, self._classes, self._insert)
        is_ascii = all(map(str.isascii, texts))
        ids = np.empty(1 + len(texts) + len(text) * (1 if is_ascii else 4), np.int64)
        starts = np.empty(len(texts) + 1, np.int64)
        ids[0] = self._end
        n = self._encode(
            text,
            stops,
            self._classes,
            self._table,
            BYTE_IDS,
            len(UTF8_BYTES),
            self._end,
            ids[1:],
            starts,
        )
        starts[-1] = n
        return TokenStream(ids[: n + 1], starts + 1)


def count_words(texts: Iterable[str]) -> Counter[str]:
    """Little text goes by the expression; for much of it, numba is worth loading."""
    counts: Counter[str] = Counter()
    counter: word_scan.WordCounter | None = None
    classes, insert = None, None
    parts = (part for text in texts for part in chunks(text, BETWEEN_WORDS))
    for batch in _batches(parts, COMPILE_AFTER):
        if counter is None and sum(map(len, batch)) >= COMPILE_AFTER:
            functions, insert = word_scan.compiled_count(), compiled_insert()
            if functions is not None and insert is not None:
                classes = class_table(CHARACTER_CLASSES, QUOTES)
                counter = word_scan.WordCounter(classes, *functions)
        if counter is not None and classes is not None:
            counter.add(*spread(batch, classes, insert))
        else:
            for text in batch:
                counts.update(WORD_PATTERN.findall(with_blanks(text)))
    return counts if counter is None else Counter(counter.counts())


def _batches(texts: Iterable[str], n_characters: int) -> Iterator[list[str]]:
    """Texts in lists of so many characters or more; the last may have fewer."""
    batch: list[str] = []
    n = 0
    for text in texts:
        batch.append(text)
        n += len(text)
        if n >= n_characters:
            yield batch
            batch, n = [], 0
    yield batch


def words_of(value: dict[str, Any]) -> list[str]:
    """The words that JSON holds, each a text and no two the same."""
    words = value["words"]
    check_kind("words", words, list)
    check_kind("a list of words", words, tuple[str, ...])
    check_different("a word", words)
    return words
