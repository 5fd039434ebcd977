"""The climb: every rung on one text, one split and one tokeniser, under one budget each, measured on the test split.

Choices (which weights to keep) are made on the validation split; what is reported is measured on the test split.
"""

from __future__ import annotations

import datetime
import math
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rung.errors import Stopped, UserError
from rung.evaluation import statistics
from rung.evaluation.report import level_with_best, render, steps
from rung.events import Evaluation, Event, Note, Phase, Step
from rung.files import atomic_path, write_json
from rung.generation.sampling import Sampling, generate
from rung.measure import Measure
from rung.models import RUNGS, descends, rung_class
from rung.models.mix import Mix, MixConfig
from rung.runs import Run, clear, load, prepare_run, versions
from rung.text.corpus import Corpus
from rung.text.options import DataOptions, prepare_corpus
from rung.training import session
from rung.training.config import TrainingConfig

LADDER = ("bigram", "ngram", "infinigram", "neural-bigram", "gpt", "mix")
"""What a climb trains when it is not told; the other rungs are asked for by name."""
DEFAULT_MINUTES = 1.0
SAMPLE_TOKENS = 300


def climb(
    data: str | Path,
    folder: Path,
    *,
    rungs: tuple[str, ...] = LADDER,
    options: DataOptions,
    training: TrainingConfig,
    force: bool = False,
    seed: int = 0,
    device: str = "auto",
    sample: session.Sampler | None = None,
    on_event: Callable[[str, Event], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    command: str = "",
) -> dict[str, Any]:
    """Train `rungs` in order into `folder/RUNG`, write `report.json` and `report.html` there; return the report.

    Args:
        data: any source.
        folder: where everything goes; the tokenised text lies there once and is shared by the runs.
        rungs: names from the ladder.
        options: how to read the text.
        training: the budget each rung gets, and the settings of gradient training.
        force: overwrite the climb that is there.
        seed: of every run and of the bootstrap.
        device: auto, cpu, cuda or mps.
        sample: writes the short texts shown during training.
        on_event: called with the rung's name and each event.
        stop: asked after every step; True ends the climb with the rungs finished so far.
        command: what was typed, for the report.

    Raises UserError when the input is at fault or no rung was finished.
    """
    if not rungs:
        raise UserError(f"--rungs is empty: name some of {', '.join(RUNGS)}")
    if repeated := sorted({name for name in rungs if rungs.count(name) > 1}):
        raise UserError(f"--rungs names {repeated[0]!r} twice")
    for name in rungs:
        rung_class(name)
    session.check_seed(seed)
    if "mix" in rungs and len(rungs) < 3:
        raise UserError("mix needs two other rungs or more to mix: name them in --rungs too")
    corpus = prepare_run(folder, lambda place: prepare_corpus(data, place, options), force=force)
    for name in RUNGS:  # an older climb's
        if (folder / name).is_dir():
            clear(folder / name)
    if corpus.test is None:
        raise UserError(f"the climb is measured on test text and --split {options.split} leaves none")
    held_out = statistics.blocks(corpus.test, corpus.tokenizer.byte_lengths)
    rows: list[dict[str, Any]] = []
    nats: dict[str, np.ndarray] = {}
    for name in sorted(rungs, key=lambda name: name == "mix"):  # it mixes the others, so it comes last
        recorder = _Recorder()
        for event in session.start(
            name,
            corpus.link(folder / name / "data"),
            folder / name,
            config=MixConfig(tuple(row["run"] for row in rows)) if name == "mix" else None,
            training=training if descends(name) else None,
            seed=seed,
            device=device,
            sample=sample,
            stop=stop,
        ):
            recorder.add(event)
            if on_event is not None:
                on_event(name, event)
        recorder.keep_best()
        run = load(folder / name)
        if run.recipe["status"] != "finished":
            break
        if on_event is not None:
            on_event(name, Phase(f"measuring {corpus.facts['parts']['test']['bytes']:,} bytes of test text"))
        log_probs = run.model.score_stream(corpus.test)
        nats[name] = held_out.nats(log_probs)
        rows.append(_row(name, run, corpus, log_probs, nats[name], held_out.bytes, recorder, seed))
        if name == "mix":
            _count_parts(rows[-1], run, rows[:-1])
        if stop():
            break
    if not rows:
        raise Stopped(
            f"stopped before any rung was finished; go on with 'rung train --resume {folder / rungs[0]}'"
        )
    best = min(rows, key=lambda row: row["bits_per_byte"])
    report = {
        **_facts(corpus, options, training, seed, command),
        "rungs": rows,
        "steps": _steps(rows, nats, held_out.bytes, seed),
        "level_with_best": level_with_best(rows, nats, held_out.bytes, seed=seed),
        "best": best["name"],
    }
    write_json(folder / "report.json", report)
    with atomic_path(folder / "report.html") as temporary:
        temporary.write_text(render(report), encoding="utf-8")
    return report


def _count_parts(row: dict[str, Any], run: Run, others: list[dict[str, Any]]) -> None:
    """A mixture can't be had without its parts, so their training time is its own too."""
    assert isinstance(run.model, Mix)
    used = {part.rung for part in run.model.parts}
    row["train_seconds"] += sum(other["train_seconds"] for other in others if other["name"] in used)
    row["tokens_per_second"] = run.recipe["result"]["train_tokens"] / row["train_seconds"]
    row["notes"].append("the training time of its parts is counted as its own")


def _steps(
    rows: list[dict[str, Any]], nats: dict[str, np.ndarray], block_bytes: np.ndarray, seed: int
) -> list[Any]:
    """What each rung bought over the one below; what the mixture bought over the best that it mixes."""
    alone = [row for row in rows if row["name"] != "mix"]
    taken = steps(alone, nats, block_bytes, seed=seed)
    if len(alone) < len(rows):
        best = min(alone, key=lambda row: row["bits_per_byte"])
        taken += steps([best, rows[-1]], nats, block_bytes, seed=seed)
    return taken


def _row(
    name: str,
    run: Run,
    corpus: Corpus,
    log_probs: np.ndarray,
    block_nats: np.ndarray,
    block_bytes: np.ndarray,
    recorder: _Recorder,
    seed: int,
) -> dict[str, Any]:
    assert corpus.test is not None
    total = Measure.total(
        -float(np.sum(log_probs, dtype=np.float64)),
        len(log_probs),
        int(block_bytes.sum()),
        corpus.test.n_documents,
        "test",
    )
    interval = statistics.interval(block_nats, block_bytes, seed=seed)
    how = Sampling(max_tokens=SAMPLE_TOKENS, temperature=0.8, seed=seed)
    result = run.recipe["result"]
    return {
        "name": name,
        "run": run.folder.as_posix(),
        "bits_per_byte": total.bits_per_byte,
        "ci95": list(interval) if interval is not None else None,
        "nats_per_token": total.nats_per_token,
        "perplexity": total.perplexity,
        "parameters": result["parameters"],
        "train_seconds": result["train_seconds"],
        "tokens_per_second": result["train_tokens"] / max(result["train_seconds"], 1e-9),
        "bytes_on_disk": run.bytes_on_disk(),
        "sample": generate(run.model, run.tokenizer, "", how)[0].text,
        "notes": recorder.notes,
        "settings": run.recipe["model"]["config"],
        "curve": {"train": recorder.train, "validation": recorder.validation},
    }


def _facts(
    corpus: Corpus, options: DataOptions, training: TrainingConfig, seed: int, command: str
) -> dict[str, Any]:
    facts = corpus.facts
    test = facts["parts"]["test"]
    return {
        "data": {
            "name": facts["source"]["data"],
            "sha256": facts["source"]["sha256"],
            "documents_mode": facts["source"]["documents"],
            "parts": facts["parts"],
            "split": facts["split_rule"],
        },
        "tokenizer": {"kind": corpus.tokenizer.kind, "vocab_size": corpus.tokenizer.vocab_size},
        "budget": _budget(training),
        "seed": seed,
        "command": command,
        "split": "test",
        "tokens": test["tokens"],
        "bytes": test["bytes"],
        "documents": test["documents"],
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "versions": versions(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _budget(training: TrainingConfig) -> str:
    parts = [
        f"{value:,g} {name if value != 1 else name[:-1]}"
        for name, value in (
            ("steps", training.steps),
            ("tokens", training.tokens),
            ("minutes", training.minutes),
        )
        if value is not None
    ]
    return " or ".join(parts) + " each"


class _Recorder:
    """Gathers the curves and notes of one training; of several restarts, the curves of the one that was kept."""

    def __init__(self) -> None:
        self.train: list[tuple[int, float, float]] = []
        self.validation: list[tuple[int, float, float, float]] = []
        self.notes: list[str] = []
        self._before: list[tuple[list[tuple[int, float, float]], list[tuple[int, float, float, float]]]] = []

    def keep_best(self) -> None:
        """Make the curves those of the restart with the lowest validation loss."""
        tries = [*self._before, (self.train, self.validation)]
        self.train, self.validation = min(
            tries, key=lambda tried: min((point[2] for point in tried[1]), default=math.inf)
        )

    def add(self, event: Event) -> None:
        match event:
            case Step() if self.train and event.step <= self.train[-1][0]:  # a restart begins
                self._before.append((self.train, self.validation))
                self.train, self.validation = [(event.step, event.seconds, event.loss)], []
            case Step():
                self.train.append((event.step, event.seconds, event.loss))
            case Evaluation():
                self.validation.append((event.step, event.seconds, event.nats_per_token, event.bits_per_byte))
            case Note():
                self.notes.append(event.text)
            case _:
                pass
