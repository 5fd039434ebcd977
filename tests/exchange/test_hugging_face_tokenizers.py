"""Tokenisers as files of the `tokenizers` library: the same ids there and here, out and in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import AddedToken, AutoTokenizer, PreTrainedTokenizerFast

from rung.errors import UserError
from rung.exchange.hugging_face_tokenizers import read_tokenizer, to_tokenizer_json
from rung.text.tokenizers import KINDS, Tokenizer, train_tokenizer
from tests.text_made import sentences


def library(tokenizer: Tokenizer) -> LibraryTokenizer:
    return LibraryTokenizer.from_str(to_tokenizer_json(tokenizer))


TEXTS = [
    sentences(40),
    ' "a (b “a” "a" (b) “a” 日日 éé été été ́e ́e don\'t don\'t 12 12  33\t\t\n\n\r\n ¿qué? ¿qué?',
]
PAIRS = {kind: train_tokenizer(kind, TEXTS) for kind in ("char", "byte", "word")} | {
    kind: train_tokenizer(kind, TEXTS, 540) for kind in ("bpe", "wordpiece", "unigram")
}
LIBRARIES = {kind: library(tokenizer) for kind, tokenizer in PAIRS.items()}
STRANGE = st.text(
    st.sampled_from(" \"“([\n\t\r\x1c\x1d\x85\xa0\u2028_a1é日ぁ・한'’-.\u0301\u0660²Ⅷ\U000116d5🙂")
    | st.characters(
        exclude_categories=["Cs"]
    )  # the library takes no half characters; ours is tested with them
)


def test_every_kind_of_tokenizer_can_go_out() -> None:
    assert set(PAIRS) == set(KINDS)


@given(STRANGE | st.lists(st.sampled_from(sentences(5).split(" "))).map(" ".join))
@settings(max_examples=150, deadline=None)
def test_the_library_gives_the_same_ids_and_the_text_back(text: str) -> None:
    for kind, tokenizer in PAIRS.items():
        ids = tokenizer.encode(text).tolist()
        assert LIBRARIES[kind].encode(text, add_special_tokens=False).ids == ids, kind
        assert LIBRARIES[kind].decode(ids) == text, kind


CLOSED = {
    "characters": train_tokenizer("char", TEXTS, vocabulary="closed"),
    "unknown words": train_tokenizer("word", TEXTS, vocabulary="closed", unknown=True),
    "words": train_tokenizer("word", TEXTS, vocabulary="closed"),
}


@pytest.mark.parametrize("kind", ["char", "word", "wordpiece", "unigram", *CLOSED])
def test_what_went_out_comes_back(tmp_path: Path, kind: str) -> None:
    ours = (PAIRS | CLOSED)[kind]
    (tmp_path / "tokenizer.json").write_text(to_tokenizer_json(ours), encoding="utf-8")
    found = read_tokenizer(tmp_path, ours.end, ours.vocab_size)
    assert not isinstance(found, str), found
    back, order = found
    assert (back.kind, back.token_bytes) == (ours.kind, ours.token_bytes)
    if kind != "unigram":  # whose scores the library writes with a digit less
        assert back.to_json() == ours.to_json()
    for text in TEXTS:
        assert back.encode(text).tolist() == ours.encode(text).tolist()
    assert order.tolist() == list(range(ours.vocab_size))


def test_half_characters_are_spelled_there_as_here() -> None:
    ours = PAIRS["char"]
    lone = [0xC, ours.end - 1, 16 + 0x3, 0xC, 16 + 0x3, 0xA, 16 + 0x9]
    assert LIBRARIES["char"].decode(lone) == ours.decode(lone)


@given(STRANGE | st.lists(st.sampled_from([*sentences(5).split(" "), "<unk>", "\0", "unseen"])).map(" ".join))
@settings(max_examples=150, deadline=None)
def test_closed_words_have_the_same_ids_there(text: str) -> None:
    known, refusing = CLOSED["unknown words"], CLOSED["words"]
    assert library(known).encode(text, add_special_tokens=False).ids == known.encode(text).tolist()
    try:
        ids = refusing.encode(text).tolist()
    except UserError:
        with pytest.raises(Exception, match="Missing"):
            library(refusing).encode(text)
    else:
        assert library(refusing).encode(text, add_special_tokens=False).ids == ids


def byte_level(folder: Path, specials: list[str], *, first: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE as GPT-2's, trained by the library, its special tokens first or last."""
    made = LibraryTokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=specials if first else [],
        show_progress=False,
    )
    made.train_from_iterator([sentences(100)], trainer)
    made.add_special_tokens(specials)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=specials[0], bos_token=specials[0])
    wrapped.save_pretrained(folder)
    return wrapped


