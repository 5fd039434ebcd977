"""Carry out an experiment: make its folder, read its data, train or sweep, tell what is to be told, write its page."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.errors import UserError
from rung.evaluation.run_page import write_run_page
from rung.events import Event, Note
from rung.generation.sampling import Sampling, generate
from rung.models.mix import MixConfig
from rung.run_files import DATA, PAGE, PICTURE
from rung.run_folders import Place, beside_run, check_apart, new_run
from rung.runs import Run, load, shared_tokenizer
from rung.tasks import task_of
from rung.text.facts import notes, summary
from rung.training import parents, restarts, session, starting_vectors
from rung.training.experiment import Experiment
from rung.training.trainers import Job, trainer_of

if TYPE_CHECKING:
    from rung.training.lr_finder import Sweep
    from rung.training.sweep_options import SweepOptions

Watch = Callable[[Event], None]
Stop = Callable[[], bool]


def never() -> bool:
    return False


def run_experiment(
    experiment: Experiment,
    *,
    on_event: Watch | None = None,
    stop: Stop = never,
    check: Callable[[Any], None] = lambda dataset: None,
) -> Run:
    """`train`, with its settings already sorted into configurations; `check` may refuse the data by a UserError."""
    if experiment.training.overfit_one_batch:
        return _tested(experiment, on_event, stop)
    folder = experiment.run.folder(experiment.name)
    with new_run(folder, force=experiment.run.force, inputs=experiment.inputs) as place:
        asked = {"command": experiment.command, "asked": experiment.asked}
        experiment, parent = _begun(experiment)
        corpus, experiment = _prepared(experiment, place / DATA, parent)
        check(corpus)
        events = restarts.start(
            experiment.rung,
            corpus,
            place,
            task=experiment.task,
            config=experiment.config,
            training=experiment.training,
            parent=parent,
            beginning=experiment.start,
            seed=experiment.run.seed,
            device=experiment.run.device,
            asked=asked,
            sample=sampler(experiment.task, experiment.training.sample_prompt),
            stop=stop,
            page=write_page,
        )
        watch(with_notes(notes_of(corpus), events), on_event)
    return load(folder)


def _tested(experiment: Experiment, on_event: Watch | None, stop: Stop) -> Run:
    """The model trained on one batch alone: a test, which leaves nothing; the run's folder is gone."""
    with tempfile.TemporaryDirectory(prefix="rung-") as name:
        place = Place(Path(name) / "run")
        experiment, parent = _begun(experiment)
        corpus, experiment = _prepared(experiment, place / DATA, parent)
        events = restarts.start(
            experiment.rung,
            corpus,
            place,
            task=experiment.task,
            config=experiment.config,
            training=experiment.training,
            parent=parent,
            beginning=experiment.start,
            seed=experiment.run.seed,
            device=experiment.run.device,
            stop=stop,
        )
        watch(with_notes(notes_of(corpus), events), on_event)
        run = load(place.folder)
        if run.recipe["status"] == "finished":
            _ = run.model, run.tokenizer  # read now
    return run


def find_lr_of(
    experiment: Experiment,
    *,
    options: SweepOptions | None = None,
    on_event: Watch | None = None,
    stop: Stop = never,
) -> Sweep | None:
    """`find_lr`, with its settings already sorted into configurations."""
    rung, model_class = experiment.name, experiment.model_class
    if not trainer_of(model_class).by_gradient:
        raise UserError(f"{rung} is not trained by gradient descent: it has no learning rate to find")
    if model_class.trained_by != "torch":
        raise UserError(
            f"--find-lr is not there for {rung}; leave it out, or sweep the torch rung it mirrors"
        )
    from rung.training import gradient, lr_finder

    folder = experiment.run.folder(f"{experiment.name}-lr")
    check_apart(folder, experiment.inputs, [PICTURE])
    if (folder / PICTURE).exists() and not experiment.run.force:
        raise UserError(
            f"{folder / PICTURE} is there already; choose another --out, or give --force to overwrite it"
        )
    with beside_run(folder) as place:
        experiment, parent = _begun(experiment)
        corpus, experiment = _prepared(experiment, place / DATA, parent)
        recipe, _ = session.describe(
            experiment.rung,
            corpus,
            task=experiment.task,
            config=experiment.config,
            training=experiment.training,
            seed=experiment.run.seed,
            device=experiment.run.device,
        )
        if parent is not None:
            recipe["parent"] = parents.described(parent, experiment.start)
        if (vectors := experiment.start.vectors) is not None:
            frozen = experiment.start.vectors_frozen
            recipe["vectors"], _ = starting_vectors.described(vectors, frozen, corpus.tokenizer)
        events = gradient.sweep(Job(Run(place.folder, recipe), place, corpus, stop=stop), options)
        for event in with_notes(notes_of(corpus), events):
            if isinstance(event, lr_finder.Sweep):
                lr_finder.plot(event, folder / PICTURE)
                return event
            if on_event is not None:
                on_event(event)
    return None


