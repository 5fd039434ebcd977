"""Tokenisers as files of the `tokenizers` library, which AutoTokenizer loads, and back.

Out: the ids are ours, the mark is `<|endoftext|>`, put before every text as our models expect it; with
`add_special_tokens=False` the ids are exactly those of `Tokenizer.encode`. (To the library the mark's name inside a
text is the mark; to us it is text.) Subwords are the library's anyway. Characters, bytes and words become byte-level
BPE without merges: a piece is one token when the vocabulary has it whole (`ignore_merges`), else its bytes are. Where
characters are spelled in halves of bytes, the text's bytes become letters first, and those of characters that are not
in the vocabulary two letters each. What a closed vocabulary of characters refuses is left out there. Words between
white space are a WordLevel; one that refuses unknown words refuses them there too.

In: whatever went out, known by its being what we would write; and byte-level BPE that loses nothing. Our mark has the
last id; theirs may stand anywhere, so the two ids change places. Their other special tokens, and ids without any token,
become pieces that no text is encoded to; bytes that their pieces can't spell (SmolLM2's can't 8 of 243) take the places
of the last of these. Added words that are not special are text, there and here, and are found before anything else.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rung.errors import UserError
from rung.files import read_json
from rung.text import tokenizers as ours
from rung.text.tokenizers import (
    BPETokenizer,
    CharTokenizer,
    Tokenizer,
    UnigramTokenizer,
    WhitespaceTokenizer,
    WordPieceTokenizer,
    WordTokenizer,
)
from rung.text.tokenizers.byte_fallback import UTF8_BYTES
from rung.text.tokenizers.half_bytes import N_HALVES, SECOND
from rung.text.tokenizers.implied_blanks import BRACKETS, BREAKS, CJK
from rung.text.tokenizers.subwords import BYTE_TO_UNICODE, UNICODE_TO_BYTE
from rung.text.whitespace import SEPARATORS

if TYPE_CHECKING:
    from tokenizers import Tokenizer as LibraryTokenizer

MARK = "<|endoftext|>"
MOST_RESPELLED = 16
"""How many bytes may be spelled by marks that have no use: rare ones, not a part of every text."""
NO_SYMBOL = " "
"""No word: white space is in none."""


def to_tokenizer_json(tokenizer: Tokenizer) -> str:
    """The tokeniser as the text of a tokenizer.json. Raises UserError for one with a piece of the mark's name."""
    from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers
    from tokenizers import Tokenizer as LibraryTokenizer

    if tokenizer.kind == ours.BareWordTokenizer.kind:
        raise UserError(f"a {tokenizer.kind} tokeniser is not written for transformers; train with another")
    if isinstance(tokenizer, WhitespaceTokenizer):
        return _marked(_whitespace_words(tokenizer), tokenizer.end)
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    if isinstance(tokenizer, ours.SubwordTokenizer):
        library = LibraryTokenizer.from_str(json.dumps(tokenizer.to_json()["library"]))
    else:
        cuts = {"byte": None, "char": r"[\s\S]", "word": ""}
        in_halves = isinstance(tokenizer, CharTokenizer) and tokenizer.unseen == "halves"
        vocabulary = {
            _byte_level_name(token): i for i, token in enumerate(tokenizer.token_bytes[: tokenizer.end])
        }
        if in_halves:
            vocabulary = {name: i for name, i in vocabulary.items() if i >= N_HALVES}
            vocabulary |= {letter: i for i, letter in enumerate(HALF_LETTERS)}
        library = LibraryTokenizer(models.BPE(vocabulary, [], ignore_merges=True))
        cut = _word_regex(tokenizer) if isinstance(tokenizer, WordTokenizer) else cuts[tokenizer.kind]
        if cut is None:
            library.pre_tokenizer = letters
        elif in_halves:
            spelling = [
                normalizers.Replace(Regex(found), halves) for found, halves in _spelling_out(tokenizer)
            ]
            library.normalizer = normalizers.Sequence([normalizers.ByteLevel(), *spelling])
            library.pre_tokenizer = pre_tokenizers.Split(Regex(_CHARACTER_IN_LETTERS), "isolated")
        else:
            split = pre_tokenizers.Split(Regex(cut), "isolated")
            library.pre_tokenizer = pre_tokenizers.Sequence([split, letters])
    decoding: list[Any] = [decoders.ByteLevel()]
    if tokenizer.kind == "wordpiece":
        decoding.insert(0, decoders.Replace("▁", ""))  # its sign for "inside a word"; no byte is written so
    if isinstance(tokenizer, CharTokenizer) and tokenizer.unseen == "halves":
        joined = [decoders.Replace(_in_halves(value), BYTE_TO_UNICODE[value]) for value in range(256)]
        # By themselves a first half spells nothing, and a second one what is no UTF-8.
        joined.append(decoders.Replace(Regex(f"[{''.join(HALF_LETTERS[:SECOND])}]"), ""))
        joined.append(decoders.Replace(Regex(f"[{''.join(HALF_LETTERS[SECOND:])}]"), BYTE_TO_UNICODE[0xFF]))
        decoding = [decoders.Fuse(), *joined, *decoding]
    if isinstance(tokenizer, WordTokenizer) and tokenizer.implied_blanks:
        steps, implied = _implied_blanks_regex(tokenizer.quotes)
        putting = [normalizers.Replace(Regex(found), instead) for found, instead in steps]
        library.normalizer = normalizers.Sequence([normalizers.Prepend(" "), *putting])
        decoding.append(decoders.Replace(Regex(implied), ""))
    library.decoder = decoders.Sequence(decoding)
    return _marked(library, tokenizer.end)


