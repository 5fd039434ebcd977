"""SIGKILL at random moments of commands that write: python -m tests.kill SECONDS SEED [NAME ...]

After each kill: what was whole before is whole (the old one or its successor), what the user types next works, what
comes out is byte for byte what comes out undisturbed, and nothing is left in the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

CHECKED = ("--checkpoint-every", "7", "--seed", "5")
TRAINED = {
    "gpt": "--steps 60 --n-layer 1 --n-embd 16 --n-head 2 --context 16 --eval-every 25",
    "gru": "--steps 40",
    "mlp": "--steps 80 --average 0.99",
    "scratch-mlp": "--steps 80",
    "neural-bigram": "--steps 40 --restarts 3",
}
GONE_ON = {
    "steps": ("a", "train --resume v --steps 120", None),
    "counts": (None, "train ngram more.txt --from n --out v", None),
    "from": (None, "train gpt more.txt --from g --steps 40 --out v " + " ".join(CHECKED), "train --resume v"),
    "finish": ("s", "train --resume v --finish", None),
    "again": (None, "train --again a --out v", "train --resume v"),
}
"""Which run is there before as `v`, what is killed, and what is typed after that, if a run has begun: by default the
same."""
WRITTEN = {
    "again-over": ("v", "train --again g --out v --force"),
    "count": ("v", "train ngram t.txt --order 4 --out v --force"),
    "count-memory": ("v", "train ngram t.txt --order 4 --memory 1M --out v --force"),
    "mix": ("v", "train mix t.txt --runs n b --out v --force"),
    "import": ("v", "import arpa m.arpa --out v --force"),
    "climb": ("c", "climb t.txt --rungs bigram,ngram,gru,mix --steps 30 --out c --force"),
    "best": ("v", "train best t.txt --minutes 0.05 --out v --force"),
    "score": ("o.jsonl", "score n r.jsonl --out o.jsonl"),
    "arpa": ("o.arpa", "export w --format arpa --out o.arpa"),
    "hf": ("h", "export g --format hf --out h --force"),
}
VARIES = ("climb", "best")
"""What depends on the clock: only whether it can be used is asked."""


@dataclass(frozen=True)
class Done:
    code: int
    said: str


def rung(command: str, seconds: float = 600) -> Done | None:
    """Do it; None when it was killed after `seconds`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rung", *command.split()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None
    return Done(process.returncode, said.strip())


def digest(path: Path) -> str | None:
    """Of a file, or of a run's model, or of all files of another folder."""
    if path.is_dir():
        model = path / "model.safetensors"
        files = [model] if (path / "run.json").exists() else sorted(path.glob("*"))
        if not all(file.is_file() for file in files):
            return None
        return hashlib.sha256(b"".join(file.name.encode() + file.read_bytes() for file in files)).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


