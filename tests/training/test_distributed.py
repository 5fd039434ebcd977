"""Two processes are one: the same losses, the same weights, checkpoints that either can go on from.

`python -m torch.distributed.run -m tests.training.test_distributed FOLDER` is what the tests start twice two of.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rung
from rung import api
from rung.errors import UserError
from rung.events import Evaluation, Event, Step
from rung.models import rung_class
from rung.models.base import LanguageModel, fitted
from rung.models.counting.ngram import NGram, NGramConfig
from rung.models.networks.mlp import MLP, MLPConfig
from rung.models.networks.recurrent import RNN, RecurrentConfig
from rung.models.transformer.decoder import GPT, GPTConfig
from rung.process_group import SINGLE_PROCESS, ProcessGroup
from rung.tasks.language import token_batches
from rung.tasks.process_share import share
from rung.text.stream import TokenStream
from rung.text.windows import PADDING, ContiguousBatches, WindowBatches
from rung.training import sharding
from rung.training.config import TrainingConfig
from rung.training.loop import train_network
from rung.training.parallel import DataParallel
from rung.training.sharding import check_shardable
from rung.training.torchrun import run_as_one
from tests.text_made import sentences

ROOT = Path(__file__).parents[2]

SHAPE: dict[str, Any] = {"n_layer": 2, "n_head": 2, "n_embd": 16, "context": 16}
HOW: dict[str, Any] = {
    "steps": 12,
    "batch_size": 5,
    "eval_every": 4,
    "precision": "float32",
    "schedule": "constant",
}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    # The default's hashed tables have sparse gradients; 5 rows are shared as 2 and 3.
    "rung": ("gpt", {**SHAPE, "preset": "rung", "ngram_dropout": 0.0}),
    "plain": ("gpt", {**SHAPE, "preset": "plain", "accumulate": 2, "average": 0.5, "l2": 0.01}),
    "lstm": ("lstm", {"n_embd": 8, "n_hidden": 16, "window": 24}),
    "mlp": ("mlp", {"optimizer": "momentum"}),
    "sharded": ("gpt", {**SHAPE, "preset": "rung", "ngram_dropout": 0.0, "shard": True}),
    "sharded-plain": ("gpt", {**SHAPE, "preset": "plain", "shard": True, "l2": 0.01}),
}
COUNTED: dict[str, tuple[str, dict[str, Any]]] = {
    "counted": ("text.txt", {}),
    "pruned": ("text.txt", {"order": 4, "prune": (0, 1, 2)}),
    "bounded": ("text.txt", {"order": 4, "memory": "1M"}),
    "add-k": ("text.txt", {"smoothing": "add-k"}),
    "letters": ("letters.txt", {"order": 9}),
    "letter": ("letter.txt", {"order": 5}),
}
"""Texts and what the ngram rung is told of them. Documents of one letter have no n-grams longer than 3."""

RESUMED = ("rung", "lstm", "sharded")
"""Those that are also stopped after six steps and gone on with."""


def train(case: str, folder: Path, *, steps: int | None = None, **changes: Any) -> None:
    """Train a case into `folder`, its losses beside the run; stop after `steps`."""
    name, how = CASES[case]
    said: list[Event] = []
    stop = (lambda: len([e for e in said if isinstance(e, Step)]) >= steps) if steps else lambda: False
    api.train(
        name, folder.parent / "text.txt", out=folder, on_event=said.append, stop=stop, **HOW, **how | changes
    )
    write_losses(folder, said)


def count(case: str, folder: Path) -> None:
    """Count a case into `folder`."""
    text, how = COUNTED[case]
    other = folder.parent / "text.txt"
    api.train(
        "ngram", folder.parent / text, val=other, test=other, out=folder, **{"documents": "lines", **how}
    )


def write_losses(folder: Path, said: list[Event]) -> None:
    losses = {
        "steps": [e.loss for e in said if isinstance(e, Step)],
        "evaluations": [e.nats_per_token for e in said if isinstance(e, Evaluation)],
    }
    (folder / "losses.json").write_text(json.dumps(losses))


def resume(folder: Path) -> None:
    said: list[Event] = []
    api.resume(folder, on_event=said.append)
    write_losses(folder, said)


def all_by_two(folder: Path) -> None:
    """What the two processes are started for; the first does it, the other follows."""
    for case in CASES:
        train(case, folder / f"{case}-two")
    for case in RESUMED:
        train(case, folder / f"{case}-two-two", steps=6)
        resume(folder / f"{case}-two-two")
        train(case, folder / f"{case}-two-one", steps=6)  # the other half is for one process
        resume(folder / f"{case}-one-two")
    measured = {case: rung.evaluate(folder / f"{case}-two", split="train").nats_per_token for case in CASES}
    (folder / "measured.json").write_text(json.dumps(measured))
    for case in COUNTED:
        count(case, folder / f"{case}-two")
    CASES["failing"] = ("gpt", SHAPE)
    train("failing", folder / "failing")


class Failing:
    """A second process that trains along for a while and then can't."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> bool:
        self.asked += 1
        if self.asked == 6:
            raise UserError("the second process can't go on")
        return False