def _marked(library: LibraryTokenizer, end: int) -> str:
    """The library's tokeniser, with the mark before every text, as JSON."""
    from tokenizers import AddedToken, processors

    library.add_special_tokens([AddedToken(MARK, special=True, normalized=False)])
    library.post_processor = processors.TemplateProcessing(
        single=f"{MARK} $A", pair=f"{MARK} $A {MARK} $B", special_tokens=[(MARK, end)]
    )
    if library.token_to_id(MARK) != end:
        raise UserError(
            f"the tokeniser has a piece {MARK!r} of its own, so the mark can't be written under that name"
        )
    return library.to_str(pretty=True)


def _whitespace_words(tokenizer: WhitespaceTokenizer) -> LibraryTokenizer:
    from tokenizers import Regex, models, pre_tokenizers
    from tokenizers import Tokenizer as LibraryTokenizer

    # Without a symbol for unknown words the library raises an error at one, if it has no piece of that name.
    unknown = NO_SYMBOL if tokenizer.unknown is None else tokenizer.words[tokenizer.unknown]
    vocabulary = {word: i for i, word in enumerate(tokenizer.words)}
    library = LibraryTokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    separators = "".join(rf"\x{{{ord(separator):x}}}" for separator in SEPARATORS)
    library.pre_tokenizer = pre_tokenizers.Split(Regex(f"[{separators}]+"), "removed")
    return library


def read_tokenizer(
    folder: Path, mark: int, vocab_size: int, begin: int | None = None
) -> tuple[Tokenizer, np.ndarray] | str:
    """The tokeniser of a folder from transformers and the order (V,) of their ids in ours; or why there is none.

    Args:
        folder: with a tokenizer.json, or with GPT-2's older vocab.json and merges.txt.
        mark: their id of the document mark.
        vocab_size: V of the model.
        begin: their id of what begins a document, where that is another.
    """
    library = _read_library(folder)
    if library is None:
        return "there is no tokenizer.json"
    if (folder / "added_tokens.json").exists() and not (folder / "tokenizer.json").exists():
        return (
            "there is an added_tokens.json but no tokenizer.json; save the tokeniser with transformers again"
        )
    return converted(library, mark, vocab_size, begin)


