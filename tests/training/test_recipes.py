"""Recipes: every file is whole and its settings are ones that the rung accepts; mistakes are named."""

from __future__ import annotations

import pytest

from rung.errors import UserError
from rung.training.experiment import Experiment
from rung.training.recipes import load_recipe, parse_recipe, recipe_names

GOOD = 'title = "t"\nsource = "s"\npublished = 1.0\nrung = "bigram"\ndata = "names"\n[settings]\n'


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_can_be_followed(name: str):
    recipe = load_recipe(name)
    experiment = Experiment.of(recipe.rung, recipe.data, recipe.settings)
    made = recipe.data.startswith("made:")
    assert experiment.task == ("translation" if made else "language")
    assert (recipe.figure == "exact_match") == made
    assert 0 < recipe.published < (1 if made else 6)
    assert made or any(year in recipe.source for year in ("20", "nanoGPT", "makemore"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD.replace("published", "publishd"), "did you mean 'published'"),
        (GOOD.replace('title = "t"\n', ""), "lacks 'title'"),
        (GOOD.replace("1.0", '"low"'), "published must be"),
        ("title = ", "no TOML"),
    ],
)
def test_a_wrong_recipe_is_told_where(text: str, says: str):
    with pytest.raises(UserError, match=says):
        parse_recipe("mine", text)


def test_an_unknown_recipe_is_told_the_nearest():
    with pytest.raises(UserError, match="did you mean 'names-mlp'"):
        load_recipe("names-mpl")
