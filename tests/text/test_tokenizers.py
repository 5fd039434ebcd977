"""Tokenisers: nothing is lost, nothing is split, and the library's own pipeline gives the same ids."""

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.errors import UserError
from rung.text.tokenizers import (
    KINDS,
    BareWordTokenizer,
    NotInVocabularyError,
    TextDecoder,
    Tokenizer,
    load_tokenizer,
    subwords,
    train_tokenizer,
)

TRAINING = [
    "The quick brown fox doesn't jump over the lazy dog. It's the dog's fault, isn't it?\n" * 20,
    "Visit https://example.org/a?b=c&d=e#f or write to someone@example.org, please.\r\n\r\n\tIndented.\n"
    * 10,
    "敏捷的棕色狐狸跳过了懒狗。素早い茶色の狐が犬を飛び越える。الثعلب البني السريع يقفز فوق الكلب\n" * 10,
    "naïve café Ångström straße 👩‍👩‍👧 🇫🇷 👍🏽 1234567890 3.14159\n" * 10,
]

TRICKY = [
    "",
    " ",
    "\n",
    "   \n \n\t \r\n  x  ",
    "<|endoftext|><s></s>[UNK][CLS] [PAD]<unk>▁▁ĠthingĊ##ing",
    "don't can’t I'll 'tis rock'n'roll 'quoted'",
    "https://example.org/~x/y%20z?q=1&r=2#frag mailto:a.b+c@d.co.uk",
    "我能吞下玻璃而不伤身体。わたしはガラスを食べられます。",
    "أنا قادر على أكل الزجاج و هذا لا يؤلمني.",
    "👩‍👩‍👧‍👦🏳️‍🌈👍🏽🇫🇷e\u0301\u200d\ufe0f",
    "\x00\x01\x7f\x80\x85\xa0\u2028\u2029\ufeff\ufffd\U0010ffff",
    "a" * 5000,
    "²½ⅷ_snake_case__ CamelCase x_1 ___ ١٢٣",
]

unicode_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=80) | st.text(
    st.sampled_from(list(" \n\r\t'’a\x1c\u2028é敏▁Ġ#<|>👩\u200d1_.")), max_size=80
)