def converted(
    library: dict[str, Any], mark: int, vocab_size: int, begin: int | None = None
) -> tuple[Tokenizer, np.ndarray] | str:
    """The same of what a tokenizer.json says."""
    try:
        if mark == vocab_size - 1 and (own := _own(library, vocab_size)) is not None:
            return own, np.arange(vocab_size)
        return _convert(library, mark, vocab_size, mark if begin is None else begin)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return f"tokenizer.json can't be read: {error!r}"


def _own(library: dict[str, Any], vocab_size: int) -> Tokenizer | None:
    """What `to_tokenizer_json` wrote, or None where it is something else."""
    candidate = _candidate(library)
    if candidate is None or candidate.vocab_size != vocab_size:
        return None
    written = json.loads(to_tokenizer_json(candidate))
    same = all(written[part] == library.get(part) for part in ("model", "normalizer", "pre_tokenizer"))
    return candidate if same else None


def _candidate(library: dict[str, Any]) -> Tokenizer | None:
    """The tokeniser that may have become this, by its pieces; anything may come of what is none of ours."""
    model = library["model"]
    if model["type"] in (kinds := {"WordPiece": WordPieceTokenizer, "Unigram": UnigramTokenizer}):
        own = {"added_tokens": [], "post_processor": None, "decoder": None}
        return kinds[model["type"]](json.dumps({**library, **own}))
    if model["type"] == "WordLevel":
        words = sorted(model["vocab"], key=model["vocab"].__getitem__)
        return WhitespaceTokenizer(words, model["vocab"].get(model["unk_token"]))
    if model["type"] != "BPE" or model["merges"]:
        return None
    pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
    halves = pieces[:N_HALVES] == HALF_LETTERS
    spelled = [
        bytes(UNICODE_TO_BYTE.get(letter, 0xFF) for letter in piece) for piece in pieces[N_HALVES * halves :]
    ]
    texts = [piece.decode("utf-8", "replace") for piece in spelled]
    if all(len(char) == 1 and char.encode() == piece for char, piece in zip(texts, spelled, strict=True)):
        return CharTokenizer(texts, "halves" if halves else "refused")
    n = len(UTF8_BYTES)
    if spelled[:n] == UTF8_BYTES and len(spelled) > n:
        return WordTokenizer(texts[n:], implied_blanks=library["normalizer"] is not None)
    return None


