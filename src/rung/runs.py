"""A run is a folder that anyone can read.

    run.json            the whole recipe: data with its hash, tokeniser, model, training, seed, versions, result
    tokenizer.json      text to ids
    model.safetensors   the model; loading it executes nothing
    events.jsonl        what happened, one JSON object a line
    checkpoints/        where training can go on from (neural rungs)
    data/               the tokenised text, mapped from disk; the model works without it, so leave it out of what you
                        hand on if the text is private

Files are written whole or not at all; how one run takes the place of another is in `rung.run_folders`.
"""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rung.errors import UserError
from rung.files import read_json, write_json
from rung.models import class_described
from rung.models.base import Model
from rung.models.own import trusting
from rung.models.quantisation import QUANTISED, unpacked
from rung.opening import check_count, check_kind, damaged, from_json, opening
from rung.run_files import DATA, LAST, MODEL, RECIPE, TOKENIZER
from rung.run_files import EVENTS as EVENTS
from rung.run_folders import Place, settle
from rung.tasks import TASKS, task_of
from rung.tasks.base import Task
from rung.tensors import load_tensors, save_tensors
from rung.text.tokenizers import Tokenizer, load_tokenizer
from rung.version import __version__


@dataclass(frozen=True)
class Run:
    """A trained model with what belongs to it. Parts are read when they are first asked for.

    Attributes:
        folder: where it lies.
        recipe: what `run.json` says.
        trust: whether to import the file of a model that is the user's own (`rung.models.own`), or from where.
    """

    folder: Path
    recipe: dict[str, Any]
    trust: bool | str | Path = False

    @property
    def rung(self) -> str:
        return self.recipe["model"]["rung"]

    @property
    def task(self) -> Task[Any]:
        """What it predicts from what."""
        return task_of(self.recipe.get("task", "language"))

    @property
    def model_class(self) -> Any:
        """Raises UserError for a rung that there is none of, or one in a file that isn't trusted."""
        with trusting(self.trust):
            try:
                return class_described(self.recipe["model"], self.task.name, str(self.folder))
            except UserError as error:
                if "code" in self.recipe["model"]:
                    raise
                raise UserError(f"{self.folder / RECIPE}: {error}") from None

    @property
    def config(self) -> Any:
        """The model's configuration. Raises UserError when it is none of this rung's."""
        config_class = self.model_class.config_class
        with opening(self.folder / RECIPE):
            return from_json(config_class, self.recipe["model"]["config"])

    @property
    def shape(self) -> dict[str, Any]:
        """What the model knows of the data (`Model.shape`)."""
        return {key: value for key, value in self.recipe["model"].items() if key not in _IDENTITY}

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Raises UserError when it is missing, damaged or another model's."""
        path = self.folder / TOKENIZER
        tokenizer = load_tokenizer(path)
        self._check_same()
        n_ids = tokenizer.vocab_size + ("delimiter" in self.shape)
        if (n_ids, tokenizer.end) != (self.shape["vocab_size"], self.shape["end"]):
            raise damaged(
                path, f"it has {tokenizer.vocab_size} ids, and the model {self.shape['vocab_size']}"
            )
        own = None if tokenizer.source is None else tokenizer.source.vocab_size
        if own != self.shape.get("source_vocab_size"):
            raise damaged(path, "its side of sources is another model's")
        return tokenizer

    @cached_property
    def model(self) -> Any:
        """The model, its arrays mapped from disk. Raises UserError when the run is unfinished or damaged."""
        path = self.folder / MODEL
        if not path.exists():
            close = ", or close it as it is: --finish" if (self.folder / LAST).exists() else ""
            raise UserError(
                f"{self.folder} holds no {MODEL}: its training has not finished; go on with "
                f"'rung train --resume {self.folder}'{close}"
            )
        tensors, metadata = load_tensors(path)
        self._check_same()
        config, model_class = self.config, self.model_class
        with trusting(self.trust), opening(path):
            codes, tensors = unpacked(tensors) if QUANTISED in metadata else ({}, tensors)
            model = model_class.from_tensors(config, tensors=tensors, **self.shape)
            if codes:
                model.codes = codes
            return model

    @cached_property
    def corpus(self) -> Any:
        """The tokenised data it was trained on. Raises UserError when `data/` is not there (any more)."""
        if not (self.folder / DATA).exists():
            raise UserError(
                f"{self.folder} came without its own text ({DATA}/); give a text: rung evaluate RUN DATA"
            )
        corpus = self.task.open(self.folder / DATA)
        self._check_same()
        if self.task.shape(corpus) != self.shape:
            raise damaged(self.folder / DATA, "it has other tokens or labels than the model")
        return corpus

    def _check_same(self) -> None:
        """Raise UserError when another run has taken the place of this one since it was opened."""
        if self.recipe["status"] == "finished" and read_json(self.folder / RECIPE) != self.recipe:
            raise UserError(f"{self.folder} was replaced by another run after it was opened; open it again")

    def bytes_on_disk(self) -> int:
        """The size of what is needed to use the model: weights, tokeniser and recipe."""
        return sum((self.folder / name).stat().st_size for name in (MODEL, TOKENIZER, RECIPE))