def short_sample(model: Any, corpus: Any, prompt: str = "") -> str:
    """A line or two, to watch training by: what follows a prompt, or the beginning of a document."""
    made = generate(model, corpus.tokenizer, prompt, Sampling(max_tokens=120, temperature=0.8))
    return prompt + made[0].text


def sampler(task: str, prompt: str = "") -> Callable[[Any, Any], str] | None:
    """What writes samples while a model of this task is trained; None where it writes nothing."""
    return partial(short_sample, prompt=prompt) if task_of(task).writes else None


def prompt_of(run: Run) -> str:
    """What the samples of a run's training begin with."""
    return str(run.recipe.get("training", {}).get("sample_prompt", ""))


def _begun(experiment: Experiment) -> tuple[Experiment, Run | None]:
    """The run that an experiment learns on from, and the experiment with what it has from there."""
    parent = parents.open_parent(experiment.start, experiment.rung, experiment.task)
    if (vectors := experiment.start.vectors) is not None:
        how = vectors, experiment.start.vectors_frozen, experiment.rung, experiment.model_class
        experiment = replace(experiment, config=starting_vectors.fitted_config(*how, experiment.config))
    if parent is None:
        return experiment, None
    start = experiment.start
    config = parents.inherited(parent, experiment.config, start.keep_layers, start.learn)
    training = parents.with_rate(
        parent, experiment.training, experiment.model_class, experiment.task, start.learn
    )
    return replace(experiment, config=config, training=training), parent


def write_page(run: Run) -> None:
    write_run_page(run, run.folder / PAGE, sampler(run.task.name, prompt_of(run)))


def _prepared(experiment: Experiment, folder: Path, parent: Run | None) -> tuple[Any, Experiment]:
    """The experiment's data, read into `folder`, and the experiment with what depends on how many there are."""
    if parent is not None:
        task = task_of(experiment.task)
        dataset = parents.prepare(parent, experiment.data, folder, experiment.options, task)
        return dataset, replace(experiment, training=parents.with_budget(experiment.training, task, dataset))
    config = experiment.config
    tokenizer = shared_tokenizer(config.runs) if isinstance(config, MixConfig) else None
    task = task_of(experiment.task)
    options = task.suited(experiment.model_class, experiment.options)
    if experiment.options.tokenizer not in (None, options.tokenizer):
        raise UserError(
            f"--tokenizer {experiment.options.tokenizer} does not go with {experiment.name}, which cuts texts itself; "
            "leave it out"
        )
    return task.prepare(experiment.data, folder, options, tokenizer), experiment


def notes_of(dataset: Any) -> list[Note]:
    return [Note(text) for text in (summary(dataset.facts), *notes(dataset.facts))]


def with_notes(told: Iterable[Any], events: Iterator[Any]) -> Iterator[Any]:
    """The events of a training, and before them what is to be told of its data, unless it is refused."""
    first = list(islice(events, 1))
    yield from chain(told, first, events)


def watch(events: Iterable[Event], on_event: Watch | None) -> None:
    for event in events:
        if on_event is not None:
            on_event(event)
