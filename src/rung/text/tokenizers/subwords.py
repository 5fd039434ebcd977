"""Learned pieces of words: byte-pair encoding, WordPiece and Unigram, by the `tokenizers` library."""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from rung.text.stream import TokenStream
from rung.text.tokenizers.base import TrainableTokenizer
from rung.text.tokenizers.chunks import chunks

DEFAULT_VOCAB_SIZE = 4096
CONTINUING_PREFIX = "▁"
LONGEST_WORD = 256
# Longer words of letters, digits or signs, as ByteLevel's expression has them.
LONG_WORD = re.compile(
    "|".join(rf"(?:{kind}){{{LONGEST_WORD + 1},}}" for kind in (r"[^\W\d_]", r"\d", r"[^\w\s]|_"))
)
AFTER_LINE_END = re.compile(r"(?<=\S\n)(?=\S)")


class SubwordTokenizer(TrainableTokenizer):
    """Learned pieces, by the `tokenizers` library, over byte-level text: every byte is a piece, so nothing is unknown.

    The document mark is added outside the library: text that spells some special token is only text. Words that were
    added to a tokeniser from elsewhere are found in the text first, as they stand; they are pieces, too, named by their
    text and not by the letters for its bytes.
    """

    min_vocab_size = 257
    most_of_long_words: ClassVar[int | None] = None
    """How many bytes of words too long to be taken whole are learned from; None = all."""

    def __init__(self, library_json: str) -> None:
        from tokenizers import Tokenizer as LibraryTokenizer

        self._library_json = library_json
        try:
            self._library = LibraryTokenizer.from_str(library_json)
        except Exception as error:  # the library raises no narrower one
            raise ValueError(str(error)) from error
        pieces = self._library.get_vocab(with_added_tokens=False)
        if sorted(pieces.values()) != list(range(len(pieces))):
            raise ValueError(f"the ids of {len(pieces)} pieces are not 0 to {len(pieces) - 1}")
        added = {token.content: token for token in self._library.get_added_tokens_decoder().values()}
        super().__init__(
            [
                piece.encode("utf-8") if piece in added else self._piece_bytes(piece)
                for piece in sorted(pieces, key=pieces.__getitem__)
            ]
        )
        # A token that takes the white space beside it loses it, and may reach over the end of a line.
        self.lossless = not any(token.lstrip or token.rstrip for token in added.values())
        self._can_be_cut = self.lossless and not any("\n" in content for content in added)

    def _piece_bytes(self, piece: str) -> bytes:
        return bytes(UNICODE_TO_BYTE[letter] for letter in piece)

    def encode(self, text: str) -> np.ndarray:
        return self.encode_many([text]).ids[1:-1]

    def encode_many(self, texts: Sequence[str]) -> TokenStream:
        cut = chunks if self._can_be_cut else _whole
        parts = [list(cut(_scalars(text), AFTER_LINE_END)) for text in texts]
        flat = [part for parts_of_text in parts for part in parts_of_text]
        encoded = [
            encoding.ids for encoding in self._library.encode_batch_fast(flat, add_special_tokens=False)
        ]
        lengths = np.zeros(len(texts), np.int64)
        of_text = np.repeat(np.arange(len(texts)), [len(parts_of_text) for parts_of_text in parts])
        np.add.at(lengths, of_text, [len(ids) for ids in encoded])
        return TokenStream.pack(np.array([i for ids in encoded for i in ids], np.int64), lengths, self.end)

    def to_json(self) -> dict[str, Any]:
        return {"library": json.loads(self._library_json)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> SubwordTokenizer:
        return cls(json.dumps(value["library"]))

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int | None) -> SubwordTokenizer:
        """Learn `vocab_size - 1` pieces (default 4,095) and the mark."""
        from tokenizers import Regex, pre_tokenizers
        from tokenizers import Tokenizer as LibraryTokenizer

        n_pieces = (DEFAULT_VOCAB_SIZE if vocab_size is None else vocab_size) - 1
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        model, trainer = cls._model_and_trainer(
            {"vocab_size": n_pieces, "initial_alphabet": alphabet, "show_progress": False}
        )
        library = LibraryTokenizer(model)
        # The trainers are quadratic in the length of a word; a genome is one word of a million letters.
        words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        short = pre_tokenizers.Split(Regex(f".{{1,{LONGEST_WORD}}}"), "isolated")
        library.pre_tokenizer = pre_tokenizers.Sequence([words, short])
        parts = (part for text in texts for part in chunks(_scalars(text), AFTER_LINE_END))
        library.train_from_iterator(_without_more(parts, cls.most_of_long_words), trainer)
        return cls(json.dumps(cls._finish(json.loads(library.to_str()), n_pieces)))

    @staticmethod
    @abstractmethod
    def _model_and_trainer(options: dict[str, Any]) -> tuple[Any, Any]:
        """The library's empty model, and its trainer with the options that all trainers have."""

    @staticmethod
    def _finish(library: dict[str, Any], n_pieces: int) -> dict[str, Any]:
        """What was trained, as the library's JSON, made ready for words of any length."""
        return {**library, "pre_tokenizer": library["pre_tokenizer"]["pretokenizers"][0]}


