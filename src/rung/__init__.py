"""Rung: train, measure, compare and use small language models on your own text. `help(rung.api)` lists the calls."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rung.errors import UserError
from rung.version import __version__

if TYPE_CHECKING:
    from rung.api import (
        climb,
        compare,
        complete,
        embed,
        evaluate,
        fill,
        find_lr,
        generate,
        generate_many,
        load,
        nearest,
        predict,
        prune,
        quantise,
        resume,
        score,
        tokenize,
        train,
        train_again,
        train_best,
        train_recipe,
        vectors,
    )

__all__ = [
    "UserError",
    "__version__",
    "climb",
    "compare",
    "complete",
    "embed",
    "evaluate",
    "fill",
    "find_lr",
    "generate",
    "generate_many",
    "load",
    "nearest",
    "predict",
    "prune",
    "quantise",
    "resume",
    "score",
    "tokenize",
    "train",
    "train_again",
    "train_best",
    "train_recipe",
    "vectors",
]


_MODULES = ("api", "testing")


def __getattr__(name: str) -> Any:
    """The calls are imported when they are first used, so that `import rung` stays quick."""
    if name in __all__:
        return getattr(import_module("rung.api"), name)
    if name in _MODULES:
        return import_module(f"rung.{name}")
    raise AttributeError(f"module 'rung' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The calls, for completion, before they are imported."""
    return sorted({*globals(), *__all__, *_MODULES})
