"""What a made text must look like, as flags; `rung.generation.constrained`, loaded when asked for, does the work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rung.errors import UserError
from rung.files import read_json
from rung.generation.constraint import Constraint
from rung.text.tokenizers import Tokenizer


@dataclass(frozen=True)
class ConstraintSettings:
    """What a text must match; at most one of these. Of the prompt nothing is asked.

    Attributes:
        regex: the text must match this regular expression as a whole; Rust's syntax: no look-around, no references.
        choices: the text must be one of these, separated by |.
        json_schema: the text must be JSON of the schema in this file.
    """

    regex: str | None = None
    choices: str | None = None
    json_schema: Path | None = None

    def __post_init__(self) -> None:
        given = [
            f"--{name.replace('_', '-')}"
            for name in ("regex", "choices", "json_schema")
            if getattr(self, name) is not None
        ]
        if len(given) > 1:
            raise UserError(f"{given[0]} and {given[1]} do not go together: give one of them")


def constraint_from(form: ConstraintSettings, tokenizer: Tokenizer) -> Constraint | None:
    """The constraint that the flags ask for, None when they ask for nothing.

    Raises UserError for an expression or a schema that is wrong or that no text can match.
    """
    if form == ConstraintSettings():
        return None
    from rung.generation import constrained

    if form.regex is not None:
        return constrained.regex_constraint(form.regex, tokenizer)
    if form.choices is not None:
        return constrained.choice_constraint(form.choices.split("|"), tokenizer)
    assert form.json_schema is not None
    return constrained.json_constraint(
        read_json(Path(form.json_schema)), tokenizer, name=str(form.json_schema)
    )
