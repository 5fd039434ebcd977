"""Text to token ids and back: one face over characters, bytes, words and learned subwords.

Every tokeniser is lossless on any string. Ids below 243 spell the bytes that can stand in UTF-8 (`char` and `word`)
or pieces that cover all 256 bytes (`byte`, `bpe`, `wordpiece`, `unigram`), so what was never seen in training is
spelled in bytes instead of being lost in an "unknown" token. The last id is the document mark, `end`; no text ever
encodes to it, not even text that looks like one.

A tokeniser is trained on the training split only and saved as JSON beside the model.
"""

from __future__ import annotations

import codecs
import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rung.errors import UserError, nearest
from rung.files import read_json, write_json
from rung.text import word_scan
from rung.text.stream import TokenStream

KINDS = ("char", "byte", "word", "bpe", "wordpiece", "unigram")

# 0xC0, 0xC1 and 0xF5-0xFF never occur in UTF-8 (RFC 3629).
UTF8_BYTES = [bytes([b]) for b in range(256) if b not in (0xC0, 0xC1) and b < 0xF5]

MAX_WORDS = 50_000


class Tokenizer(ABC):
    """A lossless map between text and ids.

    Attributes:
        token_bytes: the bytes each id spells, by id; the mark's, last, are empty.
        vocab_size: how many ids there are, the mark included.
        end: the id of the document mark.
        byte_lengths: (V,) how many UTF-8 bytes each id spells.
        lossless: whether the ids of a text spell its bytes; of Rung's own tokenisers all are.
    """

    kind: ClassVar[str]
    lossless: ClassVar[bool] = True

    def __init__(self, token_bytes: list[bytes]) -> None:
        self.token_bytes = [*token_bytes, b""]
        self.vocab_size = len(self.token_bytes)
        self.end = self.vocab_size - 1
        self.byte_lengths = np.array([len(token) for token in self.token_bytes], np.int64)

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """The ids (T,) of `text`, without any mark."""

    def encode_many(self, texts: Sequence[str]) -> TokenStream:
        """Every text as a document: what `encode` gives for each, marks between them, but faster for many."""
        return TokenStream.of([self.encode(text) for text in texts], self.end)

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that `ids` spell, in order; marks spell nothing."""
        return b"".join([self.token_bytes[i] for i in ids])

    def decode(self, ids: Iterable[int]) -> str:
        """The text that `ids` spell; bytes that are no UTF-8 (a model may write such) become U+FFFD."""
        return text_of(self.decode_bytes(ids))

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """What `save` writes, less the kind."""

    @classmethod
    @abstractmethod
    def from_json(cls, value: dict[str, Any]) -> Tokenizer:
        """The tokeniser whose `to_json()` this is."""

    def save(self, path: Path) -> None:
        """Write the tokeniser as JSON, atomically."""
        write_json(path, {"format": 1, "kind": self.kind, **self.to_json()})


def load_tokenizer(path: Path) -> Tokenizer:
    """Read what `Tokenizer.save` wrote. Raises UserError when the file is missing or isn't one of ours."""
    value = read_json(path)
    kind = value.get("kind") if isinstance(value, dict) else None
    for tokenizer in (CharTokenizer, ByteTokenizer, WordTokenizer, WhitespaceTokenizer, *SUBWORDS.values()):
        if tokenizer.kind == kind:
            try:
                return tokenizer.from_json(value)
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f"{path} is damaged: {error!r}") from error
    raise UserError(
        f"{path} is no tokeniser of this version of Rung (kind {kind!r}; known: {', '.join(KINDS)})"
    )


