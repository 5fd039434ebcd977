"""ARPA files in: read as KenLM reads them, or refused where KenLM refuses them, with the line.

What KenLM refuses is refused here: counts that disagree with the header, probabilities above 1 and those that are no
numbers, backoff weights of the longest n-grams, n-grams whose context is missing, files without `<s>` or `</s>`. An
n-gram that stands twice, of which KenLM takes one, is refused too. More is read than KenLM reads in two things, as
other programs write them: any text before `\\data\\`, and spaces where KenLM wants tabs.
"""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

import numpy as np

from rung.errors import UserError
from rung.exchange.arpa_format import BOS, EOS, LN10, UNK
from rung.models.counting.backoff_trie import MAX_LOG_BACKOFF, MISSING, build_trie
from rung.models.counting.ngram import IMPORTED, NGram, NGramConfig
from rung.models.counting.ngram_counts import Grams
from rung.models.counting.workspace import Workspace
from rung.text.whitespace import cut_each

LOG10_MISSING_UNK = -100.0  # log10 P(<unk>) where a file has none, as in KenLM
LINES_AT_ONCE = 1 << 16
BOS_ID, EOS_ID = -1, -2  # of the two marks, while a file is read

_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?|nan", re.IGNORECASE)
_COUNT = re.compile(rb"ngram\s+(\d+)\s*=\s*(\d+)")
_NO_ARPA = {  # what files begin with that are given instead
    b"mmap lm http://kheafield.com/code": "a KenLM binary; give the ARPA file that it was built from",
    b"blmt": "an IRSTLM binary; write it as text: compile-lm --text=yes",
    b"iARPA": "IRSTLM's own iARPA format; write it as ARPA: compile-lm --text=yes",
    b"BZh": "compressed by bzip2; unpack it first (gzip is read as it is)",
    b"\xfd7zXZ": "compressed by xz; unpack it first (gzip is read as it is)",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it first (gzip is read as it is)",
    b"\xff\xfe": "UTF-16; convert it: iconv -f utf-16 -t utf-8",
    b"\xfe\xff": "UTF-16; convert it: iconv -f utf-16 -t utf-8",
}


def read_arpa(path: Path) -> tuple[NGram, list[str]]:
    """Read a model from elsewhere; returns it and the name of each of its V tokens, the mark's (`</s>`) last.

    The unknown word is `<unk>`, also where the file writes `<UNK>`; where it has none, one with KenLM's log10
    probability of -100 is added. N-grams that longer ones end in and the file lacks (some pruners leave such) are
    filled in with what backing off gives.

    Raises UserError for a missing or damaged file.
    """
    try:
        with _open(path) as file:
            names, sections = _Parser(path, file).parse()
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} can't be read: {error}") from error
    return _to_model(path, names, sections), [*names, EOS]


@dataclass(frozen=True)
class _Section:
    """The n-grams of one order: their tokens (G, order), and (G,) each two numbers and the lines they stand in."""

    words: np.ndarray
    log10_prob: np.ndarray
    log10_backoff: np.ndarray
    lines: np.ndarray

    def take(self, rows: np.ndarray) -> _Section:
        return _Section(self.words[rows], self.log10_prob[rows], self.log10_backoff[rows], self.lines[rows])


