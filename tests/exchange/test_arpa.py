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
from rung.exchange.arpa_format import arpa_names
from tests.text_made import sentences


@pytest.mark.parametrize("tokenizer", ["char", "word", "bpe"])
def test_kenlm_scores_an_exported_run_as_we_do(tmp_path: Path, tokenizer: str):
    text = tmp_path / "text.txt"
    text.write_text(sentences(300))
    run = rung.train("ngram", text, out=tmp_path / "run", order=3, tokenizer=tokenizer)
    export_arpa(run, tmp_path / "model.arpa.gz")
    theirs = kenlm.Model(str(tmp_path / "model.arpa.gz"))
    names = arpa_names(run.tokenizer.token_bytes)
    for line in ("the cows eat grass.", "Romeo wants a zebra", ""):
        ids = run.tokenizer.encode(line)
        (ours,) = rung.score(run, [line])
        assert theirs.score(" ".join(names[i] for i in ids)) == pytest.approx(
            ours.log_prob / math.log(10), abs=1e-4
        )


def test_an_arpa_file_from_elsewhere_scores_as_kenlm_scores_it(tmp_path: Path):
    """Written by hand: a bigram model with an unknown word."""
    path = tmp_path / "theirs.arpa"
    path.write_text(
        "\\data\\\nngram 1=5\nngram 2=3\n\n\\1-grams:\n-1.2\t<unk>\t0\n0\t<s>\t-0.3\n-0.8\t</s>\t0\n"
        "-0.5\tcows\t-0.2\n-0.7\teat\t-0.1\n\n\\2-grams:\n-0.2\t<s> cows\n-0.1\tcows eat\n-0.4\teat </s>\n\n\\end\\\n"
    )
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


def test_only_ngram_runs_can_be_exported(tmp_path: Path):
    text = tmp_path / "text.txt"
    text.write_text(sentences(50))
    with pytest.raises(UserError, match="only ngram"):
        export_arpa(rung.train("bigram", text, out=tmp_path / "run"), tmp_path / "model.arpa")
