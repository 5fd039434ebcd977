"""What a page shows beside the measure, task by task. A task whose answers can be looked at is a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rung.evaluation.label_report import label_report
from rung.evaluation.tag_report import tag_report
from rung.evaluation.translation_report import translation_report

DETAILS: dict[str, tuple[str, Callable[[Any, Any, str, np.ndarray], dict[str, Any]]]] = {
    "classification": ("labels", label_report),
    "tagging": ("tags", tag_report),
    "translation": ("translations", translation_report),
}
"""Task -> the name of its part of the page, `NAME.html` with a macro `of_NAME`, and what finds the facts, from a model,
its data, the split and the task's scores."""


def details(task: str, model: Any, dataset: Any, split: str, scores: np.ndarray) -> dict[str, Any]:
    """By the name of the part its facts; nothing where a task has none."""
    if task not in DETAILS:
        return {}
    name, facts = DETAILS[task]
    return {name: facts(model, dataset, split, scores)}
