"""Words end at the five bytes that KenLM names (`kARPASpaces`), and at no other."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rung.text.tokenizers import WhitespaceTokenizer
from rung.text.whitespace import MARK, cut_and_mark, cut_each

LINES = st.lists(st.text(st.sampled_from("ab\0\t\n\r \x0b\x0c\x1c\x1f\x85\xa0\u2028\u3000é"), max_size=12))


def words(line: str) -> list[str]:
    return [word for word in re.split("[\0\t\n\r ]", line) if word]


@given(LINES)
def test_words_end_at_five_bytes(lines: list[str]) -> None:
    data = [line.encode() for line in lines]
    expected = [[word.encode() for word in words(line)] for line in lines]
    assert cut_each(data) == expected
    assert cut_and_mark(data) == [word for row in expected for word in (*row, MARK)]


@given(LINES)
def test_imported_words_are_found_wherever_texts_are_cut_by_that(lines: list[str]) -> None:
    known = sorted({word for line in lines for word in words(line)})
    tokenizer = WhitespaceTokenizer([*known, "<unk>"], len(known))
    stream = tokenizer.encode_many(lines)
    assert stream.n_documents == len(lines)
    for index, line in enumerate(lines):
        expected = [known.index(word) for word in words(line)]
        assert stream.document(index).tolist() == [*expected, tokenizer.end]
        np.testing.assert_array_equal(tokenizer.encode(line), expected)