def train_tokenizer(kind: str, texts: Iterable[str], vocab_size: int | None = None) -> Tokenizer:
    """Learn a vocabulary from `texts`, the documents of the training split.

    Args:
        kind: one of char, byte, word, bpe, wordpiece, unigram.
        texts: read once, in order.
        vocab_size: the most ids to have, the mark and the bytes included; None = what suits the kind and the text.

    Raises UserError for an unknown kind and a vocabulary too small to spell every byte.
    """
    if kind not in KINDS:
        raise UserError(f"unknown tokeniser {kind!r}{nearest(kind, KINDS)} (known: {', '.join(KINDS)})")
    if vocab_size is not None:
        smallest = (
            len(UTF8_BYTES) + 1
            if kind in ("char", "word")
            else SUBWORDS[kind].smallest
            if kind in SUBWORDS
            else 257
        )
        if vocab_size < smallest:
            raise UserError(
                f"--vocab-size {vocab_size} is too small: {kind} needs at least {smallest}, to spell every byte"
            )
    if kind == "byte":
        if vocab_size not in (None, 257):
            raise UserError(f"--vocab-size {vocab_size} does not fit: byte always has 257 ids; leave it out")
        return ByteTokenizer()
    if kind == "char":
        return CharTokenizer(_most_common(_count_characters(texts), vocab_size, None))
    if kind == "word":
        return WordTokenizer(_most_common(_count_words(texts), vocab_size, MAX_WORDS))
    return SUBWORDS[kind].train(texts, vocab_size)