class _Parser:
    """One pass over a file's lines."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file: Iterator[bytes] = iter(file)
        self._line = 0  # how many have been read
        self._words: dict[bytes, int] = {}  # of the 1-grams: which of them each is
        self._ids: dict[bytes, int] = {}

    def parse(self) -> tuple[list[str], list[_Section]]:
        """The names of all tokens but the marks, and the n-grams of every order, in the file's own order."""
        self._skip_to_data()
        counts, line = self._counts()
        self._expect(b"\\1-grams:", line)
        unigrams = self._section(1, counts[0], last=len(counts) == 1)
        names = self._names(unigrams.lines)
        sections = [replace(unigrams, words=np.array([[self._ids[word]] for word in self._words], np.int64))]
        for order, count in enumerate(counts[1:], start=2):
            self._expect(b"\\%d-grams:" % order, self._next())
            sections.append(self._section(order, count, last=order == len(counts)))
        self._expect(b"\\end\\", self._next())
        if self._next():
            self._refuse("stands after \\end\\, where an ARPA file ends; are these two files in one?")
        return names, sections

    def _skip_to_data(self) -> None:
        for line in self._file:
            self._line += 1
            for magic, what in _NO_ARPA.items() if self._line == 1 else ():
                if line.startswith(magic):
                    raise UserError(f"{self._path} is no ARPA file but {what}")
            if line.removeprefix(codecs.BOM_UTF8).strip() == b"\\data\\":
                return
        if not self._line:
            raise UserError(f"{self._path} is empty; an ARPA file begins with \\data\\")
        raise UserError(
            f"{self._path} is no ARPA file: none of its lines reads \\data\\, with which one begins"
        )

    def _counts(self) -> tuple[list[int], bytes]:
        """How many n-grams of each order the header promises, and the line after it."""
        counts: list[int] = []
        while not (line := self._next()).startswith(b"\\"):
            found = _COUNT.fullmatch(line)
            if found is None or int(found[1]) != len(counts) + 1:
                self._refuse(f"should read 'ngram {len(counts) + 1}=' and a count, not {_shown(line)}")
            counts.append(int(found[2]))
        if not counts:
            self._refuse("should say how many 1-grams there are, as in 'ngram 1=5'")
        return counts, line

    def _next(self) -> bytes:
        """The next line that isn't blank, without the white space around it; at the end of the file, nothing."""
        for line in self._file:
            self._line += 1
            if line := line.strip():
                return line
        return b""

    def _expect(self, wanted: bytes, line: bytes) -> None:
        if not line:
            raise UserError(f"{self._path} is cut short: {wanted.decode()} is missing")
        if line != wanted:
            more = "" if line.startswith(b"\\") else "; there are more n-grams than the header promises"
            self._refuse(f"should read {wanted.decode()}, not {_shown(line)}{more}")

    def _section(self, order: int, count: int, *, last: bool) -> _Section:
        parts = [_Section(np.empty((0, order), np.int64), np.empty(0), np.empty(0), np.empty(0, np.int64))]
        left = count
        while left:
            lines = list(islice(self._file, min(left, LINES_AT_ONCE)))
            if not lines:
                raise UserError(f"{self._path} is cut short: {_too_few(order, count, count - left)}")
            parts.append(self._part(lines, order, count, count - left))
            left -= len(parts[-1].lines)
        found = _Section(
            np.concatenate([part.words for part in parts]),
            np.concatenate([part.log10_prob for part in parts]),
            np.concatenate([part.log10_backoff for part in parts]),
            np.concatenate([part.lines for part in parts]),
        )
        self._refuse_first(np.isnan(found.log10_prob), found, "has a probability that is no number")
        self._refuse_first(
            found.log10_prob > 0,
            found,
            "has a probability above 1: its logarithm, the first number, is above 0",
        )
        self._refuse_first(
            ~np.isfinite(found.log10_backoff), found, "has a backoff weight that is no finite number"
        )
        self._refuse_first(
            found.log10_backoff * LN10 > MAX_LOG_BACKOFF,
            found,
            f"has a backoff weight above 10^{MAX_LOG_BACKOFF / LN10:.0f}, which no probabilities lead to",
        )
        if last and order > 1:
            why = "has a backoff weight, which the longest n-grams can't have"
            self._refuse_first(found.log10_backoff != 0, found, why)
        return found

    def _part(self, lines: list[bytes], order: int, count: int, before: int) -> _Section:
        """The n-grams of some lines; those of order 1 are numbered elsewhere."""
        numbers = np.arange(self._line + 1, self._line + 1 + len(lines))
        self._line += len(lines)
        rows = cut_each(lines)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        if not lengths.all():
            rows = [row for row in rows if row]
            numbers, lengths = numbers[lengths > 0], lengths[lengths > 0]
        for at in np.flatnonzero((lengths != order + 1) & (lengths != order + 2))[:1].tolist():
            if rows[at][0].startswith(b"\\"):
                self._refuse(f"comes too early: {_too_few(order, count, before + at)}", int(numbers[at]))
            words = "1 word" if order == 1 else f"{order} words"
            self._refuse(f"should be a number, {words} and perhaps a number", int(numbers[at]))
        if order == 1:
            words = np.empty((len(rows), 1), np.int64)
            self._take_words([row[1] for row in rows], numbers)
        else:
            words = np.empty((len(rows), order), np.int64)
            ids = self._ids
            try:
                for place in range(order):
                    words[:, place] = [ids[row[place + 1]] for row in rows]
            except KeyError as error:
                at = next(at for at, row in enumerate(rows) if error.args[0] in row[1 : order + 1])
                self._refuse(
                    f"has the word {_shown(error.args[0])}, which is not among the 1-grams", int(numbers[at])
                )
        log10_backoff = np.zeros(len(rows))
        weighted = np.flatnonzero(lengths == order + 2)
        if len(weighted) == len(rows):
            log10_backoff[:] = self._floats([row[-1] for row in rows], numbers)
        elif len(weighted):
            fields = [rows[at][-1] for at in weighted.tolist()]
            log10_backoff[weighted] = self._floats(fields, numbers[weighted])
        return _Section(words, self._floats([row[0] for row in rows], numbers), log10_backoff, numbers)

    def _floats(self, fields: list[bytes], numbers: np.ndarray) -> np.ndarray:
        """Decimal numbers, (G,), out of the lines `numbers`."""
        try:
            if b"_" not in b"".join(fields):  # which Python takes for a digit's neighbour
                return np.fromiter(map(float, fields), np.float64, len(fields))
        except ValueError:
            pass
        at = next(at for at, field in enumerate(fields) if not _NUMBER.fullmatch(field))
        mend = "; write it with a decimal point" if b"," in fields[at] else ""
        return self._refuse(f"has {_shown(fields[at])} for a number{mend}", int(numbers[at]))

    def _take_words(self, words: list[bytes], numbers: np.ndarray) -> None:
        """Keep the words of 1-grams, the unknown one under one name, and see that each is new."""
        for word, line in zip(words, numbers.tolist(), strict=True):
            n = len(self._words)
            self._words[UNK.encode() if word == _CAPITAL_UNK else word] = n
            if len(self._words) == n:
                self._refuse(f"has {_shown(word)}, which was among the 1-grams before", line)

    def _names(self, lines: np.ndarray) -> list[str]:
        """What the tokens are called, the unknown word last if it was missing; from now on words have their ids."""
        for mark in (BOS, EOS):
            if mark.encode() not in self._words:
                raise UserError(
                    f"{self._path} has no {mark} among its 1-grams, so its lines have no {_ROLE[mark]}; write it with"
                    f" sentence marks, or put a line with {mark} there"
                )
        names: list[str] = []
        for line, word in zip(lines.tolist(), self._words, strict=True):
            try:
                names.append(word.decode("utf-8"))
            except UnicodeDecodeError:
                self._refuse(
                    f"has the word {_shown(word)}, which is no UTF-8; convert the file with iconv", line
                )
        names = [name for name in dict.fromkeys([*names, UNK]) if name not in (BOS, EOS)]
        self._ids = {name.encode(): token for token, name in enumerate(names)}
        self._ids |= {_CAPITAL_UNK: names.index(UNK), BOS.encode(): BOS_ID, EOS.encode(): EOS_ID}
        return names

    def _refuse_first(self, bad: np.ndarray, section: _Section, why: str) -> None:
        for at in np.flatnonzero(bad)[:1].tolist():
            self._refuse(why, int(section.lines[at]))

    def _refuse(self, why: str, line: int | None = None) -> NoReturn:
        raise UserError(f"{self._path} line {self._line if line is None else line} {why}")


