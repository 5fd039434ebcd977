"""A case: something is damaged, and a command opens it. Case N of a seed is always the same."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.children import run_apart
from tests.fuzz.mutations import mutate, mutate_bytes
from tests.fuzz.victims import ANSWERING, ENCODERS, HISTORY, INPUTS, LABELLED, OWN_MODELS, STOPPED, TRAINED

ON_RUN: tuple[tuple[str, ...], ...] = (
    ("evaluate", "v", "--json"),
    ("evaluate", "v", "t.txt", "--json"),
    ("sample", "v", "--max-tokens", "5", "--json"),
    ("sample", "v", "the", "--max-tokens", "4", "--beams", "2"),
    ("sample", "v", "the", "--max-tokens", "5", "--draft", "lookup"),
    ("score", "v", "--text", "the cows"),
    ("score", "v", "r.jsonl", "--field", "text"),
    ("count", "v", "cows"),
    ("trace", "v", "t.txt"),
    ("fill", "v", "the [MASK]"),
    ("vectors", "neighbours", "v", "cows"),
    ("export", "v", "--format", "arpa", "--out", "o"),
    ("export", "v", "--format", "hf", "--out", "o"),
    ("train", "mix", "t.txt", "--runs", "v", "bigram", "--out", "o", "--quiet"),
)
ON_HISTORY = (
    ("show", "v"),
    ("show", "v", "--json"),
    ("runs", "v"),
    ("evaluate", "v", "--json"),
    ("compare", "v", "ngram", "--data", "t.txt", "--json"),
    ("compare", "v", "gpt", "--curves", "o.csv"),
    ("train", "--again", "v", "--out", "o", "--quiet"),
    ("train", "--resume", "v", "--steps", "5", "--quiet"),
    ("train", "gpt", "t.txt", "--from", "v", "--steps", "2", "--out", "o", "--quiet"),
)
ON_OWN = (
    ("show", "v", "--trust"),
    ("evaluate", "v"),
    ("evaluate", "v", "--trust", "--json"),
    ("sample", "v", "--max-tokens", "3", "--trust"),
    ("compare", "v", "ngram", "--data", "t.txt", "--trust"),
    ("train", "--again", "v", "--out", "o", "--quiet", "--trust"),
)
ON_LABELLED = (("evaluate", "v", "--json"), ("evaluate", "v", "labels.csv", "--json"))
ON_ENCODER = (
    ("evaluate", "v", "--json"),
    ("embed", "v", "--text", "the cows"),
    ("nearest", "v", "the cows", "--in", "r.csv"),
    ("nearest", "v", "the cows", "--in", "t-vectors.parquet"),
)
ON_STOPPED = (("train", "--resume", "v", "--quiet"),)
BUDGET = ("steps", "tokens", "minutes")
"""To train for longer is no fault."""


@dataclass(frozen=True)
class Fault:
    """A case that went wrong: which, what was done, what came of it."""

    number: int
    what: str
    command: str
    said: str


def run_case(seed: int, number: int, keep: Path | None = None) -> Fault | None:
    """Case `number` of `seed`, in a folder with the victims; what was damaged is copied to `keep` if it went wrong."""
    rng = random.Random(f"{seed} {number}")
    for name in ("v", "o", *(f"v{suffix}" for suffix in SUFFIXES)):
        remove(Path(name))
    what, command, place = rng.choice(CASES)(rng)
    said = run_apart(command).fault(place)
    if said is None:
        return None
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        for path in Path().glob("v*"):
            if path.name in ("v", *(f"v{suffix}" for suffix in SUFFIXES)):
                (shutil.copytree if path.is_dir() else shutil.copyfile)(path, keep / path.name)
    return Fault(number, what, " ".join(command), said)


GGUF_HEAD = 12_000
SUFFIXES = (".arpa", *(name[1:] for name in INPUTS))


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


Case = tuple[str, tuple[str, ...], str | None]


def damage_folder(victim: str, rng: random.Random) -> str:
    """A copy of a folder as `v`, a file of it damaged: a kind of file as often as another."""
    shutil.copytree(victim, "v")
    files = sorted(path for path in Path("v").rglob("*") if path.is_file())
    parents = sorted({(path.parent, path.suffix) for path in files})
    parent, suffix = rng.choice(parents)
    path = rng.choice([path for path in files if (path.parent, path.suffix) == (parent, suffix)])
    how = mutate(path, rng)
    return f"{victim}: {path}: {how}"


def _run(rng: random.Random) -> Case:
    what, command = damage_folder(rng.choice(list(TRAINED)), rng), rng.choice(ON_RUN)
    # What nothing fills, or nobody else's format can hold, is refused without being damaged.
    return what, command, None if command[0] in ("fill", "export") else "v"


def _labelled(rng: random.Random) -> Case:
    return damage_folder(rng.choice(list(LABELLED)), rng), rng.choice(ON_LABELLED), "v"


def _answering(rng: random.Random) -> Case:
    command = rng.choice([("evaluate", "v", "--json"), ("predict", "v", "--text", "the cows")])
    return damage_folder(rng.choice(list(ANSWERING)), rng), command, "v"


def _encoder(rng: random.Random) -> Case:
    victim, command = rng.choice(list(ENCODERS)), rng.choice(ON_ENCODER)
    # Vectors of another run are refused without being damaged.
    return damage_folder(victim, rng), command, None if command[-1] == "t-vectors.parquet" else "v"


def _vectors(rng: random.Random) -> Case:
    shutil.copyfile("t-vectors.parquet", "v.parquet")
    return (
        f"vectors: {mutate(Path('v.parquet'), rng)}",
        ("nearest", "tf-idf", "the cows", "--in", "v.parquet"),
        "v",
    )


def _stopped(rng: random.Random) -> Case:
    while True:
        remove(Path("v"))
        victim = rng.choice(list(STOPPED))
        what = damage_folder(victim, rng)
        if not _other_budget(Path(victim), Path("v")):
            return what, rng.choice(ON_STOPPED), None


def _history(rng: random.Random) -> Case:
    return _with_its_budget(list(HISTORY), ON_HISTORY, rng)


def _own(rng: random.Random) -> Case:
    return _with_its_budget(list(OWN_MODELS), ON_OWN, rng)


def _with_its_budget(victims: list[str], commands: tuple[tuple[str, ...], ...], rng: random.Random) -> Case:
    command = rng.choice(commands)
    while True:
        remove(Path("v"))
        victim = rng.choice(victims)
        what = damage_folder(victim, rng)
        if command[0] != "train" or not _other_budget(Path(victim), Path("v")):
            return what, command, None


def _other_budget(victim: Path, changed: Path) -> bool:
    """Whether a recipe now asks for another budget."""
    import json

    for recipe in victim.rglob("run.json"):
        try:
            said = [json.loads(path.read_text()) for path in (recipe, changed / recipe.relative_to(victim))]
            places = [(r.get("training", {}), r.get("asked", {}).get("settings", {})) for r in said]
            budgets = [[p.get(name) for p in both for name in (*BUDGET, "restarts")] for both in places]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError):
            continue
        if budgets[0] != budgets[1]:
            return True
    return False


def _arpa(rng: random.Random) -> Case:
    shutil.copyfile("words.arpa", "v.arpa")
    return f"arpa: {mutate(Path('v.arpa'), rng)}", ("import", "arpa", "v.arpa", "--out", "o"), "v"


def _gguf(rng: random.Random) -> Case:
    data = Path("llama.gguf").read_bytes()
    # Most of it is weights, of which one is as good as another: what is damaged is its head.
    Path("v.gguf").write_bytes(mutate_bytes(data[:GGUF_HEAD], rng) + data[GGUF_HEAD:])
    return "gguf: mutate_bytes", ("import", "gguf", "v.gguf", "--out", "o"), "v"


def _hf(rng: random.Random) -> Case:
    return damage_folder("hf", rng), ("import", "hf", "v", "--out", "o"), None


def _input(rng: random.Random) -> Case:
    name = rng.choice(INPUTS)
    path = Path("v" + name[1:])
    shutil.copyfile(name, path)
    how = mutate(path, rng)
    field = () if name.startswith("t.") else ("--field", "text")
    commands = [
        ("score", "ngram", str(path), *field),
        ("evaluate", "ngram", str(path), *field),
        ("train", "ngram", str(path), "--order", "3", "--out", "o", "--quiet", *field),
    ]
    return f"{path}: {how}", rng.choice(commands), None


CASES = (
    _run,
    _run,
    _run,
    _run,
    _labelled,
    _answering,
    _encoder,
    _vectors,
    _stopped,
    _history,
    _own,
    _arpa,
    _gguf,
    _hf,
    _input,
)
"""The kinds of cases, the likelier the oftener."""
