"""How a text is cut: nothing is lost, and KenLM scores a file of pieces as we score the text."""

from __future__ import annotations

import json
import math
from pathlib import Path

import kenlm
import pytest

import rung
from rung.cli.app import main
from rung.errors import UserError
from rung.exchange.arpa import export_arpa
from tests.text_made import sentences

TEXT = "the cows eat.\n(Éva wants  a zebra)\n"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenization") / "text.txt"
    path.write_text(sentences(300))
    return path


@pytest.mark.parametrize("tokenizer", ["char", "byte", "word", "bpe"])
def test_kenlm_scores_a_file_of_pieces_as_we_score_the_text(
    text: Path, tmp_path: Path, tokenizer: str
) -> None:
    run = rung.train("ngram", text, out=tmp_path / "run", order=3, tokenizer=tokenizer)
    export_arpa(run, tmp_path / "model.arpa")
    (tmp_path / "other.txt").write_text(TEXT)
    found = rung.tokenize(run, tmp_path / "other.txt", out=tmp_path / "pieces.txt")
    (line,) = (tmp_path / "pieces.txt").read_text().splitlines()
    assert line.count(" ") == found.tokens - 1
    (score,) = rung.score(run, [TEXT])
    theirs = kenlm.Model(str(tmp_path / "model.arpa"))
    assert theirs.score(line) == pytest.approx(score.log_prob / math.log(10), rel=1e-5)
    assert all(not unknown for _, _, unknown in theirs.full_scores(line))
    # The file's own head says how: KenLM takes it, and it names the two commands.
    head = (tmp_path / "model.arpa").read_text().split("\\data\\")[0]
    assert "rung tokenize RUN TEXT --out PIECES && query MODEL.arpa < PIECES" in head


@pytest.mark.parametrize("kind", ["char", "byte", "word", "bpe", "wordpiece", "unigram"])
def test_pieces_join_up_to_the_text_and_are_counted(text: Path, kind: str) -> None:
    found = rung.tokenize(kind, text, text=TEXT, vocab_size=None if kind in ("char", "byte", "word") else 540)
    (pieces,) = found.pieces
    assert "".join(piece.text for piece in pieces) == TEXT
    assert (found.documents, found.tokens) == (1, len(pieces))
    assert (found.words, found.bytes) == (len(TEXT.split()), len(TEXT.encode()))
    assert found.tokens_per_word == len(pieces) / len(TEXT.split())
    assert found.tokens_per_byte == len(pieces) / len(TEXT.encode())


def test_closed_words_are_a_token_each(text: Path) -> None:
    found = rung.tokenize("word", text, text=TEXT, vocabulary="closed", unknown=True)
    assert (found.tokens_per_word, found.unknown) == (1.0, 3)
    names = [piece.name for piece in found.pieces[0]]
    assert names == ["the", "cows", "<unk>", "<unk>", "wants", "a", "<unk>"]
    with pytest.raises(UserError, match=r"'eat\.' is none of the"):
        rung.tokenize("word", text, text=TEXT, vocabulary="closed")


def test_from_the_command_line(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def shown(*arguments: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            main(["tokenize", *arguments])
        assert stopped.value.code == 0
        return capsys.readouterr().out

    names, ids, *_ = shown("byte", "--text", "a é").splitlines()
    assert names.split() == ["a", "▁", "<0xC3>", "<0xA9>"]
    assert ids.split() == ["97", "32", "195", "169"]
    said = json.loads(shown("word", str(text), "--text", "the cows\tsee", "--json"))
    assert said["words"] == 3
    assert "".join(piece["text"] for piece in said["pieces"][0]) == "the cows\tsee"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bpe"], "name the text that bpe is to learn from"),
        (["byte", "--text", "a", "--show", "-1"], "--show -1 is not possible"),
        (["word", "FILE", "--vocabulary", "closed", "--min-count", "3"], "--min-count 3 goes with --unknown"),
        (["no-such-run", "--text", "a"], "there is no run folder no-such-run"),
        (["byte", "FILE", "--out", "FILE"], "would overwrite"),
    ],
)
def test_what_is_at_fault_is_told_in_one_line(
    text: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = text.read_text()
    with pytest.raises(SystemExit) as stopped:
        main(["tokenize", *[str(text) if part == "FILE" else part for part in arguments]])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert text.read_text() == before
