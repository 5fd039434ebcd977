"""The layouts of a .json file: an array of objects, or JSON Lines, an object a line.

An array is read whole, as text, and its items are parsed one by one; it may have as much as LONGEST_ARRAY characters.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

from rung.errors import UserError
from rung.text.formats import File, open_text

LONGEST_ARRAY = 1 << 30
_SPACE = re.compile(r"[ \t\n\r]*")


def is_array(file: File) -> bool:
    """Whether a .json holds an array; else it holds an object a line. Raises UserError when it holds neither."""
    with open_text(file) as text:
        line = next((line for line in text if line.strip()), "").strip()
    if line.startswith("["):
        return True
    try:
        if not line or isinstance(parse_json(line), dict):
            return False
    except ValueError:
        pass
    raise UserError(
        f"{file.name}: a .json has to hold an array of objects, or an object a line; to learn it letter by letter, "
        "name it .txt"
    )


def array_items(file: File, text: io.TextIOBase) -> Iterator[tuple[str, Any, str]]:
    """The items of an array: where each stands, what it is, and how it is written, on one line."""
    array = text.read(LONGEST_ARRAY + 1)
    if len(array) > LONGEST_ARRAY:
        raise UserError(
            f"{file.name}: an array of more than {LONGEST_ARRAY:,} characters; make it JSON lines: "
            f"jq -c '.[]' {file.name} > {file.name}l"
        )
    decoder, number = json.JSONDecoder(), 0
    at = _after_space(array, _after_space(array, 0) + 1)
    closed = array[at : at + 1] == "]"
    while not closed:
        number += 1
        try:
            value, end = decoder.raw_decode(array, at)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{file.name}:{error.lineno}: not JSON: {error.msg.removesuffix(' at')} at column {error.colno}"
            ) from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{file.name}: item {number}: {_unreadable(error)}") from None
        yield f"{file.name}: item {number}", value, re.sub(r"[ \t\r]*\n[ \t\r]*", " ", array[at:end])
        at = _after_space(array, end)
        closed = array[at : at + 1] == "]"
        if not closed and array[at : at + 1] != ",":
            raise UserError(f"{file.name}: not JSON: a comma or ] is missing after item {number}")
        at = _after_space(array, at + 1)
    if not number:
        at += 1
    if array[at:].strip():
        raise UserError(f"{file.name}: not JSON: something follows after the array's end")


def parse_json(line: str) -> Any:
    """Raises ValueError that says what is wrong."""
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg.removesuffix(' at')} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(_unreadable(error)) from None


def _unreadable(error: ValueError | RecursionError) -> str:
    """What is wrong with JSON that Python's reader gives up on."""
    deep = isinstance(error, RecursionError)
    return f"not JSON that can be read: {'nested too deeply' if deep else 'a number of thousands of digits'}"


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def json_object(line: str) -> tuple[dict[str, Any] | None, str | None]:
    """The object of a line, or what is wrong with it."""
    try:
        row = parse_json(line)
    except ValueError as error:
        return None, str(error)
    return as_object(row)


def as_object(value: Any) -> tuple[dict[str, Any] | None, str | None]:
    """A value that is an object, or what is wrong with it."""
    return (value, None) if isinstance(value, dict) else (None, f"not an object but {type(value).__name__}")
