"""Learning on: a new run that begins where another ended, on other text, or for another task.

    by gradient descent   it begins with the other's weights, shape and tokeniser (`transfer`: which are learned)
    by counting           it counts the other's text and the new one, as if they were one text; a weight W makes the new
                          text count W times, or, below 1, the old one 1 / W times: W copies of a text

A run that learned another text forgets some of the old one (McCloskey & Cohen 1989, "Catastrophic interference in
connectionist networks"). How much is measured: both models, the one before and the one after, on the held-out text of
both. `run.json` names the run, with the SHA-256 of its weights, under "parent".
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from rung.errors import UserError
from rung.events import Event, Note, Phase
from rung.measure import bits_of
from rung.models import rung_class, tasks_with
from rung.models.quantisation import load_weights
from rung.opening import opening
from rung.run_files import DATA, MODEL, RECIPE
from rung.runs import Run, load
from rung.tasks.base import Dataset, Task
from rung.tasks.language import LanguageModeling
from rung.text.corpus import Corpus
from rung.text.stream import TokenStream
from rung.training.config import LR_FACTORS, TrainingConfig
from rung.training.learn import Learn
from rung.training.starting_vectors import check_start
from rung.training.trainers import trainer_of

LR_SHARE = 0.3
"""Of the parent's learning rate, what other text is learned with: between learning and forgetting (docs/log.md)."""

FINE_TUNING_EPOCHS = 3.0
"""How often a network that learns labels or tags reads its examples, unless told: Radford et al. 2018, section 4.1."""

FINE_TUNING_SHARE = 0.25
"""Of the rate that a network learned with before, what it learns labels with: theirs is 6.25e-5 after 2.5e-4."""

FREE = ("dropout", "ngram_dropout", "text_loss", "pool", "whole_words", "next_sentence", "crf")
"""Settings of a network that no weight of its body depends on."""

ANSWERED = ("classification", "tagging")
"""Tasks with answers that people gave: few, and read a few times."""

ONE_WAY = {"bidirectional": False}
"""Settings that a language model doesn't have, and what it would have there."""

CHOSEN_ANEW = ("add_k",)
"""Settings of what is counted that are chosen by the counts."""

MOST_COPIES = 1000


@dataclass(frozen=True)
class StartOptions:
    """From what a training starts.

    Attributes:
        from_: learn on from this run: its weights, shape and tokeniser (of what is counted: its text and its settings),
            at 0.3 times its learning rate unless --lr gives one; what it forgets of its own text is measured.
        weight: for what is counted: how often the new text counts, a whole number; or 1 divided by one, such as 0.5:
            then it is the old text that counts that often.
        vectors: begin the embedding of tokens with word vectors: of a file (GloVe, word2vec, fastText's .vec) or a run.
        vectors_frozen: with --vectors: do not learn the embedding.
        learn: with --from, what of the network is learned: all, head (all else stays as it is), last:K (the head and
            the last K blocks) or lora:R (the head, and a product of rank R beside each other linear layer).
        keep_layers: with --from, cut the network behind this many of its blocks.
        keep_zeros: with --from, what is 0 in the other's matrices stays 0, as where it was pruned.
    """

    from_: Path | None = None
    weight: float | None = None
    vectors: Path | None = None
    vectors_frozen: bool = False
    learn: str = "all"
    keep_layers: int | None = None
    keep_zeros: bool = False

    def __post_init__(self) -> None:
        if self.from_ is not None:
            object.__setattr__(self, "from_", Path(self.from_))
        Learn.of(self.learn)
        if self.keep_layers is not None and self.keep_layers < 1:
            raise UserError(f"--keep-layers {self.keep_layers} is not possible: give 1 or more")
        if self.weight is not None:
            copies(self.weight)
        if self.vectors is not None:
            object.__setattr__(self, "vectors", Path(self.vectors))
        check_start(self.vectors, self.vectors_frozen, self.from_)


def copies(weight: float) -> tuple[int, int]:
    """How often the old and the new text count. Raises UserError for a weight that is neither whole nor 1 by whole."""
    for times, order in ((weight, 1), (1 / weight if weight > 0 else 0, -1)):
        if 1 <= times <= MOST_COPIES and abs(times - round(times)) < 1e-3 * times:
            return (1, round(times)) if order == 1 else (round(times), 1)
    raise UserError(
        f"--weight {weight:g} is not possible: give a whole number from 1 to {MOST_COPIES}, or 1 divided by one, as 0.5"
    )


