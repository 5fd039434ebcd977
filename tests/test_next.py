"""Every `next:` line and every "go on with" is a command that works when it is pasted, from a folder with a blank in
its name too."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from rung.cli import main
from tests.text_made import sentences

TINY = "--n-layer 1 --n-head 2 --n-embd 16 --context 16"
OWN = """
from dataclasses import dataclass
from torch import nn

@dataclass(frozen=True)
class Config:
    width: int = 8

class Mine(nn.Module):
    config_class = Config
    def __init__(self, config: Config, vocab_size: int) -> None:
        super().__init__()
        self.rows, self.head = nn.Embedding(vocab_size, config.width), nn.Linear(config.width, vocab_size)
    def forward(self, ids):
        return self.head(self.rows(ids))
"""


@pytest.mark.parametrize(
    "commands",
    [
        "train ngram 'my text.txt' --order 2 --out 'the run'",
        "train mlp 'my text.txt' --steps 2 --n-hidden 8 --find-lr --tokenizer byte --out 'the run'",
        "train bag-of-words rows.csv --label label --steps 2 --out 'the run'",
        "train majority rows.csv --label label --out 'the run' --split 90/10/0",
        "climb 'my text.txt' --rungs bigram,ngram --out 'the run'",
        "climb rows.csv --label label --rungs majority --out 'the run'",
        "train ./mine.py:Mine 'my text.txt' --steps 2 --out 'the run'",
        "train ngram lines.txt --order 2 --tokenizer word --out w; export w --format arpa --out 'w w.arpa'; "
        "import arpa 'w w.arpa' --out 'the run'",
        f"train gpt 'my text.txt' --preset plain {TINY} --steps 2 --out g; export g --format hf --out 'h h'; "
        "import hf 'h h' --out 'the run'",
        "train ngram lines.txt --order 2 --out n; score n 'my text.txt' --survey",
        "recipes",
    ],
)
def test_what_is_next_works(
    commands: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("my text.txt", "lines.txt"):
        Path(name).write_text(sentences(200), encoding="utf-8")
    Path("rows.csv").write_text("text,label\n" + "cows eat,a\ngrass grows,b\n" * 60, encoding="utf-8")
    Path("mine.py").write_text(OWN, encoding="utf-8")
    out = ""
    for command in commands.split("; "):
        out = typed(f"rung {command}", capsys)
    (line,) = re.findall(r"^next: (.*)$", out, re.MULTILINE)
    if "--recipe" not in line:  # which takes long
        typed(line, capsys)


def typed(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command prints, pasted into a shell."""
    program, *arguments = shlex.split(line)
    assert program == "rung"
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    said = capsys.readouterr()
    assert not exit_.value.code, (line, said.err)
    return said.out
