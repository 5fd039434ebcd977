"""Calls that take settings by name say which: in their signature, so that completion knows them, and in their help.

A setting is a field of a configuration, a dataclass. What it means stands in the dataclass's docstring, under
`Attributes:`, once for the command line and for Python.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection
from dataclasses import MISSING, fields
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def takes(*configs: type, absent: Collection[str] = (), and_others: bool = False) -> Callable[[F], F]:
    """Let a function with `**settings` show the fields of `configs` in its signature and its docstring.

    Args:
        configs: dataclasses; where two have a field of one name, the first one's is shown.
        absent: fields whose being given says something, so that no default is shown but None.
        and_others: whether there are further settings, so that `**settings` stays.
    """

    def shown(function: F) -> F:
        signature = inspect.signature(function)
        plain = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        rest = [p for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD] if and_others else []
        taken = {p.name for p in plain}
        added: dict[str, inspect.Parameter] = {}
        lines = []
        for config in configs:
            meanings = meanings_of(config)
            for field in fields(config):
                if field.name in taken or field.name in added:
                    continue
                default, kind = field.default if field.default is not MISSING else None, field.type
                if field.name in absent and default is not None:
                    default, kind = None, f"{kind} | None"
                added[field.name] = inspect.Parameter(
                    field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind
                )
                lines.append(f"    {field.name}: {meanings.get(field.name, '')}".rstrip())
        function.__signature__ = signature.replace(parameters=[*plain, *added.values(), *rest])  # type: ignore[attr-defined]
        function.__doc__ = "\n".join([inspect.cleandoc(function.__doc__ or ""), "", "Settings:", *lines])
        return function

    return shown


def meanings_of(config: type) -> dict[str, str]:
    """What the docstring of a dataclass says of each field, under `Attributes:`, each in one line."""
    _, _, listed = inspect.cleandoc(config.__doc__ or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in listed.splitlines():
        begins = re.match(r" {4}(\w+): (.*)", line)
        if begins:
            name, found[begins[1]] = begins[1], begins[2]
        elif name and line.startswith("     "):
            found[name] += " " + line.strip()
        else:
            break
    return found