def open_parent(start: StartOptions, rung: str, task: str) -> Run | None:
    """The run to learn on from; None when there is none. Raises UserError when this rung can't."""
    if start.from_ is None:
        if start.weight is not None:
            raise UserError("--weight is that of a text beside another run's: give --from RUN")
        if start.keep_zeros:
            raise UserError("--keep-zeros says what of another run's network stays: give --from RUN")
        if start.learn != "all" or start.keep_layers is not None:
            flag = f"--learn {start.learn}" if start.learn != "all" else f"--keep-layers {start.keep_layers}"
            raise UserError(f"{flag} says what of another run's network is learned or kept: give --from RUN")
        return None
    run = load(start.from_)
    if run.rung != rung or (run.task.name != task and run.model_class.trained_by != "torch"):
        anew = f": {run.task.name} has to be trained anew, on all its examples" if run.rung == rung else ""
        fits = task in tasks_with(run.rung) and (task == "language" or run.model_class.trained_by == "torch")
        others = f": rung train {run.rung} DATA --from {run.folder}" if fits else ""
        raise UserError(
            f"{run.folder} is a {run.rung}, not a {rung}{others}"
            if run.rung != rung
            else f"--from {start.from_} does not fit{anew}"
        )
    own = rung_class(rung, task)
    if trainer_of(own).by_gradient and own.sees_examples:
        raise UserError(
            f"--from does not go with a {rung} of {task}, which has a row for each word of its own data: train it anew,"
            f" or let its rows begin with those that another has: --vectors {run.folder}"
        )
    if task == "classification" and run.model_class.trained_by != "torch":
        raise UserError(
            f"--from {start.from_} does not fit: a {rung} of labels has to be trained anew, on all its examples"
        )
    cut = start.learn != "all" or start.keep_layers is not None or start.keep_zeros
    if run.model_class.trained_by != "torch" and cut:
        raise UserError(
            f"--learn, --keep-layers and --keep-zeros are for networks that torch trains: {run.folder} is a {rung}"
        )
    trainer = trainer_of(run.model_class)
    if trainer.by_gradient:
        if start.weight is not None:
            raise UserError(
                f"--weight is for what is counted; how much a {rung} learns is a matter of --lr and --steps"
            )
    elif run.model_class.trained_by != "counting":
        raise UserError(
            f"{run.folder} is a {rung}: it is made of runs; let those learn on, and make a new one of them"
        )
    elif start.weight is not None and rung == "infinigram" and start.weight != 1:
        raise UserError(
            "--weight does not go with infinigram, which tests itself on parts of its text: a copy would tell it all; "
            "take ngram, or leave it out"
        )
    _ = run.model  # it is there, and whole
    if not trainer.by_gradient:
        _ = run.corpus
    return run


def inherited(parent: Run, given: Any, keep_layers: int | None = None, learn: str = "all") -> Any:
    """The configuration of what learns on from `parent`, where `given` was asked for.

    Raises UserError for a setting that the parent's weights contradict.
    """
    by_gradient = trainer_of(parent.model_class).by_gradient
    settings: dict[str, Any] = {}
    own = parent.config
    for field in fields(given):
        value = getattr(given, field.name)
        has = getattr(own, field.name, ONE_WAY.get(field.name, value))
        asked = value != field.default and value != has
        if field.name in CHOSEN_ANEW:
            settings[field.name] = value
        elif asked and by_gradient and field.name not in FREE:
            flag = f"--{field.name.replace('_', '-')} {value}"
            raise UserError(
                f"{flag} does not go with --from {parent.folder}, whose weights have {has}; leave it out, or train anew"
            )
        else:
            settings[field.name] = value if asked else has
    if learn == "head" and "text_loss" in settings and given.text_loss == type(given).text_loss:
        settings["text_loss"] = 0.0  # a head of labels has no part in it
    if keep_layers is not None:
        n_layer = settings.get("n_layer")
        if n_layer is None:
            raise UserError(
                f"--keep-layers {keep_layers}: {parent.folder} is a {parent.rung}, which has no layers to cut"
            )
        if keep_layers > n_layer:
            raise UserError(
                f"--keep-layers {keep_layers} is more than the {n_layer} layers that {parent.folder} has"
            )
        settings["n_layer"] = keep_layers
    return type(given)(**settings)


