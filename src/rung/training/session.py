"""One training from data to a finished run folder, as a stream of events; and the same, gone on with after a stop.

The recipe, `run.json`, is written before the first step and again with the result after the last, so a folder always
says what it is and `resume` needs nothing but the folder.
"""

from __future__ import annotations

import datetime
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rung.errors import UserError, nearest
from rung.events import Evaluation, Event, Finished, Note, Phase, Step
from rung.files import atomic_path, cannot_write, read_json
from rung.measure import Measure, measure
from rung.models import descends, rung_class
from rung.models.base import CountedModel, LanguageModel
from rung.models.counting.ngram import NGram, NGramConfig
from rung.models.mix import Mix, MixConfig
from rung.process_group import ProcessGroup
from rung.runs import EVENTS, MODEL, RECIPE, TOKENIZER, Run, load, save_model, versions, write_recipe
from rung.text.corpus import Corpus, open_corpus
from rung.text.stream import TokenStream
from rung.training import distributed
from rung.training.config import TrainingConfig
from rung.training.diagnosis import diagnose

if TYPE_CHECKING:
    from rung.models.networks.network import NeuralModel
    from rung.training.lr_finder import Sweep

DEVICES = ("auto", "cpu", "cuda", "mps")

Sampler = Callable[[LanguageModel, Corpus], str]

STEP_EVENTS_A_SECOND = 10

RESTARTS = "restarts"
"""Where restarts lie while they are trained, each as a run of its own named after its seed."""


class Diverged(UserError):
    """The loss of a training was no longer a finite number."""


