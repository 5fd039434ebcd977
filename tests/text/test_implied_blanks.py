"""A word is one token wherever it stands, nothing is lost by it, and old tokenisers stay what they were."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.text.tokenizers import TextDecoder, WordTokenizer, load_tokenizer, train_tokenizer, utf8
from rung.text.tokenizers.implied_blanks import with_blanks
from rung.text.tokenizers.words import count_words
from tests.text.test_encode_many import any_text

WORD = train_tokenizer(
    "word", ["the cows eat hay \"the (the 'the “the [the {the 7 cows, the cows . 日本\n"] * 2
)
COWS = WORD.encode("cows").tolist()


@pytest.mark.parametrize(
    "before",
    [
        *[
            "",
            "the ",
            "hay, ",
            "the\n",
            "the\n\n",
            "the\r\n",
            "the\t",
            "\t",
            "the\n ",
            "the\n\t ",
            "the   ",
            " ",
            "  ",
        ],
        *[
            "(",
            "the (",
            "the [",
            "{",
            '"',
            'the "',
            "the '",
            "the\n“",
            "( ",
            '" ',
            "zebra ",
            "zebra (",
            "7 ",
            "日 ",
        ],
    ],
)
@pytest.mark.parametrize("after", ["", " eat", "\n", ",", ")", '"', "日", " (", "\t7"])
def test_a_word_has_one_id_wherever_it_stands(before: str, after: str) -> None:
    assert len(COWS) == 1
    ids = WORD.encode(before + "cows" + after).tolist()
    assert ids.count(COWS[0]) == 1
    assert WORD.decode(ids) == before + "cows" + after


def test_what_is_implied_is_put_in() -> None:
    assert with_blanks("Cows eat.\n(Cows do.)") == " Cows eat.\n ( Cows do.)"
    assert with_blanks('"Hay?" they said. "Hay."') == ' " Hay?" they said. " Hay."'
    assert with_blanks("a\tb\r\nc\n\n") == " a\t b\r\n c\n\n"
    assert with_blanks(" a\n  b ( c") == "  a\n   b (  c"  # written blanks have one more before them
    assert with_blanks("日\n日 the dogs' don't (日") == "日\n日 the dogs' don't (日"


def test_a_token_a_word() -> None:
    """Of plain words there are as many tokens as words, and line ends."""
    text = "the cows eat\ncows eat hay\neat the hay"
    assert len(WORD.encode(text)) == len(text.split()) + text.count("\n")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["cows", "eat", "don't", "Hay", "é"]), min_size=1), min_size=1))
def test_words_are_counted_as_if_white_space_cut_them(lines: list[list[str]]) -> None:
    text = "\n".join(" ".join(line) for line in lines)
    found = count_words([text])
    assert {word: found[" " + word] for word in set(text.split())} == Counter(text.split())


@settings(max_examples=300, deadline=None)
@given(any_text, any_text)
def test_nothing_is_lost_whole_or_token_by_token(text: str, other: str) -> None:
    ids = WORD.encode(text)
    marked = np.concatenate([[WORD.end], ids, [WORD.end], WORD.encode(other), [WORD.end]])
    assert WORD.decode(ids) == text
    assert WORD.decode_bytes(marked) == utf8(text) + utf8(other)
    counts = WORD.byte_counts(marked)
    assert (counts >= 0).all()
    assert counts[: len(ids)].sum() == len(utf8(text))
    assert counts.sum() == len(utf8(text)) + len(utf8(other))
    if text == text.encode("utf-8", "replace").decode():
        decoder = TextDecoder(WORD)
        assert "".join(map(decoder.push, ids.tolist())) + decoder.finish() == text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, WORD.end), max_size=12), st.integers(0, 12))
def test_tokens_in_any_order_spell_the_same_in_two_parts(ids: list[int], cut: int) -> None:
    """What a model writes needn't be what any text is encoded to."""
    first, rest = ids[:cut], ids[cut:]
    after = first[-1] if first else None
    assert WORD.decode_bytes(first) + WORD.decode_bytes(rest, after) == WORD.decode_bytes(ids)
    places = WORD.spelled(np.array(ids, np.int64), np.array([WORD.end, *ids[:-1]][: len(ids)], np.int64))
    assert b"".join(WORD.spellings[place] for place in places) == WORD.decode_bytes(ids)


@settings(max_examples=100, deadline=None)
@given(any_text)
def test_what_goes_on_after_a_word_has_nothing_implied_before_it(text: str) -> None:
    after = COWS[0]
    assert WORD.decode(WORD.encode_rest(text), after) == text


def test_a_quotation_mark_that_is_no_token_implies_nothing() -> None:
    """Spelled in bytes it would not tell whether a blank stood before it."""
    tokenizer = WordTokenizer([" cows"])
    for text in ('say "cows"', '"cows', '" cows'):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_tokenisers_made_before_blanks_were_implied_are_what_they_were(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text('{"format": 1, "kind": "word", "words": ["cows", " cows", " eat", "\\n\\n", "  "]}')
    old = load_tokenizer(path)
    # 243 bytes, then the words as they are listed; ASCII is its own bytes.
    assert old.encode("cows eat cows").tolist() == [243, 245, 244]
    assert old.encode("cows\n\ncows\n cows").tolist() == [243, 246, 243, 10, 244]
    assert old.encode("\tcows   eat").tolist() == [9, 243, 247, 245]
    assert old.encode("(cows").tolist() == [40, 243]
    for text in ("cows eat", " cows eat", "\n cows", '"cows'):
        ids = old.encode(text)
        assert old.decode(ids) == text
        assert old.byte_lengths[ids].sum() == len(text)
    old.save(path)
    assert load_tokenizer(path).encode("cows eat").tolist() == [243, 245]