ADDED = [
    AddedToken("<tool>", normalized=False),
    AddedToken("two words", normalized=False),
    AddedToken("é日", normalized=True),
    AddedToken("a\nb", normalized=False),
    AddedToken("cows", single_word=True),
    AddedToken("12", single_word=True, normalized=False),
]
EATERS = [
    AddedToken("<left>", lstrip=True),
    AddedToken("<right>", rstrip=True),
    AddedToken(" <both> ", lstrip=True, rstrip=True),
]


def with_added(
    folder: Path, added: list[AddedToken]
) -> tuple[PreTrainedTokenizerFast, Tokenizer, np.ndarray]:
    """A tokeniser of theirs with words added to it, and what we make of it."""
    theirs = byte_level(folder, ["<|endoftext|>", "<|other|>"])
    theirs.add_tokens(added)
    theirs.save_pretrained(folder)
    found = read_tokenizer(folder, theirs.get_vocab()["<|endoftext|>"], 320)
    assert not isinstance(found, str), found
    return AutoTokenizer.from_pretrained(folder), *found


@pytest.fixture(scope="module")
def added(
    tmp_path_factory: pytest.TempPathFactory,
) -> list[tuple[PreTrainedTokenizerFast, Tokenizer, np.ndarray]]:
    return [with_added(tmp_path_factory.mktemp("hf"), words) for words in (ADDED, [*ADDED, *EATERS])]


@given(
    st.lists(
        st.sampled_from([str(word) for word in (*ADDED, *EATERS)])
        | st.sampled_from([" ", "  ", "\n", "\t", "a", "b", "1", "the cows", "_", "<", "é", "日", "'s"])
    ).map("".join)
)
@settings(max_examples=60, deadline=None)
def test_words_added_to_their_tokeniser_are_found_as_there(
    added: list[tuple[PreTrainedTokenizerFast, Tokenizer, np.ndarray]], text: str
) -> None:
    for theirs, ours, order in added:
        ids = ours.encode(text)
        assert order[ids].tolist() == theirs.encode(text, add_special_tokens=False)
        assert not ours.lossless or ours.decode(ids.tolist()) == text
        assert type(ours).from_json(ours.to_json()).encode(text).tolist() == ids.tolist()
        out = library(ours)
        assert out.encode(text, add_special_tokens=False).ids == ids.tolist()
    assert [ours.lossless for _, ours, _ in added] == [True, False]


def test_added_words_go_out_and_come_in_again(
    added: list[tuple[PreTrainedTokenizerFast, Tokenizer, np.ndarray]], tmp_path: Path
) -> None:
    for _, ours, _ in added:
        (tmp_path / "tokenizer.json").write_text(to_tokenizer_json(ours), encoding="utf-8")
        again = read_tokenizer(tmp_path, ours.end, ours.vocab_size)
        assert not isinstance(again, str), again
        text = "".join(str(word) + "the cows " for word in ADDED)
        assert again[0].encode(text).tolist() == ours.encode(text).tolist()


def test_added_words_do_not_end_where_long_texts_are_cut(
    added: list[tuple[PreTrainedTokenizerFast, Tokenizer, np.ndarray]],
) -> None:
    text = "xx" + "a\nb\n" * 33_000
    for theirs, ours, order in added:
        assert order[ours.encode(text)].tolist() == theirs.encode(text, add_special_tokens=False)
