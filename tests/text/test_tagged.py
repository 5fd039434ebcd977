"""Words with tags as they are read, and how they are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.errors import UserError
from rung.text.options import TagOptions
from rung.text.splits import Split, dealt_groups
from rung.text.tagged import (
    decode_sentences,
    encode_sentences,
    open_tagged,
    prepare_tagged,
    word_counts,
    words_of,
)
from rung.text.tagged_formats import TagColumns, is_tagged, read_sentences
from rung.text.tokenizers import train_tokenizer
from tests.tagged_made import slashed, tagged_sentences

SENTENCES = tagged_sentences(40)
BYTES = train_tokenizer("byte", ["a"], None)


def conllu(sentences: list[tuple[list[str], list[str]]]) -> str:
    """With comments, a word of two tokens, an empty node, and a document that begins in the middle."""
    lines = ["# newdoc id = a"]
    for i, (words, tags) in enumerate(sentences):
        if i == len(sentences) // 2:
            lines.append("# newdoc id = b")
        lines.append(f"# text = {' '.join(words)}")
        lines.append(f"1-2\t{words[0]}{words[1]}" + "\t_" * 8)
        for j, (word, tag) in enumerate(zip(words, tags, strict=True), 1):
            lines.append(f"{j}\t{word}\t_\t{tag}\tx{tag}\t_\t_\t_\t_\t_")
        lines += ["3.1\tgone" + "\t_" * 8, ""]
    return "\n".join(lines) + "\n"


def columns(sentences: list[tuple[list[str], list[str]]], row: Callable[[str, str, int], str]) -> str:
    return "".join(
        "".join(row(w, t, i) + "\n" for i, (w, t) in enumerate(zip(*one, strict=True), 1)) + "\n"
        for one in sentences
    )


def write(folder: Path, kind: str) -> Path:
    path = folder / {"slash": "a.txt", "tab": "a.txt", "rows": "a.jsonl"}.get(kind, f"a.{kind}")
    if kind == "conllu":
        path.write_text(conllu(SENTENCES), encoding="utf-8")
    elif kind == "conll":  # of 2003: word, part of speech, chunk, tag, cut by blanks, CRLF
        head = "-DOCSTART- -X- O O\r\n\r\n"
        text = columns(SENTENCES, lambda w, t, i: f"{w} POS CH {t}\r")
        path.write_bytes((head + text.replace("\r\n\n", "\r\n\r\n")).encode())
    elif kind == "tab":
        path.write_text(columns(SENTENCES, lambda w, t, i: f"{w}\t{t}"), encoding="utf-8")
    elif kind == "slash":
        path.write_text(slashed(SENTENCES), encoding="utf-8")
    elif kind == "rows":
        rows = [json.dumps({"tokens": words, "tags": tags}) + "\n" for words, tags in SENTENCES]
        path.write_text("".join(rows), encoding="utf-8")
    else:
        own = {"tokens": [w for w, _ in SENTENCES], "tags": [t for _, t in SENTENCES]}
        pyarrow.parquet.write_table(pa.table(own), path)
    return path


@pytest.mark.parametrize("kind", ["conllu", "conll", "tab", "slash", "rows", "parquet"])
def test_every_format_holds_the_same_sentences(kind: str, tmp_path: Path):
    path = write(tmp_path, kind)
    found = read_sentences(path, TagColumns())
    assert list(zip(found.words, found.tags, strict=True)) == SENTENCES
    if kind == "conllu":
        assert found.documents is not None
        assert len(set(found.documents)) == 2
        other = read_sentences(path, TagColumns(column="xpos"))
        assert other.tags[0][0] == "xDT"
    assert is_tagged(path) == (kind != "parquet")


def test_numbered_columns_have_the_word_in_the_second(tmp_path: Path):
    """As the shared tasks of 2006 to 2009 have it."""
    path = tmp_path / "a.conll"
    path.write_text(columns(SENTENCES, lambda w, t, i: f"{i}\t{w}\t{w}\t{t}\t_\t0"), encoding="utf-8")
    found = read_sentences(path, TagColumns(column="4"))
    assert list(zip(found.words, found.tags, strict=True)) == SENTENCES


def test_lines_may_begin_with_a_tab_as_those_of_brown_do(tmp_path: Path):
    path = tmp_path / "ca01"
    path.write_text("\n\n\tThe/at cows/nns\n\n\n\teat/vb ./.\n")
    assert read_sentences(path, TagColumns()).words == [["The", "cows"], ["eat", "."]]


def test_plain_text_is_not_taken_for_tagged(tmp_path: Path):
    path = tmp_path / "a.txt"
    for text in ("and/or either/or a\n", "The cows eat grass.\nand/or\n", "", "http://a/b\n"):
        path.write_text(text)
        assert not is_tagged(path)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.txt", "the/DT cows\n", r"a.txt: line 1: 'cows' has no tag: word/tag is needed"),
        ("a.txt", "the/DT /NN\n", r"a.txt: line 1 has a tag without a word"),
        ("a.conll", "the\tDT\n\ncows\n", r"a.conll: line 3 has 1 column; 2 to 10 are read"),
        ("a.conll", "the\tx\tDT\ncows\tNN\n", r"a.conll: line 2 has 2 columns, and the lines before have 3"),
        ("a.conllu", "1\tthe\tDT\n", r"a.conllu: line 1 has 3 columns; .conllu has 10"),
        ("a.conllu", "x" + "\ty" * 9 + "\n", r"a.conllu: line 1: 'x' is no number of a word"),
        ("a.jsonl", '{"tokens": ["a", "b"], "tags": ["X"]}\n', r"record 1 has 2 words and 1 tags"),
        ("a.jsonl", '{"tokens": "a b", "tags": ["X"]}\n', r"record 1: 'tokens' is str, not a list"),
        ("a.jsonl", '{"tokens": [1.5], "tags": ["X"]}\n', r"'tokens' holds 1.5, which is no word"),
        ("a.jsonl", '{"words": ["a"], "tags": ["X"]}\n', r"no field 'tokens'"),
        ("a.txt", "\n\n", r"holds no sentences"),
        ("a.txt", "", r"a.txt is empty"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(name: str, text: str, told: str, tmp_path: Path):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=told):
        read_sentences(tmp_path / name, TagColumns())


@given(st.lists(st.lists(st.text(min_size=1).filter(lambda w: w.isprintable()), max_size=5), max_size=6))
def test_words_come_back_as_they_were(sentences: list[list[str]]):
    """Whatever is in them, blanks too, and where sentences are empty."""
    stream = encode_sentences(BYTES, sentences)
    assert decode_sentences(BYTES, stream) == sentences
    assert word_counts(stream, BYTES.vocab_size).tolist() == [len(one) for one in sentences]
    flat = [word.encode() for one in sentences for word in one]
    assert words_of(stream, BYTES.vocab_size) == flat


def test_a_corpus_comes_back_and_documents_are_not_torn(tmp_path: Path):
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(30):
        (folder / f"d{i:02}").write_text(slashed(tagged_sentences(7, seed=i)), encoding="utf-8")
    corpus = prepare_tagged(folder, tmp_path / "corpus", TagOptions(split="80/10/10"))
    again = open_tagged(tmp_path / "corpus")
    assert again.tags == ["CD", "DT", "JJ", "NN", "VB"]
    assert {part: one.stream.n_documents for part, one in again.parts.items()} == {
        "train": 24 * 7,
        "validation": 3 * 7,
        "test": 3 * 7,
    }
    wholes = [slashed(tagged_sentences(7, seed=i)) for i in range(30)]
    words = decode_sentences(corpus.tokenizer, again.stream("test"))
    names = iter([again.tags[tag] for tag in again.tagged("test").tags])
    text = slashed([(own, [next(names) for _ in own]) for own in words])
    assert sum(whole in text for whole in wholes) == 3
    np.testing.assert_array_equal(
        corpus.link(tmp_path / "other").tagged("train").tags, again.tagged("train").tags
    )


def test_parts_have_about_their_shares_of_rows_in_whole_groups():
    groups = np.repeat(np.arange(50), np.arange(1, 51))
    parts = dealt_groups(groups, Split(0.8, 0.1, 0.1))
    for part, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        assert abs(len(parts[part]) / len(groups) - share) < 0.03
    owners = [set(groups[rows]) for rows in parts.values()]
    assert not owners[0] & owners[1]
    assert not owners[1] & owners[2]
    assert sum(map(len, parts.values())) == len(groups)


def test_a_tag_never_seen_in_training_is_told(tmp_path: Path):
    (tmp_path / "a.txt").write_text(slashed(tagged_sentences(30)), encoding="utf-8")
    (tmp_path / "one.txt").write_text("a/X b/X\n")
    with pytest.raises(UserError, match="every word has the tag 'X'"):
        prepare_tagged(tmp_path / "one.txt", tmp_path / "c", TagOptions())
    assert not (tmp_path / "c" / "tagged.json").exists()
