"""ARPA files: n-gram models as text, as KenLM, SRILM and most speech recognisers read and write them.

    \\data\\
    ngram 1=36
    ngram 2=56

    \\1-grams:
    -1.70    grass    -0.30          log10 P(grass), the n-gram, log10 of its backoff weight
    ...
    \\end\\

The document mark is two tokens there: `<s>` begins histories and is never predicted, `</s>` is predicted and
ends them. Numbers are base-10 logarithms; ours are natural.
"""

from __future__ import annotations

import gzip
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO, cast

import numpy as np

from rung.errors import UserError
from rung.files import atomic_path
from rung.models.counting.backoff_trie import MISSING, build_trie
from rung.models.counting.ngram import IMPORTED, NGram, NGramConfig
from rung.models.counting.ngram_counts import Grams
from rung.models.counting.workspace import Workspace

BOS, EOS, UNK = "<s>", "</s>", "<unk>"
LOG10_ZERO = -99.0  # log10 of what has no probability, by custom
LOG10_MISSING_UNK = -100.0  # log10 P(<unk>) where a file has none, as in KenLM
LN10 = np.log(10)
LINES_AT_ONCE = 1 << 16
BOS_ID, EOS_ID = -1, -2  # of the two marks, while a file is read


def arpa_names(token_bytes: Sequence[bytes]) -> list[str]:
    """A name for every token that an ARPA file can hold: no white space, no two the same.

    Text stands as it is, a space as `▁` and other white space and broken UTF-8 as `<0x0A>`, byte by byte.
    Where two tokens spell the same (a character, and the byte that stands in for unseen ones), the last has
    the plain name.
    """
    taken = {BOS, EOS, UNK}
    names = [""] * len(token_bytes)
    for token in reversed(range(len(token_bytes))):
        spelled = token_bytes[token]
        in_hex = "".join(f"<0x{byte:02X}>" for byte in spelled)
        name = next(n for n in (_printable(spelled), in_hex, f"{in_hex}<{token}>") if n and n not in taken)
        taken.add(name)
        names[token] = name
    return names


def write_arpa(model: NGram, tokens: Sequence[str], path: Path) -> None:
    """Write `model` so that KenLM gives the same log10 scores to every line as ours to the document.

    Args:
        model: any smoothing that has probabilities; a probability of zero is written as -99.
        tokens: V names without white space, by id, no two the same; the mark's is not used. A token named
            <unk> becomes KenLM's unknown word; without one, unknown words have no probability (-99).
        path: ends in .gz to be compressed.

    Raises UserError for stupid-backoff, whose scores no ARPA file can hold, and for names that don't fit.
    """
    if model.config.smoothing == "stupid-backoff":
        raise UserError("stupid-backoff gives scores, not probabilities; an ARPA file can't hold it")
    names = _checked_names(model, tokens)
    with atomic_path(path) as temporary, _open_for_writing(temporary, compress=path.suffix == ".gz") as file:
        _write(model, names, file)


def read_arpa(path: Path) -> tuple[NGram, list[str]]:
    """Read a model from elsewhere; returns it and the name of each of its V tokens, the mark's (`</s>`) last.

    Where a file has no <unk>, one with KenLM's log10 probability of -100 is added. N-grams that others build
    upon and the file lacks (some pruners leave such) are filled in with what backing off gives.
    Raises UserError for a missing or damaged file.
    """
    try:
        with _open_for_reading(path) as file:
            names, sections = _parse(file)
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} can't be read: {error}") from error
    except ValueError as error:
        raise UserError(f"{path} is no ARPA file that can be read: {error}") from error
    if not sections:
        raise UserError(f"{path} has no n-grams; an ARPA file has sections such as \\1-grams:")
    if UNK not in names and UNK.upper() not in names:
        names.append(UNK)
    return _to_model(names, sections), [*names, EOS]


@dataclass(frozen=True)
class _Section:
    """One order's lines as they come: `order` numbers of tokens a line, and the two numbers."""

    words: array[int]
    log10_prob: array[float]
    log10_backoff: array[float]


@dataclass(frozen=True)
class _SortedGrams:
    """One order's n-grams, sorted by their tokens: (G, order), (G,), (G,)."""

    words: np.ndarray
    log10_prob: np.ndarray
    log10_backoff: np.ndarray


