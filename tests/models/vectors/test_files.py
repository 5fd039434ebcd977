"""Files of word vectors, byte by byte as their authors write them; and what no such file is."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.errors import UserError
from rung.models.vectors.files import read_vectors, write_vectors

A, B = [0.5, -1.25, 3.0], [1e-8, 0.1, -2.5]
PACKED = struct.pack("<3f", *A), struct.pack("<3f", *B)

READ: dict[str, tuple[bytes, str, list[str]]] = {
    "glove": (b"the 0.5 -1.25 3\nking 1e-08 0.1 -2.5\n", "glove", ["the", "king"]),
    "glove without a last line end": (b"the 0.5 -1.25 3\nking 1e-08 0.1 -2.5", "glove", ["the", "king"]),
    "a word of glove.840B, blanks in it": (
        b"the 0.5 -1.25 3\n. . . 1e-08 0.1 -2.5\n",
        "glove",
        ["the", ". . ."],
    ),
    "two blanks, tabs, a blank at the end, CRLF": (
        b"the  0.5 -1.25\t3 \r\nking\t1e-08  0.1 -2.5\r\n",
        "glove",
        ["the", "king"],
    ),
    "a no-break space is part of a word": (
        "a\u00a0b 0.5 -1.25 3\né 1e-08 0.1 -2.5\n".encode(),
        "glove",
        ["a\u00a0b", "é"],
    ),
    "numbers are words, too": (b"1 0.5 -1.25 3\n2 1e-08 0.1 -2.5\n", "glove", ["1", "2"]),
    "a mark of byte order": (b"\xef\xbb\xbfthe 0.5 -1.25 3\nking 1e-08 0.1 -2.5\n", "glove", ["the", "king"]),
    "a mark of byte order before the counts": (
        b"\xef\xbb\xbf2 3\nthe 0.5 -1.25 3\nking 1e-08 0.1 -2.5\n",
        "word2vec",
        ["the", "king"],
    ),
    "word2vec": (b"2 3\nthe 0.5 -1.25 3\nking 1e-08 0.1 -2.5\n", "word2vec", ["the", "king"]),
    "fastText, .vec": (b"2 3\nthe 0.5 -1.25 3 \nking 1e-08 0.1 -2.5 \n", "word2vec", ["the", "king"]),
    "word2vec, binary": (
        b"2 3\nthe " + PACKED[0] + b"\nking " + PACKED[1] + b"\n",
        "word2vec-binary",
        ["the", "king"],
    ),
    "gensim's, no line ends": (
        b"2 3\nthe " + PACKED[0] + b"king " + PACKED[1],
        "word2vec-binary",
        ["the", "king"],
    ),
    "bytes that are no UTF-8": (
        b"2 3\n\xff 0.5 -1.25 3\nking 1e-08 0.1 -2.5\n",
        "word2vec",
        ["\ufffd", "king"],
    ),
}


@pytest.mark.parametrize("name", READ)
def test_what_it_is_shows(name: str, tmp_path: Path):
    data, kind, words = READ[name]
    for path, written in ((tmp_path / "v", data), (tmp_path / "v.gz", gzip.compress(data))):
        path.write_bytes(written)
        found = read_vectors(path)
        assert (found.format, found.words, found.repeated) == (kind, words, 0)
        np.testing.assert_array_equal(found.vectors, np.array([A, B], np.float32))
        first = read_vectors(path, 1)
        assert first.words == words[:1]
        np.testing.assert_array_equal(first.vectors, np.array([A], np.float32))


def test_a_word_counts_as_it_first_stands(tmp_path: Path):
    (tmp_path / "v").write_bytes(b"a 1 2\nb 3 4\na 5 6\n")
    found = read_vectors(tmp_path / "v")
    assert (found.words, found.repeated) == (["a", "b"], 1)
    assert found.vectors.tolist() == [[1, 2], [3, 4]]


REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "neither a word and its numbers nor two counts"),
    "prose": (b"To be or not to be\nthat is the question\n", "neither a word and its numbers"),
    "a short line": (b"the 1 2 3\nking 1 2\n", "line 2 is no word and 3 numbers"),
    "a word among the numbers": (b"the 1 2 3\nking 1 x 3\n", "line 2 is no word and 3 numbers"),
    "not a number": (b"the 1 2 3\nking 1 nan 3\n", "the vector of 'king' holds a number that is none"),
    "too large for float32": (b"the 1 2 3\nking 1 1e39 3\n", "the vector of 'king' holds"),
    "cut short": (b"3 2\nthe 1 2\nking 1 2\n", "3 words are promised and 2 are there"),
    "more than promised": (b"1 2\nthe 1 2\nking 1 2\n", "goes on behind the 1 words promised: 2 are there"),
    "wider than promised": (b"2 2\nthe 1 2 3\nking 1 2 3\n", "says 2 numbers a word, and there are 3"),
    "nothing behind the counts": (b"3 2\n", "3 words are promised and none is there"),
    "no width": (b"3 0\nthe\n", "says 0 numbers a word"),
    "binary, cut short": (b"2 3\nthe " + PACKED[0] + b"king " + PACKED[1][:-1], "cut short"),
    "binary, of float64": (b"1 2\nthe " + struct.pack("<2d", 0.1, 0.2), "goes on behind the 1 words"),
    "a fastText model": (struct.pack("<ii", 0x2F4F16BA, 12) + bytes(100), "whole fastText model"),
    "a promise beyond memory": (b"99999999999 1000000\nx \0\1", "cut short"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "neither a word and its numbers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_such_file_is(name: str, tmp_path: Path):
    data, message = REFUSED[name]
    (tmp_path / "v").write_bytes(data)
    with pytest.raises(UserError, match=message) as told:
        read_vectors(tmp_path / "v")
    assert "\n" not in str(told.value)


def test_no_file_and_no_number(tmp_path: Path):
    with pytest.raises(UserError, match="there is no file"):
        read_vectors(tmp_path / "v")
    with pytest.raises(UserError, match="is a folder"):
        read_vectors(tmp_path)
    with pytest.raises(UserError, match="--most 0"):
        read_vectors(tmp_path / "v", 0)


@given(
    st.lists(
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2),
        min_size=1,
    ),
    st.sampled_from(["v.txt", "v.bin", "v.txt.gz", "v.bin.gz"]),
)
def test_written_is_read(tmp_path_factory: pytest.TempPathFactory, numbers: list[list[float]], name: str):
    path = tmp_path_factory.mktemp("written") / name
    words = [f"w{i}" for i in range(len(numbers))]
    vectors = np.array(numbers, np.float32)
    write_vectors(path, words, vectors)
    found = read_vectors(path)
    assert found.words == words
    np.testing.assert_array_equal(found.vectors, vectors)
    assert found.format == ("word2vec-binary" if ".bin" in name else "word2vec")