def _convert(
    library: dict[str, Any], mark: int, vocab_size: int, begin: int
) -> tuple[BPETokenizer, np.ndarray] | str:
    model = library["model"]
    fault = _unsupported(library, model)
    if fault is not None:
        return fault
    names = {i: piece for piece, i in model["vocab"].items()}
    added = {token["id"]: token["content"] for token in library["added_tokens"]}
    words = {
        token["id"]: token
        for token in library["added_tokens"]
        if not token["special"] and token["id"] != mark
    }
    highest = max(names | added, default=0)
    if highest >= vocab_size:
        return f"tokenizer.json has ids up to {highest}, and the model only {vocab_size}"
    if mark in names and mark not in added:
        return f"the document mark, id {mark}, is an ordinary piece in tokenizer.json"
    order = np.arange(vocab_size)
    order[[mark, -1]] = vocab_size - 1, mark
    vocabulary: dict[str, int] = {}
    merged = {"".join(pair.split(" ") if isinstance(pair, str) else pair) for pair in model["merges"]}
    for place, theirs in enumerate(order[:-1].tolist()):
        if theirs in words:
            word = words[theirs]["content"]
            # As in what we write, a name of its own may stand among the pieces that nothing is merged to.
            is_piece = model["vocab"].get(word, theirs) != theirs or word in UNICODE_TO_BYTE or word in merged
            if is_piece and word != _byte_level_name(word.encode()):
                return f"tokenizer.json adds a word {word!r} that is a piece of other bytes already"
            vocabulary[word] = place
        elif theirs in names and theirs not in added:
            vocabulary[names[theirs]] = place
        else:  # what no text is to become begins with a byte that UTF-8 never has
            name = added.get(theirs, f"<unused {theirs}>")
            vocabulary[_byte_level_name(b"\xff" + name.encode())] = place
    missing = [name for byte in ours.UTF8_BYTES if (name := _byte_level_name(byte)) not in vocabulary]
    if missing:
        # A few bytes that its training text never had. Marks without a use spell them, the last ones first.
        used = {mark, begin, *(i for i in words)}
        spare = [
            place
            for place, theirs in enumerate(order[:-1].tolist())
            if theirs in added and theirs not in used
        ]
        if len(missing) > min(MOST_RESPELLED, len(spare)):
            return f"tokenizer.json is no byte-level BPE: {len(missing)} bytes are no pieces of it"
        taken = set(spare[len(spare) - len(missing) :])
        vocabulary = {name: place for name, place in vocabulary.items() if place not in taken}
        vocabulary |= dict(zip(missing, sorted(taken), strict=True))
    if len(vocabulary) != vocab_size - 1:
        return "tokenizer.json has two pieces of one name"
    kept = [{**word, "id": vocabulary[word["content"]]} for word in words.values()]
    changed = {"added_tokens": kept, "post_processor": None, "truncation": None, "padding": None}
    tokenizer = BPETokenizer(json.dumps({**library, **changed, "model": {**model, "vocab": vocabulary}}))
    if tokenizer.decode(tokenizer.encode(_PROBE).tolist()) != _PROBE:
        return "tokenizer.json does not give back the text that it encodes"
    return tokenizer, order


_PROBE = " Two  words,\n\n\ttabs\r\n123 don't É日本語🙂\x00\x7f ~ end \n"


def _read_library(folder: Path) -> dict[str, Any] | None:
    if (folder / "tokenizer.json").exists():
        value = read_json(folder / "tokenizer.json")
        return value if isinstance(value, dict) else {}
    if not ((folder / "vocab.json").exists() and (folder / "merges.txt").exists()):
        return None
    vocabulary = read_json(folder / "vocab.json")
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    merges = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    return {
        "version": "1.0",
        "added_tokens": [{"id": vocabulary[MARK], "content": MARK, "special": True}]
        if MARK in vocabulary
        else [],
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        },
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
    }


def _unsupported(library: dict[str, Any], model: dict[str, Any]) -> str | None:
    """Why it is no byte-level BPE that loses nothing, as far as its settings tell."""
    steps = library.get("pre_tokenizer") or {}
    steps = steps.get("pretokenizers", [steps])
    if model.get("type") != "BPE":
        return f"tokenizer.json is a {model.get('type')}; only byte-level BPE can be taken over"
    if not any(step.get("type") == "ByteLevel" for step in steps):
        return "tokenizer.json is a BPE, but not over bytes"
    if library.get("normalizer") is not None:
        return (
            "tokenizer.json changes the text first (its normalizer), so it would not be given back as it was"
        )
    if any(step.get("add_prefix_space") for step in steps):
        return "tokenizer.json adds a space before each text (add_prefix_space)"
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            return f"tokenizer.json has a {name}, which is not supported"
    return None


def _byte_level_name(token: bytes) -> str:
    """GPT-2's printable letters for bytes."""
    return "".join(BYTE_TO_UNICODE[b] for b in token)


HALF_LETTERS = [chr(0xE000 + half) for half in range(N_HALVES)]
"""What halves of bytes are called, between and beside GPT-2's letters, none of which is one of these."""


def _letters(values: range) -> str:
    return "".join(rf"\x{{{ord(BYTE_TO_UNICODE[value]):x}}}" for value in values)