class Trial:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.kills = 0
        self.wrong: list[str] = []
        self.length: dict[str, float] = {}
        self.right: dict[str, str | None] = {}

    def prepare(self) -> None:
        lines = [
            f"line {i}: the cows eat {self.rng.choice(['corn', 'grass', 'hay'])} {i * i}" for i in range(3000)
        ]
        Path("t.txt").write_text("\n".join(lines))
        Path("r.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines * 10))
        for command in (
            "train ngram t.txt --order 3 --out n",
            "train bigram t.txt --out b",
            "train ngram t.txt --order 3 --tokenizer word --documents lines --out w",
            "train gpt t.txt --steps 2 --preset plain --n-layer 1 --n-embd 16 --n-head 2 --context 16 --out g",
            "export w --format arpa --out m.arpa",
            f"train gpt t.txt {TRAINED['gpt']} {' '.join(CHECKED)} --out a",
        ):
            done = rung(command)
            assert done is not None
            assert done.code == 0, done.said
        Path("more.txt").write_text("\n".join(line.replace("cows", "hens") for line in lines[:2000]))
        stopping = (
            "import itertools, rung; n = itertools.count(); rung.train('gpt', 't.txt', out='s', steps=60, "
            "n_layer=1, n_embd=16, n_head=2, context=16, seed=5, stop=lambda: next(n) > 30)"
        )
        subprocess.run([sys.executable, "-c", stopping], check=True)
        self.there = set(os.listdir())

    def undisturbed(self, name: str, out: str, command: str) -> None:
        began = time.monotonic()
        done = rung(command)
        assert done is not None
        assert done.code == 0, (name, done.said)
        self.length[name] = time.monotonic() - began
        self.right[name] = digest(Path(out))

    def killed(self, name: str, command: str) -> bool:
        """Whether it was killed; otherwise it was through before."""
        done = rung(command, self.rng.uniform(0.05, self.length[name]))
        self.kills += done is None
        if done is not None and done.code and "finished already" not in done.said:
            self.wrong.append(f"{name}: {command}: {done.said}")
        return done is None

    def training(self, name: str) -> None:
        """Killed and gone on with until it is through."""
        command = f"train {name} t.txt {TRAINED[name]} {' '.join(CHECKED)} --out v"
        if name not in self.length:
            clear("v")
            self.undisturbed(name, "v", command)
        clear("v")
        following = command
        while self.killed(name, following):
            following = "train --resume v" if Path("v/run.json").exists() else command
        if digest(Path("v")) != self.right[name]:
            self.wrong.append(f"{name}: other weights")
        self.look(name, "v")

    def going_on(self, name: str) -> None:
        """Killed and done again until it is through; the run that was there can be used at any time."""
        before, command, after = GONE_ON[name]
        if name not in self.length:
            self.begin(before)
            self.undisturbed(name, "v", command)
        self.begin(before)
        following = command
        while self.killed(name, following):
            begun = Path("v/run.json").exists()
            if before == "a":
                done = rung("evaluate v t.txt")
                assert done is not None
                if done.code and "has not finished" not in done.said:
                    self.wrong.append(f"{name}: what was there can't be used: {done.said}")
            if after is not None and begun:
                following = after
        if digest(Path("v")) != self.right[name]:
            self.wrong.append(f"{name}: other weights")
        self.look(name, "v")

    def begin(self, before: str | None) -> None:
        clear("v")
        if before is not None:
            shutil.copytree(before, "v")

    def writing(self, name: str) -> None:
        """Killed while it takes the place of what was there."""
        out, command = WRITTEN[name]
        if name not in self.length:
            clear(out)
            self.undisturbed(name, out, command)
        old = Path(out)
        if out in ("v", "c"):
            clear(out)
            shutil.copytree("n", out)
        before = digest(old)
        if self.killed(name, command):
            if name == "hf" and not (old / "config.json").exists():  # the next that reads it puts it right
                rung("import hf h --out i")
                clear("i")
            usable = digest(old) in (before, self.right[name])
            if out in ("v", "c") and (not usable or name in VARIES):
                place = (
                    out if Path(out, "run.json").exists() else next(iter(Path(out).glob("*/run.json"))).parent
                )
                done = rung(f"evaluate {place} t.txt")
                usable = done is not None and (done.code == 0 or "has not finished" in done.said)
            if not usable:
                self.wrong.append(
                    f"{name}: what was there is not whole: {os.listdir(out) if old.is_dir() else out}"
                )
            done = rung(command)
            assert done is not None
            if done.code:
                self.wrong.append(f"{name}: the same command again: {done.said}")
            elif name not in VARIES and digest(old) != self.right[name]:
                self.wrong.append(f"{name}: another outcome")
        self.look(name, out)

    def look(self, name: str, out: str) -> None:
        left = set(os.listdir()) - self.there - {"v", "c", "h", "o.jsonl", "o.arpa"}
        hidden = [path.name for path in Path(out).rglob(".*")] if Path(out).is_dir() else []
        if left or hidden:
            self.wrong.append(f"{name}: left behind: {[*left, *hidden]}")


def clear(out: str) -> None:
    if Path(out).is_dir():
        shutil.rmtree(out)
    else:
        Path(out).unlink(missing_ok=True)


def main(seconds: float, seed: int, chosen: list[str]) -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    trial = Trial(seed)
    with tempfile.TemporaryDirectory(prefix="kill-") as place:
        os.chdir(place)
        trial.prepare()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            name = trial.rng.choice(chosen or [*TRAINED, *GONE_ON, *WRITTEN])
            how = trial.training if name in TRAINED else trial.going_on if name in GONE_ON else trial.writing
            how(name)
        os.chdir("/")
    print(f"{trial.kills} kills, {len(trial.wrong)} wrong", *trial.wrong[:20], sep="\n")
    return 1 if trial.wrong else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
