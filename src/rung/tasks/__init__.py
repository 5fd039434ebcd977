"""The tasks. `TASKS` is the one registry: a new task is a new file and a line here (its rungs: `rung.models.RUNGS`)."""

from __future__ import annotations

from collections.abc import Container, Iterable
from importlib import import_module
from typing import Any

from rung.errors import UserError, nearest
from rung.models import tasks_with
from rung.tasks.base import Task

TASKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "language": ("rung.tasks.language:LanguageModeling", ()),
    "classification": ("rung.tasks.classification:Classification", ("label",)),
}
"""Name -> where the class lives, and the settings by which it is asked for (flags that only it has)."""


def task_of(name: str) -> Task[Any]:
    """The task called `name`; its file is imported only now. Raises UserError for a name that is none."""
    if name not in TASKS:
        raise UserError(f"there is no task {name!r}{nearest(name, TASKS)} (tasks: {', '.join(TASKS)})")
    module, _, attribute = TASKS[name][0].partition(":")
    return getattr(import_module(module), attribute)()


def task_from(rungs: Iterable[str], settings: Container[str]) -> str:
    """The task that is meant: one that has these rungs, and of several the one whose setting is given, or the first.

    Raises UserError for a rung that no task has, or that the others' task has not.
    """
    tasks = list(TASKS)
    for rung in rungs:
        having = tasks_with(rung)
        if not set(tasks) & set(having):
            raise UserError(f"{rung} is a rung of {' and '.join(having)}, and the others are of {tasks[0]}")
        tasks = [task for task in tasks if task in having]
    return next((task for task in tasks if any(name in settings for name in TASKS[task][1])), tasks[0])