def noted_shard(folder: Path) -> Callable[..., None]:
    """`sharding.shard`, which also writes down how many weights this process has and how many there are."""
    from torch.distributed.tensor import DTensor

    original = sharding.shard

    def noted(network: Any, device: Any, group: ProcessGroup) -> None:
        original(network, device, group)
        cut = [p for p in network.parameters() if isinstance(p, DTensor)]
        counts = [sum(p.to_local().numel() for p in cut), sum(p.numel() for p in cut)]
        (folder / f"share-{group.rank}.json").write_text(json.dumps(counts))

    return noted


def second_failing() -> None:
    """Make the second process fail in the sixth step of the run called failing."""
    from rung.training import torchrun

    original = torchrun.follow

    def follow(
        group: ProcessGroup, folder: str, *arguments: Any, stop: Callable[[], bool], **more: Any
    ) -> None:
        original(group, folder, *arguments, stop=Failing() if folder.endswith("failing") else stop, **more)

    torchrun.follow = follow


def start_two(*arguments: str, **more: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, "--master-port", str(port), "-m", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every case trained by one process (CASE-one) and by two (CASE-two), and halves of each."""
    folder = tmp_path_factory.mktemp("both")
    (folder / "text.txt").write_text(sentences(300), encoding="utf-8")
    (folder / "letters.txt").write_text("a\nb\na\n", encoding="utf-8")
    (folder / "letter.txt").write_text("a\n", encoding="utf-8")
    for case in COUNTED:
        count(case, folder / f"{case}-one")
    for case in CASES:
        train(case, folder / f"{case}-one", shard=False) if "shard" in CASES[case][1] else train(
            case, folder / f"{case}-one"
        )
    for case in RESUMED:
        half = folder / f"{case}-one-two"
        train(case, half, steps=6, **({"shard": False} if "shard" in CASES[case][1] else {}))
        if "shard" in CASES[case][1]:
            change_recipe(half, shard=True)
    two = start_two("tests.training.test_distributed", str(folder), cwd=ROOT)
    out, err = two.communicate(timeout=240)
    (folder / "stderr.txt").write_text(err)
    assert (folder / "measured.json").exists(), out + err
    for case in RESUMED:
        if "shard" in CASES[case][1]:
            change_recipe(folder / f"{case}-two-one", shard=False)
        resume(folder / f"{case}-two-one")
    return folder


def change_recipe(folder: Path, **training: Any) -> None:
    recipe = json.loads((folder / "run.json").read_text())
    recipe["training"] |= training
    (folder / "run.json").write_text(json.dumps(recipe))


def losses(folder: Path) -> dict[str, list[float]]:
    return json.loads((folder / "losses.json").read_text())


def assert_same_weights(one: Path, other: Path, atol: float) -> None:
    a, b = rung.load(one).model.tensors(), rung.load(other).model.tensors()
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], err_msg=name, rtol=0, atol=atol)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_give_the_losses_and_weights_of_one(both: Path, case: str):
    one, two = losses(both / f"{case}-one"), losses(both / f"{case}-two")
    assert len(one["steps"]) == len(two["steps"]) == 12
    assert len(one["evaluations"]) == len(two["evaluations"]) == 3
    np.testing.assert_allclose(one["steps"], two["steps"], rtol=1e-5)
    np.testing.assert_allclose(one["evaluations"], two["evaluations"], rtol=1e-5)
    # Adam divides by the gradient's size, so where that is next to nothing rounding counts.
    assert_same_weights(both / f"{case}-one", both / f"{case}-two", atol=1e-4)


@pytest.mark.parametrize("case", RESUMED)
@pytest.mark.parametrize("way", ["one-two", "two-one"])
def test_a_checkpoint_of_one_is_gone_on_with_by_two_and_the_other_way_round(both: Path, case: str, way: str):
    whole = losses(both / f"{case}-one")
    np.testing.assert_allclose(losses(both / f"{case}-{way}")["steps"], whole["steps"][6:], rtol=1e-5)
    assert_same_weights(both / f"{case}-one", both / f"{case}-{way}", atol=1e-4)


@pytest.mark.parametrize("case", RESUMED)
def test_two_processes_resume_to_the_very_bit(both: Path, case: str):
    assert losses(both / f"{case}-two-two")["steps"] == losses(both / f"{case}-two")["steps"][6:]
    assert_same_weights(both / f"{case}-two", both / f"{case}-two-two", atol=0)


def test_a_measure_shared_by_two_is_the_measure(both: Path):
    measured = json.loads((both / "measured.json").read_text())
    for case in CASES:
        alone = rung.evaluate(both / f"{case}-two", split="train").nats_per_token
        assert measured[case] == pytest.approx(alone, rel=1e-6)


@pytest.mark.parametrize("case", COUNTED)
def test_two_processes_that_count_write_the_very_bytes_of_one(both: Path, case: str):
    one, two = both / f"{case}-one", both / f"{case}-two"
    assert (two / "model.safetensors").read_bytes() == (one / "model.safetensors").read_bytes()
    results = [json.loads((run / "run.json").read_text())["result"] for run in (one, two)]
    assert results[0] | {"train_seconds": 0} == results[1] | {"train_seconds": 0}
    assert sorted(p.relative_to(one) for p in one.rglob("*")) == sorted(
        p.relative_to(two) for p in two.rglob("*")
    )


def test_sharded_weights_are_spread_over_the_processes(both: Path):
    shares = [json.loads((both / f"share-{rank}.json").read_text()) for rank in range(2)]
    (first, whole), (second, same) = shares
    assert whole == same == first + second
    assert first < 0.6 * whole


def test_when_the_second_process_fails_both_end_and_it_alone_says_why(both: Path):
    said = [line for line in (both / "stderr.txt").read_text().splitlines() if line.startswith("[rank")]
    assert [line for line in said if "Error: " in line] == [
        "[rank1]: rung.errors.UserError: the second process can't go on"
    ]
    assert all(line.startswith("[rank1]") for line in said)


@pytest.mark.parametrize(
    ("rung_name", "how", "message"),
    [
        (
            "gpt",
            {"batch_size": 1},
            "--batch-size 1 leaves some of the 2 processes without a row: give 2 or more",
        ),
        ("wavenet", {"batch_size": 4}, "--batch-norm=false"),
    ],
)
def test_what_processes_cannot_share_is_said_before_they_begin(
    rung_name: str, how: dict[str, Any], message: str, tmp_path: Path
):
    model_class: Any = rung_class(rung_name)
    stream = made_stream([30, 40])
    config = model_class.resolve_config(
        model_class.config_class(), vocab_size=7, train_tokens=72, longest_document=41
    )
    model = model_class.initialise(config, 7, 0, 0)
    training = TrainingConfig(**how).resolved(model_class.training_defaults)
    batches = token_batches(model, stream, None, training.batch_size, 0)
    two = DataParallel(ProcessGroup(0, 2))
    with pytest.raises(UserError, match=message):
        next(train_network(model.network, batches, training, tmp_path, seed=0, evaluate=None, parallel=two))


@pytest.mark.parametrize(
    ("model", "how", "message"),
    [(0, {"optimizer": "muon"}, "muon"), (0, {"average": 0.9}, "--average"), (1, {}, "gpt alone")],
)
def test_what_does_not_go_with_shard_is_said(model: int, how: dict[str, Any], message: str):
    network: Any = MODELS[model]
    with pytest.raises(UserError, match=message):
        check_shardable(network.network, TrainingConfig(shard=True, **how), ProcessGroup(0, 2))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are listed there")
def test_when_the_lines_are_closed_no_thread_of_theirs_is_left():
    """One that still holds a tensor of ours when the interpreter ends would abort the process."""

    def gloo() -> list[str]:
        names = [task.read_text() for task in Path("/proc/self/task").glob("*/comm")]
        return [name for name in names if "gloo" in name]

    group = ProcessGroup(0, 1, torch.distributed.HashStore())  # pyright: ignore[reportPrivateImportUsage]
    group.connect()
    model = GPT.initialise(GPTConfig(**SHAPE, preset="plain"), 7, 6, 0)
    sharding.shard(model.network, torch.device("cpu"), group)
    model.network(torch.zeros(1, 3, dtype=torch.int64)).sum().backward()
    del model
    assert gloo()
    group.disconnect()
    assert gloo() == []


def test_what_the_second_process_did_is_nowhere_to_be_seen(both: Path):
    """One event a step and one evaluation each, whoever computed them; and no file that one process does not write."""
    for case in CASES:
        one, two = both / f"{case}-one", both / f"{case}-two"
        assert sorted(p.relative_to(one) for p in one.rglob("*")) == sorted(
            p.relative_to(two) for p in two.rglob("*")
        )
        kinds = [
            [json.loads(line)["kind"] for line in (run / "events.jsonl").read_text().splitlines()]
            for run in (one, two)
        ]
        assert kinds[0].count("evaluation") == kinds[1].count("evaluation") == 3


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_ctrl_c_stops_both_after_one_step_with_a_checkpoint(tmp_path: Path):
    (tmp_path / "text.txt").write_text(sentences(300), encoding="utf-8")
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SHAPE.items()]
    events = tmp_path / "run" / "events.jsonl"
    two = start_two("rung", "train", "gpt", "text.txt", "--minutes=9", "--out=run", *flags, cwd=tmp_path)
    wait_for(lambda: events.exists() and events.read_text().count('"step"') > 12)
    two.send_signal(signal.SIGINT)
    out, err = two.communicate(timeout=60)
    assert out.strip() == ""
    assert err.count("rung: stopped; a checkpoint is saved, go on with: rung train --resume run ") == 1
    assert [line for line in err.splitlines() if line.startswith("rung:")][1:] == [
        "rung: stopped; a checkpoint is saved, go on with: rung train --resume run (or close it as it is: --finish)"
    ]
    last = json.loads(events.read_text().splitlines()[-1])
    assert last["reason"] == "interrupted"
    assert (tmp_path / "run" / "checkpoints" / "last.safetensors").exists()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "training"


def two_by_variables(folder: Path, *command: str, second: str = "") -> list[tuple[int, str]]:
    """Exit code and stderr of two processes, without torchrun: by the variables that it and others set.

    `second` is what the second one's shell does first.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    two = [
        subprocess.Popen(
            ["sh", "-c", f'{before} exec "$@"', "sh", sys.executable, *command],
            env={**os.environ, **shared, "RANK": str(rank), "PYTHONPATH": str(ROOT / "src")},
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
        )
        for rank, before in enumerate(["", second])
    ]
    err = [process.communicate(timeout=60)[1] for process in two]
    return [(process.returncode, said) for process, said in zip(two, err, strict=True)]