@pytest.fixture(scope="module")
def trained() -> dict[str, Tokenizer]:
    return {
        kind: train_tokenizer(kind, TRAINING, None if kind in ("char", "byte") else 700) for kind in KINDS
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", TRICKY)
def test_tricky_text_comes_back(trained: dict[str, Tokenizer], kind: str, text: str) -> None:
    comes_back(trained[kind], text)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(text=unicode_text)
def test_any_text_comes_back(trained: dict[str, Tokenizer], kind: str, text: str) -> None:
    comes_back(trained[kind], text)


def comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int64
    assert ids.shape == (len(ids),)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode_bytes(ids) == text.encode("utf-8")
    assert tokenizer.end not in ids
    marked = np.concatenate([[tokenizer.end], ids, [tokenizer.end]])
    assert tokenizer.byte_counts(marked).sum() == len(text.encode("utf-8"))


@pytest.mark.parametrize("kind", ["char", "byte", "word"])
@given(text=st.text(st.characters(categories=["Cs", "Ll"]), max_size=10))
@settings(max_examples=30, deadline=None)
def test_lone_surrogates_come_back(trained: dict[str, Tokenizer], kind: str, text: str) -> None:
    assert trained[kind].decode(trained[kind].encode(text)) == text


@pytest.mark.parametrize("kind", KINDS)
def test_text_trained_on_surrogates_can_be_saved(kind: str, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(kind, ["\ud800\ud800 \udc00\udc00 xx xx"] * 3)
    tokenizer.save(tmp_path / "tokenizer.json")
    assert load_tokenizer(tmp_path / "tokenizer.json").token_bytes == tokenizer.token_bytes


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(text=unicode_text)
def test_a_stream_of_tokens_becomes_whole_characters(
    trained: dict[str, Tokenizer], kind: str, text: str
) -> None:
    decoder = TextDecoder(trained[kind])
    pieces = [decoder.push(token) for token in trained[kind].encode(text).tolist()]
    assert "".join(pieces) == text
    assert decoder.finish() == ""
    assert "".join(pieces).count("\ufffd") == text.count("\ufffd")


def test_an_unfinished_character_is_replaced_at_the_end(trained: dict[str, Tokenizer]) -> None:
    byte = trained["byte"]
    decoder = TextDecoder(byte)
    shown = [decoder.push(token) for token in byte.encode("é👩")[:-1].tolist()]
    assert shown == ["", "é", "", "", ""]
    assert decoder.finish() == "\ufffd"


@pytest.mark.parametrize("kind", KINDS)
def test_loaded_is_what_was_saved(trained: dict[str, Tokenizer], kind: str, tmp_path: Path) -> None:
    trained[kind].save(tmp_path / "tokenizer.json")
    again = load_tokenizer(tmp_path / "tokenizer.json")
    assert (again.kind, again.vocab_size, again.end) == (kind, trained[kind].vocab_size, trained[kind].end)
    assert again.token_bytes == trained[kind].token_bytes
    for text in TRICKY + TRAINING:
        np.testing.assert_array_equal(again.encode(text), trained[kind].encode(text))


@pytest.mark.parametrize("kind", KINDS)
def test_the_vocabulary_holds_every_byte_and_one_mark(trained: dict[str, Tokenizer], kind: str) -> None:
    tokenizer = trained[kind]
    assert tokenizer.end == tokenizer.vocab_size - 1 == len(tokenizer.token_bytes) - 1
    assert tokenizer.token_bytes[tokenizer.end] == b""
    for character in "\x00aé敏👩\U0010ffff":
        assert set(character.encode()) <= {piece[0] for piece in tokenizer.spellings if len(piece) == 1}


# Of 256 bytes 13 never occur in UTF-8 (RFC 3629), and the mark is one more id: 243 + 1, 256 + 1, 2 * 256 + 1. Halves
# of bytes are 2 * 16.
@pytest.mark.parametrize(
    ("kind", "smallest"), [("char", 33), ("word", 244), ("bpe", 257), ("wordpiece", 513), ("unigram", 257)]
)
def test_a_vocabulary_too_small_for_the_bytes_is_refused(kind: str, smallest: int) -> None:
    with pytest.raises(UserError, match=f"--vocab-size {smallest - 1} is too small.*at least {smallest}"):
        train_tokenizer(kind, TRAINING, smallest - 1)
    tokenizer = train_tokenizer(kind, TRAINING, smallest)
    assert tokenizer.vocab_size <= smallest
    comes_back(tokenizer, "".join(TRICKY))


@pytest.mark.parametrize("kind", ["char", "word", "bpe", "wordpiece", "unigram"])
def test_no_more_ids_than_asked_for(kind: str) -> None:
    assert train_tokenizer(kind, TRAINING, 530).vocab_size <= 530


def test_a_kind_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="unknown tokeniser 'bp'; did you mean 'bpe'"):
        train_tokenizer("bp", [])
    with pytest.raises(UserError, match="byte always has 257"):
        train_tokenizer("byte", [], 300)


def test_a_file_that_is_no_tokeniser_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    for content in ("[]", '{"kind": "martian"}', '{"kind": "word"}', "{", '{"kind": "bpe", "library": {}}'):
        path.write_text(content)
        with pytest.raises(UserError, match="tokenizer"):
            load_tokenizer(path)


def test_characters_seen_twice_are_single_and_others_are_spelled_in_halves_of_bytes() -> None:
    char = train_tokenizer("char", ["éé敏敏xx", "ü"])
    assert char.vocab_size == 2 * 16 + 3 + 1
    assert len(char.encode("xé敏")) == 3
    assert char.encode("ü").tolist() == [0xC, 16 + 0x3, 0xB, 16 + 0xC]  # C3 BC; seen once only
    assert len(char.encode("👩a")) == 8 + 2
    # A half without the other: nothing, or what is no UTF-8. The text goes on.
    x = int(char.encode("x")[0])
    assert char.decode([0xC, x, 16 + 0x3, x, 0xC, 16 + 0x3, 0xB, 0xB, 16 + 0xC]) == "x\ufffdxü"


def test_a_closed_vocabulary_has_the_texts_own_characters_and_refuses_others(tmp_path: Path) -> None:
    char = train_tokenizer("char", ["anna", "éva"], vocabulary="closed")
    assert [token.decode() for token in char.token_bytes] == ["a", "n", "v", "é", ""]
    assert char.encode("néa").tolist() == [1, 3, 0]
    char.save(tmp_path / "tokenizer.json")
    for tokenizer in (char, load_tokenizer(tmp_path / "tokenizer.json")):
        with pytest.raises(UserError, match=r"'B' \(U\+0042\) in 'aBa' is none of the 4 characters") as error:
            tokenizer.encode_many(["an", "aBa"])
        assert isinstance(error.value, NotInVocabularyError)
        assert error.value.text == 1
    with pytest.raises(UserError, match="--vocab-size 4 is too small"):
        train_tokenizer("char", ["anna", "éva"], 4, vocabulary="closed")


def test_a_character_tokenizer_from_before_there_were_halves_spells_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text('{"format": 1, "kind": "char", "characters": "é敏"}')
    old = load_tokenizer(path)
    assert (old.vocab_size, old.encode("aé敏").tolist()) == (243 + 2 + 1, [97, 243, 244])
    assert old.decode(old.encode("über")) == "über"
    assert len(old.encode("ü")) == 2
    old.save(tmp_path / "again.json")
    assert load_tokenizer(tmp_path / "again.json").spells_like(old)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "bpe", "vocabulary": "closed"}, "--vocabulary closed does not go with --tokenizer bpe"),
        ({"kind": "char", "vocabulary": "close"}, "did you mean 'closed'"),
        ({"kind": "char", "vocabulary": "closed", "unknown": True}, "--unknown goes with --tokenizer word"),
        ({"kind": "word", "vocabulary": "closed", "min_count": 2}, "--min-count 2 goes with --unknown"),
    ],
)
def test_vocabularies_that_there_are_not_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        train_tokenizer(texts=["a"], **settings)


