"""Corpora: the text comes back, the tokeniser saw the training part only, half a corpus is none."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rung.text.corpus
from rung.errors import UserError
from rung.text.corpus import Corpus, open_corpus, prepare
from rung.text.facts import notes
from rung.text.overlap import lines_of, shares_of_lines
from rung.text.sources import open_source
from rung.text.stream import TokenStream
from rung.text.tokenizers import KINDS, train_tokenizer

PARTS = ("train", "validation", "test")
STORY = "".join(f"Line {i} says it isn't {i * i}; naïve 敏捷 👩.\n" + "\n" * (i % 7 == 0) for i in range(400))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("story.txt").write_bytes(STORY.encode())
    Path("list.txt").write_bytes("".join(f"naïve {i}\r\n" for i in range(1000)).encode())


def everything(corpus: Corpus) -> list[str]:
    return [text for part in PARTS if part in corpus.facts["parts"] for text in corpus.text(part)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_story_comes_back_in_order(kind: str) -> None:
    size = None if kind in ("char", "byte") else 600
    corpus = prepare("story.txt", Path("corpus"), tokenizer=kind, vocab_size=size)
    assert "".join(everything(corpus)) == STORY
    for part in PARTS:
        (text,) = corpus.text(part)
        assert corpus.n_bytes(part) == len(text.encode())
        assert text.endswith("\n")
    assert corpus.n_bytes("test") == pytest.approx(len(STORY.encode()) * 0.05, rel=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_comes_back_line_by_line(kind: str) -> None:
    size = None if kind in ("char", "byte") else 600
    corpus = prepare("list.txt", Path("corpus"), tokenizer=kind, vocab_size=size)
    assert [corpus.stream(part).n_documents for part in PARTS] == [900, 50, 50]
    assert sorted(everything(corpus)) == sorted(f"naïve {i}" for i in range(1000))
    # Line ends are neither kept nor counted: 7 bytes of "naïve " and the digits of 0 to 999.
    assert sum(corpus.n_bytes(part) for part in PARTS) == 1000 * 7 + 10 + 90 * 2 + 900 * 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("block", [4, 50, 1 << 20])
def test_the_streams_do_not_depend_on_the_blocks(
    kind: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However small the blocks: what encoding each document by itself gives."""
    monkeypatch.setattr(rung.text.corpus, "BLOCK_BYTES", block)
    tokenizer = train_tokenizer(kind, [STORY], None if kind in ("char", "byte") else 600)
    for name in ("story.txt", "list.txt"):
        corpus = prepare(name, Path("corpus"), tokenizer=tokenizer, split="34/33/33")
        for part in PARTS:
            texts = list(corpus.text(part))
            expected = TokenStream.of([tokenizer.encode(text) for text in texts], tokenizer.end)
            np.testing.assert_array_equal(corpus.stream(part).ids, expected.ids)
            np.testing.assert_array_equal(corpus.stream(part).starts, expected.starts)


def test_ids_take_two_bytes_until_they_do_not_fit() -> None:
    assert prepare("story.txt", Path("a")).train.ids.dtype == np.uint16
    rare = "".join(chr(0x10000 + i) * 2 for i in range(65_700))
    Path("rare.txt").write_text(rare, encoding="utf-8")
    corpus = prepare("rare.txt", Path("b"), split="99.8/0.1/0.1")
    assert corpus.tokenizer.vocab_size > 1 << 16
    assert corpus.train.ids.dtype == np.uint32
    assert "".join(everything(corpus)) == rare


def test_facts_say_where_it_came_from() -> None:
    corpus = prepare("list.txt", Path("corpus"), tokenizer="byte")
    facts = json.loads(Path("corpus/corpus.json").read_text())
    assert facts == corpus.facts
    assert facts["source"]["data"] == "list.txt"
    assert facts["source"]["n_documents"] == 1000
    assert facts["split"] == "90/5/5"
    assert "random" in facts["split_rule"]
    for part in PARTS:  # bytes: one token a byte, and a mark a document
        counts = facts["parts"][part]
        assert counts["tokens"] == counts["bytes"] + counts["documents"] == corpus.stream(part).n_tokens


