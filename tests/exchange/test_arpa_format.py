"""ARPA files against the `kenlm` module: it scores what we write as we do, and we score as it does."""

from __future__ import annotations

import gzip
from pathlib import Path

import kenlm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.errors import UserError
from rung.exchange.arpa_format import arpa_names, read_arpa, write_arpa
from rung.models.base import fitted
from rung.models.counting.ngram import NGram, NGramConfig
from tests.models import cows
from tests.models.corpora import Corpus, corpora

FOREIGN = """\
\\data\\
ngram 1=6
ngram 2=4
ngram 3=2

\\1-grams:
-1.2\t<unk>
-99\t<s>\t-0.3
-0.9\t</s>
-0.7\ta\t-0.25
-0.8\tb\t-0.5
-1.1\té\t-0.125

\\2-grams:
-0.4\t<s> a\t-0.1
-0.5\ta b\t-0.2
-0.6\tb é\t-0.3
-0.2\té </s>

\\3-grams:
-0.1\t<s> a b
-0.15\ta b é

\\end\\
"""

LINES = ["a b é", "a", "", "b b a zebra a b é é", "é a b", "b é b é b"]


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


def test_a_file_from_elsewhere_scores_as_kenlm_does(tmp_path: Path) -> None:
    path = tmp_path / "foreign.arpa"
    path.write_text(FOREIGN, encoding="utf-8")
    model, names = read_arpa(path)
    assert sorted(names) == sorted(["<unk>", "a", "b", "é", "</s>"])
    assert names[model.end] == "</s>"
    for line in LINES:
        np.testing.assert_allclose(our_scores(model, names, line), kenlm_scores(path, line), atol=1e-4)


def test_gaps_that_other_pruners_leave_are_filled_as_kenlm_fills_them(tmp_path: Path) -> None:
    """The trigram "a b é" stands there without the bigram "b é" that it ends in."""
    path = tmp_path / "gap.arpa"
    more = "".join(f"-0.9\t{pair}\n" for pair in ("a a", "b a", "é a", "b b", "é é", "a é", "<s> b", "<s> é"))
    text = FOREIGN.replace("-0.6\tb é\t-0.3\n", more).replace("ngram 2=4", "ngram 2=11")
    path.write_text(text, encoding="utf-8")
    model, names = read_arpa(path)
    for line in LINES:
        np.testing.assert_allclose(our_scores(model, names, line), kenlm_scores(path, line), atol=1e-4)


def test_a_file_without_an_unknown_word_gets_kenlms(tmp_path: Path) -> None:
    path = tmp_path / "closed.arpa"
    path.write_text(FOREIGN.replace("-1.2\t<unk>\n", "").replace("ngram 1=6", "ngram 1=5"), encoding="utf-8")
    model, names = read_arpa(path)
    for line in LINES:
        np.testing.assert_allclose(
            our_scores(model, names, line), kenlm_scores(path, line), rtol=1e-5, atol=1e-4
        )


@pytest.mark.parametrize(
    ("find", "put", "message"),
    [
        ("\\end\\\n", "", "cut short"),
        ("\\3-grams:", "\\4-grams:", "should read"),
        ("-0.5\ta b\t-0.2", "-0.5\ta c\t-0.2", "'c' is not among the 1-grams"),
        ("-0.5\ta b\t-0.2", "-0.5\ta\t-0.2 x y", "line 16"),
        ("-0.5\ta b\t-0.2", "half\ta b\t-0.2", "could not convert"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, find: str, put: str, message: str) -> None:
    path = tmp_path / "damaged.arpa"
    path.write_text(FOREIGN.replace(find, put), encoding="utf-8")
    with pytest.raises(UserError, match=message) as error:
        read_arpa(path)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="is missing"):
        read_arpa(tmp_path / "nowhere.arpa")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(FOREIGN.encode())[:40])
    with pytest.raises(UserError, match="can't be read"):
        read_arpa(tmp_path / "cut.gz")


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