_FOLLOWING = range(0x80, 0xC0)
_CHARACTER_IN_LETTERS = (
    "|".join(
        f"[{_letters(first)}][{_letters(_FOLLOWING)}]{{{n}}}"
        for n, first in ((1, range(0xC2, 0xE0)), (2, range(0xE0, 0xF0)), (3, range(0xF0, 0xF5)))
    )
    + r"|[\s\S]"
)


def _in_halves(value: int) -> str:
    return HALF_LETTERS[value >> 4] + HALF_LETTERS[SECOND + (value & 15)]


def _spelling_out(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """How the letters of bytes become halves in characters that are not in the vocabulary; one after the other."""
    tails: dict[int, list[str]] = {}
    for token in tokenizer.token_bytes[N_HALVES : tokenizer.end]:
        tails.setdefault(token[0], []).append("".join(_letters(range(b, b + 1)) for b in token[1:]))
    steps = []
    for value in (*range(0x80), *range(0xC2, 0xF5)):
        if tails.get(value) != [""]:  # the whole character is known: it is ASCII
            known = f"(?!{'|'.join(tails[value])})" if value in tails else ""
            steps.append((_letters(range(value, value + 1)) + known, _in_halves(value)))
    second = f"[{''.join(HALF_LETTERS[SECOND:])}]"
    following = [(rf"(?<={second}){_letters(range(v, v + 1))}", _in_halves(v)) for v in _FOLLOWING]
    return steps + 3 * following


def _word_regex(tokenizer: WordTokenizer) -> str:
    r"""`WordTokenizer`'s expression for another engine: the same, with its classes spelled out.

    That engine knows a newer Unicode than Python may, and `\Z` means another thing to it.
    """
    cjk, breaks = f"[{CJK}]", BREAKS if tokenizer.implied_blanks else "\n"
    alone, letters, digits = (
        _character_class(cjk),
        _character_class(rf"(?!{cjk})[^\W\d_]"),
        _character_class(r"\d"),
    )
    marks, blanks, spaces = (
        _character_class(r"[^\w\s]|_"),
        _character_class(rf"[^\S{breaks}]"),
        _character_class(r"\s"),
    )
    word = f"{letters}+(?:['’]{letters}+)*"
    return rf" ?{alone}| ?{word}| ?{digits}+| ?{marks}+|[{breaks}]+|{blanks}+(?={spaces}|\z)|{spaces}"


def _implied_blanks_regex(quotes: str) -> tuple[list[tuple[str, str]], str]:
    """How a text that has a blank put before it gets the others that are implied, and what finds them all again.

    What `implied_blanks.with_blanks` says, as replacements one after the other.
    """
    line = _character_class(rf"(?![{CJK}])[\S ]")
    rest = _character_class(rf"(?![{CJK}])(?:[^\W_]| )")
    steps = [(rf"\A (?!{line})", "")]
    steps += [(f"{character}(?={line})", f"{character} ") for character in BREAKS]
    steps += [(f"{re.escape(character)}(?={rest})", f"{character} ") for character in BRACKETS]
    steps += [(f"(?<![^ {BREAKS}]){character}(?={rest})", f"{character} ") for character in quotes]
    after_quote = rf"|(?<=[ {BREAKS}][{quotes}]) |(?<=\A[{quotes}]) " if quotes else ""
    return steps, rf"(?<![^{BREAKS}]) |(?<=[{re.escape(BRACKETS)}]) {after_quote}"


def _character_class(expression: str) -> str:
    """The characters that one of Python's classes has, as ranges. Surrogates, which no text has there, are left out."""
    every = "".join(map(chr, range(0x110000)))
    ranges = []
    for found in re.finditer(f"(?:{expression})+", every):
        first, last = found.start(), found.end() - 1
        for low, high in ((first, min(last, 0xD7FF)), (max(first, 0xE000), last)):
            if low <= high:
                ranges.append(rf"\x{{{low:x}}}-\x{{{high:x}}}")
    return f"[{''.join(ranges)}]"
