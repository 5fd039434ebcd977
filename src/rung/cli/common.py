"""What several verbs share: arguments, JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Annotated, Any

from cyclopts import Parameter

from rung.errors import UserError
from rung.files import json_text

# Arguments that may begin with a dash: "-" is standard input.
Text = Annotated[str, Parameter(allow_leading_hyphen=True)]
Dashed = Annotated[str | None, Parameter(allow_leading_hyphen=True)]


def flatten(function: Callable[..., Any], **classes: type) -> None:
    """Make each named parameter a configuration whose fields are flags of their own."""
    for parameter, cls in classes.items():
        # A configuration without fields would be a flag itself.
        how = Parameter(name="*") if fields(cls) else Parameter(parse=False)
        function.__annotations__[parameter] = Annotated[cls, how]
    defaults = {name: cls() for name, cls in classes.items()}
    function.__kwdefaults__ = (function.__kwdefaults__ or {}) | defaults


def settings_of(*configs: Any) -> dict[str, Any]:
    """Configurations as the settings, by name, that they are made of."""
    return {field.name: getattr(config, field.name) for config in configs for field in fields(config)}


def no_option(data: str) -> None:
    """Refuse an unknown option that stands where a text is expected."""
    if data.startswith("-") and data != "-":
        raise UserError(f"unknown option {data}; --help lists them (a file of that name is ./{data})")


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
