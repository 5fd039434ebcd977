"""A run made anew from what its `run.json` says, and whether it came out the same, byte for byte.

The same are the weights and the tokeniser, by SHA-256. That can be expected where what is spent is counted in steps or
tokens, on the same machine, with the same versions and number of threads: a run is a function of its recipe there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from rung.errors import UserError
from rung.files import read_json, sha256_of
from rung.opening import check_kind, opening
from rung.run_files import MODEL, RECIPE, TOKENIZER
from rung.runs import Run, check_recipe, load
from rung.tasks.base import Dataset
from rung.training.experiment import AgainOptions, Experiment

FILES = (MODEL, TOKENIZER)


@dataclass(frozen=True)
class Again:
    """A run and what it repeats.

    Attributes:
        run: the new one, finished unless it was stopped.
        of: what was repeated, a folder or a file.
        same: whether weights and tokeniser are the same, byte for byte; None where another seed or device was asked
            for, where the run was stopped, or the earlier files are not known.
        sha256: of the new weights; None where it was stopped.
        reasons: where it is not the same, what may be why; where that is not known, why not.
    """

    run: Run
    of: Path
    same: bool | None
    sha256: str | None
    reasons: tuple[str, ...] = ()


def earlier(path: str | Path) -> Run:
    """The run in a folder, or that a run.json by itself tells of. Raises UserError when there is none."""
    path = Path(path)
    if not path.is_file():
        return load(path)
    recipe = read_json(path)
    with opening(path):
        check_recipe(recipe)
    return Run(path.parent, recipe)


def experiment_of(run: Run, options: AgainOptions) -> Experiment:
    """What was asked for, to be asked again. Raises UserError when the recipe doesn't say, or it can't be done."""
    recipe = run.recipe
    if "asked" not in recipe:
        how = f"; it was made by: {recipe['command']}" if "command" in recipe else ""
        raise UserError(
            f"{run.folder / RECIPE} does not hold what was asked for, as it was imported, found by 'train best', "
            f"or trained by an older version{how}; train it anew by name"
        )
    with opening(run.folder / RECIPE):
        rung, data, said = (recipe["asked"][name] for name in ("rung", "data", "settings"))
        settings = {k: tuple(v) if isinstance(v, list) else v for k, v in said.items()}
        if not isinstance(data, str) or not isinstance(rung, str):
            raise ValueError("asked names no rung and data")
        precision = recipe.get("training", {}).get("precision")
        if precision is not None and run.model_class.trained_by == "torch":
            settings["precision"] = precision  # `auto` measures, and may decide otherwise
        where = options.after(recipe["seed"], recipe.get("device", "auto"))
        experiment = Experiment.of(
            rung, data, settings | {field: getattr(where, field) for field in vars(where)}
        )
        for config in (experiment.config, experiment.training, experiment.options):
            for name, kind in get_type_hints(type(config)).items():
                if name in said:
                    check_kind(name, said[name], kind)
    if data == "-":
        raise UserError(
            f"{run.folder} was trained on standard input, which can't be read again: save it in a file"
        )
    return experiment


def check_data(run: Run, dataset: Dataset) -> None:
    """Raise UserError when data are not what they were to an earlier run."""
    with opening(run.folder / RECIPE):
        facts = run.recipe["data"]
        then = {"": facts["source"]} | {f" ({part})": said for part, said in facts.get("given", {}).items()}
        hashes = {which: said.get("sha256") for which, said in then.items()}
    given = dataset.facts.get("given", {})
    now = {"": dataset.facts["source"]} | {f" ({part})": said for part, said in given.items()}
    for which, said in now.items():
        if said.get("sha256") != hashes.get(which):
            raise UserError(
                f"{said['data']}{which} is not the text that {run.folder} was trained on: its SHA-256 was "
                f"{hashes.get(which)} and is {said.get('sha256')}; bring the old text back, or train anew by name"
            )


def outcome(old: Run, new: Run, of: Path) -> Again:
    """What came of it."""
    if new.recipe["status"] != "finished":
        return Again(new, of, None, None, ("it was stopped",))
    found = {name: sha256_of(new.folder / name) for name in FILES}
    known = _hashes(old)
    for name in ("seed", "device"):
        if old.recipe.get(name) != new.recipe.get(name):
            told = f"another {name} makes another run ({old.recipe.get(name)} then, {new.recipe[name]} now)"
            return Again(new, of, None, found[MODEL], (told,))
    if known is None:
        return Again(
            new, of, None, found[MODEL], ("the earlier one has not finished, or its weights are gone",)
        )
    same = known == found
    return Again(new, of, same, found[MODEL], () if same else tuple(_reasons(old.recipe, new.recipe)))


def _hashes(run: Run) -> dict[str, str] | None:
    said = run.recipe.get("result", {}).get("sha256")
    if isinstance(said, dict):
        return {name: str(said.get(name)) for name in FILES}
    if all((run.folder / name).exists() for name in FILES):
        return {name: sha256_of(run.folder / name) for name in FILES}
    return None


def _reasons(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Why two runs of one recipe may differ, as far as the recipes tell."""
    told = []
    if old.get("training", {}).get("minutes") is not None:
        told.append(
            "its budget is minutes, of which no two runs make the same steps: give --steps or --tokens"
        )
    versions = old.get("versions", {})
    changed = [
        f"{name} {versions[name]} then, {version} now"
        for name, version in new["versions"].items()
        if name in versions and versions[name] != version
    ]
    if changed:
        told.append(", ".join(changed))
    if old.get("machine", new["machine"]) != new["machine"]:
        told.append(f"{old['machine']} then, {new['machine']} now")
    return told or ["nothing that is written down differs; the number of threads may (OMP_NUM_THREADS)"]