def test_a_closed_vocabulary_of_words_is_by_count_or_size_and_the_rest_is_one_symbol() -> None:
    texts = ["b a a\tc", "a  b <unk> </s> d"]
    for how, words in (
        ({}, ["a", "b"]),
        ({"min_count": 1}, ["a", "b", "c", "d"]),
        ({"vocab_size": 3}, ["a"]),
    ):
        tokenizer = train_tokenizer("word", texts, vocabulary="closed", unknown=True, **how)
        ids = {word: i for i, word in enumerate([*words, "<unk>"])}
        assert tokenizer.vocab_size == len(ids) + 1
        assert tokenizer.encode(texts[1]).tolist() == [ids.get(w, ids["<unk>"]) for w in texts[1].split()]
    closed = train_tokenizer("word", ["b a a c"], vocabulary="closed")
    assert closed.encode("c a").tolist() == [2, 0]
    with pytest.raises(UserError, match="'d' is none of the 3 words"):
        closed.encode_many(["a", "c d"])


def test_words_contractions_and_scripts_without_spaces() -> None:
    word = train_tokenizer("word", ["don't stop, don't stop 吞下吞下 x2 x2\n"] * 2)

    def pieces(text: str) -> list[str]:
        return [word.token_bytes[i].decode() for i in word.encode(text)]

    assert pieces("don't stop") == [" don't", " stop"]
    assert pieces("吞下") == ["吞", "下"]
    assert pieces("x2") == [" x", "2"]
    assert pieces("qi") == [" ", "q", "i"]


def library_twin(text: list[str], vocab_size: int) -> tokenizers.Tokenizer:
    """GPT-2's pipeline in the library, put together by its own documentation."""
    twin = tokenizers.Tokenizer(tokenizers.models.BPE())
    twin.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False
    )
    twin.train_from_iterator(text, trainer)
    return twin


def test_bpe_is_gpt2s_pipeline() -> None:
    ours, twin = train_tokenizer("bpe", TRAINING, 601), library_twin(TRAINING, 600)
    for text in TRICKY + TRAINING:
        assert ours.encode(text).tolist() == twin.encode(text).ids


