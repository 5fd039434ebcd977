"""ARPA files against the `kenlm` module: it scores what we write as we do, and we score as it does."""

from __future__ import annotations

import gzip
import itertools
import re
from pathlib import Path

import kenlm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.errors import UserError
from rung.exchange.arpa_format import arpa_names, write_arpa
from rung.exchange.arpa_reading import read_arpa
from rung.models.base import fitted
from rung.models.counting.ngram import NGram, NGramConfig
from tests.models import cows
from tests.models.corpora import Corpus, corpora

COWS = fitted(NGram.fit(NGramConfig(2), cows.STREAM, cows.VOCAB_SIZE, cows.END))


def kenlm_scores(path: Path, line: str) -> list[float]:
    """log10 of every word and the end of a line, by KenLM."""
    return [score for score, _, _ in kenlm.Model(str(path)).full_scores(line)]


def our_scores(model: NGram, names: list[str], line: str) -> np.ndarray:
    """log10 of every word and the end of a line; a word without an id is <unk>."""
    ids = {name: token for token, name in enumerate(names)}
    tokens = [ids.get(word, ids.get("<unk>", -1)) for word in line.split()]
    return model.score(np.array([*tokens, model.end], np.int64)) / np.log(10)


@settings(deadline=None, max_examples=15)
@given(corpora(), st.integers(2, 5), st.sampled_from(["kneser-ney", "witten-bell", "absolute", "add-k"]))
def test_kenlm_scores_what_we_write_as_we_do(
    tmp_path_factory: pytest.TempPathFactory, corpus: Corpus, order: int, smoothing: str
) -> None:
    model = fitted(NGram.fit(NGramConfig(order, smoothing), corpus.stream, corpus.vocab_size, corpus.end))
    names = [f"w{token}" for token in range(corpus.vocab_size)]
    path = tmp_path_factory.mktemp("arpa") / "model.arpa"
    write_arpa(model, names, path)
    seen = [" ".join(names[token] for token in document) for document in corpus.documents]
    unseen = " ".join(
        names[token] for token in np.random.default_rng(0).integers(0, corpus.vocab_size - 1, 20)
    )
    for line in [*seen, unseen]:
        np.testing.assert_allclose(our_scores(model, names, line), kenlm_scores(path, line), atol=1e-4)
    again, names_again = read_arpa(path)
    for line in [*seen, unseen]:
        np.testing.assert_allclose(our_scores(again, names_again, line), kenlm_scores(path, line), atol=1e-4)


def test_pruned_and_compressed_kenlm_agrees(tmp_path: Path) -> None:
    model = fitted(NGram.fit(NGramConfig(3, prune=(0, 1, 1)), cows.STREAM, cows.VOCAB_SIZE, cows.END))
    path = tmp_path / "cows.arpa.gz"
    write_arpa(model, cows.WORDS, path)
    assert gzip.decompress(path.read_bytes()).startswith(b"\\data\\\nngram 1=36\n")
    for line in [*cows.SENTENCES, "grass eat which cows zebra"]:
        np.testing.assert_allclose(our_scores(model, cows.WORDS, line), kenlm_scores(path, line), atol=1e-4)


def bytes_of(name: str) -> bytes:
    """What a name spells."""
    text = name.replace("▁", " ").encode()
    return re.sub(rb"<0x([0-9A-F]{2})>", lambda found: bytes.fromhex(found[1].decode()), text)


@settings(deadline=None, max_examples=20)
@given(
    st.lists(
        st.binary(max_size=6)
        | st.text(st.sampled_from("a<0x41>▁ \n\r\0\x0b\xa0é"), max_size=8).map(str.encode),
        min_size=cows.VOCAB_SIZE - 1,
        max_size=cows.VOCAB_SIZE - 1,
    )
)
def test_kenlm_knows_every_token_by_a_name_that_tells_its_bytes(
    tmp_path_factory: pytest.TempPathFactory, spelled: list[bytes]
) -> None:
    names = arpa_names([*spelled, b""])
    for name, token in zip(names, spelled, strict=False):
        if token and spelled.count(token) == 1:
            assert bytes_of(name) == token
    path = tmp_path_factory.mktemp("arpa") / "names.arpa"
    write_arpa(COWS, names, path)
    theirs, again = kenlm.Model(str(path)), read_arpa(path)
    assert again[1][-cows.VOCAB_SIZE :][:-1] == names[:-1]  # each by its own name
    assert all(name in theirs for name in names[:-1])