def test_a_text_that_is_not_there_ends_all_processes_with_one_line(tmp_path: Path):
    first, second = two_by_variables(tmp_path, "-m", "rung", "train", "gpt", "missing.txt")
    assert first[0] == second[0] == 2
    assert first[1].startswith("rung: missing.txt is not there")
    assert first[1].count("\n") == 1
    assert second[1] == ""


def test_a_second_process_without_room_for_its_share_of_counting_ends_both_with_one_line(tmp_path: Path):
    """No file of it may be larger than 1,000 blocks, of half a KiB or one."""
    (tmp_path / "text.txt").write_text(sentences(30_000), encoding="utf-8")
    command = ["-m", "rung", "train", "ngram", "text.txt", "--memory", "1M", "--quiet"]
    first, second = two_by_variables(tmp_path, *command, second="ulimit -f 1000;")
    assert first[0] != 0
    assert second[0] == 2
    assert second[1].startswith("rung: cannot write temporary files in ")
    assert second[1].count("\n") == 1
    assert first[1] == ""


def test_started_twice_without_as_one_nobody_trains_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "text.txt").write_text(sentences(20), encoding="utf-8")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(UserError, match="run_as_one"):
        api.train("gpt", tmp_path / "text.txt", out=tmp_path / "run", steps=2, **SHAPE)


