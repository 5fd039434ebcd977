"""One run told whole: what it is, what it learned from, how, what came of it. Everything is read from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rung.evaluation.evaluate import evaluate
from rung.evaluation.report import count, duration, size
from rung.measure import bits_of, number, unit_of
from rung.models import summary_of
from rung.opening import opening
from rung.run_files import DATA, EVENTS, RECIPE
from rung.runs import Run
from rung.text.facts import notes
from rung.training.config import TrainingConfig
from rung.training.journal import events_of

CHEAP = 2e10
"""Tokens times parameters that a network scores in a second or two."""

CHEAP_COUNTED = 1e6
"""Tokens that what counts scores in a second or two."""

BUDGET = ("steps", "tokens", "minutes")


def summary(run: Run) -> dict[str, Any]:
    """The run's facts, as JSON has them. Raises UserError when its recipe is damaged.

    `asked` are the settings that were given, None where an older run doesn't say; `settled` those that are not as by
    default and were not given: what was left open and chosen for these data. Sizes are in bytes.
    """
    recipe = run.recipe
    with opening(run.folder / RECIPE):
        facts = recipe["data"]
        source = facts["source"]
        asked = recipe["asked"]["settings"] if "asked" in recipe else None
        training = recipe.get("training", {})
        settled = _differing(recipe["model"]["config"], asdict(run.model_class.config_class()))
        settled |= _differing(training, asdict(TrainingConfig()))
        return {
            "run": run.folder.as_posix(),
            "rung": run.rung,
            "what": summary_of(run.model_class, run.task.name),
            "task": run.task.name,
            "status": recipe["status"],
            "created": recipe.get("created"),
            "command": recipe.get("command"),
            "result": recipe.get("result"),
            "data": {
                "name": source.get("data"),
                "sha256": source.get("sha256"),
                "documents": source.get("documents"),
                "given": {part: said.get("data") for part, said in facts.get("given", {}).items()},
                "split": facts.get("split_rule"),
                "parts": facts.get("parts", {}),
                "notes": notes(facts),
            },
            "tokenizer": {"kind": recipe.get("tokenizer"), "vocab_size": recipe["model"]["vocab_size"]},
            "labels": recipe["model"].get("labels"),
            "budget": {name: training[name] for name in BUDGET if training.get(name) is not None},
            "asked": asked,
            "settled": {k: v for k, v in settled.items() if k not in BUDGET and k not in (asked or {})},
            "seed": recipe["seed"],
            "device": recipe.get("device"),
            "machine": recipe.get("machine"),
            "versions": recipe.get("versions", {}),
            "notes": [event["text"] for event in events_of(run.folder / EVENTS, "note") if "text" in event],
            "files": {path.name: bytes_of(path) for path in sorted(run.folder.iterdir())},
        }


def measured_again(run: Run) -> tuple[float, float] | None:
    """The 95 % interval of the validation measure, where that takes a moment; None where it would take longer."""
    result = run.recipe.get("result") or {}
    held = run.recipe["data"].get("parts", {}).get("validation", {})
    if result.get("validation") is None or not (run.folder / DATA).exists():
        return None
    per_token = 1 if run.model_class.trained_by == "counting" else result["parameters"]
    if held.get("tokens", CHEAP) * per_token >= (CHEAP if per_token > 1 else CHEAP_COUNTED):
        return None
    return evaluate(run, split="validation").ci95


def _differing(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What is not as by default, of the fields that are known."""
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()}
    return {name: value for name, value in values.items() if name in plain and value != plain[name]}


def bytes_of(path: Path) -> int:
    """What a file, or all files in a folder, hold; what can't be looked at counts nothing."""
    try:
        if path.is_dir() and not path.is_symlink():
            return sum(bytes_of(inside) for inside in path.iterdir())
        return path.lstat().st_size
    except OSError:
        return 0


def in_words(told: Mapping[str, Any], ci95: tuple[float, float] | None = None) -> str:
    """The facts on a page for the terminal, `ci95` beside the measure."""
    data, result = told["data"], told["result"]
    lines = [
        ("rung", f"{told['rung']}: {told['what']}"),
        ("status", status(told)),
        ("measure", _measure(result, ci95)),
        ("size", _size(told)),
        ("data", _source(data)),
        ("split", data["split"] or "-"),
        *(("", f"{part}: {_counts(holds)}") for part, holds in data["parts"].items()),
        *(("", note) for note in data["notes"]),
        ("tokeniser", f"{told['tokenizer']['kind'] or 'its own'}, {told['tokenizer']['vocab_size']:,} ids"),
        ("labels", ", ".join(told["labels"]) if told["labels"] else None),
        ("budget", " or ".join(f"{value:,g} {name}" for name, value in told["budget"].items()) or None),
        ("asked for", settings(told["asked"]) if told["asked"] else None),
        ("settled", settings(told["settled"]) or None),
        ("seed", f"{told['seed']}, device {told['device']}"),
        ("made", made(told)),
        ("command", told["command"]),
        *(("note" if i == 0 else "", note) for i, note in enumerate(told["notes"])),
        ("files", ", ".join(f"{name} {size(n)}" for name, n in told["files"].items())),
    ]
    return "\n".join([told["run"], *(f"  {name:<10} {text}" for name, text in lines if text is not None)])


def status(told: Mapping[str, Any]) -> str:
    """Whether it has finished, why, and what it took."""
    result = told["result"]
    if told["status"] != "finished" or result is None:
        return f"not finished; go on with: rung train --resume {told['run']}"
    steps = f", {result['steps']:,} steps" if result["steps"] else ""
    return f"finished ({result['reason']}){steps}, {duration(result['train_seconds'])} of training"


def settings(values: Mapping[str, Any]) -> str:
    """Settings on a line."""
    return ", ".join(f"{name} {_value(value)}" for name, value in values.items())


def made(told: Mapping[str, Any]) -> str:
    """When, on what, by which versions."""
    versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    return "; ".join(part for part in (told["created"], told["machine"], versions) if part)


def _value(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _measure(result: Mapping[str, Any] | None, ci95: tuple[float, float] | None) -> str | None:
    if result is None:
        return None
    measured = result["validation"]
    if measured is None:
        return "none: no text was held out"
    others = (f"{key.replace('_', ' ')} {number(measured[key]):.4g}" for key in FIGURES if key in measured)
    interval = "" if ci95 is None else f", 95% interval {ci95[0]:.4f} to {ci95[1]:.4f}"
    return f"{bits_of(measured):.4f} bits per {unit_of(measured)} of validation data{interval} ({', '.join(others)})"


FIGURES = ("nats_per_token", "perplexity", "accuracy", "macro_f1")


def _size(told: Mapping[str, Any]) -> str | None:
    parameters = "" if told["result"] is None else f"{count(told['result']['parameters'])} parameters, "
    return f"{parameters}{size(sum(told['files'].values()))} on disk"


def _source(data: Mapping[str, Any]) -> str:
    given = "".join(f"; {part}: {name}" for part, name in data["given"].items())
    known = f", sha256 {data['sha256']}" if data["sha256"] else ""
    return f"{data['name']}, documents by {data['documents']}{given}{known}"


def _counts(holds: Mapping[str, Any]) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in holds.items())