def test_what_was_read_is_written_the_same_for_ever(tmp_path: Path) -> None:
    """Numbers of any size, no unknown word, an n-gram that is filled in, words with white space of other scripts."""
    rng = np.random.default_rng(0)
    numbers = iter([-99, -0.1, -8.4000001, -9.9999999, -120.25, *rng.uniform(-9.9, 0, 200)])
    words = ["New\xa0York", "\u3000", "a\x0cb", "x", "y"]
    sections = [
        ["<s>", "</s>", *words],
        [*(f"{v} {w}" for v in words[1:] for w in words), "<s> x"],
        ["y x y", "<s> x New\xa0York"],
    ]
    text = "\\data\\\n" + "".join(f"ngram {k}={len(grams)}\n" for k, grams in enumerate(sections, 1))
    for order, grams in enumerate(sections, 1):
        rows = (f"{next(numbers)}\t{gram}\t{next(numbers) if order < 3 else 0}\n" for gram in grams)
        text += f"\n\\{order}-grams:\n" + "".join(rows)
    paths = [tmp_path / name for name in ("theirs", "first", "second")]
    paths[0].write_text(text + "\n\\end\\\n", encoding="utf-8")
    models = []
    for path, onward in itertools.pairwise([*paths, tmp_path / "third"]):
        model, names = read_arpa(path)
        models.append(model)
        write_arpa(model, names, onward)
    assert paths[1].read_bytes() == paths[2].read_bytes() == (tmp_path / "third").read_bytes()
    for name, tensor in models[0].tensors().items():
        np.testing.assert_array_equal(tensor, models[1].tensors()[name])
    theirs, again = kenlm.Model(str(paths[0])), kenlm.Model(str(paths[1]))
    for line in ("x y x y", "y New\xa0York \u3000 x", "x New\xa0York nowhere"):
        assert again.score(line) == pytest.approx(theirs.score(line), rel=1e-6)


def test_names_are_readable_unique_and_without_white_space() -> None:
    spelled = (
        [bytes([byte]) for byte in range(256)] + ["e", " ", "the", " the", "\n", "▁", "é"] + ["<s>", "e", ""]
    )
    names = arpa_names([token if isinstance(token, bytes) else token.encode() for token in spelled])
    assert len(set(names)) == len(names)
    assert not any(char.isspace() for name in names for char in name)
    assert {"<s>", "</s>", "<unk>", ""}.isdisjoint(names)
    assert names[258] == "the"
    assert names[259] == "▁the"
    assert names[261] == "<0xE2><0x96><0x81>"  # so that a blank is not mistaken for it
    assert names[264] == "e"
    assert names[ord("e")] != "e"


def test_what_no_arpa_file_can_hold_is_refused(tmp_path: Path) -> None:
    model = fitted(NGram.fit(NGramConfig(2), cows.STREAM, cows.VOCAB_SIZE, cows.END))
    for names, message in (
        (cows.WORDS[:-1], "do not fit"),
        (["a b", *cows.WORDS[1:]], "white space"),
        (["cows", *cows.WORDS[1:]], "'cows'"),
        (["<s>", *cows.WORDS[1:]], "'<s>'"),
    ):
        with pytest.raises(UserError, match=message):
            write_arpa(model, names, tmp_path / "never.arpa")
    scores = fitted(NGram.fit(NGramConfig(2, "stupid-backoff"), cows.STREAM, cows.VOCAB_SIZE, cows.END))
    with pytest.raises(UserError, match="scores, not probabilities"):
        write_arpa(scores, cows.WORDS, tmp_path / "never.arpa")
    assert list(tmp_path.iterdir()) == []