_ROLE = {BOS: "beginning", EOS: "end"}
_CAPITAL_UNK = UNK.upper().encode()


def _too_few(order: int, promised: int, found: int) -> str:
    return f"the header promises {promised:,} {order}-grams, and there are {found:,}"


def _shown(field: bytes) -> str:
    """A field of a file as a message shows it."""
    text = field.decode("utf-8", "backslashreplace").replace("\t", " ")
    text = text if len(text) < 80 else f"{text[:77]}..."
    return f"'{text}'" if text.isprintable() else repr(text)


def _open(path: Path) -> BinaryIO:
    """The file's bytes, unpacked where its first two bytes are gzip's, whatever its name."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb") if compressed else path.open("rb"))


def _to_model(path: Path, names: list[str], sections: list[_Section]) -> NGram:
    """The trie of all n-grams, with those that others end in and the file lacks filled in."""
    end = len(names)
    grams = [_sorted_section(path, section, end) for section in sections[1:]]
    for above in range(1, len(grams)):
        _check_contexts(path, grams[above], grams[above - 1])
    # From the highest down: what an n-gram ends in may in turn end in what the file lacks.
    for above in range(len(grams) - 1, 0, -1):
        grams[above - 1] = _with_missing(grams[above - 1], grams[above].words[:, 1:])

    tokens = sections[0].words[:, 0]
    predicted, history = tokens != BOS_ID, tokens != EOS_ID  # the two halves of the mark
    tokens = np.where(tokens < 0, end, tokens)
    log_prob = [np.full(end + 1, LOG10_MISSING_UNK)]
    log_prob[0][tokens[predicted]] = sections[0].log10_prob[predicted]
    log_backoff = [np.zeros(end + 1)]
    log_backoff[0][tokens[history]] = sections[0].log10_backoff[history]

    levels = [_grams(1, 1, np.arange(end + 1), *np.zeros((2, end + 1), np.int64))]
    below = levels[0].words[:, None]
    for order, level in enumerate(grams, start=2):
        parent, suffix = _find(below, level.words[:, :-1]), _find(below, level.words[:, 1:])
        backed_off = np.minimum(
            log_backoff[-1][parent] + log_prob[-1][suffix], 0
        )  # weights can say more than 1
        log_prob.append(np.where(np.isnan(level.log10_prob), backed_off, level.log10_prob))
        log_backoff.append(np.where(level.words[:, -1] == end, 0, level.log10_backoff))
        levels.append(_grams(order, len(below), level.words[:, -1], parent, suffix))
        below = level.words

    natural = (
        [values * LN10 for values in log_prob],
        [values * LN10 for values in (np.zeros(1), *log_backoff[:-1])],
    )
    trie = build_trie(levels, *natural, None, Workspace())
    config = NGramConfig(order=trie.order, smoothing=IMPORTED)
    return NGram(config, end + 1, end, trie, np.zeros((trie.order, 3)))


def _grams(order: int, n_parents: int, words: np.ndarray, parent: np.ndarray, suffix: np.ndarray) -> Grams:
    """N-grams whose counts nobody knows."""
    return Grams(order, n_parents, words, parent, suffix, np.zeros_like(parent), np.zeros(len(words), bool))


def _sorted_section(path: Path, section: _Section, end: int) -> _Section:
    """One order's n-grams sorted by their tokens, less those that no document holds. Refuses one that stands twice."""
    words = section.words
    possible = (words[:, 1:] != BOS_ID).all(axis=1) & (words[:, :-1] != EOS_ID).all(axis=1)
    found = _sorted(replace(section, words=np.where(words < 0, end, words)).take(possible))
    keys = _keys(found.words)
    for at in np.flatnonzero(keys[1:] == keys[:-1])[:1].tolist():
        raise UserError(
            f"{path} line {found.lines[at + 1]} has the n-gram of line {found.lines[at]} again; take one of them out"
        )
    return found