def start(
    rung: str,
    corpus: Corpus,
    folder: Path,
    *,
    config: Any = None,
    training: TrainingConfig | None = None,
    seed: int = 0,
    device: str = "auto",
    sample: Sampler | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Train `rung` on `corpus` into `folder`, which holds the corpus as `data/` and nothing of an older run.

    Args:
        rung: its name on the ladder.
        corpus: tokenised text; `folder / "data"` is this very corpus.
        folder: where the run is written.
        config: the rung's configuration; None = its defaults.
        training: how to train; counting rungs have no use for it.
        seed: of the weights, the batches and dropout.
        device: auto, cpu, cuda or mps.
        sample: writes a short text with the model, now and then.
        stop: asked after every step; True saves a checkpoint and ends the stream.

    Raises UserError when something does not fit, and, after everything worth keeping is saved, when training diverged.
    """
    if training is not None and training.restarts > 1 and corpus.validation is None:
        raise UserError(
            "--restarts keeps the best by validation text: give --val FILE, or a --split with some"
        )
    check_seed(seed)
    if device not in DEVICES:
        raise UserError(
            f"--device {device} is unknown{nearest(device, DEVICES)} (known: {', '.join(DEVICES)})"
        )
    model_class = rung_class(rung)
    config = config if config is not None else model_class.config_class()
    training = training if training is not None else TrainingConfig()
    corpus.tokenizer.save(folder / TOKENIZER)
    recipe: dict[str, Any] = {
        "format": 1,
        "status": "training",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "seed": seed,
        "device": device,
        "tokenizer": corpus.tokenizer.kind,
        "data": corpus.facts,
    }
    if descends(rung):
        config, training, told = _closed(rung, corpus, config, training, device)
        if told is not None:
            yield Note(told)
        recipe["training"] = asdict(training)
    recipe["model"] = {
        "rung": rung,
        "vocab_size": corpus.tokenizer.vocab_size,
        "end": corpus.tokenizer.end,
        "config": asdict(config),
    }
    write_recipe(folder, recipe)
    yield from _run(Run(folder, recipe), corpus, sample, stop, resume=False)


def resume(
    run: Run, *, sample: Sampler | None = None, stop: Callable[[], bool] = lambda: False
) -> Iterator[Event]:
    """Go on with a run from its last checkpoint, or from its beginning when there is none yet.

    Raises UserError when it has finished already or its text is gone.
    """
    if run.recipe.get("status") == "finished":
        raise UserError(f"{run.folder} has finished already; use it, or train anew with another --out")
    yield from _run(run, run.corpus, sample, stop, resume=True)


def sweep(
    rung: str,
    corpus: Corpus,
    *,
    config: Any,
    training: TrainingConfig,
    seed: int,
    device: str,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event | Sweep]:
    """Try learning rates on a new model instead of training it: Steps, and last what was found."""
    from rung.models.networks.network import NeuralModel
    from rung.training import lr_finder
    from rung.training.health import memory_told

    model_class = rung_class(rung)
    if not issubclass(model_class, NeuralModel):
        raise UserError(
            f"--find-lr is not there for {rung}; leave it out, or sweep the torch rung it mirrors"
        )
    config, training, _ = _closed(rung, corpus, config, training, device)
    tokenizer = corpus.tokenizer
    with memory_told(training):
        model = model_class.initialise(config, tokenizer.vocab_size, tokenizer.end, seed).to(
            pick_device(device)
        )
        yield from lr_finder.sweep(model, corpus.train, training, seed=seed, stop=stop)


def _closed(
    rung: str, corpus: Corpus, config: Any, training: TrainingConfig, device: str
) -> tuple[Any, TrainingConfig, str | None]:
    """What was left open about the model and its training, set to what suits text, rung and machine; what to tell."""
    from rung.models.scratch import ScratchModel, check_training

    model_class = rung_class(rung)
    told = None
    if issubclass(model_class, ScratchModel):
        check_training(training)
        if training.shard:
            raise UserError("--shard is there for gpt alone; leave it out: other rungs fit into any process")
    else:
        from rung.models.networks.network import NeuralModel

        assert issubclass(model_class, NeuralModel)
    config = model_class.resolve_config(
        config,
        vocab_size=corpus.tokenizer.vocab_size,
        train_tokens=corpus.train.n_tokens,
        longest_document=int(np.diff(corpus.train.starts).max()),
    )
    choices = model_class.training_defaults
    if not issubclass(model_class, ScratchModel):
        import torch

        from rung.training.precision import choose

        if model_class.batch_tokens is not None:
            window = training.window if training.window is not None else asdict(config).get("context", 64)
            rows = _rows_of(model_class.batch_tokens, corpus.train, window)
            choices = {**choices, "batch_size": max(choices["batch_size"], rows)}

        width = min(asdict(config).get("n_embd", 128), 2048)
        precision, told = choose(training.precision, torch.device(pick_device(device)), width)
        training = replace(training, precision=precision)
    return config, training.resolved(choices), told


def _rows_of(n_tokens: int, stream: TokenStream, window: int) -> int:
    """About how many rows of at most `window` tokens of a document have `n_tokens`; no more than there are."""
    n_rows = int((-(-np.diff(stream.starts) // window)).sum())
    return min(n_rows, round(n_tokens * n_rows / stream.n_tokens))


def _run(
    run: Run, corpus: Corpus, sample: Sampler | None, stop: Callable[[], bool], *, resume: bool
) -> Iterator[Event]:
    once = "training" not in run.recipe or run.recipe["training"].get("restarts", 1) == 1
    yield from (_train if once else _restart)(run, corpus, sample, stop, resume=resume)


def _restart(
    run: Run, corpus: Corpus, sample: Sampler | None, stop: Callable[[], bool], *, resume: bool
) -> Iterator[Event]:
    """Train once for each seed, in a folder of its own; make the best of these runs this one, and drop the others."""
    folder = run.folder / RESTARTS
    if not resume and folder.exists():
        shutil.rmtree(folder)
    seeds = range(run.recipe["seed"], run.recipe["seed"] + run.recipe["training"]["restarts"])
    finished: dict[int, dict[str, Any]] = {}
    for seed in seeds:
        recipe = {**run.recipe, "seed": seed, "training": {**run.recipe["training"], "restarts": 1}}
        place = folder / str(seed)
        if not (place / RECIPE).exists():
            write_recipe(place, recipe)
        if read_json(place / RECIPE)["status"] != "finished":
            diverged = False
            try:
                yield from _train(Run(place, recipe), corpus, sample, stop, resume=True)
            except Diverged:
                diverged = True
            recipe = read_json(place / RECIPE)
            if recipe["status"] != "finished" and not diverged:
                return  # stopped
        else:
            recipe = read_json(place / RECIPE)
        if recipe["status"] == "finished":
            finished[seed] = recipe
        shutil.rmtree(place / "checkpoints", ignore_errors=True)
        yield Note(_of_restart(seed, finished))
    if not finished:
        raise Diverged(
            f"all {len(seeds)} restarts of {run.folder} diverged; nothing was kept. Try a lower --lr"
        )
    best = min(finished, key=lambda seed: finished[seed]["result"]["validation"]["nats_per_token"])
    with atomic_path(run.folder / MODEL) as temporary:
        shutil.copyfile(folder / str(best) / MODEL, temporary)
    with atomic_path(run.folder / EVENTS) as temporary:
        shutil.copyfile(folder / str(best) / EVENTS, temporary)
    with _Journal(run.folder / EVENTS) as journal:
        for seed in seeds:
            journal.add(Note(_of_restart(seed, finished)))
        yield journal.add(Note(f"kept the one with seed {best}, the best of {len(seeds)} restarts"))
    results = [recipe["result"] for recipe in finished.values()]
    recipe = dict(run.recipe)
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
    write_recipe(run.folder, recipe)
    shutil.rmtree(folder)


def _of_restart(seed: int, finished: dict[int, dict[str, Any]]) -> str:
    if seed not in finished:
        return f"the restart with seed {seed} diverged"
    measured = finished[seed]["result"]["validation"]
    return (
        f"the restart with seed {seed} has {measured['nats_per_token']:.4f} nats per token "
        f"({measured['bits_per_byte']:.4f} bits per byte) on validation text"
    )


def _train(
    run: Run, corpus: Corpus, sample: Sampler | None, stop: Callable[[], bool], *, resume: bool
) -> Iterator[Event]:
    described = run.recipe["model"]
    model_class = rung_class(described["rung"])
    config = model_class.config_class(**described["config"])
    vocab_size, end, seed = described["vocab_size"], described["end"], run.recipe["seed"]
    if issubclass(model_class, CountedModel):
        model_class.warm_up()
    began = time.monotonic()
    model: LanguageModel | None = None
    finished: Finished | None = None
    best: Evaluation | None = None
    with _Journal(run.folder / EVENTS) as journal:
        if not descends(described["rung"]):
            if issubclass(model_class, NGram):
                group = distributed.process_group()
                group.call("count", model=described, data=str(corpus.folder.absolute()))
                fitting = model_class.fit(config, corpus.train, vocab_size, end, group)
            elif issubclass(model_class, CountedModel):
                fitting = model_class.fit(config, corpus.train, vocab_size, end)
            else:
                fitting = _mix(config, corpus)
            yield Phase(f"counting {corpus.train.n_tokens:,} tokens")
            for event in fitting:
                if isinstance(event, Event):
                    yield journal.add(event)
                else:
                    model = event
            finished = Finished(0, "counted", time.monotonic() - began, corpus.train.n_tokens)
            yield journal.add(finished)
        else:
            from rung.models.scratch import LAST, ScratchModel, train_scratch

            training = TrainingConfig(**run.recipe["training"])
            evaluate = None if corpus.validation is None else lambda: _validate(network, corpus)
            if issubclass(model_class, ScratchModel):  # NumPy alone: torch stays unloaded
                network = model_class.initialise(config, vocab_size, end, seed)
                learn, watched = partial(train_scratch, network), nullcontext()
            else:
                from rung.training.health import memory_told
                from rung.training.loop import train_network

                group = distributed.process_group()
                group.call(
                    "train",
                    folder=str(run.folder.absolute()),
                    recipe=run.recipe,
                    data=str(corpus.folder.absolute()),
                    resume=resume and (run.folder / LAST).exists(),
                )
                with memory_told(training):
                    network = _new_network(run.recipe, group)
                learn, watched = partial(train_network, network, group=group), memory_told(training)
                if training.shard:
                    sample = None  # generation reads whole weights
                if group.world_size > 1 and corpus.validation is not None:
                    evaluate = _shared_validation(network, corpus, group, training)
            model = network
            resume = resume and (run.folder / LAST).exists()
            journal.rewind(_checkpoint_step(run.folder / LAST) if resume else None)
            with watched:
                for event in learn(
                    corpus.train,
                    training,
                    run.folder,
                    seed=seed,
                    evaluate=evaluate,
                    sample=None if sample is None else lambda: sample(network, corpus),
                    stop=stop,
                    resume=resume,
                ):
                    yield journal.add(event)
                    finished = event if isinstance(event, Finished) else finished
                    best = event if isinstance(event, Evaluation) and event.best else best
            assert finished is not None
            if finished.reason == "interrupted":
                return
            if finished.reason == "diverged" and not (run.folder / LAST).exists():
                raise Diverged(
                    f"training of {run.folder} diverged before its first checkpoint; nothing was kept. Try a lower --lr"
                )
            if finished.reason in ("budget", "patience") and (
                told := diagnose(*_curves(run.folder / EVENTS))
            ):
                yield journal.add(Note(told))
    assert model is not None
    save_model(run.folder, model)
    measured = None
    if corpus.validation is not None and model.has_probabilities:
        if best is None:
            yield Phase("measuring the validation split")
            measured = _validate(model, corpus)
        else:  # these very weights were measured when they were kept
            measured = Measure.total(
                best.nats_per_token * corpus.validation.n_tokens,
                corpus.validation.n_tokens,
                corpus.n_bytes("validation"),
                corpus.validation.n_documents,
                "validation",
            )
    recipe = dict(run.recipe)
    recipe["status"] = "finished"
    # What was left open before training (an order, an amount of smoothing) is closed now.
    recipe["model"] = model.describe()
    recipe["result"] = {
        "validation": None if measured is None else asdict(measured),
        "train_seconds": finished.seconds,
        "train_tokens": finished.tokens,
        "steps": finished.step,
        "reason": finished.reason,
        "parameters": model.n_parameters,
    }
    write_recipe(run.folder, recipe)
    if finished.reason == "diverged":
        raise Diverged(
            f"training diverged at step {finished.step}: {run.folder / MODEL} holds the best model before that;"
            f" try a lower --lr (it was {recipe['training']['lr']:g})"
        )


def take_part(
    group: ProcessGroup,
    folder: str,
    recipe: dict[str, Any],
    data: str,
    resume: bool,
    *,
    stop: Callable[[], bool],
) -> None:
    """Train along with the first process, which has called for it: the same steps, nothing said or written."""
    from rung.training.health import memory_told
    from rung.training.loop import train_network

    corpus = open_corpus(Path(data))
    training = TrainingConfig(**recipe["training"])
    with memory_told(training):
        model = _new_network(recipe, group)
        for _ in train_network(
            model,
            corpus.train,
            training,
            Path(folder),
            seed=recipe["seed"],
            evaluate=None
            if corpus.validation is None
            else _shared_validation(model, corpus, group, training),
            stop=stop,
            resume=resume,
            group=group,
        ):
            pass


def count_along(group: ProcessGroup, model: dict[str, Any], data: str) -> None:
    """Count n-grams along with the first process, which has called for it and alone makes a model of the counts."""
    stream, config = open_corpus(Path(data)).train, NGramConfig(**model["config"])
    for _ in NGram.fit(config, stream, model["vocab_size"], model["end"], group):
        pass


def _new_network(recipe: dict[str, Any], group: ProcessGroup) -> NeuralModel:
    """An untrained model on its device, or, with `shard`, the group's share of one."""
    import torch

    from rung.models.networks.network import NeuralModel

    described = recipe["model"]
    model_class = rung_class(described["rung"])
    assert issubclass(model_class, NeuralModel)
    config = model_class.config_class(**described["config"])
    device = pick_device(recipe["device"])
    group.check_device(device)
    model = model_class.initialise(config, described["vocab_size"], described["end"], recipe["seed"])
    training = TrainingConfig(**recipe["training"])
    if not training.shard:
        return model.to(device)
    from rung.training import sharding

    sharding.check_shardable(model.network, training, group)
    sharding.shard(model.network, torch.device(device), group)
    return model


def _shared_validation(
    model: NeuralModel, corpus: Corpus, group: ProcessGroup, training: TrainingConfig
) -> Callable[[], Measure]:
    """Each process measures a share of the validation split."""
    assert corpus.validation is not None
    split = corpus.validation, corpus.n_bytes("validation"), "validation"
    if not training.shard:
        return lambda: distributed.measure_together(group, model, *split)
    from rung.training import sharding

    return lambda: sharding.measure(model, *split, group)


def _mix(config: MixConfig, corpus: Corpus) -> Iterator[Event | Mix]:
    """Learn the weights of a mixture on the validation text, which no part may have been trained on."""
    if corpus.validation is None:
        raise UserError(
            "a mixture learns its weights on validation text: give --val FILE, or a --split with some"
        )
    runs = [load(path) for path in config.runs]
    for run in runs:
        theirs = run.recipe["data"]
        if any(theirs[key] != corpus.facts[key] for key in ("split_rule", "given")) or (
            theirs["source"]["sha256"] != corpus.facts["source"]["sha256"]
        ):
            yield Note(
                f"{run.folder} was trained on another text or split; if that held the text the weights are learned "
                "on, its weight comes out too high"
            )
    model = Mix.fit(config, [run.model for run in runs], corpus.validation)
    yield Note(model.summary())
    yield model


def _validate(model: LanguageModel, corpus: Corpus) -> Measure:
    assert corpus.validation is not None
    return measure(model, corpus.validation, corpus.n_bytes("validation"), "validation")


def check_seed(seed: int) -> None:
    """Raise UserError for a seed that torch's generators don't take."""
    if not 0 <= seed < 1 << 63:
        raise UserError(f"--seed {seed} is not possible: give a whole number from 0 to 9223372036854775807")


def pick_device(name: str) -> str:
    """`auto` is the GPU where there is one. Raises UserError for a device that isn't there."""
    import torch

    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if there[device])
    if not there.get(name, False):
        raise UserError(
            f"--device {name} is not here (here: auto, {', '.join(d for d in there if there[d])})"
        )
    return name


