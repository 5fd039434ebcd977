"""What several verbs share: arguments, JSON."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from cyclopts import (
    CoercionError,
    CycloptsError,
    Group,
    MissingArgumentError,
    Parameter,
    UnusedCliTokensError,
    convert,
)

from rung.errors import UserError
from rung.files import json_text
from rung.numbers import real_number, whole_number

# Arguments that may begin with a dash: "-" is standard input.
Text = Annotated[str, Parameter(allow_leading_hyphen=True)]
Dashed = Annotated[str | None, Parameter(allow_leading_hyphen=True)]


def read_value(kind: Any, tokens: Any) -> Any:
    """What a flag's words mean, by the type of its parameter: numbers as `rung.numbers` reads them."""
    if not isinstance(tokens, tuple | list):
        return convert(kind, tokens)
    choices = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if Path in choices and not tokens[-1].value:  # it would be the folder we stand in
        raise UserError(f"{tokens[-1].keyword or 'a path'} is empty: name a file or folder")
    for choice in choices:
        read = READERS.get(get_args(choice)[0] if get_origin(choice) is tuple else choice)
        if read is None:
            continue
        if type(None) in choices and tokens[-1].value.lower() == "none":
            return None  # a text or a path may be called so
        values = [read(token.value, token.keyword) for token in tokens]
        return values[-1] if choice in READERS else tuple(values)
    return convert(kind, tokens)


READERS: dict[Any, Callable[[str, str], Any]] = {int: whole_number, float: real_number}


def worded(error: CycloptsError) -> str:
    """What is wrong with the arguments, in the words of our other messages."""
    verb = " ".join(["rung", *(error.command_chain or ())])
    match error:
        case UnusedCliTokensError(unused_tokens=[first, *_]):
            return f"{first!r} is one argument too many for {verb}: a text of several words goes in quotes"
        case MissingArgumentError(argument=argument) if argument is not None:
            if (error.keyword or "").startswith("-"):
                return f"{error.keyword} needs a value; one that begins with a dash is written {error.keyword}=-..."
            return f"{verb} needs {argument.name.lstrip('-').upper()}; {verb} --help shows how"
        case CoercionError(target_type=kind, token=token) if kind is bool and token is not None:
            return f"{token.keyword} {token.value!r} is not possible: give true or false"
    return str(error)


TITLES = {
    "config": "Shape",
    "training": "Training",
    "options": "Text",
    "run": "Run",
    "start": "Start",
    "sweep": "Sweep",
}
TITLES |= {"how": "Drawing", "search": "Searching", "form": "Form"}
"""Under which heading help shows the flags that a verb's parameter stands for."""

HEADINGS = {
    title: Group(title, sort_key=place)
    for place, title in enumerate(dict.fromkeys(("Shape", "Budget", "Optimiser", *TITLES.values())))
}
BUDGET = ("steps", "tokens", "minutes")
OPTIMISER = (
    *("lr", "optimizer", "schedule", "warmup", "min_lr", "weight_decay", "l1", "l2"),
    *("momentum", "beta1", "beta2", "eps", "clip", "average"),
)


_kinds: dict[type, dict[str, Any]] = {}
"""The annotations that configurations have in their files."""


def flowing(*documented: Any) -> None:
    """Join the lines of each paragraph, and of each argument, of docstrings: help breaks them to fit the terminal."""
    for one in documented:
        lines: list[str] = []
        for line in inspect.cleandoc(one.__doc__ or "").splitlines():
            depth = len(line) - len(line.lstrip())
            begun = lines and lines[-1] and not lines[-1].endswith(("Args:", "Attributes:"))
            if line and begun and depth in (0, 8):  # 4: another argument begins
                lines[-1] += f" {line.strip()}"
            else:
                lines.append(line)
        one.__doc__ = "\n".join(lines)


def flatten(function: Callable[..., Any], shown: Mapping[str, str] | None = None, **classes: type) -> None:
    """Make each named parameter a configuration whose fields are flags of their own, under a heading of their own.

    `shown` are the defaults, in words, that help is to tell of fields that are left open.
    """
    flowing(function, *classes.values())
    for parameter, cls in classes.items():
        # A configuration without fields would be a flag itself.
        how = (
            Parameter(name="*", group=HEADINGS[TITLES[parameter]]) if fields(cls) else Parameter(parse=False)
        )
        function.__annotations__[parameter] = Annotated[cls, how]
        kinds = _kinds.setdefault(cls, dict(cls.__annotations__))
        for field in fields(cls):
            title = "Budget" if field.name in BUDGET else "Optimiser" if field.name in OPTIMISER else None
            told: dict[str, Any] = {"group": HEADINGS[title]} if parameter == "training" and title else {}
            if shown and field.name in shown:
                told["show_default"] = lambda _, text=shown[field.name]: text
            if field.name in kinds:
                kind = kinds[field.name]
                cls.__annotations__[field.name] = Annotated[kind, Parameter(**told)] if told else kind
    defaults = {name: cls() for name, cls in classes.items()}
    function.__kwdefaults__ = (function.__kwdefaults__ or {}) | defaults


def defaults_in_words(model_class: Any, preset: str | None) -> dict[str, str]:
    """What is done, in words, where settings are left open."""
    from rung.training.config import BETA2, DEFAULT_SCHEDULE, DEFAULT_STEPS

    choices = dict(getattr(model_class, "training_defaults", {}))
    if choices:
        choices = {
            "schedule": DEFAULT_SCHEDULE,
            "momentum": 0.9,
            "beta1": 0.9,
            "beta2": BETA2,
            "eps": 1e-8,
        } | choices
    published: Any = {}
    if preset and hasattr(model_class.config_class, "preset"):
        with suppress(UserError):
            published = model_class.published_training(model_class.config_class(preset=preset))
    choices |= published
    words = {name: value if isinstance(value, str) else f"{value:g}" for name, value in choices.items()}
    if words:
        words["steps"] = f"{words.get('steps', DEFAULT_STEPS)} if no budget is given"
        if model_class.batch_tokens is not None and "batch_size" not in published:
            words["batch_size"] += ", more where documents are short"
    if hasattr(model_class.config_class, "defaults_of"):
        words |= model_class.config_class.defaults_of(preset)
    return words


def settings_of(*configs: Any) -> dict[str, Any]:
    """Configurations as the settings, by name, that they are made of."""
    return {field.name: getattr(config, field.name) for config in configs for field in fields(config)}


def no_option(data: str) -> None:
    """Refuse an unknown option that stands where a text is expected."""
    if data.startswith("-") and data != "-":
        raise UserError(f"unknown option {data}; --help lists them (a file of that name is ./{data})")


def require_utf8(name: str, *texts: str | None) -> None:
    """Refuse text of an argument whose bytes are no UTF-8: no model has seen what Python reads them as."""
    for text in texts:
        try:
            (text or "").encode("utf-8")
        except UnicodeEncodeError as error:
            raise UserError(f"{name} is not UTF-8 at character {error.start + 1}") from None


def stopped(how_to_go_on: str) -> int:
    """Say what Ctrl-C left behind."""
    print(f"rung: stopped{how_to_go_on}", file=sys.stderr)
    return 130


def show_json(value: Any) -> None:
    """One JSON object on stdout."""
    print(json_text(value))


def ascii_lines(text: str) -> str:
    """`text` on one line: line ends and other control characters as they are written in Python."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