class BPETokenizer(SubwordTokenizer):
    """Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019)."""

    kind = "bpe"

    @staticmethod
    def _model_and_trainer(options: dict[str, Any]) -> tuple[Any, Any]:
        from tokenizers import models, trainers

        return models.BPE(), trainers.BpeTrainer(**options)


class UnigramTokenizer(SubwordTokenizer):
    """Unigram language-model pieces (Kudo 2018) over bytes."""

    kind = "unigram"
    # The library's trainer takes time that grows with the square of such text, however it is cut.
    most_of_long_words = 1 << 16

    @staticmethod
    def _model_and_trainer(options: dict[str, Any]) -> tuple[Any, Any]:
        from tokenizers import models, trainers

        return models.Unigram(), trainers.UnigramTrainer(**options)

    @staticmethod
    def _finish(library: dict[str, Any], n_pieces: int) -> dict[str, Any]:
        """Every byte a piece: the library's trainer drops those it never saw. Their score is below every other.

        They take the places of the least likely longer pieces.
        """
        library = SubwordTokenizer._finish(library, n_pieces)
        learned = sorted(library["model"]["vocab"], key=lambda entry: -entry[1])
        letters = [entry for entry in learned if len(entry[0]) == 1]
        lowest = min((score for _, score in learned), default=0.0)
        missing = set(BYTE_TO_UNICODE) - {letter for letter, _ in letters}
        letters += [[letter, lowest - 10.0] for letter in BYTE_TO_UNICODE if letter in missing]
        longer = [entry for entry in learned if len(entry[0]) > 1]
        library["model"]["vocab"] = letters + longer[: n_pieces - len(letters)]
        return library


class WordPieceTokenizer(SubwordTokenizer):
    """WordPiece (Schuster & Nakajima 2012) over bytes.

    A piece inside a word is marked by U+2581 in front, not by BERT's `##`: no byte is written so, and a text's own
    number signs can't be mistaken for the marking.
    """

    kind = "wordpiece"
    min_vocab_size = 513

    def _piece_bytes(self, piece: str) -> bytes:
        return super()._piece_bytes(piece.removeprefix(CONTINUING_PREFIX))

    @staticmethod
    def _model_and_trainer(options: dict[str, Any]) -> tuple[Any, Any]:
        from tokenizers import models, trainers

        # Left to itself the trainer numbers these as it meets them, in another order every time.
        continuing = [CONTINUING_PREFIX + letter for letter in BYTE_TO_UNICODE]
        trainer = trainers.WordPieceTrainer(
            **options, special_tokens=continuing, continuing_subword_prefix=CONTINUING_PREFIX
        )
        return models.WordPiece({}, unk_token="!", continuing_subword_prefix=CONTINUING_PREFIX), trainer

    @staticmethod
    def _finish(library: dict[str, Any], n_pieces: int) -> dict[str, Any]:
        """Words stay cut to a length that the search for the longest piece that fits can bear; it is cubic."""
        library["added_tokens"] = []  # to the model they are pieces like others
        library["model"]["max_input_chars_per_word"] = LONGEST_WORD
        return library


def _whole(text: str, _border: re.Pattern[str]) -> Iterator[str]:
    yield text


def _without_more(parts: Iterable[str], most: int | None) -> Iterator[str]:
    """The parts, less what stands in long words after the first `most` bytes of such."""
    room = most or 0

    def kept(found: re.Match[str]) -> str:
        nonlocal room
        word = found[0].encode()[:room]
        room -= len(word)
        return word.decode(errors="ignore")

    for part in parts:
        yield part if most is None else LONG_WORD.sub(kept, part)


def _scalars(text: str) -> str:
    """`text` as the Rust library takes it; it knows no lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


def _bytes_to_unicode() -> list[str]:
    """GPT-2's printable stand-in for each byte, by byte value (Radford et al. 2019)."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    extra = iter(range(256, 512))
    return [chr(byte if byte in printable else next(extra)) for byte in range(256)]


BYTE_TO_UNICODE = _bytes_to_unicode()
UNICODE_TO_BYTE = {letter: byte for byte, letter in enumerate(BYTE_TO_UNICODE)}
