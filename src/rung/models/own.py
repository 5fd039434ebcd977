"""Rungs of the user's own: a class in a file, `./mine.py:MyModel`, or one that an installed package offers.

A class that answers a contract of `rung.models.base` is a rung as it is; a plain torch module becomes one
(`rung.models.networks.module`). A package offers rungs by entry points of the group `rung.rungs`, name = module:Class.

Importing a file runs it, so no file is imported that the user did not name. What was trained keeps in `run.json` where
its class was, and the file's SHA-256; opening such a run imports the file only where the user trusts it (`trusting`, or
because this process was told to import it before), and says so in a warning when it has changed since.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
import traceback
import types
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from rung.errors import Untrusted, UserError
from rung.models.base import Classifier, LanguageModel, Model

GROUP = "rung.rungs"
TRAINING_DEFAULTS = {"lr": 1e-3, "weight_decay": 0.01, "batch_size": 32}

_trusted: ContextVar[bool | Path] = ContextVar("trusted", default=False)
_imported: dict[tuple[Path, str], types.ModuleType] = {}
"""By file and SHA-256: what this process was told to import."""


class CodeChanged(UserWarning):
    """A file that holds a model is another than when the model was trained."""


@contextmanager
def trusting(trust: bool | str | Path) -> Iterator[None]:
    """Within, the files that runs name are imported; a path is imported instead, because a run's file has moved.

    False leaves things as they are.
    """
    token = _trusted.set(_trusted.get() if trust is False else trust if trust is True else Path(trust))
    try:
        yield
    finally:
        _trusted.reset(token)


def class_in(spec: str) -> type[Model]:
    """The rung that `PATH.py:CLASS` names; the file is imported. Without a class, the only one that is there.

    Raises UserError when there is none, or it can't be one.
    """
    path, _, name = spec.partition(".py:")
    path = Path(path if path.endswith(".py") else path + ".py").expanduser().resolve()
    source = _read(path)
    digest = hashlib.sha256(source).hexdigest()
    module = _module(path, source, digest)
    return _class_of(module, path, digest, name or _only_model(module, path))


def class_of(code: Mapping[str, Any], of: str) -> type[Model]:
    """The class that `run.json` names by file, class and SHA-256.

    Args:
        code: its "code".
        of: what is opened, for messages.

    Raises UserError when the file is not trusted, or not there.
    """
    trust = _trusted.get()
    path, name, digest = Path(code["file"]), str(code["class"]), str(code["sha256"])
    if (path, digest) in _imported:
        return _class_of(_imported[path, digest], path, digest, name)
    if trust is False:
        raise Untrusted(
            f"{of} needs its own code, {name} of {path}, which runs when it is opened; if you trust that file, add "
            "--trust (in Python: rung.load(run, trust=True))"
        )
    if trust is not True:
        path = trust.expanduser().resolve()
    elif not path.exists():
        raise Untrusted(f"{of} needs {name} of {path}, which is not there; say where it is: --trust=FILE")
    source = _read(path)
    now = hashlib.sha256(source).hexdigest()
    if now != digest:
        warnings.warn(
            f"{path} has changed since {of} was trained: SHA-256 {now[:12]}, then {digest[:12]}",
            CodeChanged,
            stacklevel=2,
        )
    return _class_of(_module(path, source, now), path, now, name)


def installed() -> dict[str, EntryPoint]:
    """The rungs that installed packages offer, by name."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


@cache
def installed_class(entry: EntryPoint) -> type[Model]:
    """The class behind an entry point. Raises UserError when it can't be imported or is no rung."""
    try:
        found = entry.load()
    except Exception as error:
        raise UserError(
            f"the installed rung {entry.name} ({entry.value}) can't be imported: {type(error).__name__}: {error}"
        ) from error
    return _rung(found, entry.value, entry.name)


def task_of_class(model_class: type[Model]) -> str:
    """By which contract it answers."""
    return "classification" if issubclass(model_class, Classifier) else "language"


def place_of(error: BaseException) -> str | None:
    """Where in a file of the user's own an error arose, if it did: `mine.py, line 12`."""
    files = {str(path) for path, _ in _imported}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}; name a file of Python") from error


def _module(path: Path, source: bytes, digest: str) -> types.ModuleType:
    """These very bytes, executed once; what lies beside the file can be imported by it."""
    if (path, digest) in _imported:
        return _imported[path, digest]
    module = types.ModuleType(f"rung_own_{path.stem}_{digest[:12]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look for it
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[module.__name__]
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = frames[-1].lineno if frames else getattr(error, "lineno", None)
        raise UserError(
            f"{path} can't be imported: {type(error).__name__}: {error}{f' (line {line})' if line else ''}"
        ) from error
    _imported[path, digest] = module
    return module


def _only_model(module: types.ModuleType, path: Path) -> str:
    names = [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and issubclass(value, Model)
    ]
    if len(names) != 1:
        raise UserError(
            f"{path} holds {', '.join(names) or 'no model that is known as one'}: name a class, {path}:CLASS"
        )
    return names[0]


def _class_of(module: types.ModuleType, path: Path, digest: str, name: str) -> type[Model]:
    found = getattr(module, name, None)
    if found is None:
        here = [
            key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
        ]
        raise UserError(f"{path} has no class {name!r} (it has: {', '.join(here) or 'none'})")
    rungs = module.__dict__.setdefault("__rungs__", {})
    if name not in rungs:
        own = vars(found).get("rung") if isinstance(found, type) else None
        rungs[name] = _rung(found, f"{path}:{name}", own or kebab(name))
        rungs[name].code = {"file": str(path), "class": name, "sha256": digest}
    return rungs[name]


def _rung(found: Any, where: str, name: str) -> type[Model]:
    """`found` as a class of models called `name`. Raises UserError for what it lacks."""
    torch = sys.modules.get("torch")
    if not isinstance(found, type):
        raise UserError(f"{where} is no class")
    if torch is not None and issubclass(found, torch.nn.Module):
        from rung.models.networks.module import ModuleModel

        found = ModuleModel.of(found)
    if not issubclass(found, LanguageModel | Classifier):
        raise UserError(
            f"{where} is no model: derive it from a contract of rung.models.base (CountedModel, ...), of "
            "rung.models.networks.network (NeuralModel, ...), or torch.nn.Module"
        )
    if inspect.isabstract(found):
        raise UserError(f"{where} is not complete: it lacks {', '.join(sorted(found.__abstractmethods__))}")
    for attribute, hint in (
        ("config_class", "a dataclass of its settings"),
        ("trained_by", "derive it from CountedModel, NeuralModel or torch.nn.Module"),
    ):
        if not hasattr(found, attribute):
            raise UserError(f"{where} has no {attribute}: {hint}")
    _check_config(found.config_class, where)
    found.rung = name
    if found.trained_by == "torch":
        found.training_defaults = {**TRAINING_DEFAULTS, **getattr(found, "training_defaults", {})}  # type: ignore[attr-defined]
    return found


def _check_config(config_class: Any, where: str) -> None:
    if not (isinstance(config_class, type) and is_dataclass(config_class)):
        raise UserError(f"the config_class of {where} is no dataclass")
    for field in fields(config_class):
        if field.default is MISSING and field.default_factory is MISSING:
            raise UserError(f"the setting {field.name!r} of {where} has no default: give it one")


def kebab(name: str) -> str:
    """`MyModel` as a rung is called: my-model."""
    return (
        re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
        .replace("_", "-")
        .lower()
        .strip("-")
    )