def _curves(events: Path) -> tuple[list[float], list[float]]:
    """Training and validation loss at each evaluation of a run, nats per token."""
    said = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    made = [event for event in said if event["kind"] == "evaluation"]
    made = [event for event in made if event["train_nats_per_token"] is not None]
    return [e["train_nats_per_token"] for e in made], [e["nats_per_token"] for e in made]


def _checkpoint_step(path: Path) -> int:
    from rung.tensors import load_tensors

    return int(json.loads(load_tensors(path)[1]["progress"])["step"])


class _Journal:
    """`events.jsonl`: every event as it happens, of the steps about ten a second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last_step = -1.0

    def __enter__(self) -> _Journal:
        try:
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise cannot_write(self._path, error) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, event: Event) -> Event:
        if isinstance(event, Step):
            if event.step > 10 and event.seconds - self._last_step < 1 / STEP_EVENTS_A_SECOND:
                return event
            self._last_step = event.seconds
        try:
            self._file.write(json.dumps(event.to_json()) + "\n")
            self._file.flush()
        except OSError as error:
            raise cannot_write(self._path, error) from error
        return event

    def rewind(self, step: int | None) -> None:
        """Drop what came after `step`, the last checkpoint; None drops everything."""
        self._file.close()
        kept = [line for line in self._path.read_text(encoding="utf-8").splitlines() if _upto(line, step)]
        with atomic_path(self._path) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self.__enter__()


def _upto(line: str, step: int | None) -> bool:
    try:
        return step is not None and json.loads(line).get("step", 0) <= step
    except ValueError:
        return False  # the line that was being written when the process was killed
