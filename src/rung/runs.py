"""A run is a folder that anyone can read.

    run.json            the whole recipe: data with its hash, tokeniser, model, training, seed, versions, result
    tokenizer.json      text to ids
    model.safetensors   the model; loading it executes nothing
    events.jsonl        what happened, one JSON object a line
    checkpoints/        where training can go on from (neural rungs)
    data/               the tokenised text, mapped from disk; the model works without it, so leave it out of what you
                        hand on if the text is private

Files are written whole or not at all.
"""

from __future__ import annotations

import datetime
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from rung.errors import UserError
from rung.files import cannot_write, read_json, write_json
from rung.models import rung_class
from rung.models.base import Model
from rung.tasks import task_of
from rung.tasks.base import Dataset, Task
from rung.tensors import load_tensors, save_tensors
from rung.text.tokenizers import Tokenizer, load_tokenizer
from rung.version import __version__

D = TypeVar("D", bound=Dataset)

RECIPE = "run.json"
MODEL = "model.safetensors"
TOKENIZER = "tokenizer.json"
EVENTS = "events.jsonl"
DATA = "data"

_OURS = (
    RECIPE,
    MODEL,
    TOKENIZER,
    EVENTS,
    DATA,
    "checkpoints",
    "report.html",
    "report.json",
    "restarts",
    "lr_finder.svg",
)


@dataclass(frozen=True)
class Run:
    """A trained model with what belongs to it. Parts are read when they are first asked for.

    Attributes:
        folder: where it lies.
        recipe: what `run.json` says.
    """

    folder: Path
    recipe: dict[str, Any]

    @property
    def rung(self) -> str:
        return self.recipe["model"]["rung"]

    @property
    def task(self) -> Task[Any]:
        """What it predicts from what."""
        return task_of(self.recipe.get("task", "language"))

    @property
    def model_class(self) -> Any:
        return rung_class(self.rung, self.task.name)

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self.model_class.config_class(**self.recipe["model"]["config"])

    @property
    def shape(self) -> dict[str, Any]:
        """What the model knows of the data (`Model.shape`)."""
        return {key: value for key, value in self.recipe["model"].items() if key not in ("rung", "config")}

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return load_tokenizer(self.folder / TOKENIZER)

    @cached_property
    def model(self) -> Any:
        """The model, its arrays mapped from disk. Raises UserError when the run is unfinished or damaged."""
        path = self.folder / MODEL
        if not path.exists():
            raise UserError(
                f"{self.folder} holds no {MODEL}: its training has not finished; go on with "
                f"'rung train --resume {self.folder}'"
            )
        tensors, _ = load_tensors(path)
        try:
            return self.model_class.from_tensors(self.config, tensors=tensors, **self.shape)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"{path} does not fit {self.folder / RECIPE}: {error}") from error

    @cached_property
    def corpus(self) -> Any:
        """The tokenised data it was trained on. Raises UserError when `data/` is not there (any more)."""
        if not (self.folder / DATA).exists():
            raise UserError(
                f"{self.folder} came without its own text ({DATA}/); give a text: rung evaluate RUN DATA"
            )
        return self.task.open(self.folder / DATA)

    def bytes_on_disk(self) -> int:
        """The size of what is needed to use the model: weights, tokeniser and recipe."""
        return sum((self.folder / name).stat().st_size for name in (MODEL, TOKENIZER, RECIPE))


def load(path: str | Path) -> Run:
    """Open a run's folder. Raises UserError when it is none."""
    folder = Path(path)
    if not folder.is_dir():
        known = sorted(found.parent.as_posix() for found in Path("runs").glob("**/" + RECIPE))[:5]
        hint = f" (runs here: {', '.join(known)})" if known else "; make one with 'rung train RUNG DATA'"
        raise UserError(f"there is no run folder {path}{hint}")
    if not (folder / RECIPE).exists():
        inside = sorted(found.parent.name for found in folder.glob("*/" + RECIPE))
        hint = f"; it holds these runs: {', '.join(f'{path}/{name}' for name in inside)}" if inside else ""
        raise UserError(f"{path} is no run: it has no {RECIPE}{hint}")
    recipe = read_json(folder / RECIPE)
    if not isinstance(recipe, dict) or "model" not in recipe or "rung" not in recipe["model"]:
        raise UserError(f"{folder / RECIPE} is damaged: it does not name a model")
    return Run(folder, recipe)


def load_language_model(run: Run | str | Path) -> Run:
    """A run, or the one in a folder, whose model gives P(text). Raises UserError for one of another task."""
    run = run if isinstance(run, Run) else load(run)
    if run.task.name != "language":
        raise UserError(
            f"{run.folder} is a {run.rung}, trained for {run.task.name}: that is no language model, so its text is "
            f"neither written, scored nor looked up; measure it: rung evaluate {run.folder}"
        )
    return run


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


def check_free(folder: Path, *, force: bool) -> None:
    """Raise UserError when `folder` can't take a new run: something is there and `force` isn't given."""
    try:
        if folder.exists() and not folder.is_dir():
            raise UserError(f"--out {folder} is a file; give a folder")
        if folder.is_dir() and any(folder.iterdir()):
            if not any((folder / name).exists() for name in (RECIPE, "report.json", DATA)):
                raise UserError(f"{folder} holds files that are no run; choose another --out")
            if not force:
                raise UserError(
                    f"{folder} is not empty; choose another --out, or give --force to overwrite the run there"
                )
    except OSError as error:
        raise cannot_write(folder, error) from error


def prepare_run(folder: Path, prepare: Callable[[Path], D], *, force: bool) -> D:
    """Make `folder` ready for a new run: the corpus that `prepare` writes into its `data/`, and nothing else of ours.

    An older run there goes only once the new corpus is complete, so a mistyped source costs nothing.
    """
    check_free(folder, force=force)
    new = not folder.exists()
    try:
        corpus = prepare(folder / DATA)
        clear(folder, keep=(DATA,))
    except BaseException:
        if new and folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return corpus


def clear(folder: Path, *, keep: Sequence[str] = ()) -> None:
    """Remove what a run or a climb wrote into `folder`; other files stay. Raises UserError when that can't be done."""
    try:
        for name in _OURS:
            path = folder / name
            if name in keep:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def free_folder(name: str) -> Path:
    """`runs/NAME`, or `runs/NAME-2`, `-3`, ... when that is taken."""
    folder, n = Path("runs") / name, 1
    while folder.exists():
        n += 1
        folder = Path("runs") / f"{name}-{n}"
    return folder


def write_recipe(folder: Path, recipe: dict[str, Any]) -> None:
    """Write `run.json`."""
    write_json(folder / RECIPE, recipe)


def write_imported(folder: Path, model: Model, tokenizer: str | None, data: dict[str, Any]) -> None:
    """Write the `run.json` of a model that was trained elsewhere.

    Args:
        folder: the run's.
        model: what was read.
        tokenizer: the kind of its tokeniser, None when it came without one.
        data: where it came from.
    """
    recipe = {
        "format": 1,
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


def save_model(folder: Path, model: Model) -> None:
    """Write `model.safetensors`."""
    save_tensors(folder / MODEL, model.tensors(), {"rung": model.rung})


def versions() -> dict[str, str]:
    """The versions that a result may depend on."""
    found = {"rung": __version__, "python": platform.python_version()}
    for package in ("numpy", "torch", "tokenizers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
