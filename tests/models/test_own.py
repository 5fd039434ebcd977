"""A model in a user's own file, or of an installed package: all that a rung of ours does, and nothing run unasked."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import rung
from rung.cli import main
from rung.models import own
from rung.models.own import CodeChanged, kebab
from rung.runs import Run
from rung.testing import check_classifier
from tests.text_made import sentences

UNIGRAM = '''
from dataclasses import dataclass
import numpy as np
from rung.models.base import CountedModel

from pathlib import Path
Path("imported").touch()

@dataclass(frozen=True)
class Config:
    """Its settings.

    Attributes:
        k: what is added to each count.
    """
    k: float = 1.0

class MyUnigram(CountedModel):
    """Counts tokens."""
    config_class = Config
    context = 0

    def __init__(self, config, vocab_size, end, counts):
        super().__init__(config, vocab_size, end)
        self.counts = counts
        self.row = np.log((counts + config.k) / (counts + config.k).sum())

    @classmethod
    def fit(cls, config, stream, vocab_size, end):
        yield cls(config, vocab_size, end, np.bincount(np.asarray(stream.ids)[1:], minlength=vocab_size))

    def start(self, batch=1):
        return np.empty((batch, 0))

    def advance(self, state, tokens):
        return np.tile(self.row, (len(state), 1)), state

    def select(self, state, rows):
        return state[rows]

    def score(self, tokens):
        return self.row[tokens]

    @property
    def n_parameters(self):
        return self.vocab_size

    def tensors(self):
        return {"counts": self.counts}

    @classmethod
    def from_tensors(cls, config, vocab_size, end, tensors):
        return cls(config, vocab_size, end, tensors["counts"])
'''

NETWORK = """
from dataclasses import dataclass
from torch import nn

@dataclass(frozen=True)
class Config:
    width: int = 4
    context: int = 6

class Net(nn.Module):
    def __init__(self, config: Config, vocab_size: int):
        super().__init__()
        self.table = nn.Embedding(vocab_size, config.width)
        self.mix = nn.Conv1d(config.width, config.width, config.context)
        self.head = nn.Linear(config.width, vocab_size)
        self.pad = config.context - 1

    def forward(self, tokens):
        x = self.table(tokens).transpose(1, 2)
        x = self.mix(nn.functional.pad(x, {padding})).relu()
        return self.head(x.transpose(1, 2))
"""

LABELS = """
from dataclasses import dataclass
from rung.models.counting.majority import Majority

@dataclass(frozen=True)
class Config:
    pass

