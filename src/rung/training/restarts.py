"""Training as many times as asked, once by default, from other seeds: the best by validation is kept.

Each restart is a run of its own, in `restarts/SEED`, while they are trained. The best of them becomes the run, and the
others are dropped.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rung.errors import UserError
from rung.events import Event, Note
from rung.files import atomic_path
from rung.measure import bits_of, in_words
from rung.models.base import check_size
from rung.opening import damaged, opening
from rung.run_files import ADAPTER, CHECKPOINTS, DATA, EVENTS, LAST, MODEL, RECIPE, TOKENIZER
from rung.run_folders import Place
from rung.runs import Run, load, write_recipe
from rung.tasks.base import Dataset
from rung.tensors import load_tensors
from rung.training import going_on, parents, session, starting_vectors
from rung.training.config import TrainingConfig
from rung.training.journal import Journal
from rung.training.nearby import NEAR
from rung.training.parents import StartOptions
from rung.training.trainers import Sampler, trainer_of, training_of

RESTARTS = "restarts"


def start(
    rung: str,
    dataset: Dataset,
    place: Path | Place,
    *,
    task: str = "language",
    config: Any = None,
    training: TrainingConfig | None = None,
    seed: int = 0,
    device: str = "auto",
    asked: Mapping[str, Any] | None = None,
    sample: Sampler | None = None,
    stop: Callable[[], bool] = lambda: False,
    parent: Run | None = None,
    beginning: StartOptions | None = None,
    page: session.Page | None = None,
) -> Iterator[Event]:
    """Train `rung` on `dataset` into `place`, which holds the dataset as `data/` and nothing of an older run.

    Arguments as of `session.describe` and `session.start`; `parent` is the run that it learns on from, as `beginning`
    says (`rung.training.parents`).

    Raises UserError when something does not fit, and, after everything worth keeping is saved, when training diverged.
    """
    place = Place(place) if isinstance(place, Path) else place
    if training is not None and training.restarts > 1 and "validation" not in dataset.splits:
        raise UserError(
            "--restarts keeps the best by validation text: give --val FILE, or a --split with some"
        )
    if training is not None and training.patience is not None and "validation" not in dataset.splits:
        raise UserError("--patience stops by validation text: give --val FILE, or a --split with some")
    recipe, message = session.describe(
        rung,
        dataset,
        task=task,
        config=config,
        training=training,
        seed=seed,
        device=device,
        asked=asked,
    )
    if parent is not None:
        recipe["parent"] = parents.described(parent, beginning or StartOptions())
        yield from parents.measured_before(parent, dataset, recipe)
    if beginning is not None and beginning.vectors is not None:
        how = beginning.vectors, beginning.vectors_frozen, dataset.tokenizer
        recipe["vectors"], told = starting_vectors.described(*how)
        yield Note(told)
    if message is not None:
        yield Note(message)
    if _restarts(recipe) == 1:
        yield from session.start(place, dataset, recipe, sample=sample, stop=stop, page=page)
        return
    dataset.tokenizer.save(place / TOKENIZER)
    write_recipe(place, recipe)
    if (place / RESTARTS).exists():
        shutil.rmtree(place / RESTARTS)
    yield from _train_each(place, recipe, dataset, sample, stop, page)


def resume(
    run: Run,
    *,
    budget: Mapping[str, float | None] | None = None,
    finish: bool = False,
    sample: Sampler | None = None,
    stop: Callable[[], bool] = lambda: False,
    page: session.Page | None = None,
) -> Iterator[Event]:
    """Go on with a run from its last checkpoint, or from its beginning when there is none yet.

    Args:
        run: stopped; with a budget, finished too.
        budget: steps, tokens or minutes of the whole run, in place of those it has.
        finish: make no step more: close it as it is at its last checkpoint.
        sample, stop: as in `start`.

    Raises UserError when it has finished already, its data are gone, or it can't go on as asked.
    """
    by_gradient = trainer_of(run.model_class).by_gradient
    given = {name: value for name, value in (budget or {}).items() if value is not None}
    if (given or finish) and not by_gradient:
        raise UserError(
            f"{run.folder} is a {run.rung}: it is not trained step by step, so there are none to add or to leave out; "
            f"for more text: rung train {run.rung} DATA --from {run.folder}"
        )
    if given and finish:
        raise UserError(f"--finish makes no step more: leave out --{next(iter(given))}")
    if run.recipe["status"] == "finished" and not given:
        more = ""
        if by_gradient and (run.folder / LAST).exists():
            more = f", go on with it: rung train --resume {run.folder} --steps {2 * int(run.recipe['result']['steps'])}"
        raise UserError(f"{run.folder} has finished already; use it{more}, or train anew with another --out")
    if (given or finish) and _restarts(run.recipe) > 1:
        raise UserError(
            f"{run.folder} is the best of --restarts, whose checkpoints are not kept; learn on from its weights in a "
            f"new run: rung train {run.rung} DATA --from {run.folder}"
            if run.recipe["status"] == "finished"
            else f"{run.folder} has --restarts under way: go on without --finish or another budget"
        )
    if finish and not (run.folder / LAST).exists():
        raise UserError(
            f"{run.folder} has no checkpoint yet ({LAST}): there is nothing to finish; go on with it"
        )
    if given and run.recipe.get("result", {}).get("reason") == "diverged":
        raise UserError(f"{run.folder} diverged: going on would do so again; train anew with a lower --lr")
    corpus = run.corpus
    if by_gradient:
        _check_settled(run, corpus)
    place = Place(run.folder)
    if given and (run.folder / LAST).exists():
        yield from session.prolong(place, run, given, corpus, sample=sample, stop=stop, page=page)
    elif given and run.recipe["status"] == "finished":
        going_on.spent(run)
    elif _restarts(run.recipe) == 1:
        recipe = going_on.with_budget(run, given) if given else run.recipe
        if given:
            write_recipe(place, recipe)
        yield from session.resume(place, recipe, corpus, sample=sample, stop=stop, finish=finish, page=page)
    else:
        if "validation" not in corpus.splits:
            raise damaged(run.folder / DATA, "it has no validation text, by which the best restart is kept")
        yield from _train_each(Place(run.folder), run.recipe, corpus, sample, stop, page)


def _check_settled(run: Run, dataset: Dataset) -> None:
    """Raise UserError when a recipe leaves open of its model what was settled before the first step, or what can't be
    of these data."""
    training_of(run)
    config = run.config
    with opening(run.folder / RECIPE):
        settled = run.model_class.resolve_config(config, **run.task.sizes(dataset))
        for name, value in run.recipe["model"]["config"].items():
            if value is None and getattr(settled, name) is not None:
                raise ValueError(f"{name} is left open")
    if (run.folder / LAST).exists():
        tensors, _ = load_tensors(run.folder / LAST)
        with opening(run.folder / RECIPE):
            check_size(config, tensors)


def _restarts(recipe: dict[str, Any]) -> int:
    return recipe.get("training", {}).get("restarts", 1)


def _best(finished: Mapping[int, Mapping[str, Any]]) -> int:
    """The seed of the best, by validation."""
    return min(finished, key=lambda seed: bits_of(finished[seed]["result"]["validation"]))


def _recipe_of(part: Place) -> dict[str, Any]:
    return load((part / RECIPE).parent).recipe


def _train_each(
    place: Place,
    recipe: dict[str, Any],
    dataset: Dataset,
    sample: Sampler | None,
    stop: Callable[[], bool],
    page: session.Page | None,
) -> Iterator[Event]:
    """Train once for each seed, or go on with that; make the best of these runs this one."""
    seeds = range(recipe["seed"], recipe["seed"] + _restarts(recipe))
    finished: dict[int, dict[str, Any]] = {}
    for seed in seeds:
        alone = {"restarts": 1, "restart_noise": None}
        own = {**recipe, "seed": seed, "training": {**recipe["training"], **alone}}
        noise = recipe["training"].get("restart_noise")
        if noise is not None and finished:
            own[NEAR] = {"seed": _best(finished), "noise": noise}
        part = place.part(f"{RESTARTS}/{seed}")
        if not (part / RECIPE).exists():
            write_recipe(part, own)
        if _recipe_of(part)["status"] != "finished":
            if not dataset.folder.exists():  # an older run's place was taken, and the data moved along
                dataset = Run(place.folder, recipe).corpus
            try:
                yield from session.resume(part, own, dataset, sample=sample, stop=stop)
            except session.Diverged:
                pass
            else:
                if _recipe_of(part)["status"] != "finished":
                    return  # stopped
        own = _recipe_of(part)
        if own["status"] == "finished":
            finished[seed] = own
        shutil.rmtree(part / CHECKPOINTS, ignore_errors=True)
        yield Note(_outcome(seed, finished))
    if not finished:
        raise session.Diverged(
            f"all {len(seeds)} restarts of {place.folder} diverged; nothing was kept. Try a lower --lr"
        )
    best = _best(finished)
    there = (ADAPTER,) if (place / RESTARTS / str(best) / ADAPTER).exists() else ()
    for name in (MODEL, EVENTS, *there):
        with atomic_path(place / name) as temporary:
            shutil.copyfile(place / RESTARTS / str(best) / name, temporary)
    with Journal(place / EVENTS) as journal:
        for seed in seeds:
            journal.add(Note(_outcome(seed, finished)))
        yield journal.add(Note(f"kept the one with seed {best}, the best of {len(seeds)} restarts"))
    results = [own["result"] for own in finished.values()]
    recipe = dict(recipe)
    recipe["status"] = "finished"
    recipe["model"] = finished[best]["model"]
    # All the restarts were needed for this result, so all their time and tokens are counted.
    recipe["result"] = finished[best]["result"] | {
        key: sum(result[key] for result in results) for key in ("train_seconds", "train_tokens")
    }
    recipe["restarts"] = [
        {
            "seed": seed,
            "kept": seed == best,
            "reason": finished[seed]["result"]["reason"] if seed in finished else "diverged",
            "validation": finished[seed]["result"]["validation"] if seed in finished else None,
        }
        for seed in seeds
    ]
    if page is not None:
        page(Run(place / "", recipe))
    write_recipe(place, recipe)
    shutil.rmtree(place / RESTARTS)


def _outcome(seed: int, finished: dict[int, dict[str, Any]]) -> str:
    if seed not in finished:
        return f"the restart with seed {seed} diverged"
    measured = in_words(finished[seed]["result"]["validation"], 4)
    return f"the restart with seed {seed} has {measured} on validation text"