def test_bpe_is_merging_by_rank() -> None:
    """The textbook's way: in each word, again and again merge the pair learned first."""
    bpe = train_tokenizer("bpe", TRAINING, 500)
    merges = bpe.to_json()["library"]["model"]["merges"]
    rank = {tuple(merge): i for i, merge in enumerate(merges)}
    text = "the dogs don't over-jump foxes; it isn't quick!"
    out = []
    for word in re.findall(r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[^\sA-Za-z]+", text):
        parts = list(word.replace(" ", "Ġ"))
        while True:
            pairs = [(rank[pair], i) for i, pair in enumerate(pairwise(parts)) if pair in rank]
            if not pairs:
                break
            _, i = min(pairs)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        out += [part.replace("Ġ", " ").encode() for part in parts]
    assert [bpe.token_bytes[i] for i in bpe.encode(text)] == out


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_long_text_encoded_in_pieces_is_the_same_as_at_once(trained: dict[str, Tokenizer], kind: str) -> None:
    """Over 128 Ki characters the text is cut after line ends; the library, given all of it, must agree."""
    rng = np.random.default_rng(0)
    pieces = [
        "\n",
        "\n\n",
        " \n",
        "\r\n",
        "\n ",
        "  ",
        "\x1c\n",
        "\n\x85",
        "word",
        "don't",
        "é",
        "敏捷",
        "9",
        "--",
    ]
    text = "".join(rng.choice(pieces, 150_000))
    library = tokenizers.Tokenizer.from_str(json.dumps(trained[kind].to_json()["library"]))
    assert len(text) > 3 << 16
    assert trained[kind].encode(text).tolist() == library.encode(text, add_special_tokens=False).ids


def test_of_text_without_blanks_unigram_learns_from_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its trainer is quadratic in such text: what it is handed has an end, and text with blanks is left as it is."""
    handed: list[str] = []
    monkeypatch.setattr(
        tokenizers.Tokenizer, "train_from_iterator", lambda self, parts, trainer: handed.extend(parts)
    )
    prose = "the cows eat hay, " * 10_000
    subwords.UnigramTokenizer.train(
        ["ACGT" * 100_000, prose, "0123" * 50_000 + " hay\n" + "日本" * 9_000], 600
    )
    assert sum(len(part.encode()) for part in handed) == 65_536 + len(prose) + len(" hay\n")
    assert "".join(handed).endswith(prose + " hay\n")
    handed.clear()
    subwords.BPETokenizer.train(["ACGT" * 100_000], 600)
    assert "".join(handed) == "ACGT" * 100_000


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_a_word_as_long_as_a_genome(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subwords.UnigramTokenizer, "most_of_long_words", 4096)
    genome = "".join(np.random.default_rng(0).choice(list("ACGT"), 200_000))
    tokenizer = train_tokenizer(kind, [genome], 600)
    ids = tokenizer.encode(genome)
    assert tokenizer.decode(ids) == genome
    assert len(ids) < len(genome) / 2


@pytest.mark.parametrize("kind", ["char", "word", "bpe", "wordpiece"])
def test_training_twice_gives_the_same(kind: str, tmp_path: Path) -> None:
    """In another process, whose hash tables are in another order."""
    (tmp_path / "text.json").write_text(json.dumps(TRAINING))
    program = (
        "import json, sys, pathlib; from rung.text.tokenizers import train_tokenizer;"
        "train_tokenizer(sys.argv[1], json.loads(pathlib.Path(sys.argv[2]).read_text()), 700)"
        ".save(pathlib.Path(sys.argv[3]))"
    )
    paths = [tmp_path / "text.json", tmp_path / "theirs.json", tmp_path / "ours.json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", program, kind, *map(str, paths[:2])], check=True, env=environment)
    train_tokenizer(kind, TRAINING, 700).save(paths[2])
    assert paths[1].read_bytes() == paths[2].read_bytes()


def test_bare_words_are_lower_cased_and_alone():
    tokenizer = BareWordTokenizer.train(
        ["The cows' GRASS, the hay; don’t 27x 草地"], None, unknown=True, min_count=1
    )
    words = [tokenizer.words[i] for i in tokenizer.encode("Don't! (the) HAY-grass_cows 草 Pferde")]
    assert words == ["don't", "the", "hay", "grass", "cows", "草", "<unk>"]
    assert tokenizer.unknown is not None
    again = BareWordTokenizer.from_json(tokenizer.to_json())
    assert again.encode("the 27x").tolist() == tokenizer.encode("the 27x").tolist()