def with_rate(
    parent: Run, training: TrainingConfig, model_class: Any, task: str, learn: str
) -> TrainingConfig:
    """`training` with a learning rate for what has learned already, where none was given."""
    if not trainer_of(parent.model_class).by_gradient:
        return training
    if training.lr is not None:
        return training
    before = parent.recipe.get("training", {})
    factor = LR_FACTORS[training.optimizer]
    if Learn.of(learn).kind in ("head", "lora"):  # what is learned has learned nothing yet
        return replace(training, lr=float(f"{model_class.training_defaults['lr'] * factor:.3g}"))
    anew = task in ANSWERED or task != parent.task.name
    share = FINE_TUNING_SHARE if anew else LR_SHARE
    lr = parent.model_class.training_defaults["lr"]
    if anew and not before:  # it came from elsewhere
        lr = model_class.fine_tuning_lr / share
    known = before.get("lr"), LR_FACTORS.get(str(before.get("optimizer")))
    if isinstance(known[0], float) and known[1] is not None:
        lr = known[0] / known[1]
    return replace(training, lr=float(f"{share * lr * factor:.3g}"))


def with_budget(training: TrainingConfig, task: Task[Any], dataset: Dataset) -> TrainingConfig:
    """`training` of a network that has learned already: labels, tags are read FINE_TUNING_EPOCHS times, unless told."""
    if task.name not in ANSWERED or training.has_budget:
        return training
    return replace(training, tokens=math.ceil(FINE_TUNING_EPOCHS * task.epoch_targets(dataset)))


def prepare(parent: Run, data: str | Path, folder: Path, options: Any, task: Task[Any]) -> Any:
    """`data` in the parent's tokens, plain text cut into documents as its own was.

    Raises UserError for bad input, and for another tokeniser.
    """
    tokenizer = parent.tokenizer
    default = type(options)()
    for name, has in (("tokenizer", tokenizer.kind), ("vocab_size", tokenizer.vocab_size)):
        value = getattr(options, name)
        if value not in (getattr(default, name), has):
            raise UserError(
                f"--{name.replace('_', '-')} {value} does not go with --from {parent.folder}: its tokeniser, "
                f"{tokenizer.kind} with {tokenizer.vocab_size:,} ids, stays; leave it out"
            )
    options = replace(options, tokenizer=default.tokenizer, vocab_size=None)
    if not isinstance(task, LanguageModeling):
        return task.prepare(data, folder, options, tokenizer)
    mode = parent.recipe["data"]["source"].get("documents")
    like = mode if mode in ("lines", "paragraphs", "files") else None
    return LanguageModeling().prepare(data, folder, options, tokenizer, like=like)


def described(parent: Run, start: StartOptions) -> dict[str, Any]:
    """What the recipe of a run says of its parent."""
    source = parent.recipe["data"]["source"]
    return {
        "run": parent.folder.as_posix(),
        "sha256": _sha256(parent.folder / MODEL),
        "data": {key: source[key] for key in ("data", "sha256") if key in source},
        **({} if start.weight is None else {"weight": start.weight}),
        **({} if start.learn == "all" else {"learn": start.learn}),
        **({} if start.keep_layers is None else {"keep_layers": start.keep_layers}),
        **({"keep_zeros": True} if start.keep_zeros else {}),
    }


def measured_before(parent: Run, dataset: Dataset, recipe: dict[str, Any]) -> Iterator[Event]:
    """Write into `recipe` what the parent's model makes of the held-out text of both; tell how the learning begins."""
    if "training" in recipe and recipe.get("task", "language") != "language":
        n_kept = recipe["parent"].get("keep_layers")
        kept = "" if n_kept is None else f" cut to {n_kept} layer{'s' if n_kept > 1 else ''},"
        yield Note(
            f"beginning with the weights of {parent.folder}, a {parent.rung} of {parent.task.name},{kept} at a "
            f"learning rate of {recipe['training']['lr']:g}"
        )
        return
    if "training" in recipe:
        yield Note(
            f"learning on from {parent.folder}, at a learning rate of {recipe['training']['lr']:g}: forgetting of its "
            "text is measured at the end"
            if (parent.folder / DATA).exists()
            else f"learning on from {parent.folder}, at a learning rate of {recipe['training']['lr']:g}: it came "
            "without its text, so what is forgotten of that can't be measured"
        )
    if parent.task.name != "language" or not parent.model.has_probabilities:
        return
    yield Phase("measuring the old and the new text, before")
    recipe["parent"]["before"] = _measures(parent.model, _corpus_of(parent), dataset)