class ByteTokenizer(Tokenizer):
    """One id a byte of UTF-8: id = byte value, and 256 is the mark."""

    kind = "byte"

    def __init__(self) -> None:
        super().__init__([bytes([b]) for b in range(256)])

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(utf8(text), np.uint8).astype(np.int64)

    def encode_many(self, texts: Sequence[str]) -> TokenStream:
        spelled = [utf8(text) for text in texts]
        ids = np.frombuffer(b"".join(spelled), np.uint8)
        return _with_marks(ids, np.array([len(text) for text in spelled], np.int64), self.end)

    def to_json(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ByteTokenizer:
        return cls()


class CharTokenizer(Tokenizer):
    """One id a character. ASCII characters are their own bytes; other characters seen at least twice in training
    have ids after the bytes; the rest are spelled in two to four byte ids."""

    kind = "char"

    def __init__(self, characters: Iterable[str]) -> None:
        self.characters = list(characters)
        super().__init__(UTF8_BYTES + [utf8(character) for character in self.characters])
        self._byte_ids = _id_of_byte()
        self._ids = np.full(0x110000, -1, np.int32)
        self._ids[:128] = self._byte_ids[:128]
        for position, character in enumerate(self.characters):
            self._ids[ord(character)] = len(UTF8_BYTES) + position

    def encode(self, text: str) -> np.ndarray:
        return self._spelled(text)[0]

    def encode_many(self, texts: Sequence[str]) -> TokenStream:
        ids, repeats = self._spelled("".join(texts))
        stops = np.cumsum([0, *map(len, texts)])
        return _with_marks(ids, np.diff(np.concatenate([[0], np.cumsum(repeats)])[stops]), self.end)

    def _spelled(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The ids, and how many of them each character has become."""
        code_points = word_scan.code_points(text)
        ids = self._ids[code_points].astype(np.int64)
        repeats = np.ones(len(ids), np.int64)
        unseen = np.flatnonzero(ids < 0)
        if not len(unseen):
            return ids, repeats
        spelled = [self._byte_ids[np.frombuffer(utf8(chr(code_points[i])), np.uint8)] for i in unseen]
        repeats[unseen] = [len(spelling) for spelling in spelled]
        out = np.repeat(ids, repeats)
        out[out < 0] = np.concatenate(spelled)
        return out, repeats

    def to_json(self) -> dict[str, Any]:
        return {"characters": "".join(self.characters)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> CharTokenizer:
        return cls(value["characters"])


# A word carries the one space before it, so that "the cows eat" is three tokens and still joins up without loss.
_CJK = r"぀-ヿ㐀-䶿一-鿿豈-﫿\uac00-\ud7af"
_PIECES = re.compile(
    rf" ?[{_CJK}]"  # scripts written without spaces: a character is a token
    rf"| ?(?:(?![{_CJK}])[^\W\d_])+(?:['’](?:(?![{_CJK}])[^\W\d_])+)*"  # a word, contractions whole
    r"| ?\d+"
    r"| ?(?:[^\w\s]|_)+"  # punctuation, emoji
    r"|\n+"
    r"|[^\S\n]+(?=\s|\Z)"  # blanks, less the one that the next word carries
    r"|\s"
)
_KINDS = (  # the classes of that expression, one character each
    (word_scan.ALONE, rf"[{_CJK}]"),
    (word_scan.LETTER, rf"(?![{_CJK}])[^\W\d_]"),
    (word_scan.DIGIT, r"\d"),
    (word_scan.MARK, r"[^\w\s]|_"),
    (word_scan.BLANK, r"[^\S\n]"),
    (word_scan.NEWLINE, r"\n"),
    (word_scan.APOSTROPHE, r"['’]"),
)
_COMPILE_AFTER = 1 << 22  # characters; below it, loading numba takes longer than the expression
_LONG = 1 << 14  # characters; below it, a text by itself is not worth the arrays


class WordTokenizer(Tokenizer):
    """One id a word, with the space before it; punctuation, numbers and line breaks are tokens of their own.

    A piece that occurs once in training, or not among the most frequent, is spelled in byte ids, so that a model
    learns what spelling-out looks like.
    """

    kind = "word"

    def __init__(self, words: Iterable[str]) -> None:
        self.words = list(words)
        super().__init__(UTF8_BYTES + [utf8(word) for word in self.words])
        self._byte_ids = _id_of_byte().tolist()
        # A one-byte piece is its byte; the constructor is never handed such words.
        self._ids = {chr(b): self._byte_ids[b] for b in range(128)}
        self._ids |= {word: len(UTF8_BYTES) + position for position, word in enumerate(self.words)}
        self._n_encoded = 0
        self._scanner: _WordScanner | None = None

    def encode(self, text: str) -> np.ndarray:
        scanner = self._scanner_after(len(text))
        if scanner is not None and len(text) >= _LONG:
            return scanner.encode([text]).ids[1:-1]
        known = self._ids
        ids: list[int] = []
        for piece in _PIECES.findall(text):
            found = known.get(piece)
            if found is None:
                ids += [self._byte_ids[b] for b in utf8(piece)]
            else:
                ids.append(found)
        return np.array(ids, np.int64)

    def encode_many(self, texts: Sequence[str]) -> TokenStream:
        scanner = self._scanner_after(sum(map(len, texts)))
        return super().encode_many(texts) if scanner is None else scanner.encode(texts)

    def _scanner_after(self, n: int) -> _WordScanner | None:
        """Short work goes by the expression; once there is much of it, numba is worth loading."""
        self._n_encoded += n
        if self._scanner is None and self._n_encoded >= _COMPILE_AFTER:
            functions = word_scan.compiled()
            self._scanner = None if functions is None else _WordScanner(self.words, self.end, *functions)
        return self._scanner

    def to_json(self) -> dict[str, Any]:
        return {"words": self.words}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> WordTokenizer:
        return cls(value["words"])


class _WordScanner:
    """`WordTokenizer` by `word_scan`."""

    def __init__(self, words: list[str], end: int, cut: word_scan.Cut, fill: word_scan.Fill) -> None:
        table = word_scan.word_table(words, fill)
        self._arrays = (table.letters, table.starts, table.hashes, table.places, _id_of_byte())
        self._end = end
        self._cut = cut

    def encode(self, texts: Sequence[str]) -> TokenStream:
        text = "".join(texts)
        stops = np.cumsum([0, *map(len, texts)])[1:]
        ids = np.empty(1 + len(texts) + len(text) * (1 if text.isascii() else 4), np.int64)
        starts = np.empty(len(texts) + 1, np.int64)
        ids[0] = self._end
        kinds = word_scan.kinds_of(_KINDS)
        n = self._cut(
            word_scan.code_points(text),
            stops,
            kinds,
            *self._arrays,
            len(UTF8_BYTES),
            self._end,
            ids[1:],
            starts,
        )
        starts[-1] = n
        return TokenStream(ids[: n + 1], starts + 1)


class WhitespaceTokenizer(Tokenizer):
    """The words of a model that was made elsewhere (an ARPA file): text cut at white space, and one id for all words
    that the model doesn't know. It is the one tokeniser here that loses text; nothing is trained with it."""

    kind = "whitespace"
    lossless = False

    def __init__(self, words: Iterable[str], unknown: int) -> None:
        self.words = list(words)
        self.unknown = unknown
        super().__init__([utf8(" " + word) for word in self.words])
        self._ids = {word: i for i, word in enumerate(self.words)}

    def encode(self, text: str) -> np.ndarray:
        return np.array([self._ids.get(word, self.unknown) for word in text.split()], np.int64)

    def encode_many(self, texts: Sequence[str]) -> TokenStream:
        words = [text.split() for text in texts]
        find, unknown = self._ids.get, self.unknown
        ids = np.array([find(word, unknown) for row in words for word in row], np.int64)
        return _with_marks(ids, np.array([len(row) for row in words], np.int64), self.end)

    def to_json(self) -> dict[str, Any]:
        return {"words": self.words, "unknown": self.unknown}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> WhitespaceTokenizer:
        return cls(value["words"], value["unknown"])


class SubwordTokenizer(Tokenizer):
    """Learned pieces, by the `tokenizers` library, over byte-level text: every byte is a piece, so nothing is unknown.

    The document mark is added outside the library: text that spells some special token is only text.
    """

    smallest: ClassVar[int] = 257

    def __init__(self, library_json: str) -> None:
        from tokenizers import Tokenizer as LibraryTokenizer

        self._library_json = library_json
        try:
            self._library = LibraryTokenizer.from_str(library_json)
        except Exception as error:  # the library raises no narrower one
            raise ValueError(str(error)) from error
        pieces = self._library.get_vocab(with_added_tokens=False)
        super().__init__([self._spell(piece) for piece in sorted(pieces, key=pieces.__getitem__)])

    def _spell(self, piece: str) -> bytes:
        return bytes(_BYTE_OF_LETTER[letter] for letter in piece)

    def encode(self, text: str) -> np.ndarray:
        return self.encode_many([text]).ids[1:-1]

    def encode_many(self, texts: Sequence[str]) -> TokenStream:
        chunks = [list(_chunks(_scalars(text))) for text in texts]
        flat = [chunk for some in chunks for chunk in some]
        encoded = [
            encoding.ids for encoding in self._library.encode_batch_fast(flat, add_special_tokens=False)
        ]
        counts = np.zeros(len(texts), np.int64)
        of_text = np.repeat(np.arange(len(texts)), [len(some) for some in chunks])
        np.add.at(counts, of_text, [len(ids) for ids in encoded])
        return _with_marks(np.array([i for ids in encoded for i in ids], np.int64), counts, self.end)

    def to_json(self) -> dict[str, Any]:
        return {"library": json.loads(self._library_json)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> SubwordTokenizer:
        return cls(json.dumps(value["library"]))

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int | None) -> SubwordTokenizer:
        """Learn `vocab_size - 1` pieces (default 4,095) and the mark."""
        from tokenizers import Regex, pre_tokenizers

        pieces = (4096 if vocab_size is None else vocab_size) - 1
        library, trainer = cls._untrained(pieces)
        # The trainers are quadratic in the length of a word; a genome is one word of a million letters.
        words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        short = pre_tokenizers.Split(Regex(f".{{1,{_LONGEST_WORD}}}"), "isolated")
        library.pre_tokenizer = pre_tokenizers.Sequence([words, short])
        chunks = (chunk for text in texts for chunk in _chunks(_scalars(text)))
        library.train_from_iterator(chunks, trainer)
        return cls(cls._finish(library.to_str(), pieces))

    @staticmethod
    @abstractmethod
    def _untrained(pieces: int) -> tuple[Any, Any]:
        """The library's tokeniser and trainer."""

    @staticmethod
    def _finish(library_json: str, pieces: int) -> str:
        """What was trained, for words of any length."""
        value = json.loads(library_json)
        value["pre_tokenizer"] = value["pre_tokenizer"]["pretokenizers"][0]
        return json.dumps(value)


class BPETokenizer(SubwordTokenizer):
    """Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019)."""

    kind = "bpe"

    @staticmethod
    def _untrained(pieces: int) -> tuple[Any, Any]:
        from tokenizers import Tokenizer as LibraryTokenizer
        from tokenizers import models, pre_tokenizers, trainers

        trainer = trainers.BpeTrainer(
            vocab_size=pieces, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        )
        return LibraryTokenizer(models.BPE()), trainer


class UnigramTokenizer(SubwordTokenizer):
    """Unigram language-model pieces (Kudo 2018) over bytes."""

    kind = "unigram"

    @staticmethod
    def _untrained(pieces: int) -> tuple[Any, Any]:
        from tokenizers import Tokenizer as LibraryTokenizer
        from tokenizers import models, pre_tokenizers, trainers

        trainer = trainers.UnigramTrainer(
            vocab_size=pieces, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        )
        return LibraryTokenizer(models.Unigram()), trainer

    @staticmethod
    def _finish(library_json: str, pieces: int) -> str:
        """Every byte a piece: the library's trainer drops those it never saw. Their score is below every other.

        They take the places of the least likely longer pieces.
        """
        value = json.loads(SubwordTokenizer._finish(library_json, pieces))
        learned = sorted(value["model"]["vocab"], key=lambda entry: -entry[1])
        letters = [entry for entry in learned if len(entry[0]) == 1]
        lowest = min((score for _, score in learned), default=0.0)
        missing = set(_LETTER_OF_BYTE) - {letter for letter, _ in letters}
        letters += [[letter, lowest - 10.0] for letter in _LETTER_OF_BYTE if letter in missing]
        longer = [entry for entry in learned if len(entry[0]) > 1]
        value["model"]["vocab"] = letters + longer[: pieces - len(letters)]
        return json.dumps(value)


class WordPieceTokenizer(SubwordTokenizer):
    """WordPiece (Schuster & Nakajima 2012) over bytes.

    A piece inside a word is marked by U+2581 in front, not by BERT's `##`: no byte is written so, and a text's own
    number signs can't be mistaken for the marking.
    """

    kind = "wordpiece"
    smallest = 513

    def _spell(self, piece: str) -> bytes:
        return super()._spell(piece.removeprefix(_INSIDE))

    @staticmethod
    def _untrained(pieces: int) -> tuple[Any, Any]:
        from tokenizers import Tokenizer as LibraryTokenizer
        from tokenizers import models, pre_tokenizers, trainers

        trainer = trainers.WordPieceTrainer(
            vocab_size=pieces,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            # Left to itself the trainer numbers these as it meets them, in another order every time.
            special_tokens=[_INSIDE + letter for letter in _LETTER_OF_BYTE],
            continuing_subword_prefix=_INSIDE,
            show_progress=False,
        )
        return LibraryTokenizer(
            models.WordPiece({}, unk_token="!", continuing_subword_prefix=_INSIDE)
        ), trainer

    @staticmethod
    def _finish(library_json: str, pieces: int) -> str:
        """Words stay cut to a length that the search for the longest piece that fits can bear; it is cubic."""
        value = json.loads(library_json)
        value["added_tokens"] = []  # to the model they are pieces like others
        value["model"]["max_input_chars_per_word"] = _LONGEST_WORD
        return json.dumps(value)


SUBWORDS: dict[str, type[SubwordTokenizer]] = {
    tokenizer.kind: tokenizer for tokenizer in (BPETokenizer, WordPieceTokenizer, UnigramTokenizer)
}


class TextDecoder:
    """Ids in, whole characters out: bytes of a character that isn't finished yet are held back."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._token_bytes = tokenizer.token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The characters that `token` completes, perhaps none."""
        return self._decoder.decode(self._token_bytes[token])

    def finish(self) -> str:
        """What is left: U+FFFD when the last character was never completed."""
        return self._decoder.decode(b"", final=True)


def utf8(text: str) -> bytes:
    """UTF-8, with a lone surrogate (which JSON escapes can smuggle in) as the three bytes it would have had."""
    return text.encode("utf-8", "surrogatepass")


def text_of(data: bytes) -> str:
    """The inverse of `utf8`; what isn't UTF-8 becomes U+FFFD."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")


def _scalars(text: str) -> str:
    """`text` as the Rust library takes it; it knows no lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


def _with_marks(ids: np.ndarray, counts: np.ndarray, end: int) -> TokenStream:
    """Documents of `counts` tokens each, which lie one after another in `ids`, with the mark around them."""
    starts = np.concatenate([[1], 1 + np.cumsum(counts + 1)])
    out = np.full(len(ids) + len(starts), end, np.int64)
    inside = np.ones(len(out), bool)
    inside[starts - 1] = False
    out[inside] = ids
    return TokenStream(out, starts)


def _id_of_byte() -> np.ndarray:
    ids = np.full(256, -1, np.int64)
    for position, byte in enumerate(UTF8_BYTES):
        ids[byte[0]] = position
    return ids


def _count_characters(texts: Iterable[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for text in texts:
        if not text.isascii():
            counts.update(re.findall(r"[^\x00-\x7f]", text))
    return counts


def _count_words(texts: Iterable[str]) -> Counter[str]:
    """Little text goes by the expression; for much of it, numba is worth loading."""
    counts: Counter[str] = Counter()
    scan: word_scan.WordCounts | None = None
    for some in _batches((chunk for text in texts for chunk in _chunks(text, _BEFORE_BLANK)), _COMPILE_AFTER):
        if scan is None and sum(map(len, some)) >= _COMPILE_AFTER:
            functions = word_scan.compiled_count()
            scan = None if functions is None else word_scan.WordCounts(word_scan.kinds_of(_KINDS), *functions)
        if scan is not None:
            scan.add(some)
        else:
            for text in some:
                counts.update(_PIECES.findall(text))
    return counts if scan is None else Counter(scan.counts())


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


def _most_common(counts: Counter[str], vocab_size: int | None, most: int | None) -> list[str]:
    """The pieces longer than a byte that occur at least twice, most frequent first, ties in code-point order.

    A lone surrogate is no piece: JSON, in UTF-8, has no way to save it. Bytes spell it.
    """
    room = most if vocab_size is None else vocab_size - len(UTF8_BYTES) - 1
    pieces = [(piece, n) for piece, n in counts.items() if n > 1 and len(utf8(piece)) > 1]
    pieces = [(piece, n) for piece, n in pieces if _scalars(piece) == piece]
    pieces.sort(key=lambda item: (-item[1], item[0]))
    return [piece for piece, _ in pieces[:room]]


_INSIDE = "▁"
_LONGEST_WORD = 256
_CHUNK = 1 << 16
_CUT = re.compile(r"(?<=\S\n)(?=\S)")
# Of `_PIECES` none goes on from something else to a blank, and what comes after looks at nothing before.
_BEFORE_BLANK = re.compile(r"(?<=\S)(?=\s)")


def _chunks(text: str, border: re.Pattern[str] = _CUT) -> Iterator[str]:
    """`text` cut where no piece can cross, by default after line ends, into parts that can be worked on one by one."""
    begin = 0
    while len(text) - begin > 2 * _CHUNK:
        cut = border.search(text, begin + _CHUNK)
        if cut is None:
            break
        yield text[begin : cut.start()]
        begin = cut.start()
    yield text[begin:]


def _letters() -> list[str]:
    """GPT-2's printable stand-in for each byte, by byte value (Radford et al. 2019)."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    letters, extra = [], 0
    for byte in range(256):
        if byte in printable:
            letters.append(chr(byte))
        else:
            letters.append(chr(256 + extra))
            extra += 1
    return letters


_LETTER_OF_BYTE = _letters()
_BYTE_OF_LETTER = {letter: byte for byte, letter in enumerate(_LETTER_OF_BYTE)}