def load(path: str | Path, *, trust: bool | str | Path = False) -> Run:
    """Open a run's folder.

    Args:
        path: the folder.
        trust: where its model is a class in a file of somebody's own, True imports that file, which runs it; a path is
            imported instead. A run of our rungs needs no trust: it executes nothing.

    Raises UserError when it is none.
    """
    folder = Path(path)
    settle(folder)
    if not folder.is_dir():
        known = sorted(found.parent.as_posix() for found in Path("runs").glob("**/" + RECIPE))[:5]
        hint = f" (runs here: {', '.join(known)})" if known else "; make one with 'rung train RUNG DATA'"
        raise UserError(f"there is no run folder {path}{hint}")
    if not (folder / RECIPE).exists():
        inside = sorted(found.parent.name for found in folder.glob("*/" + RECIPE))
        hint = f"; it holds these runs: {', '.join(f'{path}/{name}' for name in inside)}" if inside else ""
        raise UserError(f"{path} is no run: it has no {RECIPE}{hint}")
    recipe = read_json(folder / RECIPE)
    with opening(folder / RECIPE):
        check_recipe(recipe)
    return Run(folder, recipe, trust)


_IDENTITY = ("rung", "code", "config")
"""What an entry says of a model that is no part of its shape."""

_KINDS: dict[str, Any] = {
    "model": dict,
    "data": dict,
    "seed": int,
    "status": str,
    "task": str,
    "device": str,
    "created": str,
    "versions": dict,
    "tokenizer": str | None,
    "training": dict,
    "result": dict,
    "restarts": list,
    "continued": list,
    "parent": dict,
    "vectors": dict,
    "teacher": dict,
    "quantised": dict,
    "pruned": dict,
    "command": str,
    "asked": dict,
    "machine": str,
}
"""What the entries of a recipe are; the first four are always there."""


def check_recipe(recipe: Any) -> None:
    """Raise ValueError or KeyError unless a recipe says what all that read it go by."""
    check_kind("a recipe", recipe, dict)
    for name in ("model", "data", "seed", "status"):
        if name not in recipe:
            raise ValueError(f"it has no {name!r}")
    for name, kind in _KINDS.items():
        if name in recipe:
            check_kind(name, recipe[name], kind)
    if recipe.get("task", "language") not in TASKS:
        raise ValueError(f"there is no task {recipe['task']!r}")
    for name in ("given", "columns"):
        check_kind(name, recipe["data"].get(name, {}), dict)
    for name, column in recipe["data"].get("columns", {}).items():
        check_kind(f"the column of {name}", column, str | None)
    model = recipe["model"]
    check_kind("rung", model["rung"], str)
    check_kind("config", model["config"], dict)
    check_count("vocab_size", model["vocab_size"], 1)
    check_count("end", model["end"])
    if model["end"] >= model["vocab_size"]:
        raise ValueError(f"end can't be {model['end']}: there are {model['vocab_size']} ids")
    if "code" in model:
        check_kind("code", model["code"], dict)
        for name in ("file", "class", "sha256"):
            check_kind(name, model["code"][name], str)
    for name in model.keys() - {*_IDENTITY, "vocab_size", "end"}:
        if name == "delimiter":
            check_count("delimiter", model["delimiter"])
            if model["delimiter"] != model["vocab_size"] - 1:
                raise ValueError(
                    f"delimiter can't be {model['delimiter']}: it is the last of {model['vocab_size']} ids"
                )
            continue
        if name == "source_vocab_size":
            check_count(name, model[name], 1)
            continue
        if name not in ("labels", "tags"):
            raise ValueError(f"a model has no {name!r}")
        check_kind(name, model[name], tuple[str, ...])
    check_kind("source", recipe["data"].get("source"), dict)
    if recipe["status"] == "finished":
        result = recipe["result"]
        check_kind("validation", result["validation"], dict | None)
        for name in ("train_seconds", "train_tokens", "steps", "parameters"):
            check_kind(name, result[name], float)