def measured_after(recipe: Mapping[str, Any], model: Any, dataset: Dataset) -> dict[str, Any]:
    """For the result of a run: old and new text, before and after. Empty where nothing can be said."""
    before = recipe["parent"].get("before")
    if not before or not model.has_probabilities:
        return {}
    try:
        old = _corpus_of(_found(recipe))
    except UserError:  # it is gone meanwhile
        old = None
    after = _measures(model, old, dataset)
    return {name: {"before": before[name], "after": after[name]} for name in after if name in before}


def in_words(result: Mapping[str, Any]) -> str | None:
    """`old text 1.62 → 1.71 bits per byte; new 2.10 → 1.80`; None where it was not measured."""
    said = []
    for name in ("old_text", "new_text"):
        if name in result:
            before, after = result[name]["before"], result[name]["after"]
            unit = "" if said else " bits per byte"
            said.append(
                f"{name.replace('_', ' ')} {bits_of(before):.3f} → {bits_of(after):.3f}{unit} ({after['split']})"
            )
    return "; ".join(said) or None


def parent_of(run: Run) -> Run | None:
    """The run that one begins with; None where there is none. Raises UserError when it is gone."""
    return _found(run.recipe) if "parent" in run.recipe else None


def weights_of(run: Run) -> dict[str, np.ndarray] | None:
    """The weights a run begins with; None where it begins with new ones. Raises UserError when they are gone."""
    parent = parent_of(run)
    return None if parent is None else load_weights(parent.folder / MODEL)


def learn_of(run: Run) -> Learn:
    """What of its network a run learns."""
    with opening(run.folder / RECIPE):
        return Learn.of(run.recipe.get("parent", {}).get("learn", "all"))


def keeps_zeros(run: Run) -> bool:
    """Whether what is 0 in a run's matrices stays so."""
    return run.recipe.get("parent", {}).get("keep_zeros", False) is True


def examples_of(run: Run, stream: TokenStream) -> TokenStream:
    """What a run counts: `stream`, the parent's before it where there is one. Raises UserError when that is gone."""
    if "parent" not in run.recipe:
        return stream
    parent = _found(run.recipe)
    old = examples_of(parent, parent.corpus.train)
    with opening(run.folder / RECIPE):
        n_old, n_new = copies(run.recipe["parent"].get("weight", 1))
    return _joined([old] * n_old + [stream] * n_new)


def _joined(streams: list[TokenStream]) -> TokenStream:
    """Streams of one tokeniser, one after the other."""
    ids = [streams[0].ids[:1], *(stream.ids[1:] for stream in streams)]
    offsets = np.cumsum([0, *(stream.n_tokens for stream in streams)])
    starts = [stream.starts[:-1] + offset for stream, offset in zip(streams, offsets[:-1], strict=True)]
    return TokenStream(np.concatenate(ids), np.concatenate([*starts, [offsets[-1] + 1]]))


def _measures(model: Any, old: Corpus | None, new: Dataset) -> dict[str, Any]:
    """A model's measure of the held-out text of both, where there is some: the test split rather than validation."""
    measures = {}
    for name, corpus in (("old_text", old), ("new_text", new)):
        split = next((split for split in ("test", "validation") if corpus and split in corpus.splits), None)
        if split is not None:
            measures[name] = LanguageModeling().measure(model, corpus, split).to_json()  # pyright: ignore
    return measures


def _corpus_of(parent: Run) -> Corpus | None:
    return parent.corpus if (parent.folder / DATA).exists() else None


def _found(recipe: Mapping[str, Any]) -> Run:
    """A run's parent. Raises UserError when it is gone or is another by now."""
    told = recipe["parent"]
    parent = load(told["run"])
    if _sha256(parent.folder / MODEL) != told["sha256"]:
        raise UserError(
            f"{parent.folder} is not the run any more that this one learns on from (SHA-256 of {MODEL}): "
            "start anew with --from"
        )
    return parent


def _sha256(path: Path) -> str:
    with opening(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
