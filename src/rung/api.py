"""Everything a verb of the command line does, as one call in Python.

import rung
run = rung.train("ngram", "my.txt", out="runs/mine", order=5)
rung.evaluate(run).bits_per_byte
rung.generate(run, "Once upon", temperature=0.8)[0].text
run.model.score(run.tokenizer.encode("to be or not to be"))   # log p of each token, nats
rung.climb("my.txt", minutes=1)["best"]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.errors import UserError, nearest
from rung.evaluation.compare import DEFAULT_MINUTES, LADDER
from rung.evaluation.compare import climb as _climb
from rung.evaluation.evaluate import Score, score_texts
from rung.evaluation.evaluate import evaluate as _evaluate
from rung.events import Event
from rung.generation.beam import Beams
from rung.generation.form import Form, constraint_of
from rung.generation.masked import Filling
from rung.generation.masked import fill as _fill
from rung.generation.prompts import generate_each
from rung.generation.sampling import Sample, Sampling
from rung.generation.sampling import generate as _generate
from rung.generation.speculative import open_draft
from rung.measure import Measure
from rung.models import descends, rung_class
from rung.models.base import LanguageModel
from rung.models.mix import MixConfig
from rung.runs import RECIPE, Run, free_folder, load, prepare_run, shared_tokenizer
from rung.text.corpus import Corpus
from rung.text.options import DataOptions, prepare_corpus
from rung.training import best, distributed, session
from rung.training.config import TrainingConfig, setting_names
from rung.training.recipes import load_recipe

if TYPE_CHECKING:
    from rung.training.lr_finder import Sweep

__all__ = [
    "climb",
    "evaluate",
    "fill",
    "find_lr",
    "generate",
    "generate_many",
    "load",
    "resume",
    "score",
    "train",
    "train_recipe",
]


def train(
    rung: str,
    data: str | Path,
    *,
    out: str | Path | None = None,
    force: bool = False,
    seed: int = 0,
    device: str = "auto",
    on_event: Callable[[Event], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> Run:
    """Train one rung on a text and return its run.

    Args:
        rung: its name: bigram, ngram, neural-bigram, gpt, ...
        data: a built-in text (shakespeare, names), a file, folder, glob, https URL, or - for standard input.
        out: the run's folder; None = the next free `runs/RUNG`.
        force: overwrite the run that is there.
        seed: of weights, batches and dropout.
        device: auto, cpu, cuda or mps.
        on_event: called with every event as it happens.
        stop: asked after every step; True saves a checkpoint and ends training (see `resume`).
        settings: fields of the rung's configuration, of `TrainingConfig` and of `DataOptions`, by name.

    Raises UserError when something in the input is at fault.
    """
    model_class = rung_class(rung)
    config, training, options = split_settings(
        settings, model_class.config_class, TrainingConfig, DataOptions
    )
    # A budget never hurts where nothing is descended, so that one call serves every rung.
    wrong = [name for name in training if name not in ("steps", "tokens", "minutes")]
    if wrong and not descends(rung):
        raise UserError(f"{rung} is not trained by gradient descent: it has no setting {wrong[0]!r}")
    folder = Path(out) if out is not None else free_folder(rung)
    return train_run(
        rung,
        data,
        folder,
        config=model_class.config_class(**config),
        training=TrainingConfig(**training),
        options=DataOptions(**options),
        force=force,
        seed=seed,
        device=device,
        on_event=on_event,
        stop=stop,
    )


def train_run(
    rung: str,
    data: str | Path,
    folder: Path,
    *,
    config: Any,
    training: TrainingConfig,
    options: DataOptions,
    force: bool,
    seed: int,
    device: str,
    on_event: Callable[[Event], None] | None,
    stop: Callable[[], bool],
) -> Run:
    """`train` with its settings already sorted into configurations."""
    tokenizer = shared_tokenizer(config.runs) if isinstance(config, MixConfig) else None
    corpus = prepare_run(folder, lambda place: prepare_corpus(data, place, options, tokenizer), force=force)
    for event in session.start(
        rung,
        corpus,
        folder,
        config=config,
        training=training,
        seed=seed,
        device=device,
        sample=short_sample,
        stop=stop,
    ):
        if on_event is not None:
            on_event(event)
    return load(folder)


def train_best(
    data: str | Path,
    *,
    out: str | Path | None = None,
    force: bool = False,
    seed: int = 0,
    device: str = "auto",
    on_event: Callable[[str, Event], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> Run:
    """Spend `minutes` (by default 10) on the lowest loss this text allows: count, try sizes, train, mix.

    `settings` are the fields of `TrainingConfig` and `DataOptions`, by name; the rest is as in `train`, but `on_event`
    gets the part at work too. What was tried stands in the run's `run.json`; see `rung.training.best`.

    Raises UserError when something in the input is at fault, or a part was stopped before it was finished.
    """
    training, options = split_settings(settings, TrainingConfig, DataOptions)
    folder = Path(out) if out is not None else free_folder("best")
    corpus = prepare_run(
        folder, lambda place: prepare_corpus(data, place, DataOptions(**options)), force=force
    )
    for name, event in best.train_best(
        corpus,
        folder,
        training=TrainingConfig(**training),
        seed=seed,
        device=device,
        sample=short_sample,
        stop=stop,
    ):
        if on_event is not None:
            on_event(name, event)
    return load(folder)


def train_recipe(
    name: str,
    *,
    out: str | Path | None = None,
    force: bool = False,
    minutes: float | None = None,
    seed: int = 0,
    device: str = "auto",
    on_event: Callable[[Event], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Reproduce a published result (`rung.training.recipes`); a run that was begun in `out` is resumed.

    Args:
        name: the recipe's.
        out: the run's folder; None = the next free `runs/NAME`.
        minutes: the most minutes it may take; the learning rate's schedule is squeezed into them.
        force, seed, device, on_event, stop: as in `train`.

    Raises UserError when there is no such recipe.
    """
    recipe = load_recipe(name)
    folder = Path(out) if out is not None else free_folder(name)
    if not force and (folder / RECIPE).exists() and load(folder).recipe["status"] != "finished":
        return resume(folder, on_event=on_event, stop=stop)
    limit = {} if minutes is None else {"minutes": minutes}
    return train(
        recipe.rung,
        recipe.data,
        out=folder,
        force=force,
        seed=seed,
        device=device,
        on_event=on_event,
        stop=stop,
        **recipe.settings | limit,
    )


