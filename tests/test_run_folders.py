"""Nothing is lost: an older run goes only when its successor stands, wherever it is killed or the disk full."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rung
from rung.errors import UserError
from rung.evaluation.filter import Scoring
from rung.events import Checkpoint, Event, Step
from rung.exchange.arpa import export_arpa, import_arpa
from rung.run_files import NEXT
from rung.run_folders import free_folder, held
from tests.faults import full_disk, killed_at_each

TINY: dict[str, Any] = {"n_layer": 1, "n_head": 2, "n_embd": 8, "context": 8, "batch_size": 2}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def model_in(folder: str | Path) -> bytes:
    """The weights of a run that can be used."""
    assert rung.load(folder).model.n_parameters
    return (Path(folder) / "model.safetensors").read_bytes()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a text and two runs, `a` and `w`."""
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text("the cows eat corn and grass.\n" * 40)
    rung.train("bigram", "t.txt", out="a")
    return tmp_path


def count(**settings: Any) -> rung.Run:
    return rung.train("bigram", "t.txt", out="v", add_k=2.0, **settings)


@pytest.fixture
def words(here: Path) -> Path:
    """A word model, as ARPA files hold them."""
    return rung.train("ngram", "t.txt", out="w", order=2, tokenizer="word", documents="lines").folder


def test_killed_anywhere_the_old_run_or_the_new_is_there_and_the_same_command_works(here: Path):
    old = model_in("a")
    new = model_in(count().folder)
    seen: set[bytes] = set()
    shutil.rmtree("v")
    shutil.copytree("a", "v")
    files = set(contents(Path("v")))
    for _ in killed_at_each(lambda: count(force=True)):
        seen.add(found := model_in("v"))
        assert found in (old, new)
        assert sorted(os.listdir()) == ["a", "t.txt", "v"]
        if found == new:  # what is left is put away by the next that writes there
            with held(Path("v")):
                assert set(contents(Path("v"))) == files
            shutil.rmtree("v")
            shutil.copytree("a", "v")
    assert seen == {old, new}
    assert model_in(count(force=True).folder) == new
    assert set(contents(Path("v"))) == files


def test_killed_anywhere_a_first_run_does_not_block_the_next(here: Path):
    whole = model_in(count().folder)
    shutil.rmtree("v")
    for _ in killed_at_each(count, every=3):
        finished = Path("v/model.safetensors").exists()
        assert model_in(count(force=finished).folder) == whole
        shutil.rmtree("v")


@pytest.mark.parametrize("where", ["new", "old"])
def test_a_full_disk_is_told_in_a_line_and_leaves_what_was_there(here: Path, where: str):
    if where == "old":
        shutil.copytree("a", "v")
    before, n = contents(here), 0
    while True:
        with full_disk(n) as met:
            said = ""
            try:
                count(force=where == "old")
            except UserError as error:
                said = str(error)
        if not met:
            break
        assert "No space left on device" in said
        assert contents(here) == before
        assert ("v" in os.listdir()) == (where == "old")
        n += 1 if where == "old" else 4
    assert n > 10


@pytest.mark.parametrize("what", ["score", "arpa", "import"])
def test_killed_anywhere_an_output_is_the_old_one_or_the_new(here: Path, words: Path, what: str):
    run = rung.load(words)

    def write(out: str) -> None:
        if what == "score":
            list(Scoring(run, "t.txt", out=Path(f"{out}.jsonl")).parts())
        elif what == "arpa":
            export_arpa(run, Path(f"{out}.arpa"))
        else:
            import_arpa(Path("m.arpa"), Path(out), force=True)

    export_arpa(run, Path("m.arpa"))
    write("good")
    name = next(name for name in os.listdir() if name.startswith("good"))
    out = Path(name.replace("good", "out"))
    read: Callable[[Path], bytes] = model_in if what == "import" else Path.read_bytes
    for _ in killed_at_each(lambda: write("out")):
        if (out / "run.json").exists() if what == "import" else out.exists():
            assert read(out) == read(Path(name))
        write("out")
        assert read(out) == read(Path(name))
        assert not [left for left in os.listdir() if left.endswith(".part")]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"window": 9}, "--window"),
        ({"device": "cuda"}, "cuda"),
        ({"shard": True}, "--shard"),
        ({"lr": 1e30, "clip": 0}, "diverged before its first checkpoint"),
        ({"n_hidden": 200_000_000_000_000}, "out of memory"),
    ],
    ids=["window", "cuda", "shard", "diverged", "memory"],
)
def test_a_start_that_is_refused_leaves_the_run_that_was_there_and_nothing_else(
    here: Path, settings: dict[str, Any], says: str
):
    shutil.copytree("a", "v")
    before = contents(here)
    how: dict[str, Any] = {"steps": 60} | TINY | settings
    for out, force in (("v", True), ("new", False)):
        with pytest.raises(UserError, match=says):
            rung.train("gpt", "t.txt", out=out, force=force, **how)
        assert contents(here) == before
        assert sorted(os.listdir()) == ["a", "t.txt", "v"]