def _printable(spelled: bytes) -> str:
    """The text of a token with its white space made visible; bytes that are no UTF-8 as <0x..>."""
    text = spelled.decode("utf-8", errors="surrogateescape")
    return "".join(
        "▁"
        if char == " "
        else char
        if char.isprintable() and not char.isspace()
        else "".join(f"<0x{byte:02X}>" for byte in char.encode("utf-8", errors="surrogateescape"))
        for char in text
    )


def _checked_names(model: NGram, tokens: Sequence[str]) -> list[str]:
    if len(tokens) != model.vocab_size:
        raise UserError(f"{len(tokens)} token names do not fit a model of {model.vocab_size} tokens")
    names = [str(name) for name in tokens]
    names[model.end] = EOS
    if len({*names, BOS}) != len(names) + 1:
        double = next(name for name in [*names, BOS] if [*names, BOS].count(name) > 1)
        raise UserError(f"two tokens have the name {double!r} in the ARPA file; every name must be its own")
    bad = next((name for name in names if not name or any(c.isspace() or c == "\0" for c in name)), None)
    if bad is not None:
        raise UserError(f"{bad!r} can't name a token in an ARPA file: a name has letters and no white space")
    return names


def _write(model: NGram, names: list[str], file: TextIO) -> None:
    trie, end = model.trie, model.end
    log_prob = _log10(trie.log_prob)
    log_backoff = _log10(trie.log_backoff)
    extra = [BOS] if UNK in names else [UNK, BOS]
    sizes = np.diff(trie.level_start)[1:] + np.array([len(extra)] + [0] * (trie.order - 1))
    file.write("\\data\\\n" + "".join(f"ngram {k}={n}\n" for k, n in enumerate(sizes.tolist(), start=1)))

    file.write("\n\\1-grams:\n")
    if UNK in extra:
        file.write(f"{LOG10_ZERO:g}\t{UNK}\t0\n")
    file.write(f"{LOG10_ZERO:g}\t{BOS}\t{_backoff_field(log_backoff, 1 + end)}\n")
    for node, name in enumerate(names, start=1):
        weight = "0" if node == 1 + end else _backoff_field(log_backoff, node)
        file.write(f"{log_prob[node]:.7g}\t{name}\t{weight}\n")

    histories = [BOS if token == end else name for token, name in enumerate(names)]  # of the order below
    for order in range(2, trie.order + 1):
        file.write(f"\n\\{order}-grams:\n")
        first, last = int(trie.level_start[order]), int(trie.level_start[order + 1])
        below = slice(int(trie.level_start[order - 1]), first)
        n_children = np.diff(trie.first_child[below.start : first + 1])
        parents = np.repeat(np.arange(first - below.start), n_children)
        spelled = []
        for begin in range(first, last, LINES_AT_ONCE):
            nodes = range(begin, min(begin + LINES_AT_ONCE, last))
            words = trie.words[nodes.start : nodes.stop].tolist()
            above = parents[nodes.start - first : nodes.stop - first].tolist()
            grams = [f"{histories[p]} {names[word]}" for p, word in zip(above, words, strict=True)]
            if order < trie.order:
                weights = log_backoff[nodes.start : nodes.stop].tolist()
                rows = zip(log_prob[nodes.start : nodes.stop].tolist(), grams, weights, strict=True)
                file.writelines(f"{p:.7g}\t{gram}\t{weight:.7g}\n" for p, gram, weight in rows)
                spelled += grams
            else:
                rows = zip(log_prob[nodes.start : nodes.stop].tolist(), grams, strict=True)
                file.writelines(f"{p:.7g}\t{gram}\n" for p, gram in rows)
        histories = spelled
    file.write("\n\\end\\\n")


def _log10(values: np.ndarray) -> np.ndarray:
    return np.maximum(np.asarray(values, np.float64) / LN10, LOG10_ZERO) + 0.0  # + 0.0: no "-0"


def _backoff_field(log_backoff: np.ndarray, node: int) -> str:
    """The backoff weight of a 1-gram; a model of order 1 has none."""
    return f"{log_backoff[node]:.7g}" if node < len(log_backoff) else "0"


def _open_for_writing(path: Path, *, compress: bool) -> TextIO:
    if compress:
        return cast(TextIO, gzip.open(path, "wt", encoding="utf-8", compresslevel=6))
    return path.open("w", encoding="utf-8")


