"""Many texts at once against one after another; words by the compiled scan against the expression."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.text.tokenizers import (
    KINDS,
    Tokenizer,
    WordTokenizer,
    implied_blanks,
    train_tokenizer,
    word_scan,
    words,
)
from tests.text.test_tokenizers import TRAINING, TRICKY

# Letters, digits, marks, apostrophes, all sorts of blanks, scripts without spaces (a mark among them), surrogates.
SPICY = " \n\r\t'’“([\"-ab_1.!é²١\x0b\x1c\x85\xa0\u2028\u3000敏・ー뷁\U0001f469\u200d\ud800\udc00\x00"
any_text = st.text(st.characters(), max_size=30) | st.text(st.sampled_from(SPICY), max_size=40)


@pytest.fixture(scope="module")
def trained() -> dict[str, Tokenizer]:
    return {
        kind: train_tokenizer(kind, TRAINING, None if kind in ("char", "byte") else 700) for kind in KINDS
    }


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=50, deadline=None)
@given(texts=st.lists(any_text | st.sampled_from(TRICKY), max_size=6))
def test_many_are_each(trained: dict[str, Tokenizer], kind: str, texts: list[str]) -> None:
    stream = trained[kind].encode_many(texts)
    assert stream.ids.dtype == np.int64
    assert stream.ids[0] == trained[kind].end
    assert (stream.starts[0], stream.starts[-1]) == (1, len(stream.ids))
    assert stream.n_documents == len(texts)
    for position, text in enumerate(texts):
        *ids, mark = stream.document(position).tolist()
        assert ids == trained[kind].encode(text).tolist()
        assert mark == trained[kind].end


PLAIN = (word_scan.encode, word_scan.fill, implied_blanks.insert)


def compiled() -> tuple:
    functions = word_scan.compiled_encode()
    return PLAIN if functions is None else (*functions, implied_blanks.compiled_insert())


def scanned(
    vocabulary: list[str], texts: list[str], functions: tuple, implied: bool = True
) -> list[list[int]]:
    scanner = words.WordScanner(WordTokenizer(vocabulary, implied_blanks=implied), *functions)
    stream = scanner.encode(texts)
    return [stream.document(position).tolist() for position in range(len(texts))]


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(any_text | st.sampled_from(TRICKY), max_size=5), implied=st.booleans(), data=st.data())
def test_the_scan_cuts_and_finds_as_the_expression_does(
    texts: list[str], implied: bool, data: st.DataObject
) -> None:
    found = [
        words.WORD_PATTERN.findall(implied_blanks.with_blanks(text))
        if implied
        else words.WRITTEN_PATTERN.findall(text)
        for text in texts
    ]
    pieces = [piece for pieces in found for piece in pieces if len(piece.encode("utf-8", "replace")) > 1]
    vocabulary = data.draw(st.lists(st.sampled_from(pieces), unique=True, max_size=20)) if pieces else []
    tokenizer = WordTokenizer(vocabulary, implied_blanks=implied)
    expected = [[*tokenizer.encode(text).tolist(), tokenizer.end] for text in texts]
    assert scanned(vocabulary, texts, compiled(), implied) == expected
    if sum(map(len, texts)) < 200:
        assert scanned(vocabulary, texts, PLAIN, implied) == expected


def test_every_code_point_between_two_words_is_cut_the_same() -> None:
    """Alone, after a space, in a row, between letters: for all of Unicode."""
    vocabulary = ["ab", " ab", " a", ' "']
    tokenizer = WordTokenizer(vocabulary)
    points = [chr(point) for point in range(0, sys.maxunicode + 1, 7)] + [
        chr(point) for point in range(0x3100)
    ]
    texts = [f"ab{c} {c}{c}  {c}ab'{c}{c}1\n{c}ab \"{c}" for c in points]
    functions = compiled()
    if functions == PLAIN:
        texts = texts[-0x3100::64]
    ids = [i for document in scanned(vocabulary, texts, functions) for i in document]
    assert ids == [i for text in texts for i in [*tokenizer.encode(text).tolist(), tokenizer.end]]


def test_switching_to_the_scan_changes_nothing(
    trained: dict[str, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [*TRAINING, *TRICKY, "the quick brown fox " * 5000]
    expected = [trained["word"].encode(text).tolist() for text in texts]
    monkeypatch.setattr(words, "COMPILE_AFTER", 0)
    scanning = WordTokenizer.from_json(trained["word"].to_json())
    assert [scanning.encode(text).tolist() for text in texts] == expected
    stream = scanning.encode_many(texts)
    assert [stream.document(i).tolist()[:-1] for i in range(len(texts))] == expected


def test_without_numba_the_expression_does_the_work(
    trained: dict[str, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr(word_scan, "compiled_encode", word_scan.compiled_encode.__wrapped__)
    monkeypatch.setattr(words, "COMPILE_AFTER", 0)
    again = WordTokenizer.from_json(trained["word"].to_json())
    for text in TRICKY:
        assert again.encode(text).tolist() == trained["word"].encode(text).tolist()
        assert again.decode(again.encode_many([text]).ids) == text


def test_of_two_equal_words_the_later_counts_in_both() -> None:
    tokenizer = WordTokenizer([" ab", " cd", " ab"])
    assert tokenizer.encode("ab").tolist() == [243 + 2]
    assert scanned([" ab", " cd", " ab"], ["ab"], PLAIN) == [[245, 246]]