class Again(Majority):
    config_class = Config
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """With a text and two models; what was imported before is forgotten, as in a new process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("text.txt").write_text(sentences(60), encoding="utf-8")
    Path("mine.py").write_text(UNIGRAM)
    Path("net.py").write_text(NETWORK.format(padding="(self.pad, 0)"))
    own._imported.clear()
    yield tmp_path
    own._imported.clear()


def test_probabilities_are_those_counted_on_paper(folder: Path):
    run = rung.train("./mine.py:MyUnigram", "text.txt", k=0.5)
    assert (run.folder, run.rung) == (Path("runs/my-unigram"), "my-unigram")
    ids = np.asarray(run.corpus.train.ids)[1:]
    token = int(ids[0])
    expected = ((ids == token).sum() + 0.5) / (len(ids) + 0.5 * run.model.vocab_size)
    assert np.exp(run.model.score(np.array([token]))[0]) == pytest.approx(expected)


def test_the_recipe_says_which_code_it_needs(folder: Path):
    rung.train("./mine.py:MyUnigram", "text.txt", out="run")
    model = json.loads(Path("run/run.json").read_text())["model"]
    assert model["code"] == {
        "file": str(folder / "mine.py"),
        "class": "MyUnigram",
        "sha256": hashlib.sha256(UNIGRAM.encode()).hexdigest(),
    }


def test_a_strangers_file_is_imported_only_when_the_user_says_so(folder: Path):
    rung.train("./mine.py:MyUnigram", "text.txt", out="run")
    own._imported.clear()
    Path("imported").unlink()
    run = rung.load("run")  # what it says can be read
    assert run.recipe["model"]["rung"] == "my-unigram"
    with pytest.raises(rung.UserError, match=r"--trust"):
        run.model  # noqa: B018
    with pytest.raises(rung.UserError, match=r"--trust"):
        rung.evaluate("run")
    assert not Path("imported").exists()
    assert rung.evaluate(rung.load("run", trust=True)).bits_per_byte > 0
    assert Path("imported").exists()


def test_a_mixture_asks_for_its_parts(folder: Path):
    rung.train("./mine.py:MyUnigram", "text.txt", out="a")
    rung.train("./net.py:Net", "text.txt", out="b", steps=2)
    rung.train("mix", "text.txt", runs=("a", "b"), out="mixed")
    own._imported.clear()
    with pytest.raises(rung.UserError, match=r"^a part of the mixture needs its own code.*--trust"):
        rung.load("mixed").model  # noqa: B018
    assert rung.load("mixed", trust=True).model.vocab_size == rung.load("a").recipe["model"]["vocab_size"]


def test_a_changed_file_is_told(folder: Path):
    rung.train("./mine.py:MyUnigram", "text.txt", out="run")
    own._imported.clear()
    Path("mine.py").write_text(UNIGRAM + "\n# another line\n")
    with pytest.warns(CodeChanged, match=r"mine\.py has changed since run was trained"):
        rung.load("run", trust=True).model  # noqa: B018


def test_a_file_that_moved_is_named(folder: Path):
    rung.train("./mine.py:MyUnigram", "text.txt", out="run")
    own._imported.clear()
    Path("mine.py").rename("elsewhere.py")
    with pytest.raises(rung.UserError, match=r"not there; say where it is: --trust=FILE"):
        rung.load("run", trust=True).model  # noqa: B018
    assert rung.load("run", trust="elsewhere.py").model.n_parameters > 0


def test_a_torch_module_resumes_as_if_left_alone(folder: Path):
    through = rung.train("./net.py:Net", "text.txt", out="through", steps=12, checkpoint_every=4)
    steps = iter(range(100))
    rung.train(
        "./net.py:Net", "text.txt", out="cut", steps=12, checkpoint_every=4, stop=lambda: next(steps) > 6
    )
    own._imported.clear()
    with pytest.raises(rung.UserError, match="--trust"):
        rung.resume("cut")
    again = rung.resume("cut", trust=True)
    for name, weights in through.model.tensors().items():
        np.testing.assert_array_equal(again.model.tensors()[name], weights)


def test_a_module_that_looks_ahead_is_refused(folder: Path):
    Path("net.py").write_text(NETWORK.format(padding="(self.pad // 2, self.pad - self.pad // 2)"))
    with pytest.raises(rung.UserError, match="looks ahead"):
        rung.train("./net.py:Net", "text.txt", steps=2)


def test_a_classifier_learns_labels(folder: Path):
    Path("labels.py").write_text(LABELS)
    Path("rows.csv").write_text("text,label\n" + "".join(f"word {i},{'ab'[i % 3 == 0]}\n" for i in range(60)))
    run = rung.train("labels.py", "rows.csv", label="label")
    assert (run.rung, run.task.name) == ("again", "classification")
    check_classifier(run.model)


def test_a_climb_and_its_folders(folder: Path, capsys: pytest.CaptureFixture[str]):
    command = ["climb", "text.txt", "--rungs", "./mine.py:MyUnigram,bigram,mix", "--out", "c", "--json"]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in report["rungs"]] == ["my-unigram", "bigram", "mix"]
    assert Path("c/my-unigram/run.json").exists()


@pytest.mark.parametrize(
    ("source", "spec", "told"),
    [
        ("x = (", "f.py:X", r"f\.py can't be imported: SyntaxError.*line 1"),
        ("import nosuch_module", "f.py:X", r"f\.py can't be imported: ModuleNotFoundError.*\(line 1\)"),
        ("class X: pass", "f.py:X", r"f\.py:X is no model: derive it from"),
        ("class X: pass", "f.py:Y", r"f\.py has no class 'Y' \(it has: X\)"),
        ("class X: pass", "f.py", r"name a class, .*f\.py:CLASS"),
        (
            UNIGRAM.replace("    def select", "    def choose"),
            "f.py:MyUnigram",
            r"not complete: it lacks select",
        ),
        (UNIGRAM.replace("k: float = 1.0", "k: float"), "f.py:MyUnigram", r"'k' of .* has no default"),
        (UNIGRAM.replace("k: float", "steps: float"), "f.py:MyUnigram", r"setting 'steps', as training has"),
        (UNIGRAM.replace("context = 0", "rung = 'gpt'"), "f.py:MyUnigram", r"the name gpt is there already"),
    ],
)
def test_what_can_be_no_rung_is_told_in_one_line(folder: Path, source: str, spec: str, told: str):
    Path("f.py").write_text(source)
    with pytest.raises(rung.UserError, match=told):
        rung.train(spec, "text.txt")
    assert not Path("runs").exists()


def test_the_line_of_the_users_own_error_is_named(folder: Path, capsys: pytest.CaptureFixture[str]):
    Path("mine.py").write_text(UNIGRAM.replace("yield cls(config", "yield cls(confg"))
    with pytest.raises(SystemExit) as ended:
        main(["train", "./mine.py:MyUnigram", "text.txt"])
    assert ended.value.code == 2
    line = next(i for i, text in enumerate(UNIGRAM.splitlines(), 1) if "yield" in text)
    assert f"mine.py, line {line}: NameError" in capsys.readouterr().err


def test_an_installed_package_offers_a_rung(folder: Path):
    Path("site/offer-1.0.dist-info").mkdir(parents=True)
    Path("site/offer-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: offer\nVersion: 1.0\n")
    Path("site/offer-1.0.dist-info/entry_points.txt").write_text(
        "[rung.rungs]\noffered = offered_model:MyUnigram\n"
    )
    Path("site/offered_model.py").write_text(UNIGRAM)
    sys.path.append(str(folder / "site"))
    run = rung.train("offered", "text.txt", k=2.0)
    assert (run.rung, run.recipe["model"]["config"]) == ("offered", {"k": 2.0})
    assert isinstance(rung.load(run.folder), Run)
    assert rung.load(run.folder).model.n_parameters == run.model.n_parameters


@pytest.mark.parametrize(
    ("name", "typed"),
    [("MyModel", "my-model"), ("GPTLike", "gpt-like"), ("net", "net"), ("A_b", "a-b"), ("RNN2", "rnn2")],
)
def test_names_as_they_are_typed(name: str, typed: str):
    assert kebab(name) == typed
