"""Streaming text: the same as decoding the whole and cutting it, whatever the borders of the tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.generation.text_stream import TextStream
from rung.text.tokenizers import ByteTokenizer
from tests.generation.letters import Letters

BYTES = ByteTokenizer()


def streamed(
    tokens: list[int], stops: list[str], tokenizer: ByteTokenizer | Letters
) -> tuple[str, int, bool]:
    """The pieces put together, the tokens settled, and whether a stop came."""
    stream = TextStream(tokenizer, stops)
    text, n_tokens = "", 0
    for token in tokens:
        settled = stream.push(token)
        text, n_tokens = text + settled.text, n_tokens + settled.n_tokens
        if settled.stopped:
            return text, n_tokens, True
        assert not any(stop in text for stop in stops)
    settled = stream.finish(marked=False)
    return text + settled.text, n_tokens + settled.n_tokens, settled.stopped


def cut(text: str, stops: list[str]) -> tuple[str, bool]:
    """Read on until the text ends with a stop string, then take that off."""
    for end in range(len(text) + 1):
        ends = [stop for stop in stops if text[:end].endswith(stop)]
        if ends:
            return text[: end - max(map(len, ends))], True
    return text, False


@settings(deadline=None)
@given(
    st.lists(st.sampled_from("ab€é"), max_size=15),
    st.lists(st.text("ab€", min_size=1, max_size=4), max_size=3),
)
def test_by_bytes_it_is_the_whole_text_cut(characters: list[str], stops: list[str]) -> None:
    text = "".join(characters)
    shown, n_tokens, stopped = streamed(BYTES.encode(text).tolist(), stops, BYTES)
    assert (shown, stopped) == cut(text, stops)
    assert n_tokens == len(shown.encode())


def test_what_is_held_back_of_a_settled_token_comes_before_the_next() -> None:
    """'ca' shows its 'c' and holds its 'a' back, which may begin 'aa'."""
    assert streamed([1, 0], ["aa"], Letters("b", "ca")) == ("cab", 2, False)


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), max_size=12), st.lists(st.text("abc", min_size=1, max_size=5), max_size=3))
def test_by_longer_tokens_it_is_the_whole_text_cut(tokens: list[int], stops: list[str]) -> None:
    """Tokens of several letters: the stop string may begin and end inside of one."""
    pieces = Letters("a", "b", "c", "abc", "ca", "bb")
    text = pieces.decode(tokens)
    shown, n_tokens, stopped = streamed(tokens, stops, pieces)
    assert (shown, stopped) == cut(text, stops)
    # Exactly the tokens are kept that some of the text comes from.
    ends = np.cumsum([0, *pieces.byte_lengths[tokens]])
    assert n_tokens == (np.count_nonzero(ends[:-1] < len(shown)))


@settings(deadline=None)
@given(st.lists(st.integers(0, 255), max_size=30))
def test_any_bytes_give_what_python_makes_of_them(values: list[int]) -> None:
    tokens = [BYTES.token_bytes.index(bytes([value])) for value in values]
    shown, n_tokens, stopped = streamed(tokens, [], BYTES)
    assert shown == bytes(values).decode("utf-8", "replace")
    assert (n_tokens, stopped) == (len(tokens), False)


def test_a_character_is_shown_when_its_last_byte_comes() -> None:
    stream = TextStream(BYTES)
    pieces = [stream.push(int(token)) for token in BYTES.encode("é😀!")]
    assert [piece.text for piece in pieces] == ["", "é", "", "", "", "😀", "!"]
    assert [piece.n_tokens for piece in pieces] == [0, 2, 0, 0, 0, 4, 1]


@pytest.mark.parametrize(
    ("stops", "shown"),
    [(["abcd", "bc"], "xa"), (["cd", "abcde"], "xab"), (["zz", "d"], "xabc"), (["xabcdef"], "")],
)
def test_the_stop_that_is_complete_first_stops(stops: list[str], shown: str) -> None:
    pieces = Letters(*"abcdefxz", "abcdef")
    for tokens in (pieces.encode("x").tolist() + [8], [pieces.encode(c)[0] for c in "xabcdef"]):
        assert streamed(tokens, stops, pieces)[0] == shown
