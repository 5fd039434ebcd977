"""Did a change change any number? Every rung, recipe and way of training, run small, and the SHA-256 of what came out.

    python benchmarks/fingerprints.py make OUT.json [NAME ...]        # in the old checkout, then in the new one
    python benchmarks/fingerprints.py compare OLD.json NEW.json

Each command runs in a process of its own, on one thread, by a clock that moves a fixed amount with each optimiser step
and never else: so budgets in minutes end at the same step whoever measures, and times are part of what is compared. A
kill is at an exact step; `--precision auto` is float32. Kept are the SHA-256 of every `model.safetensors` and each
`--json` line, less what names the moment and the machine. Two checkouts compare only on one machine and with the
same installed packages.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

STEP_SECONDS = 0.02
MOMENTARY = ("created", "machine", "versions", "command")

PREPARE = """
import random
rng = random.Random(7)
words = ["the", "cows", "eat", "grass", "corn", "hay", "and", "farmers", "sing", "à", "l'heure", "牛", "if", "which"]
lines = [" ".join(rng.choices(words, k=rng.randint(2, 9))) for _ in range(1500)]
open("cows.txt", "w").write("\\n".join(lines) + "\\n")
open("prose.txt", "w").write(". ".join(lines))
"""

NETWORKS = ("neural-bigram", "mlp", "wavenet", "rnn", "lstm", "gru", "gpt")
SCRATCH = ("scratch-bigram", "scratch-mlp", "scratch-rnn", "scratch-gpt")

Command = list[str]


def cases() -> dict[str, list[Command]]:
    """What is run, by name: commands one after the other in one folder. `@N` before one kills it at step N;
    `torchrun` before one starts two processes."""
    found: dict[str, list[Command]] = {}
    for text, rungs in (("cows.txt", (*NETWORKS, *SCRATCH)), ("prose.txt", (*NETWORKS, *SCRATCH))):
        for rung in rungs:
            steps = "30" if rung.startswith("scratch") else "60"
            found[f"{rung} {text}"] = [
                ["train", rung, text, "--out", "run", "--steps", steps, "--eval-every", "20", "--json"],
                ["evaluate", "run", "--json"],
                ["sample", "run", "--seed", "3", "--max-tokens", "60", "--json"],
                ["score", "run", "cows.txt"],
            ]
    for rung in ("bigram", "ngram", "infinigram"):
        found[rung] = [
            ["train", rung, "prose.txt", "--out", "run", "--json"],
            ["evaluate", "run", "cows.txt", "--json"],
            ["sample", "run", "--seed", "3", "--max-tokens", "60", "--json"],
            ["score", "run", "cows.txt"],
        ]
    word = ["--tokenizer", "word", "--documents", "lines"]
    found["ngram words"] = [
        ["train", "ngram", "cows.txt", *word, "--order", "3", "--out", "run", "--json"],
        ["export", "run", "--format", "arpa", "--out", "words.arpa"],
        ["import", "arpa", "words.arpa", "--out", "back"],
        ["evaluate", "back", "cows.txt", "--documents", "lines", "--json"],
        ["count", "run", "the cows", "--json"],
        ["fill", "run", "the cows [MASK] grass", "--json"],
    ]
    for smoothing in ("none", "add-k", "witten-bell", "kneser-ney", "absolute", "stupid-backoff"):
        found[f"ngram {smoothing}"] = [
            ["train", "ngram", "cows.txt", "--smoothing", smoothing, "--order", "4", "--out", "run", "--json"]
        ]
    found["ngram memory"] = [
        ["train", "ngram", "prose.txt", "--memory", "64M", "--prune", "0", "1", "1", "--out", "run", "--json"]
    ]
    for tokenizer in ("byte", "word", "bpe", "wordpiece", "unigram"):
        found[f"tokenizer {tokenizer}"] = [
            [
                "train",
                "ngram",
                "cows.txt",
                "--tokenizer",
                tokenizer,
                "--vocab-size",
                "300",
                "--out",
                "run",
                "--json",
            ]
            if tokenizer not in ("byte", "word")
            else ["train", "ngram", "cows.txt", "--tokenizer", tokenizer, "--out", "run", "--json"],
            ["evaluate", "run", "--json"],
        ]
    how = {
        "sgd": ["--optimizer", "sgd"],
        "momentum": ["--optimizer", "momentum", "--weight-decay", "0.01"],
        "nesterov": ["--optimizer", "nesterov", "--clip", "0"],
        "adam": ["--optimizer", "adam", "--l1", "1e-4", "--l2", "1e-4"],
        "muon": ["--optimizer", "muon", "--accumulate", "2"],
        "average": ["--average", "0.9", "--schedule", "cosine"],
        "patience": ["--patience", "1", "--lr", "1.0"],
        "overfit": ["--overfit-one-batch"],
        "bfloat16": ["--precision", "bfloat16"],
        "wsd": ["--schedule", "wsd", "--window", "16", "--batch-size", "7"],
    }
    for name, flags in how.items():
        found[f"how {name}"] = [
            [
                "train",
                "gpt",
                "prose.txt",
                "--n-layer",
                "2",
                "--n-embd",
                "32",
                "--steps",
                "40",
                *flags,
                "--out",
                "run",
                "--json",
            ]
        ]
    for preset in ("plain", "gpt1", "gpt2", "llama"):
        shape = [
            "--n-layer",
            "2",
            "--n-head",
            "2",
            "--n-embd",
            "32",
            "--context",
            "24",
            "--tokenizer",
            "char",
        ]
        found[f"preset {preset}"] = [
            [
                "train",
                "gpt",
                "prose.txt",
                "--preset",
                preset,
                *shape,
                "--steps",
                "20",
                "--out",
                "run",
                "--json",
            ],
            ["export", "run", "--format", "hf", "--out", "hf"],
            ["import", "hf", "hf", "--out", "back"],
            ["evaluate", "back", "cows.txt", "--json"],
        ]
    found["batch norm"] = [
        [
            "train",
            "mlp",
            "prose.txt",
            "--batch-norm",
            "--steps",
            "60",
            "--average",
            "0.9",
            "--out",
            "run",
            "--json",
        ]
    ]
    for rung in ("mlp", "scratch-mlp", "gru", "gpt"):
        steps = ["--steps", "30", "--eval-every", "10"]
        found[f"restarts {rung}"] = [
            ["train", rung, "cows.txt", *steps, "--restarts", "3", "--out", "run", "--json"]
        ]
    for rung in ("mlp", "gru", "gpt", "scratch-rnn"):
        steps = ["--steps", "40", "--checkpoint-every", "7", "--eval-every", "10"]
        found[f"resume {rung}"] = [
            ["@25", "train", rung, "cows.txt", *steps, "--out", "run", "--json"],
            ["train", "--resume", "run", "--json"],
        ]
    found["resume restarts"] = [
        [
            "@45",
            "train",
            "mlp",
            "cows.txt",
            "--steps",
            "30",
            "--restarts",
            "3",
            "--checkpoint-every",
            "7",
            "--out",
            "run",
        ],
        ["train", "--resume", "run", "--json"],
    ]
    found["find lr"] = [["train", "mlp", "cows.txt", "--find-lr", "--out", "run", "--json"]]
    found["climb steps"] = [
        [
            "climb",
            "cows.txt",
            "--steps",
            "40",
            "--rungs",
            "bigram,ngram,neural-bigram,gpt",
            "--out",
            "climb",
            "--json",
        ]
    ]
    found["climb minutes"] = [
        [
            "climb",
            "prose.txt",
            "--minutes",
            "0.02",
            "--rungs",
            "bigram,ngram,mlp,gru,gpt,mix",
            "--out",
            "climb",
            "--json",
        ]
    ]
    found["best"] = [["train", "best", "prose.txt", "--minutes", "0.06", "--out", "best", "--json"]]
    found["mix"] = [
        ["train", "ngram", "prose.txt", "--out", "a"],
        ["train", "mlp", "prose.txt", "--steps", "60", "--out", "b"],
        ["train", "mix", "prose.txt", "--runs", "a", "b", "--out", "run", "--json"],
        ["evaluate", "run", "--json"],
        ["sample", "run", "--seed", "3", "--max-tokens", "40", "--json"],
        ["score", "run", "cows.txt"],
    ]
    two = ["--steps", "30", "--eval-every", "10"]
    for rung in ("gpt", "gru", "ngram"):
        settings = [] if rung == "ngram" else two
        found[f"two processes {rung}"] = [
            ["torchrun", "train", rung, "cows.txt", *settings, "--out", "run", "--json"]
        ]
    found["two processes shard"] = [
        ["torchrun", "train", "gpt", "cows.txt", *two, "--shard", "--out", "run", "--json"]
    ]
    found["two processes evaluate"] = [
        ["train", "gpt", "cows.txt", *two, "--out", "run"],
        ["torchrun", "evaluate", "run", "--json"],
    ]
    for recipe in sorted(path.stem for path in RECIPES.glob("*.toml")):
        found[f"recipe {recipe}"] = [["recipe", recipe]]
    return found


RECIPES = Path(__file__).parents[1] / "src/rung/recipes"
RECIPE_STEPS, RECIPE_STEPS_LARGE = 200, 10


def main() -> None:
    """`make` or `compare`."""
    verb, *arguments = sys.argv[1:]
    if verb == "make":
        out, *names = arguments
        make(Path(out), names)
    elif verb == "compare":
        old, new = (json.loads(Path(name).read_text()) for name in arguments)
        sys.exit(compare(old, new))
    elif verb == "run":  # one command, by the clock that counts steps
        one(arguments)
    else:
        sys.exit(__doc__)


def make(out: Path, names: list[str]) -> None:
    """Run the cases (all, or those that hold one of `names`) and write what came of them, case by case."""
    found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    for name, commands in cases().items():
        if (names and not any(part in name for part in names)) or (not names and name in found):
            continue
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, "-c", PREPARE], cwd=folder, check=True)
            said = [spoken(command, Path(folder)) for command in commands]
            models = {
                path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(Path(folder).rglob("*.safetensors"))
                if path.name == "model.safetensors"
            }
        found[name] = {"models": models, "said": said}
        out.write_text(json.dumps(found, indent=1))
        print(name, *(f"{line['code']}" for line in said), flush=True)


def spoken(command: Command, folder: Path) -> dict[str, Any]:
    """Exit code, stdout (its JSON without what is momentary) and, of a failure, stderr."""
    threads = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
    )
    environment = {**os.environ, **threads, "PYTHONPATH": str(RECIPES.parents[1])}
    start = [sys.executable]
    if command[0] == "torchrun":
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command = command[1:]
    if command[0].startswith("@"):
        environment["KILL_AT_STEP"] = command[0][1:]
        command = command[1:]
    done = subprocess.run(
        [*start, __file__, "run", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        out = without(json.loads(done.stdout), MOMENTARY)
    except ValueError:
        out = done.stdout
    return {
        "code": done.returncode,
        "out": out,
        "err": done.stderr[-2000:] if done.returncode not in (0, 9) else "",
    }


def without(value: Any, names: tuple[str, ...]) -> Any:
    """JSON without the keys `names`, at any depth."""
    if isinstance(value, dict):
        return {key: without(part, names) for key, part in value.items() if key not in names}
    return [without(part, names) for part in value] if isinstance(value, list) else value


def one(arguments: list[str]) -> None:
    """One command of Rung's in this process."""
    import time

    from torch.optim.optimizer import register_optimizer_step_post_hook

    steps = 0
    kill_at = int(os.environ.get("KILL_AT_STEP", "0"))

    def tick(*_: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == kill_at:
            os._exit(9)

    register_optimizer_step_post_hook(tick)
    from rung.scratch.optimizers import Optimizer

    stepped = Optimizer.step
    Optimizer.step = lambda self: (stepped(self), tick())[0]
    clock = time.monotonic

    def monotonic() -> float:
        """Only Rung goes by steps; who waits for another process does not."""
        ours = sys._getframe(1).f_globals["__name__"].startswith("rung.")
        return steps * STEP_SECONDS if ours else clock()

    time.monotonic = monotonic
    from rung.training import precision

    precision.speed_up = lambda width: 1.0  # float32, whatever this machine is quick at
    if arguments[0] == "recipe":
        recipe(arguments[1])
        return
    from rung.cli import main

    main(arguments)


def recipe(name: str) -> None:
    """The first steps of a recipe."""
    import tomllib

    import rung

    said = tomllib.loads((RECIPES / f"{name}.toml").read_text())
    settings = said["settings"]
    if "steps" in settings:
        large = settings.get("n_embd", 0) > 200
        settings["steps"] = RECIPE_STEPS_LARGE if large else RECIPE_STEPS
        if large:  # measuring the whole validation text takes longer than the steps
            settings["eval_every"] = RECIPE_STEPS_LARGE
    run = rung.train(said["rung"], said["data"], out="run", **settings)
    print(json.dumps(run.recipe["result"]))


def compare(old: dict[str, Any], new: dict[str, Any]) -> int:
    """Say what differs; 1 if anything does."""
    names = sorted({*old, *new})
    different = [name for name in names if old.get(name) != new.get(name)]
    for name in different:
        print(f"{name}:")
        for part in ("models", "said"):
            a, b = (tree.get(name, {}).get(part) for tree in (old, new))
            if a != b:
                print(f"  {part}\n    old {json.dumps(a)[:1500]}\n    new {json.dumps(b)[:1500]}")
    models = sum(len(entry["models"]) for entry in old.values())
    print(f"{len(names) - len(different)} of {len(names)} cases are the same ({models} models)")
    return int(bool(different))


if __name__ == "__main__":
    main()
