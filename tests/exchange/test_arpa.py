"""Runs as ARPA files: KenLM scores what we export as we do, and what we import as it does."""

from __future__ import annotations

import json
import math
from pathlib import Path

import kenlm
import pytest

import rung
from rung.errors import UserError
from rung.exchange.arpa import export_arpa, import_arpa
from rung.exchange.arpa_format import token_names
from tests.text_made import sentences

THEIRS = """\
\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-1.2\t<unk>\t0
0\t<s>\t-0.3
-0.8\t</s>\t0
-0.5\tcows\t-0.2
-0.7\teat\t-0.1

\\2-grams:
-0.2\t<s> cows
-0.1\tcows eat
-0.4\teat </s>

\\end\\
"""


@pytest.mark.parametrize("tokenizer", ["char", "word", "bpe"])
def test_kenlm_scores_an_exported_run_as_we_do(tmp_path: Path, tokenizer: str):
    text = tmp_path / "text.txt"
    text.write_text(sentences(300))
    run = rung.train("ngram", text, out=tmp_path / "run", order=3, tokenizer=tokenizer)
    export_arpa(run, tmp_path / "model.arpa.gz")
    theirs = kenlm.Model(str(tmp_path / "model.arpa.gz"))
    names = token_names(run.tokenizer)
    for line in ("the cows eat grass.", "Romeo wants a zebra"):
        ids = run.tokenizer.encode(line)
        (ours,) = rung.score(run, [line])
        assert theirs.score(" ".join(names[i] for i in ids)) == pytest.approx(
            ours.log_prob / math.log(10), abs=1e-4
        )


def test_an_arpa_file_from_elsewhere_scores_as_kenlm_scores_it(tmp_path: Path):
    """Written by hand: a bigram model with an unknown word."""
    path = tmp_path / "theirs.arpa"
    path.write_text(THEIRS)
    run = import_arpa(path, tmp_path / "run")
    theirs = kenlm.Model(str(path))
    lines = ["cows eat", "eat cows cows", "pigs eat", "  cows   eat\tpigs ", ""]
    for line, ours in zip(lines, rung.score(run, lines), strict=True):
        assert ours.log_prob / math.log(10) == pytest.approx(theirs.score(line), abs=1e-4)
    assert rung.generate(run, "cows", temperature=0, max_tokens=1)[0].text == " eat"
    # And out again: the same model under the same names.
    export_arpa(run, tmp_path / "again.arpa")
    again = kenlm.Model(str(tmp_path / "again.arpa"))
    for line in lines:
        assert again.score(line) == pytest.approx(theirs.score(line), abs=1e-5)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["model"]["rung"] == "ngram"


@pytest.mark.parametrize("word", ["New\xa0York", "\u3000", "a\u2028b"])
def test_words_with_white_space_of_other_scripts_go_out_again(tmp_path: Path, word: str):
    path = tmp_path / "theirs.arpa"
    path.write_text(THEIRS.replace("cows", word), encoding="utf-8")
    run = import_arpa(path, tmp_path / "run")
    export_arpa(run, tmp_path / "again.arpa")
    for file in (path, tmp_path / "again.arpa"):
        line = f"{word} eat {word}"
        (ours,) = rung.score(run, [line])
        assert ours.log_prob / math.log(10) == pytest.approx(kenlm.Model(str(file)).score(line), abs=1e-5)


@pytest.mark.parametrize(
    "text", ["cows eat\n", "cows eat\npigs\xa0eat cows\n\n\n eat\tpigs\n", "cows\r\n\r\npigs", "dogs\n" * 120]
)
def test_evaluate_gives_the_perplexities_of_kenlms_query(tmp_path: Path, text: str):
    """Each line a sentence, empty ones too, whatever their number; over all words, and over those that it knows."""
    (tmp_path / "theirs.arpa").write_text(THEIRS)
    run = import_arpa(tmp_path / "theirs.arpa", tmp_path / "run")
    (tmp_path / "text.txt").write_bytes(text.encode())
    theirs = kenlm.Model(str(tmp_path / "theirs.arpa"))
    words = [word for line in text.removesuffix("\n").split("\n") for word in theirs.full_scores(line)]
    known = [log10 for log10, _, is_unknown in words if not is_unknown]
    measure = rung.evaluate(run, tmp_path / "text.txt")
    assert measure.perplexity == pytest.approx(10 ** -(sum(w[0] for w in words) / len(words)), rel=1e-6)
    assert measure.perplexity_of_known == pytest.approx(10 ** -(sum(known) / len(known)), rel=1e-6)
    assert (measure.tokens, measure.unknown) == (len(words), len(words) - len(known))


def test_only_ngram_runs_can_be_exported(tmp_path: Path):
    text = tmp_path / "text.txt"
    text.write_text(sentences(50))
    with pytest.raises(UserError, match="only ngram"):
        export_arpa(rung.train("bigram", text, out=tmp_path / "run"), tmp_path / "model.arpa")