def test_shard_without_torchrun_says_how_to_start(tmp_path: Path):
    (tmp_path / "text.txt").write_text(sentences(20), encoding="utf-8")
    with pytest.raises(UserError, match="torchrun"):
        api.train("gpt", tmp_path / "text.txt", out=tmp_path / "run", steps=2, shard=True, **SHAPE)


def test_a_process_that_was_killed_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch):
    def lost() -> None:
        raise RuntimeError("[.../gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer")

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(ProcessGroup, "from_environment", lambda: ProcessGroup(0, 2))
    monkeypatch.setattr(ProcessGroup, "first_to_fail", lambda group, code: code == 2)
    monkeypatch.setattr("rung.training.torchrun.use_group", lambda group: None)
    with pytest.raises(UserError, match="another of the processes is no more"):
        run_as_one(lost)


def test_alone_there_is_nothing_to_join():
    assert run_as_one(lambda: 7) == 7
    assert SINGLE_PROCESS.shard(5) == slice(None)


lengths_of_documents = st.lists(st.integers(0, 90), min_size=1, max_size=8)


def made_stream(lengths: list[int]) -> TokenStream:
    draw = np.random.default_rng(len(lengths))
    return TokenStream.of([draw.integers(1, 7, length) for length in lengths], 0)


MODELS: list[LanguageModel] = [
    GPT.initialise(GPTConfig(context=5, n_layer=1, n_head=1, n_embd=8, preset="plain"), 7, 0, 0),
    MLP.initialise(MLPConfig(context=4, n_hidden=8), 7, 0, 0),
    RNN.initialise(RecurrentConfig(n_embd=4, n_hidden=8), 7, 0, 0),
    fitted(NGram.fit(NGramConfig(order=3), made_stream([80, 60]), 7, 0)),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.rung)
