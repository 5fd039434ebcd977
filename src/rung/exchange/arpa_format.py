"""ARPA files out: n-gram models as text, as KenLM, SRILM and most speech recognisers read and write them.

    \\data\\
    ngram 1=36
    ngram 2=56

    \\1-grams:
    -1.70    grass    -0.30          log10 P(grass), the n-gram, log10 of its backoff weight
    ...
    \\end\\

The document mark is two tokens there: `<s>` begins histories and is never predicted, `</s>` is predicted and
ends them. Numbers are base-10 logarithms; ours are natural. They are written with as many digits as it takes to read
the same number back, so a model that is written, read and written again gives the same file.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TextIO, cast

import numpy as np

from rung.errors import UserError
from rung.files import atomic_path
from rung.models.counting.ngram import NGram
from rung.text.tokenizers import CharTokenizer, Tokenizer, WhitespaceTokenizer, half_bytes
from rung.text.tokenizers.half_bytes import N_HALVES
from rung.text.whitespace import SEPARATORS

BOS, EOS, UNK = "<s>", "</s>", "<unk>"
LOG10_ZERO = -99.0  # log10 of what has no probability, by custom
LN10 = np.log(10)
LINES_AT_ONCE = 1 << 16


def arpa_names(token_bytes: Sequence[bytes]) -> list[str]:
    """A name for every token that an ARPA file can hold: no white space, no two the same.

    Text stands as it is, a space as `▁`; what can't, other white space, broken UTF-8, and a `▁` and the `<` of a `<0x`
    in the text itself, as `<0x0A>`, byte by byte. So a name tells the bytes. Where two tokens spell the same (a
    character, and the byte that stands in for unseen ones), the last has the plain name, the one before all its bytes
    as `<0x..>`, any others that and a number.
    """
    taken = {BOS, EOS, UNK, UNK.upper(), ""}
    names = [""] * len(token_bytes)
    for token in reversed(range(len(token_bytes))):
        names[token] = next(name for name in _candidates(token_bytes[token], token) if name not in taken)
        taken.add(names[token])
    return names


def token_names(tokenizer: Tokenizer) -> list[str]:
    """The name of every token of a tokeniser, by id, the mark's last: words as they are, others as `arpa_names` has it.

    Halves of bytes are `<0xC_>` and `<0x_3>`.
    """
    if isinstance(tokenizer, WhitespaceTokenizer):
        return [*tokenizer.words, EOS]
    names = arpa_names(tokenizer.token_bytes)
    if isinstance(tokenizer, CharTokenizer) and tokenizer.unseen == "halves":
        names[:N_HALVES] = [f"<0x{half_bytes.name(half)}>" for half in range(N_HALVES)]
    names[tokenizer.end] = EOS
    return names


def write_arpa(model: NGram, tokens: Sequence[str], path: Path, head: Sequence[str] = ()) -> None:
    """Write `model` so that KenLM gives the same log10 scores to every line as ours to the document.

    Args:
        model: any smoothing that has probabilities; a probability of zero is written as -99.
        tokens: V names without white space, by id, no two the same; the mark's is not used. A token named
            <unk> becomes KenLM's unknown word; without one, unknown words have no probability (-99).
        path: ends in .gz to be compressed.
        head: lines for who reads the file, before what programs read of it; KenLM takes those that begin with #.

    Raises UserError for stupid-backoff, whose scores no ARPA file can hold, and for names that don't fit.
    """
    if model.config.smoothing == "stupid-backoff":
        raise UserError("stupid-backoff gives scores, not probabilities; an ARPA file can't hold it")
    names = _checked_names(model, tokens)
    with atomic_path(path) as temporary, _open_for_writing(temporary, compress=path.suffix == ".gz") as file:
        file.write("".join(f"# {line}\n" for line in head))
        _write(model, names, file)


def _candidates(spelled: bytes, token: int) -> Iterator[str]:
    """What a token may be called, the best first."""
    text = spelled.decode("utf-8", errors="surrogateescape")
    if not text.isprintable() or "▁" in text or "<0x" in text:
        text = "".join(
            char
            if char.isprintable() and char != "▁" and not text.startswith("<0x", place)
            else _in_hex(char.encode("utf-8", errors="surrogateescape"))
            for place, char in enumerate(text)
        )
    yield text.replace(" ", "▁")
    yield _in_hex(spelled)
    for number in count(token):
        yield f"{_in_hex(spelled)}<{number}>"


def _in_hex(data: bytes) -> str:
    return "".join(f"<0x{byte:02X}>" for byte in data)


def _checked_names(model: NGram, tokens: Sequence[str]) -> list[str]:
    if len(tokens) != model.vocab_size:
        raise UserError(f"{len(tokens)} token names do not fit a model of {model.vocab_size} tokens")
    names = [str(name) for name in tokens]
    names[model.end] = EOS
    if len({*names, BOS}) != len(names) + 1:
        double = next(name for name in [*names, BOS] if [*names, BOS].count(name) > 1)
        raise UserError(f"two tokens have the name {double!r} in the ARPA file; every name must be its own")
    bad = next((name for name in names if not name or not set(name).isdisjoint(SEPARATORS)), None)
    if bad is not None:
        raise UserError(f"{bad!r} can't name a token in an ARPA file: a name has letters and no white space")
    return names


def _write(model: NGram, names: list[str], file: TextIO) -> None:
    trie, end = model.trie, model.end
    log_prob = np.minimum(_log10(trie.log_prob), 0)  # rounding may have gone beyond
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
        file.write(f"{log_prob[node]:.9g}\t{name}\t{weight}\n")

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
                file.write("".join(map("%.9g\t%s\t%.9g\n".__mod__, rows)))
                spelled += grams
            else:
                rows = zip(log_prob[nodes.start : nodes.stop].tolist(), grams, strict=True)
                file.write("".join(map("%.9g\t%s\n".__mod__, rows)))
        histories = spelled
    file.write("\n\\end\\\n")


def _log10(values: np.ndarray) -> np.ndarray:
    """Logarithms to base 10, (M,), for nine digits, which tell all float32 apart; rounded to seven where those do."""
    exact = np.where(np.isneginf(values), LOG10_ZERO, np.asarray(values, np.float64) / LN10)
    size = np.log10(np.maximum(np.abs(exact), 1e-9).astype(np.float32))
    scale = (10.0 ** np.arange(-40, 16))[46 - np.floor(size).astype(np.int64)]
    short = np.rint(exact * scale) / scale
    same = (short * LN10).astype(np.float32) == np.asarray(values, np.float32)
    return np.where(same, short, exact) + 0.0  # + 0.0: no "-0"


def _backoff_field(log_backoff: np.ndarray, node: int) -> str:
    """The backoff weight of a 1-gram; a model of order 1 has none."""
    return f"{log_backoff[node]:.9g}" if node < len(log_backoff) else "0"


def _open_for_writing(path: Path, *, compress: bool) -> TextIO:
    if compress:
        return cast(TextIO, gzip.open(path, "wt", encoding="utf-8", compresslevel=6))
    return path.open("w", encoding="utf-8")