def test_the_old_run_goes_with_the_first_checkpoint(here: Path):
    shutil.copytree("a", "v")
    Path("v/notes.txt").write_text("mine")
    rungs: list[tuple[str, str]] = []

    def watch(event: Event) -> None:
        if isinstance(event, Step | Checkpoint):
            rungs.append((event.to_json()["kind"], rung.load("v").rung))

    how: dict[str, Any] = TINY | {"steps": 4, "checkpoint_every": 2, "eval_every": 100}
    rung.train("gpt", "t.txt", out="v", force=True, on_event=watch, **how)
    assert rungs[:4] == [("step", "bigram"), ("step", "bigram"), ("checkpoint", "gpt"), ("step", "gpt")]
    assert Path("v/notes.txt").read_text() == "mine"
    assert not Path("v", NEXT).exists()


def test_a_sweep_of_the_learning_rate_leaves_the_run_that_is_there(here: Path):
    before = contents(Path("a"))
    assert rung.find_lr("neural-bigram", "t.txt", out="a") is not None
    after = contents(Path("a"))
    assert after.pop("lr_finder.svg")
    assert after == before
    Path("lr").mkdir()
    shutil.move("a/lr_finder.svg", "lr")
    rung.train("bigram", "t.txt", out="lr")  # a picture alone is in nobody's way


def test_a_climb_that_fails_leaves_the_climb_that_was_there(here: Path):
    rung.climb("t.txt", rungs=["bigram", "ngram"], out="c")
    before = contents(here)
    with pytest.raises(UserError, match="--shard"):
        rung.climb("t.txt", rungs=["bigram", "neural-bigram"], out="c", force=True, steps=2, shard=True)
    assert contents(here) == before
    rung.climb("t.txt", rungs=["bigram", "infinigram", "mix"], out="c", force=True)
    assert sorted(path.name for path in Path("c").iterdir() if path.is_dir()) == [
        "bigram",
        "data",
        "infinigram",
        "mix",
    ]


def test_an_output_that_is_an_input_is_refused(here: Path, words: Path):
    rung.train("ngram", "t.txt", out="b")
    Path("link").symlink_to("b")
    before = contents(here)
    with pytest.raises(UserError, match="--out a would overwrite a"):
        rung.train("mix", "t.txt", runs=("a", "b"), out="a", force=True)
    with pytest.raises(UserError, match="--out link would overwrite b"):
        rung.train("mix", "t.txt", runs=("a", "b"), out="link", force=True)
    with pytest.raises(UserError, match="would overwrite"):
        rung.train("bigram", "a/*.jsonl", out="a", force=True)
    with pytest.raises(UserError, match="would overwrite"):
        rung.train("bigram", "t.txt", val="a/events.jsonl", out="a", force=True)
    with pytest.raises(UserError, match="part of the run w"):
        export_arpa(rung.load(words), words / "model.safetensors")
    with pytest.raises(UserError, match="part of the run a"):
        Scoring(rung.load("a"), "t.txt", out=Path("a/events.jsonl"))
    with pytest.raises(UserError, match="part of the run a"):
        export_arpa(rung.load(words), Path("a/model.safetensors"))
    assert contents(here) == before


