"""What several verbs share: arguments, JSON."""

from __future__ import annotations

import json as json_library
import math
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Annotated, Any

from cyclopts import Parameter

from rung.errors import UserError

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
    # JSON has no infinity; 1e999 is read as one by every parser that knows floating point.
    spelled = json_library.dumps(_spelled_out(value), ensure_ascii=False)
    print(spelled.replace('"\\u0000-inf"', "-1e999").replace('"\\u0000inf"', "1e999"))


def _spelled_out(value: Any) -> Any:
    if isinstance(value, float) and math.isinf(value):
        return "\0inf" if value > 0 else "\0-inf"
    if isinstance(value, dict):
        return {key: _spelled_out(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled_out(part) for part in value]
    return value


def ascii_lines(text: str) -> str:
    """`text` on one line: line ends and other control characters as they are written in Python."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
