"""The tasks. `TASKS` is the one registry: a new task is a new file and a line here (its rungs: `rung.models.RUNGS`)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rung.errors import UserError, nearest
from rung.tasks.base import Task

TASKS = {
    "language": "rung.tasks.language:LanguageModeling",
    "classification": "rung.tasks.classification:Classification",
}
"""Name -> where the class lives."""


def task_of(name: str) -> Task[Any]:
    """The task called `name`; its file is imported only now. Raises UserError for a name that is none."""
    if name not in TASKS:
        raise UserError(f"there is no task {name!r}{nearest(name, TASKS)} (tasks: {', '.join(TASKS)})")
    module, _, attribute = TASKS[name].partition(":")
    return getattr(import_module(module), attribute)()
