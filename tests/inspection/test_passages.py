"""Counting and tracing against Python's own search, on every kind of tokeniser."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rung
from rung.errors import UserError
from rung.inspection import passages
from rung.inspection.passages import PassageIndex, Trace, build_passages, open_index
from rung.runs import Run
from rung.text.corpus import Corpus
from rung.text.stream import TokenStream
from rung.text.tokenizers import KINDS, ByteTokenizer, train_tokenizer
from tests import text_made

# Letters of one to four bytes; some share their first byte, so that bytes match where characters don't.
ALPHABET = "aab é文整😀😁"
texts = st.text(ALPHABET, max_size=40)


def index_of(documents: list[str], kind: str = "byte") -> PassageIndex:
    tokenizer = ByteTokenizer() if kind == "byte" else train_tokenizer(kind, documents)
    stream = TokenStream.of([tokenizer.encode(document) for document in documents], tokenizer.end)
    return build_passages(Corpus(Path(), tokenizer, {"train": stream}, {}))


def occurrences(documents: list[str], text: str) -> list[tuple[int, int]]:
    """Document and character of every occurrence, overlapping ones too."""
    return [
        (d, i)
        for d, document in enumerate(documents)
        for i in range(len(document))
        if document.startswith(text, i)
    ]


def check_count(index: PassageIndex, documents: list[str], text: str) -> None:
    found = occurrences(documents, text)
    counted = index.count(text, places=1000, around=3)
    assert counted.count == len(found)
    assert [(p.document, p.character) for p in counted.places] == found
    for place in counted.places:
        document = documents[place.document]
        i = place.character
        assert place.byte == len(document[:i].encode())
        assert place.before == document[max(i - 3, 0) : i]
        assert place.after == document[i + len(text) : i + len(text) + 3]


def check_trace(index: PassageIndex, documents: list[str], text: str, minimum: int) -> Trace:
    """Every match that can't be made longer, by plain search; then the longest of them at each character."""

    def known(part: str) -> bool:
        return any(part in document for document in documents)

    n = len(text)
    spans = [(b, e) for b in range(n) for e in range(b + 1, n + 1) if known(text[b:e])]
    maximal = [
        (b, e)
        for b, e in spans
        if len(text[b:e].encode()) >= minimum
        and not (b > 0 and known(text[b - 1 : e]))
        and not (e < n and known(text[b : e + 1]))
    ]
    traced = index.trace(text, minimum=minimum, around=3)
    longest = {}
    for i in range(n):
        around = [(-len(text[b:e].encode()), b, e) for b, e in maximal if b <= i < e]
        if around:
            longest[i] = min(around)[1:]
    marked = {
        i: (p.start, p.start + p.length) for p in traced.passages for i in range(p.marked_start, p.marked_end)
    }
    assert marked == longest
    assert traced.n_bytes == len(text.encode())
    assert traced.copied_bytes == sum(len(text[i].encode()) for i in longest)
    assert traced.share == (traced.copied_bytes / traced.n_bytes if text else 0)
    assert traced.longest == max((p.n_bytes for p in traced.passages), default=0)
    for passage in traced.passages:
        assert passage.text == text[passage.start : passage.start + passage.length]
        assert passage.n_bytes == len(passage.text.encode())
        found = occurrences(documents, passage.text)
        assert passage.count == len(found)
        assert (passage.place.document, passage.place.character) == found[0]
    return traced


@settings(deadline=None, max_examples=80)
@given(st.lists(texts, max_size=4), st.text(ALPHABET, min_size=1, max_size=5))
def test_counts_are_those_of_a_plain_search(documents: list[str], text: str) -> None:
    check_count(index_of(documents), documents, text)


@settings(deadline=None, max_examples=80)
@given(st.lists(texts, max_size=4), texts, st.sampled_from([1, 2, 3, 6]))
def test_traces_are_those_of_a_plain_search(documents: list[str], text: str, minimum: int) -> None:
    check_trace(index_of(documents), documents, text, minimum)


@settings(deadline=None, max_examples=40)
@given(st.lists(texts, min_size=1, max_size=3), st.data())
def test_copied_text_with_new_text_between(documents: list[str], data: st.DataObject) -> None:
    parts = []
    for _ in range(3):
        document = data.draw(st.sampled_from(documents))
        begin = data.draw(st.integers(0, len(document)))
        parts += [
            document[begin : begin + data.draw(st.integers(0, 20))],
            data.draw(st.text("xa文", max_size=3)),
        ]
    check_trace(index_of(documents), documents, "".join(parts), data.draw(st.integers(1, 8)))


@pytest.mark.parametrize("kind", KINDS)
def test_no_tokeniser_hides_a_string(kind: str) -> None:
    documents = [text_made.sentences(60), "Grüße, 世界! 🐄🐄🐄 the cows eat", "", "eat"]
    index = index_of(documents, kind)
    for text in ("cows eat", "ows ea", "e", " ", "世", "🐄🐄", "ße, 世界", "eat\n", "🐄 t", "zebra", "\0"):
        check_count(index, documents, text)
    check_trace(index, documents, "what do the cows eat? Grüße", 3)