def _check_contexts(path: Path, above: _Section, below: _Section) -> None:
    """Refuse an n-gram whose first n - 1 words are none of the n-grams below."""
    for at in np.flatnonzero(_find(below.words, above.words[:, :-1]) == MISSING)[:1].tolist():
        order = above.words.shape[1]
        raise UserError(
            f"{path} line {above.lines[at]} has a {order}-gram whose first {order - 1} words are no {order - 1}-gram"
            " of the file; the tool that pruned it has to keep them"
        )


def _with_missing(grams: _Section, wanted: np.ndarray) -> _Section:
    """`grams`, and what it lacks of `wanted` (W, order) with NaN for a probability and a weight of 0."""
    missing = wanted[_find(grams.words, wanted) == MISSING]
    if not len(missing):
        return grams
    missing = np.unique(missing, axis=0)
    return _sorted(
        _Section(
            np.concatenate([grams.words, missing]),
            np.concatenate([grams.log10_prob, np.full(len(missing), np.nan)]),
            np.concatenate([grams.log10_backoff, np.zeros(len(missing))]),
            np.concatenate([grams.lines, np.zeros(len(missing), np.int64)]),
        )
    )


def _sorted(grams: _Section) -> _Section:
    return grams.take(np.argsort(_keys(grams.words), kind="stable"))


def _find(sorted_words: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The row of `sorted_words` (G, k) that equals each row of `wanted` (W, k), or MISSING, (W,)."""
    if not len(sorted_words):
        return np.full(len(wanted), MISSING)
    keys, wanted_keys = _keys(sorted_words), _keys(wanted)
    at = np.minimum(np.searchsorted(keys, wanted_keys), len(keys) - 1)
    return np.where(keys[at] == wanted_keys, at, MISSING)


def _keys(words: np.ndarray) -> np.ndarray:
    """Rows (G, k) of ids as byte strings (G,) that sort as the rows do: most significant byte first."""
    return np.ascontiguousarray(words, dtype=">u4").view(f"S{4 * words.shape[1]}")[:, 0]
