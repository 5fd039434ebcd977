"""What Python's own tools are told of the calls: dir, signatures, help; and that it costs nothing to import."""

from __future__ import annotations

import inspect
import pydoc
import subprocess
import sys
from dataclasses import fields

import pytest

import rung
import rung.api
from rung.generation.settings import Sampling
from rung.signatures import meanings_of
from rung.text.options import DataOptions
from rung.training.config import TrainingConfig
from rung.training.experiment import RunOptions


def in_a_new_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_dir_shows_the_calls_before_anything_is_imported():
    code = "import rung, sys; print(set(rung.__all__) <= set(dir(rung)), {'rung.api', 'numpy'} & set(sys.modules))"
    assert in_a_new_process(code).split() == ["True", "set()"]


def test_help_of_the_calls_works_after_import_rung_alone():
    code = (
        "import rung, pydoc; print('def train' in pydoc.plain(pydoc.render_doc(rung.api)) or 'train(rung' in "
    )
    assert "True" in in_a_new_process(code + "pydoc.plain(pydoc.render_doc(rung.api)))")


@pytest.mark.parametrize("config", [TrainingConfig, DataOptions, RunOptions])
def test_train_names_every_setting_with_its_default(config: type):
    parameters = inspect.signature(rung.train).parameters
    for field in fields(config):
        assert parameters[field.name].default == field.default
    assert parameters["label"].default is None  # a label given asks for a classifier


@pytest.mark.parametrize(
    "call", ["train", "climb", "find_lr", "train_best", "evaluate", "generate", "train_recipe"]
)
def test_help_says_what_each_setting_means(call: str):
    function = getattr(rung, call)
    text = pydoc.plain(pydoc.render_doc(function))
    settings = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in ("on_event", "stop")
    ]
    assert all(f"{name}: " in text for name in settings)
    assert "max_tokens: " in pydoc.render_doc(rung.generate)


def test_meanings_are_whole():
    meanings = meanings_of(TrainingConfig)
    assert set(meanings) == {field.name for field in fields(TrainingConfig)}
    assert meanings["minutes"].endswith("Several budgets: the first spent ends it.")
    assert "over the budget (fewer under --minutes" in meanings["eval_every"]  # its second line
    assert set(meanings_of(Sampling)) == {field.name for field in fields(Sampling)}