def test_what_is_no_runs_survives_with_and_without_force(here: Path):
    mine = ("site/.next/page.js", "site/package.json", "project/checkpoints/1.pt", "project/train.py")
    for name in mine:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("mine")
    Path("project/data").mkdir()
    for folder in ("site", "project"):
        for force in (False, True):
            with pytest.raises(UserError, match="holds files that are no run"):
                rung.train("bigram", "t.txt", out=folder, force=force)
    assert all(Path(name).read_text() == "mine" for name in mine)
    Path("empty/data").mkdir(parents=True)  # what a process leaves that is killed at its first step
    rung.train("bigram", "t.txt", out="empty")


def test_an_old_folder_that_can_not_be_removed_stops_no_exchange(here: Path, monkeypatch: pytest.MonkeyPatch):
    remove = os.unlink

    def refused(path: Any, **how: Any) -> None:
        if str(path).endswith("train.npy"):
            raise PermissionError(13, os.strerror(13))
        remove(path, **how)

    monkeypatch.setattr(os, "unlink", refused)
    for add_k in (2.0, 3.0):
        run = rung.train("bigram", "t.txt", out="a", add_k=add_k, force=True)
        assert run.config.add_k == add_k
        assert run.corpus.train.n_tokens


def test_a_climb_does_not_begin_where_it_could_not_take_its_place(here: Path):
    rung.climb("t.txt", rungs=["bigram"], out="c")
    Path("c/ngram").write_text("mine")
    Path("c/mix").symlink_to("../a")
    before = contents(here)
    with pytest.raises(UserError, match="c/ngram is no folder"):
        rung.climb("t.txt", rungs=["bigram", "ngram"], out="c", force=True)
    Path("c/ngram").unlink()
    with pytest.raises(UserError, match="c/mix is no folder"):
        rung.climb("t.txt", rungs=["bigram", "ngram"], out="c", force=True)
    before.pop("c/ngram")
    assert contents(here) == before


def test_a_part_of_a_climb_that_was_killed_while_it_took_its_place_is_found(here: Path):
    rung.climb("t.txt", rungs=["bigram"], out="c")
    model = model_in("c/bigram")
    Path("c/.rung-moving").mkdir()
    Path("c/bigram").rename("c/.rung-moving/bigram")
    assert model_in("c/bigram") == model
    assert not Path("c/.rung-moving").exists()


def test_a_run_that_was_opened_is_not_mixed_with_the_one_that_took_its_place(here: Path):
    opened, used = rung.load("a"), rung.load("a")
    score = used.model.score(used.tokenizer.encode("cows"))
    rung.train("bigram", "t.txt", out="a", add_k=9.0, tokenizer="byte", force=True)
    for part in ("model", "tokenizer", "corpus"):
        with pytest.raises(UserError, match="a was replaced by another run after it was opened"):
            getattr(opened, part)
    assert (used.model.score(used.tokenizer.encode("cows")) == score).all()


def test_one_process_at_a_time_writes_into_a_folder(here: Path):
    with held(Path(".")), pytest.raises(UserError, match="another process is writing into"):
        rung.train("bigram", "t.txt", out="a", force=True)  # as a part of a climb in it
    with held(Path("a")), pytest.raises(UserError, match="another process is writing into a"):
        rung.train("bigram", "t.txt", out="a", force=True)
    with held(Path("runs/bigram")):
        assert free_folder("bigram") == Path("runs/bigram-2")
    assert free_folder("bigram") == Path("runs/bigram")


def test_what_a_killed_process_left_beside_an_output_goes_and_what_a_live_one_writes_stays(here: Path):
    Path(".o.jsonl.1.part").write_text("of a process that is no more")
    with Path(".o.jsonl.2.part").open("w") as live:
        fcntl.flock(live, fcntl.LOCK_EX)
        list(Scoring(rung.load("a"), "t.txt", out=Path("o.jsonl")).parts())
        assert sorted(os.listdir()) == [".o.jsonl.2.part", "a", "o.jsonl", "t.txt"]
