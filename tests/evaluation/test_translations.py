"""`rung predict` of translators, and what they are measured by when left alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sacrebleu

import rung
from rung.cli import main
from rung.evaluation.translations import Search, translate
from rung.tasks.written import figures_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    rows = [{"source": f"{a} {b}", "target": f"{b} {a}"} for a in range(14) for b in range(14)]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    small = {"n_layer": 1, "n_embd": 16, "steps": 12, "batch_size": 16, "tokenizer": "char"}
    return rung.train("encoder-decoder", folder / "a.jsonl", out=folder / "run", **small).folder


def typed(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_each_text_is_ranked_by_what_the_pair_costs(run: Path):
    """log_prob is the model's score of the pair, the closing mark counted; no text comes twice; one beam is greedy."""
    opened = rung.load(run)
    tokenizer, model = opened.tokenizer, opened.model
    (best,) = translate(opened, ["3 7"], Search(beams=6, n_best=4, length_penalty=0.5))
    assert len({one.text for one in best}) == len(best) > 1
    assert [one.score for one in best] == sorted((one.score for one in best), reverse=True)
    for one in best:
        targets = tokenizer.encode_many([one.text])
        scores = model.score_pairs(tokenizer.encode_many(["3 7"]), targets)
        if len(tokenizer.encode(one.text)) < 40:  # ended, not cut at its limit
            assert float(scores.sum()) == pytest.approx(one.log_prob, abs=1e-3)
            assert one.score == pytest.approx(one.log_prob / targets.n_tokens**0.5, abs=1e-3)
    many = [found[0] for found in translate(opened, ["1 2", "3", "12 13"], Search(beams=1))]
    alone = [next(translate(opened, [text], Search(beams=1)))[0] for text in ("1 2", "3", "12 13")]
    assert [one.text for one in many] == [one.text for one in alone]


def test_files_are_answered_in_order(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"source": "1 2", "id": 7}\n{"id": 8}\n{"source": "3"}\n')
    assert typed("predict", run, rows, "--out", tmp_path / "out.jsonl", "--beams", 2) == 0
    first, bad, last = (json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines())
    assert first["id"] == 7
    assert first["log_prob"] < 0
    assert "no field 'source'" in bad["error"]
    assert isinstance(last["text"], str)
    assert "1 of 3 records have no text" in capsys.readouterr().err
    (tmp_path / "plain.txt").write_text("1 2\n3\n")
    assert typed("predict", run, tmp_path / "plain.txt", "--out", tmp_path / "out.txt", "--beams", 1) == 0
    assert (tmp_path / "out.txt").read_text().splitlines()[0] == next(
        translate(rung.load(run), ["1 2"], Search(beams=1))
    )[0].text
    for flags in (("--words",), ("--second", "x"), ("--beams", 0), ("--n-best", 9), ("--out", "a.csv")):
        assert typed("predict", run, tmp_path / "plain.txt", *flags) == 2


def test_figures_are_sacrebleus():
    written, right = ["the cat sat on a mat", "hello there"], ["the cat sat on the mat", "hello there"]
    figures, told = figures_of(written, right)
    assert figures["exact_match"] == 0.5
    assert figures["bleu"] == pytest.approx(sacrebleu.corpus_bleu(written, [right]).score)
    assert figures["chrf"] == pytest.approx(sacrebleu.corpus_chrf(written, [right]).score)
    assert "tok:13a" in told