def test_overlapping_occurrences_count() -> None:
    assert index_of(["aaaa"]).count("aa").count == 3


def test_nothing_is_found_across_documents() -> None:
    index = index_of(["to be", "or not"])
    assert index.count("beor").count == 0
    assert index.count("be").count == 1
    assert [p.text for p in index.trace("to beor not", minimum=1).passages] == ["to be", "or not"]


def test_a_lone_surrogate_is_a_text_like_others() -> None:
    index = index_of(["ab\ud800c"])
    assert index.count("\ud800").count == 1
    assert index.trace("x\ud800c", minimum=1).passages[0].text == "\ud800c"


def test_a_text_half_copied_and_half_new() -> None:
    play = text_made.sentences(500)
    copied = play[1000:1400]
    new = "0123456789" * 40
    traced = index_of([play]).trace(new + copied)
    assert traced.share == 0.5
    assert traced.longest == 400
    (passage,) = traced.passages
    assert (passage.marked_start, passage.marked_end) == (400, 800)
    assert passage.text == copied
    assert passage.place.character == play.index(copied)
    assert passage.place.before == play[960:1000]
    assert passage.place.after == play[1400:1440]


def test_long_texts_of_many_blocks() -> None:
    """Documents of 100,000 characters and a copy of 70,000: more than lengths are counted to, or a block has."""
    rng = np.random.default_rng(0)
    documents = ["".join(rng.choice(list("abé文"), 100_000)) for _ in range(2)]
    index = index_of(documents)
    copied = documents[1][20_000:90_000]
    traced = index.trace("xx" + copied + "x" + documents[0][5:1000])
    assert [(p.start, p.length, p.place.document, p.place.character) for p in traced.passages] == [
        (2, 70_000, 1, 20_000),
        (70_003, 995, 0, 5),
    ]
    frequent = index.count("文", places=2)
    assert frequent.count == sum(document.count("文") for document in documents)
    assert [p.character for p in frequent.places] == [i for i, c in enumerate(documents[0]) if c == "文"][:2]
    assert index.count("文", places=0).places == ()


def test_all_of_the_training_text_is_one_passage_a_document() -> None:
    documents = [text_made.sentences(30, seed=seed) for seed in range(3)]
    index = index_of(documents)
    for document in documents:
        (passage,) = index.trace(document).passages
        assert passage.length == len(document)


def test_empty_texts() -> None:
    for documents in ([], [""], ["", ""]):
        index = index_of(documents)
        assert index.count("a").count == 0
        assert index.trace("a", minimum=1).passages == ()
    traced = index_of(["a"]).trace("")
    assert (traced.passages, traced.share, traced.longest) == ((), 0, 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("passages")
    (folder / "text.txt").write_text(text_made.sentences(300), encoding="utf-8")
    return rung.train("bigram", folder / "text.txt", out=folder / "run", tokenizer="word")


def test_any_run_answers_and_keeps_its_index(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    training = list(run.corpus.text("train"))
    assert open_index(run).count("cows eat").count == len(occurrences(training, "cows eat"))
    assert (run.folder / "data" / passages.INDEX_FILE).exists()

    def refuse(corpus: Corpus) -> PassageIndex:
        raise AssertionError("the index was made a second time")

    monkeypatch.setattr(passages, "build_passages", refuse)
    assert open_index(run).trace(training[0][50:250]).share == 1
    assert open_index(run).count("zebra").count == 0


def test_another_corpus_in_the_same_folder_has_another_index(run: Run) -> None:
    before = open_index(run).count("cows eat").count
    facts = run.folder / "data" / "corpus.json"
    kept = facts.read_text(encoding="utf-8")
    facts.write_text(json.dumps(json.loads(kept) | {"note": "prepared again"}), encoding="utf-8")
    stale = (run.folder / "data" / passages.INDEX_FILE).stat().st_mtime_ns
    assert open_index(run).count("cows eat").count == before
    assert (run.folder / "data" / passages.INDEX_FILE).stat().st_mtime_ns > stale
    facts.write_text(kept, encoding="utf-8")


def test_without_room_for_the_index_the_answer_is_the_same(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = open_index(run).count("cows eat")
    (run.folder / "data" / passages.INDEX_FILE).unlink()

    def refuse(*_: object) -> None:
        raise UserError("cannot write")

    monkeypatch.setattr(passages, "save_tensors", refuse)
    assert open_index(run).count("cows eat") == expected
    assert open_index(run).trace("the cows eat", minimum=1).share == 1
    assert not (run.folder / "data" / passages.INDEX_FILE).exists()


def test_the_index_can_be_read_by_others(run: Run) -> None:
    open_index(run).count("a")
    assert stat.S_IMODE((run.folder / "data" / passages.INDEX_FILE).stat().st_mode) & 0o044


def test_bad_questions_are_named(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to count"):
        open_index(run).count("")
    with pytest.raises(UserError, match="--min 0"):
        open_index(run).trace("a", minimum=0)
    with pytest.raises(UserError, match="no training text"):
        open_index(Run(tmp_path, run.recipe)).count("a")
