"""The tasks. `TASKS` is the one registry: a new task is a new file and a line here (its rungs: `rung.models.RUNGS`)."""

from __future__ import annotations

from collections.abc import Container, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from rung.errors import UserError, nearest
from rung.models import tasks_with
from rung.tasks.base import Task

TASKS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "language": ("rung.tasks.language:LanguageModeling", (), ""),
    "masked": ("rung.tasks.masked:MaskedModeling", (), ""),
    "vectors": ("rung.tasks.vectors:VectorLearning", (), ""),
    "classification": (
        "rung.tasks.classification:Classification",
        ("label", "second", "group", "class_weights"),
        "rung.text.examples:is_labelled",
    ),
    "tagging": (
        "rung.tasks.tagging:Tagging",
        ("tags", "column", "group"),
        "rung.text.tagged_formats:is_tagged",
    ),
    "translation": (
        "rung.tasks.translation:Translation",
        ("source", "target", "target_file", "group", "source_tokenizer", "source_vocab_size", "longest"),
        "rung.text.parallel:is_parallel",
    ),
    "contrastive": ("rung.tasks.contrastive:ContrastiveLearning", ("views", "second"), ""),
}
"""Name -> where the class lives, the settings by which it is asked for (flags that not every task has), and what tells
data of its own kind by a look at them."""


def task_of(name: str) -> Task[Any]:
    """The task called `name`; its file is imported only now. Raises UserError for a name that is none."""
    if name not in TASKS:
        raise UserError(f"there is no task {name!r}{nearest(name, TASKS)} (tasks: {', '.join(TASKS)})")
    return _imported(TASKS[name][0])()


def task_from(rungs: Iterable[str], settings: Container[str], data: Iterable[str | Path] = ()) -> str:
    """The task that is meant: one that has these rungs; of several, the one of whose settings most are given, whose
    kind of data one of `data` is, or the first.

    Raises UserError for a rung that no task has, or that the others' task has not.
    """
    tasks = list(TASKS)
    for rung in rungs:
        having = tasks_with(rung)
        if not set(tasks) & set(having):
            raise UserError(f"{rung} is a rung of {' and '.join(having)}, and the others are of {tasks[0]}")
        tasks = [task for task in tasks if task in having]
    given = {task: sum(name in settings for name in TASKS[task][1]) for task in tasks}
    tasks = [task for task in tasks if given[task] == max(given.values())]
    files = list(data)
    for task in tasks:
        if TASKS[task][2] and any(map(_imported(TASKS[task][2]), files)):
            return task
    return tasks[0]


def _imported(place: str) -> Any:
    """What is called so, as `module:name`."""
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)