def load_language_model(run: Run | str | Path) -> Run:
    """A run, or the one in a folder, whose model gives P(text). Raises UserError for one of another task."""
    run = run if isinstance(run, Run) else load(run)
    if run.task.name != "language":
        uses = {
            "masked": 'fill {} "... [MASK] ..."',
            "vectors": "vectors neighbours {} WORD",
            "contrastive": "embed {} FILE",
        }
        use = uses.get(run.task.name, "predict {} FILE").format(run.folder)
        raise UserError(
            f"{run.folder} is a {run.rung}, trained for {run.task.name}: that is no language model, so its text is "
            f"neither written, scored nor looked up; use it: rung {use}"
        )
    return run


def load_scorer(run: Run | str | Path) -> Run:
    """A run, or the one in a folder, that gives P(text), or P(text | source). Raises UserError for one that doesn't."""
    run = run if isinstance(run, Run) else load(run)
    return run if run.task.name == "translation" else load_language_model(run)


def load_filler(run: Run | str | Path) -> Run:
    """A run, or the one in a folder, that can say what is hidden in a text. Raises UserError for one that can't."""
    run = run if isinstance(run, Run) else load(run)
    return run if run.task.name == "masked" else load_language_model(run)


def shared_tokenizer(paths: Sequence[str]) -> Tokenizer:
    """The one tokeniser of several runs. Raises UserError when they have different ones or a run isn't there."""
    if not paths:
        raise UserError("name the runs to mix: --runs RUN RUN ...")
    tokenizers = [load_language_model(path).tokenizer for path in paths]
    for path, tokenizer in zip(paths, tokenizers, strict=True):
        if not tokenizer.spells_like(tokenizers[0]):
            raise UserError(
                f"{path} has another tokeniser than {paths[0]}; only runs that share one can be mixed"
            )
    return tokenizers[0]


def write_recipe(folder: Path | Place, recipe: dict[str, Any]) -> None:
    """Write `run.json`."""
    write_json(folder / RECIPE, recipe)


def write_imported(
    folder: Path | Place, model: Model, tokenizer: str | None, data: dict[str, Any], task: str = "language"
) -> None:
    """Write the `run.json` of a model that was trained elsewhere.

    Args:
        folder: the run's.
        model: what was read.
        tokenizer: the kind of its tokeniser, None when it came without one.
        data: where it came from.
        task: what it predicts.
    """
    recipe = {
        "format": 1,
        **({} if task == "language" else {"task": task}),
        "status": "finished",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "seed": 0,
        "device": "cpu",
        "tokenizer": tokenizer,
        "data": data,
        "model": model.describe(),
        "result": {
            "validation": None,
            "train_seconds": 0.0,
            "train_tokens": 0,
            "steps": 0,
            "reason": "imported",
            "parameters": model.n_parameters,
        },
    }
    write_recipe(folder, recipe)


def save_model(folder: Path | Place, model: Model) -> None:
    """Write `model.safetensors`."""
    save_tensors(folder / MODEL, model.tensors(), {"rung": model.rung})


def machine() -> str:
    """What it is computed on, in a few words."""
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"


def versions() -> dict[str, str]:
    """The versions that a result may depend on."""
    found = {"rung": __version__, "python": platform.python_version()}
    for package in ("numpy", "torch", "tokenizers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
