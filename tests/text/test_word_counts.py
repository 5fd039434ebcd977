"""Counting words by the compiled scan, against the expression and a Counter."""

from __future__ import annotations

import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.text.tokenizers import (
    WordTokenizer,
    chunks,
    implied_blanks,
    train_tokenizer,
    word_scan,
    words,
)
from tests.text.test_encode_many import any_text
from tests.text.test_tokenizers import TRAINING, TRICKY

texts_of_any_kind = st.lists(any_text | st.sampled_from(TRICKY), max_size=6)
PLAIN = (word_scan.count, word_scan.fill)
INSERT = implied_blanks.compiled_insert() or implied_blanks.insert
CLASSES = implied_blanks.class_table(words.CHARACTER_CLASSES, implied_blanks.QUOTES)


def expected(texts: list[str]) -> Counter[str]:
    return Counter(piece for text in texts for piece in pieces_of(text))


def pieces_of(text: str) -> list[str]:
    return words.WORD_PATTERN.findall(implied_blanks.with_blanks(text))


def scanned(batches: list[list[str]], functions: tuple, capacity: int = 16) -> dict[str, int]:
    counter = word_scan.WordCounter(CLASSES, *functions, capacity=capacity)
    for texts in batches:
        counter.add(*implied_blanks.spread(texts, CLASSES, INSERT))
    return counter.counts()


@settings(max_examples=150, deadline=None)
@given(texts=texts_of_any_kind, more=texts_of_any_kind, capacity=st.sampled_from([1, 2, 16]))
def test_the_scan_counts_as_the_expression_and_a_counter_do(
    texts: list[str], more: list[str], capacity: int
) -> None:
    counts = expected([*texts, *more])
    assert scanned([texts, more], word_scan.compiled_count() or PLAIN, capacity) == counts
    found = scanned([texts, more], PLAIN, capacity)
    assert found == counts
    assert list(found) == list(counts)  # in the order in which they came


@settings(max_examples=150, deadline=None)
@given(texts=texts_of_any_kind, chunk=st.integers(1, 12), batch=st.integers(0, 40))
def test_borders_of_chunks_change_nothing(texts: list[str], chunk: int, batch: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_CHARACTERS", chunk)
        patch.setattr(words, "COMPILE_AFTER", batch)
        assert words.count_words(texts) == expected(texts)
        patch.setattr(word_scan, "compiled_count", lambda: PLAIN)
        assert words.count_words(iter(texts)) == expected(texts)


@settings(max_examples=200, deadline=None)
@given(text=any_text)
def test_no_piece_crosses_a_border_between_words(text: str) -> None:
    parts = words.BETWEEN_WORDS.split(text)
    assert [piece for part in parts for piece in pieces_of(part)] == pieces_of(text)


# Pairs of English words with one FNV-1a hash of 32 bits (known from comparisons of hash functions).
COLLISIONS = [("costarring", "liquid"), ("declinate", "macallums"), ("altarage", "zinke")]


def test_words_of_one_hash_are_not_merged() -> None:
    for one, other in COLLISIONS:
        hashes = [word_scan.fnv1a(word_scan.code_points(word), 0, len(word)) for word in (one, other)]
        assert hashes[0] == hashes[1]
    colliding = [word for pair in COLLISIONS for word in pair]
    text = "\n".join(word + "\n" + word for word in colliding) + "\nliquid"
    for functions in (word_scan.compiled_count() or PLAIN, PLAIN):
        for capacity in (1, 16):
            counts = scanned([[text], [text]], functions, capacity)
            assert [counts[" " + word] for word in colliding] == [4, 6, 4, 4, 4, 4]


def test_were_all_hashes_equal_the_counts_would_be_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_scan, "fnv1a", lambda *_: 7)
    texts = [*TRAINING[:20], *TRICKY]
    assert scanned([[text[:300] for text in texts]], PLAIN, 2) == expected([text[:300] for text in texts])


def test_a_hundred_thousand_words_and_one_long_one() -> None:
    """The table and the letters grow many times over; arithmetic says what each count is."""
    functions = word_scan.compiled_count()
    n = 300 if functions is None else 100_000
    text = "x" + "".join(f" {i}" * (1 + i % 3) for i in range(n))
    counts = scanned([[text], ["x" * (8 * n)], [text]], functions or PLAIN)
    assert len(counts) == n + 2
    assert counts[" " + "x" * (8 * n)] == 1
    assert all(counts[f" {i}"] == 2 * (1 + i % 3) for i in range(n))


def test_the_vocabulary_is_the_same_in_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many ties, and code points above and below the surrogates, which UTF-16 would put in another order."""
    texts = [*TRAINING, *TRICKY, "b a c \U0001f469 \uff21 é " * 3, "ab ba " * 3]
    by_expression = train_tokenizer("word", texts, 900)
    monkeypatch.setattr(words, "COMPILE_AFTER", 0)
    by_scan = train_tokenizer("word", texts, 900)
    assert isinstance(by_expression, WordTokenizer)
    assert by_expression.to_json() == by_scan.to_json()
    counts = expected(texts)
    order = [(-counts[word], word) for word in by_expression.words]
    assert order == sorted(order)


def test_without_numba_the_expression_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr(word_scan, "compiled_count", word_scan.compiled_count.__wrapped__)
    monkeypatch.setattr(words, "COMPILE_AFTER", 0)
    assert words.count_words(TRICKY) == expected(TRICKY)


def test_little_text_loads_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("numba was asked for")

    monkeypatch.setattr(word_scan, "compiled_count", refuse)
    assert words.count_words(TRAINING) == expected(list(TRAINING))
    assert words.count_words(()) == Counter()


def test_counts_are_of_texts_by_themselves() -> None:
    """Nothing is a word across two documents."""
    for functions in (word_scan.compiled_count() or PLAIN, PLAIN):
        assert scanned([["don", "'t", "", "a ", " b"]], functions) == {
            " don": 1,
            " '": 1,
            " t": 1,
            " a": 1,
            " ": 2,
            " b": 1,
        }
    assert scanned([[], [""]], PLAIN) == {}