@settings(deadline=None, max_examples=25)
@given(lengths=lengths_of_documents, size=st.integers(1, 5))
def test_shares_of_a_stream_put_together_are_its_scores(model: LanguageModel, lengths: list[int], size: int):
    stream = made_stream(lengths)
    found = []
    for rank in range(size):
        part, skip = share(stream, rank, size, model.context)
        found.append(model.score_stream(part)[skip:])
    np.testing.assert_allclose(np.concatenate(found), model.score_stream(stream), atol=2e-6)


def test_a_model_without_memory_is_shared_too():
    stream = made_stream([400])
    parts = [share(stream, rank, 3, 0) for rank in range(3)]
    assert [skip for _, skip in parts] == [0, 0, 0]
    assert sum(part.n_tokens for part, _ in parts) == stream.n_tokens


def test_one_long_document_is_shared_evenly_where_the_context_is_finite():
    stream = made_stream([10_000])
    sizes = [share(stream, rank, 4, 64)[0].n_tokens for rank in range(4)]
    assert max(sizes) < 2_500 + 2 * 64


@settings(deadline=None, max_examples=30)
@given(
    lengths=lengths_of_documents,
    rows=st.integers(2, 7),
    size=st.integers(2, 4),
    t=st.integers(0, 40),
    kind=st.sampled_from([WindowBatches, ContiguousBatches]),
)
def test_shares_of_a_batch_put_together_are_the_batch(
    lengths: list[int], rows: int, size: int, t: int, kind: type[WindowBatches]
):
    stream = made_stream(lengths)
    whole = kind(stream, 6, rows, 3, 2)
    targets = whole.batch(t).arrays[1]
    expected = [row[row != PADDING].tolist() for row in targets]
    found = []
    for rank in range(size):
        mine = slice(rows * rank // size, rows * (rank + 1) // size)
        if mine.start == mine.stop:
            continue
        part = kind(stream, 6, rows, 3, 2, mine)
        batch = part.batch(t)
        found += [row[row != PADDING].tolist() for row in batch.arrays[1]]
        assert batch.n_targets == sum(map(len, expected))
    assert found == expected


if __name__ == "__main__":
    sharding.shard = noted_shard(Path(sys.argv[1]))
    second_failing()
    run_as_one(lambda: all_by_two(Path(sys.argv[1])))