@pytest.mark.parametrize("kind", ["char", "word", "bpe", "wordpiece", "unigram"])
def test_the_tokeniser_sees_the_training_part_only(kind: str) -> None:
    Path("text.txt").write_text("the cats sat there; that cat chats\n" * 300 + "zebra ωωω\n" * 60)
    corpus = prepare("text.txt", Path("corpus"), tokenizer=kind, vocab_size=700, documents="files")
    assert list(corpus.text("test")) == ["zebra ωωω\n" * (corpus.n_bytes("test") // 13)]
    pieces = corpus.tokenizer.token_bytes
    assert not any(
        piece.strip() and piece.strip() in "zebra ωωω".encode() for piece in pieces if len(piece) > 1
    )
    assert kind == "char" or any(len(piece.strip()) > 1 for piece in pieces)


def test_a_trained_tokeniser_is_used_as_it_is() -> None:
    tokenizer = train_tokenizer("bpe", ["only this text, only this"], 300)
    corpus = prepare("story.txt", Path("corpus"), tokenizer=tokenizer)
    assert corpus.tokenizer.token_bytes == tokenizer.token_bytes
    with pytest.raises(UserError, match="trained already"):
        prepare("story.txt", Path("corpus"), tokenizer=tokenizer, vocab_size=300)


def test_held_out_text_given_explicitly() -> None:
    Path("val.txt").write_text("held out one\nheld out two\n")
    Path("test.txt").write_text("test\n")
    both = prepare("list.txt", Path("a"), validation="val.txt", test="test.txt")
    assert both.train.n_documents == 1000
    assert list(both.text("validation")) == ["held out one", "held out two"]  # a list, as the data are
    assert list(both.text("test")) == ["test"]
    assert both.facts["given"]["validation"]["data"] == "val.txt"
    only_test = prepare("list.txt", Path("b"), test="test.txt")
    assert (only_test.train.n_documents, only_test.stream("validation").n_documents) == (950, 50)
    assert list(only_test.text("test")) == ["test"]
    only_validation = prepare("list.txt", Path("c"), validation=Path("val.txt"))
    assert (only_validation.train.n_documents, only_validation.splits) == (1000, ("train", "validation"))
    as_asked = prepare("list.txt", Path("d"), validation="val.txt", split="80/10/10")
    assert (as_asked.train.n_documents, as_asked.stream("test").n_documents) == (900, 100)


def test_a_part_without_a_share_is_absent() -> None:
    corpus = prepare("list.txt", Path("corpus"), split="90/10/0")
    assert "test" not in corpus.splits
    assert not Path("corpus/test.npy").exists()
    with pytest.raises(UserError, match="no part 'test' \\(it has: train, validation\\)"):
        corpus.n_bytes("test")
    assert prepare("list.txt", Path("corpus"), split="90/0/10").splits == ("train", "test")
    whole = prepare("list.txt", Path("corpus"), split="100/0/0")
    assert (whole.splits, whole.train.n_documents) == (("train",), 1000)
    assert open_corpus(Path("corpus")).facts["in_training"] == {"pieces": "documents"}


def test_held_out_text_that_stands_in_the_training_text_is_told() -> None:
    Path("val.txt").write_text("new one\nname 3\n")
    Path("new.txt").write_text("nothing of it\n")
    Path("a.txt").write_text("".join(f"name {i}\n" for i in range(200)))
    listed = prepare("a.txt", Path("a"), validation="val.txt", test="new.txt")
    assert listed.facts["in_training"] == {"pieces": "documents", "validation": round(6 / 13, 6), "test": 0}
    assert notes(listed.facts) == [
        "46% of the validation text stands word for word in the training text (documents compared): "
        "what is measured on it is memory"
    ]
    assert notes(listed.facts, ("test",)) == []
    Path("again.txt").write_text("the cat\nsat on\n\nthe mat\n" * 99)
    again = prepare("again.txt", Path("b"), documents="files")
    assert again.facts["in_training"] == {"pieces": "lines", "validation": 1, "test": 1}
    assert len(notes(again.facts)) == 2
    itself = prepare("story.txt", Path("c"), validation="story.txt")
    assert itself.facts["in_training"] == {"pieces": "lines", "validation": 1}


@given(
    st.lists(st.sampled_from([b"a", b"bb", b"", b"ccc", b"dddd"])),
    st.lists(st.sampled_from([b"a", b"bb", b"", b"x"])),
    st.integers(1, 9),
)
def test_the_share_in_training_is_that_of_the_lines(
    train: list[bytes], held: list[bytes], block: int
) -> None:
    text = b"\n".join(train)
    blocks = list(lines_of(text, 0, len(text), block))
    assert [line for piece in blocks for line in piece if line] == [line for line in train if line]
    inside, total = sum(len(line) for line in held if line in train), sum(map(len, held))
    shares = shares_of_lines({"test": [held[:2], held[2:]], "validation": []}, blocks)
    assert shares == {"test": pytest.approx(inside / total if total else 0, abs=1e-6), "validation": 0}


def test_a_new_corpus_takes_the_place_of_the_old() -> None:
    prepare("list.txt", Path("corpus"), tokenizer="bpe", vocab_size=300)
    corpus = prepare("story.txt", Path("corpus"), split="90/10/0")
    assert "".join(everything(corpus)) == STORY
    assert sorted(path.name for path in Path("corpus").iterdir()) == sorted(
        ["corpus.json", "tokenizer.json"]
        + [part + suffix for part in PARTS[:2] for suffix in (".npy", ".documents.npy")]
    )


@pytest.mark.parametrize("fault", ["bad.jsonl", "nowhere.txt"])
def test_a_failed_corpus_leaves_the_old_one(fault: str) -> None:
    Path("bad.jsonl").write_text('{"text": "x"}\n' * 500 + "{")
    before = everything(prepare("list.txt", Path("corpus")))
    with pytest.raises(UserError, match=fault):
        prepare(fault, Path("corpus"))
    assert everything(open_corpus(Path("corpus"))) == before
    assert not Path("corpus/.corpus.part").exists()


def test_killed_at_any_moment_there_is_a_whole_corpus_or_none() -> None:
    """The process is killed just before each of its renames and removals in turn."""
    program = """
import os, signal, sys
from pathlib import Path
left = int(sys.argv[1])
def counted(do):
    def doing(*arguments, **settings):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return do(*arguments, **settings)
    return doing
Path.replace, Path.unlink = counted(Path.replace), counted(Path.unlink)
from rung.text.corpus import prepare
prepare("list.txt", Path("corpus"), tokenizer="byte")
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    outcomes, done = set(), None
    for moment in range(0, 30, 3):
        prepare("story.txt", Path("corpus"))
        done = subprocess.run([sys.executable, "-c", program, str(moment)], env=environment, check=False)
        try:
            outcomes.add("old" if "".join(everything(open_corpus(Path("corpus")))) == STORY else "new")
        except UserError as error:
            outcomes.add("none")
            assert "never finished" in str(error)  # noqa: PT017
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
    assert outcomes == {"old", "none", "new"}
    assert done is not None
    assert done.returncode == 0
    assert not Path("corpus/.corpus.part").exists()  # what the killed ones left is cleared away


def test_a_folder_that_holds_no_corpus() -> None:
    with pytest.raises(UserError, match="nowhere holds no corpus"):
        open_corpus(Path("nowhere"))
    prepare("story.txt", Path("a"))
    prepare("list.txt", Path("b"))
    Path("b/train.npy").replace("a/train.npy")
    with pytest.raises(UserError, match=r"a.*is damaged"):
        open_corpus(Path("a"))
    Path("b/corpus.json").write_text("{}")
    with pytest.raises(UserError, match="not of this version"):
        open_corpus(Path("b"))
    Path("b/corpus.json").write_text('{"format": 1, "parts": 3}')
    with pytest.raises(UserError, match="damaged"):
        open_corpus(Path("b"))


def test_folders_that_cannot_be_written() -> None:
    with pytest.raises(UserError, match=r"cannot write story\.txt"):
        prepare("list.txt", Path("story.txt"))
    with pytest.raises(UserError, match=r"cannot write story\.txt/corpus"):
        prepare("list.txt", Path("story.txt/corpus"))


def test_a_full_disk_is_the_users_to_mend() -> None:
    """A limit on the size of files stands for the disk: writing past it fails in the same place."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    was = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write corpus.*make room"):
            prepare("list.txt", Path("corpus"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, was)
    assert not list(Path("corpus").iterdir())


def test_a_tokeniser_that_is_none_is_refused_before_reading() -> None:
    with pytest.raises(UserError, match="did you mean 'bpe'"):
        prepare("nowhere.txt", Path("corpus"), tokenizer="bbpe")


def test_linked_corpora_share_the_disk_and_live_apart() -> None:
    corpus = prepare("story.txt", Path("a"))
    linked = corpus.link(Path("b/c"))
    assert linked.folder == Path("b/c")
    assert linked.facts == corpus.facts
    assert everything(linked) == everything(corpus)
    assert Path("a/train.npy").samefile("b/c/train.npy")
    assert corpus.link(Path("a")) is corpus
    assert everything(corpus.link(Path("b/c"))) == everything(corpus)
    prepare("list.txt", Path("b/c"))
    assert "".join(everything(open_corpus(Path("a")))) == STORY


def test_linked_where_links_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    corpus = prepare("story.txt", Path("a"))
    assert everything(corpus.link(Path("b"))) == everything(corpus)
    assert not Path("a/train.npy").samefile("b/train.npy")


def test_a_corpus_larger_than_a_block_is_what_the_source_holds() -> None:
    rng = np.random.default_rng(0)
    words = ["naïve", "敏捷", "the", "cat", "👩", "x" * 300]
    with Path("rows.jsonl").open("w", encoding="utf-8") as file:
        for _ in range(3000):
            file.write(json.dumps({"text": " ".join(rng.choice(words, rng.integers(0, 30)))}) + "\n")
    assert Path("rows.jsonl").stat().st_size > 2 * rung.text.corpus.BLOCK_BYTES
    corpus = prepare("rows.jsonl", Path("corpus"))
    assert sorted(everything(corpus)) == sorted(open_source("rows.jsonl"))


def test_what_the_data_were_is_told_in_one_sentence(tmp_path: Path):
    """Counted by hand: 200 lines, 90/5/5, every line there twice. How much of a part was learned from is told once."""
    from rung.text.facts import NOTABLE, notes, summary

    path = tmp_path / "lines.txt"
    path.write_text("".join(f"line {n // 2}\n" for n in range(200)), encoding="utf-8")
    corpus = prepare(path, tmp_path / "data", documents="lines")
    said = summary(corpus.facts)
    assert "200 documents, each a line; train 180, validation 10, test 10: whole documents at random" in said
    shares = corpus.facts["in_training"]
    for part in ("validation", "test"):
        assert shares[part] >= NOTABLE
        assert f"{shares[part]:.0%} of the {part} text" in "\n".join(notes(corpus.facts))
    assert "in the training text" not in said
    corpus.facts["in_training"] |= {"test": 0.123}
    assert "12.3% of the test text stand in the training text too (documents compared)" in summary(
        corpus.facts
    )
    assert len(notes(corpus.facts)) == 1
    path.write_text("one text\n" * 50, encoding="utf-8")
    given = prepare(path, tmp_path / "given", documents="files", validation=path)
    assert "2 documents, each a file; train 1, validation 1" in summary(given.facts)
    assert f"validation from {path}" in summary(given.facts)
    assert "100% of the validation text" in notes(given.facts)[0]