def find_lr(
    rung: str,
    data: str | Path,
    *,
    out: str | Path | None = None,
    force: bool = False,
    seed: int = 0,
    device: str = "auto",
    on_event: Callable[[Event], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> Sweep | None:
    """Sweep the learning rate over a hundred steps and suggest one; nothing is trained. None when stopped.

    Everything as in `train`; the folder, by default the next free `runs/RUNG-lr`, gets a picture, `lr_finder.svg`.

    Raises UserError when something in the input is at fault or the loss never falls.
    """
    model_class = rung_class(rung)
    config, training, options = split_settings(
        settings, model_class.config_class, TrainingConfig, DataOptions
    )
    return find_lr_run(
        rung,
        data,
        Path(out) if out is not None else free_folder(f"{rung}-lr"),
        config=model_class.config_class(**config),
        training=TrainingConfig(**training),
        options=DataOptions(**options),
        force=force,
        seed=seed,
        device=device,
        on_event=on_event,
        stop=stop,
    )


def find_lr_run(
    rung: str,
    data: str | Path,
    folder: Path,
    *,
    config: Any,
    training: TrainingConfig,
    options: DataOptions,
    force: bool,
    seed: int,
    device: str,
    on_event: Callable[[Event], None] | None,
    stop: Callable[[], bool],
) -> Sweep | None:
    """`find_lr` with its settings already sorted into configurations."""
    if not descends(rung):
        raise UserError(f"{rung} is not trained by gradient descent: it has no learning rate to find")
    from rung.training import lr_finder

    corpus = prepare_run(folder, lambda place: prepare_corpus(data, place, options), force=force)
    for event in session.sweep(
        rung, corpus, config=config, training=training, seed=seed, device=device, stop=stop
    ):
        if isinstance(event, lr_finder.Sweep):
            lr_finder.draw(event, folder / lr_finder.PICTURE)
            return event
        if on_event is not None:
            on_event(event)
    return None


def resume(
    path: str | Path,
    *,
    on_event: Callable[[Event], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Go on with a run that was stopped, killed or crashed, from its last checkpoint.

    Raises UserError when there is no such run or it has finished.
    """
    for event in session.resume(load(path), sample=short_sample, stop=stop):
        if on_event is not None:
            on_event(event)
    return load(path)


def evaluate(run: Run | str | Path, data: str | Path | None = None, **how: Any) -> Measure:
    """`rung.evaluation.evaluate.evaluate`, for a run or its folder."""
    run = _opened(run)
    if data is None and distributed.launched():
        return distributed.measure_run(run, how.get("split", "test"))
    return _evaluate(run, data, **how)


def score(run: Run | str | Path, texts: Iterable[str]) -> Iterator[Score]:
    """Score texts one by one, each as a document of its own."""
    run = _opened(run)
    return score_texts(run.model, run.tokenizer, texts)


def generate(
    run: Run | str | Path, prompt: str = "", *, draft: str | None = None, **settings: Any
) -> list[Sample]:
    """Texts that continue `prompt`.

    Args:
        draft: a run's folder, or lookup: who guesses ahead (`rung.generation.speculative`).
        settings: the fields of `rung.generation.settings.Sampling`, `rung.generation.beam.Beams` and
            `rung.generation.form.Form`, by name.
    """
    return next(generate_many(run, [prompt], draft=draft, **settings))


def generate_many(
    run: Run | str | Path, prompts: Iterable[str], *, draft: str | None = None, **settings: Any
) -> Iterator[list[Sample]]:
    """`generate` for each prompt, in order and as they are needed; many go side by side, each as if it were alone."""
    run = _opened(run)
    how, search, form = split_settings(settings, Sampling, Beams, Form)
    return generate_each(
        run.model,
        run.tokenizer,
        prompts,
        Sampling(**how),
        Beams(**search),
        constraint_of(Form(**form), run.tokenizer),
        None if draft is None else open_draft(draft, run),
    )


def fill(run: Run | str | Path, text: str, *, n_best: int = 5, beams: int = 16) -> list[Filling]:
    """The likeliest ways to fill every [MASK] of `text`, each one token (`rung.generation.masked`)."""
    run = _opened(run)
    return _fill(run.model, run.tokenizer, text, n_best=n_best, beams=beams)


def climb(
    data: str | Path,
    *,
    out: str | Path | None = None,
    force: bool = False,
    rungs: Iterable[str] = LADDER,
    seed: int = 0,
    device: str = "auto",
    on_event: Callable[[str, Event], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> dict[str, Any]:
    """Train every rung on one text under one budget each, compare them, and write `report.html` and `report.json`.

    `settings` are the fields of `TrainingConfig` and `DataOptions`, by name; without a budget each rung gets a minute.
    Returns what `report.json` says.
    """
    training, options = split_settings(settings, TrainingConfig, DataOptions)
    if not {"steps", "tokens", "minutes"} & training.keys():
        training["minutes"] = DEFAULT_MINUTES
    return _climb(
        data,
        Path(out) if out is not None else free_folder("climb"),
        rungs=tuple(rungs),
        options=DataOptions(**options),
        training=TrainingConfig(**training),
        force=force,
        seed=seed,
        device=device,
        sample=short_sample,
        on_event=on_event,
        stop=stop,
    )


def split_settings(settings: dict[str, Any], *configs: type) -> list[dict[str, Any]]:
    """Sort settings by which configuration has a field of that name. Raises UserError for one that none has."""
    known = [name for config in configs for name in setting_names(config)]
    for name in settings:
        if name not in known:
            raise UserError(
                f"there is no setting {name!r}{nearest(name, known)} (settings: {', '.join(known)})"
            )
    return [{k: v for k, v in settings.items() if k in setting_names(config)} for config in configs]


def _opened(run: Run | str | Path) -> Run:
    return run if isinstance(run, Run) else load(run)


def short_sample(model: LanguageModel, corpus: Corpus) -> str:
    """A line or two from the beginning of a document, to watch training by."""
    return _generate(model, corpus.tokenizer, "", Sampling(max_tokens=120, temperature=0.8))[0].text
