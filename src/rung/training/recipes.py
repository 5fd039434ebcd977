"""Recipes: one TOML file a published result that we reproduce, with where it was published and what it was.

    title = "MLP on names"
    source = "Karpathy, makemore part 2 (2022)"
    published = 2.17                # nats per token on validation text, the closing mark counted
    figure = "exact_match"          # where it is another figure of the measure, and the more the better
    rung = "mlp"
    data = "names"
    [settings]                      # fields of the rung's configuration, of TrainingConfig and of DataOptions
    steps = 20000

They lie beside the code, in `rung/recipes`, so that an installed Rung has them.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from rung.errors import UserError, nearest

NATS = "nats_per_token"
KEYS = {"title": str, "source": str, "published": float, "rung": str, "data": str, "settings": dict}
OPTIONAL = {"figure": str}


@dataclass(frozen=True)
class Recipe:
    """A published result and how to reach it.

    Attributes:
        name: the file's, without its suffix.
        title, source: what it is and who published it.
        published: nats per token on validation text, or what `figure` is to be at least.
        figure: which figure of the measure it is.
        rung, data, settings: what `rung.train` is called with.
    """

    name: str
    title: str
    source: str
    published: float
    rung: str
    data: str
    settings: dict[str, Any]
    figure: str = NATS

    def reached_by(self, value: float) -> bool:
        """Whether a run that came to `value` is as good."""
        return value <= self.published if self.figure == NATS else value >= self.published


def recipe_names() -> list[str]:
    """All recipes, in alphabetical order."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in files("rung.recipes").iterdir()
        if _is_recipe(entry.name)
    )


def load_recipe(name: str) -> Recipe:
    """Read the recipe `name`. Raises UserError when there is none or its file is wrong."""
    names = recipe_names()
    if name not in names:
        raise UserError(f"there is no recipe {name!r}{nearest(name, names)} (recipes: {', '.join(names)})")
    return parse_recipe(name, (files("rung.recipes") / f"{name}.toml").read_text(encoding="utf-8"))


def parse_recipe(name: str, text: str) -> Recipe:
    """The recipe that `text`, TOML, spells. Raises UserError naming what is unknown, missing or of another type."""
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"recipe {name} is no TOML: {error}") from error
    for key in value:
        if key not in (known := KEYS | OPTIONAL):
            raise UserError(
                f"recipe {name} has an unknown key {key!r}{nearest(key, known)} (keys: {', '.join(known)})"
            )
    for key, kind in (KEYS | OPTIONAL).items():
        if key not in value:
            if key in OPTIONAL:
                continue
            raise UserError(f"recipe {name} lacks {key!r}")
        if not isinstance(value[key], kind):
            raise UserError(f"recipe {name}: {key} must be of type {kind.__name__}, not {value[key]!r}")
    return Recipe(name, **value)


def _is_recipe(file_name: str) -> bool:
    return file_name.endswith(".toml")
