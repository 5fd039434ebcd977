"""The templates of pages: each becomes one file that loads nothing; whatever a model wrote is shown as text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def template(name: str) -> Any:
    """The Jinja template `name` of this folder."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    return environment.get_template(name)


def _visible(value: Any) -> Any:
    """Make what HTML cannot hold, or would swallow, visible; markup and numbers pass unchanged.

    Control characters become their pictures (U+2400 and on), lone surrogates, which no file can hold, U+FFFD.
    """
    if type(value) is not str:
        return value
    return re.sub(r"[^\n\t -~\xa0-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd\U00010000-\U0010ffff]", _picture, value)


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"