def _open_for_reading(path: Path) -> BinaryIO:
    """The file's bytes, unpacked where its first two bytes are gzip's, whatever its name."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb") if compressed else path.open("rb"))


def _parse(file: BinaryIO) -> tuple[list[str], list[_Section]]:
    """The names of all tokens but the marks, and the n-grams of every order, in the file's own order."""
    ids = {BOS.encode(): BOS_ID, EOS.encode(): EOS_ID}
    sections: list[_Section] = []
    for at, line in enumerate(file, start=1):
        line = line.strip()
        if line.startswith(b"\\"):
            if line == b"\\end\\":
                return [name.decode("utf-8") for name, token in ids.items() if token >= 0], sections
            if line != b"\\data\\":
                sections.append(_Section(array("q"), array("d"), array("d")))
                if line != b"\\%d-grams:" % len(sections):
                    found = line.decode(errors="replace")
                    raise ValueError(f"line {at} should read \\{len(sections)}-grams:, not {found}")
        elif line and sections:
            order, section = len(sections), sections[-1]
            fields = line.split()
            if not order < len(fields) <= order + 2:
                raise ValueError(f"line {at} should be a number, {order} tokens and perhaps a number")
            words = fields[1 : order + 1]
            if order == 1:
                ids.setdefault(words[0], len(ids) - 2)
            try:
                section.words.extend([ids[word] for word in words])
                section.log10_prob.append(float(fields[0]))
                section.log10_backoff.append(float(fields[order + 1]) if len(fields) > order + 1 else 0.0)
            except KeyError as error:
                word = error.args[0].decode(errors="replace")
                raise ValueError(f"line {at}: {word!r} is not among the 1-grams") from None
    raise ValueError("it is cut short: \\end\\ is missing")


def _to_model(names: list[str], sections: list[_Section]) -> NGram:
    """The trie of all n-grams, with those that others need and the file lacks filled in."""
    end = len(names)
    grams = [_sorted_section(section, order, end) for order, section in enumerate(sections[1:], start=2)]
    # From the highest down: what an n-gram builds upon may in turn lack what it builds upon.
    for above in range(len(grams) - 1, 0, -1):
        words = grams[above].words
        grams[above - 1] = _with_missing(grams[above - 1], np.concatenate([words[:, :-1], words[:, 1:]]))

    tokens = np.frombuffer(sections[0].words, np.int64)
    predicted, history = tokens != BOS_ID, tokens != EOS_ID  # the two halves of the mark
    tokens = np.where(tokens < 0, end, tokens)
    log_prob = [np.full(end + 1, LOG10_MISSING_UNK)]
    log_prob[0][tokens[predicted]] = np.frombuffer(sections[0].log10_prob)[predicted]
    log_backoff = [np.zeros(end + 1)]
    log_backoff[0][tokens[history]] = np.frombuffer(sections[0].log10_backoff)[history]

    levels = [_grams(1, 1, np.arange(end + 1), *np.zeros((2, end + 1), np.int64))]
    below = levels[0].words[:, None]
    for order, level in enumerate(grams, start=2):
        parent, suffix = _find(below, level.words[:, :-1]), _find(below, level.words[:, 1:])
        backed_off = log_backoff[-1][parent] + log_prob[-1][suffix]
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


def _sorted_section(section: _Section, order: int, end: int) -> _SortedGrams:
    """One order's n-grams as arrays, sorted by their tokens, less those that no document holds."""
    words = np.frombuffer(section.words, np.int64).reshape(-1, order)
    possible = (words[:, 1:] != BOS_ID).all(axis=1) & (words[:, :-1] != EOS_ID).all(axis=1)
    words = np.where(words < 0, end, words)[possible]
    log10_prob, log10_backoff = np.frombuffer(section.log10_prob), np.frombuffer(section.log10_backoff)
    return _sorted(words, log10_prob[possible], log10_backoff[possible])


def _with_missing(grams: _SortedGrams, wanted: np.ndarray) -> _SortedGrams:
    """`grams`, and what it lacks of `wanted` (W, order) with NaN for a probability and a weight of 0."""
    missing = wanted[_find(grams.words, wanted) == MISSING]
    if not len(missing):
        return grams
    missing = np.unique(missing, axis=0)
    words = np.concatenate([grams.words, missing])
    log10_prob = np.concatenate([grams.log10_prob, np.full(len(missing), np.nan)])
    log10_backoff = np.concatenate([grams.log10_backoff, np.zeros(len(missing))])
    return _sorted(words, log10_prob, log10_backoff)


def _sorted(words: np.ndarray, log10_prob: np.ndarray, log10_backoff: np.ndarray) -> _SortedGrams:
    rows = np.argsort(_keys(words), kind="stable")
    return _SortedGrams(words[rows], log10_prob[rows], log10_backoff[rows])


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
