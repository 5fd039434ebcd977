"""Where in the training text does this occur? Any string counted and found, any text traced back to its passages.

    open_index(run).count("cows eat")         how often and where the string occurs
    open_index(run).trace(generated_text)     which parts of the text stand in the training text: generated or copied?

Both are exact and know nothing of tokens: they look into the UTF-8 bytes of the run's training split, all its
documents in a row, the byte FF before and after each. That byte is no part of any text, so nothing is found
across documents; and as no character's bytes stand inside another's, bytes match only where characters do.

The index (`rung.models.counting.suffix_array`, about 11 bytes a byte of text) takes half a second a megabyte to make,
at the first question, and is kept in the run's data folder, from where it is mapped.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from rung.errors import UserError
from rung.models.counting.arrays import concatenated_ranges, read_only
from rung.models.counting.suffix_array import MAX_LCP, SuffixArray, build_suffix_array
from rung.opening import check_array, check_below, check_rising, opening
from rung.runs import DATA, Run
from rung.tensors import load_tensors, save_tensors
from rung.text.corpus import Corpus
from rung.text.tokenizers import text_of, utf8

INDEX_FILE = "passages.safetensors"
INDEX_FORMAT = "1"
MARK = 0xFF
MIN_BYTES = 32
CONTEXT_CHARACTERS = 40
TOKENS_AT_ONCE = 1 << 18
CHARACTER_BLOCK = 1 << 12


@dataclass(frozen=True)
class Place:
    """A place in the training split.

    Attributes:
        document: which document, from 0.
        byte, character: how many of them stand before it in its document.
        before, after: what stands around the string there, as far as the document goes.
    """

    document: int
    byte: int
    character: int
    before: str
    after: str


@dataclass(frozen=True)
class Count:
    """How often a string occurs, overlapping occurrences included, and the first places where it does."""

    text: str
    count: int
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Passage:
    """A part of a text that stands in the training text and, made longer on either side, doesn't.

    Attributes:
        start, length: where it stands in the text that was traced, in characters.
        n_bytes: its length in bytes of UTF-8.
        marked_start, marked_end: the characters of which it is the longest passage; no other passage's.
        text: the passage.
        count: how often it occurs in the training text.
        place: where it does first.
    """

    start: int
    length: int
    n_bytes: int
    marked_start: int
    marked_end: int
    text: str
    count: int
    place: Place


@dataclass(frozen=True)
class Trace:
    """What of a text stands in the training text in passages of `minimum` bytes or more.

    Attributes:
        passages: in the order of the text. For each character that is inside of one, the longest.
        minimum: the shortest length, in bytes.
        n_bytes: the length of the text.
        copied_bytes: how many bytes are inside a passage.
        share: copied_bytes / n_bytes, 0 for an empty text.
        longest: the length of the longest passage, in bytes; 0 when there is none.
    """

    passages: tuple[Passage, ...]
    minimum: int
    n_bytes: int
    copied_bytes: int
    share: float
    longest: int


@dataclass(frozen=True)
class PassageIndex:
    """The training text and its suffix array. N bytes, the first mark included and the last one not.

    Attributes:
        text: (N + 1,) the documents' bytes, a mark before and after each.
        starts: (D + 1,) where each document begins, and where one more would.
        characters: how many characters the first 0, 4,096, 8,192, ... bytes have, marks counted.
        positions: (N,) where the last byte of each sorted prefix stands.
        suffix_array: of the text read backwards.
    """

    text: np.ndarray
    starts: np.ndarray
    characters: np.ndarray
    positions: np.ndarray
    suffix_array: SuffixArray

    def count(self, text: str, *, places: int = 5, around: int = CONTEXT_CHARACTERS) -> Count:
        """How often and where `text` occurs in the training text.

        Args:
            text: one character or more.
            places: how many places to tell, the first ones.
            around: how many characters to show before and after each.

        Raises UserError for an empty text.
        """
        if not text:
            raise UserError("there is nothing to count: give one character or more")
        pattern = np.frombuffer(utf8(text), np.uint8)
        low, high = self.suffix_array.find(pattern)
        ends = self.positions[low:high]
        if len(ends) > places:
            ends = np.partition(ends, places - 1)[:places] if places else ends[:0]
        first = [self._place(end + 1 - len(pattern), len(pattern), around) for end in sorted(ends.tolist())]
        return Count(text, high - low, tuple(first))

    def trace(self, text: str, *, minimum: int = MIN_BYTES, around: int = CONTEXT_CHARACTERS) -> Trace:
        """Which parts of `text` stand in the training text, in passages of `minimum` bytes or more.

        Raises UserError for a minimum below 1.
        """
        if minimum < 1:
            raise UserError(f"--min {minimum} does not fit: a passage has 1 byte or more")
        data = np.frombuffer(utf8(text), np.uint8)
        bounds = np.append(np.flatnonzero(_is_first_byte(data)), len(data))
        found = self._maximal_matches(data, bounds, minimum)
        marked = _longest_parts(found[:, 0], found[:, 1], bounds)
        passages = [
            self._passage(data, bounds, match, mark, around)
            for match, mark in zip(found.tolist(), marked.tolist(), strict=True)
            if mark[0] < mark[1]
        ]
        copied = sum(bounds[p.marked_end] - bounds[p.marked_start] for p in passages)
        return Trace(
            tuple(passages),
            minimum,
            len(data),
            int(copied),
            float(copied / len(data)) if len(data) else 0.0,
            max((p.n_bytes for p in passages), default=0),
        )

    def _maximal_matches(self, data: np.ndarray, bounds: np.ndarray, minimum: int) -> np.ndarray:
        """Passages that can't be made longer, (M, 4): begin and end in characters, the interval of the suffix array.

        Both begins and ends rise: no such passage is inside another.
        """
        from rung.models.counting.matching_statistics import (
            NO_MARK,
            interval_begin,
            interval_end,
            matching_statistics,
        )

        intervals, lengths = np.empty((len(data), 2), np.int64), np.empty(len(data), np.int64)
        state = np.array([0, self.suffix_array.size, 0])
        matching_statistics(self.suffix_array, data.astype(np.int64), NO_MARK, state, intervals, lengths)
        ends = bounds[1:]
        begins = np.searchsorted(bounds, ends - lengths[ends - 1])  # a match may begin inside a character
        n_bytes = ends - bounds[begins]
        grows_no_more = np.append(begins[1:] != begins[:-1], True)[: len(begins)]
        kept = np.flatnonzero(grows_no_more & (n_bytes >= minimum))
        found = np.empty((len(kept), 4), np.int64)
        found[:, 0], found[:, 1] = begins[kept], kept + 1
        for row, character in enumerate(kept):
            n, at = int(n_bytes[character]), int(ends[character]) - 1
            low, high = intervals[at].tolist()
            if n < lengths[at]:
                if n <= MAX_LCP:
                    low, high = (
                        interval_begin(self.suffix_array, low, n),
                        interval_end(self.suffix_array, high, n),
                    )
                else:
                    low, high = self.suffix_array.find(data[at + 1 - n : at + 1])
            found[row, 2:] = low, high
        return found

    def _passage(
        self, data: np.ndarray, bounds: np.ndarray, match: list[int], marked: list[int], around: int
    ) -> Passage:
        begin, end, low, high = match
        part = data[bounds[begin] : bounds[end]]
        place = self._place(int(self.positions[low:high].min()) + 1 - len(part), len(part), around)
        text = text_of(part.tobytes())
        return Passage(begin, end - begin, len(part), marked[0], marked[1], text, high - low, place)

    def _place(self, at: int, n_bytes: int, around: int) -> Place:
        document = int(np.searchsorted(self.starts, at, side="right")) - 1
        begin, end = int(self.starts[document]), int(self.starts[document + 1]) - 1
        room = 4 * around  # a character has at most four bytes
        before = text_of(self.text[max(begin, at - room) : at].tobytes())
        after = text_of(self.text[at + n_bytes : min(end, at + n_bytes + room)].tobytes())
        character = self._characters(at) - self._characters(begin)
        return Place(document, at - begin, character, before[max(len(before) - around, 0) :], after[:around])

    def _characters(self, at: int) -> int:
        """How many characters begin before byte `at`."""
        block = at // CHARACTER_BLOCK
        rest = self.text[block * CHARACTER_BLOCK : at]
        return int(self.characters[block]) + int(np.count_nonzero(_is_first_byte(rest)))


def open_index(run: Run) -> PassageIndex:
    """The index of the run's training text, made and kept in its data folder if it isn't there.

    Where that folder can't be written to, the index is made anew each time: keep it, to ask it more than once.
    Raises UserError when the run has no data, or its tokens don't spell them.
    """
    folder = run.folder / DATA
    if not (folder / "corpus.json").exists():
        raise UserError(
            f"{run.folder} has no training text to look into: its {DATA} folder is missing; bring it back or "
            "train again"
        )
    if not run.tokenizer.lossless:
        raise UserError(
            f"{run.folder} knows words alone: what of its training text was no word of its vocabulary is lost, so the "
            "text can't be looked into"
        )
    path = folder / INDEX_FILE
    # corpus.json has the hash of the source, and how it was read and split.
    made_from = {
        "format": INDEX_FORMAT,
        "corpus": hashlib.sha256((folder / "corpus.json").read_bytes()).hexdigest(),
    }
    with suppress(UserError):  # missing or damaged, it is made anew
        tensors, metadata = load_tensors(path)
        if metadata == made_from:
            with opening(path):
                return _from_tensors(tensors)
    index = build_passages(run.corpus)
    try:
        save_tensors(path, _to_tensors(index), made_from)
    except UserError:  # a read-only or full disk; the answer doesn't need the file
        return index
    return _from_tensors(load_tensors(path)[0])


def build_passages(corpus: Corpus) -> PassageIndex:
    """Sort the prefixes of the training split's bytes."""
    text, starts = _training_bytes(corpus)
    begins = np.zeros(-(-len(text) // CHARACTER_BLOCK) * CHARACTER_BLOCK, bool)
    begins[: len(text)] = _is_first_byte(text)
    characters = np.append(0, np.cumsum(begins.reshape(-1, CHARACTER_BLOCK).sum(axis=1)))
    suffix_array, positions = build_suffix_array(text, MARK + 1)
    return PassageIndex(text, starts, characters, positions, suffix_array)


def _training_bytes(corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
    """The training split's bytes with their marks, and where each document begins."""
    tokenizer = corpus.tokenizer
    spelling = list(tokenizer.spellings)
    spelling[tokenizer.end] = bytes([MARK])
    letters = np.frombuffer(b"".join(spelling), np.uint8)
    lengths = np.array([len(token) for token in spelling])
    at = np.cumsum(lengths) - lengths
    ids = corpus.train.ids
    pieces, ends = [], [np.zeros(0, np.int64)]
    n_bytes = 0
    for begin in range(0, len(ids), TOKENS_AT_ONCE):
        chunk = np.asarray(ids[begin : begin + TOKENS_AT_ONCE]).astype(np.int64)
        if tokenizer.by_neighbour:
            chunk = tokenizer.spelled(chunk, np.append(ids[max(begin, 1) - 1], chunk[:-1]))
        n = lengths[chunk]
        pieces.append(letters[concatenated_ranges(at[chunk], n)[0]])
        ends.append(n_bytes + np.cumsum(n))
        n_bytes += len(pieces[-1])
    return np.concatenate(pieces), np.concatenate(ends)[corpus.train.starts - 1]


def _is_first_byte(data: np.ndarray) -> np.ndarray:
    """Which bytes of UTF-8 are a character's first."""
    return (data & 0xC0) != 0x80


def _longest_parts(begins: np.ndarray, ends: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """For each of M matches the part of the text, (M, 2) in characters, of which it is the longest match.

    Begins and ends rise, so a longer match that overlaps this one covers it from the left or from the right: the
    part ends where the next longer one begins, and begins where the last one that is as long or longer ends.
    """
    sizes = (bounds[ends] - bounds[begins]).tolist()
    parts = np.stack([begins, ends], axis=1)
    open_matches: list[int] = []  # their sizes fall
    for i, size in enumerate(sizes):
        while open_matches and sizes[open_matches[-1]] < size:
            shorter = open_matches.pop()
            parts[shorter, 1] = min(parts[shorter, 1], begins[i])
        if open_matches:
            parts[i, 0] = max(parts[i, 0], ends[open_matches[-1]])
        open_matches.append(i)
    return parts


def _to_tensors(index: PassageIndex) -> dict[str, np.ndarray]:
    return index.suffix_array.tensors() | {
        "text": index.text,
        "starts": index.starts,
        "characters": index.characters,
        "last": index.positions,
    }


def _from_tensors(tensors: dict[str, np.ndarray]) -> PassageIndex:
    arrays = (read_only(tensors[name]) for name in ("text", "starts", "characters", "last"))
    text, starts, characters, positions = arrays
    index = SuffixArray.from_tensors(tensors, MARK + 1)
    check_array("text", text, "u1", [index.size + 1])
    check_below("text", text, MARK + 1)
    check_array("starts", starts, "i8", [None])
    check_rising("starts", starts, 1, len(text))
    check_array("characters", characters, "i8", [-(-len(text) // CHARACTER_BLOCK) + 1])
    check_rising("characters", characters, 0, int(characters[-1]))
    check_array("last", positions, "i4 i8", [index.size])
    check_below("last", positions, index.size)
    return PassageIndex(text, starts, characters, positions, index)
